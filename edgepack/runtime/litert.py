# SPDX-License-Identifier: Apache-2.0
"""LiteRT, the ``ai-edge-litert`` package: the successor of tflite-runtime, XNNPACK on by default."""

from importlib.metadata import version as installed_version
from typing import ClassVar

from edgepack.runtime._base import Runtime


class LiteRt(Runtime):
    """LiteRT on Linux devices, and this machine's reference."""

    name: ClassVar[str] = "litert"
    package: ClassVar[str] = "ai-edge-litert"
    extra: ClassVar[str] = "build"

    def pins(self, version: str) -> tuple[str, ...]:
        """Return the runtime and this environment's numpy."""
        return f"{self.package}=={version}", f"numpy=={installed_version('numpy')}"
