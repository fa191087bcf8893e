# SPDX-License-Identifier: Apache-2.0
"""Everything that shapes what steps make of a model, beside the recipe: equal origins and recipes, equal artifacts."""

from dataclasses import asdict
from pathlib import Path

from edgepack.data.data import Data
from edgepack.digest import digest_file, digest_json
from edgepack.graph.context import Training
from edgepack.search.bench import Bench
from edgepack.versions import versions_here

_ELSEWHERE = frozenset({"checkpoints", "tensorboard", "augmentation"})


def versions(bench: Bench) -> dict[str, str]:
    """Return the versions of what shapes an artifact or its figures, by package; the device's runtime among them."""
    found = versions_here()
    served = bench.session.served
    found[bench.runtime.name] = served.version + (f" ({served.commit})" if served.commit else "")
    return found


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
        "teacher": "" if teacher is None else digest_file(teacher),
        "training": digest_json([options, augmentation]),
        "seed": str(bench.seed),
        **{f"version of {name}": value for name, value in versions(bench).items()},
    }


def is_closed(data: Data | None, training: Training) -> bool:
    """Whether an origin says all: a loss or a metric of the user's may change behind its name."""
    return ":" not in training.loss and (data is None or ":" not in data.metric.name)
