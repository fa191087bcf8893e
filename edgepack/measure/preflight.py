# SPDX-License-Identifier: Apache-2.0
"""What can be said before anything is converted: lower bounds that prove a miss, and what would stop a build.

A bound here is a proof: it counts only what every conversion keeps. What merely looks bad is a warning.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from edgepack.device.budget import Limit
from edgepack.device.profile import DeviceProfile
from edgepack.device.units import format_size
from edgepack.model.model import Format, TensorSpec
from edgepack.model.precision import Precision
from edgepack.model.shapes import format_shape, suggestion, with_batch_of_one
from edgepack.model.summary import Summary
from edgepack.runtime.tflm_ops import ADD_METHODS

Severity = Literal["error", "warning", "info"]
Conclusion = Literal["possible", "infeasible", "needs-attention"]

_BITS_PER_BYTE: Final = 8
# The floor of compression: a quarter of a layer's channels at both of its ends, at 4 bits where 8 are the least
# without it. Below it nothing is tried.
_CHANNEL_FLOOR: Final = 4
_BITS_FLOOR: Final = 2
_WEIGHT_BITS: Final = {Precision.F32: 32, Precision.W16: 16, Precision.W4A8: 4, Precision.W4: 4}
_ACTIVATION_BYTES: Final = {Precision.W8A8: 1, Precision.W8A8_PER_TENSOR: 1, Precision.W8A16: 2, Precision.W4A8: 1}
# Keras layers that look strings up in tables: TFLite has no builtin operator for that.
_NO_BUILTIN: Final = frozenset(
    {"CategoryEncoding", "Hashing", "HashedCrossing", "IntegerLookup", "StringLookup", "TextVectorization"}
)
# Keras layers that become an operator which TFLM has not.
_NOT_ON_TFLM: Final = {"Conv3D": "CONV_3D", "Conv3DTranspose": "CONV_3D_TRANSPOSE"}
_RECURRENT: Final = frozenset({"LSTM", "GRU", "SimpleRNN", "Bidirectional", "ConvLSTM2D", "RNN"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the pre-flight found.

    Attributes:
        severity: ``error`` stops a build or proves a miss, ``warning`` may, ``info`` is good to know.
        code: As of ``edgepack explain``.
        what: The fact, in one sentence.
        where: Layer, input or limit.
        next: What to do about it; empty for an info.
    """

    severity: Severity
    code: str
    what: str
    where: str
    next: str = ""

    @property
    def message(self) -> str:
        """Where and what, in one line."""
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class Preflight:
    """The findings and what follows from them.

    Attributes:
        verdict: ``infeasible`` where a bound proves that a limit is missed, ``needs-attention`` where something has
            to be changed first, else ``possible``.
        findings: Errors first.
        weights_bytes: Least bytes of the weights on this device with every channel kept; None where not known.
        activations_bytes: Least bytes of activations that are alive together, likewise.
    """

    verdict: Conclusion
    findings: tuple[Finding, ...]
    weights_bytes: int | None
    activations_bytes: int | None

    @property
    def infeasible(self) -> bool:
        """Whether a limit is proven to be missed."""
        return self.verdict == "infeasible"


def preflight(summary: Summary, profile: DeviceProfile | None, limits: tuple[Limit, ...]) -> Preflight:
    """Hold a model's summary against a device and its limits, before anything is converted.

    Args:
        summary: What ``inspect`` returned.
        profile: The device; None checks the model alone.
        limits: The active limits.
    """
    attention = [*_open_dimensions(summary), *_bad_weights(summary), *_code(summary), *_layers(summary)]
    proofs: list[Finding] = []
    precisions = profile.runtime.precisions if profile else tuple(Precision)
    weights_bytes, activations_bytes = least_weight_bytes(summary, precisions), None
    proofs += _weights(summary, precisions, limits)
    if profile is not None:
        proofs += _operators(summary, profile)
    if profile is not None and profile.device_class == "mcu":
        activations_bytes = least_activation_bytes(summary, precisions)
        proofs += _activations(summary, precisions, limits)
    findings = sorted([*proofs, *attention], key=lambda item: ("error", "warning", "info").index(item.severity))
    verdict: Conclusion = "possible"
    if any(item.severity == "error" for item in attention):
        verdict = "needs-attention"
    if any(item.severity == "error" for item in proofs):
        verdict = "infeasible"
    return Preflight(verdict, tuple(findings), weights_bytes, activations_bytes)


def least_weight_bytes(summary: Summary, precisions: tuple[Precision, ...]) -> int | None:
    """Return the least bytes that the weights take at the smallest precision of ``precisions``, None if not known."""
    if not summary.kernel_count or not precisions:
        return None
    if summary.quantized:  # used as it is; four-bit weights take half a byte
        return min(summary.kernel_count // 2, summary.weight_bytes)
    bits = min(_WEIGHT_BITS.get(precision, _BITS_PER_BYTE) for precision in precisions)
    return summary.kernel_count * bits // _BITS_PER_BYTE


def least_activation_bytes(summary: Summary, precisions: tuple[Precision, ...]) -> int | None:
    """Return the least bytes of the largest operator's inputs and outputs, which are in memory together."""
    found = _largest(summary)
    if found is None or not precisions:
        return None
    width_bytes = 1 if summary.quantized else min(_ACTIVATION_BYTES.get(precision, 4) for precision in precisions)
    return found[1] * width_bytes


def can_be_restructured(summary: Summary) -> bool:
    """Whether the source holds layers, so that channels can be pruned and weights brought to 4 bits."""
    return summary.format in {Format.KERAS, Format.H5} and not summary.code_layers


def _largest(summary: Summary) -> tuple[str, int] | None:
    known = [
        (layer.name, layer.live_elements)
        for layer in summary.layers
        if layer.stays_whole and layer.live_elements is not None
    ]
    return max(known, key=lambda item: item[1] or 0, default=None)


def _weights(summary: Summary, precisions: tuple[Precision, ...], limits: tuple[Limit, ...]) -> Iterator[Finding]:
    least = least_weight_bytes(summary, precisions)
    for limit in limits:
        if limit.name not in {"size", "flash"}:
            continue
        floor = _CHANNEL_FLOOR**2 * _BITS_FLOOR if can_be_restructured(summary) else 1
        if least is not None and least > limit.value * floor:
            kept = "a quarter of the channels and 4 bits" if floor > 1 else "the smallest precision of this runtime"
            yield Finding(
                "error",
                "EP-130",
                f"the weights alone take {format_size(least // floor)} at {kept}, and "
                f"{limit.name} may be {format_size(limit.value)}: {least / floor / limit.value:.1f}x too much",
                where=f"limit {limit.name} ({limit.origin})",
                next="use a smaller model, a device with more memory, or a higher limit",
            )
        elif least is not None and least > limit.value:
            yield _needs_steps(f"the weights alone take {format_size(least)} with every channel at 8 bits", limit)
        elif least is None and summary.parameter_count > limit.value:
            yield Finding(
                "warning",
                "EP-131",
                f"the model has {summary.parameter_count:,} weights, and {limit.name} may be "
                f"{format_size(limit.value)}: at one byte each they hardly fit",
                where=f"limit {limit.name} ({limit.origin})",
                next="edgepack build tries it; a .keras or .h5 file would be checked more closely",
            )


def _activations(summary: Summary, precisions: tuple[Precision, ...], limits: tuple[Limit, ...]) -> Iterator[Finding]:
    least, largest = least_activation_bytes(summary, precisions), _largest(summary)
    floor = _CHANNEL_FLOOR if can_be_restructured(summary) else 1
    for limit in limits:
        if limit.name != "ram" or least is None or largest is None or least <= limit.value:
            continue
        words = f"input and output of {largest[0]!r} take {format_size(least)} together"
        if least <= limit.value * floor:
            yield _needs_steps(words, limit)
        else:
            kept = "" if floor == 1 else f", {format_size(least // floor)} at a quarter of the channels"
            yield Finding(
                "error",
                "EP-132",
                f"{words}{kept}, and ram may be {format_size(limit.value)}",
                where=f"limit ram ({limit.origin})",
                next="use a smaller input or fewer channels there, a device with more RAM, or a higher limit",
            )


def _needs_steps(words: str, limit: Limit) -> Finding:
    return Finding(
        "warning",
        "EP-136",
        f"{words}, and {limit.name} may be {format_size(limit.value)}: only steps that restructure or train can do it",
        where=f"limit {limit.name} ({limit.origin})",
        next="give edgepack build training samples (--train, or a source with a train part)",
    )


def _operators(summary: Summary, profile: DeviceProfile) -> Iterator[Finding]:
    if profile.runtime.name != "tflm":
        return
    for name, count in summary.op_counts:
        builtin = name.partition(" v")[0]
        missing = summary.format is Format.TFLITE and builtin not in ADD_METHODS and not builtin.startswith("CUSTOM:")
        if missing or name in _NOT_ON_TFLM:
            what = (
                f"{name} ({_times(count)})"
                if missing
                else f"{name} ({_times(count)}), which becomes {_NOT_ON_TFLM[name]},"
            )
            yield Finding(
                "error",
                "EP-133",
                f"{what} has no kernel in the runtime {profile.runtime.name} of {profile.name}",
                where=_where(summary, builtin),
                next="replace that layer, or choose a device whose runtime has it (edgepack devices list)",
            )
        elif builtin.startswith("CUSTOM:") or name in _RECURRENT:
            yield Finding(
                "warning",
                "EP-134",
                f"{name} ({_times(count)}) may become operators that {profile.runtime.name} does not have",
                where=_where(summary, builtin),
                next="edgepack build converts it and says which",
            )


def _where(summary: Summary, kind: str) -> str:
    names = [layer.name for layer in summary.layers if layer.kind == kind]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")  # noqa: PLR2004


def _times(count: int) -> str:
    return "1 use" if count == 1 else f"{count} uses"


def _open_dimensions(summary: Summary) -> Iterator[Finding]:
    for spec in summary.inputs:
        if spec.shape[:1] == (None,):
            yield Finding("info", "EP-112", f"batch of {format_shape(spec.shape)} will be fixed to 1", _input(spec))
        if None in with_batch_of_one(spec.shape):
            yield Finding(
                "error",
                "EP-112",
                f"its shape is {format_shape(spec.shape)}: a dimension other than the batch is open",
                where=_input(spec),
                next=f"--shape {suggestion(spec)}",
            )


def _input(spec: TensorSpec) -> str:
    return f"input {spec.name}"


def _bad_weights(summary: Summary) -> Iterator[Finding]:
    for found in summary.non_finite:
        yield Finding(
            "error",
            "EP-110",
            str(found),
            where="weights",
            next="the training has diverged: train again with a lower learning rate or clipped gradients",
        )


def _code(summary: Summary) -> Iterator[Finding]:
    for layer in summary.code_layers:
        if layer.embedded:
            what = f"{layer.kind} with Python code inside the file"
            following = "if you wrote the model or trust who did: edgepack build --trust-model-code"
        else:
            what = f"class {layer.kind} is not part of Keras, and the file only names it"
            following = "where that class is defined, run model.export('folder'), and give edgepack the folder"
        yield Finding(
            "error", "EP-111" if layer.embedded else "EP-115", what, where=f"layer {layer.name}", next=following
        )


def _layers(summary: Summary) -> Iterator[Finding]:
    for name, count in summary.op_counts:
        if summary.format in {Format.KERAS, Format.H5} and name in _NO_BUILTIN:
            yield Finding(
                "error",
                "EP-135",
                f"{name} ({_times(count)}) looks strings up, for which TFLite has no builtin operator",
                where=_where(summary, name),
                next="leave that layer out of the exported model, and do its work before the model",
            )
