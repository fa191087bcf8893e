# SPDX-License-Identifier: Apache-2.0
"""Tiny ONNX nets of the kinds that users have, as torch's exporters write them: all but CNNs on images."""

import numpy as np
from onnx import TensorProto
from onnx_graph import Graph


def cnn1d(g):
    """A signal of three channels; PReLU with a slope per channel and with one for all."""
    x = g.conv(g.input("signal", "batch", 3, 40), 3, 8, 5, at="0", rank=1)
    x = g.op("PRelu", x, g.weight("onnx::PRelu_30", 8, 1), at="2")
    x = g.op("MaxPool", x, at="3", kernel_shape=[2], strides=[2], pads=[0, 0])
    x = g.conv(x, 8, 12, 3, stride=2, pad=0, at="4", folded=False, rank=1)
    x = g.op("PRelu", x, g.weight("onnx::PRelu_31", 1, 1), at="5")
    if g.dynamo:  # how it spells AdaptiveAvgPool1d
        last = g.constant([-1])
        x = g.op("ReduceMean", g.op("Unsqueeze", x, g.constant([-2])), last, keepdims=1, noop_with_empty_axes=0)
        x = g.op("Squeeze", x, g.constant([-2]))
    else:
        x = g.op("GlobalAveragePool", x, at="6")
    return g.model(logits=g.gemm(g.flatten(x, 12, at="7"), 12, 4, at="8"))


def zero_state(g, x, directions, width, axis=0):
    """The initial state as either exporter makes it from the input's batch."""
    if g.dynamo:
        batch = g.op("Shape", x, start=axis, end=axis + 1)
        shape = g.op("Concat", g.constant([directions]), batch, g.constant([width]), axis=0)
        return g.op("Expand", g.constant(0, "float32"), shape)
    batch = g.op("Gather", g.op("Shape", x, at="rnn"), g.constant(axis, at="rnn"), at="rnn", axis=0)
    batch = g.op("Unsqueeze", batch, g.constant([0], at="rnn"), at="rnn")
    shape = [g.constant([directions], at="rnn"), batch, g.constant([width], at="rnn")]
    return g.op("ConstantOfShape", g.op("Concat", *shape, at="rnn", axis=0), at="rnn")


def recurrent(g, kind, x, features, width, *, directions=1):
    """A recurrent layer of torch: (time, batch, features) in and (time, directions, batch, width) out."""
    gates, states = {"GRU": (3, 1), "LSTM": (4, 2)}[kind]
    more = {"direction": "bidirectional"} if directions == 2 else {}
    weights = [
        g.weight(f"onnx::{kind}_108", directions, gates * width, features, fan_in=4 * features),
        g.weight(f"onnx::{kind}_109", directions, gates * width, width, fan_in=4 * width),
        g.weight(f"onnx::{kind}_110", directions, 2 * gates * width),
    ]
    state = zero_state(g, x, directions, width, axis=1)
    if kind == "GRU":
        more["linear_before_reset"] = 1
    outputs = g.op(kind, x, *weights, "", *[state] * states, at="rnn", outputs=1 + states, hidden_size=width, **more)
    return outputs[0]


def time_major(g, batch="batch"):
    """All steps of a GRU whose input and output have the time in front and the batch behind it."""
    y = recurrent(g, "GRU", g.input("x", 12, batch, 6), 6, 10)
    y = g.op("Squeeze", y, g.constant([1], at="rnn"), at="rnn")
    return g.model(logits=g.linear(y, 10, 4, at="out"))


def gru(g):
    """The last step of a GRU over (batch, time, features)."""
    x = g.op("Transpose", g.input("x", "batch", 12, 6), at="rnn", perm=[1, 0, 2])
    y = recurrent(g, "GRU", x, 6, 10)
    y = g.op("Transpose", g.op("Squeeze", y, g.constant([1], at="rnn"), at="rnn"), at="rnn", perm=[1, 0, 2])
    return g.model(logits=g.gemm(g.op("Gather", y, g.constant(-1), axis=1), 10, 4, at="out"))


def bilstm(g):
    """All steps of an LSTM that runs both ways."""
    x = g.op("Transpose", g.input("x", "batch", 12, 6), at="rnn", perm=[1, 0, 2])
    y = g.op("Transpose", recurrent(g, "LSTM", x, 6, 8, directions=2), at="rnn", perm=[0, 2, 1, 3])
    y = g.op("Reshape", y, g.constant([0, 0, -1], at="rnn"), at="rnn")
    return g.model(logits=g.linear(g.op("Transpose", y, at="rnn", perm=[1, 0, 2]), 16, 4, at="out"))


def transformer(g, tokens=10, width=16, heads=2):
    """``nn.TransformerEncoderLayer``: inside, time comes first, and heads and batch share an axis."""
    each = width // heads
    x = g.linear(g.input("x", "batch", tokens, 6), 6, width, at="embed")
    at = "layers.0.self_attn"
    y = g.linear(g.op("Transpose", x, at=at, perm=[1, 0, 2]), width, 3 * width, at=f"{at}.in_proj")
    y = g.op("Unsqueeze", g.view(y, tokens, "N", 3, width, at=at, axis=1), g.constant([0], at=at), at=at)
    y = g.op("Squeeze", g.op("Transpose", y, at=at, perm=[3, 1, 2, 0, 4]), g.constant([3], at=at), at=at)
    parts = []
    for index in range(3):
        part = g.op("Gather", y, g.constant(index, at=at), at=at, axis=0)
        part = g.op("Transpose", g.view(part, tokens, f"{heads}N", each, at=at, axis=1), at=at, perm=[1, 0, 2])
        sizes = ("N", heads, tokens, each)
        parts.append(g.op("Reshape", part, g.constant([-1, *sizes[1:]], at=at), at=at))
    query, key, value = parts
    root = g.constant(each**-0.25, "float32", at=at)
    key = g.op("Mul", g.op("Transpose", key, at=at, perm=[0, 1, 3, 2]), root, at=at)
    score = g.op("Softmax", g.op("MatMul", g.op("Mul", query, root, at=at), key, at=at), at=at, axis=-1)
    y = g.op("Transpose", g.op("MatMul", score, value, at=at), at=at, perm=[2, 0, 1, 3])
    y = g.gemm(g.op("Reshape", y, g.constant([-1, width], at=at), at=at), width, width, at=f"{at}.out_proj")
    y = g.op("Transpose", g.op("Reshape", y, g.constant([tokens, -1, width], at=at), at=at), at=at, perm=[1, 0, 2])
    x = g.layer_norm(g.op("Add", x, y, at="layers.0"), width, at="layers.0.norm1")
    y = g.op("Relu", g.linear(x, width, 2 * width, at="layers.0.linear1"), at="layers.0")
    y = g.linear(y, 2 * width, width, at="layers.0.linear2")
    x = g.layer_norm(g.op("Add", x, y, at="layers.0"), width, at="layers.0.norm2")
    return g.model(logits=g.linear(x, width, 4, at="out"))


def attention(g, x, tokens, width, heads, *, at):
    """Self-attention as vision transformers write it: one product for query, key and value."""
    each = width // heads
    y = g.view(g.linear(x, width, 3 * width, at=f"{at}.qkv"), "N", tokens, 3, heads, each, at=at)
    y = g.op("Transpose", y, at=at, perm=[2, 0, 3, 1, 4])
    if g.dynamo:
        ends = [g.constant([index]) for index in range(4)]
        parts = [g.op("Slice", y, ends[index], ends[index + 1], ends[0]) for index in range(3)]
    else:
        parts = g.op("Split", y, g.constant([1, 1, 1], at=at), at=at, outputs=3, axis=0)
    query, key, value = (g.op("Squeeze", part, g.constant([0], at=at), at=at) for part in parts)
    score = g.op("MatMul", query, g.op("Transpose", key, at=at, perm=[0, 1, 3, 2]), at=at)
    score = g.op("Mul", score, g.constant(each**-0.5, "float32", at=at), at=at)
    y = g.op("MatMul", g.op("Softmax", score, at=at, axis=-1), value, at=at)
    y = g.view(g.op("Transpose", y, at=at, perm=[0, 2, 1, 3]), "N", tokens, width, at=at)
    return g.linear(y, width, width, at=f"{at}.proj")


def vit(g, width=16):
    """Patches, a class token before them, learnt places, a block, the token into a head."""
    x = g.conv(g.input("image", "batch", 3, 16, 16), 3, width, 4, stride=4, pad=0, at="patch", folded=False)
    x = g.op("Transpose", g.view(x, "N", width, 16, at="patch"), perm=[0, 2, 1])
    batch = g.op("Slice", g.op("Shape", "image"), g.constant([0]), g.constant([1]), g.constant([0]))
    shape = g.op("Concat", batch, g.constant([1]), g.constant([width]), axis=0)
    x = g.op("Concat", g.op("Expand", g.weight("token", 1, 1, width), shape), x, axis=1)
    x = g.op("Add", x, g.weight("place", 1, 17, width))
    y = g.layer_norm(x, width, at="block.norm1")
    x = g.op("Add", x, attention(g, y, 17, width, 2, at="block.attn"), at="block")
    y = g.layer_norm(x, width, at="block.norm2")
    y = g.gelu(g.linear(y, width, 2 * width, at="block.fc1"), at="block.act")
    x = g.op("Add", x, g.linear(y, 2 * width, width, at="block.fc2"), at="block")
    x = g.layer_norm(x, width, at="norm")
    return g.model(logits=g.gemm(g.op("Gather", x, g.constant(0), axis=1), width, 5, at="head"))


def mlp(g):
    """Two inputs and two outputs whose names sort otherwise than they come; dense layers alone."""
    zeta, alpha = g.input("zeta", "batch", 3, 4), g.input("alpha", "batch", 5)
    left = g.op("Elu", g.gemm(g.flatten(zeta, 12, at="flat"), 12, 16, at="left"), at="left.act", alpha=1.0)
    right = g.op("LeakyRelu", g.gemm(alpha, 5, 16, at="right"), at="right.act", alpha=0.2)
    x = g.op("Tanh", g.op("Concat", left, right, at="join", axis=1), at="join")
    x = g.layer_norm(x, 32, at="norm")
    last = g.gemm(x, 32, 4, at="out")
    return g.model(yonder=g.op("LogSoftmax", last, at="out", axis=-1), before=g.gemm(x, 32, 2, at="aside"))


def tokens(g):
    """Whole numbers looked up in a table, averaged over time."""
    x = g.op("Gather", g.weight("embed.weight", 11, 8), g.input("ids", "batch", 7, dtype=TensorProto.INT64))
    mean = [g.constant([1])] if g.opset >= 18 else []
    x = g.op("ReduceMean", x, *mean, keepdims=0, **({} if mean else {"axes": [1]}))
    return g.model(logits=g.gemm(x, 8, 4, at="out"))


def rounded(g, x, scale, zero_point, *, at):
    """QuantizeLinear and DequantizeLinear of an activation, unsigned 8 bits; nothing where ``scale`` is 0."""
    if not scale:
        return x
    grid = [g.array(f"{at}_scale", np.float32(scale)), g.array(f"{at}_zero_point", np.uint8(zero_point))]
    return g.op("DequantizeLinear", g.op("QuantizeLinear", x, *grid, at=at), *grid, at=at)


def stored(g, name, values, scale, dtype):
    """A weight as its integers, a scale per output channel, and DequantizeLinear."""
    across = scale.reshape(-1, *[1] * (values.ndim - 1))
    whole = np.clip(np.round(values / across), np.iinfo(dtype).min + 1, np.iinfo(dtype).max).astype(dtype)
    grid = [
        g.array(f"{name}_scale", scale.astype(np.float32)),
        g.array(f"{name}_zero_point", np.zeros_like(scale, dtype)),
    ]
    return g.op("DequantizeLinear", g.array(f"{name}_quantized", whole), *grid, at=name, axis=0)


def quantized(g, *, rounds=True):
    """A CNN as onnxruntime's ``quantize_static`` leaves it: U8S8, weights per channel, biases in 32 bits.

    Without ``rounds`` its activations are not rounded: what is left is the float net with weights that were.
    """
    scale = 0.04
    x = rounded(g, g.input("input", "batch", 3, 12, 12), scale * rounds, 128, at="input")
    for name, c_in, c_out, stride in (("conv1", 3, 8, 2), ("conv2", 8, 12, 1)):
        kernel = g.draw.normal(0, (2 / (9 * c_in)) ** 0.5, (c_out, c_in, 3, 3))
        per_channel = np.abs(kernel).max((1, 2, 3)) / 127
        weights = [
            stored(g, f"{name}.weight", kernel, per_channel, np.int8),
            stored(g, f"{name}.bias", g.draw.normal(0, 0.1, c_out), per_channel * scale, np.int32),
        ]
        more = {"kernel_shape": [3, 3], "pads": [1] * 4, "strides": [stride] * 2, "dilations": [1, 1], "group": 1}
        scale = 0.03
        x = g.op("Relu", g.op("Conv", x, *weights, at=name, **more), at=name)
        x = rounded(g, x, scale * rounds, 0, at=f"{name}_out")
    x = rounded(g, g.op("GlobalAveragePool", x, at="pool"), 0.01 * rounds, 0, at="pool_out")
    kernel = g.draw.normal(0, (2 / 12) ** 0.5, (5, 12))
    weight = stored(g, "fc.weight", kernel, np.abs(kernel).max(1) / 127, np.int8)
    x = g.op("Gemm", g.op("Flatten", x, axis=1), weight, g.weight("fc.bias", 5), at="fc", transB=1)
    return g.model(logits=rounded(g, x, 0.05 * rounds, 128, at="logits"))


OTHERS = {
    "cnn1d": lambda: cnn1d(Graph(opset=15)),
    "cnn1d-dynamo": lambda: cnn1d(Graph(opset=18, dynamo=True)),
    "gru": lambda: gru(Graph(opset=17)),
    "bilstm-dynamo": lambda: bilstm(Graph(opset=18, dynamo=True)),
    "time-major": lambda: time_major(Graph(opset=17)),
    "transformer": lambda: transformer(Graph(opset=14)),
    "transformer-dynamo": lambda: transformer(Graph(opset=18, dynamo=True)),
    "vit": lambda: vit(Graph(opset=13)),
    "vit-dynamo": lambda: vit(Graph(opset=20, dynamo=True)),
    "mlp": lambda: mlp(Graph(opset=17)),
    "tokens-dynamo": lambda: tokens(Graph(opset=18, dynamo=True)),
}
"""Nets that are no CNNs on images."""
QUANTIZED = {"quantized": lambda: quantized(Graph(opset=13))}
"""Nets whose graph rounds; they come in as the float graph that was rounded."""
UNROUNDED = {"quantized": lambda: quantized(Graph(opset=13), rounds=False)}
"""Those graphs."""
