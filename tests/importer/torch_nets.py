# SPDX-License-Identifier: Apache-2.0
"""Tiny torch modules of the kinds that users export, written to the folder given by both of torch's exporters."""

import sys
from pathlib import Path

import torch
from torch import nn


def conv_norm(c_in, c_out, size, activation=None, *, stride=1, groups=1):
    """Convolution with "same" padding, BatchNorm, and an activation where one is given."""
    conv = nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), *([activation] if activation else []))


class Residual(nn.Module):
    """A basic block; a strided one with a convolution on its shortcut."""

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.body = nn.Sequential(conv_norm(c_in, c_out, 3, nn.ReLU(), stride=stride), conv_norm(c_out, c_out, 3))
        self.shortcut = conv_norm(c_in, c_out, 1, stride=stride) if stride > 1 else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.body(x) + self.shortcut(x))


class Squeeze(nn.Module):
    """Squeeze and excite as MobileNetV3 has it."""

    def __init__(self, channels):
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, channels // 2, 1)
        self.expand = nn.Conv2d(channels // 2, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x):
        return x * self.gate(self.expand(torch.relu(self.reduce(self.pool(x)))))


class Inverted(nn.Module):
    """Expand, depthwise, project; added to its input."""

    def __init__(self, channels, activation, middle=nn.Identity):
        super().__init__()
        wide = 3 * channels
        self.body = nn.Sequential(
            conv_norm(channels, wide, 1, activation()),
            conv_norm(wide, wide, 3, activation(), groups=wide),
            middle(),
            conv_norm(wide, channels, 1),
        )

    def forward(self, x):
        return x + self.body(x)


def head(channels, classes=5):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, classes))


def resnet():
    stem = nn.Sequential(conv_norm(3, 8, 3, nn.ReLU(), stride=2), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(stem, Residual(8, 8, 1), Residual(8, 12, 2), head(12))


def mobilenet_v2():
    return nn.Sequential(conv_norm(3, 8, 3, nn.ReLU6(), stride=2), Inverted(8, nn.ReLU6), nn.Dropout(), head(8))


def mobilenet_v3():
    block = Inverted(8, nn.Hardswish, lambda: Squeeze(24))
    return nn.Sequential(conv_norm(3, 8, 3, nn.Hardswish(), stride=2), block, head(8))


class UNet(nn.Module):
    """One way down, one way up by a transposed convolution, one by interpolation; joined by concatenation."""

    def __init__(self):
        super().__init__()
        self.first, self.second = conv_norm(3, 6, 3, nn.ReLU()), conv_norm(6, 8, 3, nn.ReLU())
        self.third = conv_norm(8, 8, 3, nn.ReLU())
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.last = nn.Conv2d(22, 2, 1)

    def forward(self, x):
        first = self.first(x)
        second = self.second(nn.functional.max_pool2d(first, 2))
        third = self.third(nn.functional.max_pool2d(second, 2))
        up = self.up(third) + second
        up = nn.functional.interpolate(up, scale_factor=2, mode="bilinear")
        near = nn.functional.interpolate(second, scale_factor=2, mode="nearest")
        return torch.sigmoid(self.last(torch.cat([first, up, near], 1)))


def unet():
    return UNet()


def cnn1d():
    return nn.Sequential(
        *(nn.Conv1d(3, 8, 5, padding=2), nn.BatchNorm1d(8), nn.PReLU(8), nn.MaxPool1d(2)),
        *(nn.Conv1d(8, 12, 3, stride=2), nn.PReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(12, 4)),
    )


class Recurrent(nn.Module):
    """A recurrent layer over (batch, time, features), its last step into a dense head."""

    def __init__(self, layer, width):
        super().__init__()
        self.layer, self.out = layer, nn.Linear(width, 4)

    def forward(self, x):
        y, _ = self.layer(x)
        return self.out(y[:, -1])


def gru():
    return Recurrent(nn.GRU(6, 10, batch_first=True), 10)


def bilstm():
    return Recurrent(nn.LSTM(6, 8, bidirectional=True, batch_first=True), 16)


class Encoder(nn.Module):
    """A pre-norm transformer block written out, as most vision transformers are."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm_1, self.norm_2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x):
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm_1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        score = (q @ k.transpose(-2, -1)) * (width // self.heads) ** -0.5
        y = (score.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.proj(y)
        return x + self.mlp(self.norm_2(x))


class ViT(nn.Module):
    """Patches, a class token, learnt positions, two blocks, the token into a head."""

    def __init__(self):
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 4, 4)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.place = nn.Parameter(torch.randn(1, 17, 16))
        self.blocks = nn.Sequential(Encoder(16, 2))
        self.norm, self.out = nn.LayerNorm(16), nn.Linear(16, 5)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.place
        return self.out(self.norm(self.blocks(x))[:, 0])


def vit():
    return ViT()


def transformer():
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
    encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
    return nn.Sequential(nn.Linear(6, 16), encoder, nn.Linear(16, 4))


class Shuffle(nn.Module):
    """A channel split, a channel shuffle, a pixel shuffle."""

    def __init__(self):
        super().__init__()
        self.stem = conv_norm(3, 8, 3, nn.ReLU())
        self.right = conv_norm(4, 4, 3, nn.ReLU())
        self.down = nn.Conv2d(8, 12, 3, 2, 1)
        self.up = nn.PixelShuffle(2)

    def forward(self, x):
        left, right = self.stem(x).chunk(2, 1)
        y = torch.cat([left, self.right(right)], 1)
        batch, channels, height, width = y.shape
        y = y.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        return self.up(self.down(y))


def shuffle():
    return Shuffle()


class Fire(nn.Module):
    """SqueezeNet's block."""

    def __init__(self, c_in, squeezed, expanded):
        super().__init__()
        self.squeeze = nn.Conv2d(c_in, squeezed, 1)
        self.one, self.three = nn.Conv2d(squeezed, expanded, 1), nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x):
        x = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.one(x)), torch.relu(self.three(x))], 1)


def squeezenet():
    return nn.Sequential(
        *(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8, 4, 6)),
        *(nn.Conv2d(12, 5, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Softmax(1)),
    )


class Inception(nn.Module):
    """Three branches, one with an average pool that counts its padding or not, after local response normalization."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.LocalResponseNorm(5))
        self.one, self.five = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 5, padding=2)
        self.pool, self.after = nn.AvgPool2d(3, 1, 1, count_include_pad=False), nn.Conv2d(8, 4, 1)
        self.counting = nn.AvgPool2d(3, 2, 1)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([self.one(x), self.five(x), self.after(self.pool(x))], 1)
        return torch.flatten(self.counting(x), 1)


def inception():
    return nn.Sequential(Inception(), nn.Linear(12 * 36, 5))


def mlp():
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(48, 32), nn.ELU(), nn.Linear(32, 16), nn.Tanh()),
        *(nn.LayerNorm(16), nn.Linear(16, 4), nn.LogSoftmax(-1)),
    )


def efficientnet():
    block = Inverted(8, nn.SiLU, lambda: Squeeze(24))
    return nn.Sequential(conv_norm(3, 8, 3, nn.SiLU(), stride=2), block, head(8))


NETS = {
    "resnet": (resnet, (3, 32, 32)),
    "mobilenet_v2": (mobilenet_v2, (3, 16, 16)),
    "mobilenet_v3": (mobilenet_v3, (3, 16, 16)),
    "efficientnet": (efficientnet, (3, 16, 16)),
    "unet": (unet, (3, 16, 16)),
    "squeezenet": (squeezenet, (3, 22, 22)),
    "inception": (inception, (3, 12, 12)),
    "shuffle": (shuffle, (3, 16, 16)),
    "cnn1d": (cnn1d, (3, 40)),
    "gru": (gru, (12, 6)),
    "bilstm": (bilstm, (12, 6)),
    "transformer": (transformer, (10, 6)),
    "vit": (vit, (3, 16, 16)),
    "mlp": (mlp, (3, 4, 4)),
}
"""How to build each, and the shape of a sample."""


def write(name, path, *, dynamo, opset):
    """Write the net called ``name``, seeded, its batch open, to ``path`` by one of torch's two exporters."""
    torch.manual_seed(7)
    build, shape = NETS[name]
    net = build()
    for _ in range(3):  # BatchNorm's statistics are none before it saw data
        net(torch.randn(4, *shape) * 2 + 1)
    given = {"input_names": ["x"], "output_names": ["y"], "opset_version": opset, "dynamo": dynamo}
    if dynamo:
        given |= {"dynamic_shapes": ({0: torch.export.Dim("batch")},), "verbose": False}
    else:
        given["dynamic_axes"] = {"x": {0: "batch"}, "y": {0: "batch"}}
    torch.onnx.export(net.eval(), (torch.randn(2, *shape),), str(path), **given)


if __name__ == "__main__":
    for name in NETS:
        for exporter, opset in (("legacy", 14), ("legacy", 17), ("dynamo", 18), ("dynamo", 20)):
            write(name, Path(sys.argv[1]) / f"{name}-{exporter}-{opset}.onnx", dynamo=exporter == "dynamo", opset=opset)
