# SPDX-License-Identifier: Apache-2.0
"""Latency and energy on the device, predicted from its profile: always a band, never a bare number.

The model is a roofline summed over operators, ``t = MACs / rate + bytes / bandwidth + operators * overhead`` (Williams
et al., 2009, https://doi.org/10.1145/1498765.1498785, with the sum in place of the maximum). Its parameters and the
width of the band come from the profile; a fit for another runtime version is widened there, not here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from edgepack.device.parts import LatencyEntry
from edgepack.device.profile import DeviceProfile, RuntimeSpec
from edgepack.errors import ProfileError
from edgepack.figure import Evidence, Figure
from edgepack.graph.context import Rates
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import TfliteGraph

_MS_PER_S = 1e3
_PACKED = frozenset({"int4", "int2"})
UNPACKING = 4.2
"""How many times as long a kernel multiplies that widens its weights: with LiteRT 2.3 on x86-64, one thread, ResNet-8
took 4.0 times as long with 8 of 10 layers at 4 bits as with all at 8 (medians of 800 pairs)."""


@dataclass(frozen=True, slots=True)
class OpCost:
    """What one operator of a lowered graph costs, whatever the device.

    Attributes:
        kind: Operator name, such as ``CONV_2D``.
        macs: Multiply-accumulates of one inference.
        bytes_moved: Weights, inputs and outputs, in bytes of their own types.
        unpacks: Its weights have fewer than 8 bits, and are widened before or while they are multiplied.
    """

    kind: str
    macs: int
    bytes_moved: int
    unpacks: bool = False


def op_costs(graph: TfliteGraph) -> tuple[OpCost, ...]:
    """Return one cost per operator; bytes are weights plus every input and output, each at its own width."""
    packed = {op.outputs for op, weights in graph.weights if weights.dtype in _PACKED}
    return tuple(
        OpCost(kind=op.name, macs=op.macs, bytes_moved=moved, unpacks=op.outputs in packed)
        for op, moved in graph.traffic
    )


def predict_latency(
    ops: Sequence[OpCost], profile: DeviceProfile, *, runtime: RuntimeSpec, precision: Precision
) -> Figure:
    """Predict the latency of one inference on the device.

    Args:
        ops: The operators of the lowered graph.
        profile: The device.
        runtime: The runtime that it is predicted for; its threads share the work.
        precision: Decides which arithmetic the multiplications run on: float for ``f32``, ``w16`` and ``w8``
            (activations stay float), int8 for ``w8a8`` and ``w8a8-per-tensor``, int16 for ``w8a16``.

    Returns:
        Milliseconds, with the profile's band, widened where the runtime is another engine than it was fitted to; its
        level is None where the band is not statistical. The upper end lets operators with packed weights take longer,
        for no profile has timings of those.

    Raises:
        ProfileError: EP-345 the profile has no parameters for that arithmetic, EP-346 the runtime is not one of the
            profile's.
    """
    if runtime not in profile.runtimes:
        names = ", ".join(f"{known.name} {known.version}" for known in profile.runtimes)
        raise ProfileError(
            "EP-346",
            f"no latency is known for {runtime.name} {runtime.version} on {profile.name}, which has {names}",
            hint="name the runtime in the device profile",
        )
    entry = profile.latency_of(precision)
    rates = _rates(entry, profile, runtime)
    latency_ms = _latency_ms(ops, rates)
    slower_ms = (UNPACKING - 1) * sum(op.macs for op in ops if op.unpacks) / rates.macs_per_s * _MS_PER_S
    widen = runtime.widen.value if runtime.widen else 1.0
    spread = entry.spread.value * widen
    return Figure(
        value=latency_ms,
        unit="ms",
        evidence=Evidence.PREDICTED,
        ci_low=latency_ms / spread,
        ci_high=(latency_ms + slower_ms) * spread,
        ci_level=entry.level.value if entry.level and not slower_ms and widen == 1.0 else None,
    )


def latency_rates(profile: DeviceProfile, *, runtime: RuntimeSpec) -> dict[Precision, Rates]:
    """Return what ``predict_latency`` goes by, by precision; those are left out that the profile does not predict."""
    known = {entry.arithmetic for entry in profile.latency}
    return {
        precision: _rates(profile.latency_of(precision), profile, runtime)
        for precision in Precision
        if profile.arithmetic_of(precision) in known
    }


def _rates(entry: LatencyEntry, profile: DeviceProfile, runtime: RuntimeSpec) -> Rates:
    return Rates(
        macs_per_s=entry.macs_per_s(profile.cpu, threads=runtime.threads),
        bytes_per_s=inf if entry.bandwidth is None else entry.bandwidth.value,
        operator_ms=0.0 if entry.overhead is None else entry.overhead.value,
    )


def latency_shares(
    ops: Sequence[OpCost], profile: DeviceProfile, *, runtime: RuntimeSpec, precision: Precision
) -> tuple[float, ...]:
    """Return the part of the predicted latency that each operator has; together 1, all 0 where nothing takes time.

    Args and errors are those of ``predict_latency``.
    """
    rates = _rates(profile.latency_of(precision), profile, runtime)
    each_ms = [_latency_ms([op], rates) for op in ops]
    total_ms = sum(each_ms)
    return tuple(one_ms / total_ms if total_ms else 0.0 for one_ms in each_ms)


def _latency_ms(ops: Sequence[OpCost], rates: Rates) -> float:
    """Return the time to multiply, to move bytes and to start each operator."""
    moved = sum(op.bytes_moved for op in ops)
    return rates.ms(macs=sum(op.macs for op in ops), bytes_moved=moved, operators=len(ops))


def predict_energy(latency: Figure, profile: DeviceProfile) -> Figure | None:
    """Predict the energy of one inference in mJ: active power times latency, both bands multiplied.

    On the boards of MLPerf Tiny energy over latency is constant for a board and a mode (a median variation of 4%).

    Returns:
        None where the profile has no power.
    """
    if profile.power is None:
        return None
    watts, spread = profile.power.active_mw / 1e3, profile.power.spread.value
    low = latency.value if latency.ci_low is None else latency.ci_low
    return Figure(
        value=latency.value * watts,
        unit="mJ",
        evidence=Evidence.PREDICTED,
        ci_low=low * watts / spread,
        ci_high=latency.upper * watts * spread,
        ci_level=None,
    )


def how_to_narrow(profile: DeviceProfile) -> str:
    """Return what would narrow the latency band of this device, in one sentence."""
    spread = max(entry.spread.value for entry in profile.latency)
    if all(entry.evidence == "fitted" for entry in profile.latency):
        known = "is fitted to published timings of other runtime versions"
    elif any(entry.evidence == "fitted" for entry in profile.latency):
        known = "is fitted to published timings for some precisions and taken from the datasheet for others"
    elif profile.runtime.provider is not None:
        known = "comes from the GPU's peak on its datasheet and was not measured on the device"
    else:
        known = "comes from clock and core, not from timings of this runtime there"
    timed = "run the bundle's benchmark.py" if profile.device_class == "linux" else "time the bundle's firmware"
    return (
        f"{profile.name}'s latency {known} (a factor of up to {spread:g} either way); to narrow it, {timed}"
        " on the board and write the rate that follows, multiply-accumulates over the p50, into a profile of your own"
        f" (edgepack devices new my-{profile.name} --from {profile.name})."
    )
