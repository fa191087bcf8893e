# SPDX-License-Identifier: Apache-2.0
"""Rules of layers over sequences: recurrent units, attention, embeddings, and the wrappers about other layers."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import numpy as np

from edgepack.graph.channel_ties import Axes, Call, Changes, Count, Found, Ids, Ties, Traced, WeightAxes

if TYPE_CHECKING:
    from keras import Layer

_GATES = {"SimpleRNN": 1, "GRU": 3, "LSTM": 4}


def recurrent(call: Call, ties: Ties) -> Found:
    """Units: ``kernel[in, gates x units]``, ``recurrent[units, gates x units]``; a unit goes with all its gates."""
    x, layer = call.inputs[0], call.operation
    units = ties.fresh(call.name, layer.units)
    gates = np.tile(units, _GATES[type(layer).__name__])
    steps = x.shape[1] or 1
    for state in call.inputs[1:]:
        ties.unite(units, state.axes[-1], f"{call.name} starts from a state of fixed width")
    kernel = WeightAxes(axes=(x.axes[-1], gates), reads=(0,), uses=steps)
    again = WeightAxes(axes=(units, gates), reads=(0,), uses=steps)
    biases = [WeightAxes(axes=(*(None,) * (len(weight.shape) - 1), gates)) for weight in layer.weights[2:]]
    return Found(
        outputs=tuple((*(None,) * (len(shape) - 1), units) for shape in call.shapes),
        weights=(kernel, again, *biases),
        changes=lambda count: {"units": count(units)},
    )


def bidirectional(call: Call, ties: Ties) -> Found:
    """Two recurrent layers; side by side, or met value by value."""
    wrapper = call.operation
    kind, directions = type(wrapper.forward_layer).__name__, (wrapper.forward_layer, wrapper.backward_layer)
    if kind not in _GATES or wrapper.merge_mode is None or len(call.shapes) > 1 or len(call.inputs) > 1:
        return refused(call, ties, "only two GRU, LSTM or SimpleRNN with one input and one merged output are known")
    ahead, back = (
        recurrent(replace(call, operation=layer, name=f"{call.name}/{word}"), ties)
        for layer, word in zip(directions, ("forward", "backward"), strict=True)
    )
    one, other = ahead.outputs[0], back.outputs[0]
    if wrapper.merge_mode == "concat":
        last = np.concatenate([cast("Ids", one[-1]), cast("Ids", other[-1])])
    else:
        ties.unite(one[-1], other[-1], "")
        last = cast("Ids", one[-1])
    return Found(
        outputs=((*one[:-1], last),),
        weights=(*ahead.weights, *back.weights),
        changes=lambda count: {
            **_inner(wrapper.get_config(), "layer", ahead.changes, count),
            **_inner(wrapper.get_config(), "backward_layer", back.changes, count),
        },
    )


def time_distributed(call: Call, ties: Ties, rule: Callable[[Call, Ties], Found] | None) -> Found:
    """The wrapped layer by its own ``rule``, with the axis after the batch aside."""
    wrapper = call.operation
    x = call.inputs[0]
    if rule is None or len(call.inputs) > 1 or len(call.shapes) > 1 or x.axes[1] is not None:
        return refused(call, ties, f"what {type(wrapper.layer).__name__} does to channels is not known")
    steps = call.shapes[0][1] or 1
    inner = Traced((x.shape[0], *x.shape[2:]), (x.axes[0], *x.axes[2:]))
    shape = (call.shapes[0][0], *call.shapes[0][2:])
    found = rule(
        replace(call, operation=wrapper.layer, args=(inner,), kwargs={}, inputs=(inner,), shapes=(shape,)), ties
    )
    axes = found.outputs[0]
    return Found(
        outputs=((axes[0], None, *axes[1:]),),
        weights=tuple(replace(weight, uses=weight.uses * steps) for weight in found.weights),
        changes=lambda count: _inner(wrapper.get_config(), "layer", found.changes, count),
    )


def _inner(config: Mapping[str, object], key: str, changes: Changes | None, count: Count) -> dict[str, object]:
    """Return the entry ``key`` of a wrapper's configuration with the wrapped layer's changes in it."""
    if changes is None:
        return {}
    wrapped = cast("Mapping[str, object]", config[key])
    settings = cast("Mapping[str, object]", wrapped["config"])
    # The configuration of a built layer holds the shape it was built for, which is not the new one's.
    unbuilt = {name: value for name, value in wrapped.items() if name != "build_config"}
    return {key: {**unbuilt, "config": {**settings, **changes(count)}}}


def embedding(call: Call, ties: Ties) -> Found:
    """``table[word, out]``."""
    out = ties.fresh(call.name, call.operation.output_dim)
    axes: Axes = (*(None,) * (len(call.shapes[0]) - 1), out)
    return Found(
        outputs=(axes,), weights=(WeightAxes(axes=(None, out)),), changes=lambda count: {"output_dim": count(out)}
    )


def attention(call: Call, ties: Ties) -> Found:
    """Dot-product attention without weights of its own: queries and keys are one set of channels, values another."""
    query, value, *rest = call.inputs
    key = rest[0] if rest else value
    if call.operation.score_mode != "dot" or len(call.inputs) > 3:  # noqa: PLR2004 - query, value, key
        return refused(call, ties, "only attention by dot products, without masks, is known")
    ties.unite(query.axes[-1], key.axes[-1], f"{call.name} multiplies it with an axis of fixed width")
    if query.axes[-1] is not None:  # no weight reads them: what goes leaves the scores
        ties.approximate.append((call.name, query.axes[-1]))
    weights = tuple(WeightAxes(axes=(None,) * len(weight.shape)) for weight in call.operation.weights)
    outputs = [(*(None,) * (len(shape) - 1), None) for shape in call.shapes]
    return Found(outputs=((None, None, value.axes[-1]), *outputs[1:]), weights=weights)


def product(call: Call, ties: Ties) -> Found:
    """``a @ b`` of two tensors, attention written out: heads go whole, what is summed over stays.

    No weight reads what is summed over, and it sets the scale of the scores. Of the axes before, size 1 meets all.
    """
    a, b = call.inputs
    rank = len(call.shapes[0])
    if len(a.axes) != rank or len(b.axes) != rank:
        return _fixed(call, ties, "a product of tensors of different ranks is not known")
    for ids in (a.axes[-1], b.axes[-2]):
        ties.ask_for_heads(ids)
        ties.freeze(ids, f"{call.name} sums over it")
    lead: list[Ids | None] = []
    for axis, (left, right) in enumerate(zip(a.axes[:-2], b.axes[:-2], strict=True)):
        if a.shape[axis] != b.shape[axis]:
            lead.append(left if b.shape[axis] == 1 else right)
            continue
        if (left is None) != (right is None):
            ties.ask_for_heads(b.axes[-1] if right is None else a.axes[-2])
        ties.unite(left, right, f"{call.name} joins it with an axis of fixed width")
        lead.append(None if right is None else left)
    return Found(outputs=((*lead, a.axes[-2], b.axes[-1]),))


def _fixed(call: Call, ties: Ties, why: str) -> Found:
    ties.block(call.name, why, call.inputs)
    return Found(outputs=tuple(Traced.fixed(shape).axes for shape in call.shapes))


def multi_head_attention(call: Call, ties: Ties) -> Found:
    """Heads go whole, value channels from every head alike; key channels stay, for they set the scale of the scores.

    https://arxiv.org/abs/1706.03762, section 3.2.2.
    """
    layer: Layer = call.operation
    query, value, key = _heard(call)
    if value is None or key is None or _unusual(layer, query):
        return refused(call, ties, "gates, several attention axes and shaped outputs are not known")
    heads, values = (
        ties.fresh(f"{call.name}/{word}", size)
        for word, size in (("heads", layer.num_heads), ("values", layer.value_dim or layer.key_dim))
    )
    out = ties.fresh(call.name, call.shapes[0][-1] or 0)
    asked, held, said = (tensor.shape[1] or 1 for tensor in (query, key, value))
    weights = []
    for source, last, uses in ((query, None, asked), (key, None, held), (value, values, said)):
        weights.append(WeightAxes(axes=(source.axes[-1], heads, last), reads=(0,), uses=uses))
        weights.append(WeightAxes(axes=(heads, last)))
    weights += [WeightAxes(axes=(heads, values, out), reads=(0, 1), uses=asked), WeightAxes(axes=(out,))]
    kept = weights if layer.use_bias else weights[::2]
    scores: Axes = (None, heads, None, None)
    return Found(
        outputs=((None, None, out), scores)[: len(call.shapes)],
        weights=tuple(kept),
        changes=lambda count: {
            "num_heads": count(heads),
            "value_dim": count(values),
            "output_shape": (count(out),),
        },
    )


def _heard(call: Call) -> tuple[Traced, Traced | None, Traced | None]:
    """Return query, value and key as the layer is called on them; None where they are given in another way."""
    given = dict(zip(("query", "value", "key"), call.args, strict=False)) | dict(call.kwargs)
    query, value = given.get("query"), given.get("value")
    key = given.get("key") or value
    found = [tensor if isinstance(tensor, Traced) else None for tensor in (value, key)]
    return query if isinstance(query, Traced) else call.inputs[0], found[0], found[1]


def _unusual(layer: "Layer", query: Traced) -> bool:
    settings = layer.get_config()
    shape = settings["output_shape"]
    return bool(settings.get("use_gate")) or len(query.shape) != 3 or (shape is not None and len(shape) != 1)  # noqa: PLR2004


def refused(call: Call, ties: Ties, why: str) -> Found:
    """Keep all that the call touches."""
    ties.block(call.name, why, call.inputs)
    weights = tuple(WeightAxes(axes=(None,) * len(weight.shape)) for weight in call.operation.weights)
    return Found(outputs=tuple(Traced.fixed(shape).axes for shape in call.shapes), weights=weights)
