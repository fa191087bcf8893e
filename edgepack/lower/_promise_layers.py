# SPDX-License-Identifier: Apache-2.0
"""What a fake-quantized graph promises, layer by layer: the bits of each kernel, and that nothing else is float."""

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.listing import first_of
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import TfliteGraph, TfliteOp

_COUNTED: Final = re.compile(r"_\d+$")
_CHANGES_OF_TYPE: Final = frozenset({"QUANTIZE", "DEQUANTIZE", "CAST"})
_BITS: Final = {Precision.W8A8: 8, Precision.W4A8: 4}
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class KernelBits:
    """The layers of a saved fake-quantized graph.

    Attributes:
        bits: Of each kernel on a grid, by layer.
        names: All layers, in the order of the graph.
        net: What the graph itself is called: the scope around all layers, and perhaps a layer's name as well.
    """

    bits: Mapping[str, int]
    names: tuple[str, ...]
    net: str = ""

    @classmethod
    def of(cls, trainable: Path) -> "KernelBits":
        """Read the ``.keras`` file ``trainable``."""
        with zipfile.ZipFile(trainable) as archive:
            config = json.loads(archive.read("config.json"))["config"]
        configs = {layer["name"]: layer["config"] for layer in config["layers"]}
        bits = {name: int(config["weight_bits"]) for name, config in configs.items() if "weight_bits" in config}
        return cls(bits, tuple(configs), str(config.get("name", "")))

    def scopes_of(self, graph: TfliteGraph, indexes: tuple[int, ...]) -> tuple[str, ...]:
        """Return the outermost layer in the path of each name of these tensors, in the order of the graph.

        Deeper parts are TensorFlow's operations, which may be called as a layer is: ``rescale/depthwise``.
        """
        return self.scopes(graph.tensors[index].name for index in indexes if index >= 0)

    def scopes(self, names: Iterable[str]) -> tuple[str, ...]:
        """As ``scopes_of``, of tensors by their names."""
        found = {self._outermost(part) for name in names for part in name.split(";")}
        return tuple(name for name in self.names if name in found)

    def layers_of(self, graph: TfliteGraph, op: TfliteOp) -> frozenset[str]:
        """Return the layers that ``op`` computes, by the names of what it gives out, else of what it takes."""
        for indexes in (op.outputs, op.inputs):
            found = self.scopes_of(graph, indexes)
            if found:
                return frozenset(found)
        return frozenset()

    def _outermost(self, path: str) -> str | None:
        parts = path.split("/")
        if self.net and _COUNTED.sub("", parts[0]) == _COUNTED.sub("", self.net):
            parts = parts[1:]
        return next(filter(None, map(self._layer, parts)), None)

    def _layer(self, part: str) -> str | None:
        """Return the layer whose scope is called ``part``: TensorFlow appends a count to the name."""
        counted = _COUNTED.sub("", part)
        return counted if counted in self.names else part if part in self.names else None


def source_layers(graph: TfliteGraph, trainable: Path | None) -> tuple[str, ...]:
    """Return the layers behind each operator, as ``Artifact.layers`` holds them.

    Args:
        graph: Of the file as the converter left it: its tensors still have their names.
        trainable: The ``.keras`` file that the model was read from or written to; None where there is none.
    """
    if trainable is None:
        return ()
    known = KernelBits.of(trainable)
    # By what it gives out and by its own constants: what it takes from another operator bears that one's name.
    constants = [tuple(i for i in op.inputs if i >= 0 and graph.tensors[i].is_constant) for op in graph.ops]
    pairs = zip(graph.ops, constants, strict=True)
    return tuple(" + ".join(known.scopes_of(graph, (*op.outputs, *own))) for op, own in pairs)


def check_layers(graph: TfliteGraph, kernels: KernelBits, plan: PrecisionPlan) -> None:
    """Hold the written file against the saved graph that it was made from, and both against ``plan``.

    Raises:
        CandidateError: A kernel has other bits than planned, or an operator of no float layer is float (EP-606).
    """
    wrong = [f"{name} has {bits} bits" for name, bits in kernels.bits.items() if bits != _planned(name, plan, bits)]
    if plan.default is Precision.W4A8 and 4 not in kernels.bits.values():  # noqa: PLR2004 - the promise itself
        wrong.append("no layer has 4 bits")
    seen: set[str] = set()
    for op, tensor in graph.weights:
        owners = kernels.layers_of(graph, op) & set(kernels.bits)
        seen |= owners
        wrong += [
            f"{name}'s weights are {tensor.dtype} instead of int{kernels.bits[name]}"
            for name in sorted(owners)
            if tensor.dtype != f"int{kernels.bits[name]}"
        ]
    wrong += [f"no operator has {name}'s weights" for name in sorted(set(kernels.bits) - seen)]
    wrong += list(_floats(graph, kernels, plan))
    if wrong:
        raise CandidateError(
            "EP-606",
            f"the fake-quantized graph was not written as it rounds: {first_of(wrong, _NAMED, between='; ')}",
            hint="give the layer another precision, or leave the model to post-training quantization",
        )


def _planned(name: str, plan: PrecisionPlan, bits: int) -> int:
    """Return the bits that ``plan`` gives layer ``name``; of a layer that was made from another's, its own."""
    if name in plan.layers:
        return _BITS.get(plan.layers[name], bits)
    return _BITS.get(plan.default, bits) if not any(name.startswith(f"{other}_") for other in plan.layers) else bits


def _floats(graph: TfliteGraph, kernels: KernelBits, plan: PrecisionPlan) -> Iterator[str]:
    free = {name for name, precision in plan.layers.items() if precision is Precision.F32}
    for op in graph.ops:
        is_float = any(graph.tensors[index].dtype.startswith("float") for index in op.outputs if index >= 0)
        if not is_float or op.name in _CHANGES_OF_TYPE:
            continue
        owners = kernels.layers_of(graph, op)
        if not any(_belongs(owner, free, graph, op) for owner in owners or {""}):
            yield f"{op.name} of {', '.join(sorted(owners)) or 'no known layer'} stayed float"


def _belongs(owner: str, free: Iterable[str], graph: TfliteGraph, op: TfliteOp) -> bool:
    """Whether ``owner`` is a float layer, part of one, or what stands before one to keep it float."""
    names = {part for index in op.outputs if index >= 0 for part in _parts(graph.tensors[index].name)}
    barrier = owner.endswith("_float") or any(_COUNTED.sub("", name).endswith("_float") for name in names)
    return barrier or any(owner == name or owner.startswith(f"{name}_") for name in free)


def _parts(name: str) -> Iterator[str]:
    return (part for fused in name.split(";") for part in fused.split("/"))
