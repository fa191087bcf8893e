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


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        ("30", "EP-310", "--train-time: '30' has no unit: did you mean 30s or 30m?"),
        ("-30m", "EP-312", "--train-time: '-30m' is negative; a duration is not"),
        ("30mins", "EP-311", "--train-time: '30mins': 'mins' is not a unit of a duration, did you mean 30min?"),
        ("soon", "EP-313", "--train-time: 'soon' is not a duration"),
    ],
)
def test_a_time_without_a_proper_unit_is_refused_with_what_was_typed(tmp_path, text, code, words):
    with pytest.raises(ProfileError) as caught:
        training_of({**NOTHING, "train_time": text}, Work(tmp_path), threads=None)
    assert (caught.value.code, caught.value.message) == (code, words)
