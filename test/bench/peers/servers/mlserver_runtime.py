"""MLServer runtime: numbers in the protocol's JSON; images as one base64 element, the densest its REST API takes."""

import base64

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse

from onnx_session import OnnxSession


class Onnx(MLModel):
    async def load(self):
        self.onnx = OnnxSession(self.settings.parameters.uri)
        return True

    async def predict(self, payload):
        first = payload.inputs[0]
        if first.datatype == "BYTES":
            output = self.onnx.from_bytes(base64.b64decode(first.data.root[0]))
        else:
            output = self.onnx.run({item.name: NumpyCodec.decode_input(item) for item in payload.inputs})
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("output", np.asarray(output))]
        )
