"""Calls every RPC of TorchServe's services with stubs that protoc made. Prints one JSON object."""
import json
import sys

import grpc
import inference_pb2
import inference_pb2_grpc
import management_pb2
import management_pb2_grpc
import open_inference_grpc_pb2
import open_inference_grpc_pb2_grpc
from google.protobuf.empty_pb2 import Empty

inference_address, management_address = sys.argv[1:]


def outcome(call):
    try:
        return call()
    except grpc.RpcError as error:
        return {"code": error.code().name, "details": error.details()}


def main():
    found = {}
    with grpc.insecure_channel(inference_address) as channel, grpc.insecure_channel(management_address) as other:
        inference = inference_pb2_grpc.InferenceAPIsServiceStub(channel)
        management = management_pb2_grpc.ManagementAPIsServiceStub(other)
        protocol = open_inference_grpc_pb2_grpc.GRPCInferenceServiceStub(channel)

        def request(body, **more):
            return inference_pb2.PredictionsRequest(model_name="stream", input={"body": body}, **more)

        found["Ping"] = inference.Ping(Empty()).health
        found["Predictions"] = inference.Predictions(request(b"2")).prediction.decode()
        found["StreamPredictions"] = [r.prediction.decode() for r in inference.StreamPredictions(request(b"3"))]
        sequence = [request(b"1", sequence_id="s"), request(b"1")]
        found["StreamPredictions2"] = [
            r.status.message if r.HasField("status") else r.prediction.decode()
            for r in inference.StreamPredictions2(iter(sequence))
        ]
        found["unknown"] = outcome(
            lambda: inference.Predictions(inference_pb2.PredictionsRequest(model_name="nosuch"))
        )

        found["RegisterModel"] = management.RegisterModel(
            management_pb2.RegisterModelRequest(url="late.mar", initial_workers=1, synchronous=True)
        ).msg
        found["ListModels"] = json.loads(management.ListModels(management_pb2.ListModelsRequest(limit=10)).msg)
        found["DescribeModel"] = json.loads(
            management.DescribeModel(management_pb2.DescribeModelRequest(model_name="late")).msg
        )[0]["modelVersion"]
        found["ScaleWorker"] = management.ScaleWorker(
            management_pb2.ScaleWorkerRequest(model_name="late", min_worker=2, synchronous=True)
        ).msg
        found["SetDefault"] = management.SetDefault(
            management_pb2.SetDefaultRequest(model_name="late", model_version="1.0")
        ).msg
        found["UnregisterModel"] = management.UnregisterModel(
            management_pb2.UnregisterModelRequest(model_name="late")
        ).msg
        found["register"] = outcome(lambda: management.RegisterModel(management_pb2.RegisterModelRequest()))

        messages = open_inference_grpc_pb2
        found["ServerLive"] = protocol.ServerLive(messages.ServerLiveRequest()).live
        found["ServerReady"] = protocol.ServerReady(messages.ServerReadyRequest()).ready
        found["ServerMetadata"] = protocol.ServerMetadata(messages.ServerMetadataRequest()).name
        found["ModelReady"] = protocol.ModelReady(messages.ModelReadyRequest(name="mlp")).ready
        found["ModelMetadata"] = protocol.ModelMetadata(messages.ModelMetadataRequest(name="mlp")).inputs[0].datatype
        tensor = messages.ModelInferRequest.InferInputTensor(name="input", datatype="FP32", shape=[1, 128])
        tensor.contents.fp32_contents.extend([0.5] * 128)
        answer = protocol.ModelInfer(messages.ModelInferRequest(model_name="mlp", inputs=[tensor]))
        found["ModelInfer"] = list(answer.outputs[0].contents.fp32_contents)
    print(json.dumps(found))


main()
