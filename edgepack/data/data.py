# SPDX-License-Identifier: Apache-2.0
"""The data of a build: calibration, train, selection and test splits over sources, and how answers are scored."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgepack.arrays import Array
from edgepack.data.metric import Metric
from edgepack.data.preprocess import Preprocess
from edgepack.data.settings import Augmentation
from edgepack.data.source import Source
from edgepack.digest import digest_bytes, digest_json

SplitName = Literal["calibration", "train", "selection", "test"]
SPLIT_NAMES: tuple[SplitName, ...] = ("calibration", "train", "selection", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Some samples of a source, in order.

    Attributes:
        source: Where they are.
        indices: Which, int64, rising.
        digest: SHA-256 over the source's digest and the indices.
    """

    source: Source
    indices: NDArray[np.int64]
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        self.indices.setflags(write=False)
        content = digest_bytes([np.ascontiguousarray(self.indices, "<i8").tobytes()])
        object.__setattr__(self, "digest", digest_json([self.source.digest, content]))

    @property
    def count(self) -> int:
        """Number of samples."""
        return len(self.indices)

    def labels(self) -> Array | None:
        """Return the labels of these samples, or None where the source has none."""
        return None if self.source.labels is None else self.source.labels[self.indices]


@dataclass(frozen=True, slots=True, eq=False)
class Data:
    """The splits and how they are used; picklable, holds no samples.

    Attributes:
        calibration: Samples that only set quantization ranges; never scored. None: there are none.
        train: What steps that train may use, or None.
        selection: What search scores on, or None.
        test: What the bundle's metric is measured on, once, or None.
        metric: How answers are scored.
        preprocess: From a raw sample to what reaches the model.
        seed: Which splits were drawn.
        digest: SHA-256 over all of the above.
        notes: What the user should know, in sentences.
        optimistic: The test samples may be some that the model was trained on.
        labelled: Selection and test have labels: the metric can be computed.
        class_names: By class number; empty where the source names none.
        augmentation: For steps that train.
    """

    calibration: Split | None
    train: Split | None
    selection: Split | None
    test: Split | None
    metric: Metric
    preprocess: Preprocess
    seed: int
    digest: str
    notes: tuple[str, ...]
    optimistic: bool
    labelled: bool
    class_names: tuple[str, ...]
    augmentation: Augmentation

    def split(self, name: SplitName) -> Split | None:
        """Return the split called ``name``."""
        found: Split | None = getattr(self, name)
        return found

    def splits(self) -> dict[str, Split]:
        """Return the splits that exist, by name."""
        return {name: split for name in SPLIT_NAMES if (split := self.split(name)) is not None}
