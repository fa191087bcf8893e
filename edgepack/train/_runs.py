# SPDX-License-Identifier: Apache-2.0
"""The runs of the loop that make up a training: brief ones that decide what is learnt from, and the long one.

Worker process only.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgepack.arrays import Array
from edgepack.events import Note
from edgepack.train import _checkpoint
from edgepack.train._augment import changes_for
from edgepack.train._batches import Batches
from edgepack.train._checkpoint import State
from edgepack.train._features import matching
from edgepack.train._loop import Loop, restore
from edgepack.train._preparation import Preparation
from edgepack.train._training_step import Objective, TrainingStep
from edgepack.train.batchnorm import recalibrate, short_memory
from edgepack.train.training_graph import TrainingGraph, training_graph

_MOST_ROUNDS: Final = 15
_ROUND_STEPS: Final = 25
_SCORING_SHARE: Final = 0.2
_STEP_PASSES: Final = 3  # forward, and backward twice as much
_TRIAL_SHARE: Final = 0.1
_WORTH_TRIALS: Final = 600  # steps; below, a trial is too short to tell anything


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What came of the runs; the best weights are in the net.

    Attributes:
        state: Of the long run.
        score: Of the weights that were kept.
        batch_size: Samples in a step.
        resumed: It went on from a checkpoint.
        notes: What a person should know.
    """

    state: State
    score: float
    batch_size: int
    resumed: bool
    notes: tuple[str, ...]


def finished(prepared: Preparation, batch_size: int) -> Finished:
    """Train to the end in batches of ``batch_size``, from a checkpoint where there is one.

    Raises:
        CandidateError: As ``train`` says.
        tensorflow.errors.ResourceExhaustedError: Memory does not suffice.
    """
    kept = prepared.context.training.checkpoints / f"{prepared.name}-{prepared.digest(batch_size)[:32]}"
    with _checkpoint.held(kept) as folder:
        return _finished(prepared, batch_size, folder)


def _finished(prepared: Preparation, batch_size: int, folder: Path | None) -> Finished:
    """Do as ``finished`` says with the checkpoint in ``folder``; None keeps none."""
    context, net = prepared.context, prepared.net
    graph = training_graph(net, context.training)
    found = None if folder is None else _checkpoint.load(folder)
    if found is None:
        state, best = _begun(prepared, graph, batch_size)
    else:
        state, best = found.state, found.best
    loop = _loop(prepared, graph, state, batch_size=batch_size, folder=folder)
    if found is not None:
        loop.take_up(state, found.values)
        context.report(Note(f"{prepared.name}: goes on behind step {state.step:,} of a training that was cut off"))
    with short_memory(graph.trained, batch_size):
        state, best = loop.run(state, best)
    restore(net.variables, best)
    if folder is not None:
        _checkpoint.remove(folder)
    notes = list(graph.notes)
    score = prepared.start_score if state.best_score is None else state.best_score
    if recalibrate(net, context):
        score = prepared.scorer(net)
        notes.append("statistics of BatchNormalization estimated anew, which scored better")
    if context.training.time_s is not None:
        notes.append("trained under a time limit: not reproducible")
    return Finished(state=state, score=score, batch_size=batch_size, resumed=found is not None, notes=tuple(notes))


def _begun(prepared: Preparation, graph: TrainingGraph, batch_size: int) -> tuple[State, Sequence[Array]]:
    """Return the state before the first step of the long run; the net holds what it starts from.

    Where several things may be learnt from, each is tried in a short training of its own, and the long one goes on
    from the best of them.
    """
    net = prepared.net
    start = [variable.numpy() for variable in net.variables]
    keeps_start = prepared.hooks.counts_from == 0
    total = prepared.schedule.total(prepared.samples.count, batch_size)
    state = State(
        learnt_from=prepared.candidates[0],
        total=total,
        best_score=prepared.start_score if keeps_start else None,
        start_score=prepared.start_score if keeps_start else None,
    )
    if len(prepared.candidates) == 1 or total < _WORTH_TRIALS or not keeps_start:
        return state, start
    best: Sequence[Array] = start
    tried = []
    for candidate in prepared.candidates:
        restore(net.variables, start)
        graph.take()
        trial = State(learnt_from=candidate, total=round(total * _TRIAL_SHARE), best_score=None)
        loop = _loop(prepared, graph, trial, batch_size=batch_size, folder=None)
        with short_memory(graph.trained, batch_size):
            trial, values = loop.run(trial, start)
        tried.append((trial.best_score or 0.0, candidate, values))
        state.spent_s += trial.elapsed_s
    score, state.learnt_from, first = max(tried, key=lambda item: item[0])
    if score > prepared.start_score:
        state.best_score, best = score, first
    restore(net.variables, first)
    graph.take()
    state.total -= sum(round(total * _TRIAL_SHARE) for _ in tried)
    told = ", ".join(f"{_WORDS[candidate]} {score:.4f}" for score, candidate, _ in tried)
    state.notes.append(f"tried briefly: {told}; went on with {_WORDS[state.learnt_from]}")
    return state, best


_WORDS: Final = {"teacher": "teacher", "labels": "labels", "both": "teacher and labels"}


def _loop(prepared: Preparation, graph: TrainingGraph, state: State, *, batch_size: int, folder: Path | None) -> Loop:
    """Return the loop that trains ``graph`` as ``state`` says; checkpoints go into ``folder``."""
    context, schedule = prepared.context, prepared.schedule
    training, samples, taught = context.training, prepared.samples, state.learnt_from != "labels"
    labels = None if state.learnt_from == "teacher" else prepared.labels
    changes = changes_for(
        training.augmentation,
        training.sample_kind,
        taught=taught,
        epochs=prepared.schedule.total(samples.count, batch_size) * batch_size / samples.count,
    )
    if labels is not None and labels.in_place:
        changes = changes.without_moves()
    matched = None
    if prepared.signal.features and taught:
        with graph.strategy.scope():
            matched = matching(graph.trained, context, prepared.teacher)
    objective = Objective(
        learnt_from=state.learnt_from,
        signal=prepared.signal,
        answers=prepared.answers,
        teacher=prepared.teacher,
        labels=labels,
        mixed=changes.mixup > 0,
        matching=matched,
    )
    scored = context.selection.count if context.selection is not None else 1
    return Loop(
        name=prepared.name if folder is not None else f"{prepared.name} ({_WORDS[state.learnt_from]}, trial)",
        graph=graph,
        step=TrainingStep(graph, objective, schedule=schedule, rate=prepared.hooks.rate, jit=training.jit),
        batches=Batches(
            prepared=samples, size=batch_size, changes=changes, seed=context.seed, labels=objective.label_rows
        ),
        schedule=schedule,
        total=state.total,
        rounds=_rounds(state.total, batch_size, scored),
        hooks=prepared.hooks,
        score=prepared.scorer,
        report=context.report,
        folder=folder,
        time_s=_time_left_s(training.time_s, state, trial=folder is None),
        logs=training.tensorboard,
    )


def _time_left_s(time_s: float | None, state: State, *, trial: bool) -> float | None:
    if time_s is None:
        return None
    return time_s * _TRIAL_SHARE if trial else max(1.0, time_s - state.spent_s)


def _rounds(total: int, batch_size: int, scored: int) -> int:
    """Return how often to score: often enough to find the best, and a fifth of the time at most."""
    affordable = int(total * batch_size * _STEP_PASSES * _SCORING_SHARE / scored)
    return max(1, min(_MOST_ROUNDS, total // _ROUND_STEPS, affordable))
