# SPDX-License-Identifier: Apache-2.0
"""The grid: recipes that stand for "what can be had", written down before any of them is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from suite.instances import MODELS
from suite.reading import Strict, SuiteError, read_strict

from edgepack.compress.recipe import Recipe

MOST_TRAINED: Final = 24


@dataclass(frozen=True, slots=True)
class Point:
    """One recipe of one model's grid."""

    name: str
    recipe: Recipe


class _File(Strict):
    recipes: dict[str, Recipe]
    models: dict[str, tuple[str, ...]]


def read_grid(path: Path) -> Mapping[str, tuple[Point, ...]]:
    """Return the points of each model, the untrained ones first.

    Raises:
        SuiteError: A file of another shape, a point without a recipe or named twice, a model that is not of the suite
            or missing, or more trained points than a grid may have.
    """
    read, document = read_strict(path, _File, noun="grid")
    missing = [name for name in MODELS if name not in read.models]
    if missing:
        raise SuiteError(f"{document.place(('models',))}: no points for {', '.join(missing)}")
    unused = set(read.recipes) - {name for names in read.models.values() for name in names}
    if unused:
        raise SuiteError(f"{document.place(('recipes', min(unused)))}: no model has this point")
    found = {}
    for model, names in read.models.items():
        where = document.place(("models", model))
        if model not in MODELS:
            raise SuiteError(f"{where}: no such model; known: {', '.join(MODELS)}")
        wrong = [name for name in names if name not in read.recipes]
        if wrong or len(set(names)) != len(names):
            raise SuiteError(f"{where}: {f'no recipe {wrong[0]}' if wrong else 'a point stands twice'}")
        points = sorted((Point(name, read.recipes[name]) for name in names), key=lambda point: point.recipe.trains)
        trained = sum(point.recipe.trains for point in points)
        if trained > MOST_TRAINED:
            raise SuiteError(f"{where}: {trained} trained points, and a grid has {MOST_TRAINED} at most")
        found[model] = tuple(points)
    return found
