# SPDX-License-Identifier: Apache-2.0
"""Small ONNX files, written with onnx's own helper; opset and IR are such as boards take, unless a test says."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 16


def edge(name, *shape, dtype=TensorProto.FLOAT):
    """An input or output; a text is an open dimension."""
    return helper.make_tensor_value_info(name, dtype, shape)


def written(nodes, inputs, outputs, weights=None, *, opset=17, ir=9, domains=()):
    """Return a graph with ``weights``, arrays by name."""
    constants = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(nodes, "graph", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=ir, producer_name="test")


def write_onnx(path, nodes, inputs, outputs, weights=None, *, opset=17, ir=9, domains=(), **saving):
    """Write a graph with ``weights``, arrays by name, and return ``path``."""
    onnx.save(written(nodes, inputs, outputs, weights, opset=opset, ir=ir, domains=domains), path, **saving)
    return Path(path)


def write_relu(path, *shape, **options):
    """One Relu from x to y."""
    shape = shape or ("batch", 4)
    return write_onnx(
        path, [helper.make_node("Relu", ["x"], ["y"])], [edge("x", *shape)], [edge("y", *shape)], **options
    )


def write_quadrants(path):
    """A small CNN, channels first, that says in which quarter of a 3x16x16 image most light is: 4 logits.

    Its weights are set by hand, with noise so small that it errs only where two quarters are nearly alike.
    """
    rng = np.random.default_rng(5)

    def noisy(array):
        return (array + 0.01 * rng.standard_normal(array.shape)).astype(np.float32)

    quarters = np.zeros((4, 8, SIZE // 2, SIZE // 2))
    for number in range(4):
        rows, columns = (slice(4 * part, 4 * part + 4) for part in divmod(number, 2))
        quarters[number, :, rows, columns] = 1 / 128
    weights = {
        "w1": noisy(np.full((8, 3, 3, 3), 1 / 27)),
        "b1": noisy(np.zeros(8)),
        "w2": noisy(np.full((8, 1, 3, 3), 1 / 9)),
        "b2": noisy(np.zeros(8)),
        "w3": noisy(np.eye(8)[:, :, None, None]),
        "b3": noisy(np.zeros(8)),
        "w4": noisy(quarters.reshape(4, -1) * 8),
        "b4": noisy(np.zeros(4)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], name="stem", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], name="stem_relu"),
        helper.make_node("MaxPool", ["r1"], ["p1"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], name="depth", kernel_shape=[3, 3], pads=[1] * 4, group=8),
        helper.make_node("Conv", ["c2", "w3", "b3"], ["c3"], name="point", kernel_shape=[1, 1]),
        helper.make_node("Relu", ["c3"], ["r3"], name="point_relu"),
        helper.make_node("Flatten", ["r3"], ["flat"], name="flatten"),
        helper.make_node("Gemm", ["flat", "w4", "b4"], ["logits"], name="head", transB=1),
    ]
    return write_onnx(path, nodes, [edge("image", "batch", 3, SIZE, SIZE)], [edge("logits", "batch", 4)], weights)


def write_dense_answers(path):
    """Two convolutions from a 3x8x8 image to an answer of 4 channels at each place."""
    rng = np.random.default_rng(6)
    weights = {
        "w1": rng.standard_normal((8, 3, 3, 3)).astype(np.float32) / 5,
        "w2": rng.standard_normal((4, 8, 1, 1)).astype(np.float32) / 3,
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], name="stem", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["c1"], ["r1"], name="relu"),
        helper.make_node("Conv", ["r1", "w2"], ["places"], name="head", kernel_shape=[1, 1]),
    ]
    return write_onnx(path, nodes, [edge("image", "batch", 3, 8, 8)], [edge("places", "batch", 4, 8, 8)], weights)


def write_channels_last(path):
    """A convolution of an 8x9x3 image, scaled first, channels last at both ends as tf2onnx exports it."""
    kernel = np.random.default_rng(9).standard_normal((4, 3, 3, 3)).astype(np.float32) / 5
    nodes = [
        helper.make_node("Mul", ["image:0", "scale"], ["scaled"], name="scale"),
        helper.make_node("Transpose", ["scaled"], ["first"], name="to_first", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["first", "kernel"], ["made"], name="conv", kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Transpose", ["made"], ["last"], name="to_last", perm=[0, 2, 3, 1]),
        helper.make_node("Relu", ["last"], ["answer"], name="relu"),
    ]
    weights = {"scale": np.array(0.5, np.float32), "kernel": kernel}
    return write_onnx(path, nodes, [edge("image:0", "n", 8, 9, 3)], [edge("answer", "n", 8, 9, 4)], weights)


def write_quadrant_images(path, *, count=300):
    """Images for ``write_quadrants``, channels first, with the brightest quarter as label."""
    rng = np.random.default_rng(11)
    labels = rng.integers(0, 4, count)
    images = rng.uniform(0, 1, (count, 3, SIZE, SIZE)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        rows, columns = (slice(8 * part, 8 * part + 8) for part in divmod(int(label), 2))
        image[:, rows, columns] += 0.5
    np.savez(path, x=images, y=labels)
    return Path(path)


def write_branches(path):
    """A net that takes one of two convolutions by the mean of its image, with a state and a number beside the image.

    The state has the batch on its second axis, the number has none.
    """
    rng = np.random.default_rng(7)
    kernels = [rng.standard_normal((8, 3, 3, 3)).astype(np.float32) / 3 for _ in range(2)]
    branches = [
        helper.make_graph(
            [
                helper.make_node("Conv", ["image", f"w{place}"], [f"c{place}"], kernel_shape=[3, 3], pads=[1] * 4),
                helper.make_node("Relu", [f"c{place}"], [f"r{place}"]),
            ],
            f"branch_{place}",
            [],
            [edge(f"r{place}", "batch", 8, 6, 6)],
            [numpy_helper.from_array(kernel, f"w{place}")],
        )
        for place, kernel in enumerate(kernels)
    ]
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "zero"], ["bright"]),
        helper.make_node("If", ["bright"], ["found"], name="choice", then_branch=branches[0], else_branch=branches[1]),
        helper.make_node("Conv", ["found", "w"], ["seen"], name="last", kernel_shape=[1, 1]),
        helper.make_node("Cast", ["rate"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["seen", "factor"], ["answer"]),
        helper.make_node("Add", ["state", "state"], ["next"]),
    ]
    weights = {"zero": np.array(0, np.float32), "w": rng.standard_normal((4, 8, 1, 1)).astype(np.float32)}
    starts = [edge("image", "batch", 3, 6, 6), edge("state", 2, "batch", 5), edge("rate", dtype=TensorProto.INT64)]
    return write_onnx(path, nodes, starts, [edge("answer", "batch", 4, 6, 6), edge("next", 2, "batch", 5)], weights)


def write_hardmax(path):
    """One dense layer of 8 inputs and 4 classes whose answer is one-hot: an operator that no import knows."""
    kernel = np.random.default_rng(8).standard_normal((8, 4)).astype(np.float32)
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["logits"], name="dense"),
        helper.make_node("Hardmax", ["logits"], ["y"], name="hard"),
    ]
    return write_onnx(path, nodes, [edge("x", "batch", 8)], [edge("y", "batch", 4)], {"w": kernel})
