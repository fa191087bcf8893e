# SPDX-License-Identifier: Apache-2.0
"""The page: whole in one file, harmless whatever things are called, drawn again, and without an error in a browser."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgepack.bundle import draw, redraw
from edgepack.bundle._report_labels import Spot, _beside, _is_free, sides
from edgepack.bundle.bundle import write_bundle
from edgepack.bundle.contents import AnswersGiven, CandidateRow, LayerHarms, OperatorRow, Source
from edgepack.bundle.redraw import draw_again
from edgepack.bundle.verify import check_files, read_manifest
from edgepack.errors import HostError, OutputError
from edgepack.events import Note
from edgepack.figure import Evidence, Figure
from edgepack.graph.context import Sensitivity
from edgepack.search.reached import Reached
from tests.bundle.conftest import answered

EVIL = "<script>document.title = 'broken'</script><img src=x onerror=\"document.title = 'broken'\">&amp;"
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Page(HTMLParser):
    """Holds a page's tags against each other and keeps what a test asks for."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.scripts, self.wrong = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


@pytest.fixture
def drawn(contents, tmp_path):
    """Write a bundle and return the text of its page."""

    def write(device="rpi4", **changes):
        return (write_bundle(contents(device, **changes), tmp_path / "b", force=True).path / "report.html").read_text()

    return write


def evil(made):
    """Call everything that the user names in a way that would break a careless page."""
    figures = dict(made.candidates[0].figures)
    scored = replace(made.candidates[0], name=EVIL, reason=EVIL, figures=figures)
    missed = CandidateRow(EVIL, "misses", EVIL, {"size": Figure(9e5, "B", Evidence.COMPUTED)})
    return {
        "source": Source(f"{EVIL}.keras", "keras", "a" * 64, (EVIL,)),
        "reason": EVIL,
        "candidates": (scored, missed),
        "operators": (OperatorRow("CONV_2D", EVIL, 10, 10, "int8", "int8", 1.0),),
        "harms": LayerHarms(EVIL, Sensitivity(what=EVIL, harms=((EVIL, 0.5),))),
        "test": AnswersGiven(answered(), "c" * 64, (EVIL, "</script>", "owl")),
        "command": ("edgepack", "build", f"{EVIL}.keras"),
    }


@pytest.mark.parametrize("device", ["rpi4", "stm32h747"])
def test_the_page_is_well_formed_and_loads_nothing(drawn, device):
    text = drawn(device)
    page = Page(text)
    assert (page.wrong, page.open) == ([], [])
    assert not [tag for tag, given in page.tags if {"src", "href", "srcset", "action"} & given.keys()]
    assert not {tag for tag, _ in page.tags} & {"link", "iframe", "object", "embed", "img"}
    (policy,) = [given["content"] for _, given in page.tags if given.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    own = text.replace(max(page.scripts, key=len), "")
    assert not re.findall(r"(?:https?:)?//[\w.-]+\.\w+/|@import|url\(", own)


def test_plotly_is_inlined_once_and_the_plots_are_its(drawn):
    page = Page(drawn())
    assert sum("plotly.js v" in script for script in page.scripts) == 1
    figures = [json.loads(script) for script in page.scripts if script.lstrip().startswith('{"data"')]
    assert [figure["data"][0]["type"] for figure in figures] == ["scatter", "heatmap", "bar"]


def test_the_budget_is_shaded_and_every_cost_can_be_chosen(drawn):
    text = drawn("stm32h747")
    page = Page(text)
    (frontier,) = [json.loads(s) for s in page.scripts if s.lstrip().startswith('{"data"') and "budget" not in s][:1]
    (box,) = frontier["layout"]["shapes"]
    assert (box["type"], box["y1"]) == ("rect", 1.0)  # a drop of 1%, in points
    assert box["y0"] < -0.2
    told = frontier["data"][0]["customdata"][0]
    assert "latency 2ms (band 500us to 8ms), predicted" in told
    buttons = [given for tag, given in page.tags if tag == "button" and given["data-plot"] == "frontier"]
    assert len(buttons) == 3
    assert [given["aria-pressed"] for given in buttons] == ["true", "false", "false"]
    traces, layout = json.loads(buttons[2]["data-update"])
    assert traces["x"][0][0] == pytest.approx(1000 / 1024)
    assert layout["xaxis.title.text"] == "RAM (KiB)"


def losing(made, *drops):
    """Return the candidates of ``made``, and one more for each drop."""
    first = made.candidates[0]
    return (
        first,
        *(
            CandidateRow(
                f"other {place}", "misses", "", {**first.figures, "metric_drop": Figure(drop, "1", Evidence.COMPUTED)}
            )
            for place, drop in enumerate(drops)
        ),
    )


def frontier_of(text):
    return next(json.loads(s) for s in Page(text).scripts if s.lstrip().startswith('{"data"'))


def test_what_loses_far_more_than_the_rest_does_not_hide_the_limit(contents, drawn):
    plain = frontier_of(drawn(candidates=losing(contents(), 0.03)))
    assert plain["layout"]["yaxis"]["range"][1] > 3
    text = drawn(candidates=losing(contents(), 0.03, 0.89))
    plot = frontier_of(text)
    low, high = plot["layout"]["yaxis"]["range"]
    assert 3 < high < 5, "a limit of 1%: what loses 3% is on the scale"
    (far,) = [trace for trace in plot["data"] if trace["name"] == "loses more than is shown"]
    assert low < far["y"][0] < high
    assert (far["marker"]["symbol"], far["error_y"]["visible"]) == ("triangle-up", False)
    assert "drop 89.00%" in far["customdata"][0]
    assert "Triangles at the upper edge lose more than the scale shows: other 1 (89.00%)." in text


def test_what_loses_a_little_more_is_no_reason_to_cut_the_scale(contents, drawn):
    text = drawn(candidates=losing(contents(), 0.055))
    assert "Triangles at the upper edge" not in text
    assert frontier_of(text)["layout"]["yaxis"]["range"][1] > 5.5


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), st.text("abc", max_size=26)), max_size=12))
def test_no_label_lies_over_another_or_over_a_point(given_spots):
    spots = [Spot(*given) for given in given_spots]
    found = sides(spots)
    assert all(side == "" for spot, side in zip(spots, found, strict=True) if not spot.label)
    ways = {"top": 1, "bottom": -1, "middle": 0, "right": 1, "left": -1, "center": 0}
    boxes = [
        _beside(spot, ways[side.split()[1]], ways[side.split()[0]])
        for spot, side in zip(spots, found, strict=True)
        if side
    ]
    for place, box in enumerate(boxes):
        assert _is_free(box, boxes[:place])


def test_a_label_at_the_edge_is_written_inwards_and_one_without_room_not_at_all():
    assert sides([Spot(0.99, 0.5, "a long name")]) == ["top left"]
    assert sides([Spot(0.5, 0.99, "name")]) == ["bottom right"]
    crowd = [Spot(0.5, 0.5, "name" * 5)] * 9
    assert sides(crowd)[-1] == ""


def test_how_near_each_limit_a_candidate_came_is_told(drawn):
    assert "was reached" not in drawn()
    text = drawn(fits=False, reached=(Reached(name="size", limit=2048, unit="B"),))
    assert "<li>size: no candidate is known to meet all the other limits</li>" in text


def test_what_the_building_machine_measured_is_marked(drawn):
    text = drawn()
    assert '<b>5MiB</b> <span class="mark">host</span>' in text
    assert 'One inference: p50 0.1 ms, p90 0.2 ms <span class="mark">host</span>' in text


def test_no_name_of_the_users_becomes_a_part_of_the_page(contents, drawn):
    text = drawn(**evil(contents()))
    page = Page(text)
    assert (page.wrong, page.open) == ([], [])
    assert not [tag for tag, _ in page.tags if tag == "img"]
    plain = Page(drawn())
    assert len([tag for tag, _ in page.tags if tag == "script"]) == len([t for t, _ in plain.tags if t == "script"]) + 1
    assert "<script>document.title" not in text


def test_without_labels_candidates_stand_by_size(contents, drawn):
    made = contents()
    bare = {name: None if name.startswith("metric") else figure for name, figure in made.candidates[0].figures.items()}
    text = drawn(candidates=(replace(made.candidates[0], figures=bare),), test=None, data=None)
    assert '"text":"size (KiB)"' in text
    assert "Accuracy here is on the selection split" not in text


def test_without_candidates_figures_or_steps_the_page_still_stands(drawn):
    text = drawn(candidates=(), operators=(), test=None, command=())
    assert Page(text).wrong == []
    assert "No candidate has figures to plot" in text


def test_the_page_is_outside_the_digest(contents, tmp_path):
    path = write_bundle(contents(), tmp_path / "b", force=False).path
    manifest = read_manifest(path)
    assert "report.html" not in manifest.files
    (path / "report.html").unlink()
    check_files(path, manifest)


def test_without_plotly_the_bundle_is_whole_and_says_what_is_missing(contents, tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "has_report_extra", lambda: False)
    monkeypatch.chdir(tmp_path)
    told = []
    path = write_bundle(contents(), tmp_path / "all of them" / "b", force=False, tell=told.append).path
    assert not (path / "report.html").exists()
    assert (path / "report.md").exists()
    (note,) = told
    assert isinstance(note, Note)
    assert "pip install 'edgepack[report]'" in note.text
    assert note.text.endswith("then edgepack report 'all of them/b'"), "as it is to be typed here"


def test_a_report_is_drawn_again_to_the_byte(contents, tmp_path):
    path = write_bundle(contents(), tmp_path / "b", force=False).path
    before = {name: (path / name).read_bytes() for name in ("report.html", "report.md")}
    for name in before:
        (path / name).unlink()
    assert [file.name for file in draw_again(path, None).files] == ["report.html", "report.md"]
    assert {name: (path / name).read_bytes() for name in before} == before
    elsewhere = tmp_path / "new" / "folder"
    draw_again(path, elsewhere)
    assert {file.name: file.read_bytes() for file in elsewhere.iterdir()} == before


def test_markdown_of_another_version_is_left_as_it_is(contents, tmp_path, monkeypatch):
    path = write_bundle(contents(), tmp_path / "b", force=False).path
    before = (path / "report.md").read_bytes()
    monkeypatch.setattr(redraw, "report_markdown", lambda _: "worded otherwise")
    drawn = draw_again(path, None)
    assert [file.name for file in drawn.files] == ["report.html"]
    assert "-o writes both" in drawn.notes[0]
    assert (path / "report.md").read_bytes() == before
    assert (draw_again(path, tmp_path / "o").files[1]).read_text() == "worded otherwise"


def test_lost_measurements_only_cost_the_hosts_figures(contents, tmp_path):
    path = write_bundle(contents(), tmp_path / "b", force=False).path
    (path / "measurements.json").write_text("{")
    draw_again(path, None)
    assert "Nothing was timed." in (path / "report.html").read_text()


def test_a_bundle_that_was_changed_is_not_drawn(contents, tmp_path):
    path = write_bundle(contents(), tmp_path / "b", force=False).path
    before = (path / "report.html").read_bytes()
    (path / "report.json").write_text((path / "report.json").read_text().replace("cat", "dog"))
    with pytest.raises(OutputError, match=r"changed: report.json") as caught:
        draw_again(path, None)
    assert caught.value.code == "EP-405"
    assert (path / "report.html").read_bytes() == before


def test_without_plotly_nothing_is_drawn_again(contents, tmp_path, monkeypatch):
    path = write_bundle(contents(), tmp_path / "b", force=False).path
    monkeypatch.setattr("edgepack.extras.has_report_extra", lambda: False)
    with pytest.raises(HostError, match="plotly, which is not installed") as caught:
        draw_again(path, None)
    assert (caught.value.code, caught.value.exit_code) == ("EP-504", 5)
    assert "edgepack[report]" in caught.value.hint


def browser():
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("no browser: chromium, chromium-browser or google-chrome")
    return found


def opened(page, folder, *, scheme=1, width=390):
    """Open a page in a browser and return its console and what became of its elements."""
    return subprocess.run(
        [browser(), "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={folder / 'profile'}", f"--blink-settings=preferredColorScheme={scheme}",
         f"--window-size={width},844", "--virtual-time-budget=8000", "--dump-dom", f"file://{page}"],
        capture_output=True, text=True, check=True, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("scheme", [0, 1], ids=["dark", "light"])
@pytest.mark.parametrize("names", ["plain", "evil"])
def test_a_browser_draws_every_plot_without_an_error(contents, tmp_path, names, scheme):
    changes = evil(contents()) if names == "evil" else {}
    path = write_bundle(contents("stm32h747", **changes), tmp_path / "b", force=False).path
    done = opened(path / "report.html", tmp_path, scheme=scheme)
    assert "CONSOLE" not in done.stderr, done.stderr
    plots = re.findall(r'<div class="plot js-plotly-plot" id="(\w+)"', done.stdout)
    assert plots == ["frontier", "confusion", "cost", *(["sensitivity"] if names == "evil" else [])]
    assert done.stdout.count('class="main-svg"') >= len(plots)
    assert ("rgb(228, 233, 241)" if scheme == 0 else "rgb(27, 35, 48)") in done.stdout, "the ink of the scheme"
    assert "<title>broken" not in done.stdout


def test_the_buttons_change_the_plots(contents, tmp_path):
    path = write_bundle(contents("stm32h747"), tmp_path / "b", force=False).path
    text = (path / "report.html").read_text()
    # The page's own policy would keep the test's script out, as it should.
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    click = "<script>for (const button of document.querySelectorAll('button')) button.click()</script></body>"
    (tmp_path / "clicked.html").write_text(text.replace("</body>", click))
    assert ">latency (ms)</text>" in opened(path / "report.html", tmp_path).stdout
    done = opened(tmp_path / "clicked.html", tmp_path)
    assert "CONSOLE" not in done.stderr, done.stderr
    assert ">RAM (KiB)</text>" in done.stdout
    assert ">latency (ms)</text>" not in done.stdout
    assert re.findall(r'aria-pressed="true">([^<]+)', done.stdout) == ["RAM", "the original", "bytes of constants"]


def test_the_candidates_table_leads_with_what_tells_and_ends_with_why_not(contents, tmp_path):
    made = contents("stm32h747").candidates[0]
    figures = {**made.figures, "energy": Figure(0.05, "mJ", Evidence.PREDICTED, ci_low=0.01, ci_high=0.2)}
    why = "drop missed; tensorflow/lite/micro/kernels/a_very_long_name_of_a_file_that_has_no_end.cc:42 was not true"
    rows = (made, replace(made, name="student (coarser)+prune+mixed (8 bits)+qat w8a8", figures=figures, reason=why))
    path = write_bundle(contents("stm32h747", candidates=rows), tmp_path / "b", force=False).path
    text = (path / "report.html").read_text()
    table = text[text.index("<h2>Candidates</h2>") :]
    told = ["candidate", "", "drop", "metric", "size", "RAM", "latency", "energy", "changed", "why not"]
    assert re.findall(r"<th>(.*?)</th>", table[: table.index("</thead>")]) == told
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    wide = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).length"
    (tmp_path / "m.html").write_text(text.replace("</body>", f"<script>document.title = {wide}</script></body>"))
    assert "<title>0</title>" in opened(tmp_path / "m.html", tmp_path, width=1280).stdout, "nothing is out of sight"
