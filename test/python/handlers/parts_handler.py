"""Answers a body like "a:3" in three parts, one for each batch that the request is in. Each part is a line of JSON."""
import json
import time


class PartsHandler:
    def initialize(self, context):
        self.known = {}

    def handle(self, data, context):
        ids = [context.get_request_id(index) for index in range(len(data))]
        # What is in no batch any more has no reader.
        self.known = {id: self.known[id] for id in ids if id in self.known}
        for id, row in zip(ids, data):
            if id not in self.known:
                self.known[id] = self._begin(row)
        time.sleep(0.003)
        tags = [self.known[id]["tag"] for id in ids]
        if "fail" in tags:
            raise ValueError("asked to fail")
        answers = [self._part(self.known[id], row, tags) for id, row in zip(ids, data)]
        left = [self.known[id]["left"] for id in ids]
        context.stopping_criteria = [lambda _part, left=left: left == 0 for left in left]
        return answers

    def _begin(self, row):
        tag, count = row["body"].split(":")
        return {"tag": tag, "part": 0, "left": int(count)}

    def _part(self, request, row, tags):
        request["part"] += 1
        request["left"] -= 1
        padding = "x" * 200_000 if request["tag"] == "large" else ""
        told = {"tag": request["tag"], "part": request["part"], "parameters": len(row), "batch": tags}
        return json.dumps(told) + padding + "\n"
