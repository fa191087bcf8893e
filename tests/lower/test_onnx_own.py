# SPDX-License-Identifier: Apache-2.0
"""A source's own graph, lowered to ONNX: nodes without names, versions, and what rounding is held against."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower import _onnx
from edgepack.lower._onnx_names import graphs_of
from edgepack.lower.form import Form, newest_versions
from edgepack.lower.lower import lower
from edgepack.measure.agreement import relative_rms
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.precision import Precision
from tests.write_onnx import edge, write_onnx

X86 = Form(format="onnx", unsigned=True, opset=26)
SIZE = 64


def dense(path, kind):
    """Three nameless products of matrices, with rectifiers between them."""
    draw = np.random.default_rng(4)
    weights = {f"w{n}": (draw.normal(size=(SIZE, SIZE)) / 8).astype(np.float32) for n in range(3)}
    options = {"transB": 1} if kind == "transposed" else {}
    if kind != "MatMul":
        weights |= {f"b{n}": draw.normal(size=SIZE).astype(np.float32) for n in range(3)}
    nodes = []
    for n in range(3):
        given = [f"v{n}", f"w{n}"] if kind == "MatMul" else [f"v{n}", f"w{n}", f"b{n}"]
        nodes.append(helper.make_node("MatMul" if kind == "MatMul" else "Gemm", given, [f"h{n}"], **options))
        nodes.append(helper.make_node("Relu", [f"h{n}"], [f"v{n + 1}"]))
    write_onnx(path, nodes, [edge("v0", 1, SIZE)], [edge("v3", 1, SIZE)], weights)
    specs = [(TensorSpec(end, (1, SIZE), "float32"),) for end in ("v0", "v3")]
    return Model(path, "onnx", path, Format.ONNX, *specs, digest="own", onnx=path)


def lowered(model, precision, folder, form=X86):
    recipe = Recipe(precision=PrecisionPlan(default=precision))
    return lower(model, recipe, calibration=None, folder=folder, form=form)


@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "transposed"])
def test_nodes_without_names_keep_their_own_weights(kind, tmp_path):
    model = dense(tmp_path / "own.onnx", kind)
    artifact = lowered(model, Precision.W4, tmp_path)
    names = [node.name for part in graphs_of(onnx.load(artifact.path).graph) for node in part.node]
    assert len(set(names)) == len(names)
    given = {"v0": np.random.default_rng(0).normal(size=(1, SIZE)).astype(np.float32)}
    found, wanted = (onnxruntime.InferenceSession(path).run(None, given)[0] for path in (artifact.path, model.onnx))
    assert relative_rms(found, wanted) < 0.4
    assert lowered(model, Precision.W4, tmp_path / "again").digest == artifact.digest


@pytest.mark.parametrize(
    ("precision", "owner", "name"),
    [
        (Precision.W16, _onnx, "half"),
        (Precision.W8, _onnx.quantize, "dynamic"),
        (Precision.W4, _onnx, "four_bits"),
    ],
)
def test_what_rounds_weights_alone_is_held_against_its_float_graph(monkeypatch, tmp_path, precision, owner, name):
    rounded = getattr(owner, name)

    def spoilt(graph, **options):
        other = onnx.ModelProto.FromString(graph.SerializeToString())
        first = other.graph.initializer[0]
        first.CopyFrom(onnx.numpy_helper.from_array(-onnx.numpy_helper.to_array(first), first.name))
        return rounded(other, **options)

    model = dense(tmp_path / "own.onnx", "MatMul")
    lowered(model, precision, tmp_path)
    monkeypatch.setattr(owner, name, spoilt)
    with pytest.raises(CandidateError, match="something else than the float graph that it rounds") as caught:
        lowered(model, precision, tmp_path)
    assert caught.value.code == "EP-695"


@pytest.mark.parametrize("ir", [8, 9, 10])
def test_the_file_has_the_ir_version_that_the_runtime_takes(ir, tmp_path):
    artifact = lowered(dense(tmp_path / "own.onnx", "Gemm"), Precision.W8, tmp_path, replace(X86, ir=ir))
    assert onnx.load(artifact.path).ir_version == ir


def test_a_runtime_older_than_the_table_is_told(tmp_path):
    opset, ir = newest_versions("1.12.1")
    with pytest.raises(CandidateError, match=r"onnxruntime is older than 1\.14") as caught:
        lowered(dense(tmp_path / "own.onnx", "Gemm"), Precision.F32, tmp_path, replace(X86, opset=opset, ir=ir))
    assert (caught.value.code, "1.14 or newer" in caught.value.hint) == ("EP-693", True)
