# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

from edgepack.crew.station import Order, Station
from edgepack.digest import digest_bytes


def test_a_damaged_file_of_the_store_is_written_again(tmp_path):
    worker = SimpleNamespace(local_directory=str(tmp_path), address="tcp://here", state=SimpleNamespace(nthreads=1))
    order = Order(session="s", family="f", key="k", name="n", payload=b"", contents=(), versions={}, threads=None)
    station = Station(order, worker)
    try:
        digest = digest_bytes([b"weights"])
        for number, damage in enumerate((b"", b"weight", b"weighty")):
            target = tmp_path / str(number)
            station._write(b"weights", digest, target)
            assert target.read_bytes() == b"weights"
            target.write_bytes(damage)  # the same file as in the store
            station._write(b"weights", digest, tmp_path / f"again-{number}")
            assert (tmp_path / f"again-{number}").read_bytes() == b"weights"
    finally:
        station.close()
