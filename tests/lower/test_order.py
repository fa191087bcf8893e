# SPDX-License-Identifier: Apache-2.0
"""Restoring the order changes the two index lists and nothing else."""

from dataclasses import replace

import pytest

from edgepack.errors import CandidateError
from edgepack.lower._order import in_source_order
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import read_tflite

pytestmark = pytest.mark.tf


@pytest.fixture
def content(lowered):
    return lowered("two", Precision.W8A8, "int8").path.read_bytes()


def test_what_is_in_order_is_left_alone(content, small_model):
    assert in_source_order(content, small_model("two")) is content


def test_reversed_edges_change_the_lists_and_nothing_else(content, small_model, tmp_path):
    model = small_model("two")
    turned = replace(model, inputs=model.inputs[::-1], outputs=model.outputs[::-1])
    changed = in_source_order(content, turned)
    assert len(changed) == len(content)
    assert sum(one != other for one, other in zip(content, changed, strict=True)) <= 4 * 4
    path = tmp_path / "changed.tflite"
    path.write_bytes(changed)
    graph, before = read_tflite(path), read_tflite_of(content, tmp_path)
    assert graph.inputs == before.inputs[::-1]
    assert graph.outputs == before.outputs[::-1]
    assert (graph.tensors, graph.ops, graph.signatures) == (before.tensors, before.ops, before.signatures)
    assert in_source_order(changed, model) == content


def read_tflite_of(content, folder):
    path = folder / "content.tflite"
    path.write_bytes(content)
    return read_tflite(path)


def test_another_number_of_outputs_is_refused(content, small_model):
    model = small_model("two")
    with pytest.raises(CandidateError, match="2 outputs, the model 1") as caught:
        in_source_order(content, replace(model, outputs=model.outputs[:1]))
    assert caught.value.code == "EP-608"
