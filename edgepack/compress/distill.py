# SPDX-License-Identifier: Apache-2.0
"""Train a graph on the answers of the model that it came from, or of a larger one."""

from dataclasses import replace
from typing import ClassVar, Self

from edgepack.compress.step import Gap, Phase, Step
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph, StepReport
from edgepack.train.schedule import Schedule
from edgepack.train.signal import Signal


class Distill(Step):
    """Knowledge distillation: recovers what a change of structure cost (Hinton et al. 2015).

    Attributes:
        schedule: How long and how fast.
        signal: What is learnt from.
    """

    phase: ClassVar[Phase] = "recover"
    trains: ClassVar[bool] = True

    schedule: Schedule = Schedule()
    signal: Signal = Signal()

    @property
    def heeds_runtime(self) -> bool:
        """No runtime has a say in what is learnt."""
        return False

    def requires(self, graph: Graph, context: Context) -> None:
        """Refuse a graph whose ranges are set.

        Raises:
            CandidateError: EP-626.
        """
        del context
        if graph.fake_quantized:
            raise CandidateError(
                "EP-626",
                "distill trains float weights, and this graph's ranges are already set",
                hint="put distill before qat, which distils by itself",
            )

    def apply(self, graph: Graph, context: Context) -> tuple[Graph, StepReport]:
        """Return ``graph`` with weights that were trained on the teacher's answers."""
        from edgepack.graph.duplicate import duplicate
        from edgepack.train.training import train

        net = duplicate(graph.net)
        record = train(net, context, schedule=self.schedule, signal=self.signal, name="distill")
        return replace(graph, net=net), StepReport(kind="distill", sentences=record.sentences, facts=record.facts)

    def control(self) -> tuple[Step, ...] | None:
        """Return the same training on the labels alone; None where that is what it was."""
        if self.signal.teacher == "labels":
            return None
        return (self.model_copy(update={"signal": Signal(teacher="labels")}),)

    @classmethod
    def propose(cls, gap: Gap) -> tuple[Self, ...]:
        """Return nothing: structural steps bring their own recovery."""
        del gap
        return ()
