# SPDX-License-Identifier: Apache-2.0
"""List the device profiles, show one, check your own, start a new one."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgepack.cli._console import Console, global_options

if TYPE_CHECKING:
    from edgepack.device.profile import DeviceProfile


@click.group("devices", help="List the device profiles, show one, check your own, start a new one.")
def command() -> None:
    """Hold the four commands below."""


@command.command("list", help="List the shipped profiles.")
@global_options
def list_devices(console: Console) -> None:
    """Print one row a profile."""
    from edgepack.cli._results_devices import devices_list_output
    from edgepack.device.profile import device_names, load_device

    profiles = [load_device(name) for name in device_names()]
    rows = [_row(profile) for profile in profiles]
    heads = ("name", "class", "core", "free RAM", "free flash", "runtime", "latency known from")
    hint = "\nNext: edgepack devices show NAME; a profile of your own works by its path (edgepack devices new)"
    console.result(devices_list_output(profiles).as_json(), _table([heads, *rows]) + hint)


@command.command("show", help="Show a profile: every figure with its source and how far to trust it.")
@click.argument("device")
@global_options
def show(console: Console, device: str) -> None:
    """Print one profile in full."""
    from edgepack.cli._results_devices import devices_show_output
    from edgepack.device.profile import load_device

    profile = load_device(device)
    console.result(devices_show_output(profile).as_json(), _page(profile))


@command.command("validate", help="Check profiles of your own; every error names file and line.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@global_options
def validate(console: Console, paths: tuple[Path, ...]) -> None:
    """Check each file and exit with 2 if one is wrong."""
    from edgepack.cli._result_parts import ErrorResult
    from edgepack.cli._results_devices import DevicesValidateOutput, ProfileFileResult
    from edgepack.device.profile import parse_profile
    from edgepack.device.yaml import read_document
    from edgepack.errors import ProfileError

    results: list[ProfileFileResult] = []
    lines = []
    for path in paths:
        try:
            profile = parse_profile(read_document(path))
        except ProfileError as error:
            problem = ErrorResult.model_validate(error)
            results.append(ProfileFileResult(path=str(path), ok=False, device=None, error=problem))
            lines += [f"✗ {path}: {error.code}", *(f"  {line}" for line in error.message.split("\n"))]
            lines += [f"  Next: {error.hint}"] if error.hint else []
        else:
            results.append(ProfileFileResult(path=str(path), ok=True, device=profile.name, error=None))
            lines.append(f"✓ {path}: {profile.name}, {profile.title}")
    console.result(DevicesValidateOutput(files=tuple(results)).as_json(), "\n".join(lines))
    if not all(result.ok for result in results):
        sys.exit(2)


@command.command("new", help="Start a profile of your own from an existing one, comments and sources included.")
@click.argument("name")
@click.option("--from", "origin", required=True, metavar="DEVICE", help="A shipped name, or a profile's path.")
@click.option("-o", "output", type=click.Path(path_type=Path), help="File to write [default: NAME.yaml].")
@global_options
def new(console: Console, name: str, origin: str, output: Path | None) -> None:
    """Write ``NAME.yaml``; a file that exists is left as it is."""
    from edgepack.cli._results_devices import DevicesNewOutput
    from edgepack.device.profile import device_names, device_path, load_device
    from edgepack.errors import OutputError, ProfileError
    from edgepack.work import whole_file

    source = device_path(origin)
    load_device(origin)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name) or name in device_names():
        raise ProfileError(
            "EP-341",
            f"{name!r} cannot name a new device: letters, digits, '.', '_' and '-', and no shipped name",
            hint=f"edgepack devices new my-{origin if '/' not in origin else 'board'} --from {shlex.quote(origin)}",
        )
    target = output or Path(f"{name}.yaml")
    if target.exists() or target.is_symlink():
        raise OutputError("EP-340", f"{target} exists already and was left as it is", hint="choose another -o FILE")
    if not target.parent.is_dir():
        raise OutputError(
            "EP-342", f"the folder {target.parent} does not exist", hint=f"mkdir -p {shlex.quote(str(target.parent))}"
        )
    with whole_file(target) as scratch:
        scratch.write_text(_renamed(source.read_text(encoding="utf-8"), name, origin), encoding="utf-8")
    text = f"{target} written\nNext: edit its figures, then edgepack devices validate {shlex.quote(str(target))}"
    console.result(DevicesNewOutput(path=str(target), device=name, origin=origin).as_json(), text)


def _renamed(text: str, name: str, origin: str) -> str:
    """Return a profile's text under another name, its comments kept and the licence line of the original left out."""
    lines = [line for line in text.splitlines() if not line.startswith("# SPDX-License-Identifier:")]
    lines = [re.sub(r"^name:.*", f"name: {name}", line) for line in lines]
    head = [
        f"# {name}: started from {origin}. Change what differs, and give each figure a source of your own, for example",
        '#   my-bench: {text: "benchmark.py on my board, 2 May", mark: verified}',
        "# Sizes, clocks and times need units: 256KiB, 1.5GHz, 20ms.",
        "#",
    ]
    return "\n".join([*head, *lines]) + "\n"


def _known_from(profile: "DeviceProfile") -> str:
    """Return how the latency parameters are known, with the factor of each band."""
    told: dict[str, list[str]] = {}
    for entry in profile.latency:
        told.setdefault(f"{entry.evidence} x{entry.spread.value:g}", []).append(entry.arithmetic)
    if len(told) == 1:
        return next(iter(told))
    return "; ".join(f"{', '.join(kinds)} {known}" for known, kinds in told.items())


def _row(profile: "DeviceProfile") -> tuple[str, ...]:
    from edgepack.device.units import format_frequency, format_size

    flash = profile.flash_available_bytes
    cores = f"{profile.cpu.cores}x " if profile.cpu.cores > 1 else ""
    return (
        profile.name,
        profile.device_class,
        f"{cores}{profile.cpu.core} {format_frequency(profile.cpu.clock_hz)}",
        format_size(profile.ram_available_bytes),
        "-" if flash is None else format_size(flash),
        f"{profile.runtime.name} {_short(profile.runtime.version)}",
        _known_from(profile),
    )


def _short(version: str) -> str:
    """Return a version without the tail of a dated development build."""
    return version.replace("0.dev", "")[:8]


def _page(profile: "DeviceProfile") -> str:
    """Return a profile as people read it."""
    from edgepack.measure.latency import how_to_narrow

    rows = [("figure", "value", "mark", "source")]
    rows += [(named.name, named.fact.text, named.source.mark.value, named.fact.source) for named in profile.facts()]
    parts = [f"{profile.name}: {profile.title} ({profile.device_class}, {profile.cpu.arch})", "", _table(rows), ""]
    for runtime in profile.runtimes:
        words = ", ".join(precision.value for precision in runtime.precisions)
        threads = f"{runtime.threads} thread{'s' if runtime.threads > 1 else ''}"
        gpu = f", {runtime.provider} on the GPU" if runtime.provider else ""
        parts.append(f"runtime {runtime.name} {runtime.version}{gpu}, {runtime.kernels} kernels, {threads}: {words}")
        parts += [f"  limit: {limit}" for limit in runtime.limits]
    parts += ["", "sources"]
    parts += [f"  {key} ({source.mark.value}): {source.text}" for key, source in profile.sources.items()]
    return "\n".join([*parts, "", how_to_narrow(profile)])


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as columns of equal width, two spaces apart."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines)
