# SPDX-License-Identifier: Apache-2.0
"""The digest of an ONNX graph is of what it computes: its name, notes and inferred shapes are no part of it."""

import onnx
import pytest

from edgepack.model._onnx_digest import digest_onnx
from tests.write_onnx import edge, write_branches


def digest(model):
    return digest_onnx(model, (), (), revision=1)


def note(target):
    target.add(key="exported", value="on another day")


def rename_inner(model):
    node = next(node for node in model.graph.node if node.op_type == "If")
    node.attribute[0].g.name = "another"


@pytest.mark.parametrize(
    "change",
    [
        lambda model: setattr(model.graph, "name", "another"),
        lambda model: setattr(model.graph, "doc_string", "another"),
        lambda model: model.graph.value_info.append(edge("a", 1, 4)),
        lambda model: note(model.graph.metadata_props),
        lambda model: note(model.graph.node[0].metadata_props),
        lambda model: note(model.metadata_props),
        rename_inner,
    ],
)
def test_what_computes_nothing_is_no_part_of_it(tmp_path, change):
    path = write_branches(tmp_path / "m.onnx")
    changed = onnx.load(path)
    change(changed)
    assert changed != onnx.load(path)
    assert digest(changed) == digest(onnx.load(path))


def test_weights_and_operators_are(tmp_path):
    first = digest(onnx.load(write_branches(tmp_path / "m.onnx")))
    for change in (
        lambda model: setattr(model.graph.node[0], "op_type", "Other"),
        lambda model: model.graph.initializer[0].CopyFrom(
            onnx.numpy_helper.from_array(
                onnx.numpy_helper.to_array(model.graph.initializer[0]) + 1, model.graph.initializer[0].name
            )
        ),
    ):
        changed = onnx.load(tmp_path / "m.onnx")
        change(changed)
        assert digest(changed) != first
