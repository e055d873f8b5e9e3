"""Triton with its Python back end (pytriton), two instances. Usage: triton_app.py PORT MODEL SPEC.json"""

import json
import sys

import numpy as np
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from onnx_session import DTYPES, OnnxSession

port, model, spec = int(sys.argv[1]), sys.argv[2], json.load(open(sys.argv[3]))


def instance():
    onnx = OnnxSession(model)

    def infer(requests):
        return [{"output": onnx.run(dict(request.items()))} for request in requests]

    return infer


config = TritonConfig(
    http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False, log_verbose=0
)
with Triton(config=config) as triton:
    triton.bind(
        model_name="model",
        infer_func=[instance(), instance()],
        inputs=[
            Tensor(name=item["name"], dtype=DTYPES[item["datatype"]], shape=tuple(item["shape"]))
            for item in spec["inputs"]
        ],
        outputs=[Tensor(name="output", dtype=np.float32, shape=(-1, -1))],
        config=ModelConfig(batching=False),
        strict=False,
    )
    triton.serve()
