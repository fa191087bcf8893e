# SPDX-License-Identifier: Apache-2.0
"""Which runtime exists for which machine: the one table of these facts.

Read from the wheels on the package index in November 2026; a later release may add a wheel, and then a line changes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgepack.device.units import FieldError
from edgepack.registry import nearest

DeviceClass = Literal["linux", "mcu"]
FileFormat = Literal["tflite", "onnx"]
"""What a lowered file is; each runtime takes one of them."""


@dataclass(frozen=True, slots=True)
class RuntimeFacts:
    """Where a runtime can be had.

    Attributes:
        device_class: Class of the devices that it runs on.
        arches: CPU architectures with a wheel; None where it is built from source.
        kernels: Kernel libraries that it can be built with.
        glibc: Least C library of its wheels, empty for source.
        last: Its last release ever, empty where it is alive.
        format: Of the files that it takes.
    """

    device_class: DeviceClass
    arches: frozenset[str] | None
    kernels: frozenset[str]
    glibc: str = ""
    last: str = ""
    format: FileFormat = "tflite"


RUNTIMES: Mapping[str, RuntimeFacts] = {
    "litert": RuntimeFacts("linux", frozenset({"x86-64", "aarch64"}), frozenset({"xnnpack", "reference"}), "2.27"),
    "tflite-runtime": RuntimeFacts(
        "linux",
        frozenset({"x86-64", "aarch64", "armv7"}),
        frozenset({"xnnpack", "reference"}),
        "2.34",
        last="2.14.0",
    ),
    "onnxruntime": RuntimeFacts("linux", frozenset({"x86-64", "aarch64"}), frozenset({"mlas"}), "2.28", format="onnx"),
    "tflm": RuntimeFacts("mcu", None, frozenset({"cmsis-nn", "esp-nn", "reference"})),
}

# A kernel library runs on these architectures only; the others run anywhere.
KERNEL_ARCHES: Mapping[str, tuple[str, ...]] = {
    "cmsis-nn": ("armv6-m", "armv7-m", "armv7e-m", "armv8-m", "armv8.1-m"),
    "esp-nn": ("xtensa", "riscv32"),
}


def check_runtime(name: str, version: str, *, kernels: str, arch: str, device_class: DeviceClass) -> None:
    """Refuse a runtime that cannot be had on a machine.

    Raises:
        FieldError: EP-320 no wheel for the architecture, EP-321 unknown, of another class, or with other kernels.
    """
    facts = RUNTIMES.get(name)
    if facts is None:
        raise FieldError(
            "EP-321",
            f"unknown runtime {name!r}; {nearest(name, list(RUNTIMES))}",
            _offer(arch, device_class),
            path=("name",),
        )
    if facts.device_class != device_class:
        other = "microcontrollers" if facts.device_class == "mcu" else "Linux devices"
        what = f"{name} runs on {other}, and this profile's class is {device_class}"
        raise FieldError("EP-321", what, _offer(arch, device_class), path=("name",))
    if facts.arches is not None and arch not in facts.arches:
        there = ", ".join(sorted(facts.arches))
        what = f"{name} has no wheel for {arch} (only {there})"
        raise FieldError("EP-320", what, _offer(arch, device_class), path=("name",))
    if facts.last and _release(version) > _release(facts.last):
        what = f"{name} ended with {facts.last}: there is no {version}"
        raise FieldError("EP-320", what, f"write version: {facts.last}, or name litert", path=("version",))
    if kernels not in facts.kernels or arch not in KERNEL_ARCHES.get(kernels, (arch,)):
        fitting = [name for name in sorted(facts.kernels) if arch in KERNEL_ARCHES.get(name, (arch,))]
        what = f"{name} on {arch} has no {kernels} kernels"
        raise FieldError("EP-321", what, f"write kernels: {' or '.join(fitting)}", path=("kernels",))


def _release(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _offer(arch: str, device_class: DeviceClass) -> str:
    fitting = [
        name
        for name, row in RUNTIMES.items()
        if row.device_class == device_class and (row.arches is None or arch in row.arches)
    ]
    return f"for {arch} there is {' or '.join(fitting)}" if fitting else f"no runtime is known for {arch}"
