"""One of several ranks: adds up with the others what each has, and says who it is."""
import json
import os
import signal
import time

import torch
import torch.distributed as dist


class RankHandler:
    def initialize(self, context):
        self.type = context.model_yaml_config.get("parallelType")
        self.gpu = context.system_properties.get("gpu_id")
        dist.init_process_group("gloo")

    def handle(self, data, context):
        body = bytes(data[0].get("body") or b"").decode()
        if body == "kill rank 1" and dist.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        if body in ("hang", "kill rank 1"):
            time.sleep(1000)
        total = torch.tensor([dist.get_rank() + 1])
        if self.type != "pp":
            dist.all_reduce(total)
        names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES"]
        told = {name: os.environ.get(name) for name in names}
        return [json.dumps({**told, "total": total.item(), "gpu": self.gpu, "pid": os.getpid()})] * len(data)
