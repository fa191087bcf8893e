# SPDX-License-Identifier: Apache-2.0
"""Every recipe that the documents and the benchmarks show is one that edgepack reads."""

import re
from pathlib import Path

import pytest

from edgepack.compress.recipe import known_steps
from edgepack.compress.recipe_file import read_recipe

ROOT = Path(__file__).resolve().parents[2]
SHOWN = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


@pytest.mark.parametrize("text", SHOWN)
def test_a_recipe_in_the_readme_is_read(text, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    assert read_recipe(path).steps


@pytest.mark.parametrize(
    "path", sorted((ROOT / "benchmarks" / "compression").glob("*.yaml")), ids=lambda path: path.name
)
def test_a_recipe_of_the_benchmark_is_read(path):
    assert read_recipe(path).precision


def test_the_readme_names_every_step():
    text = (ROOT / "README.md").read_text()
    for kind in known_steps():
        assert f"`{kind}`" in text, f"step {kind} is not in README.md"
