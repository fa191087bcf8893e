# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite for Microcontrollers through the ``tflite-micro`` package: reference kernels on this machine."""

from typing import ClassVar

from edgepack.runtime.base import Runtime


class Tflm(Runtime):
    """TFLM for microcontrollers; the target links its own kernels, the arithmetic of the integer ones is the same."""

    name: ClassVar[str] = "tflm"
    package: ClassVar[str] = "tflite-micro"
    extra: ClassVar[str] = "mcu"
    # It refuses an int4 FULLY_CONNECTED.
    int4_ops: ClassVar[frozenset[str]] = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
