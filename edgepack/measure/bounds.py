# SPDX-License-Identifier: Apache-2.0
"""What nothing that a search proposes costs less than, told from a summary alone, in milliseconds.

A recipe changes a model's structure in one way at most: channels go, with inputs at full or at lower resolution, or
layers are cut in two, or convolutions become separable. Each way stops at ``compress/floor.py``; a bound is the least
over all ways, and counts only what every lowering of them keeps. A bound that could be wrong is no bound.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, prod
from typing import Final

from edgepack.compress.floor import BITS, CHANNELS, RANK
from edgepack.device.parts import LatencyEntry
from edgepack.device.profile import DeviceProfile
from edgepack.model.layout import as_imported
from edgepack.model.model import Format
from edgepack.model.precision import Precision
from edgepack.model.summary import Layer, Summary

_MS_PER_S: Final = 1e3
_BITS_PER_BYTE: Final = 8
_FLOAT_BITS: Final = 32
_WEIGHT_BITS: Final = {Precision.F32: 32, Precision.W16: 16, Precision.W4A8: BITS, Precision.W4: BITS}
_ACTIVATION_BYTES: Final = {Precision.W8A8: 1, Precision.W8A8_PER_TENSOR: 1, Precision.W8A16: 2, Precision.W4A8: 1}
_STRUCTURE_BYTES: Final = 72
"""Of a layer in the file, whatever its precision: its weights' buffer (three offsets and a length) and tensor (three
offsets and a number), its operator (four offsets, two inputs, one output, two lengths), the place of its output."""
_OPERATOR_BYTES: Final = 80
"""Of an operator in an arena, which is counted on a 64-bit host: six pointers, and two of each of its two tensors."""
_CUT: Final = frozenset({"Dense", "Conv1D", "Conv2D"})
_FULL: Final = frozenset({"Conv1D", "Conv2D"})
_OPERATORS: Final = frozenset({"Conv1D", "Conv2D", "DepthwiseConv2D", "Dense"})
_RECURRENT: Final = frozenset({"LSTM", "GRU", "SimpleRNN", "Bidirectional", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"})

Kernel = tuple[int, ...]
Parts = tuple[int, ...]
"""The least weights of each layer that stands for one: those of its kernel, or of the two parts that replace it."""
Shrink = Callable[[Layer, Kernel], Sequence[Parts]]
"""The ways to have a kernel, one of which is taken."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a figure is at least.

    Attributes:
        name: As limits are named: ``size``, ``ram``, ``latency`` or ``energy``.
        value: In ``unit``.
        because: What it is made of, in a clause.
    """

    name: str
    value: float
    unit: str
    because: str


@dataclass(frozen=True, slots=True)
class _Least:
    """The least of one way to change the structure: bytes of the file and of activations, MACs, operators."""

    size_bytes: int
    macs: int
    operators: int
    live_elements: int


def lower_bounds(summary: Summary, profile: DeviceProfile | None, *, separable: bool = False) -> tuple[Bound, ...]:
    """Return a bound for each figure that has one; none for a download, which may be mostly zeros.

    Args:
        summary: Of the model.
        profile: The device; None bounds the size alone.
        separable: Convolutions may become separable.
    """
    summary = as_imported(summary)
    precisions = profile.runtime.precisions if profile else tuple(Precision)
    if can_be_restructured(summary):
        ways = list(_ways(summary, bits=_least_bits(precisions), separable=separable))
    else:
        ways = [_as_it_is(summary, precisions, onnx=profile is not None and profile.formats == ("onnx",))]
    made_of = "its weights and what names them" if can_be_restructured(summary) else "its weights"
    found = [Bound("size", min(way.size_bytes for way in ways), "B", made_of)]
    if profile is not None:
        found += _on_device(summary, profile, ways)
    return tuple(bound for bound in found if bound.value > 0)


def can_be_restructured(summary: Summary) -> bool:
    """Whether the source holds layers, so that channels can be pruned and weights brought to 4 bits."""
    return summary.format in {Format.KERAS, Format.H5, Format.ONNX} and summary.refusal is None


def least_weight_bytes(summary: Summary, precisions: Sequence[Precision]) -> int | None:
    """Return the least bytes that the weights take at the smallest precision of ``precisions``, None if not known."""
    if not summary.kernel_count or not precisions:
        return None
    if summary.quantized:  # used as it is; four-bit weights take half a byte
        return min(summary.kernel_count // 2, summary.weight_bytes)
    return summary.kernel_count * min(map(_bits, precisions)) // _BITS_PER_BYTE


def least_activation_bytes(summary: Summary, precisions: Sequence[Precision]) -> int | None:
    """Return the least bytes of the largest operator's inputs and outputs, which are in memory together."""
    found = largest(summary)
    return None if found is None or not precisions else found[1] * _activation_bytes(summary, precisions)


def largest(summary: Summary) -> tuple[str, int] | None:
    """Return the operator whose inputs and outputs have the most elements together, and how many; None if not known."""
    known = [
        (layer.name, layer.live_elements)
        for layer in summary.layers
        if layer.stays_whole and layer.live_elements is not None
    ]
    return max(known, key=lambda item: item[1] or 0, default=None)


def _activation_bytes(summary: Summary, precisions: Sequence[Precision]) -> int:
    return 1 if summary.quantized else min(_ACTIVATION_BYTES.get(precision, 4) for precision in precisions)


def _least_bits(precisions: Sequence[Precision]) -> int:
    """Return the fewest bits of a weight: a search goes below those of the runtime's list where it knows layers."""
    return BITS if Precision.W8A8 in precisions else min(map(_bits, precisions))


def _bits(precision: Precision) -> int:
    return _WEIGHT_BITS.get(precision, _BITS_PER_BYTE)


def _ways(summary: Summary, *, bits: int, separable: bool) -> Iterator[_Least]:
    yield _restructured(summary.layers, _narrowed, bits, live=_live_narrowed)
    yield _restructured(summary.layers, _cut, bits, live=_live_cut)
    if summary.coarse:
        least = _restructured(summary.coarse, _coarser, bits, live=_live_narrowed)
        yield replace(least, live_elements=max(least.live_elements, _inputs(summary) + _resized(summary)))
    if separable:
        yield _restructured(summary.layers, _separated, bits, live=_live_separated)


def _as_it_is(summary: Summary, precisions: Sequence[Precision], *, onnx: bool) -> _Least:
    multiplying = sum(bool(layer.macs) for layer in summary.layers)
    slide = summary.convolved_count
    # As ONNX w4 is of matrix products: what slides stays in floats there.
    size_bytes = min(
        (summary.kernel_count - slide) * _bits(precision) // _BITS_PER_BYTE
        + slide * (_FLOAT_BITS if onnx and precision is Precision.W4 else _bits(precision)) // _BITS_PER_BYTE
        for precision in precisions
    )
    if summary.quantized:
        size_bytes = min(summary.kernel_count * BITS // _BITS_PER_BYTE, summary.weight_bytes)
    found = largest(summary)
    return _Least(size_bytes, summary.macs or 0, max(1, multiplying), found[1] if found else 0)


def _restructured(layers: Sequence[Layer], shrink: Shrink, bits: int, *, live: Callable[[Layer], int]) -> _Least:
    kept = [layer for layer in layers if layer.stored and layer.kernels and not _folds(layer)]
    size_bytes = macs = 0
    for layer in kept:
        structure_bytes = _STRUCTURE_BYTES if layer.kind in _OPERATORS else 0
        choices = [shrink(layer, kernel) for kernel in layer.kernels]
        size_bytes += sum(min(_file_bytes(parts, bits, structure_bytes) for parts in ways) for ways in choices)
        macs += _positions(layer) * sum(min(map(sum, ways)) for ways in choices)
    return _Least(
        size_bytes=size_bytes,
        macs=macs,
        operators=max(1, sum(layer.kind != "Embedding" for layer in kept)),
        live_elements=max((live(layer) for layer in kept if layer.stays_whole), default=0),
    )


def _file_bytes(parts: Parts, bits: int, structure_bytes: int) -> int:
    return sum(-(-count * bits // _BITS_PER_BYTE) + structure_bytes for count in parts)


def _folds(layer: Layer) -> bool:
    """Whether a part of the kernels may go: that of a state that is always zero, where there is one step."""
    steps = layer.input_shapes[0][1] if layer.input_shapes and len(layer.input_shapes[0]) > 1 else None
    return layer.kind in _RECURRENT and (steps is None or steps < 2)  # noqa: PLR2004


def _positions(layer: Layer) -> int:
    """Return how often a layer multiplies by its kernels; of a recurrent one the first step may fold away."""
    elements = sum(map(prod, layer.kernels))
    positions = (layer.macs or 0) // elements if elements else 0
    return max(0, positions - 1) if layer.kind in _RECURRENT else positions


def _floor(size: int) -> int:
    return ceil(size * CHANNELS)


def _narrowed(_: Layer, kernel: Kernel) -> tuple[Parts, ...]:
    return ((prod(kernel[:-2]) * _floor(kernel[-2]) * _floor(kernel[-1]),),)


def _coarser(layer: Layer, kernel: Kernel) -> tuple[Parts, ...]:
    """A Dense layer behind a Flatten has weights for each position."""
    if layer.kind != "Dense":
        return _narrowed(layer, kernel)
    read = layer.input_shapes[0][-1] if layer.input_shapes else None
    return ((_floor(min(kernel[0], read or 1)) * _floor(kernel[-1]),),)


def _cut(layer: Layer, kernel: Kernel) -> tuple[Parts, ...]:
    whole: Parts = (prod(kernel),)
    if layer.kind not in _CUT:
        return (whole,)
    *size, inputs, outputs = kernel
    halves = [(RANK * prod(size) * inputs, RANK * outputs)]
    if len(size) == 2:  # noqa: PLR2004 - height and width
        halves.append((RANK * size[0] * inputs, RANK * size[1] * outputs))
    return (whole, *halves)


def _separated(layer: Layer, kernel: Kernel) -> tuple[Parts, ...]:
    narrow = _narrowed(layer, kernel)
    if layer.kind not in _FULL:
        return narrow
    *size, inputs, outputs = kernel
    return (*narrow, (prod(size) * _floor(inputs), _floor(inputs) * _floor(outputs)))


def _live_narrowed(layer: Layer) -> int:
    shapes = (*layer.input_shapes, *layer.output_shapes)
    return sum(_elements(shape[:-1]) * _floor(shape[-1] or 1) for shape in shapes if shape)


def _live_separated(layer: Layer) -> int:
    """Each of two parts holds one end, and what is between them."""
    ends = (layer.input_shapes, layer.output_shapes)
    return max(sum(_elements(shape[:-1]) * _floor(shape[-1] or 1) for shape in side if shape) for side in ends)


def _live_cut(layer: Layer) -> int:
    """Of two parts each holds one end and the little between them."""
    ends = [sum(_elements(shape) for shape in side) for side in (layer.input_shapes, layer.output_shapes)]
    return max(ends) if layer.kind in _CUT else sum(ends)


def _inputs(summary: Summary) -> int:
    return sum(_elements(spec.sample_shape) for spec in summary.inputs)


def _resized(summary: Summary) -> int:
    """Return the elements of the smallest input that can be looked at in less detail, at half of its sizes."""
    shapes = [spec.sample_shape for spec in summary.inputs if len(spec.sample_shape) in {2, 3}]
    halves = [_elements([max(1, (size or 1) // 2) for size in shape[:-1]]) * (shape[-1] or 1) for shape in shapes]
    return min(halves, default=0)


def _elements(shape: Sequence[int | None]) -> int:
    return prod(size or 1 for size in shape)


def _on_device(summary: Summary, profile: DeviceProfile, ways: Sequence[_Least]) -> Iterator[Bound]:
    precisions = profile.runtime.precisions
    if profile.runtime.name == "tflm":
        live = min(way.live_elements for way in ways) * _activation_bytes(summary, precisions)
        operators = min(way.operators for way in ways)
        # Inputs and outputs may be smaller than activations: a byte for each value is the least.
        ram_bytes = max(_inputs(summary), live) + operators * _OPERATOR_BYTES
        yield Bound("ram", ram_bytes, "B", "its inputs, or what a layer reads and writes")
    arithmetic = {profile.arithmetic_of(precision) for precision in precisions}
    entries = [item for item in profile.latency if summary.quantized or item.arithmetic in arithmetic]
    if not entries:
        return
    latency_ms = min(_latency_ms(way, entry, profile) for way in ways for entry in entries)
    operators, macs = min(way.operators for way in ways), min(way.macs for way in ways)
    work = f"{macs:,} multiply-accumulates and {operators} operators to start, at the upper end of the band"
    yield Bound("latency", latency_ms, "ms", work)
    if profile.power is not None:
        watts = profile.power.active_mw / 1e3
        yield Bound("energy", latency_ms * watts * profile.power.spread.value, "mJ", work)


def _latency_ms(least: _Least, entry: LatencyEntry, profile: DeviceProfile) -> float:
    """Return the upper end of the band that ``predict_latency`` gives at least."""
    latency_ms = least.macs / entry.macs_per_s(profile.cpu, threads=profile.runtime.threads) * _MS_PER_S
    if entry.overhead is not None:
        latency_ms += least.operators * entry.overhead.value
    return latency_ms * entry.spread.value
