# SPDX-License-Identifier: Apache-2.0
"""The one caller of steps: checks what each needs, that it is pure, that the interface holds, and its promise."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from edgepack.compress.recipe import check_order, step_kind
from edgepack.compress.step import Step
from edgepack.errors import CandidateError
from edgepack.events import Note, StageStarted
from edgepack.graph.context import Context, Graph

if TYPE_CHECKING:
    import keras


def apply_steps(graph: Graph, steps: Sequence[Step], context: Context) -> Graph:
    """Return ``graph`` after ``steps``, in their order, with a report of each.

    Raises:
        CandidateError: A step cannot have what it needs (EP-680), breaks the interface (EP-681), or fails by itself;
            the message names the steps that came before it.
    """
    check_order(steps)
    for step in steps:
        try:
            graph = _apply(graph, step, context)
        except CandidateError as error:
            done = ", ".join(report.kind for report in graph.reports)
            if done:
                raise CandidateError(error.code, f"after {done}: {error.message}", hint=error.hint) from error
            raise
    return graph


def _apply(graph: Graph, step: Step, context: Context) -> Graph:
    kind = step_kind(step)
    context.report(StageStarted(f"{kind}"))
    _check_samples(step, kind, context)
    step.requires(graph, context)
    weights = [value.copy() for value in graph.net.get_weights()[:1]]
    after, report = step.apply(graph, context)
    if after.net is graph.net and step.phase != "assign":
        raise CandidateError("EP-681", f"{kind} gave back the graph that it was given: nothing was done")
    _check_pure(graph.net, weights, kind)
    _check_interface(graph.net, after.net, kind)
    step.promise(graph, after, context)
    for sentence in report.sentences:
        context.report(Note(f"{kind}: {sentence}"))
    return replace(after, reports=(*graph.reports, report))


def _check_samples(step: Step, kind: str, context: Context) -> None:
    if step.trains and context.train is None:
        raise CandidateError(
            "EP-680",
            f"{kind} trains, and there are no training samples",
            hint="give --train SOURCE and --test SOURCE in place of --data, or a source with a train part",
        )


def _check_pure(net: "keras.Model", weights: Sequence[object], kind: str) -> None:
    """See that the graph that went in is as it was; its first weights stand for all, tests look at every one."""
    import numpy as np

    for before, now in zip(weights, net.get_weights()[:1], strict=True):
        if not np.array_equal(np.asarray(before), now):
            raise CandidateError("EP-681", f"{kind} changed the weights of the graph that it was given")


def _check_interface(before: "keras.Model", after: "keras.Model", kind: str) -> None:
    for side in ("inputs", "outputs"):
        one, other = _edges(before, side), _edges(after, side)
        if one != other:
            raise CandidateError("EP-681", f"{kind} changed the model's {side} from {one} to {other}")


def _edges(net: "keras.Model", side: str) -> list[tuple[tuple[int | None, ...], str]]:
    return [(tuple(tensor.shape), str(tensor.dtype)) for tensor in getattr(net, side)]
