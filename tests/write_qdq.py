# SPDX-License-Identifier: Apache-2.0
"""A tiny convolutional ONNX model written without any framework, and its QDQ int8 form."""

from pathlib import Path

import numpy as np

SIDE, CHANNELS, CLASSES = 8, 3, 3


def write_float_onnx(path: Path, *, batch: int | str = 1) -> Path:
    """Write Conv, Relu, GlobalAveragePool, Flatten, Gemm, Softmax: (batch, 3, 8, 8) "image" to (batch, 3) "probs"."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(7)
    shapes = {"kernel": (8, CHANNELS, 3, 3), "bias": (8,), "dense": (8, CLASSES), "offset": (CLASSES,)}
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name) for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["conv"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"], name="relu"),
        helper.make_node("GlobalAveragePool", ["relu"], ["pool"], name="pool"),
        helper.make_node("Flatten", ["pool"], ["flat"], name="flat"),
        helper.make_node("Gemm", ["flat", "dense", "offset"], ["logits"], name="dense"),
        helper.make_node("Softmax", ["logits"], ["probs"], name="softmax"),
    ]
    edges = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])
        for name, shape in (("image", (CHANNELS, SIDE, SIDE)), ("probs", (CLASSES,)))
    ]
    graph = helper.make_graph(nodes, "tiny", edges[:1], edges[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), path)
    return path


def write_int8_onnx(path: Path, source: Path, samples: np.ndarray, *, way: str = "QDQ") -> Path:
    """Write ``source`` with int8 weights and activations, float at its edges, calibrated on ``samples``.

    ``way`` is QDQ, QOperator, or dynamic, which calibrates nothing and takes bytes.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )

    if way == "dynamic":
        quantize_dynamic(source, path)
        return path

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._rows = iter([{"image": row[None]} for row in samples])

        def get_next(self):
            return next(self._rows, None)

    quantize_static(
        source,
        path,
        Reader(),
        quant_format=QuantFormat[way],
        per_channel=True,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )
    return path
