# SPDX-License-Identifier: Apache-2.0
"""What a device's runtime takes: the file's format and, of an integer ONNX file, numbers that its core is fast at."""

from dataclasses import dataclass
from typing import Final

from edgepack.device.profile import DeviceProfile, RuntimeSpec
from edgepack.device.wheels import FileFormat
from edgepack.runtime.base import get_runtime

# The newest operator set that a release of onnxruntime takes (its own table, docs/Versioning.md), oldest first.
_OPSETS: Final = ((14, 18), (15, 19), (17, 20), (18, 21), (21, 22), (22, 23), (24, 24), (31, 26))


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The form that a file has to have; equal forms, equal files.

    Attributes:
        format: Of the file.
        unsigned: Activations of an integer ONNX file are uint8: what x86 multiplies fast by int8 weights. Arm takes
            int8.
        narrow: Its weights keep to 7 bits: x86 without VNNI adds pairs of 8-bit products in 16 bits, and saturates.
        opset: The newest operator set that the runtime takes; 0 for a ``.tflite``.
        gpu: It is for TensorRT or CUDA: float16 throughout in place of stored weights, and int8 with zero points of 0.
    """

    format: FileFormat = "tflite"
    unsigned: bool = False
    narrow: bool = False
    opset: int = 0
    gpu: bool = False


TFLITE: Final = Form()


def form_of(profile: DeviceProfile, runtime: RuntimeSpec) -> Form:
    """Return the form that ``runtime`` takes on the device of ``profile``."""
    if get_runtime(runtime.name).format == "tflite":
        return TFLITE
    x86 = profile.cpu.arch == "x86-64"
    vnni = any("vnni" in word for word in profile.cpu.isa)
    if runtime.provider is not None:
        return Form(format="onnx", opset=newest_opset(runtime.version), gpu=True)
    return Form(format="onnx", unsigned=x86, narrow=x86 and not vnni, opset=newest_opset(runtime.version))


def newest_opset(version: str) -> int:
    """Return the newest operator set that this release of onnxruntime takes, as far as it is known."""
    release = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    known = [opset for minor, opset in _OPSETS if release >= (1, minor)]
    return known[-1] if known else _OPSETS[0][1]
