# SPDX-License-Identifier: Apache-2.0
import os
import socket
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from edgepack.cli._workers import crew_of, refuse_both, workers_options
from edgepack.errors import HostError, UsageError
from edgepack.events import silent
from edgepack.work import Work


def parsed(*arguments):
    found = {}

    @click.command
    @workers_options
    def command(**given):
        found.update(given)

    return CliRunner().invoke(command, arguments), found


def test_one_process_is_the_default(tmp_path):
    outcome, given = parsed()
    assert (outcome.exit_code, given) == (0, {"workers": None, "scheduler": None})
    with crew_of(given, work=Work(tmp_path), report=silent, threads=None) as crew:
        assert crew.size == 1


def test_as_many_processes_as_are_asked_for(tmp_path):
    _, given = parsed("--workers", "3")
    with crew_of(given, work=Work(tmp_path), report=silent, threads=1) as crew:
        assert crew.size == 3
        assert crew.begin("pid", os.getpid).result() != os.getpid()


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


def test_processes_here_and_a_cluster_contradict_each_other(tmp_path):
    _, given = parsed("--workers", "2", "--scheduler", "tcp://host:8786")
    with pytest.raises(UsageError) as caught:
        refuse_both(given)
    assert (caught.value.code, caught.value.exit_code) == ("EP-004", 2)
    with pytest.raises(UsageError, match="--scheduler tcp://host:8786"):
        crew_of(given, work=Work(tmp_path), report=silent, threads=None)


def test_a_dead_scheduler_is_an_error_of_the_environment(tmp_path):
    pytest.importorskip("distributed", reason="the extra `distributed` is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(HostError) as caught:
        crew_of({"workers": None, "scheduler": address}, work=Work(tmp_path), report=silent, threads=None)
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
