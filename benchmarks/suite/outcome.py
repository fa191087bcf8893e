# SPDX-License-Identifier: Apache-2.0
"""Run one instance, and hold a bundle that is said to fit against samples that the build never saw."""

import importlib.util
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from suite.cases import Case
from suite.command import run_build
from suite.instances import Instance
from suite.measuring import accuracy, inputs_file

_INFER = "infer.py"


def run_instance(instance: Instance, case: Case, work: Path, *, shared: bool) -> dict[str, Any]:
    """Return what is kept of one instance.

    Args:
        instance: What is asked.
        case: Its model and data.
        work: Where edgepack may keep things.
        shared: All instances of a model share what was trained; else each begins with nothing.
    """
    folder = work / "runs" / (case.name if shared else f"{case.name}-{instance.name}")
    with tempfile.TemporaryDirectory() as scratch:
        bundle = Path(scratch) / "bundle"
        options = [*instance.options, "--work", str(folder), "-o", str(bundle)]
        built = run_build(case, instance.device, options)
        kept: dict[str, Any] = {
            "digest": instance.digest,
            "case_digest": case.digest,
            "seconds": built.seconds,
            "trained": asdict(built.trained),
            "shared_work": shared,
            "error": built.error,
            "verdict": None,
        }
        if built.build is not None:
            kept |= _summary(built.build) | {"told": list(built.told)}
        if kept["verdict"] == "fits":
            kept["unseen"] = again(case, bundle)
    if not shared:
        shutil.rmtree(folder, ignore_errors=True)
    return kept


def _summary(build: Mapping[str, Any]) -> dict[str, Any]:
    chosen = next((item for item in build["candidates"] if item["recipe"] == build["recipe"]), None)
    return {
        "verdict": build["verdict"],
        "edgepack_seconds": build["seconds"],
        "recipe": chosen["name"] if chosen else None,
        "candidates": len(build["candidates"]),
        "tried": [
            {**{key: item[key] for key in ("name", "state", "reason")}, **_briefly(item["figures"])}
            for item in build["candidates"]
        ],
        "test": build["figures"],
        "limits": {
            limit["name"]: {key: limit[key] for key in ("limit", "value", "state")} for limit in build["limits"]
        },
        "reason": build["reason"],
    }


def _briefly(figures: Mapping[str, Any]) -> dict[str, float]:
    """Return what a limit is held against: the upper end of a band, else the value."""
    wanted = {name: figures[name] for name in ("size", "ram", "latency", "energy", "metric_drop")}
    ends = {"latency": "ci_high", "energy": "ci_high", "ram": "ci_high"}
    return {
        name: figure["value"] if figure.get(ends.get(name, "value")) is None else figure[ends.get(name, "value")]
        for name, figure in wanted.items()
        if figure is not None
    }


def again(case: Case, bundle: Path) -> dict[str, Any]:
    """Return what a bundle does on the unseen part, run by the script that it brings along, and its file's bytes."""
    predictor = _script(bundle).Predictor(bundle)
    answers = predictor.predict_batch(np.load(inputs_file(case, "unseen")))
    score = accuracy(case, "unseen", next(iter(answers.values())))
    return {
        "size_bytes": (bundle / predictor.manifest["model"]["file"]).stat().st_size,
        "metric": asdict(score.metric),
        "metric_drop": asdict(score.drop),
    }


def _script(bundle: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("bundle_infer", bundle / _INFER)
    if spec is None or spec.loader is None:
        raise ImportError(f"{bundle / _INFER} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
