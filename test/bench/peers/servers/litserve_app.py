"""LitServe with two workers. Usage: litserve_app.py PORT MODEL json|binary"""

import sys
from typing import Annotated

import litserve as ls
from fastapi import Body, Request, Response

from onnx_session import OnnxSession

PORT, MODEL, BODY = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Json(ls.LitAPI):
    def setup(self, device):
        self.onnx = OnnxSession(MODEL)

    def decode_request(self, request: Request):
        return request

    def predict(self, x):
        return self.onnx.from_json(x)

    def encode_response(self, output):
        return {"data": output.ravel().tolist()}


class Binary(Json):
    def decode_request(self, request: Annotated[bytes, Body(media_type="application/octet-stream")]):
        return request

    def predict(self, x):
        return self.onnx.from_bytes(x)

    def encode_response(self, output) -> Response:
        return Response(output.tobytes(), media_type="application/octet-stream")


if __name__ == "__main__":
    api = Binary() if BODY == "binary" else Json()
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=2)
    server.run(host="127.0.0.1", port=PORT, num_api_servers=1, generate_client_file=False, log_level="warning")
