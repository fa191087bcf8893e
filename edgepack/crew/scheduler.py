# SPDX-License-Identifier: Apache-2.0
"""The way to a dask scheduler whose workers make what this machine makes, or the reason why there is none."""

import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final

from edgepack.crew.station import refuse_differences
from edgepack.errors import HostError
from edgepack.extras import not_importable
from edgepack.versions import versions_here, versions_there

if TYPE_CHECKING:
    from distributed import Client

_ANSWER_S: Final = 5.0
_GRACE_S: Final = 1.0


def connect(address: str) -> "Client":
    """Return a client of the scheduler at ``address``, every worker of it fit for the work.

    Raises:
        HostError: dask.distributed is not installed (EP-504), nothing answers (EP-506), there is no worker (EP-508), or
            one has other versions than this machine (EP-507).
    """
    try:
        import dask
        from distributed import Client
    except ImportError as error:
        raise not_importable("--scheduler", "dask.distributed", error, extra="distributed") from error
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is raised or reported
    dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"})
    answer: Future[Client] = Future()

    def call() -> None:
        try:
            answer.set_result(Client(address, timeout=_ANSWER_S, set_as_default=False, name="edgepack"))
        except (OSError, ValueError, RuntimeError) as error:
            answer.set_exception(error)

    # Dask itself waits for ever on what takes the call and says nothing.
    threading.Thread(target=call, name="scheduler-call", daemon=True).start()
    try:
        client = answer.result(_ANSWER_S + _GRACE_S)
    except (OSError, ValueError, RuntimeError) as error:
        raise HostError(
            "EP-506",
            f"no dask scheduler answers at {address}: {str(error) or 'what takes the call says nothing'}",
            hint="start one with `dask scheduler` and give the address that it prints, or leave --scheduler out",
        ) from error
    try:
        _check_workers(client, address)
    except HostError:
        client.close(timeout=_ANSWER_S)
        raise
    return client


def _check_workers(client: "Client", address: str) -> None:
    try:
        client.wait_for_workers(1, timeout=_ANSWER_S)
    except TimeoutError as error:
        raise HostError(
            "EP-508",
            f"the dask scheduler at {address} has no worker",
            hint=f"start one on each machine: dask worker {address} --nthreads 1",
        ) from error
    refuse_differences(versions_here(), client.run(versions_there()))


def threads_of(client: "Client") -> int:
    """Return how many jobs the workers that there are now run at once."""
    return sum(client.nthreads().values())
