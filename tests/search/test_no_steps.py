# SPDX-License-Identifier: Apache-2.0
"""What a search says where steps would help and the source has no layers for them."""

from types import SimpleNamespace

import pytest

from edgepack.events import Note
from edgepack.model.model import Format
from edgepack.search.rounds import Rounds, Wishes
from edgepack.search.tally import Tally
from tests.search.fake_trials import cut_to

OPERATIONS = "a SavedModel holds operations, not layers"
EXPORT = "export the model that it came from as .keras or .onnx, and build that"


@pytest.fixture
def searched(monkeypatch):
    """Go through the rounds of steps of a model that has no layers, where ``found`` could help."""

    def of(source_format, why, found):
        told = []
        model = SimpleNamespace(trainable=None, why_untrainable=why, source_format=source_format)
        monkeypatch.setattr(Rounds, "_families", lambda self, trials: found)
        trials = {None: SimpleNamespace(bench=SimpleNamespace(model=model))}
        rounds = Rounds(
            wishes=Wishes(io="float"), trials=trials, tally=Tally(given=(), gate="point"), report=told.append
        )
        rounds._step_rounds()
        assert told == [Note(note) for note in rounds.notes]
        return rounds.notes

    return of


@pytest.mark.parametrize(
    ("source_format", "why", "note"),
    [
        (Format.SAVEDMODEL, OPERATIONS, f"no steps were tried: {OPERATIONS}; {EXPORT}"),
        (Format.TFLITE, "", f"no steps were tried: the source holds no layers; {EXPORT}"),
        (
            Format.KERAS,
            "it has classes of its own",
            "no steps were tried: it has classes of its own; export it as .onnx, and build that",
        ),
        (Format.ONNX, "it branches", "no steps were tried: it branches"),
    ],
)
def test_why_no_steps_were_tried_is_kept_with_what_to_do(searched, source_format, why, note):
    assert searched(source_format, why, cut_to(0.5)) == (note,)


def test_where_no_step_would_help_nothing_is_said(searched):
    assert searched(Format.SAVEDMODEL, OPERATIONS, ()) == ()
