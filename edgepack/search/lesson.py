# SPDX-License-Identifier: Apache-2.0
"""What a training left of a loss, as the journal keeps it for runs to come."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """What a training left of a loss.

    Attributes:
        kind: Of the family that was trained.
        narrow: It had weights of 4 bits where the limits asked for them.
        logarithm: Of the drop that it reached over the drop that was expected of it where nothing was learnt.
        same: It was of the model and on the data of the run that learns from it.
    """

    kind: str
    narrow: bool
    logarithm: float
    same: bool = True
