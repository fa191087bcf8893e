# SPDX-License-Identifier: Apache-2.0
"""The seam between library and command line: errors become words and exit codes in one place."""

import shutil
import signal

import pytest

from edgepack.cli._group import _interrupt_once
from edgepack.errors import HostError
from edgepack.extras import require_build_extra
from tests.conftest import ROOT


def test_help_lists_every_command_with_its_sentence(edgepack):
    done = edgepack("--help")
    assert done.code == 0
    for name in ("build", "check", "data", "devices", "explain", "verify"):
        (line,) = [line for line in done.out.splitlines() if line.strip().startswith(f"{name} ")]
        assert len(line.split()) > 3


def test_an_unknown_command_offers_the_nearest(edgepack):
    done = edgepack("buidl")
    assert done.code == 2
    assert "did you mean 'build'" in done.err


def test_an_error_says_what_next_and_where_to_read_more(edgepack, tmp_path):
    done = edgepack("build", "model.keras", "--device", "rpi44", cwd=tmp_path)
    assert done.code == 2
    assert done.out == ""
    assert "rpi4" in done.err
    assert "Next: " in done.err
    assert "edgepack explain EP-" in done.err
    assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == []


def test_debug_shows_the_traceback(edgepack, tmp_path):
    done = edgepack("build", "model.keras", "--device", "rpi44", "--debug", cwd=tmp_path)
    assert "Traceback" in done.err


def test_an_error_under_json_is_an_object_on_stdout(edgepack, tmp_path):
    done = edgepack("build", "model.keras", "--device", "rpi44", "--json", cwd=tmp_path)
    body = done.json
    assert body["schema_version"] == 1
    assert set(body["error"]) == {"code", "message", "hint"}
    assert body["error"]["code"].startswith("EP-3")


def test_explain_prints_why_and_next(edgepack):
    done = edgepack("explain", "ep-501")
    assert done.code == 0
    assert "Why:" in done.out
    assert "Next:" in done.out


def test_explain_without_a_code_lists_all_and_an_unknown_one_is_refused(edgepack):
    assert "EP-501" in edgepack("explain").out
    done = edgepack("explain", "EP-999")
    assert done.code == 2
    assert "EP-999" in done.err


@pytest.mark.parametrize("text", ["256m", "256", "-1KiB", "lots"])
def test_a_limit_without_a_proper_unit_is_refused(edgepack, text, tmp_path):
    done = edgepack("build", "model.keras", "--device", "rpi4", f"--max-ram={text}", cwd=tmp_path)
    assert done.code == 2
    assert "--max-ram" in done.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [["build", "--dry-run"], ["check"]])
def test_a_limit_that_is_given_twice_is_refused_where_it_is_not_the_same(edgepack, command, tmp_path):
    name, *more = command
    model = ROOT / "examples" / "digits" / "digits.keras"
    given = [name, model, "--device=rpi4", *more]
    done = edgepack(*given, "--max-latency=20s", "--max-latency=5ms", cwd=tmp_path)
    assert (done.code, done.out) == (2, "")
    assert "Error EP-004: --max-latency is given 2 times, as 20s and 5ms\n  Next: give --max-latency once" in done.err
    done = edgepack(*given, "--reserve-ram=1KiB", "--reserve-ram=2KiB", cwd=tmp_path)
    assert (done.code, "--reserve-ram is given 2 times" in done.err) == (2, True)
    done = edgepack(*given, "--max-latency=20s", "--max-latency=20000ms", cwd=tmp_path)
    assert done.code == 0, done.err
    assert "latency 20s (--max-latency)" in done.out or "latency may be 20000 ms (--max-latency)" in done.out


def test_wrong_usage_under_json_is_an_object_too(edgepack):
    done = edgepack("build", "--json")
    assert done.code == 2
    assert done.json["error"]["code"] == "EP-002"


def test_a_bug_is_one_line_without_debug(edgepack, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import edgepack.cli.explain as module\n"
        "def broken(**options): raise KeyError('boom')\n"
        "module.command.callback = broken\n"
    )
    done = edgepack("explain", env={"PYTHONPATH": str(tmp_path)})
    assert done.code == 1
    assert "a bug in edgepack: KeyError" in done.err
    assert "--debug" in done.err
    assert "Traceback" not in done.err


def interrupted(edgepack, folder, *arguments):
    """Run a command that Ctrl-C ends as soon as it works."""
    (folder / "sitecustomize.py").write_text(
        "import edgepack.pipeline, edgepack.bundle.verify\n"
        "def stop(*_, **__): raise KeyboardInterrupt\n"
        "edgepack.pipeline.build_all = edgepack.bundle.verify.verify_bundle = stop\n"
    )
    return edgepack(*arguments, cwd=folder, env={"PYTHONPATH": f"{folder}:{ROOT}"})


def test_a_build_that_is_interrupted_before_anything_is_done_says_what_goes_on(edgepack, tmp_path):
    done = interrupted(edgepack, tmp_path, "build", "my net.keras", "--device=rpi4")
    assert (done.code, done.out) == (130, "")
    assert done.err.lstrip() == "interrupted\n  go on: edgepack build 'my net.keras' --device=rpi4\n"
    done = interrupted(edgepack, tmp_path, "build", "net.keras", "--device=rpi4", "--json")
    assert done.code == 130
    assert done.json["error"] == {
        "code": "EP-006",
        "message": "interrupted before anything was finished",
        "hint": "edgepack build net.keras --device=rpi4 --json",
    }


def test_another_command_that_is_interrupted_has_nothing_to_go_on_with(edgepack, tmp_path):
    done = interrupted(edgepack, tmp_path, "verify", "bundle", "--json")
    assert (done.code, done.err.strip(), done.json["error"]["hint"]) == (130, "interrupted", "")


def test_a_build_without_its_extra_says_what_to_install(monkeypatch):
    monkeypatch.setattr("edgepack.extras._installed", lambda package: package != "keras")
    with pytest.raises(HostError) as caught:
        require_build_extra()
    assert (caught.value.code, caught.value.exit_code) == ("EP-504", 5)
    assert "keras" in caught.value.message
    assert "pip install" in caught.value.hint


def test_a_sign_that_the_encoding_lacks_ends_nothing(edgepack, tmp_path):
    shutil.copy(ROOT / "examples" / "digits" / "digits.keras", tmp_path / "mΩdel.keras")
    done = edgepack("check", "mΩdel.keras", "--device=rpi4", cwd=tmp_path, env={"PYTHONIOENCODING": "iso8859-5"})
    assert done.code == 0, done.err
    assert r"m\u03a9del.keras" in done.out


def test_sigterm_interrupts_once_though_timeout_sends_it_twice(request):
    before = signal.signal(signal.SIGTERM, _interrupt_once)
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, before))
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
