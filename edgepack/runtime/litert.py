# SPDX-License-Identifier: Apache-2.0
"""LiteRT, the ``ai-edge-litert`` package: the successor of tflite-runtime, XNNPACK on by default."""

from typing import ClassVar

from edgepack.runtime.base import Runtime


class LiteRt(Runtime):
    """LiteRT on Linux devices, and this machine's reference."""

    name: ClassVar[str] = "litert"
    package: ClassVar[str] = "ai-edge-litert"
    extra: ClassVar[str] = "build"
