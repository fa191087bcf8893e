# SPDX-License-Identifier: Apache-2.0
"""Run a recipe's steps inside the worker: the graph read, its costs at hand, what came of it written."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.compress.recipe import Recipe
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph, StepReport
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.model import Model
from edgepack.process import to_parent
from edgepack.search.graph_cost import GraphCost
from edgepack.search.setting import Setting

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, slots=True, kw_only=True)
class Compressed:
    """What came of a recipe's steps.

    Attributes:
        model: What is lowered next.
        plan: At which precision, layer by layer where a step decided so.
        reports: One per step.
    """

    model: Model
    plan: PrecisionPlan
    reports: tuple[StepReport, ...]


def needs_graph(recipe: Recipe) -> bool:
    """Whether ``recipe`` works on the layers of the model, not only on its lowered form."""
    return bool(recipe.steps) or recipe.precision.needs_fake_quantization


def compress(setting: Setting, recipe: Recipe) -> Compressed:
    """Apply the steps of ``recipe``; runs in the worker.

    Raises:
        CandidateError: The model has no trainable form (EP-682), or a step fails.
    """
    from edgepack.model.trainable import read_trainable, write_trainable
    from edgepack.quantize.fake_quantize import fake_quantized

    if setting.model.trainable is None:
        raise CandidateError(
            "EP-682",
            f"{recipe.name} works on layers, and {setting.model.source} has none to offer: "
            f"{setting.model.why_untrainable}",
            hint="give edgepack the Keras model (.keras or .h5) that it came from",
        )
    with ExitStack() as stack:
        net = _clear_and_read(setting.model)
        teacher = read_trainable(setting.teacher) if setting.teacher else None
        context = _context(setting, net, teacher, stack)
        graph = _apply(Graph(net=read_trainable(setting.model), plan=recipe.precision), recipe, context)
        if graph.plan.needs_fake_quantization:
            graph = fake_quantized(graph, context)
        written = write_trainable(
            graph.net, parent=setting.model, fake_quantized=graph.fake_quantized, folder=setting.work.folder("models")
        )
    return Compressed(model=written, plan=graph.plan, reports=graph.reports)


def _clear_and_read(model: Model) -> "keras.Model":
    import keras

    from edgepack.model.trainable import read_trainable

    keras.backend.clear_session()
    return read_trainable(model)


def _apply(graph: Graph, recipe: Recipe, context: Context) -> Graph:
    from edgepack.compress.apply import apply_steps

    return apply_steps(graph, recipe.steps, context)


def _context(setting: Setting, original: "keras.Model", teacher: "keras.Model | None", stack: ExitStack) -> Context:
    cost = stack.enter_context(GraphCost.opened(setting))
    context = Context(
        original=original,
        cost=cost,
        target=setting.target,
        training=setting.training,
        seed=setting.seed,
        teacher=teacher,
        loss=setting.model.loss,
        calibration=setting.calibration,
        train=setting.train,
        selection=setting.selection,
        metric=setting.metric,
        report=to_parent,
        download=cost.download,
    )
    cost.context = context
    return context
