# SPDX-License-Identifier: Apache-2.0
"""Which precisions a runtime refuses for certain is read from the model's summary alone."""

import pytest

from edgepack.model.model import Format
from edgepack.model.precision import Precision
from edgepack.model.summary import Layer, Summary
from edgepack.runtime.base import get_runtime
from edgepack.runtime.kernels import without_kernels

REFUSED = {Precision.W16, Precision.W8, Precision.W4}


def layer(kind, *kernels, stored=True):
    return Layer(
        name=kind.lower(),
        kind=kind,
        parameter_count=10,
        macs=100,
        input_shapes=(),
        output_shapes=(),
        kernels=kernels,
        stored=stored,
    )


def summary(*layers, file_format=Format.KERAS, **facts):
    return Summary(
        format=file_format,
        saved_by="",
        inputs=(),
        outputs=(),
        layers=layers,
        parameter_count=10,
        weight_bytes=40,
        **facts,
    )


def refused(model, runtime="tflm"):
    return without_kernels(get_runtime(runtime), model)


CONVOLVES = summary(layer("ReLU"), layer("Conv2D", (3, 3, 1, 8)), layer("Dense", (8, 10)))


def test_a_model_that_multiplies_by_weights_has_no_kernels_on_a_microcontroller_but_integer_ones():
    assert refused(CONVOLVES).keys() == REFUSED
    assert refused(CONVOLVES)[Precision.W16] == "Conv2D for float16 weights"
    assert refused(CONVOLVES)[Precision.W8] == "Conv2D for 8-bit weights under float activations"


@pytest.mark.parametrize("runtime", ["litert", "tflite-runtime", "onnxruntime"])
def test_other_runtimes_take_every_precision(runtime):
    assert refused(CONVOLVES, runtime) == {}


@pytest.mark.parametrize(
    "model",
    [
        summary(layer("MaxPooling2D"), layer("GlobalAveragePooling2D")),
        summary(layer("Embedding", (100, 8))),
        summary(layer("TimeDistributed", (100, 8))),
        summary(layer("Dense", (8, 10), stored=False)),
        summary(layer("CONV_2D"), file_format=Format.TFLITE, kernel_count=72, quantized=True),
        summary(layer("CONV_2D"), file_format=Format.TFLITE),
        summary(file_format=Format.SAVEDMODEL, kernel_count=5000),
    ],
    ids=["no weights", "looked up", "unknown inside", "maybe not there", "integers", "no constants", "no convolution"],
)
def test_what_may_run_is_left_to_the_runtime(model):
    assert refused(model) == {}


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (summary(layer("QUANTIZE"), layer("CONV_2D"), file_format=Format.TFLITE, kernel_count=72), "CONV_2D"),
        (summary(file_format=Format.SAVEDMODEL, kernel_count=72, convolved_count=72), "convolution"),
        (summary(layer("Gemm", (8, 10)), file_format=Format.ONNX), "Gemm"),
    ],
)
def test_other_sources_name_what_they_have(model, kind):
    found = refused(model)
    assert found.keys() == REFUSED
    assert all(what.startswith(f"{kind} for ") for what in found.values())
