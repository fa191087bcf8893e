# SPDX-License-Identifier: Apache-2.0
"""The page around the report: its look in light and dark, on a phone and on paper, and the few lines that draw plots.

Nothing is loaded from anywhere, and a content security policy sees to it: of scripts it lets only those run whose
hashes it names, so that no text of the user's ever becomes one.
"""

import hashlib
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from typing import Final

from edgepack.bundle._c_text import NOTICE
from edgepack.bundle._report_plots import Plot

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b2330; --soft: #5a6678; --paper: #fff; --card: #f4f6f9; --line: #d9dfe8;
  --good: #1d7a46; --bad: #b3401f; --open: #8a6100; --link: #2458b8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e9f1; --soft: #9aa6b8; --paper: #12161d; --card: #1b212b;
  --line: #323b49; --good: #5fd08f; --bad: #ff9271; --open: #e9bd55; --link: #8db4ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { margin: .5rem 0; max-width: 60rem; } .soft, small { color: var(--soft); } small { font-size: .82em; }
.verdict { border-left: .4rem solid var(--bad); padding: .2rem 0 .2rem 1rem; }
.verdict.fits { border-color: var(--good); } .verdict b { color: var(--bad); } .verdict.fits b { color: var(--good); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(10rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; }
.card b { display: block; font-size: 1.25rem; } .card small { display: block; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; vertical-align: top; padding: .4rem .55rem; border-top: 1px solid var(--line); }
thead th { border-top: 0; background: var(--card); white-space: nowrap; }
td.name { min-width: 7rem; } td.why { min-width: 12rem; overflow-wrap: anywhere; }
td small { display: block; max-width: 11rem; } tr.chosen td { background: var(--card); font-weight: 600; }
tr.chosen small { font-weight: 400; }
.mark { display: inline-block; border: 1px solid currentColor; border-radius: 1rem; padding: 0 .45rem;
  font-size: .75rem; font-weight: 400; color: var(--soft); white-space: nowrap; }
.met, .fits { color: var(--good); } .missed, .misses, .failed { color: var(--bad); }
.unmeasured, .beaten { color: var(--open); }
.verdict.fits, .verdict.misses { color: inherit; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem; overflow-x: auto; }
code { font-size: .9em; overflow-wrap: anywhere; } pre code { overflow-wrap: normal; }
details { margin: .4rem 0; } summary { cursor: pointer; }
.choices { display: flex; flex-wrap: wrap; gap: .4rem; margin: .4rem 0; }
.choices button { font: inherit; font-size: .85rem; color: var(--ink); background: var(--card);
  border: 1px solid var(--line); border-radius: 1rem; padding: .25rem .8rem; min-height: 2rem; cursor: pointer; }
.choices button[aria-pressed=true] { border-color: var(--link); color: var(--link); font-weight: 600; }
.plot { width: 100%; }
@media (max-width: 60rem) { td.why { min-width: 24rem; } }
@media print { body { max-width: none; padding: 0; } .choices { display: none; } .scroll { overflow: visible; }
  section { break-inside: avoid-page; } }
"""

_SCRIPT: Final = """
"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
function theme(isDark) {
  const ink = isDark ? "#e4e9f1" : "#1b2330", line = isDark ? "#323b49" : "#d9dfe8";
  return {"font.color": ink, "xaxis.gridcolor": line, "yaxis.gridcolor": line, "xaxis.zerolinecolor": line,
    "yaxis.zerolinecolor": line, "hoverlabel.bgcolor": isDark ? "#1b212b" : "#ffffff", "hoverlabel.font.color": ink,
    "hoverlabel.bordercolor": line};
}
const plots = [...document.querySelectorAll(".plot")];
function paint(isDark) { for (const plot of plots) Plotly.relayout(plot, theme(isDark)); }
for (const plot of plots) {
  const figure = JSON.parse(document.getElementById(plot.id + "-figure").textContent);
  Plotly.newPlot(plot, figure.data, figure.layout, {responsive: true, displayModeBar: false});
}
paint(dark.matches);
dark.addEventListener("change", () => paint(dark.matches));
addEventListener("beforeprint", () => paint(false));
addEventListener("afterprint", () => paint(dark.matches));
for (const button of document.querySelectorAll(".choices button")) {
  button.addEventListener("click", () => {
    const [traces, layout] = JSON.parse(button.dataset.update);
    Plotly.update(button.dataset.plot, traces, layout);
    for (const other of button.parentElement.children) other.setAttribute("aria-pressed", other === button);
  });
}
"""


def page(title: str, body: str, *, plotly: str = "") -> str:
    """Return the whole document.

    Args:
        title: As text; it is escaped here.
        body: HTML.
        plotly: The library, inlined once; a page without plots needs none, and runs no script.
    """
    scripts = (_as_parsed(plotly), _SCRIPT) if plotly else ()
    hashes = (b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{text}'" for text in hashes) or "'none'"
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src {allowed}"
    within = " plotly.js within is under the MIT licence." if plotly else ""
    run = "".join(f"<script>{text}</script>\n" for text in scripts)
    return (
        f"<!DOCTYPE html>\n<!-- {NOTICE}{within} -->\n"
        '<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        f"{run}</body>\n</html>\n"
    )


def _as_parsed(script: str) -> str:
    """Return ``script`` with the line ends that a browser makes of it before it takes the hash."""
    return script.replace("\r\n", "\n").replace("\r", "\n")


def plot_html(plot: Plot) -> str:
    """Return the place of a plot, its figure as data, and the buttons above it."""
    buttons = "".join(
        f'<button type="button" data-plot="{plot.name}" data-update="{escape(update)}" '
        f'aria-pressed="{"false" if index else "true"}">{escape(label)}</button>'
        for index, (label, update) in enumerate(plot.choices)
    )
    choices = f'<div class="choices">{buttons}</div>\n' if buttons else ""
    # Inside a script element nothing is unescaped, and only "<" could end it.
    body = plot.body.replace("<", "\\u003c")
    return (
        f'{choices}<div class="plot" id="{plot.name}" style="height:{plot.height_px}px"></div>\n'
        f'<script type="application/json" id="{plot.name}-figure">{body}</script>\n'
        "<noscript><p class=soft>The plot needs JavaScript; the table holds the same.</p></noscript>"
    )


def table_html(head: Sequence[str], rows: Sequence[str]) -> str:
    """Return a table that scrolls inside its own box; ``rows`` are HTML, ``head`` is text."""
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    return f'<div class="scroll"><table><thead><tr>{cells}</tr></thead>\n<tbody>{"".join(rows)}</tbody></table></div>'


def row_html(cells: Sequence[str], *, kind: str = "") -> str:
    """Return one row of HTML cells; one may be a whole ``<td>``."""
    whole = "".join(cell if cell.startswith("<td") else f"<td>{cell}</td>" for cell in cells)
    return f"<tr{f' class={kind}' if kind else ''}>{whole}</tr>\n"


def section(title: str, *parts: str) -> str:
    """Return a section under a heading; ``parts`` are HTML, empty ones are left out."""
    body = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{escape(title)}</h2>\n{body}\n</section>"
