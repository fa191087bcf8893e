# SPDX-License-Identifier: Apache-2.0
"""Explain an error code: what happened, why, and what to do next."""

from importlib.resources import files

import click

from edgepack.cli._console import Console, global_options
from edgepack.errors import UsageError


@click.command("explain", help="Explain an error code such as EP-104; without a code, list them all.")
@click.argument("code", required=False)
@global_options
def command(console: Console, code: str | None) -> None:
    """Print the entry of ``code`` from ``explanations.yaml``."""
    import yaml

    from edgepack.cli._results_explain import ExplainListOutput, ExplainOutput
    from edgepack.registry import nearest

    text = files("edgepack").joinpath("explanations.yaml").read_text(encoding="utf-8")
    entries: dict[str, dict[str, str]] = yaml.safe_load(text)
    if code is None:
        titles = {name: entry["title"] for name, entry in sorted(entries.items())}
        text = "\n".join(f"{name}  {title}" for name, title in titles.items())
        console.result(ExplainListOutput(codes=titles).as_json(), text)
        return
    name = code.upper() if code.upper().startswith("EP-") else f"EP-{code}"
    if name not in entries:
        raise UsageError("EP-001", f"there is no error code {code!r}; {nearest(name, set(entries))}")
    entry = entries[name]
    text = f"{name}: {entry['title']}\n\nWhy:  {entry['why'].strip()}\nNext: {entry['next'].strip()}"
    console.result(ExplainOutput(code=name, **entry).as_json(), text)
