# SPDX-License-Identifier: Apache-2.0
"""What a device's runtime takes: the file's format and, of an integer ONNX file, numbers that its core is fast at."""

from dataclasses import dataclass
from typing import Final

from edgepack.device.profile import DeviceProfile, RuntimeSpec
from edgepack.device.wheels import RUNTIMES, FileFormat

OLDEST: Final = "1.14"
"""The oldest release of onnxruntime whose versions are known here."""
# Minor release of onnxruntime 1, the newest operator set and IR that it takes (its table of compatibility with ONNX,
# https://onnxruntime.ai/docs/reference/compatibility.html), oldest first. No file needs an IR beyond 10,
# which is all that is asked of newer releases.
_KNOWN: Final = (
    *((14, 18, 8), (15, 19, 8), (16, 19, 9), (17, 20, 9), (18, 21, 10), (21, 22, 10), (22, 23, 10), (24, 24, 10)),
    (31, 26, 10),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form that a file has to have; equal forms, equal files.

    Attributes:
        format: Of the file.
        unsigned: Activations of an integer ONNX file are uint8: what x86 multiplies fast by int8 weights. Arm takes
            int8.
        narrow: Its weights keep to 7 bits: x86 without VNNI adds pairs of 8-bit products in 16 bits, and saturates.
        opset: The newest operator set that the runtime takes; 0 for a ``.tflite``, and where the runtime is too old.
        ir: The version of the file's own format that is written, which the runtime takes; of a ``.tflite`` nothing.
        gpu: It is for TensorRT or CUDA: float16 throughout in place of stored weights, and int8 with zero points of 0.
    """

    format: FileFormat = "tflite"
    unsigned: bool = False
    narrow: bool = False
    opset: int = 0
    ir: int = 10
    gpu: bool = False


TFLITE: Final = Form()


def form_of(profile: DeviceProfile, runtime: RuntimeSpec) -> Form:
    """Return the form that ``runtime`` takes on the device of ``profile``."""
    if RUNTIMES[runtime.name].format == "tflite":
        return TFLITE
    opset, ir = newest_versions(runtime.version)
    if runtime.provider is not None:
        return Form(format="onnx", opset=opset, ir=ir, gpu=True)
    x86 = profile.cpu.arch == "x86-64"
    vnni = any("vnni" in word for word in profile.cpu.isa)
    return Form(format="onnx", unsigned=x86, narrow=x86 and not vnni, opset=opset, ir=ir)


def newest_versions(version: str) -> tuple[int, int]:
    """Return the newest operator set and IR that this release of onnxruntime takes; 0 and 0 where it is too old."""
    release = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    known = [(opset, ir) for minor, opset, ir in _KNOWN if release >= (1, minor)]
    return known[-1] if known else (0, 0)
