# SPDX-License-Identifier: Apache-2.0
"""The kernels of a SavedModel that are counted stay in every lowered file: what may go is not counted."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgepack.model.inspect import inspect
from tests.write_saved import call, const, flag, function, node, write_saved

KERNEL = np.random.default_rng(2).normal(size=(4, 4)).astype(np.float32)
OTHER = np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)
X = node("x", "Placeholder")
K, M = const("k", KERNEL), const("m", OTHER)
ONES = np.ones(4, np.float32)


def product(name, source, kernel="k", **attrs):
    return node(name, "MatMul", source, kernel, **attrs)


def norm(name, source, **attrs):
    """Batch normalization with ``gamma`` and nothing else learnt."""
    return node(name, "FusedBatchNormV3", source, "gamma", "zeros", "zeros", "ones", **attrs)


def count(folder, nodes, *, output="y", **more):
    return inspect(write_saved(folder / "saved", [X, *nodes], output=output, **more)).kernel_count


@pytest.mark.parametrize(
    ("nodes", "kept"),
    [
        ([K, product("y", "x")], 16),
        ([K, M, product("a", "x"), node("b", "Relu", "a"), product("y", "b", "m")], 32),
        ([K, product("a", "x"), node("b", "Relu", "a"), product("y", "b")], 16),  # one kernel, twice
        ([K, const("m", 2 * KERNEL), product("a", "x"), node("b", "Relu", "a"), product("y", "b", "m")], 16),
        ([K, const("m", KERNEL.T), product("a", "x"), node("b", "Relu", "a"),
          product("y", "b", "m", transpose_b=flag(True))], 16),
        ([const("k", 0 * KERNEL), product("y", "x")], 0),
        ([const("k", 0 * KERNEL + 2), product("y", "x")], 0),
        ([const("k", KERNEL * np.inf), product("y", "x")], 0),
        ([K, node("k2", "Slice", "k"), product("y", "x", "k2")], 0),
        ([K, node("a", "Shape", "x"), product("y", "a")], 0),  # known once shapes are
        ([K, product("a", "x"), node("y", "Shape", "a")], 0),
        ([K, product("a", "x"), node("b", "Relu", "x"), node("y", "Relu", "b")], 0),  # nothing hears it
        ([K, M, product("y", "m")], 0),  # constants alone
        ([K, const("c", ONES), product("a", "x"), node("y", "Mul", "a", "c")], 16),
        ([K, const("c", 0 * ONES), product("a", "x"), node("y", "Mul", "a", "c")], 0),
        ([K, const("c", ONES * np.inf), product("a", "x"), node("y", "Mul", "a", "c")], 0),
        ([K, const("c", -ONES), product("a", "x"), node("b", "Mul", "a", "c"), node("y", "AddV2", "a", "b")], 0),
        ([K, const("c", -ONES), product("a", "x"), product("b", "x"), node("d", "Mul", "b", "c"),
          node("y", "AddV2", "a", "d")], 0),  # two operations that a converter sees to be one
        ([K, M, const("c", -ONES), product("a", "x"), node("r", "Relu", "a"), product("b", "r", "m"),
          node("d", "Mul", "b", "c"), node("y", "AddV2", "a", "d")], 32),
        ([K, product("a", "x"), node("y", "Sub", "a", "a")], 0),
        ([K, product("a", "x"), node("y", "RealDiv", "a", "a")], 0),
        ([K, product("a", "x"), node("y", "AddV2", "a", "nowhere")], 0),
        ([K, product("a", "x"), node("y", "Unheard", "a")], 0),
        ([K, node("y", "MatMul", "x")], 0),
        ([K, product("y", "y2"), node("y2", "Relu", "y")], 0),  # leads to itself
        ([K, node("y", "Identity", "y2"), node("y2", "Identity", "y")], 0),
    ],
)  # fmt: skip
def test_what_every_converter_keeps_is_counted_once(tmp_path, *, nodes, kept):
    assert count(tmp_path, nodes) == kept


@pytest.mark.parametrize(
    ("gamma", "attrs", "kept"),
    [
        (ONES, {"is_training": flag(False)}, 16),
        (0 * ONES, {"is_training": flag(False)}, 0),
        (ONES, {"is_training": flag(True)}, 0),
        (ONES, {}, 0),  # training is what it does where nothing is said
    ],
)
def test_batch_normalization_is_followed_once_it_is_learnt(tmp_path, *, gamma, attrs, kept):
    nodes = [K, const("gamma", gamma), const("zeros", 0 * ONES), const("ones", ONES), product("a", "x")]
    assert count(tmp_path, [*nodes, norm("y", "a", **attrs)]) == kept


def test_kernels_that_batch_normalization_makes_equal_are_counted_once(tmp_path):
    gamma = np.array([-1, 2, -3, 1], np.float32)
    nodes = [K, const("m", KERNEL * gamma), const("gamma", gamma), const("zeros", 0 * ONES), const("ones", ONES)]
    nodes += [product("a", "x"), norm("b", "a", is_training=flag(False)), node("c", "Relu", "b")]
    assert count(tmp_path, [*nodes, product("y", "c", "m")]) == 16


def test_calls_are_followed_to_what_they_return(tmp_path):
    body = [product("one", "a", "kernel"), product("two", "a", "other"), node("out", "Relu", "one:product:0")]
    inner = function("inner", ["a", "kernel", "other"], body, first="out:activations:0", second="two:product:0")
    nodes = [K, M, call("called", "inner", "x", "k", "m")]
    assert count(tmp_path / "first", nodes, output="called:0", functions=[inner]) == 16
    joined = [*nodes, node("y", "AddV2", "called:0", "called:1")]
    assert count(tmp_path / "both", joined, functions=[inner]) == 32
    assert count(tmp_path / "third", nodes, output="called:2", functions=[inner]) == 0


def test_a_function_that_calls_itself_ends(tmp_path):
    inner = function("inner", ["a"], [call("again", "inner", "a")], out="again:output:0")
    assert count(tmp_path, [K, call("y", "inner", "x")], functions=[inner]) == 0


def test_what_changes_a_variable_or_gives_nothing_is_not_counted_on(tmp_path):
    nodes = [K, product("y", "x", "k")]
    assert count(tmp_path / "empty", nodes, shape=(None, 0)) == 0
    changing = [K, node("y", "MatMul", "x", "k", "^later"), node("later", "AssignVariableOp", "x")]
    assert count(tmp_path / "changed", changing) == 0


def test_depth_costs_no_recursion(tmp_path):
    deep = [node(f"n{place}", "Relu", f"n{place - 1}" if place else "x") for place in range(3000)]
    assert count(tmp_path, [K, *deep, product("y", "n2999")]) == 16


@pytest.fixture(scope="module")
def saved(worker, tmp_path_factory):
    """Yield the folder of the SavedModels that ``make_saved.py`` writes, and what is kept of each."""
    folder = tmp_path_factory.mktemp("saved")
    script = Path(__file__).with_name("make_saved.py").read_text()
    worker.call("make-saved", exec, script, {"folder": str(folder), "__name__": "make_saved"})
    return folder, {path.stem: int(path.read_text()) for path in folder.glob("*.kept")}


@pytest.mark.tf
def test_variables_are_followed_as_tensorflow_saves_them(saved):
    folder, kept = saved
    assert len(kept) > 30
    assert {name: inspect(folder / name).kernel_count for name in kept} == kept


@pytest.mark.tf
@pytest.mark.parametrize("part", ["variables.index", "variables.data-00000-of-00001"])
def test_a_damaged_checkpoint_is_not_counted_on(saved, tmp_path, part):
    folder, _ = saved
    shutil.copytree(folder / "plain", tmp_path / "m")
    path = tmp_path / "m" / "variables" / part
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    assert inspect(tmp_path / "m").kernel_count == 0
    if part == "variables.index":
        chance = np.random.default_rng(3)
        for _ in range(60):
            damaged = bytearray(data)
            for at in chance.integers(len(data), size=4):
                damaged[at] = chance.integers(256)
            path.write_bytes(damaged)
            assert inspect(tmp_path / "m").kernel_count in {0, 576}
