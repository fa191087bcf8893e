# SPDX-License-Identifier: Apache-2.0
"""Arena and resident growth: what is allocated, what it is made of, what is put on top."""

import numpy as np
import pytest

from edgepack.compress.recipe import Recipe
from edgepack.device.profile import load_device
from edgepack.errors import CandidateError
from edgepack.figure import Evidence
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.measure import _esp_nn
from edgepack.measure._cmsis_nn import Core, scratch_bytes
from edgepack.measure.memory import ARENA_STEP_BYTES, MIB, code_path, kernel_scratch, ram
from edgepack.model.model import Format, Model, TensorSpec
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import TfliteGraph, TfliteOp, TfliteTensor, read_tflite


def measured(artifact, device, session, inputs, *, kernels=None):
    profile = load_device(device)
    runtime = profile.runtime.model_copy(update={"kernels": kernels}) if kernels else profile.runtime
    return ram(artifact, runtime=runtime, profile=profile, session=session, inputs=inputs)


def test_devices_whose_kernels_ask_for_the_same_scratch_have_one_code_path():
    profiles = map(load_device, ("nrf52840", "stm32h747", "rp2040"))
    paths = {profile.name: code_path(profile.runtime, profile) for profile in profiles}
    assert paths == {"nrf52840": "cmsis-nn dsp", "stm32h747": "cmsis-nn dsp", "rp2040": "cmsis-nn scalar"}
    assert code_path(load_device("esp32-s3").runtime, load_device("esp32-s3")) == "esp-nn"


@pytest.mark.tf
def test_the_arena_is_the_smallest_that_allocates(lowered, runtime_session, small_samples):
    artifact, session = lowered("conv", Precision.W8A8, "int8"), runtime_session("tflm")
    figure, items = measured(artifact, "stm32h747", session, small_samples("conv"), kernels="reference")
    smallest = int(figure.value)
    assert figure.evidence is Evidence.COMPUTED
    assert figure.unit == "B"
    assert smallest % ARENA_STEP_BYTES == 0
    assert session.allocates_in(artifact, smallest)
    assert not session.allocates_in(artifact, smallest - ARENA_STEP_BYTES)
    ledger = dict(items)
    head, tail = ledger["head: activations and scratch"], ledger["tail: what stays for the model's lifetime"]
    assert smallest - ARENA_STEP_BYTES < head + tail <= smallest
    assert head >= 8 * 8 * 8 * 2, "two activations of the first layers are alive at once"
    assert any("64-bit host, reference kernels" in name for name in ledger)
    assert sum(size for name, size in items if name.startswith("tail: ") and "lifetime" not in name) <= tail
    assert "tail: Persistent buffer data" in ledger
    assert figure.upper == figure.value


@pytest.mark.tf
def test_cmsis_nn_scratch_widens_the_upper_bound_alone(lowered, runtime_session, small_samples):
    artifact, session = lowered("conv", Precision.W8A8, "int8"), runtime_session("tflm")
    figure, items = measured(artifact, "stm32h747", session, small_samples("conv"))
    library, extra = kernel_scratch(read_tflite(artifact.path), kernels="cmsis-nn", isa=("dsp",))
    assert library == "CMSIS-NN"
    assert extra == 2 * (3 * 3 * 8) * 2, "the second convolution: two columns of 3 x 3 x 8 int16 values"
    assert figure.ci_high == figure.value + extra
    assert items[-1] == ("CMSIS-NN scratch at most", extra)


@pytest.mark.tf
def test_esp_nn_scratch_widens_the_upper_bound_too(lowered, runtime_session, small_samples):
    artifact, session = lowered("conv", Precision.W8A8, "int8"), runtime_session("tflm")
    figure, items = measured(artifact, "esp32-s3", session, small_samples("conv"))
    graph = read_tflite(artifact.path)
    first = next(op for op in graph.ops if op.name == "CONV_2D")
    # 8x8x2 pixels padded by the 3x3 kernel, 8 filters of 18 weights, both as 16-bit copies.
    assert _esp_nn.scratch_bytes(graph, first) == 2 * (11 * 11 * 2 + 8 * 18 + 8 * 2) + 4 * 8 + 64
    assert figure.ci_high == figure.value + max(_esp_nn.scratch_bytes(graph, op) for op in graph.ops)
    assert items[-1][0] == "ESP-NN scratch at most"


@pytest.mark.tf
def test_resident_growth_is_whole_mib_of_this_machine(lowered, runtime_session, small_samples):
    artifact = lowered("conv", Precision.W8A8, "int8")
    figure, items = measured(artifact, "rpi4", runtime_session("litert"), small_samples("conv"))
    assert figure.evidence is Evidence.HOST
    assert figure.value % MIB == 0
    assert 1 * MIB <= figure.value <= 32 * MIB
    assert figure.upper % MIB == 0
    assert 1.2 * figure.value <= figure.upper < 1.2 * figure.value + MIB
    assert sum(size for _, size in items) == figure.upper


@pytest.mark.tf
def test_resident_growth_follows_what_a_model_allocates(lowered, runtime_session, small_samples):
    session = runtime_session("litert")
    growth = session.growth_bytes(lowered("conv", Precision.W8A8, "int8"), small_samples("conv"))
    assert 0 < growth < 32 * MIB


@pytest.mark.tf
def test_float16_on_a_microcontroller_fails_in_the_runtimes_own_words(lowered, runtime_session, small_samples):
    with pytest.raises(CandidateError) as caught:
        measured(lowered("conv", Precision.W16, "float"), "nrf52840", runtime_session("tflm"), small_samples("conv"))
    assert caught.value.code == "EP-602"
    assert "DEQUANTIZE" in caught.value.message
    assert "tflm" in caught.value.message


@pytest.mark.tf
def test_a_hybrid_model_on_a_microcontroller_fails_in_the_runtimes_own_words(lowered, runtime_session, small_samples):
    with pytest.raises(CandidateError, match="Hybrid models are not supported on TFLite Micro"):
        measured(lowered("conv", Precision.W8, "float"), "nrf52840", runtime_session("tflm"), small_samples("conv"))


@pytest.mark.tf
@pytest.mark.field
def test_the_arena_of_resnet8_is_56_kb(field, worker, runtime_session, tmp_path):
    """As published for the same architecture: 56 KB of arena in int8 (MLPerf Tiny's image classification model)."""
    path = field("cifar10/pretrainedResnet_quant.tflite")
    graph = read_tflite(path)
    edges = [
        (TensorSpec(name, graph.tensors[index].shape, graph.tensors[index].dtype),)
        for name, index in (("image", graph.inputs[0]), ("probs", graph.outputs[0]))
    ]
    model = Model(path, "tflite", path, Format.TFLITE, *edges, digest="resnet8", quantized=True)
    recipe = Recipe(precision=PrecisionPlan(default=Precision.W8A8, io="int8"), as_is=True)
    artifact = worker.call("resnet8", lower, model, recipe, calibration=None, folder=tmp_path)
    samples = tmp_path / "image.npy"
    np.save(samples, np.zeros((1, 32, 32, 3), np.float32))
    figure, _ = measured(artifact, "stm32h747", runtime_session("tflm"), (samples,))
    assert abs(figure.value - 56_000) <= 5_600


def tensor(index, shape, dtype="int8"):
    return TfliteTensor(
        index, f"t{index}", shape, dtype, 1, is_constant=False, scales=(), zero_points=(), quantized_dimension=0
    )


def one_op(name, *, kernel, inputs, output, dtype="int8"):
    tensors = [tensor(index, shape, dtype) for index, shape in enumerate([*inputs, output])]
    op = TfliteOp(name, 1, tuple(range(len(inputs))), (len(inputs),), 1, kernel)
    return TfliteGraph(tuple(tensors), (op,), (0,), (len(inputs),), (), 1, 1), op


# Each expected value is worked out by hand from the library's function for that kernel.
@pytest.mark.parametrize(
    ("name", "kernel", "inputs", "output", "dtype", "core", "expected"),
    [
        ("CONV_2D", (3, 3), [(1, 8, 8, 16), (32, 3, 3, 16)], (1, 8, 8, 32), "int8", Core.DSP, 2 * 144 * 2),
        ("CONV_2D", (3, 3), [(1, 8, 8, 3), (8, 3, 3, 3)], (1, 8, 8, 8), "int8", Core.SCALAR, 2 * 28 * 2),
        ("CONV_2D", (3, 3), [(1, 8, 8, 3), (8, 3, 3, 3)], (1, 8, 8, 8), "int8", Core.MVE, 4 * 32),
        ("CONV_2D", (1, 1), [(1, 8, 8, 16), (32, 1, 1, 16)], (1, 8, 8, 32), "int8", Core.SCALAR, 0),
        ("CONV_2D", (1, 1), [(1, 8, 8, 16), (32, 1, 1, 16)], (1, 8, 8, 32), "int8", Core.DSP, 2 * 16 * 2),
        ("CONV_2D", (3, 3), [(1, 8, 8, 16), (32, 3, 3, 16)], (1, 8, 8, 32), "int16", Core.DSP, 2 * 144 * 2),
        ("CONV_2D", (3, 3), [(1, 8, 8, 16), (32, 3, 3, 16)], (1, 8, 8, 32), "float32", Core.DSP, 0),
        ("DEPTHWISE_CONV_2D", (3, 3), [(1, 8, 8, 16), (1, 3, 3, 16)], (1, 8, 8, 16), "int8", Core.DSP, 0),
        ("DEPTHWISE_CONV_2D", (5, 5), [(1, 8, 8, 16), (1, 5, 5, 16)], (1, 8, 8, 16), "int8", Core.DSP, 400 * 2),
        ("DEPTHWISE_CONV_2D", (5, 5), [(1, 8, 8, 16), (1, 5, 5, 32)], (1, 8, 8, 32), "int8", Core.DSP, 0),
        ("DEPTHWISE_CONV_2D", (3, 3), [(1, 8, 8, 16), (1, 3, 3, 16)], (1, 8, 8, 16), "int8", Core.MVE, 4 * 124 * 9),
        ("DEPTHWISE_CONV_2D", (5, 5), [(1, 8, 8, 16), (1, 5, 5, 16)], (1, 8, 8, 16), "int8", Core.SCALAR, 0),
        ("AVERAGE_POOL_2D", (2, 2), [(1, 8, 8, 16)], (1, 4, 4, 16), "int8", Core.DSP, 64),
        ("FULLY_CONNECTED", None, [(1, 64), (10, 64)], (1, 10), "int8", Core.DSP, 0),
        ("FULLY_CONNECTED", None, [(1, 64), (10, 64)], (1, 10), "int8", Core.MVE, 40),
        ("SOFTMAX", None, [(1, 10)], (1, 10), "int8", Core.DSP, 0),
    ],
)
def test_scratch_is_what_the_librarys_functions_ask_for(name, kernel, inputs, output, *, dtype, core, expected):
    graph, op = one_op(name, kernel=kernel, inputs=inputs, output=output, dtype=dtype)
    assert scratch_bytes(graph, op, core) == expected


@pytest.mark.parametrize(
    ("isa", "core"),
    [((), Core.SCALAR), (("fpu",), Core.SCALAR), (("dsp", "fpu"), Core.DSP), (("DSP", "MVE"), Core.MVE)],
)
def test_a_profiles_extensions_choose_the_code_path(isa, core):
    assert Core.of(isa) is core


def test_a_model_without_such_kernels_adds_nothing():
    graph, _ = one_op("SOFTMAX", kernel=None, inputs=[(1, 10)], output=(1, 10))
    assert kernel_scratch(graph, kernels="cmsis-nn", isa=("dsp",)) == ("CMSIS-NN", 0)
    assert kernel_scratch(graph, kernels="esp-nn", isa=()) == ("ESP-NN", 0)
    assert kernel_scratch(graph, kernels="reference", isa=()) == ("", 0)
