"""What a Python handler takes by itself: TorchServe's own Service in a loop, without a socket and a server around it.

handler_loop.py ARCHIVE FOLDER BODY CONTENT_TYPE; lines of JSON on stdin, one answer a line on stdout, as raw-loop.mjs does.
"""

import json
import logging
import os
import pathlib
import sys
import time
import zipfile

import ts
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory

archive, folder, body, content_type = sys.argv[1:]
# As much as the worker logs, to nowhere: stdout is for the answers.
logging.basicConfig(stream=open(os.devnull, "w"), format="%(message)s", level=logging.INFO)
with zipfile.ZipFile(archive) as packed:
    packed.extractall(folder)
sys.path.insert(0, folder)
model = json.loads(pathlib.Path(folder, "MAR-INF", "MANIFEST.json").read_text())["model"]
metrics = MetricsCacheYamlImpl(config_file_path=os.path.join(os.path.dirname(ts.__file__), "configs", "metrics.yaml"))
metrics.initialize_cache()
service = ModelLoaderFactory.get_model_loader().load(
    model["modelName"], folder, model["handler"], -1, 1, None, True, metrics
)
service.set_cl_socket(None)
content = pathlib.Path(body).read_bytes()
# The worker's codec gives JSON to a handler as data.
value = json.loads(content) if content_type == "application/json" else content
request = {
    "requestId": b"0" * 36,
    "headers": [{"name": b"content-type", "value": content_type.encode()}],
    "parameters": [{"name": "body", "contentType": content_type, "value": value}],
}


def measure(seconds):
    times = []
    started = last = time.perf_counter()
    while last - started < seconds:
        service.predict([request])
        now = time.perf_counter()
        times.append((now - last) * 1000)
        last = now
    times.sort()
    quantile = lambda share: times[int(share * (len(times) - 1))]
    return {"requests": len(times), "seconds": last - started, "errors": 0, "p50": quantile(0.5), "p99": quantile(0.99)}


print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    print(json.dumps(measure(json.loads(line)["seconds"])), flush=True)
