# SPDX-License-Identifier: Apache-2.0
"""Output shapes and multiply-accumulates of the common Keras layers, from their options alone.

What is not in here is not guessed: its shape is the one that the file notes, or unknown, and its MACs are unknown.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod
from typing import Final

from edgepack.model.keras_config import Json, integers, mapping
from edgepack.model.summary import Shape

Config = Mapping[str, Json]
Rule = Callable[[Config, Sequence[Shape]], "Shape | None"]

SAME_SHAPE: Final = frozenset(
    {"Activation", "ActivityRegularization", "AlphaDropout", "BatchNormalization", "Dropout", "ELU", "GaussianDropout"}
    | {"GaussianNoise", "GroupNormalization", "LayerNormalization", "LeakyReLU", "Masking", "Normalization", "PReLU"}
    | {"ReLU", "Rescaling", "Softmax", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "ThresholdedReLU"}
    | {"UnitNormalization", "InputLayer", "RandomFlip", "RandomRotation", "RandomContrast", "RandomBrightness"}
)
_MERGE: Final = frozenset({"Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum"})
_RECURRENT: Final = frozenset({"LSTM", "GRU", "SimpleRNN"})
_WHOLE: Final = frozenset({"Conv1D", "Conv2D", "DepthwiseConv2D", "Dense"})
_OPEN: Final = -1


def _pair(config: Config, key: str, rank: int, default: int = 1) -> tuple[int, ...]:
    found = integers(config.get(key))
    return found * rank if len(found) == 1 else found or (default,) * rank


def _windows(sizes: Sequence[int | None], config: Config, window: Sequence[int]) -> tuple[int | None, ...]:
    """Return the positions of a window over ``sizes`` (Keras's own rule for ``same``, ``valid`` and ``causal``)."""
    strides = _pair(config, "strides", len(sizes)) if config.get("strides") is not None else tuple(window)
    dilations = _pair(config, "dilation_rate", len(sizes))
    found: list[int | None] = []
    for size, width, stride, dilation in zip(sizes, window, strides, dilations, strict=True):
        if size is None:
            found.append(None)
        elif config.get("padding") == "valid":
            found.append((size - dilation * (width - 1) - 1) // stride + 1)
        else:
            found.append(-(-size // stride))
    return tuple(found)


def _channels_last(config: Config) -> bool:
    return config.get("data_format") in {None, "channels_last"}


def _convolution(config: Config, shapes: Sequence[Shape]) -> Shape | None:
    source = shapes[0]
    rank = len(source) - 2
    if not _channels_last(config) or rank < 1:
        return None
    spatial = _windows(source[1:-1], config, _pair(config, "kernel_size", rank))
    return (source[0], *spatial, integers(config.get("filters"))[0])


def _depthwise(config: Config, shapes: Sequence[Shape]) -> Shape | None:
    source = shapes[0]
    channels = source[-1]
    if not _channels_last(config) or channels is None:
        return None
    spatial = _windows(source[1:-1], config, _pair(config, "kernel_size", len(source) - 2))
    return (source[0], *spatial, channels * (integers(config.get("depth_multiplier")) or (1,))[0])


def _transposed(config: Config, shapes: Sequence[Shape]) -> Shape | None:
    source = shapes[0]
    rank = len(source) - 2
    if not _channels_last(config) or config.get("output_padding") is not None:
        return None
    kernel, strides = _pair(config, "kernel_size", rank), _pair(config, "strides", rank)
    if any(size != 1 for size in _pair(config, "dilation_rate", rank)):
        return None
    extra = [
        max(width - stride, 0) if config.get("padding") == "valid" else 0
        for width, stride in zip(kernel, strides, strict=True)
    ]
    spatial = [
        None if size is None else size * stride + more
        for size, stride, more in zip(source[1:-1], strides, extra, strict=True)
    ]
    return (source[0], *spatial, integers(config.get("filters"))[0])


def _pool(config: Config, shapes: Sequence[Shape]) -> Shape | None:
    source = shapes[0]
    if not _channels_last(config):
        return None
    window = _pair(config, "pool_size", len(source) - 2, default=2)
    return (source[0], *_windows(source[1:-1], config, window), source[-1])


def _global_pool(config: Config, shapes: Sequence[Shape]) -> Shape | None:
    source = shapes[0]
    if not _channels_last(config):
        return None
    middle = (1,) * (len(source) - 2) if config.get("keepdims") else ()
    return (source[0], *middle, source[-1])


def _flatten(_: Config, shapes: Sequence[Shape]) -> Shape | None:
    return (shapes[0][0], _product(shapes[0][1:]))


def _product(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return prod(known) if len(known) == len(sizes) else None


def _reshape(config: Config, shapes: Sequence[Shape]) -> Shape | None:
    target: list[int | None] = list(integers(config.get("target_shape")))
    if _OPEN in target:
        total = _product(shapes[0][1:])
        rest = prod(size for size in target if size is not None and size != _OPEN)
        target[target.index(_OPEN)] = None if total is None or rest == 0 else total // rest
    return (shapes[0][0], *target)


def _concatenate(config: Config, shapes: Sequence[Shape]) -> Shape | None:
    axis = (integers(config.get("axis")) or (-1,))[0]
    joined = list(shapes[0])
    joined[axis] = _sum([shape[axis] for shape in shapes])
    return tuple(joined)


def _sum(sizes: Sequence[int | None]) -> int | None:
    known = [size for size in sizes if size is not None]
    return sum(known) if len(known) == len(sizes) else None


def _merge(_: Config, shapes: Sequence[Shape]) -> Shape | None:
    ranked = max(shapes, key=len)
    merged = []
    for place in range(1, len(ranked) + 1):
        sizes = [shape[-place] for shape in shapes if place <= len(shape)]
        merged.append(None if None in sizes and max(s or 0 for s in sizes) <= 1 else max(s or 0 for s in sizes))
    return tuple(reversed(merged))


def _padding(config: Config, shapes: Sequence[Shape], sign: int) -> Shape | None:
    raw = config.get("padding", config.get("cropping"))
    pairs = [integers(item) for item in raw] if isinstance(raw, Sequence) and not isinstance(raw, str) else []
    if len(shapes[0]) == 3:  # noqa: PLR2004 - one-dimensional layers give their pair flat
        pairs = [integers(raw)]
    if not _channels_last(config) or len(pairs) != len(shapes[0]) - 2:
        return None
    sizes = [
        None if size is None else size + sign * sum(pair) for size, pair in zip(shapes[0][1:-1], pairs, strict=True)
    ]
    return (shapes[0][0], *sizes, shapes[0][-1])


def _upsample(config: Config, shapes: Sequence[Shape]) -> Shape | None:
    factors = _pair(config, "size", len(shapes[0]) - 2, default=2)
    if not _channels_last(config):
        return None
    sizes = [None if size is None else size * factor for size, factor in zip(shapes[0][1:-1], factors, strict=True)]
    return (shapes[0][0], *sizes, shapes[0][-1])


def _recurrent(config: Config, shapes: Sequence[Shape]) -> Shape | None:
    units = integers(config.get("units"))[0]
    if config.get("return_state"):
        return None
    return (*shapes[0][:2], units) if config.get("return_sequences") else (shapes[0][0], units)


def _bidirectional(config: Config, shapes: Sequence[Shape]) -> Shape | None:
    inner = mapping(config.get("layer"))
    if inner.get("class_name") not in _RECURRENT:
        return None
    found = _recurrent(mapping(inner.get("config")), shapes)
    if found is None or config.get("merge_mode") is None or found[-1] is None:
        return None
    return (*found[:-1], found[-1] * (2 if config.get("merge_mode") == "concat" else 1))


def _time_distributed(config: Config, shapes: Sequence[Shape]) -> Shape | None:
    inner = mapping(config.get("layer"))
    found = output_shape(str(inner.get("class_name")), mapping(inner.get("config")), [(shapes[0][0], *shapes[0][2:])])
    return None if found is None else (*shapes[0][:2], *found[1:])


_RULES: Final[dict[str, Rule]] = {
    **dict.fromkeys(SAME_SHAPE, lambda _, shapes: shapes[0]),
    **dict.fromkeys(_MERGE, _merge),
    **dict.fromkeys(_RECURRENT, _recurrent),
    **{f"Conv{n}D": _convolution for n in (1, 2, 3)},
    **{f"SeparableConv{n}D": _convolution for n in (1, 2)},
    **{f"DepthwiseConv{n}D": _depthwise for n in (1, 2)},
    **{f"Conv{n}DTranspose": _transposed for n in (1, 2, 3)},
    **{f"{kind}Pooling{n}D": _pool for kind in ("Max", "Average") for n in (1, 2, 3)},
    **{f"Global{kind}Pooling{n}D": _global_pool for kind in ("Max", "Average") for n in (1, 2, 3)},
    **{f"ZeroPadding{n}D": lambda config, shapes: _padding(config, shapes, 1) for n in (1, 2, 3)},
    **{f"Cropping{n}D": lambda config, shapes: _padding(config, shapes, -1) for n in (1, 2, 3)},
    **{f"UpSampling{n}D": _upsample for n in (1, 2, 3)},
    "Bidirectional": _bidirectional,
    "Concatenate": _concatenate,
    "Dense": lambda config, shapes: (*shapes[0][:-1], integers(config.get("units"))[0]),
    "Embedding": lambda config, shapes: (*shapes[0], integers(config.get("output_dim"))[0]),
    "Flatten": _flatten,
    "Permute": lambda config, shapes: (shapes[0][0], *(shapes[0][axis] for axis in integers(config.get("dims")))),
    "RepeatVector": lambda config, shapes: (shapes[0][0], integers(config.get("n"))[0], *shapes[0][1:]),
    "Reshape": _reshape,
    "TimeDistributed": _time_distributed,
}


def output_shape(kind: str, config: Config, shapes: Sequence[Shape]) -> Shape | None:
    """Return the output shape of a layer over ``shapes`` (batch first), or None where it is not known.

    A config that does not hold together (an axis out of range, no units) is not known either: loading it will say so.
    """
    rule = _RULES.get(kind)
    if rule is None or not shapes:
        return None
    try:
        return rule(config, shapes)
    except (IndexError, ValueError, TypeError):
        return None


def count_layer_macs(
    kind: str, weights: Sequence[tuple[int, ...]], source: Shape | None, out: Shape | None
) -> int | None:
    """Return the multiply-accumulates of one call at batch 1, or None where they are not known.

    Args:
        kind: Class name.
        weights: Shapes of the layer's weights, in Keras's order: kernels have two dimensions or more.
        source: Shape of its first input.
        out: Shape of its output.
    """
    if kind in _RULES and not multiplies(kind):
        return 0
    if source is None or out is None or kind not in _RULES:
        return None
    kernels = sum(prod(shape) for shape in weights if len(shape) > 1)
    if kind == "Dense":
        positions = _product(out[1:-1])
    elif kind in _RECURRENT or kind in {"Bidirectional", "TimeDistributed"}:
        positions = source[1] if kind != "TimeDistributed" or len(source) == 3 else None  # noqa: PLR2004 - [b, t, features]
    else:
        positions = _product(source[1:-1] if kind.endswith("Transpose") else out[1:-1])
    return None if positions is None or not kernels else positions * kernels


def stays_whole(kind: str, config: Config) -> bool:
    """Whether a layer is one operator after conversion, with its whole input and output in memory together.

    Not so: a separable or recurrent layer (several operators), a dilated one (its input may be rearranged first).
    """
    return kind in _WHOLE and all(size == 1 for size in integers(config.get("dilation_rate")))


def multiplies(kind: str) -> bool:
    """Whether a layer class multiplies its inputs by a kernel."""
    return "Conv" in kind or kind in _RECURRENT or kind in {"Dense", "Bidirectional", "TimeDistributed"}


def is_kernel(kind: str, shape: tuple[int, ...]) -> bool:
    """Whether a weight of ``shape`` is one that a layer of class ``kind`` multiplies by, or looks up: no bias."""
    return len(shape) > 1 and (multiplies(kind) or kind == "Embedding")
