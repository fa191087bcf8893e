# SPDX-License-Identifier: Apache-2.0
"""Ranges of activations: one value far out does not cost the others their steps, unless it counts."""

from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationMethod, create_calibrator, load_tensors_data, save_tensors_data

from edgepack.compress.recipe import Recipe
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower import _onnx_quantize as quantize
from edgepack.lower import _onnx_ranges as ranges
from edgepack.lower._calibration import CalibrationSet
from edgepack.lower._onnx_quantize import static
from edgepack.lower.form import Form
from edgepack.lower.lower import lower
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.precision import Precision
from tests.write_onnx import edge, write_onnx

X86 = Form(format="onnx", unsigned=True, opset=26)
GPU = Form(format="onnx", opset=23, gpu=True)
SHAPE = (3, 16, 16)
COUNT = 200


def images(count, *, seed=1):
    """Noise that is brighter in one quarter."""
    draw = np.random.default_rng(seed)
    found = draw.uniform(0, 1, (count, *SHAPE)).astype(np.float32)
    for image in found:
        top, left = draw.integers(0, 2, 2) * 8
        image[:, top : top + 8, left : left + 8] += 0.5
    return found


def spiked(count, row, value):
    """The same with one pixel of image ``row`` at ``value``."""
    found = images(count)
    found[row, :, 3, 5] = value
    return found


def write_quarters(path, *more, outputs=()):
    """Two convolutions that mix channels alone, the means of quarters, and 4 logits; ``more`` nodes behind them."""
    draw = np.random.default_rng(2)

    def near(values):
        return (values + 0.02 * draw.standard_normal(values.shape)).astype(np.float32)

    quarters = np.zeros((4, 8, 4))
    for number in range(4):
        quarters[number, :, number] = 1 / 8
    weights = {
        "w1": near(np.full((8, 3, 1, 1), 1 / 3)),
        "w2": near(np.eye(8)[:, :, None, None]),
        "w3": near(quarters.reshape(4, -1)),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], "one"),
        helper.make_node("Relu", ["c1"], ["r1"], "one_relu"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], "two"),
        helper.make_node("Relu", ["c2"], ["r2"], "two_relu"),
        helper.make_node("AveragePool", ["r2"], ["means"], "means", kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Flatten", ["means"], ["flat"], "flat"),
        helper.make_node("Gemm", ["flat", "w3"], ["logits"], "head", transB=1),
        *more,
    ]
    return write_onnx(path, nodes, [edge("image", 1, *SHAPE)], outputs or [edge("logits", 1, 4)], weights)


@pytest.fixture
def calibrate(tmp_path):
    """Samples as calibration data on disk."""

    def write(samples):
        np.save(tmp_path / "x.npy", samples)
        return (tmp_path / "x.npy",)

    return write


@pytest.fixture
def source(tmp_path):
    return write_quarters(tmp_path / "own.onnx")


@pytest.fixture
def quantized(source, tmp_path, calibrate):
    """Lower the quarters with ``samples`` to calibrate on."""
    specs = [(TensorSpec("image", (1, *SHAPE), "float32"),), (TensorSpec("logits", (1, 4), "float32"),)]
    given = Model(source, "onnx", source, Format.ONNX, *specs, digest="own", onnx=source)

    def make(samples, precision=Precision.W8A8, form=X86):
        recipe = Recipe(precision=PrecisionPlan(default=precision))
        return lower(given, recipe, calibration=calibrate(samples), folder=tmp_path, form=form)

    return make


@pytest.fixture
def rounded(source, calibrate):
    """Quantize them alone, and return the graph and what is told."""

    def make(samples, precision=Precision.W8A8, form=X86, *, graph=None):
        given = CalibrationSet.opened(calibrate(samples), (TensorSpec("image", (1, *SHAPE), "float32"),))
        return static(graph or onnx.load(source), precision, given, form)

    return make


@pytest.fixture
def plainly(monkeypatch):
    """Call something with the least and the largest values as ranges, whatever the samples."""

    def call(make, *given):
        with monkeypatch.context() as patched:
            patched.setattr(ranges, "_LEAST_HELD", 10**9)
            return make(*given)

    return call


@pytest.fixture
def tried(monkeypatch):
    """A list that gets an entry each time that narrower ranges are made."""
    made, write = [], ranges.write_narrowed
    monkeypatch.setattr(quantize, "write_narrowed", lambda *given, **kinds: made.append(write(*given, **kinds)))
    return made


def classes(model):
    session = onnxruntime.InferenceSession(model)
    return np.array([session.run(None, {"image": image[None]})[0].argmax() for image in images(300, seed=3)])


@pytest.mark.parametrize(
    ("precision", "form"),
    [
        (Precision.W8A8, X86),
        (Precision.W8A8_PER_TENSOR, X86),
        (Precision.W8A8, replace(X86, narrow=True)),
        (Precision.W8A8, replace(X86, unsigned=False)),
        (Precision.W8A8, GPU),
    ],
)
def test_a_pixel_far_out_does_not_cost_the_others_their_steps(quantized, rounded, plainly, source, *, precision, form):
    samples = spiked(COUNT, 11, 500)
    plain, told = plainly(rounded, samples, precision, form)
    found = quantized(samples, precision, form)
    assert told == ()
    assert found.notes[-1].startswith(
        "the ranges of its activations leave out the outermost 0.01% of the calibration values: the answers to 40 "
    )
    exact = classes(source)
    assert (classes(plain.SerializeToString()) == exact).mean() < 0.7
    assert (classes(found.path) == exact).mean() > 0.99
    assert found.digest == quantized(samples, precision, form).digest
    assert rounded(samples, precision, form)[0].ByteSize() == plain.ByteSize(), "a cost is read with few samples"


def test_a_pixel_far_out_that_counts_is_kept(quantized, plainly, tried):
    samples = spiked(COUNT, 4, 20)
    found = quantized(samples)
    assert tried
    assert found.path.read_bytes() == plainly(quantized, samples).path.read_bytes()
    assert found.notes == ("onnxruntime computes 3 of 3 operators that multiply in integers (2 convolutions)",)
    graph = onnx.load(found.path).graph
    constants = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    first = next(node for node in graph.node if node.op_type == "QuantizeLinear")
    assert first.input[0] == "image"
    assert constants[first.input[1]] == pytest.approx(20 / 255, rel=1e-3)


def test_answers_that_rounding_hardly_moves_are_left_as_they_are(rounded, tried):
    assert rounded(images(COUNT))[1] == ()
    assert not tried
    assert len(rounded(spiked(COUNT, 11, 500))[1]) == len(tried) == 1


@pytest.mark.parametrize(("count", "enough"), [(39, False), (40, True)])
def test_too_few_samples_hold_none_back(rounded, tried, count, enough):
    _, told = rounded(spiked(count, 11, 500))
    assert bool(tried) == enough
    if not enough:
        assert told == ()


def test_histograms_of_one_sample_after_another_are_those_of_all_at_once(source, tmp_path, calibrate):
    samples = spiked(COUNT, 7, 1000)
    given = CalibrationSet.opened(calibrate(samples), (TensorSpec("image", (1, *SHAPE), "float32"),))
    kinds = ["Conv", "Gemm", "Relu", "AveragePool"]

    def calibrated(method, rows, **options):
        with redirect_stdout(StringIO()):
            calibrator = create_calibrator(
                source, kinds, str(tmp_path / "more.onnx"), calibrate_method=method, extra_options=options
            )
            calibrator.collect_data(ranges.Reader(given.rows(rows)))
            return calibrator.compute_data()

    save_tensors_data(calibrated(CalibrationMethod.MinMax, range(COUNT)), tmp_path / ranges.SEEN)
    ranges.write_narrowed(source, given, range(COUNT), kinds=kinds)
    found = load_tensors_data(tmp_path / ranges.NARROWED)
    kept = {"percentile": ranges._PERCENT, "symmetric": False, "num_bins": ranges._BINS}
    wanted = calibrated(CalibrationMethod.Percentile, range(COUNT), **kept)
    assert set(found) == set(wanted) > {"image", "c1", "r1", "logits"}
    for name in wanted:
        ends = [[float(end) for end in side[name].range_value] for side in (found, wanted)]
        assert ends[0] == pytest.approx(ends[1], rel=1e-4), "edges of bins are computed in float32"
    assert float(found["image"].highest) < 2


def test_fewer_samples_are_counted_where_they_have_many_values(rounded, monkeypatch):
    read, rows = [], CalibrationSet.rows

    def noted(self, which):
        read.append(list(which))
        return rows(self, which)

    monkeypatch.setattr(CalibrationSet, "rows", noted)
    rounded(spiked(COUNT, 11, 500))
    *_, first, others, held = read
    assert first + others == [row for row in range(COUNT) if row % 5 != 4]
    assert held == list(range(4, COUNT, 5))
    monkeypatch.setattr(ranges, "_MOST_VALUES", 1)
    rounded(spiked(COUNT, 11, 500))
    *_, first, others, held = read
    assert (len(first + others), len(held)) == (32, 40)
    assert (first, others[-1]) == ([0], 193), "evenly spread"


@pytest.mark.parametrize(
    ("more", "output"),
    [
        ([("Floor", "r2", "whole"), ("NonZero", "whole", "places")], edge("places", 4, "n", dtype=7)),
        ([("Neg", "flat", "below"), ("Log", "below", "nothing")], edge("nothing", 1, 32)),
    ],
)
def test_answers_that_cannot_be_compared_keep_the_plain_ranges(tmp_path, rounded, *, more, output):
    nodes = [helper.make_node(kind, [given], [made], made) for kind, given, made in more]
    graph = onnx.load(write_quarters(tmp_path / "more.onnx", *nodes, outputs=[edge("logits", 1, 4), output]))
    assert rounded(spiked(COUNT, 11, 500), graph=graph)[1] == ()


def test_infinite_activations_keep_the_plain_ranges_and_are_told(tmp_path, rounded, plainly):
    more = [
        helper.make_node("Exp", ["logits"], ["grown"], "grown"),
        helper.make_node("Clip", ["grown", "", "one"], ["clipped"], "clipped"),
    ]
    source = write_quarters(tmp_path / "more.onnx", *more, outputs=[edge("clipped", 1, 4)])
    graph = onnx.load(source)
    graph.graph.initializer.append(numpy_helper.from_array(np.float32(9), "one"))
    found, (told,) = rounded(spiked(COUNT, 11, 9000), graph=graph)
    assert told.startswith("onnxruntime's Percentile calibrator does not take this graph (ValueError: ")
    assert found == plainly(lambda: rounded(spiked(COUNT, 11, 9000), graph=graph)[0])
