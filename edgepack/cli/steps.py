# SPDX-License-Identifier: Apache-2.0
"""List the compression steps, or show the options of one with an example for a recipe."""

from typing import TYPE_CHECKING

import click

from edgepack.cli._console import Console, global_options

if TYPE_CHECKING:
    from edgepack.cli._results_steps import StepResult


@click.command("steps", help="List the compression steps; with a NAME, its options and an example for a recipe.")
@click.argument("name", required=False)
@global_options
def command(console: Console, name: str | None) -> None:
    """Print one line a step, or one step in full."""
    from edgepack.cli._results_steps import StepsListOutput, StepsOutput, describe_steps
    from edgepack.errors import UsageError
    from edgepack.registry import nearest

    steps = describe_steps()
    if name is None:
        width = max(map(len, steps))
        lines = [f"{kind:{width}}  {step.phase:15}  {step.summary}" for kind, step in steps.items()]
        hint = "\nNext: edgepack steps NAME; use them from a recipe: edgepack build MODEL --recipe recipe.yaml ..."
        console.result(StepsListOutput(steps=list(steps.values())).as_json(), "\n".join(lines) + "\n" + hint)
        return
    if name not in steps:
        raise UsageError("EP-001", f"there is no step {name!r}; {nearest(name, set(steps))}")
    console.result(StepsOutput(step=steps[name]).as_json(), _page(steps[name]))


def _page(step: "StepResult") -> str:
    lines = [
        f"{step.kind}: {step.summary}",
        "",
        f"phase   {step.phase}",
        f"trains  {'yes' if step.trains else 'no'}",
        "",
    ]
    width = max((len(option.name) for option in step.options), default=0)
    lines += [
        f"  {option.name:{width}}  {option.type}, default {option.default}"
        + (f"\n  {'':{width}}  {option.text}" * bool(option.text))
        for option in step.options
    ]
    return "\n".join([*lines, "", "In a recipe:", "", *(f"    {line}" for line in step.example.splitlines())])
