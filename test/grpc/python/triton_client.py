"""Infers with tritonclient over gRPC and over HTTP with binary tensors. Prints one JSON object."""
import json
import sys

import numpy
import tritonclient.grpc
import tritonclient.http

grpc_address, http_address = sys.argv[1:]
VALUES = numpy.sin(numpy.arange(128, dtype=numpy.float32)).reshape(1, 128)
EVERY = {
    "float": numpy.array([[1.5, -2]], numpy.float32),
    "double": numpy.array([[0.1, -2]], numpy.float64),
    "float16": numpy.array([[0.5, -2]], numpy.float16),
    "int8": numpy.array([[-128, 127]], numpy.int8),
    "uint8": numpy.array([[0, 255]], numpy.uint8),
    "int16": numpy.array([[-32768, 1]], numpy.int16),
    "uint16": numpy.array([[0, 65535]], numpy.uint16),
    "int32": numpy.array([[-1, 7]], numpy.int32),
    "uint32": numpy.array([[1, 4294967295]], numpy.uint32),
    "int64": numpy.array([[-1, 2**62]], numpy.int64),
    "uint64": numpy.array([[0, 2**64 - 1]], numpy.uint64),
    "bool": numpy.array([[True, False]]),
    "string": numpy.array([["ä".encode(), b"second"]], numpy.object_),
}


def tensor(library, name, data):
    datatype = "BYTES" if data.dtype == numpy.object_ else tritonclient.utils.np_to_triton_dtype(data.dtype)
    given = library.InferInput(name, data.shape, datatype)
    given.set_data_from_numpy(data)
    return given


def ask(library, address):
    client = library.InferenceServerClient(address)
    probabilities = client.infer("mlp", [tensor(library, "input", VALUES)], request_id="r")
    output = client.get_model_metadata("mlp")
    output = output["outputs"] if isinstance(output, dict) else output.outputs
    name = output[0]["name"] if isinstance(output[0], dict) else output[0].name
    same = client.infer("identities", [tensor(library, key, data) for key, data in EVERY.items()])
    # The outputs are in the order of the inputs, whatever their names.
    described = client.get_model_metadata("identities")
    described = described["outputs"] if isinstance(described, dict) else described.outputs
    names = [each["name"] if isinstance(each, dict) else each.name for each in described]
    try:
        client.infer("nosuch", [tensor(library, "input", VALUES)])
        error = None
    except tritonclient.utils.InferenceServerException as thrown:
        error = thrown.message()
    found = {
        "live": client.is_server_live(),
        "ready": client.is_server_ready() and client.is_model_ready("mlp"),
        "probabilities": probabilities.as_numpy(name).ravel().tolist(),
        "differing": [
            key for key, out in zip(EVERY, names) if not numpy.array_equal(same.as_numpy(out), EVERY[key])
        ],
        "error": error,
    }
    client.close()
    return found


print(json.dumps({"grpc": ask(tritonclient.grpc, grpc_address), "http": ask(tritonclient.http, http_address)}))
