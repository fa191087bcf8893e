# SPDX-License-Identifier: Apache-2.0
"""Ways to put a graph's weights on their grids, each tried on samples that it was not fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from edgepack.arrays import Array
from edgepack.data.prepare import Prepared
from edgepack.graph.divergence import answers, divergence
from edgepack.quantize._equalize import equalize
from edgepack.quantize.layerwise import draw
from edgepack.quantize.round_net import HowToRound, Rounded, round_net

if TYPE_CHECKING:
    import keras

_HELD: Final = 5  # one sample in so many is held back


def hold_back(count: int) -> tuple[list[int], list[int]]:
    """Return the places of ``count`` samples to fit to, and of each fifth, to check on: none where there are fewer."""
    places = range(count)
    held = [place for place in places if place % _HELD == _HELD - 1]
    return [place for place in places if place % _HELD != _HELD - 1], held


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Calibration samples, one array an input in each part.

    Attributes:
        fit: To round on.
        check: Others, to see how far the answers move.
        exact: The float graph's answers on ``check``, one array an output.
    """

    fit: Sequence[Array]
    check: Sequence[Array]
    exact: Sequence[Array]

    @classmethod
    def of(cls, prepared: Prepared, net: "keras.Model", *, count: int, seed: Sequence[int]) -> "Samples":
        """Draw ``count`` samples, fewer where there are fewer or they are large, and hold a fifth back."""
        drawn = draw(prepared, net, count=count, seed=seed)
        fit, held = hold_back(len(drawn[0]))
        check = [value[held or fit] for value in drawn]
        return cls([value[fit] for value in drawn], check, answers(net, check))

    def distance(self, net: "keras.Model") -> float:
        """Return how far ``net``'s answers on ``check`` are from the float graph's."""
        return divergence(self.exact, answers(net, self.check))


@dataclass(frozen=True, slots=True, eq=False)
class Tried:
    """One way and what came of it.

    Attributes:
        words: The way, for a person.
        divergence: Of the answers on the samples held back, weights rounded and activations in float.
    """

    words: str
    rounded: Rounded
    divergence: float


def try_ways(
    net: "keras.Model", *, bits: Mapping[str, int], samples: Samples, how: HowToRound, balance: bool
) -> tuple[Tried, ...]:
    """Round ``net`` to the nearest, in the way asked for, and so after equalization; the plain way comes first.

    Args:
        net: A flat float graph, folded; not changed.
        bits: By layer.
        samples: To round on and to check on.
        how: The way asked for.
        balance: Try equalization as well.
    """
    plain = replace(how, rounding="nearest", correct_bias=False)
    ways = [("plain rounding", net, plain)]
    if how != plain:
        ways.append((_words(how), net, how))
    balanced = equalize(net) if balance else None
    if balanced is not None and balanced.pairs:
        pairs = f"{len(balanced.pairs)} pair{'s' if len(balanced.pairs) > 1 else ''} of layers"
        ways.append((f"{_words(how)} after equalizing {pairs}", balanced.net, how))
    found = []
    for words, base, way in ways:
        rounded = round_net(base, bits=bits, samples=samples.fit, how=way)
        found.append(Tried(words, rounded, samples.distance(rounded.net)))
    return tuple(found)


def _words(how: HowToRound) -> str:
    rounding = {"nearest": "plain rounding", "compensated": "compensated rounding"}[how.rounding]
    return f"{rounding} with bias correction" if how.correct_bias else rounding
