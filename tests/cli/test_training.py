# SPDX-License-Identifier: Apache-2.0
"""How the options of training are read."""

import pytest

from edgepack.cli._training import training_of
from edgepack.errors import ProfileError
from edgepack.work import Work

NOTHING = {
    "train_time": None, "train_threads": None, "batch_size": None, "loss": None, "distribute": "none",
    "mixed_precision": False, "rematerialize": False, "jit": False, "tensorboard": None,
}  # fmt: skip


@pytest.mark.parametrize(("text", "seconds"), [("5m", 300), ("5min", 300), ("90s", 90), ("1.5h", 5400), (None, None)])
def test_a_training_ends_after_minutes_or_seconds(tmp_path, text, seconds):
    assert training_of({**NOTHING, "train_time": text}, Work(tmp_path), threads=None).time_s == seconds


def test_a_time_without_a_unit_is_refused(tmp_path):
    with pytest.raises(ProfileError, match="--train-time: '5' has no unit"):
        training_of({**NOTHING, "train_time": "5"}, Work(tmp_path), threads=None)
