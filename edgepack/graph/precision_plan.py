# SPDX-License-Identifier: Apache-2.0
"""The precision of a whole model, layer by layer where layers differ."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, model_validator

from edgepack.model.precision import Precision

Io = Literal["float", "int8"]

# What a layer of a model may have instead of the model's own precision.
_MIXES = {
    Precision.W8A8: {Precision.W4A8, Precision.W8A16, Precision.F32},
    Precision.W4A8: {Precision.W8A8, Precision.W8A16, Precision.F32},
    Precision.W8A16: {Precision.W8A8, Precision.F32},
}


class PrecisionPlan(BaseModel):
    """Precision of the model, of the layers that differ from it, and the type of its inputs and outputs.

    Attributes:
        layers: By the name of a layer of the source model.
        sparse: Float weights that are mostly zeros are stored without them. LiteRT and tflite-runtime fill them in
            when they load the file and compute as fast as ever; TFLM cannot read it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Precision
    layers: Mapping[str, Precision] = {}
    io: Io = "float"
    sparse: bool = False

    @model_validator(mode="after")
    def _mixable(self) -> "PrecisionPlan":
        if self.sparse and self.default is not Precision.F32:
            raise ValueError(f"only f32 can be sparse, not {self.default.value}: no runtime reads all such layers")
        allowed = _MIXES.get(self.default, set()) | {self.default}
        for name, precision in self.layers.items():
            if precision not in allowed:
                raise ValueError(f"layer {name} cannot be {precision.value} in a model that is {self.default.value}")
        return self

    def of(self, layer: str) -> Precision:
        """Return the precision of the layer called ``layer``."""
        return self.layers.get(layer, self.default)

    @property
    def needs_fake_quantization(self) -> bool:
        """Whether only a graph that carries its own ranges can be lowered to this: 4-bit weights, or a mix."""
        return bool(self.layers) or self.default is Precision.W4A8
