# SPDX-License-Identifier: Apache-2.0
"""What of a model has to be changed, or is good to know, before it is built for any device."""

from collections.abc import Iterator
from typing import Final

from edgepack.device.profile import DeviceProfile
from edgepack.errors import ModelError
from edgepack.measure.finding import Finding, Severity, layers_of_kind, times
from edgepack.model.layout import check_batch
from edgepack.model.model import Format, TensorSpec
from edgepack.model.shapes import as_in_file, format_shape, suggestion, with_batch_of_one
from edgepack.model.summary import Summary

# Keras layers that look strings up in tables: TFLite has no builtin operator for that.
_NO_BUILTIN: Final = frozenset(
    {"CategoryEncoding", "Hashing", "HashedCrossing", "IntegerLookup", "StringLookup", "TextVectorization"}
)


def attention(summary: Summary, profile: DeviceProfile | None) -> Iterator[Finding]:
    """Yield what is found about the model itself; of ``profile`` only the formats that its runtimes take count."""
    yield from _open_dimensions(summary)
    yield from _bad_weights(summary)
    yield from _code(summary)
    yield from _layers(summary)
    yield from _as_it_is(summary, profile)


def _open_dimensions(summary: Summary) -> Iterator[Finding]:
    for spec in summary.inputs:
        shape = format_shape(as_in_file(spec, spec.shape))
        if spec.shape[:1] == (None,):
            yield Finding("info", "EP-112", f"batch of {shape} will be fixed to 1", _input(spec))
        if None in with_batch_of_one(spec.shape):
            yield Finding(
                "error",
                "EP-112",
                f"its shape is {shape}: a dimension other than the batch is open",
                where=_input(spec),
                next=f"--shape {suggestion(spec)}",
            )
    try:
        check_batch(summary)
    except ModelError as error:
        yield Finding("error", error.code, error.message, where="batch", next=error.hint)


def _input(spec: TensorSpec) -> str:
    return f"input {spec.name}"


def _bad_weights(summary: Summary) -> Iterator[Finding]:
    for found in summary.non_finite:
        yield Finding(
            "error",
            "EP-110",
            str(found),
            where="weights",
            next="the training has diverged: train again with a lower learning rate or clipped gradients",
        )


def _code(summary: Summary) -> Iterator[Finding]:
    for layer in summary.code_layers:
        if layer.embedded:
            what = f"{layer.kind} with Python code inside the file"
            following = "if you wrote the model or trust who did: edgepack build --trust-model-code"
        else:
            what = f"class {layer.kind} is not part of Keras, and the file only names it"
            following = "where that class is defined, run model.export('folder'), and give edgepack the folder"
        yield Finding(
            "error", "EP-111" if layer.embedded else "EP-115", what, where=f"layer {layer.name}", next=following
        )


def _layers(summary: Summary) -> Iterator[Finding]:
    for name, count in summary.op_counts:
        if summary.format in {Format.KERAS, Format.H5} and name in _NO_BUILTIN:
            yield Finding(
                "error",
                "EP-135",
                f"{name} ({times(count)}) looks strings up, for which TFLite has no builtin operator",
                where=layers_of_kind(summary, name),
                next="leave that layer out of the exported model, and do its work before the model",
            )


def _as_it_is(summary: Summary, profile: DeviceProfile | None) -> Iterator[Finding]:
    """Yield what an ``.onnx`` that cannot be imported misses: steps and TFLite, and so every device without ONNX."""
    refused = summary.refusal
    if refused is None:
        return
    severity: Severity = "info"
    then = "it is built as it is, for onnxruntime alone: no steps and no TFLite"
    if profile is not None and not profile.takes("onnx"):
        severity = "error"
        then = f"it would be built as it is for onnxruntime, which {profile.name} does not have, or --format leaves out"
    yield Finding(
        severity,
        refused.code,
        f"{refused.message}; {then}",
        where="model",
        next="edgepack build --device rpi4 --format onnx, or any device with onnxruntime (edgepack devices list)",
    )
