# SPDX-License-Identifier: Apache-2.0
import os
import socket
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from edgepack.cli._workers import threads_of, workers_of, workers_options
from edgepack.crew.cluster import Cluster
from edgepack.errors import HostError, UsageError


def parsed(*arguments):
    found = {}

    @click.command
    @workers_options
    def command(**given):
        found.update(given)

    return CliRunner().invoke(command, arguments), found


def test_one_process_with_all_cores_is_the_default():
    outcome, given = parsed()
    assert (outcome.exit_code, given) == (0, {"workers": None, "scheduler": None})
    assert workers_of(given) == 1
    assert threads_of(given, asked=None) is None
    assert threads_of(given, asked=3) == 3


def test_several_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    _, given = parsed("--workers", "3")
    assert workers_of(given) == 3
    assert threads_of(given, asked=None) == 2
    assert threads_of(parsed("--workers", "99")[1], asked=None) == 1
    assert threads_of(parsed("--scheduler", "tcp://host:8786")[1], asked=None) == 1, "whatever machine it is"


@pytest.mark.parametrize("count", ["0", "-1", "many", "1.5"])
def test_a_number_of_processes_that_is_none_is_refused(count):
    outcome, _ = parsed("--workers", count)
    assert outcome.exit_code == 2
    assert "--workers" in outcome.output


@pytest.mark.parametrize("address", ["tcp://host:8786", "tcp://192.168.1.10:1", "tcp://[::1]:8786"])
def test_a_whole_address_is_taken(address):
    assert parsed("--scheduler", address)[1]["scheduler"] == address


@pytest.mark.parametrize(
    "address",
    ["host:8786", "tcp://host", "8786", "tcp://:8786", "http://host:8786", "tcp://host:0", "tcp://host:70000", ""],
)
def test_an_address_that_is_not_whole_is_refused_with_an_example(address):
    outcome, _ = parsed("--scheduler", address)
    assert outcome.exit_code == 2
    assert "tcp://192.168.1.10:8786" in outcome.output


def test_processes_here_and_a_cluster_contradict_each_other():
    _, given = parsed("--workers", "2", "--scheduler", "tcp://host:8786")
    with pytest.raises(UsageError, match="--scheduler tcp://host:8786") as caught:
        workers_of(given)
    assert (caught.value.code, caught.value.exit_code) == ("EP-004", 2)


def test_a_dead_scheduler_is_an_error_of_the_environment(tmp_path):
    pytest.importorskip("distributed", reason="the extra `distributed` is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(HostError) as caught:
        Cluster(address, tmp_path)
    assert (caught.value.code, caught.value.exit_code) == ("EP-506", 5)
    assert address in caught.value.message


def test_a_missing_extra_is_named_with_the_command_that_installs_it(tmp_path):
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from edgepack.crew.cluster import Cluster\nfrom edgepack.errors import HostError\nfrom pathlib import Path\n"
        "try: Cluster('tcp://host:8786', Path('work'))\n"
        "except HostError as error: print(error.code, error.exit_code, error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "EP-504 5 pip install 'edgepack[distributed]'"
