# SPDX-License-Identifier: Apache-2.0
"""What a training learns from: the teacher's answers, the labels, or both."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

From = Literal["teacher", "labels", "both"]


class Signal(BaseModel):
    """Options of a recipe step that trains.

    Attributes:
        teacher: ``auto`` is the teacher alone where there are no labels. Where there are, trainings of 600 steps and
            more try ``both`` and ``labels`` for a tenth of the steps each and go on with the better on the selection
            split; shorter ones take ``both``.
        temperature: Softens the answers of classifiers (Hinton et al. 2015, https://arxiv.org/abs/1503.02531).
        alpha: Weight of the teacher where labels count too; they get the rest.
        features: Weight of matching the teacher's internal representations; 0 leaves them alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    teacher: Literal["auto", "teacher", "labels", "both"] = "auto"
    temperature: Annotated[float, Field(gt=0)] = 4.0
    alpha: Annotated[float, Field(gt=0, lt=1)] = 0.9
    features: Annotated[float, Field(ge=0)] = 0.0
