"""MNIST from raw float32 pixels to the logarithms of ten probabilities: what the built-in handler `tensor` does with raw numbers."""

import torch
from ts.torch_handler.base_handler import BaseHandler


class MnistPixelsHandler(BaseHandler):
    def preprocess(self, data):
        rows = [torch.frombuffer(bytearray(row["body"]), dtype=torch.float32) for row in data]
        return torch.stack(rows).reshape(-1, 1, 28, 28).to(self.device)

    def postprocess(self, data):
        return [row.numpy().tobytes() for row in data]
