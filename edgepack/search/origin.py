# SPDX-License-Identifier: Apache-2.0
"""Everything that shapes what steps make of a model, beside the recipe: equal origins and recipes, equal artifacts."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from edgepack.compress.recipe import Recipe
from edgepack.data.data import Data
from edgepack.digest import digest_file, digest_json
from edgepack.graph.context import Target, Training
from edgepack.lower.form import form_of
from edgepack.measure.memory import code_path
from edgepack.search.bench import Bench
from edgepack.search.setting import target_of
from edgepack.versions import versions_here

BESIDE: Final = "; "
"""Between what differs from format to format in the origin of a run that goes over several."""
_ELSEWHERE = frozenset({"checkpoints", "tensorboard", "augmentation"})
_OF_THE_DEVICE = frozenset({"device", "runtime"})
_OF_ITS_ARENA = frozenset({"arena"})


def versions(bench: Bench) -> dict[str, str]:
    """Return the versions of what shapes an artifact or its figures, by package; the device's runtime among them."""
    return {**versions_here(), bench.runtime.name: _served(bench)}


def _served(bench: Bench) -> str:
    served = bench.session.served
    return served.version + (f" ({served.commit})" if served.commit else "")


def origin_of(bench: Bench, data: Data | None, *, training: Training, teacher: Path | None) -> dict[str, str]:
    """Return what shapes the artifacts of ``bench``, by name: digests of inputs, options, versions.

    Args:
        bench: Gives model, device, runtime and seed.
        data: None where there is none.
        training: How steps train; where it keeps checkpoints and logs is left out.
        teacher: File of a larger model, or None.
    """
    options = {name: value for name, value in asdict(training).items() if name not in _ELSEWHERE}
    augmentation = data.augmentation.model_dump(mode="json") if data else None
    return {
        "model": bench.model.digest,
        "data": data.digest if data else "",
        "device": bench.profile.digest,
        "runtime": f"{bench.runtime.name} {_served(bench)}",
        "arena": f"{bench.runtime.name} {_served(bench)} {code_path(bench.runtime, bench.profile)}",
        "target": digest_json(
            [_heeded(target_of(bench.profile, bench.runtime)), asdict(form_of(bench.profile, bench.runtime))]
        ),
        "teacher": "" if teacher is None else digest_file(teacher),
        "training": digest_json([options, augmentation]),
        "seed": str(bench.seed),
        **{f"version of {name}": value for name, value in versions_here().items()},
    }


def key_of(origin: Mapping[str, str], recipe: Recipe) -> str:
    """Return what tells apart all that a recipe is made into: equal keys, equal bytes.

    Devices share what no step of theirs looks at the device for: its profile and the runtime's version are part of the
    key only where one does, and where one aims at memory alone what decides an arena is.
    """
    if any(step.heeds_device for step in recipe.steps):
        left_out = _OF_ITS_ARENA  # the profile has it
    else:
        heeds_arena = any(step.heeds_arena for step in recipe.steps)
        left_out = _OF_THE_DEVICE if heeds_arena else _OF_THE_DEVICE | _OF_ITS_ARENA
    return digest_json([{name: value for name, value in origin.items() if name not in left_out}, recipe.digest])


def way_of(origin: Mapping[str, str], recipe: Recipe) -> str:
    """Return what tells apart all graphs that the steps of a recipe end in: equal keys, equal graphs.

    Formats share the graphs in which no runtime has a say, whatever each is lowered to.
    """
    if recipe.heeds_runtime:
        return key_of(origin, recipe)
    return key_of({name: value for name, value in origin.items() if name != "target"}, recipe)


def joined(origins: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the origin of a run that goes over several formats: what differs between theirs stands side by side."""
    values = {name: dict.fromkeys(origin[name] for origin in origins) for name in origins[0]}
    return {name: BESIDE.join(found) for name, found in values.items()}


def _heeded(target: Target) -> dict[str, object]:
    """Return what steps look at of any device, whatever they aim for."""
    return {"channel_multiple": target.channel_multiple, "int4_ops": sorted(target.int4_ops)}


def is_closed(data: Data | None, training: Training) -> bool:
    """Whether an origin says all: a loss or a metric of the user's may change behind its name."""
    return ":" not in training.loss and (data is None or ":" not in data.metric.name)
