"""What every Python peer does with a model: one ONNX Runtime session of one thread, raw float32 or JSON in, an array out."""

import numpy as np
import onnxruntime as ort

DTYPES = {"FP32": np.float32, "INT64": np.int64}


class OnnxSession:
    def __init__(self, path):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = [node.name for node in self.session.get_inputs()]

    def run(self, feeds):
        return self.session.run(None, feeds)[0]

    def from_bytes(self, body):
        """An image as raw float32."""
        return self.run({self.inputs[0]: np.frombuffer(body, np.float32).reshape(1, 3, 224, 224)})

    def from_json(self, document):
        """{"inputs": [{"name", "shape", "datatype", "data"}]}"""
        return self.run(
            {
                item["name"]: np.array(item["data"], DTYPES[item["datatype"]]).reshape(item["shape"])
                for item in document["inputs"]
            }
        )
