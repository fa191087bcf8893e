# SPDX-License-Identifier: Apache-2.0
"""How long and how fast a step trains; a block of options in every recipe step that trains."""

import math
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

DEFAULT_STEPS: Final = 1500

Share = Annotated[float, Field(ge=0, lt=1)]


class Schedule(BaseModel):
    """AdamW under a cosine that a linear warm-up precedes (Loshchilov & Hutter, https://arxiv.org/abs/1711.05101).

    Attributes:
        epochs: Passes over the training samples; parts of one count too.
        steps: Batches instead; without either, 1500.
        learning_rate: The highest, after the warm-up.
        warmup: Share of the steps over which the rate rises from 0.
        final: Share of the learning rate that is left at the end.
        batch_size: Samples in a step; all of them where there are fewer.
        weight_decay: Of kernels, per unit of learning rate; biases, scales and ranges are left alone.
        patience: Ends after that many scores in a row without a better one, of about 15 in all. 0, never, is the
            default: most of what a cosine gains comes at its end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: Annotated[float, Field(gt=0)] | None = None
    steps: Annotated[int, Field(gt=0)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-3
    warmup: Share = 0.05
    final: Share = 0.0
    batch_size: Annotated[int, Field(gt=0)] = 128
    weight_decay: Annotated[float, Field(ge=0)] = 1e-2
    patience: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("a schedule has epochs or steps, not both")
        return self

    def total(self, count: int, batch_size: int) -> int:
        """Return the number of steps over ``count`` samples in batches of ``batch_size``."""
        if self.steps is not None:
            return self.steps
        if self.epochs is not None:
            return max(1, round(self.epochs * count / batch_size))
        return DEFAULT_STEPS

    def rate(self, share: float) -> float:
        """Return the learning rate after ``share`` of the training, from 0 to 1."""
        if share < self.warmup:
            return self.learning_rate * share / self.warmup
        along = min(1.0, (share - self.warmup) / (1 - self.warmup))
        return self.learning_rate * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * along)))
