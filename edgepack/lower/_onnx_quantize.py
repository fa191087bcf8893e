# SPDX-License-Identifier: Apache-2.0
"""Quantize a float ONNX graph after training, with the quantizers of onnxruntime.

What was measured to be broken is left out on purpose: the Distribution calibrator, signed weights in dynamic
convolutions, and 8-bit MatMulNBits between QuantizeLinear and DequantizeLinear.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.errors import CandidateError
from edgepack.importer.read import graphs_of
from edgepack.importer.refusals import of_tools
from edgepack.lower._calibration import CalibrationSet
from edgepack.lower.form import Form
from edgepack.model.onnx_file import parse_onnx
from edgepack.model.precision import Precision

if TYPE_CHECKING:
    import onnx

HALF_LEAST_ELEMENTS: Final = 16
"""Smaller weights stay float32: the Cast that would widen them takes more bytes than it saves."""
_LARGEST_HALF: Final = float(np.finfo(np.float16).max)


def static(graph: "onnx.ModelProto", precision: Precision, samples: CalibrationSet, form: Form) -> "onnx.ModelProto":
    """Return ``graph`` between QuantizeLinear and DequantizeLinear: ranges are the least and the largest values seen.

    Raises:
        CandidateError: The quantizer refuses it (EP-691).
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    from edgepack.lower._onnx_gpu import MULTIPLYING, PLACEMENT

    with tempfile.TemporaryDirectory() as scratch, _told(precision):
        # From a file: the quantizer moves the weights of a graph that it is given out of it.
        source, path = _saved(_typed(graph, samples), scratch), Path(scratch) / "static.onnx"
        quantize_static(
            source,
            path,
            _Reader(samples),
            quant_format=QuantFormat.QDQ,
            per_channel=precision is not Precision.W8A8_PER_TENSOR,
            reduce_range=form.narrow,
            activation_type=QuantType.QUInt8 if form.unsigned else QuantType.QInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
            op_types_to_quantize=list(MULTIPLYING) if form.gpu else None,
            extra_options=dict(PLACEMENT) if form.gpu else None,
        )
        return _read(path)


def dynamic(graph: "onnx.ModelProto", *, inner: bool) -> "onnx.ModelProto":
    """Return ``graph`` with uint8 weights, in its branches too where ``inner``; activations are quantized as it runs.

    Raises:
        CandidateError: The quantizer refuses it (EP-691).
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as scratch, _told(Precision.W8):
        source, path = _saved(graph, scratch), Path(scratch) / "dynamic.onnx"
        quantize_dynamic(
            source,
            path,
            op_types_to_quantize=["Conv", "MatMul", "Gemm", "LSTM"],
            weight_type=QuantType.QUInt8,
            extra_options={"EnableSubgraph": inner},
        )
        return _read(path)


def half(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``graph`` with its weights stored as float16, each widened again when the file is loaded.

    Raises:
        CandidateError: A weight is larger than float16 holds (EP-690).
    """
    made = copy_of(graph)
    weights = {tensor.name for _, tensor in parse_onnx(made).weights}
    for part in graphs_of(made.graph):
        _halve(part, weights)
    return made


def check_half_range(name: str, values: np.ndarray) -> None:
    """Refuse a weight that float16 does not hold: it would be infinite, or clamped without a word (EP-690)."""
    if np.abs(values).max(initial=0.0) > _LARGEST_HALF:
        raise CandidateError(
            "EP-690",
            f"w16 cannot hold the weight {name!r}: {float(np.abs(values).max()):g} is beyond float16",
            hint="use f32 or w8",
        )


def _halve(graph: "onnx.GraphProto", weights: set[str]) -> None:
    import onnx

    casts = []
    for item in graph.initializer:
        if item.name not in weights or item.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(item)
        if values.size < HALF_LEAST_ELEMENTS:
            continue
        check_half_range(item.name, values)
        name = item.name
        item.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
        casts.append(onnx.helper.make_node("Cast", [item.name], [name], f"{name}/widened", to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _typed(graph: "onnx.ModelProto", samples: CalibrationSet) -> "onnx.ModelProto":
    """Return ``graph`` with the shapes of what operators of other domains give out, which ONNX cannot infer.

    The quantizer leaves alone whatever reads a value that it does not know.
    """
    import onnx
    import onnxruntime

    names = [name for node in graph.graph.node if node.domain for name in node.output if name]
    names = [name for name in names if name not in {item.name for item in graph.graph.output}]
    if not names:
        return graph
    made, probe = copy_of(graph), copy_of(graph)
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(probe.SerializeToString(), providers=["CPUExecutionProvider"])
    for name, value in zip(names, session.run(names, next(iter(samples))), strict=True):
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
            kind = onnx.helper.np_dtype_to_tensor_dtype(value.dtype)
            made.graph.value_info.append(onnx.helper.make_tensor_value_info(name, kind, value.shape))
    return made


class _Reader:
    """Calibration samples as onnxruntime's quantizer asks for them."""

    def __init__(self, samples: CalibrationSet) -> None:
        self._left = iter(samples)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next sample by input name, None behind the last."""
        return next(self._left, None)


def without_unused(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return ``graph``, changed in place, without constants that nothing takes."""
    used = {name for part in graphs_of(graph.graph) for node in part.node for name in node.input}
    used |= {item.name for part in graphs_of(graph.graph) for item in part.output}
    for part in graphs_of(graph.graph):
        kept = [item for item in part.initializer if item.name in used]
        del part.initializer[:]
        part.initializer.extend(kept)
    return graph


def copy_of(graph: "onnx.ModelProto") -> "onnx.ModelProto":
    import onnx

    made = onnx.ModelProto()
    made.CopyFrom(graph)
    return made


def _saved(graph: "onnx.ModelProto", folder: str) -> Path:
    import onnx

    path = Path(folder) / "float.onnx"
    onnx.save(graph, path)
    return path


def _read(path: Path) -> "onnx.ModelProto":
    import onnx

    return onnx.load(path)


@contextmanager
def _told(precision: Precision) -> Iterator[None]:
    """Say in edgepack's words that the quantizer refuses."""
    try:
        yield
    except of_tools() as error:
        raise CandidateError(
            "EP-691",
            f"onnxruntime's quantizer refuses {precision.value}: {str(error)[:400] or type(error).__name__}",
            hint="try another precision, or --format tflite",
        ) from error
