# SPDX-License-Identifier: Apache-2.0
"""Recipes: identity, the YAML form, the order of steps, and what a person gets to read of a wrong one."""

import pytest
import yaml

from edgepack.compress.recipe import Recipe, known_steps, step_kind, write_step
from edgepack.compress.recipe_file import read_recipe
from edgepack.compress.step import PHASES
from edgepack.errors import UsageError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.model.precision import Precision

W8A8 = PrecisionPlan(default=Precision.W8A8)


@pytest.fixture
def refused(tmp_path):
    """Return the message with which a recipe of this text is refused."""

    def read(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        with pytest.raises(UsageError) as caught:
            read_recipe(path)
        assert caught.value.code == "EP-011"
        return caught.value.message.replace(str(path), "recipe.yaml")

    return read


def test_a_recipe_without_steps_is_a_precision():
    plain = Recipe(precision=W8A8)
    assert plain.name == "w8a8"
    assert not plain.trains


@pytest.mark.parametrize("kind", sorted(known_steps()))
def test_a_step_goes_through_yaml_and_keeps_its_digest(kind):
    step = known_steps()[kind].example()
    recipe = Recipe(steps=(step,), precision=W8A8)
    assert step_kind(step) == kind
    assert Recipe.from_yaml(recipe.as_yaml()) == recipe
    assert Recipe.from_yaml(recipe.as_yaml()).digest == recipe.digest != Recipe(precision=W8A8).digest
    assert recipe.name == f"{kind} w8a8"


def test_the_canonical_order_is_taken_and_structure_and_recovery_alternate():
    known = known_steps()
    kinds = ("prune", "distill", "prune", "distill", "mixed", "qat")
    assert Recipe(steps=tuple(known[kind].example() for kind in kinds), precision=W8A8).trains


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (("qat", "prune"), "prune cannot follow qat: its weights and ranges belong to the quantized graph"),
        (("mixed", "distill"), "distill cannot follow mixed: one step assigns the bits"),
        (("sparsify", "qat"), "qat cannot follow sparsify: weights that were zeroed or shared"),
        (("sparsify", "distill"), "distill cannot follow sparsify: weights that were zeroed or shared"),
        (("qat", "qat"), "qat cannot follow qat"),
    ],
)
def test_an_order_that_undoes_work_is_refused_with_the_reason(refused, kinds, words):
    steps = [write_step(known_steps()[kind].example()) for kind in kinds]
    message = refused(yaml.safe_dump({"steps": steps, "precision": {"default": "w8a8"}}))
    assert words in message
    assert all(phase in message for phase in PHASES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("precision: {default: w8a8}\nsteps:\n  - kind: prone\n", "recipe.yaml:3: steps[0]: unknown step 'prone'; did"),
        ("precision: {default: w8a8}\nsteps:\n  - macs: 0.5\n", "recipe.yaml:3: steps[0]: a step needs a kind"),
        (
            "precision: {default: w8a8}\nsteps:\n  - kind: prune\n    mac: 0.5\n",
            "recipe.yaml:3: steps[0]: step prune: no option 'mac'; did you mean 'macs'",
        ),
        ("precision: {default: w8a8}\nsteps:\n  - kind: prune\n    macs: half\n", "step prune: macs: input should be"),
        ("precision: {default: w9}\n", "recipe.yaml:1: precision.default: Input should be"),
        ("precision: {default: f32, layers: {a: w4a8}}\n", "layer a cannot be w4a8 in a model that is f32"),
        ("steps: []\n", "lacks precision"),
        ("precision: {default: w8a8}\nsteps: prune\n", "recipe.yaml:2: steps needs a list, as in [{kind: prune,"),
        ("precision: {default: w8a8}\nsteps: [prune]\n", "a step is written as {kind: prune}, not 'prune'"),
        (
            "precision: {default: w8a8}\nsteps:\n  - kind: distill\n    schedule: {step: 60}\n",
            "step distill: no option 'schedule.step'; did you mean 'steps'",
        ),
        ("precision: {default: w8a8}\nstep: []\n", "recipe.yaml:2: has the unknown key 'step'; did you mean 'steps'"),
        ("precision: {default: w8a8}\nprecision: {default: f32}\n", "this key stands on line 1 already"),
        ("- a list\n", "recipe.yaml"),
    ],
)
def test_a_wrong_recipe_says_where_and_what_is_allowed(refused, text, words):
    assert words in refused(text)


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot read the recipe") as caught:
        read_recipe(tmp_path / "absent.yaml")
    assert caught.value.code == "EP-010"
