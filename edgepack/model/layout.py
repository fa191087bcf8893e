# SPDX-License-Identifier: Apache-2.0
"""How the axes of an ONNX model's inputs and outputs lie: in its file, in what the user feeds, and inside."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Literal

from edgepack.errors import ModelError
from edgepack.importer.axes import IMAGE_LAST
from edgepack.model.model import Format, TensorSpec
from edgepack.model.shapes import format_shape
from edgepack.model.summary import Summary

Layout = Literal["source", "nhwc"]
"""How samples are given: as the model's file has its inputs, or, those of images, channels last."""


def check_layout(summary: Summary, layout: Layout) -> None:
    """Refuse a layout where the model's file says itself how its inputs lie.

    Raises:
        ModelError: It was given for a model that is no ONNX file (EP-156).
    """
    if layout == "nhwc" and summary.format is not Format.ONNX:
        raise ModelError(
            "EP-156",
            f"--layout nhwc was given, and the model is {summary.format.value}: samples are given as its inputs lie",
            hint="leave --layout out; it is for ONNX models, whose inputs are channels first",
        )


def check_batch(summary: Summary) -> None:
    """Refuse an ONNX model that takes several samples at once and no other number of them.

    Raises:
        ModelError: Every input's batch is fixed, one of them to more than 1 (EP-157).
    """
    if summary.format is not Format.ONNX or any(spec.shape[:1] == (None,) for spec in summary.inputs):
        return
    single = any(spec.shape[:1] == (1,) for spec in summary.inputs)
    for spec in summary.inputs:
        batch = spec.shape[0] if spec.shape else 1
        # Beside an input of batch 1, a state has it on another axis.
        if batch != 1 and not (single and 1 in spec.shape):
            raise ModelError(
                "EP-157",
                f"input {spec.name!r} is {format_shape(spec.shape)}: a fixed batch of {batch}, and a device runs one "
                "sample at a time",
                hint=f"export it with an open batch, dynamic_axes={{{spec.name!r}: {{0: 'batch'}}}}, or with a sample "
                "of batch 1",
            )


def layout_notes(inputs: Sequence[TensorSpec], layout: Layout, last: Collection[str]) -> tuple[str, ...]:
    """Return how samples of images are given, where ``layout`` was.

    Args:
        inputs: As they were made.
        layout: What was given.
        last: Inputs whose channels lie last in the file, by the names there.
    """
    if layout == "source":
        return ()
    found = []
    for spec in (spec for spec in inputs if len(spec.given_shape) == len(IMAGE_LAST) - 1):
        shape = format_shape(spec.given_shape)
        if (spec.alias or spec.name) in last:
            found.append(f"{spec.name!r} has its channels last in the ONNX file too, {shape}: --layout nhwc turns none")
        else:
            found.append(f"samples of {spec.name!r} are given channels last, {shape}; in the ONNX file they come first")
    return tuple(found)


def turned(spec: TensorSpec, axes: Sequence[int], layout: Layout) -> TensorSpec:
    """Return ``spec``, in the order of the ONNX file, as a tensor whose axis i is axis ``axes[i]`` there."""
    given = IMAGE_LAST if layout == "nhwc" and len(axes) == len(IMAGE_LAST) else tuple(range(len(axes)))
    places = tuple(given.index(axis) for axis in axes)
    shape = tuple(spec.shape[axis] for axis in axes)
    return replace(spec, shape=shape, axes=() if places == tuple(range(len(places))) else places)


def as_imported(summary: Summary, layout: Layout = "source") -> Summary:
    """Return ``summary`` with inputs and outputs as a build will most likely have them: images channels last.

    They are called as frameworks take it, where a Keras graph may be made of it.
    """
    from edgepack.model._export import legal_names

    if summary.format is not Format.ONNX:
        return summary
    inputs, outputs = (
        tuple(
            turned(spec, IMAGE_LAST, layout) if _is_image(spec) and spec.name not in summary.channels_last else spec
            for spec in side
        )
        for side in (summary.inputs, summary.outputs)
    )
    if summary.refusal is None:
        inputs, _ = legal_names(inputs)
    return replace(summary, inputs=inputs, outputs=outputs)


def _is_image(spec: TensorSpec) -> bool:
    return len(spec.shape) == len(IMAGE_LAST) and not spec.axes
