# SPDX-License-Identifier: Apache-2.0
"""Compaction: fewer bytes, the same graph and constants, the same answers in every runtime, and nothing done twice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tflite

from edgepack.compress.recipe import Recipe
from edgepack.digest import digest_bytes
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower import _compact
from edgepack.lower._compact import compact, with_names
from edgepack.lower._convert import convert
from edgepack.lower.lower import lower
from edgepack.model.flatbuffer_tree import UnknownLayoutError, read_tree, write_tree
from edgepack.model.model import Format
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import parse_tflite
from edgepack.model.tflite_schema import SCHEMA
from tests.write_tflite import Op, Tensor, tflite_bytes

PLACE = Path("model.tflite")
SCALES = np.linspace(0.5, 1.5, 4, dtype=np.float32).tobytes()
TWICE = (
    Tensor("first/input", (1, 4)),
    Tensor("first/weights/of/the/layer", (4, 4), data=SCALES * 4),
    Tensor("hidden", (1, 4)),
    Tensor("second/weights/of/the/layer", (4, 4), data=SCALES * 4),
    Tensor("output", (1, 4)),
)
OPS = (
    Op("FULLY_CONNECTED", 1, (0, 1), (2,), "FullyConnectedOptions"),
    Op("FULLY_CONNECTED", 1, (2, 3), (4,), "FullyConnectedOptions"),
)


@pytest.fixture
def content():
    """Two layers whose weights are the same."""
    return tflite_bytes(TWICE, OPS, inputs=(0,), outputs=(4,), signature={"x": 0, "y": 4})


def constants(content):
    return {
        tensor.index: content[tensor.data_offset : tensor.data_offset + tensor.n_bytes]
        for tensor in parse_tflite(content, PLACE).tensors
        if tensor.is_constant
    }


def test_only_edges_keep_their_names(content):
    graph = parse_tflite(compact(content), PLACE)
    assert [tensor.name for tensor in graph.tensors] == ["first/input", "", "", "", "output"]
    assert graph.signatures == parse_tflite(content, PLACE).signatures


def test_operators_tensors_and_constants_stay(content):
    made = compact(content)
    before, after = parse_tflite(content, PLACE), parse_tflite(made, PLACE)
    assert (after.ops, after.inputs, after.outputs) == (before.ops, before.inputs, before.outputs)
    plain = [[replace(item, name="", data_offset=0) for item in graph.tensors] for graph in (before, after)]
    assert plain[0] == plain[1]
    assert constants(made) == constants(content)


def test_equal_constants_are_stored_once_and_aligned(content):
    graph = parse_tflite(compact(content), PLACE)
    assert graph.tensors[1].data_offset == graph.tensors[3].data_offset
    assert graph.tensors[1].data_offset % 16 == 0
    assert len(compact(content)) < len(content)


def test_compacting_twice_changes_nothing(content):
    assert compact(compact(content)) == compact(content)


def test_what_the_schema_does_not_know_is_returned_as_it_is(content):
    newer = bytearray(content)
    table = tflite.Model.GetRootAs(content, 0).Subgraphs(0).Operators(0)._tab
    newer[table.Pos + table.Offset(4 + 2 * 3)] = 200  # builtin_options_type
    assert compact(bytes(newer)) == bytes(newer)
    assert with_names(bytes(newer)) == bytes(newer)


def test_a_file_with_an_archive_behind_it_is_returned_as_it_is(content):
    packed = content + b"PK\x05\x06" + bytes(18)
    assert compact(packed) == packed


def test_a_tree_that_is_written_reads_back_equal(content):
    tree = read_tree(content, SCHEMA, "Model")
    written = write_tree(tree, identifier=b"TFL3", aligned={})
    assert read_tree(written, SCHEMA, "Model") == tree
    assert written == write_tree(tree, identifier=b"TFL3", aligned={})


def test_a_root_without_a_layout_cannot_be_read(content):
    with pytest.raises(UnknownLayoutError):
        read_tree(content, {}, "Model")


def test_a_compacted_file_that_differs_is_refused(content, monkeypatch):
    other = tflite_bytes(TWICE, OPS[:1], inputs=(0,), outputs=(2,))
    monkeypatch.setattr(_compact, "write_tree", lambda *_, **__: other)
    with pytest.raises(_compact.CandidateError, match="other operators, edges or signatures") as caught:
        compact(content)
    assert caught.value.code == "EP-613"


def test_nameless_tensors_get_names_of_their_own(content):
    assert with_names(content) is content
    names = [tensor.name for tensor in parse_tflite(with_names(compact(content)), PLACE).tensors]
    assert names == ["first/input", "tensor_0_1", "tensor_0_2", "tensor_0_3", "output"]
    assert constants(with_names(compact(content))) == constants(content)


LOWERED = [
    (Precision.F32, "float"), (Precision.W16, "float"), (Precision.W8, "float"),
    (Precision.W8A8, "int8"), (Precision.W8A8_PER_TENSOR, "int8"), (Precision.W8A16, "int8"),
]  # fmt: skip


@pytest.fixture
def converted(worker, small_model, small_samples, tmp_path):
    """The small convolutional model as the converter writes it, beside its compacted form, as artifacts."""

    def make(precision, io):
        model = small_model("conv")
        plan = PrecisionPlan(default=precision, io=io)
        samples = None
        if precision.needs_calibration:
            from edgepack.lower._calibration import CalibrationSet

            samples = CalibrationSet.opened(small_samples("conv"), model.inputs)
        raw = worker.call("convert", convert, model, plan, samples)
        path = tmp_path / "raw.tflite"
        path.write_bytes(raw)
        return path

    return make


@pytest.mark.tf
@pytest.mark.parametrize(("precision", "io"), LOWERED)
def test_every_runtime_computes_the_same_bits(
    converted, lowered, runtime_session, small_samples, tmp_path, precision, io
):
    slim = lowered("conv", precision, io)
    raw_path = converted(precision, io)
    assert slim.size_bytes < raw_path.stat().st_size - 500
    raw = replace(slim, path=raw_path, digest=digest_bytes([raw_path.read_bytes()]))
    names = {"litert", "tflite-runtime"} | ({"tflm"} if precision not in {Precision.W16, Precision.W8} else set())
    for name in sorted(names):
        session = runtime_session(name)
        answers = [
            np.load(session.run(item, small_samples("conv"), folder=tmp_path / f"{name}-{number}")[0])
            for number, item in enumerate((raw, slim))
        ]
        np.testing.assert_array_equal(*answers)


@pytest.mark.tf
def test_a_file_that_is_taken_as_it_is_stays_so(worker, converted, small_model, tmp_path):
    path = converted(Precision.W8A8, "int8")
    source = small_model("conv")
    model = replace(source, path=path, kind="tflite", source=path, source_format=Format.TFLITE, quantized=True)
    plan = PrecisionPlan(default=Precision.W8A8, io="int8")
    kept = worker.call(
        "as-is", lower, model, Recipe(precision=plan, as_is=True), calibration=None, folder=tmp_path / "kept"
    )
    assert kept.path.read_bytes() == path.read_bytes()
