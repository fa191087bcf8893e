# SPDX-License-Identifier: Apache-2.0
"""Make a recipe's file inside the worker: the graph read, its costs at hand, the steps applied, the rest lowered."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgepack.compress.recipe import Recipe
from edgepack.crew.process import to_parent
from edgepack.errors import CandidateError
from edgepack.graph.context import Context, Graph, StepReport
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.graph.unfold import unfold
from edgepack.lower.artifact import Artifact
from edgepack.lower.form import form_of
from edgepack.lower.lower import lower
from edgepack.model.model import Format, Model
from edgepack.search.bench import sample_paths
from edgepack.search.graph_cost import GraphCost
from edgepack.search.setting import Setting
from edgepack.search.waypoints import Waypoint, furthest, write_waypoint

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


@dataclass(frozen=True, slots=True)
class Made:
    """An artifact, and what each step on the way to it did."""

    artifact: Artifact
    reports: tuple[StepReport, ...] = ()
    plan: PrecisionPlan | None = None


def make(setting: Setting, recipe: Recipe, *, keys: Sequence[str]) -> Made:
    """Return what the steps of ``recipe`` make of the model, lowered; runs in the worker.

    Args:
        setting: The model, and all that steps work with.
        recipe: Its steps and its precision.
        keys: As for ``compress``.

    Raises:
        CandidateError: A step fails, or what it leaves cannot be lowered.
    """
    done = compress(setting, recipe, keys=keys)
    artifact = lower(
        done.model,
        Recipe(precision=done.plan),
        calibration=sample_paths(setting.calibration) if setting.calibration else None,
        folder=setting.work.folder("artifacts"),
        form=form_of(setting.profile, setting.runtime),
    )
    return Made(artifact, done.reports, done.plan if done.plan != recipe.precision else None)


def needs_graph(recipe: Recipe) -> bool:
    """Whether ``recipe`` works on the layers of the model, not only on its lowered form."""
    return bool(recipe.steps) or recipe.precision.needs_fake_quantization


def compress(setting: Setting, recipe: Recipe, *, keys: Sequence[str]) -> Compressed:
    """Apply the steps of ``recipe``; runs in the worker.

    Args:
        setting: The model, and all that steps work with.
        recipe: Its steps and its precision.
        keys: One for each of its steps: what is kept under one of them is not made again.

    Raises:
        CandidateError: The model has no trainable form (EP-682), or a step fails.
    """
    from edgepack.model.trainable import write_trainable
    from edgepack.quantize.fake_quantize import fake_quantized

    if setting.model.trainable is None:
        raise CandidateError(
            "EP-682",
            f"{recipe.name} works on layers, and {setting.model.source} has none to offer: "
            f"{setting.model.why_untrainable}",
            hint="give edgepack the Keras model (.keras or .h5) that it came from",
        )
    with ExitStack() as stack:
        graph, context = _walked(setting, recipe, keys, stack)
        if graph.plan.needs_fake_quantization:
            graph = fake_quantized(graph, context)
        written = write_trainable(
            graph.net, parent=setting.model, fake_quantized=graph.fake_quantized, folder=setting.work.folder("models")
        )
    return Compressed(model=written, plan=graph.plan, reports=graph.reports)


def _walked(setting: Setting, recipe: Recipe, keys: Sequence[str], stack: ExitStack) -> tuple[Graph, Context]:
    """Return the graph behind the last step, and the context; the stretches that were walked before are not again."""
    import keras

    from edgepack.compress.apply import apply_steps
    from edgepack.model.trainable import read_trainable

    keras.backend.clear_session()
    original = read_trainable(setting.model)
    teacher = read_trainable(setting.teacher) if setting.teacher else None
    context = _context(setting, original, teacher, stack)
    done, reached = furthest(setting.work, keys)
    for step, key in zip(recipe.steps[done:], keys[done:], strict=True):
        graph = apply_steps(_start(setting, recipe, reached), [step], context)
        reached = write_waypoint(graph, setting.work, key)
    return _start(setting, recipe, reached), context


def _start(setting: Setting, recipe: Recipe, reached: Waypoint | None) -> Graph:
    """Return the graph at ``reached``, or the model as it came; an ONNX model gets its normalization back.

    Whether anything trains has no say in that: recipes that begin alike share the way, whatever follows.
    """
    from edgepack.model.trainable import read_net, read_trainable

    if reached is None:
        net = read_trainable(setting.model)
        samples = setting.train or setting.calibration
        if recipe.steps and setting.model.source_format is Format.ONNX and samples is not None:
            net = unfold(net, samples)
        return Graph(net=net, plan=recipe.precision)
    return Graph(
        net=read_net(reached.net),
        plan=reached.plan,
        fake_quantized=reached.fake_quantized,
        reports=reached.reports,
    )


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
