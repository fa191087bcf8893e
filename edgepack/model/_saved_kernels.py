# SPDX-License-Identifier: Apache-2.0
"""The kernels that a SavedModel's outputs cannot be computed without, traced back from them.

Only what is certain counts, so what a kernel may be multiplied by on the way is noted: that may become part of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Final

import numpy as np

from edgepack.arrays import Array
from edgepack.model._saved_graph import Tensor
from edgepack.model._saved_steps import PLAIN, PRODUCTS, TERMS, Step, Steps, channels_last

_FLAG: Final = 5  # field number of AttrValue


@dataclass(frozen=True, slots=True)
class Kernel:
    """What an operation multiplies by.

    Attributes:
        values: float32; not all the same.
        op: The operation.
        before: What its input is multiplied by: a converter may multiply the kernel by each of these instead. Of a
            shape that goes with that of the values.
        behind: What its output is multiplied by, likewise.
        sure: Nothing else may become of the values.
    """

    values: Array
    op: str
    before: tuple[Array, ...] = ()
    behind: tuple[Array, ...] = ()
    sure: bool = True


@dataclass(slots=True)
class _Uses:
    """How one variable or constant is used: ``tensor`` is as one operation takes it."""

    tensor: Tensor
    op: str
    before: list[Array] = field(default_factory=list)
    behind: list[Array] = field(default_factory=list)
    sure: bool = True


class Kernels:
    """Traces a graph.

    Args:
        steps: Of the graph.
    """

    def __init__(self, steps: Steps) -> None:
        self._graph = steps.graph
        self._constants = steps.constants
        self._steps = steps
        self._uses: dict[Tensor, _Uses] = {}

    def needed(self, outputs: Sequence[str]) -> list[Kernel]:
        """Return the kernels behind ``outputs``, tensors of the graph, each variable or constant once.

        Raises:
            DamagedError: The graph goes round in a circle.
        """
        ends = [self._graph.source(self._graph.frame, name) for name in outputs]
        pending = [end for end in ends if end is not None and self._steps.step(end) is not None]
        seen = set(pending)
        while pending:
            tensor = pending.pop()
            step = self._steps.step(tensor)
            if step is None:
                continue
            if step.kernel is not None:
                self._note_before(tensor, step.kernel, step.needs[0])
            if step.factor is not None:
                self._note_behind(step.needs[0], step.factor)
            pending += [item for item in step.needs if item not in seen]
            seen.update(step.needs)
        return [self._kernel(use) for use in self._uses.values()]

    def _use(self, tensor: Tensor, kernel: Tensor) -> _Uses:
        leaf = self._steps.leaf(kernel)
        found = self._uses.setdefault(kernel if leaf is None else leaf, _Uses(kernel, tensor.node.op))
        if found.tensor != kernel or found.op != tensor.node.op:
            found.sure = False  # it is taken in two ways
        return found

    def _note_before(self, tensor: Tensor, kernel: Tensor, source: Tensor) -> None:
        """Note the kernel of ``tensor``, with the factors that its input ``source`` is made with."""
        use, plain, factor = self._use(tensor, kernel), True, np.ones(1, np.float32)
        known = self._is_known(tensor, kernel)
        while (step := self._linear(source)) is not None:
            if step.factor is not None:
                plain = plain and _by_channel(factor, step.factor)
                factor = factor.reshape(-1) * step.factor.reshape(-1) if plain else factor
                if plain and (factor.size == 1 or (known and self._shape(kernel)[-2] == factor.size)):
                    use.before.append(factor.reshape(-1, 1))
                else:
                    use.sure = False
            plain = plain and (source.node.op != "Transpose" or factor.size == 1)
            source = step.needs[0]

    def _note_behind(self, tensor: Tensor, factor: Array) -> None:
        """Note that ``factor`` may become part of the kernel that ``tensor`` is made with, if only sums lie between."""
        plain = True
        while (step := self._linear(tensor)) is not None:
            if step.factor is not None:
                plain = plain and _by_channel(factor, step.factor)
                factor = factor.reshape(-1) * step.factor.reshape(-1) if plain else factor
            plain = plain and (tensor.node.op != "Transpose" or factor.size == 1)
            tensor = step.needs[0]
        made = self._steps.step(tensor)
        if made is None or made.kernel is None:
            return
        use, shape = self._use(tensor, made.kernel), self._shape(made.kernel)
        depth = 2 if tensor.node.op == "DepthwiseConv2dNative" else 1
        fits = self._is_known(tensor, made.kernel) and factor.size == prod(shape[-depth:])
        if plain and factor.size == 1:
            use.behind.append(factor.reshape(-1))
        elif plain and fits and _by_channel(factor):
            use.behind.append(factor.reshape(shape[-depth:]))
        else:
            use.sure = False

    def _linear(self, tensor: Tensor) -> Step | None:
        """Return the step of ``tensor`` where it only scales, moves or turns one other."""
        step, op = self._steps.step(tensor), tensor.node.op
        if step is None or step.kernel is not None or len(step.needs) != 1:
            return None
        return step if step.factor is not None or op in PLAIN | TERMS | {"Transpose"} else None

    def _is_known(self, tensor: Tensor, kernel: Tensor) -> bool:
        """Whether inputs lie along the last axis but one of ``kernel``, and outputs along the last."""
        if tensor.node.op not in PRODUCTS:
            return channels_last(tensor)
        attrs = tensor.node.attrs
        turned = any(attrs[key].integer(_FLAG) for key in ("adj_y", "transpose_b") if key in attrs)
        return not turned and self._graph.inputs(tensor)[1] == kernel

    def _shape(self, kernel: Tensor) -> tuple[int, ...]:
        values = self._constants.value(kernel)
        return () if values is None else values.shape

    def _kernel(self, use: _Uses) -> Kernel:
        values = self._constants.value(use.tensor)
        known = np.zeros(1, np.float32) if values is None else values
        return Kernel(known, use.op, tuple(use.before), tuple(use.behind), use.sure)


def _by_channel(*factors: Array) -> bool:
    """Whether each is one number, or lies along the last axis, all of one size."""
    sizes = {factor.size for factor in factors}
    along = all(factor.size == 1 or factor.shape[-1] == factor.size for factor in factors)
    return along and len(sizes - {1}) <= 1
