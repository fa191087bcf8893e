# SPDX-License-Identifier: Apache-2.0
"""How long one inference takes on this machine: never held against a device's budget."""

from pathlib import Path

import numpy as np

from edgepack.figure import Evidence, Figure
from edgepack.lower.artifact import Artifact
from edgepack.runtime.session import RuntimeSession

WARM_UP = 10
REPEATS = 200


def host_latency(
    artifact: Artifact,
    *,
    session: RuntimeSession,
    inputs: tuple[Path, ...],
    warm_up: int = WARM_UP,
    repeats: int = REPEATS,
) -> dict[str, Figure]:
    """Return ``p50`` and ``p90`` of single inferences in the session's runtime, in milliseconds.

    Args:
        artifact: What to run.
        session: Its runtime; the number of threads is the session's.
        inputs: One ``.npy`` per model input; the first sample is used.
        warm_up: Inferences that are not counted.
        repeats: Inferences that are.

    Raises:
        CandidateError: The runtime refuses the model (EP-602), its process died (EP-603), or the inputs do not suit
            (EP-604).
    """
    taken_ms = session.time(artifact, inputs, warm_up=warm_up, repeats=repeats)
    shares = {"p50": 0.5, "p90": 0.9}
    return {
        name: Figure(float(np.quantile(taken_ms, share)), "ms", Evidence.HOST, n=len(taken_ms))
        for name, share in shares.items()
    }
