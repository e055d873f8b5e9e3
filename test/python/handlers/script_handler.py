"""Does what the body of the first request says."""
import json
import os
import resource
import signal
import subprocess
import sys
import time

from ts.handler_utils.utils import send_intermediate_predict_response
from ts.utils.util import PredictionException


def handle(data, context):
    if data is None:
        return None
    bodies = [bytes(row.get("body") or b"") for row in data]
    action, _, argument = bodies[0].decode("utf-8", "replace").partition(" ")
    if action == "echo":
        return bodies
    if action == "chunks":
        for part in range(int(argument)):
            send_intermediate_predict_response([str(part)] * len(data), context.request_ids, "part", 200, context)
    elif action == "sleep":
        time.sleep(float(argument))
    elif action == "hang":
        while True:
            time.sleep(1)
    elif action == "exit":
        os._exit(int(argument))
    elif action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "garbage":
        context.cl_socket.sendall(b"HTTP/1.1 200 OK\r\n\r\n" * 1000)
        time.sleep(1000)
    elif action == "print":
        text = ("x" * 99 + "\n") * 10_000
        for _ in range(int(argument)):
            sys.stdout.write(text)
    elif action == "line":
        for _ in range(int(argument)):
            sys.stdout.write("x" * 1_000_000)
        sys.stdout.write("\n")
    elif action == "status":
        for index in range(len(data)):
            context.set_response_status(code=200 + index, phrase=f"phrase {index}", idx=index)
            context.set_response_header(index, "X-Index", str(index))
            context.set_response_content_type(index, "text/plain")
    elif action == "raise":
        raise PredictionException(argument, 418)
    elif action == "short":
        return []
    elif action == "child":
        child = subprocess.Popen(["sleep", "1000"])
        return [str(child.pid)] * len(data)
    elif action == "allocate":
        return [str(len(bytearray(int(argument) * 2**20)))] * len(data)
    elif action == "grow":
        taken = []
        while True:
            taken.append(bytearray(2**24))
    elif action == "where":
        properties = context.system_properties
        told = {"gpu": properties.get("gpu_id"), "limitsPixels": properties.get("limit_max_image_pixels")}
        return [json.dumps({"cwd": os.getcwd(), "env": dict(os.environ), **told})] * len(data)
    elif action == "measure":
        context.metrics.get_metric(argument).add_or_update(3, ["here"])
    elif action == "limits":
        return [json.dumps(resource.getrlimit(resource.RLIMIT_CORE))] * len(data)
    return [f"{body.decode()} done" for body in bodies]
