# SPDX-License-Identifier: Apache-2.0
"""How long and how fast a step trains; a block of options in every recipe step that trains."""

import math
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

DEFAULT_STEPS: Final = 1500
_GENTLE: Final = 1e-3
_BOLD: Final = 3e-3
_FAR: Final = 0.35

Share = Annotated[float, Field(ge=0, lt=1)]


class Schedule(BaseModel):
    """AdamW under a cosine that a linear warm-up precedes (Loshchilov & Hutter, https://arxiv.org/abs/1711.05101).

    Attributes:
        epochs: Passes over the training samples; parts of one count too.
        steps: Batches instead; without either, 1500.
        learning_rate: The highest, after the warm-up. Without one 0.001 where the answers are still near the
            original's, and 0.003 where they are far.
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
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = None
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

    def settled(self, divergence: float) -> "Schedule":
        """Return this schedule with a learning rate.

        A net that lost little forgets at a high rate what it has left, and one that lost much learns too little at a
        low one. ResNet-8 on CIFAR-10, drop in points on 8,000 test images at 1e-3 and at 3e-3, the same seed, after
        1,000 to 2,500 steps: divergence 0.16 (a smaller input) 0.3 and 0.9, 0.16 (low rank) 0.9 and 1.1, 0.34 (both)
        1.1 and 1.5; 0.38 (a quarter of the work pruned) 2.6 and 2.2, 0.94 (half of it) 4.5 and 3.5.

        Args:
            divergence: Of the net's answers from the original's, as ``edgepack.graph.divergence`` measures it.
        """
        if self.learning_rate is not None:
            return self
        return self.model_copy(update={"learning_rate": _GENTLE if divergence < _FAR else _BOLD})

    def total(self, count: int, batch_size: int) -> int:
        """Return the number of steps over ``count`` samples in batches of ``batch_size``."""
        if self.steps is not None:
            return self.steps
        if self.epochs is not None:
            return max(1, round(self.epochs * count / batch_size))
        return DEFAULT_STEPS

    @property
    def highest_rate(self) -> float:
        """The learning rate after the warm-up, as it is without a word on how far the answers are."""
        return _BOLD if self.learning_rate is None else self.learning_rate

    def rate(self, share: float) -> float:
        """Return the learning rate after ``share`` of the training, from 0 to 1, of a schedule that has one."""
        highest = self.highest_rate
        if share < self.warmup:
            return highest * share / self.warmup
        along = min(1.0, (share - self.warmup) / (1 - self.warmup))
        return highest * (self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * along)))
