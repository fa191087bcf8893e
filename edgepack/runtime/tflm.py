# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite for Microcontrollers through the ``tflite-micro`` package: reference kernels on this machine."""

from collections.abc import Mapping
from typing import ClassVar

from edgepack.model.precision import Precision
from edgepack.runtime.base import Runtime


class Tflm(Runtime):
    """TFLM for microcontrollers; the target links its own kernels, the arithmetic of the integer ones is the same."""

    name: ClassVar[str] = "tflm"
    package: ClassVar[str] = "tflite-micro"
    extra: ClassVar[str] = "mcu"
    # It refuses an int4 FULLY_CONNECTED.
    int4_ops: ClassVar[frozenset[str]] = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D"})
    # Each operator that multiplies refuses integer weights under float activations ("Hybrid models are not supported"),
    # and DEQUANTIZE, through which float16 weights would come, takes integers alone.
    no_kernels: ClassVar[Mapping[Precision, str]] = {
        Precision.W16: "float16 weights",
        Precision.W8: "8-bit weights under float activations",
        Precision.W4: "4-bit weights under float activations",
    }
