# SPDX-License-Identifier: Apache-2.0
"""What a worker process begins with is seen by it alone."""

import os
from concurrent.futures import ThreadPoolExecutor, wait

from edgepack.crew.surroundings import environment, environment_with


def test_another_thread_does_not_see_the_environment_that_a_process_is_started_with(monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    with ThreadPoolExecutor(1) as threads:
        with environment_with(3, "/home"):
            assert os.environ["KERAS_BACKEND"] == "tensorflow"
            seen = threads.submit(environment)
            assert wait([seen], timeout=0.2).not_done, "it waits until all is as before"
        assert seen.result() == dict(os.environ)
        assert "KERAS_BACKEND" not in seen.result()
