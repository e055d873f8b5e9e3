"""Does what the body of the first request says, without standing in the way of other requests."""
import asyncio
import time

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.utils.util import PredictionException


class AsyncHandler:
    def initialize(self, context):
        pass

    async def handle(self, data, context):
        bodies = [bytes(row.get("body") or b"").decode() for row in data]
        action, _, argument = bodies[0].partition(" ")
        if action == "sleep":
            await asyncio.sleep(float(argument))
        elif action == "chunks":
            for part in range(int(argument)):
                send_intermediate_predict_response([str(part)] * len(data), context.request_ids, "part", 200, context)
                await asyncio.sleep(0)
        elif action == "fill":
            for _ in range(int(argument)):
                send_intermediate_predict_response(["x" * 100_000] * len(data), context.request_ids, "part", 200, context)
                await asyncio.sleep(0)
        elif action == "raise":
            raise PredictionException(argument, 418)
        elif action == "lose":
            # No reply can be written with this, and the worker does not notice.
            context.set_response_header(0, "X-Number", 5)
        elif action == "block":
            time.sleep(1000)
        return [f"{body} done" for body in bodies]
