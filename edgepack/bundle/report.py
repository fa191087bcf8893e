# SPDX-License-Identifier: Apache-2.0
"""``report.md``: the candidates, why this one, and each figure with its evidence."""

from edgepack.bundle._words import MARKDOWN_NOTICE, figure_in_full, limits_table, table, table_row, without_folders
from edgepack.bundle.contents import BundleContents, CandidateRow
from edgepack.figure import Evidence

_COLUMNS = ("size", "ram", "latency", "metric", "metric_drop")
_EVIDENCE = {
    Evidence.COMPUTED: "counted: bytes of a file, an arena as allocated, a metric over named samples",
    Evidence.DEVICE: "timed on the named board",
    Evidence.EMULATED: "run under emulation of the target's instruction set; never a time",
    Evidence.SIMULATED: "from a vendor's compiler or simulator",
    Evidence.HOST: "measured on the machine that built this bundle; changes from run to run",
    Evidence.PREDICTED: "from a model of the device, with an interval; benchmark.py on the board replaces it",
}


def make_report(contents: BundleContents) -> str:
    """Return the report in Markdown; it holds nothing that changes from run to run."""
    verdict = "fits" if contents.fits else "does not fit"
    parts = [
        MARKDOWN_NOTICE,
        f"# {contents.source.name} on {contents.profile.title}: {verdict}",
        contents.reason,
        "## Limits",
        limits_table(contents.verdict, contents.measurement),
        "## Figures",
        _figures(contents),
        *_memory(contents),
        *_steps(contents),
        "## Candidates",
        _candidates(contents),
        "## How each figure was obtained",
        "\n".join(f"- `{evidence.value}`: {words}" for evidence, words in _EVIDENCE.items()),
        "## What went in",
        _provenance(contents),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _figures(contents: BundleContents) -> str:
    rows = [table_row((name, figure_in_full(figure))) for name, figure in contents.measurement.figures().items()]
    if contents.measurement.flips is not None:
        rows.append(table_row(("changed answers", f"{contents.measurement.flips:,} samples")))
    return table(("figure", "value"), rows)


def _memory(contents: BundleContents) -> tuple[str, ...]:
    ram = contents.measurement.ram
    if ram is None or ram.evidence is Evidence.HOST or not contents.measurement.ram_items:
        return ()
    rows = [table_row((what, f"{n_bytes:,}")) for what, n_bytes in contents.measurement.ram_items]
    return ("## Memory", table(("what", "bytes"), rows))


def _steps(contents: BundleContents) -> tuple[str, ...]:
    """Say what each step did, what its control reached, and which layers have a precision of their own."""
    if not contents.steps:
        return ()
    lines = []
    for step in contents.steps:
        lines += [f"- {step.kind}: {sentence}" for sentence in step.sentences]
        lines += [f"  - {step.control}"] if step.control else []
    layers = (contents.plan or contents.recipe.precision).layers
    if layers:
        told = ", ".join(f"`{name}` {precision.value}" for name, precision in sorted(layers.items()))
        lines.append(f"- layers with a precision of their own: {told}")
    return "## Steps", "\n".join(lines)


def _candidates(contents: BundleContents) -> str:
    if not contents.candidates:
        return "Nothing else was tried."
    rows = [_candidate(row) for row in contents.candidates]
    found = table(("candidate", "state", *_COLUMNS, "reason"), rows)
    if contents.data is None:
        return found
    return f"Compared on the selection split; the figures above are the chosen one's on the test split.\n\n{found}"


def _candidate(row: CandidateRow) -> str:
    state = f"**{row.state}, chosen**" if row.chosen else row.state
    figures = (figure_in_full(row.figures.get(name)) for name in _COLUMNS)
    return table_row((row.name, state, *figures, without_folders(row.reason)))


def _provenance(contents: BundleContents) -> str:
    source, data = contents.source, contents.data
    lines = [f"- model: `{source.name}` ({source.format}), digest `{source.digest}`"]
    lines += [f"  - {note}" for note in source.notes]
    if data is None:
        lines.append("- data: none was given, so accuracy was not measured")
    else:
        counts = ", ".join(f"{count:,} {split}" for split, count in sorted(data.counts.items()))
        lines.append(f"- data: `{data.name}`, digest `{data.digest}`: {counts}; metric: {contents.metric or 'none'}")
        lines += [f"  - {note}" for note in data.notes]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(contents.versions.items()))
    lines += [f"- seed {contents.seed}; {versions}", f"- recipe digest `{contents.recipe.digest}`"]
    if not contents.reproducible:
        lines.append("- a time limit steered this build: the same command may choose differently")
    return "\n".join(lines)
