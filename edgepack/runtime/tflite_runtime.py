# SPDX-License-Identifier: Apache-2.0
"""The discontinued ``tflite-runtime`` package, whose last wheels are all that 32-bit Arm Linux has."""

from typing import ClassVar

from edgepack.runtime.base import Runtime

# Its extension was built against numpy 1: with numpy 2 it fails at import (_ARRAY_API not found).
_NUMPY = "numpy==1.26.4"


class TfliteRuntime(Runtime):
    """tflite-runtime on Linux devices, always in an environment of its own."""

    name: ClassVar[str] = "tflite-runtime"
    package: ClassVar[str] = "tflite-runtime"

    def pins(self, version: str) -> tuple[str, ...]:
        """Return the runtime and the last numpy 1."""
        return f"{self.package}=={version}", _NUMPY
