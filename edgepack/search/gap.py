# SPDX-License-Identifier: Apache-2.0
"""How far the candidates so far are from the limits: what steps aim at."""

from collections.abc import Sequence

from edgepack.compress.step import Gap
from edgepack.device.budget import Limit
from edgepack.device.profile import DeviceProfile
from edgepack.measure.judge import ACCURACY_LIMITS
from edgepack.measure.latency import UNPACKING
from edgepack.measure.measurement import LimitVerdict, State
from edgepack.model.precision import Precision
from edgepack.search.candidate import Candidate
from edgepack.search.families import Ceilings

_COSTS = ("size", "ram", "latency", "energy", "download")
_SUPPOSED = 0.5


def gap_of(candidates: Sequence[Candidate], profile: DeviceProfile) -> Gap:
    """Return the gap of the candidate whose costs come closest: the steps start from its precision.

    A limit binds where even that candidate misses it; accuracy binds where a candidate misses nothing else.
    """
    judged = [item for item in candidates if item.verdict is not None and item.failure is None]
    if not judged:
        return Gap()
    best = min(judged, key=lambda item: sum(_excess(limit) for limit in _missed(item) if limit.name in _COSTS))
    missed = {limit.name: limit for limit in _missed(best)}
    costs = {name: missed[name] for name in _COSTS if name in missed}
    energy_ms = _latency_for_energy(missed["energy"].limit, profile) if "energy" in costs else None
    latency_ms = [limit_ms for limit_ms in (_limit(costs, "latency"), energy_ms) if limit_ms is not None]
    return Gap(
        **{name: limit.limit / (limit.gated_on or limit.limit) for name, limit in costs.items()},
        drop=_drop_gap(missed),
        size_bytes=_whole(costs, "size"),
        ram_bytes=_whole(costs, "ram"),
        latency_ms=min(latency_ms) if latency_ms else None,
        download_bytes=_whole(costs, "download"),
    )


def supposed(limits: Sequence[Limit], profile: DeviceProfile) -> Gap:
    """Return the gap as it would be if candidates missed every one of ``limits`` by half: what a plan goes by."""
    values = {limit.name: limit.value for limit in limits}
    energy_ms = _latency_for_energy(values["energy"], profile) if "energy" in values else None
    latency_ms = [limit_ms for limit_ms in (values.get("latency"), energy_ms) if limit_ms is not None]
    return Gap(
        **{name: _SUPPOSED for name in _COSTS if name in values},
        drop=1 / _SUPPOSED if ACCURACY_LIMITS & set(values) else None,
        size_bytes=int(values["size"]) if "size" in values else None,
        ram_bytes=int(values["ram"]) if "ram" in values else None,
        latency_ms=min(latency_ms) if latency_ms else None,
        download_bytes=int(values["download"]) if "download" in values else None,
    )


def ceilings_of(limits: Sequence[Limit], profile: DeviceProfile, tried: Sequence[Candidate] = ()) -> Ceilings:
    """Return the limits on memory and time that can be aimed at on a device before an artifact runs.

    A time that the whole model keeps even with all its weights to unpack is none to aim at: where nothing aims at it,
    devices of another speed get the same graphs.
    """
    values = {limit.name: limit.value for limit in limits}
    energy_ms = _latency_for_energy(values["energy"], profile) if "energy" in values else None
    latency_ms = [limit_ms for limit_ms in (values.get("latency"), energy_ms) if limit_ms is not None]
    arena = profile.device_class == "mcu" and "ram" in values
    return Ceilings(
        ram_bytes=int(values["ram"]) if arena else None,
        latency_ms=min(latency_ms) if latency_ms and not _keeps(tried, min(latency_ms)) else None,
    )


def _keeps(tried: Sequence[Candidate], latency_ms: float) -> bool:
    """Whether a model with all its channels in 8 bits is so fast that 4-bit weights cannot be too slow."""
    whole = [item for item in tried if not item.recipe.steps and item.recipe.precision.default is Precision.W8A8]
    known = [item.measurement.latency for item in whole if item.measurement.latency is not None]
    return any(figure.upper * UNPACKING <= latency_ms for figure in known)


def _missed(candidate: Candidate) -> tuple[LimitVerdict, ...]:
    return tuple(limit for limit in candidate.verdict.open if limit.state is State.MISSED) if candidate.verdict else ()


def _excess(limit: LimitVerdict) -> float:
    return (limit.gated_on or limit.limit) / limit.limit - 1.0


def _drop_gap(missed: dict[str, LimitVerdict]) -> float | None:
    """Return the drop over the drop allowed; 2 where a floor under the metric is missed, whatever by."""
    if not ACCURACY_LIMITS & set(missed):
        return None
    drop = missed.get("drop")
    if drop is None or drop.gated_on is None or drop.limit <= 0:
        return 2.0
    return drop.gated_on / drop.limit


def _limit(costs: dict[str, LimitVerdict], name: str) -> float | None:
    return costs[name].limit if name in costs else None


def _whole(costs: dict[str, LimitVerdict], name: str) -> int | None:
    return int(costs[name].limit) if name in costs else None


def _latency_for_energy(limit_mj: float, profile: DeviceProfile) -> float | None:
    """Return the latency whose predicted energy, at the upper end of both bands, is the limit."""
    if profile.power is None:
        return None
    return limit_mj / (profile.power.active_mw / 1e3 * profile.power.spread.value)
