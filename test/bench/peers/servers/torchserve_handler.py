"""TorchServe handler over ONNX Runtime: raw float32 or JSON in, raw float32 or JSON out."""

import os

from ts.torch_handler.base_handler import BaseHandler

from onnx_session import OnnxSession


class OnnxHandler(BaseHandler):
    def initialize(self, context):
        folder = context.system_properties["model_dir"]
        self.onnx = OnnxSession(os.path.join(folder, context.manifest["model"]["serializedFile"]))
        self.initialized = True

    def handle(self, data, context):
        return [self.answer(item["body"]) for item in data]

    def answer(self, body):
        if isinstance(body, (bytes, bytearray)):
            return self.onnx.from_bytes(body).tobytes()
        return {"data": self.onnx.from_json(body).ravel().tolist()}
