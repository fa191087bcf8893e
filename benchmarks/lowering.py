# SPDX-License-Identifier: Apache-2.0
"""Ratio of lowering all candidates through the worker to the bare TFLiteConverter doing the same. Goal: at most 1.2.

Both sides use the same warm TensorFlow process, in interleaved pairs; edgepack's side calls it once a candidate, checks
each file against its promise and writes it, the bare side converts all in one call and drops the bytes.
"""

import statistics
import tempfile
import time
from pathlib import Path

from _models import loaded, parse_arguments, random_samples

from edgepack.compress.recipe import Recipe
from edgepack.crew.process import Worker
from edgepack.errors import CandidateError
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.lower import lower
from edgepack.model.model import Model
from edgepack.model.precision import Precision

GOAL = 1.2
CALIBRATION_SAMPLES = 100


def bare(model: Model, precisions: tuple[Precision, ...], calibration: tuple[Path, ...]) -> None:
    """Convert to each precision with the converter alone, as its documentation shows."""
    import numpy as np
    import tensorflow as tf

    arrays = [np.load(path) for path in calibration]
    names = [spec.name for spec in model.inputs]

    def samples():
        for row in range(len(arrays[0])):
            yield {name: array[row : row + 1] for name, array in zip(names, arrays, strict=True)}

    for precision in precisions:
        converter = tf.lite.TFLiteConverter.from_saved_model(str(model.path), signature_keys=["serving_default"])
        if precision is not Precision.F32:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision is Precision.W16:
            converter.target_spec.supported_types = [tf.float16]
        if precision.needs_calibration:
            converter.representative_dataset = samples
            converter.target_spec.supported_ops = [
                tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
                if precision is Precision.W8A16
                else tf.lite.OpsSet.TFLITE_BUILTINS_INT8
            ]
            converter._experimental_disable_per_channel = precision is Precision.W8A8_PER_TENSOR  # noqa: SLF001
            converter.inference_input_type = converter.inference_output_type = (
                tf.int16 if precision is Precision.W8A16 else tf.int8
            )
        converter.convert()


def ours(
    worker: Worker, model: Model, precisions: tuple[Precision, ...], calibration: tuple[Path, ...], *, folder: Path
) -> None:
    """Lower to each precision, one call each, into a folder that has none of the files yet."""
    for precision in precisions:
        io = "int8" if precision.needs_calibration else "float"
        recipe = Recipe(precision=PrecisionPlan(default=precision, io=io))
        worker.call(f"lower-{precision.value}", lower, model, recipe, calibration=calibration, folder=folder)


def possible(worker: Worker, model: Model, calibration: tuple[Path, ...], folder: Path) -> tuple[Precision, ...]:
    """Return the precisions that this model can have; trying them also warms both sides."""
    found = []
    for precision in Precision:
        try:
            ours(worker, model, (precision,), calibration, folder=folder)
            found.append(precision)
        except CandidateError as error:
            print(f"left out: {precision.value}: {error}")
    worker.call("bare", bare, model, tuple(found), calibration)
    return tuple(found)


def main() -> None:
    """Print the median ratio over interleaved pairs."""
    arguments = parse_arguments(__doc__)
    with tempfile.TemporaryDirectory() as scratch, Worker(Path(scratch) / "logs") as worker:
        folder = Path(scratch)
        model = loaded(worker, arguments.model, folder)
        calibration = random_samples(model, CALIBRATION_SAMPLES, folder)
        precisions = possible(worker, model, calibration, folder / "warm")
        ratios = []
        for pair in range(arguments.pairs):
            start = time.perf_counter()
            ours(worker, model, precisions, calibration, folder=folder / f"pair{pair}")
            middle = time.perf_counter()
            worker.call("bare", bare, model, precisions, calibration)
            ratios.append((middle - start) / (time.perf_counter() - middle))
        print(
            f"lowering {len(precisions)} candidates over the bare converter: {statistics.median(ratios):.2f} "
            f"(min {min(ratios):.2f}, max {max(ratios):.2f}, {len(ratios)} pairs)"
        )
        print(f"goal at most {GOAL}: {'met' if statistics.median(ratios) <= GOAL else 'missed'}")


if __name__ == "__main__":
    main()
