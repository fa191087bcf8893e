# SPDX-License-Identifier: Apache-2.0
"""``edgepack devices``: list, show, validate, new, for people and for programs."""

import errno
import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgepack.cli.devices import command
from edgepack.device.profile import device_names, device_path, load_device
from edgepack.errors import HostError, OutputError, ProfileError


def run(*args):
    return CliRunner().invoke(command, list(args), catch_exceptions=True)


def told(*args):
    result = run(*args, "--json")
    return json.loads(result.stdout)


def test_the_list_has_a_row_for_each_device():
    lines = run("list").stdout.splitlines()
    assert [line.split()[0] for line in lines[1 : len(device_names()) + 1]] == list(device_names())
    assert "fitted x2" in next(line for line in lines if line.startswith("rpi4 "))


def test_the_list_for_programs_has_bytes_and_hertz():
    rows = {row["name"]: row for row in told("list")["devices"]}
    assert set(rows) == set(device_names())
    assert rows["rpi4"]["clock_hz"] == 1_500_000_000
    assert rows["nrf52840"]["flash_available_bytes"] == load_device("nrf52840").flash_available_bytes


def test_show_names_each_figure_with_its_source_and_mark():
    page = run("show", "rpi4").stdout
    row = next(line for line in page.splitlines() if line.startswith("cpu.clock"))
    assert row.split() == ["cpu.clock", "1.5GHz", "verified", "mlperf"]
    assert "mlperf (verified): MLPerf Inference v1.0" in page
    assert "to narrow it" in page


def test_show_for_programs_is_the_documented_object(golden_file):
    found = told("show", "nrf52840")
    found.pop("edgepack_version")
    golden_file("devices-show-nrf52840.json", json.dumps(found, indent=2) + "\n")


def test_show_of_an_unknown_device_is_refused():
    error = run("show", "rpi44").exception
    assert isinstance(error, ProfileError)
    assert error.code == "EP-300"


def test_validate_checks_every_file_and_ends_with_2_if_one_is_wrong(tmp_path):
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(device_path("rpi4").read_text())
    bad.write_text(device_path("rpi4").read_text().replace("4GiB", "256m"))
    assert run("validate", str(good)).exit_code == 0
    result = run("validate", str(bad), str(good))
    assert result.exit_code == 2
    assert "m is milli, did you mean 256MiB?" in result.stdout
    assert f"✓ {good}: rpi4" in result.stdout
    files = told("validate", str(bad), str(good))["files"]
    assert [(entry["ok"], entry["error"] and entry["error"]["code"]) for entry in files] == [
        (False, "EP-311"),
        (True, None),
    ]


def test_validate_takes_paths_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert told("validate", "rpi4")["files"][0]["error"]["code"] == "EP-301"


def test_new_keeps_comments_and_sources_and_changes_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "edgepack devices validate my-board.yaml" in run("new", "my-board", "--from", "rpi4").stdout
    told_next = run("new", "other", "--from", "rpi4", "-o", "my board.yaml").stdout
    assert "edgepack devices validate 'my board.yaml'" in told_next
    missing = run("new", "other", "--from", "rpi4", "-o", "no folder/x.yaml").exception
    assert (missing.code, missing.hint) == ("EP-342", "mkdir -p 'no folder'")
    text = (tmp_path / "my-board.yaml").read_text()
    kept = [line for line in device_path("rpi4").read_text().splitlines()[1:] if not line.startswith("name:")]
    assert set(kept) <= set(text.splitlines())
    assert "name: my-board\n" in text
    assert load_device("my-board.yaml").name == "my-board"
    assert told("new", "second", "--from", "my-board.yaml", "-o", "x.yaml")["path"] == "x.yaml"
    assert load_device("x.yaml").name == "second"


def test_new_never_overwrites(tmp_path):
    target = tmp_path / "mine.yaml"
    target.write_text("precious")
    error = run("new", "mine", "--from", "rpi4", "-o", str(target)).exception
    assert isinstance(error, OutputError)
    assert (error.code, target.read_text(), [*tmp_path.iterdir()]) == ("EP-340", "precious", [target])


@pytest.mark.parametrize("name", ["rpi5", "../evil", "a b", ""])
def test_new_refuses_a_name_that_is_taken_or_no_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    error = run("new", name, "--from", "rpi4").exception
    assert isinstance(error, ProfileError)
    assert (error.code, [*tmp_path.iterdir()]) == ("EP-341", [])


def test_new_from_nowhere_or_into_nowhere_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("new", "mine", "--from", "rpi44").exception.code == "EP-300"
    assert run("new", "mine", "--from", "rpi4", "-o", "none/mine.yaml").exception.code == "EP-342"
    assert [*tmp_path.iterdir()] == []


def test_new_on_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    def fail(self, *_, **__):
        self.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", fail)
    error = run("new", "mine", "--from", "rpi4", "-o", str(tmp_path / "mine.yaml")).exception
    assert isinstance(error, HostError)
    assert (error.code, [*tmp_path.iterdir()]) == ("EP-501", [])
