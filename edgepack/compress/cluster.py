# SPDX-License-Identifier: Apache-2.0
"""Let the weights of a layer share few values, and train those; the file downloads smaller and runs no faster."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Self

import numpy as np
from pydantic import Field, model_validator

from edgepack.compress._centroids import Codebook, Shared, Tie, share, values_of
from edgepack.compress._kernels import kernels
from edgepack.compress._sharing import Sharing, downloads, mildest_download
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph, StepReport
from edgepack.graph.duplicate import duplicate
from edgepack.graph.fold import fold
from edgepack.model.precision import Precision
from edgepack.train.schedule import Schedule

if TYPE_CHECKING:
    import keras

    from edgepack.train.training import TrainingRecord

_CLUSTERS: Final = (128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4)
_ONE_SCALE: Final = frozenset({Precision.F32, Precision.W16, Precision.W8A8_PER_TENSOR})
_PURPOSE: Final = 61


class Cluster(Sharing):
    """Weight sharing by k-means, with training of the shared values. What it saves is download, and nothing else.

    A file of 8-bit weights keeps its length, for TFLite has no tables of values; compressed for the way to the device
    it needs about the logarithm of ``clusters`` bits a weight.

    Attributes:
        clusters: Number of values, in units of a channel's largest weight, -1 and 1 among them; depthwise kernels and
            those of fewer than 128 weights stay as they are.
        download_bytes: Largest download instead: the highest number of clusters that meets it is taken.
        codebook: ``model`` gives all layers the same values: as close to the weights as values of its own for each
            ``layer``, and a tenth less to download.
        schedule: How long and how fast the values are trained.
        signal: What is learnt from.
    """

    verb: ClassVar[str] = "shares"

    clusters: Annotated[int, Field(ge=3, le=256)] | None = None
    codebook: Codebook = "model"
    schedule: Schedule = Schedule(steps=600, learning_rate=1e-3)

    @model_validator(mode="after")
    def _aimed(self) -> Self:
        if (self.clusters is None) == (self.download_bytes is None):
            raise ValueError("needs clusters or download_bytes, one of them")
        return self

    def apply(self, graph: Graph, context: Context) -> tuple[Graph, StepReport]:
        """Return ``graph`` with few values in each layer, trained.

        Where weights of a layer have one scale (f32, w16, w8a8-per-tensor), BatchNormalization is folded in first: its
        factors would pull the values of the channels apart.

        Raises:
            CandidateError: The download target is out of reach (EP-661), or the training fails.
        """
        from edgepack.train.training import Hooks, train

        clusters = self._clusters(graph, context)
        net, shared = self._shared(graph, clusters, context.seed)
        tie = Tie(shared, self.codebook)
        hooks = Hooks(after_step=tie.after_step, key=f"{clusters} {self.codebook}")
        record = train(net, context, schedule=self.schedule, signal=self.signal, name="cluster", hooks=hooks)
        tie.after_step(1, 1)
        after = replace(graph, net=net)
        return after, self._said(graph, after, context, clusters=clusters, record=record)

    def _clusters(self, graph: Graph, context: Context) -> int:
        if self.clusters is not None:
            return self.clusters
        return mildest_download(
            _CLUSTERS,
            lambda clusters: replace(graph, net=self._shared(graph, clusters, context.seed)[0]),
            self.download_bytes or 0,
            context=context,
            words=f"cluster with {_CLUSTERS[-1]} values",
        )

    def _shared(self, graph: Graph, clusters: int, seed: int) -> "tuple[keras.Model, tuple[Shared, ...]]":
        """Return a net like ``graph``'s whose kernels share ``clusters`` values, and how."""
        one_scale = graph.plan.default in _ONE_SCALE
        net = fold(graph.net) if one_scale else duplicate(graph.net)
        rng = np.random.default_rng([seed, _PURPOSE])
        shared = share(kernels(net), clusters, per_channel=not one_scale, codebook=self.codebook, rng=rng)
        for one in shared:
            one.assign()
        return net, shared

    def _said(
        self, before: Graph, after: Graph, context: Context, *, clusters: int, record: "TrainingRecord"
    ) -> StepReport:
        found = kernels(after.net)
        total = sum(kernel.values.size for kernel in found)
        facts: list[tuple[str, float | int | str]] = [("clusters", clusters), *record.facts]
        where = "each layer" if self.codebook == "layer" else "all"
        told = [f"{total:,} weights of {len(found)} layers have {clusters} values in {where}"]
        words, download_bytes = downloads(before, after, context, stays="file and speed stay as they are")
        if download_bytes is not None:
            facts.append(("download_bytes", download_bytes))
        return StepReport(kind="cluster", sentences=(*told, *words, *record.sentences), facts=tuple(facts))

    def promise(self, before: Graph, after: Graph, context: Context) -> None:
        """See that no layer has more values than it may.

        Raises:
            CandidateError: EP-663.
        """
        del before, context
        most = self.clusters or _CLUSTERS[0]
        per_channel = after.plan.default not in _ONE_SCALE
        found = {kernel.layer: values_of(kernel, per_channel=per_channel) for kernel in kernels(after.net)}
        if self.codebook == "model" and per_channel:
            found = {"the model": np.unique(np.concatenate(list(found.values())))}
        for where, values in found.items():
            if values.size > most:
                raise CandidateError("EP-663", f"cluster promised {most} values, and {where} has {values.size}")

    @classmethod
    def example(cls) -> Self:
        """Return a typical use."""
        return cls(clusters=16)
