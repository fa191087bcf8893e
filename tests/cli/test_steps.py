# SPDX-License-Identifier: Apache-2.0
"""``edgepack steps``: the list is the folder, and each example is a recipe that edgepack reads."""

import pytest
import yaml
from click.testing import CliRunner

from edgepack.cli._group import group
from edgepack.compress.recipe import Recipe, known_steps


def test_every_step_is_listed_with_its_phase():
    done = CliRunner().invoke(group, ["steps"])
    assert done.exit_code == 0
    for kind, step in known_steps().items():
        (line,) = [line for line in done.output.splitlines() if line.split()[:1] == [kind]]
        assert step.phase in line


@pytest.mark.parametrize("kind", sorted(known_steps()))
def test_a_step_shows_every_option_and_an_example_that_is_read(kind):
    done = CliRunner().invoke(group, ["steps", kind])
    assert done.exit_code == 0
    head, _, example = done.output.partition("In a recipe:")
    for option in known_steps()[kind].model_fields:
        (line,) = [number for number, line in enumerate(head.splitlines()) if line.split()[:1] == [option]] or [None]
        assert line is not None or f"  {option}." in head, f"{option} is not shown"
        assert line is None or head.splitlines()[line + 1].strip(), f"{option} has no text"
    recipe = Recipe.model_validate(yaml.safe_load(example))
    assert [type(step) for step in recipe.steps] == [known_steps()[kind]]


def test_an_unknown_step_offers_the_nearest():
    done = CliRunner().invoke(group, ["steps", "prone"])
    assert done.exit_code != 0
    assert "did you mean 'prune'" in str(done.exception)
