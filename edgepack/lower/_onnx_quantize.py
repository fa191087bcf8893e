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
from edgepack.importer.refusals import of_tools
from edgepack.lower._calibration import CalibrationSet
from edgepack.lower._onnx_edit import copy_of
from edgepack.lower._onnx_gpu import MULTIPLYING, PLACEMENT
from edgepack.lower._onnx_ranges import NARROWED, SEEN, Held, Reader, write_narrowed
from edgepack.lower.form import Form
from edgepack.model.precision import Precision

if TYPE_CHECKING:
    import onnx

_SAID: Final = 200  # characters of a tool's own words


def static(
    graph: "onnx.ModelProto", precision: Precision, samples: CalibrationSet, form: Form
) -> "tuple[onnx.ModelProto, tuple[str, ...]]":
    """Return ``graph`` between QuantizeLinear and DequantizeLinear, and what is to be told of its ranges.

    Those are the least and the largest values seen, of which nothing is told; narrower ones where samples that were
    held back are answered better with them.

    Raises:
        CandidateError: The quantizer refuses it (EP-691).
    """
    with tempfile.TemporaryDirectory() as scratch, _told(precision):
        # From a file: the quantizer moves the weights of a graph that it is given out of it.
        source = _saved(_typed(graph, samples), scratch)
        plain = _between_pairs(source, precision, form, samples=samples)
        held = Held.of(samples, graph)
        moved = held.distance(plain) if held is not None else 0.0
        if held is None or not held.needs_better(moved):
            return plain, ()
        try:
            write_narrowed(source, samples, held.fit, kinds=_calibrated(form))
            other = _between_pairs(source, precision, form, samples=None)
        except of_tools() as error:  # infinities have no histogram; what was made without one stays
            said = f"{type(error).__name__}: {error}".replace(scratch, "")[:_SAID]
            return plain, (f"onnxruntime's Percentile calibrator does not take this graph ({said})",)
        distance = held.distance(other)
        return (other, (held.words(distance, moved),)) if distance < moved else (plain, ())


def _between_pairs(
    source: Path, precision: Precision, form: Form, *, samples: CalibrationSet | None
) -> "onnx.ModelProto":
    """Quantize ``source`` to the least and the largest values that ``samples`` give, or to the narrowed ranges."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    path = source.with_name("static.onnx")
    quantize_static(
        source,
        path,
        None if samples is None else Reader(samples),
        quant_format=QuantFormat.QDQ,
        per_channel=precision is not Precision.W8A8_PER_TENSOR,
        reduce_range=form.narrow,
        activation_type=QuantType.QUInt8 if form.unsigned else QuantType.QInt8,
        weight_type=QuantType.QInt8,
        calibrate_method=CalibrationMethod.Percentile if samples is None else CalibrationMethod.MinMax,
        op_types_to_quantize=_calibrated(form),
        extra_options=dict(PLACEMENT) if form.gpu else None,
        calibration_cache_path=source.with_name(NARROWED if samples is None else SEEN),
    )
    return _read(path)


def _calibrated(form: Form) -> list[str]:
    """Return the operators whose inputs and outputs are quantized: for a GPU what multiplies, else all that can be."""
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

    return list(MULTIPLYING) if form.gpu else sorted({*QLinearOpsRegistry, *QDQRegistry})


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
