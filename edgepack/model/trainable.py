# SPDX-License-Identifier: Apache-2.0
"""Read the trainable form of a model, and write what was made of it. Imports Keras: worker process only."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgepack.errors import ModelError
from edgepack.importer.layers import import_layers
from edgepack.model._export import export, with_axes
from edgepack.model.fake_quant import fake_quant_layers
from edgepack.model.flat import as_list
from edgepack.model.keras_summary import digest_keras
from edgepack.model.model import Model
from edgepack.work import whole_folder

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

TRAINABLE: Final = "trainable.keras"
"""Name of the file inside a loaded model's folder; a SavedModel's readers pass it by."""


def read_trainable(model: Model) -> "keras.Model":
    """Return ``model`` as a flat functional graph: lists of inputs and outputs in the model's order.

    Raises:
        ModelError: It has no trainable form (EP-122), with the reason.
    """
    if model.trainable is None:
        raise ModelError(
            "EP-122",
            f"{model.source} cannot be trained or restructured: {model.why_untrainable}",
            hint="give edgepack the Keras model (.keras or .h5) that it came from",
        )
    return read_net(model.trainable)


def read_net(path: Path) -> "keras.Model":
    """Return the graph in the ``.keras`` file ``path``, which edgepack wrote: flat, edgepack's own layers known."""
    import keras

    fake_quant_layers()
    import_layers()
    # What Lambda layers carry was agreed to when the model was loaded.
    net: keras.Model = keras.models.load_model(path, compile=False, safe_mode=False)
    return net


def write_trainable(net: "keras.Model", *, parent: Model, fake_quantized: bool, folder: Path) -> Model:
    """Write ``net``, made from ``parent``, under its digest below ``folder``: trainable form and SavedModel.

    Args:
        net: A flat functional graph with the inputs and outputs of ``parent``, in its order.
        parent: Gives names, shapes and source.
        fake_quantized: The ranges are part of ``net``.
        folder: Where loaded models are kept.

    Raises:
        OutputError: ``folder`` cannot be written (EP-402).
        HostError: The disk is full (EP-501).
    """
    names = [spec.name for spec in parent.outputs]

    def call(*tensors: "tf.Tensor") -> "dict[str, tf.Tensor]":
        found = net(list(tensors), training=False)
        return dict(zip(names, as_list(found), strict=True))

    with tempfile.TemporaryDirectory() as first:
        saved = Path(first) / TRAINABLE
        net.save(saved)
        digest = digest_keras(saved, {spec.name: spec.shape for spec in parent.inputs})
        with whole_folder(folder / digest, by_content=True) as scratch:
            outputs = export(net, call, parent.inputs, batched=True, folder=scratch)
            shutil.copyfile(saved, scratch / TRAINABLE)
    return replace(
        parent,
        path=folder / digest,
        kind="savedmodel",
        outputs=with_axes(outputs, parent.outputs),
        digest=digest,
        trainable=folder / digest / TRAINABLE,
        fake_quantized=fake_quantized,
        parent=parent.digest,
        onnx=None,  # it holds the parent's weights
    )
