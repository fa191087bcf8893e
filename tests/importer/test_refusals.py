# SPDX-License-Identifier: Apache-2.0
"""What cannot come in is refused in one error that names every operator, where it is and how often."""

import re

import pytest

OPERATORS = "net.onnx cannot become a Keras graph, for it has operators without a counterpart: "
STILL_WORKS = "what needs no training still works: onnxruntime's own quantization"
REASONS = {
    "chosen": r"If x1 \(control flow; at '/gate/If'\)",
    "looped": r"Loop x1 \(control flow; at '/turns/Loop'\)",
    "strange": r"Hardmax x1 \(at '/odd/Hardmax'\); GlobalLpPool x1 \(at '/odd/GlobalLpPool'\)",
    "foreign": r"com\.example\.Swirl x1 \(at '/mine/Relu'\)",
    "over_samples": r"ReduceMean x1 \(it reduces over the batch; at '/norm/ReduceMean'\)",
    "side_by_side": r"Concat x1 \(it puts batches or constants side by side; at '/join/Concat'\)",
    "cut": r"Slice x1 \(it picks out of the batch; at '/cut/Slice'\)",
    "drawn_weights": r"Conv x1 \(input 1 \('kernel'\) is computed, and only a constant will do; at '/conv/Conv'\)",
    "time_in_front": r"GRU x1 \(it wants axis 1 in front, and the batch is axis 0; at '/rnn/GRU'\)",
}


@pytest.fixture
def refusals(checked):
    """Code, message and hint for each graph of ``check_refusals.py``."""
    return checked("importer/check_refusals.py")


@pytest.mark.tf
@pytest.mark.parametrize("name", REASONS)
def test_an_operator_without_a_counterpart_is_named(refusals, name):
    code, message, hint = refusals[name]
    assert code == "EP-140", message
    assert message.startswith(OPERATORS)
    assert re.search(REASONS[name], message), message
    assert hint.startswith(STILL_WORKS)


@pytest.mark.tf
def test_all_such_operators_are_named_at_once_and_counted(refusals):
    _, message, _ = refusals["strange"]
    assert "Det x2 (at '/left/Det', '/right/Det')" in message
    assert message.count(" x") == 3, "and no other"


@pytest.mark.tf
def test_every_operator_that_is_listed_has_a_handler(refusals):
    assert refusals["without a handler"] == []


@pytest.mark.tf
def test_an_open_size_is_asked_for(refusals):
    code, message, hint = refusals["open_ended"]
    assert code == "EP-112"
    assert message == "net.onnx: input 'x' is [batch, 3, height, width], and dimension 2 (height) is open"
    assert "--shape x=1x3x128x128" in hint
