# SPDX-License-Identifier: Apache-2.0
"""Sparsifies and clusters nets, and reports what came of it in ``REPORT``; runs inside the worker, with TESTS."""

import json
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

sys.path.insert(0, TESTS)  # noqa: F821 - given by the caller
from learnable import digest, listed, samples, setting
from nets import NETS

from edgepack.compress._kernels import kernels
from edgepack.compress._masks import keeps_two_of_four, zeros_share
from edgepack.compress.apply import apply_steps
from edgepack.compress.cluster import Cluster
from edgepack.compress.recipe import Recipe
from edgepack.compress.sparsify import Sparsify
from edgepack.errors import CandidateError
from edgepack.graph.context import Graph
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.model.load import load_model
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import read_tflite
from edgepack.model.trainable import read_trainable, write_trainable
from edgepack.train.schedule import Schedule

FOLDER = Path(REPORT).parent  # noqa: F821 - given by the caller
SHORT = Schedule(steps=6, batch_size=32, learning_rate=1e-3)
STEPS = {
    "global": Sparsify(sparsity=0.6, schedule=SHORT),
    "layer": Sparsify(sparsity=0.6, allocation="layer", schedule=SHORT),
    "2:4": Sparsify(pattern="2:4", schedule=SHORT),
    "model": Cluster(clusters=12, schedule=SHORT),
    "each": Cluster(clusters=12, codebook="layer", schedule=SHORT),
}


class Subject:
    """A net as the loader gives it, with what lowers it."""

    def __init__(self, name):
        keras.utils.set_random_seed(3)
        NETS[name]().save(FOLDER / f"{name}.keras")
        self.model = load_model(FOLDER / f"{name}.keras", shapes={}, trust_code=False, folder=FOLDER / "models")
        self.net = read_trainable(self.model)
        self.context = setting(listed(self.net), FOLDER, download=self.download)
        self.files = {}

    def graph(self, precision=Precision.W8A8):
        return Graph(net=self.net, plan=PrecisionPlan(default=precision))

    def lowered(self, graph):
        written = write_trainable(graph.net, parent=self.model, fake_quantized=False, folder=FOLDER / "models")
        calibration = samples(graph.net, FOLDER, "train")
        paths = tuple(path for _, path in calibration.inputs)
        return lower(written, Recipe(precision=graph.plan), calibration=paths, folder=FOLDER / "artifacts").path

    def download(self, graph):
        return len(zlib.compress(self.lowered(graph).read_bytes(), level=9))


def stored(path):
    """Return the weights of a file as they are stored, but those of depthwise convolutions."""
    content, found = path.read_bytes(), []
    for op, tensor in read_tflite(path).weights:
        if op.name == "DEPTHWISE_CONV_2D":
            continue
        raw = content[tensor.data_offset : tensor.data_offset + tensor.n_bytes]
        found.append(np.frombuffer(raw, tensor.dtype))
    return found


def sharing(subject, step, precision=Precision.W8A8):
    """Apply ``step`` and say what is in the net and in the file."""
    before = digest(subject.net)
    after = apply_steps(subject.graph(precision), (step,), subject.context)
    found, path = kernels(after.net), subject.lowered(after)
    weights = [one for one in stored(path) if one.size >= 128] if not after.plan.sparse else []
    return {
        "source_unchanged": digest(subject.net) == before,
        "layers": {one.layer: zeros_share([one]) for one in found},
        "zeros": zeros_share(found),
        "two_of_four": [keeps_two_of_four(one) for one in found],
        "file_zeros": sum(int((one == 0).sum()) for one in weights) / max(1, sum(one.size for one in weights)),
        "file_values": [int(np.unique(one).size) for one in weights],
        "file_values_in_all": int(np.unique(np.concatenate(weights)).size) if weights else 0,
        "size_bytes": path.stat().st_size,
        "ops": list(read_tflite(path).op_names),
        "sparse": after.plan.sparse,
        "facts": dict(after.reports[0].facts),
        "distinct": [int(np.unique(one.values).size) for one in found],
    }


def refused(subject, step, **changes):
    """Return the code and message of the refusal."""
    graph = replace(subject.graph(), **changes)
    try:
        apply_steps(graph, (step,), subject.context)
    except CandidateError as error:
        return [error.code, error.message]
    return None


def targeted(subject, kind):
    """Return what a download target leads to."""
    whole = subject.download(subject.graph())
    limit = int(whole * 0.8)
    after = apply_steps(subject.graph(), (kind(download_bytes=limit, schedule=SHORT),), subject.context)
    (told,) = after.reports
    return {
        "whole": whole,
        "limit": limit,
        "got": subject.download(after),
        "facts": dict(told.facts),
        "sentences": list(told.sentences),
    }


def tiny():
    """A net without a kernel that is worth it."""
    end = keras.Input((3,), name="x")
    return keras.Model([end], [keras.layers.Dense(2, name="y")(end)], name="tiny")


plain, residual = Subject("plain"), Subject("residual")
report = {"targets": {"sparsify": targeted(plain, Sparsify), "cluster": targeted(plain, Cluster)}}
report["refused"] = {
    "quantized": [refused(plain, step, fake_quantized=True) for step in (STEPS["global"], STEPS["model"])],
    "tiny": [refused(plain, step, net=tiny()) for step in (STEPS["global"], STEPS["model"])],
    "far": [refused(plain, kind(download_bytes=500, schedule=SHORT)) for kind in (Sparsify, Cluster)],
}
for subject in (plain, residual):  # measuring a download takes longer than all else here
    subject.context = replace(subject.context, download=None)
report["refused"]["unmeasured"] = [
    refused(plain, kind(download_bytes=500, schedule=SHORT)) for kind in (Sparsify, Cluster)
]
report["plain"] = {name: sharing(plain, step) for name, step in STEPS.items()}
report["residual"] = {name: sharing(residual, STEPS[name]) for name in ("global", "model")}
report["float"] = {name: sharing(plain, STEPS[name], Precision.F32) for name in ("global", "each")}
report["dense_float"] = plain.lowered(plain.graph(Precision.F32)).stat().st_size
Path(REPORT).write_text(json.dumps(report))  # noqa: F821
