# SPDX-License-Identifier: Apache-2.0
"""The recipe: which steps made a candidate and at which precision it is lowered."""

from enum import StrEnum
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from edgepack.digest import digest_json


class Precision(StrEnum):
    """Number formats of weights (``w``) and activations (``a``), in bits; ``f32`` is the model as trained."""

    F32 = "f32"
    W16 = "w16"  # float16 weights, float32 arithmetic
    W8 = "w8"  # dynamic range: int8 weights, activations quantized at run time
    W8A8 = "w8a8"  # full int8, per-channel weights
    W8A8_PER_TENSOR = "w8a8-per-tensor"
    W8A16 = "w8a16"  # int8 weights, int16 activations

    @property
    def needs_calibration(self) -> bool:
        """Whether activation ranges come from calibration samples."""
        return self in {Precision.W8A8, Precision.W8A8_PER_TENSOR, Precision.W8A16}

    @property
    def integer_io(self) -> str | None:
        """NumPy name of the integer type that inputs and outputs may have, or None for float precisions."""
        if self is Precision.W8A16:
            return "int16"
        return "int8" if self.needs_calibration else None


Io = Literal["float", "int8"]


class PrecisionPlan(BaseModel):
    """Precision of the whole model and the type of its inputs and outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Precision
    io: Io = "float"


class Recipe(BaseModel):
    """Ordered steps and a precision; identity is the digest of its canonical JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: PrecisionPlan
    as_is: bool = False
    """The source file already is the artifact (an integer ``.tflite``); the precision only describes it."""

    @property
    def name(self) -> str:
        """Short name for tables and logs."""
        return f"{self.precision.default.value} as it is" if self.as_is else self.precision.default.value

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON."""
        return digest_json(self.model_dump(mode="json"))

    def as_yaml(self) -> str:
        """Return the YAML form that ``Recipe.from_yaml`` reads back."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str) -> "Recipe":
        """Read what ``as_yaml`` wrote."""
        return cls.model_validate(yaml.safe_load(text))
