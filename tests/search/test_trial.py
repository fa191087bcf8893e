# SPDX-License-Identifier: Apache-2.0
"""One recipe is tried: what its runs leave on the disk."""

from types import SimpleNamespace

import numpy as np

from edgepack.search.trial import outputs


class Session:
    """Answers every sample with its number."""

    def __init__(self, name):
        self.name = name

    def run(self, artifact, inputs, *, folder):
        folder.mkdir(parents=True)
        path = folder / "output_0.npy"
        np.save(path, np.arange(4.0))
        return (path,)


def test_answers_that_were_read_take_no_disk_however_many_sessions_there_are(work):
    for name in ("litert-1", "litert-2", "litert-1"):
        (found,) = outputs(SimpleNamespace(session=Session(name), work=work), None, ())
        assert found.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert not list(work.folder("outputs").iterdir())
