# SPDX-License-Identifier: Apache-2.0
"""The form of a net that is trained: itself, or a copy that computes as the options ask. Worker process only.

Keras 3 fixes precision, rematerialization and devices of a layer when it is made, so those options train a copy whose
values are carried over.

Several machines (``TF_CONFIG``) are not used. Keras 3's variables and optimizers do train under
``MultiWorkerMirroredStrategy``; but TensorFlow wants it made before the first operation of a process, which loading a
model already is, and every machine would have to search in step with the others.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING

from edgepack.graph.context import Training
from edgepack.graph.duplicate import duplicate

if TYPE_CHECKING:
    import keras
    import tensorflow as tf
    from keras import Operation


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingGraph:
    """A net and what trains in its place.

    Attributes:
        own: The caller's; hooks read and write it.
        trained: The same object, or a copy.
        strategy: Devices; everything that is trained is made in its scope.
        notes: Options that could not be had, in sentences.
    """

    own: "keras.Model"
    trained: "keras.Model"
    strategy: "tf.distribute.Strategy"
    notes: tuple[str, ...] = ()

    def give_back(self) -> None:
        """Copy what was trained into the caller's net."""
        if self.trained is not self.own:
            _copy_variables(self.trained, self.own)

    def take(self) -> None:
        """Copy the values of the caller's net into what is trained."""
        if self.trained is not self.own:
            _copy_variables(self.own, self.trained)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Let the block see, and change, in the caller's net what has been trained."""
        self.give_back()
        yield
        self.take()


def training_graph(net: "keras.Model", training: Training) -> TrainingGraph:
    """Return how ``net`` is trained under ``training``."""
    import keras
    import tensorflow as tf

    mirrored = training.distribute == "mirrored"
    strategy = tf.distribute.MirroredStrategy(_devices()) if mirrored else tf.distribute.get_strategy()
    if not (mirrored or training.mixed_precision or training.rematerialize):
        return TrainingGraph(own=net, trained=net, strategy=strategy)
    rounds = any(hasattr(layer, "set_kernel") or hasattr(layer, "rate") for layer in net.layers if layer.weights)
    policy, notes = _policy(mixed=training.mixed_precision and not rounds)
    if training.mixed_precision and rounds:
        notes = (*notes, "mixed precision left out: what the device will round is rounded in 32 bits")
    with ExitStack() as stack:
        stack.enter_context(strategy.scope())
        if training.rematerialize:
            stack.enter_context(keras.RematScope(mode="list_of_layers", layer_names=_recomputable(net)))
        copy = duplicate(net, None if policy is None else _under(policy))
    if mirrored:
        notes = (*notes, f"trained on {strategy.num_replicas_in_sync} devices")
        if "TF_CONFIG" in os.environ:
            notes = (*notes, "TF_CONFIG was left aside: a training uses the devices of one machine")
    return TrainingGraph(own=net, trained=copy, strategy=strategy, notes=notes)


def _under(policy: str) -> "Callable[[Operation], dict[str, object]]":
    """Return the change that lets the float32 layers of a graph compute under the Keras dtype policy ``policy``."""
    import keras

    def change(operation: "Operation") -> dict[str, object]:
        float_layer = isinstance(operation, keras.layers.Layer) and operation.dtype_policy.name == "float32"
        return {"dtype": policy} if float_layer else {}

    return change


def _recomputable(net: "keras.Model") -> list[str]:
    """Return the layers that TensorFlow can compute twice: inside a trace those that are told of training cannot be."""
    return [layer.name for layer in net.layers if "training" not in signature(layer.call).parameters]


def _copy_variables(source: "keras.Model", target: "keras.Model") -> None:
    for one, other in zip(source.variables, target.variables, strict=True):
        other.assign(one.numpy())


def _devices() -> list[str]:
    import tensorflow as tf

    found = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in found]


def _policy(*, mixed: bool) -> tuple[str | None, tuple[str, ...]]:
    """Return the Keras dtype policy: bfloat16 needs no loss scaling, and every GPU since 2020 has it."""
    import tensorflow as tf

    if not mixed:
        return None, ()
    for device in tf.config.list_physical_devices("GPU"):
        capability = tf.config.experimental.get_device_details(device).get("compute_capability")
        if capability is not None and capability < (8, 0):
            told = ".".join(map(str, capability))
            return None, (f"mixed precision left out: {device.name} (compute capability {told}) has no bfloat16",)
    return "mixed_bfloat16", ()
