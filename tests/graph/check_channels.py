# SPDX-License-Identifier: Apache-2.0
"""Cuts nets and reports what came of it as JSON in ``REPORT``; runs inside the TensorFlow worker, which has TESTS."""

import json
import sys
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
import imported_nets
import random_nets
from nets import NETS
from onnx_zoo import CNNS, SHUFFLES
from onnx_zoo_other import OTHERS

from edgepack.graph.channels import OUTPUT, analyse
from edgepack.graph.cut import cut


def samples(net):
    """Return eight samples of each input."""
    draw = np.random.default_rng(0)
    return [
        draw.integers(0, 10, (8, *x.shape[1:])).astype(np.int32)
        if x.dtype == "int32"
        else draw.normal(size=(8, *x.shape[1:])).astype(np.float32)
        for x in net.inputs
    ]


def called(net, values):
    """Return the outputs of ``net`` as a list."""
    found = net(values)
    return [np.asarray(value) for value in (found if isinstance(found, list | tuple) else [found])]


def unsettled(net):
    """Give every weight a value of its own: zero biases and unit scales would hide a wrong slice."""
    draw = np.random.default_rng(1)
    for weight in net.weights:
        value = draw.normal(scale=0.4, size=weight.shape)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.path else value)


def unheard(net, channels, keep):
    """Return a copy of ``net`` in which nobody hears the units that ``keep`` leaves out."""
    copy = cut(net, channels, {})
    gone = np.concatenate([np.delete(channels.units[name], kept) for name, kept in keep.items()])
    for layer in copy.layers:
        found = channels.layers.get(layer.name)
        values = layer.get_weights()
        if not values:
            continue
        for value, weight in zip(values, found.weights, strict=True):
            for axis in weight.reads:
                if weight.axes[axis] is not None:
                    np.moveaxis(value, axis, 0)[np.isin(weight.axes[axis], gone)] = 0
        layer.set_weights(values)
    return copy


def examined(net):
    """Return what the analysis finds in ``net``, and how far cuts of it are from what they should be."""
    unsettled(net)
    before = [value.copy() for value in net.get_weights()]
    channels, values = analyse(net), samples(net)
    draw = np.random.default_rng(2)
    keep = {
        group.name: np.sort(draw.permutation(group.width)[: max(1, group.width // 2)]) for group in channels.prunable
    }
    expected = called(net, values)
    whole = called(cut(net, channels, {group.name: np.arange(group.width) for group in channels.groups}), values)
    half = cut(net, channels, keep)
    cut_down = called(half, values)
    masked = called(unheard(net, channels, keep), values) if keep else expected
    again = keras.Model.from_config(half.get_config())  # widths are in the configuration, not only in the weights
    return {
        "share": channels.prunable_share,
        "frozen_by": dict(channels.frozen_by),
        "groups": {group.name: [group.width, group.unit_channels, group.frozen] for group in channels.groups},
        "tied": {group.name: list(group.producers) for group in channels.groups},
        "approximate": sorted({name for group in channels.prunable for name in group.approximate}),
        "same": all(np.array_equal(a, b) for a, b in zip(expected, whole, strict=True)),
        "far": max(float(np.abs(a - b).max()) for a, b in zip(masked, cut_down, strict=True)),
        "moved": max(float(np.abs(a - b).max()) for a, b in zip(expected, cut_down, strict=True)),
        "params": [net.count_params(), half.count_params(), again.count_params()],
        "outputs_frozen": all(group.frozen == OUTPUT for group in channels.groups if group.name.startswith("end")),
        "untouched": all(np.array_equal(a, b) for a, b in zip(before, net.get_weights(), strict=True)),
        "names": [layer.name for layer in half.layers] == [layer.name for layer in net.layers],
    }


IMPORTED = {
    *("resnet", "inception", "unet", "shuffle", "shufflenet-dynamo", "transformer", "transformer-dynamo", "vit", "mlp")
}
"""Nets of the zoo, most with a layer of the importer's own, a product of tensors, a split or a mirrored border."""
nets = {
    **{f"net/{name}": make for name, make in NETS.items()},
    **{f"kind/{name}": make for name, make in random_nets.KINDS.items()},
    **{f"random/{seed}": lambda seed=seed: random_nets.random_net(seed) for seed in range(24)},
    **{f"own/{name}": make for name, make in imported_nets.KINDS.items()},
    **{
        f"onnx/{name}": lambda make=make: imported_nets.imported(make())
        for name, make in {**CNNS, **SHUFFLES, **OTHERS}.items()
        if name in IMPORTED
    },
}
report = {}
for name, make in nets.items():
    keras.utils.set_random_seed(1)
    report[name] = examined(make())
Path(REPORT).write_text(json.dumps(report))  # noqa: F821 - given by the caller
