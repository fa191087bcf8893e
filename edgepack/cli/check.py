# SPDX-License-Identifier: Apache-2.0
"""Check a model, alone or against a device, in seconds and without TensorFlow."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgepack.cli._console import Console, global_options
from edgepack.cli._limits import budget_of, limit_options, limits_given, reserve_bytes
from edgepack.cli._model_options import format_option, shape_option

if TYPE_CHECKING:
    from edgepack.cli._results_check import Held
    from edgepack.device.budget import Limit
    from edgepack.device.profile import DeviceProfile
    from edgepack.device.wheels import FileFormat
    from edgepack.measure.preflight import Preflight
    from edgepack.model.model import TensorSpec
    from edgepack.model.summary import Summary

_EXIT_CODES = {"possible": 0, "needs-attention": 2, "infeasible": 3}
_SIGNS = {"error": "✗", "warning": "!", "info": "·"}
_HELP = """Check MODEL before anything is built: inputs, weights, MACs, NaN, open dimensions, code inside the file.

With --device it is held against the device's flash, RAM and runtime; a miss is reported only where it is proven. With
--format, too, that is the runtime that takes such files; of several, one in which nothing stands in the way is enough.

\b
    edgepack check model.keras --device nrf52840 --max-ram 128KiB

Exit codes: 0 nothing stands in the way, 2 the model has to be changed first, 3 it cannot fit.
"""


@click.command("check", help=_HELP)
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--device", "devices", multiple=True, help="A shipped profile (edgepack devices list), or a path: one.")
@format_option
@shape_option
@limit_options
@global_options
def command(
    *,
    console: Console,
    model: Path,
    devices: tuple[str, ...],
    formats: "tuple[FileFormat, ...]",
    shapes: tuple[str, ...],
    **options: object,
) -> None:
    """Read, judge, report."""
    from edgepack.cli._results_check import check_output
    from edgepack.measure.preflight import preflight
    from edgepack.model.inspect import inspect
    from edgepack.model.onnx_way import foreseen
    from edgepack.model.shapes import parse_shapes

    devices = tuple(dict.fromkeys(devices))
    fixed = parse_shapes(shapes)
    profile, limits = _target(devices, formats, options)
    profiles: tuple[DeviceProfile | None, ...] = (None,) if profile is None else profile.each(formats)
    keeping = tuple(item for item in profiles if item is not None and item.takes("onnx"))
    summary = foreseen(model, inspect(model, shapes=fixed), shapes=fixed, keepable=profile is None or bool(keeping))
    if summary.refusal is not None and keeping:
        profiles = tuple(item.taking(["onnx"]) for item in keeping)  # as the build will
    held = [(item, preflight(summary, item, limits)) for item in profiles]
    body = check_output(model, summary, limits=limits, held=held, notes=summary.notes)
    carried = (*devices, *(word for item in shapes for word in ("--shape", item)), *limits_given(options))
    console.result(body.as_json(), "\n".join(_lines(model, summary, limits, held, formats=formats, carried=carried)))
    raise SystemExit(_EXIT_CODES[body.verdict])


def _target(
    devices: tuple[str, ...], formats: "tuple[FileFormat, ...]", options: Mapping[str, object]
) -> "tuple[DeviceProfile | None, tuple[Limit, ...]]":
    """Return the device and the active limits; without a device only the user's own limits on the file count.

    Raises:
        UsageError: A format without a device, or several devices (EP-004).
    """
    from dataclasses import replace

    from edgepack.device.budget import Limit, active_limits
    from edgepack.device.profile import load_device
    from edgepack.errors import UsageError

    budget = budget_of(options)
    if len(devices) > 1:
        raise UsageError(
            "EP-004",
            f"check looks at one device at a time, and {len(devices)} are named: {', '.join(devices)}",
            hint="run it once for each; edgepack build --dry-run takes several",
        )
    if not devices and formats:
        raise UsageError(
            "EP-004",
            "--format says which of a device's runtimes counts, and no device is named",
            hint="add --device NAME (edgepack devices list), or leave --format out",
        )
    if not devices:
        sizes = (("size", budget.size_bytes), ("flash", budget.flash_bytes))
        return None, tuple(Limit(name, value, "B", f"--max-{name}") for name, value in sizes if value is not None)
    profile = load_device(
        devices[0],
        reserve_ram_bytes=reserve_bytes(options, "reserve_ram"),
        reserve_flash_bytes=reserve_bytes(options, "reserve_flash"),
    )
    # Nothing is scored here: limits on the metric are the build's.
    return profile, active_limits(profile, replace(budget, drop=None, min_metric=None), metric=None)


def _lines(
    model: Path,
    summary: "Summary",
    limits: "tuple[Limit, ...]",
    held: "Sequence[Held]",
    *,
    formats: "tuple[FileFormat, ...]",
    carried: tuple[str, ...],
) -> Iterator[str]:
    from edgepack.compress.floor import floor_words
    from edgepack.device.units import format_size
    from edgepack.measure.bounds import can_be_restructured

    saved_by = f", saved by {summary.saved_by}" if summary.saved_by else ""
    yield f"{model}: {summary.format.value}{saved_by}{', quantized' if summary.quantized else ''}"
    yield from _edges("input", summary.inputs)
    yield from _edges("output", summary.outputs)
    macs = "not known before conversion" if summary.macs is None else f"{summary.macs:,}"
    macs = f"at least {macs}" if summary.macs and any(layer.macs is None for layer in summary.layers) else macs
    yield f"  weights   {summary.parameter_count:,} in {format_size(summary.weight_bytes)}; MACs {macs}"
    yield f"  operators {', '.join(f'{name} ({count})' for name, count in summary.op_counts)}"
    for note in summary.notes:
        yield f"  note      {note}"
    for profile, found in held:
        if profile is not None:
            yield f"\non {profile.name} ({profile.runtime.name} {profile.runtime.version}):"
            for limit in limits:
                yield f"  {limit.name} may be {_amount(limit)} ({limit.origin})"
        yield from _bounds(found)
        if found.bounds and can_be_restructured(summary):
            yield f"  that is at {floor_words()}: nothing is tried below it"
    findings = dict.fromkeys(finding for _, found in held for finding in found.findings)
    if findings:
        yield ""
    for following, alike in groupby(findings, key=attrgetter("next")):
        yield from (f"{_SIGNS[item.severity]} {item.code} {item.message}" for item in alike)
        if following:
            yield f"    Next: {following}"
    yield ""
    yield _verdict(model, held, formats, carried)


def _bounds(found: "Preflight") -> Iterator[str]:
    from edgepack.device.units import format_quantity, format_size

    if found.weights_bytes is not None:
        yield f"  weights take at least {format_size(found.weights_bytes)} with every channel kept"
    if found.activations_bytes is not None:
        yield f"  activations take at least {format_size(found.activations_bytes)} with every channel kept"
    for bound in found.bounds:
        yield f"  {bound.name} is at least {format_quantity(bound.value, bound.unit)} ({bound.because})"


def _edges(label: str, specs: "tuple[TensorSpec, ...]") -> Iterator[str]:
    from edgepack.model.shapes import as_in_file, format_shape

    for spec in specs:
        shape = format_shape(as_in_file(spec, spec.shape)) if spec.shape else "[shape not known before loading]"
        yield f"  {label:<9} {spec.name} {shape} {spec.dtype}"


def _amount(limit: "Limit") -> str:
    from edgepack.device.units import format_size

    return format_size(limit.value) if limit.unit == "B" else f"{limit.value:g} {limit.unit}"


def _verdict(model: Path, held: "Sequence[Held]", formats: "tuple[FileFormat, ...]", carried: tuple[str, ...]) -> str:
    """Return the verdict; where something may fit, the build with what is ``carried``, device and options, follows."""
    import shlex

    from edgepack.cli._results_check import most_hopeful

    profile, found = most_hopeful(held)
    where = f" on {profile.name}" if profile else ""
    match found.verdict:
        case "infeasible":
            return f"infeasible{where}: proven without converting; see ✗ above"
        case "needs-attention":
            return f"needs attention{where}: see ✗ above"
        case _:
            possible = [item.formats[0] for item, one in held if item is not None and one.verdict == "possible"]
            where += f" as {' and '.join(possible)}" if possible and (formats or len(possible) < len(held)) else ""
            wanted = [word for item in possible for word in ("--format", item)] if formats else []
            device, *options = carried if profile else ("NAME", *carried)
            words = ("edgepack", "build", str(model), "--device", device, *wanted, *options, "--data", "DATA")
            following = shlex.join(words)
            return f"possible{where}: nothing found stands in the way\nNext: {following}"
