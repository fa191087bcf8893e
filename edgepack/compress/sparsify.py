# SPDX-License-Identifier: Apache-2.0
"""Zero the weights that matter least while the others learn; the file downloads smaller and runs no faster."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, ClassVar, Final, Self

from pydantic import Field, model_validator

from edgepack.compress._kernels import Kernel, kernels
from edgepack.compress._masks import Allocation, Masks, Pattern, Ramp, keeps_two_of_four, zero, zeros_share
from edgepack.compress._sharing import Sharing, downloads, mildest_download
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph, StepReport
from edgepack.graph.duplicate import duplicate
from edgepack.model.precision import Precision
from edgepack.train.schedule import Schedule

if TYPE_CHECKING:
    from edgepack.train.training import TrainingRecord

_RAMP: Final = 0.5  # of the training; only from then on is the graph what it is to be
_SPARSE_RUNTIMES: Final = frozenset({"litert", "tflite-runtime"})
_SHARES: Final = tuple(round(0.30 + 0.05 * number, 2) for number in range(14))


class Sparsify(Sharing):
    """Unstructured or 2:4 sparsity, grown gradually. What it saves is download, never time.

    A file of 8-bit weights keeps its length, and compressed for the way to the device it shrinks. TFLite can store
    weights without their zeros and fill them in at load (DENSIFY). Tried on the runtimes at 80% zeros: LiteRT 2.3 and
    tflite-runtime 2.14 give the same bits at the same speed from a float file of 87 KB in place of 314, so f32 is
    stored so for them; 8-bit weights are not, for LiteRT refuses sparse fully connected and dynamic-range layers; TFLM
    has no DENSIFY.

    Attributes:
        sparsity: Share of zeros in the kernels of Dense, convolution and recurrent layers; depthwise ones and those
            of fewer than 128 weights stay as they are.
        download_bytes: Largest download instead: the lowest share that meets it is taken.
        pattern: ``2:4`` zeroes two of each four weights along the inputs, and needs no share.
        allocation: ``global`` lets each layer keep what it needs (LAMP), ``layer`` gives all the same share.
        schedule: How long and how fast; the share grows over the first half.
        signal: What is learnt from.
    """

    verb: ClassVar[str] = "zeroes"

    sparsity: Annotated[float, Field(gt=0, lt=1)] | None = None
    pattern: Pattern = "magnitude"
    allocation: Allocation = "global"
    schedule: Schedule = Schedule(steps=1000, learning_rate=3e-3)

    @property
    def heeds_device(self) -> bool:
        """Runtimes differ in whether they read sparse weights."""
        return True

    @model_validator(mode="after")
    def _aimed(self) -> Self:
        given = [name for name in ("sparsity", "download_bytes") if getattr(self, name) is not None]
        if self.pattern == "2:4" and given:
            raise ValueError(f"2:4 is one half of all weights: it takes no {given[0]}")
        if self.pattern == "magnitude" and len(given) != 1:
            raise ValueError("needs sparsity or download_bytes, one of them")
        return self

    def apply(self, graph: Graph, context: Context) -> tuple[Graph, StepReport]:
        """Return ``graph`` with its least weights zeroed and the others trained.

        The share of zeros grows over the first half of the training, and the best weights of the second are kept.

        Raises:
            CandidateError: The download target is out of reach (EP-661), or the training fails.
        """
        from edgepack.train.training import Hooks, train

        masks = self._masks(graph, context)
        net = duplicate(graph.net)
        ramp = Ramp(masks, kernels(net), share=_RAMP)
        hooks = Hooks(after_step=ramp.after_step, taken_up=ramp.taken_up, counts_from=_RAMP, key=f"{masks}")
        record = train(net, context, schedule=self.schedule, signal=self.signal, name="sparsify", hooks=hooks)
        after = self._stored(replace(graph, net=net), context)
        return after, self._said(graph, after, context, record=record)

    def _masks(self, graph: Graph, context: Context) -> Masks:
        """Return the masks: those of the share that was asked for, or of the lowest that meets the download."""
        if self.pattern == "2:4":
            return Masks(0.5, self.pattern)
        if self.sparsity is not None:
            return Masks(self.sparsity, self.pattern, self.allocation)
        share = mildest_download(
            _SHARES, lambda share: self._masked(graph, share, context), self.download_bytes or 0, context=context,
            words=f"sparsify with {_SHARES[-1]:.0%} zeros",
        )  # fmt: skip
        return Masks(share, self.pattern, self.allocation)

    def _masked(self, graph: Graph, share: float, context: Context) -> Graph:
        net = duplicate(graph.net)
        found = kernels(net)
        zero(found, Masks(share, self.pattern, self.allocation).of(found))
        return self._stored(replace(graph, net=net), context)

    def _stored(self, graph: Graph, context: Context) -> Graph:
        """Return ``graph`` with a plan that stores float weights without their zeros, where the runtime reads that."""
        if graph.plan.default is not Precision.F32 or context.target.runtime not in _SPARSE_RUNTIMES:
            return graph
        return replace(graph, plan=graph.plan.model_copy(update={"sparse": True}))

    def _said(self, before: Graph, after: Graph, context: Context, *, record: "TrainingRecord") -> StepReport:
        found = kernels(after.net)
        share = zeros_share(found)
        layers = ", ".join(f"{one.layer} {zeros_share([one]):.0%}" for one in found)
        facts: list[tuple[str, float | int | str]] = [("sparsity", share), *record.facts]
        told = [f"{share:.1%} of {sum(one.values.size for one in found):,} weights are zero: {layers}"]
        stays = "speed stays as it is" if after.plan.sparse else "file and speed stay as they are"
        words, download_bytes = downloads(before, after, context, stays=stays)
        if download_bytes is not None:
            facts.append(("download_bytes", download_bytes))
        return StepReport(kind="sparsify", sentences=(*told, *words, *record.sentences), facts=tuple(facts))

    def promise(self, before: Graph, after: Graph, context: Context) -> None:
        """See that the zeros are there.

        Raises:
            CandidateError: EP-662.
        """
        del context
        found = kernels(after.net)
        least = self.sparsity if self.sparsity is not None else 0.0
        total = sum(kernel.values.size for kernel in found)
        if zeros_share(found) < least - 1 / total or zeros_share(found) <= zeros_share(kernels(before.net)):
            raise CandidateError(
                "EP-662", f"sparsify promised {least:.1%} zeros, and {zeros_share(found):.1%} are there"
            )
        dense = [kernel.layer for kernel in found if not self._is_sparse(kernel)]
        if dense:
            raise CandidateError("EP-662", f"sparsify promised {self.pattern} zeros in {', '.join(dense)}")

    def _is_sparse(self, kernel: Kernel) -> bool:
        if self.pattern == "2:4":
            return keeps_two_of_four(kernel)
        expected = self.sparsity if self.allocation == "layer" and self.sparsity is not None else 0.0
        return zeros_share([kernel]) >= expected - 1 / kernel.values.size

    @classmethod
    def example(cls) -> Self:
        """Return a typical use."""
        return cls(sparsity=0.5)
