# SPDX-License-Identifier: Apache-2.0
"""RAM of one inference: the arena as TFLM allocates it, or the resident growth of a process on Linux."""

import re
from collections.abc import Iterable
from pathlib import Path

from edgepack.device.profile import DeviceProfile, RuntimeSpec
from edgepack.errors import CandidateError
from edgepack.figure import Evidence, Figure
from edgepack.lower.artifact import Artifact
from edgepack.measure._cmsis_nn import Core
from edgepack.measure._cmsis_nn import scratch_bytes as cmsis_nn_scratch_bytes
from edgepack.measure._esp_nn import scratch_bytes as esp_nn_scratch_bytes
from edgepack.model.tflite_file import TfliteGraph, read_tflite
from edgepack.runtime.session import RuntimeSession

ARENA_STEP_BYTES = 16
MIB = 1 << 20
# Allocators and library versions differ between this machine and the device; the margin is a choice, not a statistic.
RESIDENT_MARGIN = 1.2
_RESIDENT_RUNS = 3

_TOTAL = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_ITEM = re.compile(r"'([^']+)' used (\d+) bytes")

RamItems = tuple[tuple[str, int], ...]


def ram(
    artifact: Artifact,
    *,
    runtime: RuntimeSpec,
    profile: DeviceProfile,
    session: RuntimeSession,
    inputs: tuple[Path, ...],
) -> tuple[Figure, RamItems]:
    """Return the RAM that ``artifact`` takes in the device's runtime, and the ledger behind it.

    Raises:
        CandidateError: As ``arena`` and ``resident``.
    """
    if runtime.name == "tflm":
        return arena(artifact, session=session, runtime=runtime, profile=profile)
    return resident(artifact, session=session, inputs=inputs)


def arena(
    artifact: Artifact, *, session: RuntimeSession, runtime: RuntimeSpec, profile: DeviceProfile
) -> tuple[Figure, RamItems]:
    """Return the smallest tensor arena that allocates, in bytes, and where it goes.

    Computed by TFLM itself on this 64-bit host with reference kernels: pointers in the tail are wider than on the
    device. ``ci_high`` adds the largest scratch that the profile's optimized kernels may ask for.

    Raises:
        CandidateError: TFLM refuses the model (EP-602), its process died (EP-603), or it says nothing about the
            arena (EP-612).
    """
    text = session.arena_ledger(artifact)
    parts = {name: int(size) for name, size in _TOTAL.findall(text)}
    if set(parts) != {"total", "head", "tail"}:
        raise CandidateError("EP-612", f"TFLM printed no arena ledger for {artifact.path}: {text[:200]!r}")
    smallest = _smallest(artifact, session, recorded_bytes=parts["total"])
    items = [
        ("smallest arena that allocates (64-bit host, reference kernels)", smallest),
        ("head: activations and scratch", parts["head"]),
        ("tail: what stays for the model's lifetime", parts["tail"]),
        *((f"tail: {name}", int(size)) for name, size in _ITEM.findall(text)),
    ]
    library, extra = kernel_scratch(read_tflite(artifact.path), kernels=runtime.kernels, isa=profile.cpu.isa)
    if library:
        items.append((f"{library} scratch at most", extra))
    upper = float(smallest + extra)
    return Figure(float(smallest), "B", Evidence.COMPUTED, ci_low=float(smallest), ci_high=upper), tuple(items)


def kernel_scratch(graph: TfliteGraph, *, kernels: str, isa: Iterable[str]) -> tuple[str, int]:
    """Return the library of optimized kernels, in words, and the most scratch, in bytes, that one operator asks of it.

    Scratch lives only while its operator runs, so the largest bounds what all of them add to an arena. Reference
    kernels ask for none beyond what was measured: an empty name and 0.
    """
    match kernels:
        case "cmsis-nn":
            core = Core.of(isa)
            return "CMSIS-NN", max((cmsis_nn_scratch_bytes(graph, op, core) for op in graph.ops), default=0)
        case "esp-nn":
            return "ESP-NN", max((esp_nn_scratch_bytes(graph, op) for op in graph.ops), default=0)
        case _:
            return "", 0


def code_path(runtime: RuntimeSpec, profile: DeviceProfile) -> str:
    """Return what of a device decides the scratch that its kernels ask for: equal paths, equal arenas."""
    core = Core.of(profile.cpu.isa).value if runtime.kernels == "cmsis-nn" else ""
    return " ".join(filter(None, (runtime.kernels, core)))


def resident(artifact: Artifact, *, session: RuntimeSession, inputs: tuple[Path, ...]) -> tuple[Figure, RamItems]:
    """Return the growth of a process's peak resident memory over the bare runtime, in whole MiB, given in bytes.

    Each of a few fresh processes loads the model and runs the first sample once; the largest growth counts. Taken on
    this machine, so ``ci_high`` puts 20% on top, and both are rounded up to whole MiB so that a page more or less does
    not decide.

    Raises:
        CandidateError: The runtime refuses the model (EP-602), its process died (EP-603), or the inputs do not suit
            (EP-604).
    """
    growth_bytes = max(session.growth_bytes(artifact, inputs) for _ in range(_RESIDENT_RUNS))
    value = _whole_mib(growth_bytes)
    upper = _whole_mib(value * RESIDENT_MARGIN)
    name = f"resident growth over the bare {session.backend} process (this machine)"
    figure = Figure(float(value), "B", Evidence.HOST, ci_low=float(value), ci_high=float(upper), n=_RESIDENT_RUNS)
    return figure, ((name, value), ("20% margin, in whole MiB", upper - value))


def _smallest(artifact: Artifact, session: RuntimeSession, *, recorded_bytes: int) -> int:
    """Bisect to the smallest arena, in steps of 16 bytes; planning may need more than what stays allocated."""
    high = -(-recorded_bytes // ARENA_STEP_BYTES)
    low = 0
    while not session.allocates_in(artifact, high * ARENA_STEP_BYTES):
        low, high = high, high + max(1, high // 16)
    if low == 0:
        low = _failing_below(artifact, session, high)
    while high - low > 1:
        middle = (low + high) // 2
        if session.allocates_in(artifact, middle * ARENA_STEP_BYTES):
            high = middle
        else:
            low = middle
    return high * ARENA_STEP_BYTES


def _failing_below(artifact: Artifact, session: RuntimeSession, high: int) -> int:
    """Return a number of steps below ``high`` that does not allocate, near it where there is one."""
    step = max(1, high // 64)
    low = high - step
    while low > 0 and session.allocates_in(artifact, low * ARENA_STEP_BYTES):
        step *= 2
        low -= step
    return max(0, low)


def _whole_mib(size_bytes: float) -> int:
    return -int(-size_bytes // MIB) * MIB
