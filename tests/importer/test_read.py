# SPDX-License-Identifier: Apache-2.0
"""What is wrong with an ``.onnx`` file is said before anything is imported: what, where, why and the next command."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgepack.errors import ModelError
from edgepack.importer.read import read_onnx
from edgepack.model.inspect import inspect
from edgepack.model.summary import refuse_unsuitable
from tests.write_onnx import edge, write_onnx, write_quadrants, write_relu

WEIGHT = {"w": np.eye(4, dtype=np.float32)}
ENDS = ([edge("x", "batch", 4)], [edge("y", "batch", 4)])


def matmul(path, **saving):
    return write_onnx(path, [helper.make_node("MatMul", ["x", "w"], ["y"])], *ENDS, WEIGHT, **saving)


def beside(path):
    return matmul(path, save_as_external_data=True, location="m.data", size_threshold=0)


def cut_off(path):
    content = write_quadrants(path).read_bytes()
    path.write_bytes(content[: len(content) * 6 // 10])
    return path


def without_its_data(path):
    beside(path)
    path.with_name("m.data").unlink()
    return path


def with_data_too_short(path):
    beside(path)
    path.with_name("m.data").write_bytes(b"abc")
    return path


def with_a_pointer_as_data(path):
    beside(path)
    path.with_name("m.data").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 64\n")
    return path


def with_data_elsewhere(path):
    import onnx

    beside(path)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[0].external_data:
        entry.value = "../secret" if entry.key == "location" else entry.value
    onnx.save(model, path)
    return path


def too_new(path):
    return write_relu(path, opset=27)


def of_a_newer_ir(path):
    return write_relu(path, ir=14)


def with_a_lost_value(path):
    return write_onnx(path, [helper.make_node("Relu", ["nowhere"], ["y"], name="lost")], *ENDS)


def without_an_input(path):
    return write_onnx(path, [helper.make_node("Relu", ["w"], ["y"])], [], [edge("y", 4, 4)], WEIGHT)


def with_a_custom_operator(path):
    nodes = [
        helper.make_node("Warp", ["x"], ["a"], name="warp_1", domain="my.ops"),
        helper.make_node("Warp", ["a"], ["y"], name="warp_2", domain="my.ops"),
    ]
    return write_onnx(path, nodes, *ENDS, domains=["my.ops"])


def with_an_operator_of_classic_learning(path):
    node = helper.make_node("Normalizer", ["x"], ["y"], name="norm", domain="ai.onnx.ml", norm="L2")
    return write_onnx(path, [node], *ENDS, domains=["ai.onnx.ml"])


def with_a_branch(path):
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "inner", [], [edge("z", "batch", 4)])
    node = helper.make_node("If", ["yes"], ["y"], name="choice", then_branch=inner, else_branch=inner)
    return write_onnx(path, [node], *ENDS, {"yes": np.array([True])})


def with_a_loop(path):
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Relu", ["state"], ["next"])],
        "body",
        [edge("i", dtype=TensorProto.INT64), edge("go", dtype=TensorProto.BOOL), edge("state", "batch", 4)],
        [edge("on", dtype=TensorProto.BOOL), edge("next", "batch", 4)],
    )
    node = helper.make_node("Loop", ["times", "", "x"], ["y"], name="again", body=body)
    return write_onnx(path, [node], *ENDS, {"times": np.array(3, np.int64)})


CASES = [
    (cut_off, "EP-105", ["cut off"], "copy or export"),
    (without_its_data, "EP-150", ["'w'", "m.data", "no such file"], "external_data=False"),
    (with_data_too_short, "EP-150", ["'w'", "3 bytes"], "external_data=False"),
    (with_a_pointer_as_data, "EP-150", ["'w'", "Git LFS pointer"], "copy the data file"),
    (with_data_elsewhere, "EP-150", ["../secret", "outside the model's folder"], "copy the data file"),
    (too_new, "EP-151", ["opset 27", "opset 26"], "opset_version=18"),
    (of_a_newer_ir, "EP-151", ["IR version 14", "IR version 13"], "ir_version=10"),
    (with_a_lost_value, "EP-152", ["'nowhere'", "lost"], "onnx.checker"),
    (without_an_input, "EP-152", ["has no input"], "torch.onnx.export(model, sample"),
    (with_a_custom_operator, "EP-153", ["my.ops.Warp (2: warp_1, warp_2)"], "standard operators"),
]


@pytest.mark.parametrize(("write", "code", "words", "hint"), CASES, ids=[write.__name__ for write, *_ in CASES])
def test_a_bad_file_is_refused_with_what_and_where_and_what_next(write, code, words, hint, tmp_path):
    path = write(tmp_path / "m.onnx")
    with pytest.raises(ModelError) as caught:
        read_onnx(path)
    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    assert str(path) in caught.value.message
    for word in words:
        assert word in caught.value.message
    assert hint in caught.value.hint


REFUSED = [
    (with_a_branch, "EP-154", "If (1: choice)", "torch.jit.trace"),
    (with_a_loop, "EP-154", "Loop (1: again)", "write loops out"),
    (with_an_operator_of_classic_learning, "EP-153", "ai.onnx.ml.Normalizer (1: norm)", "standard operators"),
]


@pytest.mark.parametrize(("write", "code", "words", "hint"), REFUSED, ids=[write.__name__ for write, *_ in REFUSED])
def test_what_onnxruntime_runs_and_keras_cannot_is_told_from_the_operators_alone(write, code, words, hint, tmp_path):
    path = write(tmp_path / "m.onnx")
    refused = inspect(path).refusal
    assert (refused.code, refused.exit_code) == (code, 2)
    assert str(path) in refused.message
    assert words in refused.message
    assert hint in refused.hint


def test_other_graphs_are_not_refused_beforehand(tmp_path):
    assert inspect(write_quadrants(tmp_path / "m.onnx")).refusal is None


def test_data_beside_the_file_is_loaded(tmp_path):
    model = read_onnx(beside(tmp_path / "m.onnx"))
    assert len(model.graph.initializer[0].raw_data) == 64
    assert (tmp_path / "m.data").exists()


def test_a_newest_opset_that_runs_is_taken(tmp_path):
    assert read_onnx(write_relu(tmp_path / "m.onnx", opset=26, ir=13)).ir_version == 13


def test_weights_that_are_not_finite_are_refused_also_beside_the_file_and_in_nodes(tmp_path):
    bad = np.eye(4, dtype=np.float32)
    bad[1, 2] = np.nan
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    outside = write_onnx(
        tmp_path / "a.onnx", [node], *ENDS, {"w": bad}, save_as_external_data=True, location="a.data", size_threshold=0
    )
    constant = helper.make_node("Constant", [], ["w"], value=helper.make_tensor("w", 1, [4, 4], bad.ravel()))
    inside = write_onnx(tmp_path / "b.onnx", [constant, node], *ENDS)
    for path in (outside, inside):
        with pytest.raises(ModelError, match=r"w has 1 NaN \(of 16\), first at \[1, 2\]") as caught:
            refuse_unsuitable(inspect(path), trust_code=False)
        assert caught.value.code == "EP-110"


def test_local_functions_are_written_out(tmp_path):
    import onnx

    twice = helper.make_function(
        "local", "Twice", ["a"], ["c"], [helper.make_node("Add", ["a", "a"], ["c"])], [helper.make_opsetid("", 17)]
    )
    graph = helper.make_graph([helper.make_node("Twice", ["x"], ["y"], domain="local")], "g", *ENDS)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    onnx.save(helper.make_model(graph, functions=[twice], opset_imports=opsets, ir_version=9), tmp_path / "m.onnx")
    assert [node.op_type for node in read_onnx(tmp_path / "m.onnx").graph.node] == ["Add"]
