# SPDX-License-Identifier: Apache-2.0
"""A compression technique: a frozen pydantic model whose fields are its options, and one method that does the work.

A module of this folder defines one ``Step`` and is named like it; ``edgepack.compress.apply`` is the one caller and
checks what every step owes: requirements, a new graph, inputs and outputs unchanged, the step's own promise.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict

from edgepack.graph.context import Context, Graph, StepReport

Phase = Literal["structure", "recover", "share", "assign", "train-quantized"]
PHASES: tuple[Phase, ...] = ("structure", "recover", "share", "assign", "train-quantized")
"""The canonical order. ``structure`` and ``recover`` may alternate; nothing follows what it would undo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far the best candidate is from each limit that binds: limit over value reached, below 1; None where met.

    Attributes:
        drop: The best accuracy drop over the drop that is allowed, above 1 where accuracy binds.
        size_bytes: The limit itself, where it binds; likewise the three below.
    """

    size: float | None = None
    ram: float | None = None
    latency: float | None = None
    energy: float | None = None
    download: float | None = None
    drop: float | None = None
    size_bytes: int | None = None
    ram_bytes: int | None = None
    latency_ms: float | None = None
    download_bytes: int | None = None


class Step(BaseModel, ABC):
    """One technique with its options; equal options, equal digest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    phase: ClassVar[Phase]
    trains: ClassVar[bool] = False
    """Needs training samples."""

    @property
    def heeds_device(self) -> bool:
        """Whether what it does depends on the device's speed or runtime, so that another device gets another graph."""
        return False

    @property
    def heeds_arena(self) -> bool:
        """Whether what it does depends on the memory that a graph takes, which is alike where kernels are."""
        return False

    @property
    def heeds_runtime(self) -> bool:
        """Whether what it does depends on the runtime: its kernels, and the bytes of the file that it takes.

        Where it does not, one graph does for every format.
        """
        return True

    @property
    def label(self) -> str:
        """What tells its kind of use apart in a recipe's name, in a word; empty where the step's name says all."""
        return ""

    def requires(self, graph: Graph, context: Context) -> None:
        """Refuse what the step cannot work on; nothing by default.

        Raises:
            CandidateError: With the reason and what to do.
        """

    @abstractmethod
    def apply(self, graph: Graph, context: Context) -> tuple[Graph, StepReport]:
        """Return a new graph and what was done; ``graph`` and its weights are left as they are.

        Raises:
            CandidateError: It cannot be done; the candidate fails, the others go on.
        """

    def promise(self, before: Graph, after: Graph, context: Context) -> None:
        """Hold the result against what the options promise: no silent no-op; nothing by default.

        Raises:
            CandidateError: The promise is not kept.
        """

    def control(self) -> "tuple[Step, ...] | None":
        """Return the steps that train as much without this technique; None where nothing was trained for it."""
        return None

    @classmethod
    def example(cls) -> Self:
        """Return a typical use: what documentation shows and contract tests run."""
        return cls()

    @classmethod
    def propose(cls, gap: Gap) -> tuple[Self, ...]:
        """Return concrete options for what binds, mild to severe; nothing where the technique does not help."""
        del gap
        return ()
