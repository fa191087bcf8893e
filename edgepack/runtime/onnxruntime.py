# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime, the ``onnxruntime`` package: MLAS kernels on the processor."""

from typing import ClassVar

from edgepack.device.wheels import FileFormat
from edgepack.runtime.base import Runtime


class OnnxRuntime(Runtime):
    """ONNX Runtime on Linux devices; its files are ``.onnx``."""

    name: ClassVar[str] = "onnxruntime"
    package: ClassVar[str] = "onnxruntime"
    extra: ClassVar[str] = "onnx"
    format: ClassVar[FileFormat] = "onnx"
    # Weights of 4 bits are those of MatMulNBits alone, which no fake-quantized graph is written with.
    int4_ops: ClassVar[frozenset[str]] = frozenset()
