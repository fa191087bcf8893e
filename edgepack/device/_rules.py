# SPDX-License-Identifier: Apache-2.0
"""What must hold between the parts of a profile; the types alone cannot say it."""

from typing import TYPE_CHECKING

from edgepack.device.facts import Fact
from edgepack.device.parts import Arithmetic, LatencyEntry, RuntimeSpec
from edgepack.device.units import FieldError, format_size
from edgepack.device.wheels import check_runtime
from edgepack.model.precision import Precision
from edgepack.registry import nearest

if TYPE_CHECKING:
    from pydantic import BaseModel

    from edgepack.device.profile import DeviceProfile

# A fit for another version of a runtime was off by up to 2.9 on one board, by 5 and more across engines; a band from
# clock and core alone needs more again. Narrower claims are refused.
LEAST_SPREAD_OTHER_VERSION = 2.0
LEAST_SPREAD_DATASHEET = 4.0
LEAST_SPREAD_OTHER_ENGINE = 5.0
_ON_A_GPU = frozenset({Precision.F32, Precision.W16, Precision.W8A8, Precision.W8A8_PER_TENSOR})
_ENGINES = {"litert": "tflite", "tflite-runtime": "tflite"}


def check_profile(profile: "DeviceProfile") -> None:
    """Check everything that spans two keys.

    Raises:
        FieldError: The first thing that does not hold, with the path that leads to it.
    """
    _check_sources(profile, profile, ())
    _check_memory(profile)
    _check_runtimes(profile)
    seen: dict[Arithmetic, int] = {}
    for index, entry in enumerate(profile.latency):
        if entry.arithmetic in seen:
            what = f"a second entry for {entry.arithmetic}; entry {seen[entry.arithmetic]} is the first"
            raise FieldError(
                "EP-322", what, "keep one entry for each arithmetic", path=("latency", index, "arithmetic")
            )
        seen[entry.arithmetic] = index
        _check_entry(profile, entry, index)
    _check_coverage(profile)
    _check_widening(profile)


def _check_sources(profile: "DeviceProfile", part: "BaseModel", path: tuple[str | int, ...]) -> None:
    from pydantic import BaseModel

    for name, field in type(part).model_fields.items():
        value, here = getattr(part, name), (*path, field.alias or name)
        for index, item in enumerate(value) if isinstance(value, tuple) else ((None, value),):
            place = here if index is None else (*here, index)
            if isinstance(item, Fact) and item.source not in profile.sources:
                what = f"no source {item.source!r}; {nearest(item.source, list(profile.sources))}"
                raise FieldError("EP-308", what, "list it under sources, with text and mark", path=(*place, "source"))
            if isinstance(item, BaseModel):
                _check_sources(profile, item, place)


def _check_memory(profile: "DeviceProfile") -> None:
    for name, region in profile.memory.regions():
        if region.available_bytes <= 0:
            what = f"{format_size(region.reserved_bytes)} reserved of {format_size(region.total_bytes)} leaves nothing"
            raise FieldError(
                "EP-323", what, "total is all of it, reserved is a part", path=("memory", name, "reserved")
            )
    if profile.device_class == "mcu" and profile.memory.flash is None:
        raise FieldError("EP-323", "a microcontroller needs its flash", "add memory.flash.total", path=("memory",))


def _check_runtimes(profile: "DeviceProfile") -> None:
    for index, runtime in enumerate(profile.runtimes):
        path = ("runtimes", index)
        try:
            check_runtime(
                runtime.name,
                runtime.version,
                kernels=runtime.kernels,
                arch=profile.cpu.arch,
                device_class=profile.device_class,
            )
        except FieldError as fault:
            raise FieldError(fault.code, fault.what, fault.hint, path=(*path, *fault.path)) from None
        if runtime.threads > profile.cpu.cores:
            what = f"{runtime.threads} threads on {profile.cpu.cores} cores"
            raise FieldError("EP-321", what, "write at most as many threads as cores", path=(*path, "threads"))
        if len(set(runtime.precisions)) != len(runtime.precisions):
            raise FieldError("EP-321", "a precision twice", "name each precision once", path=(*path, "precisions"))
        if runtime.provider is not None:
            _check_provider(profile, runtime, path)


def _check_provider(profile: "DeviceProfile", runtime: RuntimeSpec, path: tuple[str | int, ...]) -> None:
    place = (*path, "provider")
    if runtime.name != "onnxruntime":
        raise FieldError("EP-321", f"{runtime.name} has no providers", "take it out, or name onnxruntime", path=place)
    if profile.gpu is None:
        raise FieldError("EP-321", "a provider without a GPU", "describe the GPU: gpu: {name: ...}", path=place)
    if runtime.origin is None:
        what = "a runtime for a GPU that does not say where its package comes from: the package index has none"
        raise FieldError("EP-321", what, "add origin, with its source", path=path)
    if any(other.provider is None for other in profile.runtimes):
        what = "runtimes on the GPU and on the processor in one profile: its latency entries hold for one of them"
        raise FieldError("EP-321", what, "write a profile for each", path=place)
    foreign = [precision.value for precision in runtime.precisions if precision not in _ON_A_GPU]
    if foreign:
        what = f"{', '.join(foreign)} would run on the processor: the GPU has no kernels for it"
        hint = f"keep to {', '.join(sorted(_ON_A_GPU))}"
        raise FieldError("EP-321", what, hint, path=(*path, "precisions"))


def _check_entry(profile: "DeviceProfile", entry: LatencyEntry, index: int) -> None:
    path = ("latency", index)
    if (entry.rate is None) == (entry.macs_per_cycle is None):
        raise FieldError("EP-322", "an entry has either rate or macs_per_cycle", "write one of the two", path=path)
    if entry.evidence == "datasheet":
        _check_spread(entry, LEAST_SPREAD_DATASHEET, "a datasheet band", path)
        return
    if entry.on is None or entry.rate is None:
        what = "a fitted entry needs rate, and on: the runtime, version and threads that it was fitted on"
        raise FieldError("EP-322", what, "add them, or write evidence: datasheet", path=path)
    if not any(entry.fits_key(runtime) for runtime in profile.runtimes):
        what = f"a fit for {entry.on.runtime} {entry.on.version}, which is not a runtime of this profile,"
        _check_spread(entry, LEAST_SPREAD_OTHER_VERSION, what, path)
    elif entry.spread.value < 1:
        raise FieldError(
            "EP-322", f"a spread of {entry.spread.value:g}", "a spread is 1 or more", path=(*path, "spread")
        )


def _check_spread(entry: LatencyEntry, least: float, what: str, path: tuple[str | int, ...]) -> None:
    if entry.spread.value < least:
        raise FieldError(
            "EP-322",
            f"{what} needs a spread of at least {least:g}, not {entry.spread.value:g}",
            f"write {least:g} or more, or fit the board's own timings with the runtime that the profile names",
            path=(*path, "spread"),
        )


def _check_coverage(profile: "DeviceProfile") -> None:
    known = {entry.arithmetic for entry in profile.latency}
    for index, runtime in enumerate(profile.runtimes):
        for precision in runtime.precisions:
            wanted = profile.arithmetic_of(precision)
            if wanted not in known:
                what = f"{precision.value} needs a latency entry for {wanted} arithmetic"
                hint = f"add one under latency (a datasheet band will do), or take {precision.value} out"
                raise FieldError("EP-322", what, hint, path=("runtimes", index, "precisions"))


def _check_widening(profile: "DeviceProfile") -> None:
    """A band that was fitted to one engine holds for another only where that one widens it."""
    for index, runtime in enumerate(profile.runtimes):
        factor = runtime.widen.value if runtime.widen else 1.0
        for entry in profile.latency:
            if entry.evidence != "fitted" or entry.on is None or _engine(entry.on.runtime) == _engine(runtime.name):
                continue
            if entry.spread.value * factor < LEAST_SPREAD_OTHER_ENGINE:
                what = (
                    f"{runtime.name} is another engine than {entry.on.runtime}, which {entry.arithmetic} was fitted on"
                )
                hint = f"write widen: {LEAST_SPREAD_OTHER_ENGINE / entry.spread.value:g} or more for this runtime"
                raise FieldError("EP-322", what, hint, path=("runtimes", index, "widen"))


def _engine(runtime: str) -> str:
    return _ENGINES.get(runtime, runtime)
