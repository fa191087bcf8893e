# SPDX-License-Identifier: Apache-2.0
"""What a graph costs, read from its lowered file: size, arena and latency do not depend on trained weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Self

import numpy as np

from edgepack.compress.recipe import Recipe
from edgepack.data.prepare import Prepared
from edgepack.digest import digest_json
from edgepack.graph.context import Context, Cost, Graph
from edgepack.lower.artifact import Artifact
from edgepack.lower.form import form_of
from edgepack.lower.lower import lower
from edgepack.measure.latency import predict_latency
from edgepack.measure.memory import arena
from edgepack.measure.operators import read_costs
from edgepack.measure.size import download_size
from edgepack.model.trainable import write_trainable
from edgepack.runtime.base import get_runtime
from edgepack.runtime.session import RuntimeSession
from edgepack.seal import is_whole
from edgepack.search.bench import sample_paths
from edgepack.search.setting import Setting
from edgepack.work import scratch_folder, whole_folder

_SAMPLES = 4
"""Ranges decide no byte of the file: a few samples stand for all."""


class GraphCost:
    """Lowers graphs and reads their costs; equal architectures are lowered once.

    Attributes:
        context: Set once it exists, for graphs whose plan needs fake quantization.
    """

    context: Context | None = None

    def __init__(self, setting: Setting, session: RuntimeSession | None, samples: Prepared | None) -> None:
        self._setting = setting
        self._session = session
        self._samples = samples
        self._known: dict[str, Cost] = {}

    @classmethod
    @contextmanager
    def opened(cls, setting: Setting) -> Iterator[Self]:
        """Yield the costs for ``setting``'s device; its runtime's process ends with the block."""
        samples = _few_samples(setting)
        if setting.runtime.name != "tflm":
            yield cls(setting, None, samples)
            return
        with get_runtime("tflm").session(setting.runtime, setting.work, processes=1) as session:
            yield cls(setting, session, samples)

    def __call__(self, graph: Graph) -> Cost:
        """Return what ``graph`` costs at its plan.

        Raises:
            CandidateError: It cannot be lowered so, or the runtime refuses it.
        """
        key = digest_json([graph.net.to_json(), graph.plan.model_dump(mode="json"), graph.fake_quantized])
        if key not in self._known:
            self._known[key] = self._lowered(graph)
        return self._known[key]

    def download(self, graph: Graph) -> int:
        """Return the bytes of ``graph``, lowered to its plan and compressed: what its weights are decides.

        Raises:
            CandidateError: It cannot be lowered so.
        """
        with self._artifact(graph) as artifact:
            return round(download_size(artifact.path).value)

    @contextmanager
    def _artifact(self, graph: Graph) -> Iterator[Artifact]:
        """Yield ``graph`` lowered, a file that is gone afterwards."""
        setting = self._setting
        ready = self._with_ranges(graph)
        with scratch_folder(setting.work.folder("models")) as scratch:
            model = write_trainable(
                ready.net, parent=setting.model, fake_quantized=ready.fake_quantized, folder=scratch
            )
            recipe = Recipe(precision=ready.plan)
            samples = None if self._samples is None else sample_paths(self._samples)
            form = form_of(setting.profile, setting.runtime)
            yield lower(model, recipe, calibration=samples, folder=scratch, form=form)

    def _lowered(self, graph: Graph) -> Cost:
        setting = self._setting
        with self._artifact(graph) as artifact:
            found = read_costs(artifact)
            latency = predict_latency(found, setting.profile, runtime=setting.runtime, precision=graph.plan.default)
            ram_bytes = None
            if self._session is not None:
                used, _ = arena(artifact, session=self._session, runtime=setting.runtime, profile=setting.profile)
                ram_bytes = round(used.upper)
        return Cost(
            size_bytes=artifact.size_bytes,
            macs=sum(item.macs for item in found),
            latency_ms=latency.upper,
            ram_bytes=ram_bytes,
        )

    def _with_ranges(self, graph: Graph) -> Graph:
        if not graph.plan.needs_fake_quantization or self.context is None:
            return graph
        from edgepack.quantize.fake_quantize import fake_quantized

        return fake_quantized(graph, replace(self.context, calibration=self._samples))


def _few_samples(setting: Setting) -> Prepared | None:
    """Write the first calibration samples beside the others."""
    whole = setting.calibration
    if whole is None:
        return None
    folder = setting.work.folder("data") / f"few-{whole.digest}"
    inputs = tuple((name, folder / f"input_{index}.npy") for index, (name, _) in enumerate(whole.inputs))
    if not is_whole(folder):
        # Several processes may do so at a time, and none may read what another has half written.
        with whole_folder(folder, by_content=True) as scratch:
            for (_, path), (_, few) in zip(whole.inputs, inputs, strict=True):
                np.save(scratch / few.name, np.load(path, mmap_mode="r")[:_SAMPLES])
    return replace(whole, inputs=inputs, labels=None, count=min(_SAMPLES, whole.count))
