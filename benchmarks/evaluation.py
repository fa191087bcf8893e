# SPDX-License-Identifier: Apache-2.0
"""Ratio of evaluation throughput to a plain one-at-a-time loop in one thread. Goal: at least 1.8 on two cores.

The int8 model in LiteRT; both sides start from float samples and end with int8 outputs. The plain loop quantizes each
sample, sets it, invokes and reads, as examples for the runtime show. Its ``numpy.round`` takes ties to even, TFLite's
QUANTIZE takes them away from zero, so a few samples in ten thousand differ.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from _models import loaded, parse_arguments, random_samples

from edgepack.compress.recipe import Recipe
from edgepack.crew.process import Worker
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.artifact import Artifact
from edgepack.lower.lower import lower
from edgepack.model.precision import Precision
from edgepack.runtime.base import get_runtime
from edgepack.work import Work

GOAL = 1.8
SAMPLES = 20_000


class PlainLoop:
    """The loop that a person would write."""

    def __init__(self, artifact: Artifact) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(model_path=str(artifact.path), num_threads=1)
        self.interpreter.allocate_tensors()
        self.inputs = self.interpreter.get_input_details()
        self.output = self.interpreter.get_output_details()[0]["index"]

    def run(self, arrays: list[np.ndarray]) -> np.ndarray:
        """Return the first output of every sample."""
        answers = []
        for row in range(len(arrays[0])):
            for details, array in zip(self.inputs, arrays, strict=True):
                scale, zero_point = details["quantization"]
                sample = np.clip(np.round(array[row : row + 1] / scale) + zero_point, -128, 127).astype(np.int8)
                self.interpreter.set_tensor(details["index"], sample)
            self.interpreter.invoke()
            answers.append(self.interpreter.get_tensor(self.output)[0])
        return np.stack(answers)


def main() -> None:
    """Print the median ratio over interleaved pairs, and how many samples came out otherwise."""
    arguments = parse_arguments(__doc__)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with Worker(folder / "logs") as worker:
            model = loaded(worker, arguments.model, folder)
            recipe = Recipe(precision=PrecisionPlan(default=Precision.W8A8, io="int8"))
            calibration = random_samples(model, 64, folder)
            artifact = worker.call("lower", lower, model, recipe, calibration=calibration, folder=folder)
        paths = random_samples(model, SAMPLES, folder)
        arrays = [np.load(path) for path in paths]
        plain = PlainLoop(artifact)
        ratios = []
        with get_runtime("litert").reference_session(Work(folder / "work")) as session:
            session.run(artifact, paths, folder=folder / "out", raw=True)
            for _ in range(arguments.pairs):
                start = time.perf_counter()
                found = np.load(session.run(artifact, paths, folder=folder / "out", raw=True)[0])
                middle = time.perf_counter()
                expected = plain.run(arrays)
                ratios.append((time.perf_counter() - middle) / (middle - start))
        differing = int(np.count_nonzero(np.any(found != expected, axis=tuple(range(1, found.ndim)))))
        cores = len(os.sched_getaffinity(0))
        print(
            f"evaluation over a plain loop, {SAMPLES} samples, {cores} cores: {statistics.median(ratios):.2f} "
            f"(min {min(ratios):.2f}, max {max(ratios):.2f}, {len(ratios)} pairs); {differing} samples differ"
        )
        print(f"goal at least {GOAL}: {'met' if statistics.median(ratios) >= GOAL else 'missed'}")


if __name__ == "__main__":
    main()
