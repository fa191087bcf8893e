# SPDX-License-Identifier: Apache-2.0
"""The model between stages: a content-addressed file on disk plus typed metadata."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal


class Format(StrEnum):
    """File formats that a model may come in."""

    KERAS = "keras"  # Keras 3 archive: a zip of config.json, metadata.json and model.weights.h5
    H5 = "h5"  # legacy Keras HDF5, written by Keras 2 or 3
    SAVEDMODEL = "savedmodel"  # TF1- or TF2-style folder
    TFLITE = "tflite"
    ONNX = "onnx"


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One named input or output.

    Attributes:
        name: Name as the user's training code knows it.
        shape: Dimensions with the batch first; None where the source leaves one open.
        dtype: NumPy name, ``float32`` say.
        axes: Axis i of the tensor is axis ``axes[i]`` of what the user's training code feeds or gets; empty where they
            are the same.
        scaled: It is an integer of a ``.tflite`` with a scale: the runtime quantizes reals with it, and gives reals.
        alias: What the source calls it, where frameworks do not take that name: as good wherever a person names it.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    axes: tuple[int, ...] = ()
    scaled: bool = False
    alias: str = ""

    @property
    def sample_shape(self) -> tuple[int | None, ...]:
        """Shape without the batch dimension."""
        return self.shape[1:]

    @property
    def given_shape(self) -> tuple[int | None, ...]:
        """Shape of a sample as the user's training code feeds or gets it, without the batch dimension."""
        if not self.axes:
            return self.sample_shape
        batch = self.axes[0]
        return tuple(self.shape[self.axes.index(axis)] for axis in range(len(self.axes)) if axis != batch)

    @property
    def sample_axes(self) -> tuple[int, ...]:
        """Axis i of a sample of the tensor is axis ``sample_axes[i]`` of a sample as it is fed; empty as ``axes``."""
        return tuple(axis - (axis > self.axes[0]) for axis in self.axes[1:])


@dataclass(frozen=True, slots=True)
class Model:
    """A model that a runtime can lower: all shapes fixed, batch 1.

    Attributes:
        path: A SavedModel folder with the signature ``serving_default``, a ``.tflite`` file, or, of an ``.onnx`` that
            cannot be imported, the prepared ``.onnx``; content-addressed.
        kind: Which of the three.
        source: The file that the user gave.
        source_format: Its format.
        inputs: In the source model's order; shapes are fully known, batch 1.
        outputs: In the source model's order.
        digest: SHA-256 over canonical architecture and weights, never over container bytes.
        quantized: The source is an integer ``.tflite``: a candidate as it is, not to be quantized again.
        notes: What was changed on the way in, in sentences for the user ("batch fixed to 1").
        parent: Digest of the model that this one was made from, or None.
        trainable: The same function as a flat Keras 3 functional graph, a ``.keras`` file; None where there is none.
        why_untrainable: Why not, in words that end a sentence; empty where there is one.
        loss: Loss that it was compiled with: the Keras configuration as canonical JSON, or empty.
        fake_quantized: Its ranges are part of the graph (FakeQuant operators), so lowering calibrates nothing.
        onnx: The source's own graph, of batch 1 and simplified, where it came as ``.onnx`` and nothing was trained; its
            edges have these names, and lie as the user's training code feeds and gets them.
        layout: How image samples for an ``.onnx`` are given: ``source`` as its inputs lie, ``nhwc`` channels last.
    """

    path: Path
    kind: Literal["savedmodel", "tflite", "onnx"]
    source: Path
    source_format: Format
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    digest: str
    quantized: bool = False
    notes: tuple[str, ...] = ()
    parent: str | None = None
    trainable: Path | None = None
    why_untrainable: str = ""
    loss: str = ""
    fake_quantized: bool = False
    onnx: Path | None = None
    layout: Literal["source", "nhwc"] = "source"
