# SPDX-License-Identifier: Apache-2.0
"""Number formats that a model may be lowered to; the words are decided once, for recipes and profiles alike."""

from enum import StrEnum


class Precision(StrEnum):
    """Number formats of weights (``w``) and activations (``a``), in bits; ``f32`` is the model as trained."""

    F32 = "f32"
    W16 = "w16"  # float16 weights, float32 arithmetic
    W8 = "w8"  # dynamic range: int8 weights, activations quantized at run time
    W8A8 = "w8a8"  # full int8, per-channel weights
    W8A8_PER_TENSOR = "w8a8-per-tensor"
    W8A16 = "w8a16"  # int8 weights, int16 activations
    W4A8 = "w4a8"  # int4 per-channel weights, int8 activations
    W4 = "w4"  # int4 weights, activations quantized at run time

    @property
    def needs_calibration(self) -> bool:
        """Whether activation ranges come from calibration samples."""
        return self in {Precision.W8A8, Precision.W8A8_PER_TENSOR, Precision.W8A16, Precision.W4A8}

    @property
    def integer_io(self) -> str | None:
        """NumPy name of the integer type that inputs and outputs may have, or None for float precisions."""
        if self is Precision.W8A16:
            return "int16"
        return "int8" if self.needs_calibration else None
