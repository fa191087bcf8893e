# SPDX-License-Identifier: Apache-2.0
"""What can be said before anything is converted: limits that are proven to be missed, and what would stop a build.

A proof is a lower bound above a limit, or an operator that the runtime has not. What merely looks bad is a warning.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from edgepack.compress.floor import floor_words
from edgepack.device.budget import Limit
from edgepack.device.profile import DeviceProfile
from edgepack.device.units import format_quantity, format_size
from edgepack.measure.attention import attention
from edgepack.measure.bounds import (
    Bound,
    can_be_restructured,
    largest,
    least_activation_bytes,
    least_weight_bytes,
    lower_bounds,
)
from edgepack.measure.finding import Finding, layers_of_kind, times
from edgepack.measure.measurement import LimitVerdict, State, Verdict
from edgepack.model.model import Format
from edgepack.model.precision import Precision
from edgepack.model.summary import Summary
from edgepack.runtime.tflm_ops import ADD_METHODS

Conclusion = Literal["possible", "infeasible", "needs-attention"]

_CODES: Final = {"size": "EP-130", "flash": "EP-130", "ram": "EP-132", "latency": "EP-137", "energy": "EP-137"}
# Keras layers that become an operator which TFLM has not.
_NOT_ON_TFLM: Final = {"Conv3D": "CONV_3D", "Conv3DTranspose": "CONV_3D_TRANSPOSE"}
_MAYBE_NOT_ON_TFLM: Final = frozenset(
    {"LSTM", "GRU", "SimpleRNN", "Bidirectional", "ConvLSTM2D", "RNN"}
    | {"Gelu", "Erf"}  # of an .onnx: TFLite has GELU, TFLM has not
)


@dataclass(frozen=True, slots=True)
class Preflight:
    """The findings and what follows from them.

    Attributes:
        verdict: ``infeasible`` where a bound proves that a limit is missed, ``needs-attention`` where something has
            to be changed first, else ``possible``.
        findings: Errors first.
        weights_bytes: Least bytes of the weights on this device with every channel kept; None where not known.
        activations_bytes: Least bytes of activations that are alive together, likewise.
        bounds: What no candidate costs less than.
    """

    verdict: Conclusion
    findings: tuple[Finding, ...]
    weights_bytes: int | None
    activations_bytes: int | None
    bounds: tuple[Bound, ...] = ()

    @property
    def infeasible(self) -> bool:
        """Whether it is proven that nothing can fit."""
        return self.verdict == "infeasible"

    @property
    def proofs(self) -> tuple[Finding, ...]:
        """The findings that prove it; empty where nothing is proven."""
        return tuple(item for item in self.findings if item.severity == "error") if self.infeasible else ()

    def least(self, limit: str) -> Bound | None:
        """Return the bound of what the limit named ``limit`` limits, None where none is known."""
        name = "size" if limit == "flash" else limit
        return next((bound for bound in self.bounds if bound.name == name), None)


def preflight(
    summary: Summary, profile: DeviceProfile | None, limits: tuple[Limit, ...], *, separable: bool = False
) -> Preflight:
    """Hold a model's summary against a device and its limits, before anything is converted.

    Args:
        summary: What ``inspect`` returned.
        profile: The device; None checks the model alone.
        limits: The active limits.
        separable: Convolutions may become separable.
    """
    alone = tuple(attention(summary, profile))
    precisions = profile.runtime.precisions if profile else tuple(Precision)
    arena = profile is not None and profile.runtime.name == "tflm"
    found = Preflight(
        verdict="possible",
        findings=(),
        weights_bytes=least_weight_bytes(summary, precisions),
        activations_bytes=least_activation_bytes(summary, precisions) if arena else None,
        bounds=lower_bounds(summary, profile, separable=separable),
    )
    proofs = [finding for limit in limits for finding in _against(limit, found, summary)]
    if profile is not None:
        proofs += _operators(summary, profile)
    findings = sorted([*proofs, *alone], key=lambda item: ("error", "warning", "info").index(item.severity))
    verdict: Conclusion = "possible"
    if any(item.severity == "error" for item in alone):
        verdict = "needs-attention"
    if any(item.severity == "error" for item in proofs):
        verdict = "infeasible"
    return replace(found, verdict=verdict, findings=tuple(findings))


def judge_bounds(found: Preflight, limits: Sequence[Limit]) -> Verdict:
    """Return the verdict of bounds alone: what is proven to be missed by its bound, all else unmeasured."""
    return Verdict(tuple(_judged(limit, found.least(limit.name)) for limit in limits))


def _judged(limit: Limit, bound: Bound | None) -> LimitVerdict:
    least = None if bound is None or bound.value <= limit.value else bound.value
    known = "" if bound is None else f"; at least {format_quantity(bound.value, bound.unit)}"
    return LimitVerdict(
        name=limit.name,
        limit=limit.value,
        unit=limit.unit,
        value=least,
        gated_on=least,
        state=State.UNMEASURED if least is None else State.MISSED,
        certain=least is not None,
        headroom=None if least is None else limit.value - least,
        origin=limit.origin,
        note=f"nothing was made to measure it{known}" if least is None else "a lower bound: no recipe was tried",
    )


def _against(limit: Limit, found: Preflight, summary: Summary) -> Iterator[Finding]:
    """Yield the proof that ``limit`` is missed, or what makes it hard to meet."""
    bound = found.least(limit.name)
    if bound is not None and bound.value > limit.value:
        least, allowed = (format_quantity(value, limit.unit) for value in (bound.value, limit.value))
        yield Finding(
            "error",
            _CODES[limit.name],
            f"{limit.name} is at least {least} ({bound.because}) and may be {allowed}: "
            f"{bound.value / limit.value:.3g} times too much",
            where=f"limit {limit.name} ({limit.origin})",
            next=_how_to_pass(summary),
        )
    elif limit.name in {"size", "flash"}:
        yield from _weights(limit, found.weights_bytes, summary)
    elif limit.name == "ram":
        yield from _activations(limit, found.activations_bytes, summary)


def _how_to_pass(summary: Summary) -> str:
    if not can_be_restructured(summary):
        return "use a smaller model, another device or a higher limit; a .keras, .h5 or .onnx file can be made smaller"
    return (
        f"nothing is tried below {floor_words()}: use a smaller model, another device or a higher limit, "
        "or name a recipe that goes further"
    )


def _weights(limit: Limit, least: int | None, summary: Summary) -> Iterator[Finding]:
    if least is not None and least > limit.value and can_be_restructured(summary):
        yield _needs_steps(f"the weights alone take {format_size(least)} with every channel at 8 bits", limit)
    elif summary.parameter_count > limit.value and (least is None or summary.format is Format.SAVEDMODEL):
        yield Finding(
            "warning",
            "EP-131",
            f"the model has {summary.parameter_count:,} weights, and {limit.name} may be "
            f"{format_size(limit.value)}: at one byte each they hardly fit",
            where=f"limit {limit.name} ({limit.origin})",
            next="edgepack build tries it; a .keras, .h5 or .onnx file would be checked more closely",
        )


def _activations(limit: Limit, least: int | None, summary: Summary) -> Iterator[Finding]:
    found = largest(summary)
    if least is not None and found is not None and least > limit.value:
        yield _needs_steps(f"input and output of {found[0]!r} take {format_size(least)} together", limit)


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
                f"{name} ({times(count)})"
                if missing
                else f"{name} ({times(count)}), which becomes {_NOT_ON_TFLM[name]},"
            )
            yield Finding(
                "error",
                "EP-133",
                f"{what} has no kernel in the runtime {profile.runtime.name} of {profile.name}",
                where=layers_of_kind(summary, builtin),
                next="replace that layer, or choose a device whose runtime has it (edgepack devices list)",
            )
        elif builtin.startswith("CUSTOM:") or name in _MAYBE_NOT_ON_TFLM:
            yield Finding(
                "warning",
                "EP-134",
                f"{name} ({times(count)}) may become operators that {profile.runtime.name} does not have",
                where=layers_of_kind(summary, builtin),
                next="edgepack build converts it and says which",
            )
