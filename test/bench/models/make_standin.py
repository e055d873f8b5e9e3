"""Writes a model with the inputs and the output of another one that costs nearly nothing to run: what warms up a server's own
code as ten thousands of requests would, without their compute.

    python make_standin.py OUT.onnx OUTPUT=SHAPE INPUT=FP32|INT64=SHAPE ...     (shapes without the batch axis: 3,224,224)

It answers zeros: a stand-in is never compared.
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

TYPES = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}


def shape(text):
    return [int(size) for size in text.split(",") if size]


out, output, *inputs = sys.argv[1:]
name, rest = output.split("=")
described = [text.split("=") for text in inputs]
initializers = [
    numpy_helper.from_array(np.array([0], dtype=np.int64), "first"),
    numpy_helper.from_array(np.array(shape(rest), dtype=np.int64), "rest"),
]
nodes = [
    helper.make_node("Shape", [described[0][0]], ["shape"]),
    helper.make_node("Gather", ["shape", "first"], ["rows"]),
    helper.make_node("Concat", ["rows", "rest"], ["size"], axis=0),
    helper.make_node("ConstantOfShape", ["size"], [name]),
]
graph = helper.make_graph(
    nodes,
    "standin",
    [helper.make_tensor_value_info(i, TYPES[kind], ["batch", *shape(dims)]) for i, kind, dims in described],
    [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape(rest)])],
    initializers,
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
model.ir_version = 8
onnx.checker.check_model(model)
onnx.save(model, out)
