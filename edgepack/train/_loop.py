# SPDX-License-Identifier: Apache-2.0
"""The loop itself: steps, scores, snapshots, and what is done about a loss that is no number. Worker process only."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgepack.arrays import Array
from edgepack.errors import CandidateError
from edgepack.events import Reporter, TrainingProgress
from edgepack.train import _checkpoint
from edgepack.train._batches import Batches
from edgepack.train._checkpoint import Snapshot, State
from edgepack.train._preparation import Hooks
from edgepack.train._training_step import Batch, TrainingStep
from edgepack.train.schedule import Schedule
from edgepack.train.training_graph import TrainingGraph

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

_LOOK_EVERY: Final = 16  # steps between two looks at the loss: on a GPU each look waits for it
_REPORT_S: Final = 0.3
_SNAPSHOT_STEPS: Final = 100  # at the end of an epoch, but not of each one of a small data set
_LONG_EPOCH_STEPS: Final = 1000
_SLOWER: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Loop:
    """A training, ready to run.

    Attributes:
        name: For progress and logs.
        graph: What is trained.
        step: Trains it on a batch.
        batches: Gives the batches.
        schedule: The learning rate along the training.
        total: Number of steps.
        rounds: How often it is scored.
        hooks: What a step does inside the loop.
        score: Of the caller's net; higher is better.
        report: Gets progress.
        folder: Of checkpoints, or None.
        time_s: Ends the training after that time.
        logs: Folder for TensorBoard, or None.
    """

    name: str
    graph: TrainingGraph
    step: TrainingStep
    batches: Batches
    schedule: Schedule
    total: int
    rounds: int
    hooks: Hooks
    score: "Callable[[keras.Model], float]"
    report: Reporter
    folder: Path | None
    time_s: float | None
    logs: Path | None

    def run(self, state: State, best: Sequence[Array]) -> tuple[State, Sequence[Array]]:
        """Train from ``state`` on; returns the last state, and the values of the net where it scored best.

        Raises:
            CandidateError: The loss is no finite number, and is none again at a tenth of the rate (EP-622).
        """
        running = _Running(self, state, best)
        while not running.done:
            running.along(self._stream(running.state.step))
        return running.state, running.best

    def take_up(self, state: State, values: Sequence[Array]) -> None:
        """Give all that is trained the ``values`` that belong to ``state``, and tell the hook."""
        restore(self.step.variables, values)
        if self.hooks.taken_up is not None:
            with self.graph.shown():
                self.hooks.taken_up(state.along, self.total)

    def _stream(self, first: int) -> "Iterable[Batch]":
        stream = self.batches.stream(first)
        strategy = self.graph.strategy
        if strategy.num_replicas_in_sync == 1:
            one_device: Iterable[Batch] = stream
            return one_device
        distributed: Iterable[Batch] = strategy.experimental_distribute_dataset(stream)
        return distributed


class _Running:
    """Where a loop is."""

    def __init__(self, loop: Loop, state: State, best: Sequence[Array]) -> None:
        self.loop, self.state, self.best = loop, state, best
        self._began, self._earlier_s, self._first = time.monotonic(), state.elapsed_s, state.step
        self._reported, self._warm = 0.0, 0.0
        self._good = self._snapshot()
        self._logs = _Logs(loop.logs, loop.name)

    @property
    def done(self) -> bool:
        """Whether the last step is done, or a better score has been awaited in vain for too long."""
        state, patience = self.state, self.loop.schedule.patience
        if state.along >= self.loop.total:
            return True
        return bool(patience) and state.waited >= patience

    def along(self, batches: "Iterable[Batch]") -> None:
        """Learn from ``batches`` to the end, or to where the training goes back to an earlier one."""
        for batch in batches:
            if not self._learnt(batch) or self.done:
                return

    def _learnt(self, batch: Batch) -> bool:
        """Take one step and do what is due after it; False where the loss is no number and it was taken back."""
        loop, state = self.loop, self.state
        rate = loop.schedule.rate((state.along + 0.5) / loop.total) * state.rate_factor
        loss = loop.step(batch, rate)
        before = state.along
        if state.step == self._first:
            self._warm = time.monotonic()
        state.step += 1
        state.elapsed_s = self._earlier_s + time.monotonic() - self._began
        state.along = min(loop.total, max(state.along + 1, self._pressed()))
        if loop.hooks.after_step is not None:
            with loop.graph.shown():
                loop.hooks.after_step(state.along, loop.total)
        scored = state.along * loop.rounds // loop.total > before * loop.rounds // loop.total
        if scored or state.step % _LOOK_EVERY == 0 or self.done:
            value = float(loss)
            if not math.isfinite(value) or (scored and not self._finite()):
                self._slower()
                return False
            self._logs.write(state.step, loss=value, learning_rate=rate)
        if scored:
            self._score()
        self._keep_snapshot()
        self._tell(loss)
        return True

    def _finite(self) -> bool:
        """Whether all that is trained is finite: a rectifier may hide from the loss that a kernel is not."""
        return all(np.isfinite(variable.numpy()).all() for variable in self.loop.graph.trained.trainable_variables)

    def _pressed(self) -> int:
        """Return the place along the schedule that the time asks for."""
        limit = self.loop.time_s
        return 0 if limit is None else math.floor(self.loop.total * self.state.elapsed_s / limit)

    def _score(self) -> None:
        loop, state = self.loop, self.state
        loop.graph.give_back()
        found = loop.score(loop.graph.own)
        state.history.append((state.step, found))
        self._logs.write(state.step, score=found)
        if state.along < loop.hooks.counts_from * loop.total:
            return
        better = state.best_score is None or found > state.best_score
        state.waited = 0 if better else state.waited + 1
        # Of equals the later one is kept, for it has seen more; the start gives way to a gain alone.
        if better or (found == state.best_score != state.start_score):
            state.best_score = found
            self.best = [variable.numpy() for variable in loop.graph.own.variables]

    def _snapshot(self) -> Snapshot:
        values = [variable.numpy() for variable in self.loop.step.variables]
        return Snapshot(state=deepcopy(self.state), values=values, best=self.best)

    def _keep_snapshot(self) -> None:
        """Write a checkpoint at the end of an epoch, or within a long one."""
        batches, step = self.loop.batches, self.state.step
        since = step - self._good.state.step
        ended = step * batches.size // batches.prepared.count > (step - 1) * batches.size // batches.prepared.count
        if (ended and since >= _SNAPSHOT_STEPS) or since >= _LONG_EPOCH_STEPS:
            self._good = self._snapshot()
            if self.loop.folder is not None:
                _checkpoint.save(self.loop.folder, self._good)

    def _slower(self) -> None:
        """Go back to where all was well, at a tenth of the rate."""
        step, factor = self.state.step, self._good.state.rate_factor * _SLOWER
        if self.state.rate_factor < 1:
            raise CandidateError(
                "EP-622",
                f"{self.loop.name}: loss or weights were no finite numbers by step {step}, and at a tenth of the "
                "learning rate too",
                hint="lower learning_rate in the recipe's schedule, or look for extreme values in the training samples",
            )
        self.state, self.best = deepcopy(self._good.state), self._good.best
        self.loop.take_up(self.state, self._good.values)
        self.state.rate_factor = factor
        self.state.notes.append(
            f"loss or weights were no finite numbers by step {step}: trained again from step {self.state.step} at a "
            "tenth of the learning rate"
        )

    def _tell(self, loss: "tf.Tensor") -> None:
        loop, state, now = self.loop, self.state, time.monotonic()
        if now - self._reported < _REPORT_S and not self.done:
            return
        self._reported = now
        # The first step is left out: it compiles what the others run.
        pace = (now - self._warm) / (state.step - self._first - 1) if state.step > self._first + 1 else None
        left = None if pace is None else pace * (loop.total - state.along)
        if loop.time_s is not None and left is not None:
            left = min(left, max(0.0, loop.time_s - state.elapsed_s))
        loop.report(
            TrainingProgress(
                name=loop.name,
                step=state.along,
                total=loop.total,
                epoch=state.step * loop.batches.size / loop.batches.prepared.count,
                loss=float(loss),
                score=state.history[-1][1] if state.history else None,
                seconds_left=left,
            )
        )


def restore(variables: "Sequence[keras.Variable]", values: Sequence[Array]) -> None:
    """Give ``variables`` their ``values``."""
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class _Logs:
    """Scalars for TensorBoard, where a folder is given."""

    def __init__(self, folder: Path | None, name: str) -> None:
        import tensorflow as tf

        self._writer = None if folder is None else tf.summary.create_file_writer(str(folder / name))

    def write(self, step: int, **scalars: float) -> None:
        """Add a value to each named curve."""
        if self._writer is None:
            return
        import tensorflow as tf

        # What tf.summary.scalar writes; that function needs the tensorboard package, which only shows the logs.
        kind = tf.compat.v1.SummaryMetadata(data_class="DATA_CLASS_SCALAR")
        kind.plugin_data.plugin_name = "scalars"
        with self._writer.as_default(step=step):
            for name, value in scalars.items():
                tf.summary.write(name, tf.constant(value, tf.float32), metadata=kind)
        self._writer.flush()
