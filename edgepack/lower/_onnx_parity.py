# SPDX-License-Identifier: Apache-2.0
"""Does the ONNX graph compute what it was made from? A converter that raises nothing has proven nothing.

Float graphs are held against LiteRT's answers to the file that they were converted from, or onnxruntime's to the
source's own graph; integer graphs against LiteRT's to the integer file, or against the float graph that they round.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.errors import CandidateError
from edgepack.importer.gate import finite
from edgepack.importer.refusals import of_onnxruntime
from edgepack.importer.samples import draw
from edgepack.model.affine import dequantize, quantize
from edgepack.model.model import TensorSpec

if TYPE_CHECKING:
    import onnx

Answers = Callable[[Sequence[Array]], list[Array]]
"""From one sample, an array (1, ...) an input, to the outputs, integers as the reals that they stand for."""

SAMPLES: Final = 8
EXACT: Final = 1e-4
"""Of the output's largest magnitude: float32 sums in another order."""
ROUNDED: Final = 0.1
"""RMS over the spread: the same integers, requantized by another library."""
HALVED: Final = 0.25
"""RMS over the spread: floats of 16 bits keep three digits, of which deep nets may lose one or two."""
GARBAGE: Final = 1.0
"""RMS over the spread between a rounded graph and its float one: unrelated answers differ by the square root of two."""
_LEAST_SHARE: Final = 0.02
_TINY: Final = float(np.finfo(np.float32).tiny)


def probes(
    paths: tuple[Path, ...] | None, inputs: tuple[TensorSpec, ...], graph: "onnx.ModelProto"
) -> list[list[Array]]:
    """Return a few samples for ``graph``: the first of the calibration data, or seeded noise where there is none."""
    if not paths:
        return [list(draw(inputs, graph, batch=1, seed=row).values()) for row in range(SAMPLES)]
    arrays = [np.load(path, mmap_mode="r") for path in paths]
    shapes = [tuple(size or 1 for size in spec.shape) for spec in inputs]
    return [
        [
            array[row].reshape(shape).astype(spec.dtype)
            for array, shape, spec in zip(arrays, shapes, inputs, strict=True)
        ]
        for row in range(min([SAMPLES, *map(len, arrays)]))
    ]


def of_onnx(graph: "onnx.ModelProto") -> Answers:
    """Return the answers of onnxruntime here, which raise a CandidateError where it cannot run ``graph`` (EP-695).

    Raises:
        CandidateError: It does not take the graph (EP-695).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(graph.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except of_onnxruntime() as error:
        raise _refused("onnxruntime refuses the graph that was made", error) from error
    names = [item.name for item in session.get_inputs()]

    def answers(sample: Sequence[Array]) -> list[Array]:
        try:
            found: list[Array] = session.run(None, dict(zip(names, sample, strict=True)))
        except of_onnxruntime() as error:
            raise _refused("onnxruntime cannot run the graph that was made", error) from error
        return found

    return answers


def of_tflite(content: bytes) -> Answers:
    """Return the answers of LiteRT here, reals to reals; they raise a CandidateError where it cannot run ``content``.

    Raises:
        CandidateError: It does not take the file (EP-695).
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_content=content, num_threads=1)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise _refused("LiteRT refuses the .tflite on the way", error) from error
    ins, outs = interpreter.get_input_details(), interpreter.get_output_details()

    def answers(sample: Sequence[Array]) -> list[Array]:
        try:
            for detail, value in zip(ins, sample, strict=True):
                scale, zero_point = detail["quantization"]
                raw = quantize(value, np.dtype(detail["dtype"]), scale=scale, zero_point=zero_point)
                interpreter.set_tensor(detail["index"], raw)
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise _refused("LiteRT cannot run the .tflite on the way", error) from error
        found = [(interpreter.get_tensor(detail["index"]), *detail["quantization"]) for detail in outs]
        return [dequantize(raw, scale=scale, zero_point=zero_point) for raw, scale, zero_point in found]

    return answers


def check_exact(made: Answers, wanted: Answers, samples: Sequence[Sequence[Array]], *, what: str) -> None:
    """Hold a float graph against what it was made from.

    Raises:
        CandidateError: An output is off by more than rounding (EP-695).
    """
    for place, pair in enumerate(_pairs(made, wanted, samples)):
        found, expected = _compared(pair, place, what)
        largest = max(float(np.abs(expected).max(initial=0.0)), _TINY)
        off = float(np.abs(found - expected).max(initial=0.0)) / largest
        if not off <= EXACT:
            raise _other(what, place, f"{off:.2g} of its largest magnitude (at most {EXACT:g})")


def check_near(
    made: Answers, wanted: Answers, samples: Sequence[Sequence[Array]], *, what: str, tolerance: float
) -> None:
    """Hold a rounded graph against what it was made from.

    What answers in integers, the place of the largest value say, is left out: rounding decides it where two are alike.

    Raises:
        CandidateError: An output is off by more than ``tolerance`` of its spread (EP-695).
    """
    for place, pair in enumerate(_pairs(made, wanted, samples)):
        found, expected = _compared(pair, place, what)
        if pair[1].dtype.kind != "f" or not expected.size:
            continue
        spread = max(float(np.std(expected)), _LEAST_SHARE * float(np.abs(expected).max()), _TINY)
        off = float(np.sqrt(np.mean((found - expected) ** 2))) / spread
        if not off <= tolerance:
            raise _other(what, place, f"{off:.2f} of its spread (RMS; at most {tolerance:g})")


def _pairs(made: Answers, wanted: Answers, samples: Sequence[Sequence[Array]]) -> list[tuple[Array, Array]]:
    """Return, output by output, both answers to all samples."""
    ours, theirs = (
        zip(*(made(sample) for sample in samples), strict=True),
        zip(*(wanted(sample) for sample in samples), strict=True),
    )
    return [(np.stack(found), np.stack(expected)) for found, expected in zip(ours, theirs, strict=True)]


def _compared(pair: tuple[Array, Array], place: int, what: str) -> tuple[Array, Array]:
    """Return both accounts of an output where they are finite: the importer's own rule."""
    if pair[0].size != pair[1].size:
        raise _other(what, place, f"its shape, {list(pair[0].shape[1:])} for {list(pair[1].shape[1:])}")
    known = finite(*pair)
    if known is None:
        raise _other(what, place, "values that are not finite on one side alone")
    return known


def _refused(what: str, error: Exception) -> CandidateError:
    return CandidateError(
        "EP-695", f"{what}: {str(error)[:400] or type(error).__name__}", hint="give real samples with --data"
    )


def _other(what: str, place: int, off: str) -> CandidateError:
    return CandidateError(
        "EP-695",
        f"the ONNX graph computes something else than {what}: output {place} is off by {off}",
        hint="report the model; --format tflite lowers it another way",
    )
