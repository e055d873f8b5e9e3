"""Doubles the number in the body where TorchServe's context says, and tells where that was."""

import torch


class DeviceHandler:
    def initialize(self, context):
        gpu_id = context.system_properties.get("gpu_id")
        self.device = torch.device("cpu" if gpu_id is None else f"cuda:{gpu_id}")
        self.gpu_id = gpu_id

    def handle(self, data, context):
        numbers = torch.tensor([float(row["body"]) for row in data], device=self.device)
        return [
            {"doubled": value.item(), "device": str(value.device), "gpu_id": self.gpu_id} for value in numbers * 2
        ]
