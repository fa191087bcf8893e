# SPDX-License-Identifier: Apache-2.0
"""The recipe: which steps made a candidate and at which precision it is lowered."""

from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from edgepack.digest import digest_json
from edgepack.model.precision import Precision

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
