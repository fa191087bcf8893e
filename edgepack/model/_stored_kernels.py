# SPDX-License-Identifier: Apache-2.0
"""How many numbers of some kernels a lowered file stores at least, where it stores equal ones once.

Kernels that differ may be equal once they are rounded: to a scale of their own, 4 bits, and multiplied by what follows
them. Signs survive all of that, of every number that is large enough not to become zero. So two kernels are told apart
by a place at which one is large and the other is zero or of the other sign, in whatever order they are written.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, product
from math import prod
from typing import Final

import numpy as np

from edgepack.arrays import Array
from edgepack.model._saved_kernels import Kernel
from edgepack.model._saved_steps import PRODUCTS

_LARGE: Final = 0.3
"""Of the largest: at 4 bits it is 2 steps of 7 from zero."""
_LEAST: Final = 1e-3
"""Of the largest: smaller numbers may be zero to a quantizer, or in float16."""
_LOOKED_AT: Final = 4096
_MOST_FORMS: Final = 8


@dataclass(frozen=True, slots=True)
class Looks:
    """Some numbers of a kernel in relation to its largest, as it may be multiplied and written.

    Attributes:
        layout: Those of one layout are written in one order.
        forms: By what it may be multiplied by, then by order: as it is, and with the last axis first.
        slides: It is moved over more than one point.
        sure: Nothing else may become of it.
    """

    size: int
    layout: tuple[object, ...]
    slides: bool
    forms: tuple[tuple[Array, Array], ...]
    sure: bool


def looks_of(kernels: Sequence[Kernel]) -> list[Looks]:
    """Return how those of ``kernels`` look that are stored in any case."""
    return [look for look in map(_looks, kernels) if look is not None]


def stored_count(looks: Sequence[Looks]) -> int:
    """Return the elements that are stored at least of kernels that look so."""
    counted: dict[int, list[Looks]] = {}
    for look in sorted(looks, key=lambda item: not item.sure):  # what is sure first: it is told apart more often
        others = counted.setdefault(look.size, [])
        if all(_differ(look, other) for other in others):
            others.append(look)
    return sum(size * len(group) for size, group in counted.items())


def _looks(kernel: Kernel) -> Looks | None:
    """Return how a kernel looks; None where it may become the same number everywhere, which may be left out."""
    forms = []
    for made in _multiplied(kernel):
        if not np.isfinite(made).all() or made.min() == made.max():
            return None
        largest = np.abs(made).max()
        orders = (made.reshape(-1), np.moveaxis(made, -1, 0).reshape(-1))
        step = max(1, made.size // _LOOKED_AT)
        scale = largest if largest >= _LEAST else np.inf  # all is too small to tell apart
        first, second = (np.asarray(order[::step] / scale, np.float32) for order in orders)
        forms.append((first, second))
    return Looks(
        size=kernel.values.size,
        layout=(kernel.op, kernel.values.shape),
        slides=kernel.op not in PRODUCTS and prod(kernel.values.shape[:-2]) > 1,
        forms=tuple(forms),
        sure=kernel.sure and (1 + len(kernel.before)) * (1 + len(kernel.behind)) <= _MOST_FORMS,
    )


def _multiplied(kernel: Kernel) -> Iterator[Array]:
    """Yield the values, and what they may become by what is multiplied before and behind."""
    one = np.ones(1, np.float32)
    for before, behind in islice(product((one, *kernel.before), (one, *kernel.behind)), _MOST_FORMS):
        with np.errstate(all="ignore"):
            yield kernel.values * before * behind


def _differ(one: Looks, other: Looks) -> bool:
    """Whether no file can store both as one."""
    if not (one.sure and other.sure):
        return False
    alike = one.layout == other.layout and one.layout[0] not in PRODUCTS  # a matrix may be written turned or not
    orders = [(0, 0)] if alike else list(product((0, 1), repeat=2))
    pairs = product(one.forms, other.forms, orders)
    return all(_apart(mine[here], theirs[there]) for mine, theirs, (here, there) in pairs)


def _apart(one: Array, other: Array) -> bool:
    large = (np.abs(one) > _LARGE) & (one * np.sign(other) <= 0)
    return bool(large.any() or ((np.abs(other) > _LARGE) & (other * np.sign(one) <= 0)).any())
