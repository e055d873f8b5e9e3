"""Adds up what each sequence sends, and tells what it sees. A body is JSON: {"add": 2, "sleep": 0.1, "over": ["id"], "fail": true}."""
import time


class SequenceHandler:
    def initialize(self, context):
        self.sums = {}

    def handle(self, data, context):
        bodies = [row["body"] for row in data]
        time.sleep(max(body.get("sleep", 0) for body in bodies))
        if any(body.get("fail") for body in bodies):
            raise ValueError("asked to fail")
        return [self._answer(index, body, context, len(data)) for index, body in enumerate(bodies)]

    def _answer(self, index, body, context, batch):
        sequence = context.get_sequence_id(index)
        self.sums[sequence] = self.sums.get(sequence, 0) + body.get("add", 0)
        if "over" in body:
            context.set_response_header(index, context.header_key_sequence_end, "; ".join(body["over"]))
        return {
            "sequence": sequence,
            "sum": self.sums[sequence],
            "batch": batch,
            "start": context.get_request_header(index, context.header_key_sequence_start),
            "end": context.get_request_header(index, context.header_key_sequence_end),
        }
