# SPDX-License-Identifier: Apache-2.0
"""Tiny ONNX nets of the kinds that users have, as torch's exporters write them: the convolutional ones on images."""

from onnx_graph import Graph


def inverted(g, x, channels, activation, *, at, middle=None):
    """Expand, depthwise, project; added to its input."""
    wide = 3 * channels
    y = activation(g.conv(x, channels, wide, 1, at=f"{at}.expand"), at=f"{at}.expand_act")
    y = activation(g.conv(y, wide, wide, 3, groups=wide, at=f"{at}.depthwise"), at=f"{at}.depthwise_act")
    y = middle(y, wide) if middle else y
    return g.op("Add", x, g.conv(y, wide, channels, 1, at=f"{at}.project"), at=at)


def excite(g, x, channels, gate, *, at):
    """Squeeze and excite; ``gate`` takes the excitation to between 0 and 1."""
    y = g.conv(g.pool(x, at=f"{at}.pool"), channels, channels // 2, 1, at=f"{at}.reduce", folded=False)
    y = g.conv(g.op("Relu", y, at=at), channels // 2, channels, 1, at=f"{at}.expand", folded=False)
    return g.op("Mul", x, gate(y), at=at)


def resnet(g, batch="batch"):
    """Two basic blocks; the second strides, with a convolution on its shortcut."""
    x = g.conv(g.input("input", batch, 3, 20, 20), 3, 8, 3, stride=2, at="conv1")
    x = g.op("Relu", x, at="relu")
    x = g.op("MaxPool", x, at="maxpool", kernel_shape=[3, 3], pads=[1] * 4, strides=[2, 2], ceil_mode=0)
    for name, c_in, c_out, stride in (("layer1", 8, 8, 1), ("layer2", 8, 12, 2)):
        y = g.op("Relu", g.conv(x, c_in, c_out, 3, stride=stride, at=f"{name}.conv1"), at=f"{name}.relu")
        y = g.conv(y, c_out, c_out, 3, at=f"{name}.conv2")
        x = x if stride == 1 else g.conv(x, c_in, c_out, 1, stride=stride, at=f"{name}.downsample")
        x = g.op("Relu", g.op("Add", y, x, at=name), at=f"{name}.relu")
    return g.model(logits=g.head(x, 12, 5))


def resnet_unfolded(g):
    """A block whose BatchNorms the exporter left as they are (``training=PRESERVE``), of two epsilons."""
    x = g.conv(g.input("input", "batch", 3, 12, 12), 3, 8, 3, at="stem.conv")
    x = g.op("Relu", g.batch_norm(x, 8, at="stem.norm", epsilon=1e-3), at="stem")
    y = g.batch_norm(g.conv(x, 8, 8, 3, at="body.conv"), 8, at="body.norm")
    return g.model(logits=g.head(g.op("Relu", g.op("Add", x, y, at="body"), at="body"), 8, 5))


def mobilenet_v2(g):
    """An inverted residual between ReLU6."""
    x = g.conv(g.input("input", "batch", 3, 16, 16), 3, 8, 3, stride=2, at="stem.conv")
    x = inverted(g, g.relu6(x, at="stem"), 8, g.relu6, at="block")
    return g.model(logits=g.head(x, 8, 5))


def mobilenet_v3(g):
    """HardSwish, and squeeze and excite through HardSigmoid."""
    x = g.hard_swish(g.conv(g.input("input", "batch", 3, 16, 16), 3, 8, 3, stride=2, at="stem.conv"), at="stem")

    def middle(y, wide):
        return excite(g, y, wide, lambda z: g.op("HardSigmoid", z, at="se.gate", alpha=1 / 6), at="se")

    return g.model(logits=g.head(inverted(g, x, 8, g.hard_swish, at="block", middle=middle), 8, 5))


def efficientnet(g):
    """SiLU, and squeeze and excite through a sigmoid."""
    x = g.silu(g.conv(g.input("input", "batch", 3, 16, 16), 3, 8, 3, stride=2, at="stem.conv"), at="stem")

    def middle(y, wide):
        return excite(g, y, wide, lambda z: g.op("Sigmoid", z, at="se.gate"), at="se")

    return g.model(logits=g.head(inverted(g, x, 8, g.silu, at="block", middle=middle), 8, 5))


def efficientnet_lite(g):
    """As TensorFlow's zoo exported it: channels last outside, transposes around each asymmetric padding."""
    x = g.op("Transpose", g.input("images:0", "batch", 17, 17, 3), at="stem", perm=[0, 3, 1, 2])
    x = g.relu6(g.conv(x, 3, 8, 3, stride=2, at="stem.conv", pads=[0, 0, 1, 1]), at="stem")
    x = inverted(g, x, 8, g.relu6, at="block")
    x = g.op("AveragePool", x, at="pool", kernel_shape=[8, 8], strides=[1, 1])
    x = g.op("Squeeze", x, g.constant([2, 3], at="pool"), at="pool")
    return g.model(Softmax=g.op("Softmax", g.gemm(x, 8, 5, at="fc"), at="fc", axis=1))


def unet(g):
    """Down twice, up by a transposed convolution and by both interpolations; joined by concatenation."""
    x = g.input("input", "batch", 3, 16, 16)
    first = g.op("Relu", g.conv(x, 3, 6, 3, at="first.conv"), at="first")
    down = g.op("MaxPool", first, at="down1", kernel_shape=[2, 2], strides=[2, 2])
    second = g.op("Relu", g.conv(down, 6, 8, 3, at="second.conv"), at="second")
    down = g.op("MaxPool", second, at="down2", kernel_shape=[2, 2], strides=[2, 2])
    third = g.op("Relu", g.conv(down, 8, 8, 3, at="third.conv"), at="third")
    up = g.conv(third, 8, 8, 2, stride=2, pad=0, at="up", folded=False, kind="ConvTranspose")
    up = g.op("Add", up, second)
    scales = g.constant([1, 1, 2, 2], "float32")
    linear = {"coordinate_transformation_mode": "half_pixel", "mode": "linear", "nearest_mode": "floor"}
    nearest = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
    up = g.op("Resize", up, "", scales, cubic_coeff_a=-0.75, **linear)
    near = g.op("Resize", second, "", scales, cubic_coeff_a=-0.75, **nearest)
    joined = g.op("Concat", first, up, near, axis=1)
    return g.model(mask=g.op("Sigmoid", g.conv(joined, 22, 2, 1, at="last", folded=False)))


def unet_transposed(g):
    """Transposed convolutions as segmentation nets have them: kernel 3 with output padding, kernel 4."""
    x = g.op("Relu", g.conv(g.input("input", "batch", 3, 8, 8), 3, 6, 3, at="in"), at="in")
    more = {"kind": "ConvTranspose", "folded": False, "stride": 2, "pad": 1}
    x = g.op("Relu", g.conv(x, 6, 6, 3, at="up1", output_padding=[1, 1], **more), at="up1")
    return g.model(image=g.op("Tanh", g.conv(x, 6, 3, 4, at="up2", **more)))


def shuffle(g):
    """Pixels into channels and back, a flip of axes in between, a crop and a reflection at the borders."""
    x = g.conv(g.input("input", "batch", 3, 16, 16), 3, 4, 3, at="stem")
    x = g.op("SpaceToDepth", x, blocksize=2)
    x = g.op("Transpose", g.op("Relu", g.conv(x, 16, 12, 3, at="mid")), perm=[0, 1, 3, 2])
    x = g.op("DepthToSpace", x, blocksize=2, mode="CRD")
    x = g.op("Slice", x, g.constant([0, 1, 1]), g.constant([3, 15, 2**63 - 1]), g.constant([1, 2, 3]))
    return g.model(image=g.op("Pad", x, g.constant([0, 0, 1, 1, 0, 0, 1, 1]), mode="reflect"))


def shufflenet(g):
    """Split the channels, convolve one half by groups, join, and shuffle by Reshape, Transpose, Reshape.

    Inside, positions are 13 by 13: no number that stands for the batch while shapes are worked out may be mixed up.
    """
    x = g.op("Relu", g.conv(g.input("input", "batch", 3, 26, 26), 3, 8, 3, stride=2, at="stem.conv"), at="stem")
    for name in ("block1", "block2"):
        if g.opset >= 18:
            left, right = g.op("Split", x, at=name, outputs=2, axis=1, num_outputs=2)
        else:
            left, right = g.op("Split", x, g.constant([4, 4], at=name), at=name, outputs=2, axis=1)
        groups = 2 if name == "block1" and not g.dynamo else 1
        right = g.op("Relu", g.conv(right, 4, 4, 1, groups=groups, at=f"{name}.pointwise"), at=name)
        right = g.conv(right, 4, 4, 3, groups=4, at=f"{name}.depthwise")
        x = g.op("Concat", left, right, at=name, axis=1)
        x = g.op("Transpose", g.view(x, "N", 2, 4, 13, 13, at=name), at=name, perm=[0, 2, 1, 3, 4])
        x = g.view(x, "N", 8, 13, 13, at=name)
    return g.model(logits=g.head(x, 8, 5))


def squeezenet(g):
    """Fire, a pool that rounds up, and the old Softmax over all axes from the second on, before it is flattened."""
    x = g.op("Relu", g.conv(g.input("data_0", "N", 3, 22, 22), 3, 8, 3, stride=2, pad=0, at="conv1", folded=False))
    x = g.op("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    x = g.op("Relu", g.conv(x, 8, 4, 1, at="fire.squeeze", folded=False))
    one = g.op("Relu", g.conv(x, 4, 6, 1, at="fire.one", folded=False))
    three = g.op("Relu", g.conv(x, 4, 6, 3, at="fire.three", folded=False))
    x = g.op("Dropout", g.op("Concat", one, three, axis=1), ratio=0.5)
    x = g.op("GlobalAveragePool", g.op("Relu", g.conv(x, 12, 5, 1, at="conv10", folded=False)))
    return g.model(softmaxout_1=g.op("Softmax", x))


def local_response(g, x, channels, places):
    """LRN over five channels; torch has no operator for it, and averages the depth of a volume."""
    if not g.dynamo:
        return g.op("LRN", x, alpha=1e-2, beta=0.75, bias=1.0, size=5)
    volume = g.op("Reshape", g.op("Mul", x, x), g.constant([-1, 1, channels, places, places]), allowzero=1)
    volume = g.op("Pad", volume, g.constant([0, 0, 2, 0, 0, 0, 0, 2, 0, 0]), mode="constant")
    mean = g.op("AveragePool", volume, kernel_shape=[5, 1, 1], strides=[1] * 3, pads=[0] * 6, count_include_pad=1)
    scaled = g.op("Mul", g.op("Squeeze", mean, g.constant([1])), g.constant(1e-2, "float32"))
    power = g.op("Pow", g.op("Add", scaled, g.constant(1, "float32")), g.constant(0.75, "float32"))
    return g.op("Div", x, power)


def inception(g):
    """LRN, branches of three sizes, average pools that count their padding and that do not, Sum, Flatten on places."""
    x = g.op("Relu", g.conv(g.input("data_0", "N", 3, 8, 8), 3, 8, 3, at="conv1", folded=False))
    x = local_response(g, x, 8, 8)
    pool = g.op("AveragePool", x, kernel_shape=[3, 3], strides=[1, 1], pads=[1] * 4, count_include_pad=0)
    branches = [
        g.conv(x, 8, 4, 1, at="one", folded=False),
        g.conv(x, 8, 4, 5, at="five", folded=False),
        g.conv(pool, 8, 4, 1, at="pooled", folded=False),
    ]
    x = g.op("Concat", *branches, g.op("Sum", *branches), axis=1)
    x = g.op("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, count_include_pad=1)
    return g.model(prob_1=g.op("Softmax", g.gemm(g.flatten(x, 256, at="flat"), 256, 5, at="fc"), axis=1))


CNNS = {
    "resnet": lambda: resnet(Graph(opset=17)),
    "resnet-dynamo": lambda: resnet(Graph(opset=18, dynamo=True)),
    "resnet-static": lambda: resnet(Graph(opset=13), batch=1),
    "resnet-unfolded": lambda: resnet_unfolded(Graph(opset=17)),
    "mobilenet-v2": lambda: mobilenet_v2(Graph(opset=13)),
    "mobilenet-v3": lambda: mobilenet_v3(Graph(opset=13)),
    "mobilenet-v3-dynamo": lambda: mobilenet_v3(Graph(opset=20, dynamo=True)),
    "efficientnet-dynamo": lambda: efficientnet(Graph(opset=18, dynamo=True)),
    "efficientnet-lite": lambda: efficientnet_lite(Graph(opset=13)),
    "unet": lambda: unet(Graph(opset=17)),
    "squeezenet": lambda: squeezenet(Graph(opset=9)),
    "inception": lambda: inception(Graph(opset=11)),
    "inception-dynamo": lambda: inception(Graph(opset=18, dynamo=True)),
}
"""Nets on images whose TFLite form holds nothing that only moves data about."""
SHUFFLES = {
    "shuffle": lambda: shuffle(Graph(opset=15)),
    "unet-transposed-dynamo": lambda: unet_transposed(Graph(opset=20, dynamo=True)),
    "shufflenet": lambda: shufflenet(Graph(opset=16)),
    "shufflenet-dynamo": lambda: shufflenet(Graph(opset=18, dynamo=True)),
}
"""Nets that move data about by what they are."""
