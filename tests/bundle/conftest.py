# SPDX-License-Identifier: Apache-2.0
"""A tiny real model, and the contents of a bundle of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgepack.bundle.contents import (
    AnswersGiven,
    BundleContents,
    CandidateRow,
    DataUsed,
    Golden,
    HostMeasurement,
    OperatorRow,
    Source,
)
from edgepack.compress.recipe import Recipe
from edgepack.device.profile import load_device
from edgepack.digest import digest_file
from edgepack.figure import Evidence, Figure
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.measure.answers import Answered
from edgepack.measure.measurement import LimitVerdict, Measurement, State, Verdict
from edgepack.model.precision import Precision
from edgepack.model.tflite_file import read_tflite
from tests.write_tflite import Op, Tensor, tflite_bytes

IN, OUT = 8, 3
INPUT_SCALE, WEIGHT_SCALE, LOGIT_SCALE, OUTPUT_SCALE = 0.0078125, 0.015625, 0.0625, 0.00390625


def _weights(*, integer):
    rng = np.random.default_rng(7)
    units, bias = rng.integers(-100, 100, (OUT, IN), np.int8), rng.integers(-2000, 2000, OUT).astype(np.int32)
    if integer:
        return units, bias
    return units.astype(np.float32) * WEIGHT_SCALE, bias.astype(np.float32) * INPUT_SCALE * WEIGHT_SCALE


def write_tiny(path: Path, *, integer: bool) -> Path:
    """Write FULLY_CONNECTED and SOFTMAX, 8 to 3, with int8 or float edges."""
    units, bias = (part.tobytes() for part in _weights(integer=integer))
    small, wide = ("int8", "int32") if integer else ("float32", "float32")
    known = [
        ("serving_default_image:0", (1, IN), small, None, (INPUT_SCALE, -128)),
        ("weights", (OUT, IN), small, units, (WEIGHT_SCALE, 0)),
        ("bias", (OUT,), wide, bias, (INPUT_SCALE * WEIGHT_SCALE, 0)),
        ("logits", (1, OUT), small, None, (LOGIT_SCALE, 0)),
        ("StatefulPartitionedCall:0", (1, OUT), small, None, (OUTPUT_SCALE, -128)),
    ]
    tensors = [Tensor(*rest, quantization if integer else None) for *rest, quantization in known]
    ops = [
        Op("FULLY_CONNECTED", 4 if integer else 1, [0, 1, 2], [3], "FullyConnectedOptions"),
        Op("SOFTMAX", 2 if integer else 1, [3], [4], "SoftmaxOptions", {"Beta": 1.0}),
    ]
    path.write_bytes(tflite_bytes(tensors, ops, inputs=[0], outputs=[4]))
    return path


def _expected(inputs, *, integer):
    """Return what the model computes, to within a unit: the test runs it in LiteRT to know it exactly."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(inputs[1]), num_threads=1)
    interpreter.allocate_tensors()
    place, answer = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    rows = []
    for sample in inputs[0]:
        raw = np.round(sample / INPUT_SCALE) - 128 if integer else sample
        interpreter.set_tensor(place, np.clip(raw, -128, 127).astype(np.int8 if integer else np.float32)[None])
        interpreter.invoke()
        rows.append(interpreter.get_tensor(answer)[0])
    return np.stack(rows)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Artifacts of the tiny model by whether their edges are integers, with golden vectors."""
    folder = tmp_path_factory.mktemp("tiny")
    samples = np.random.default_rng(1).integers(0, 255, (6, IN)).astype(np.float32) * np.float32(INPUT_SCALE)
    found = {}
    for integer in (True, False):
        path = write_tiny(folder / f"tiny_{integer}.tflite", integer=integer)
        dtype = "int8" if integer else "float32"
        edges = [(INPUT_SCALE, -128), (OUTPUT_SCALE, -128)] if integer else [(None, None)] * 2
        artifact = Artifact(
            path=path,
            format="tflite",
            digest=digest_file(path),
            size_bytes=path.stat().st_size,
            precision=Precision.W8A8 if integer else Precision.F32,
            inputs=(IoTensor("image", (1, IN), dtype, *edges[0]),),
            outputs=(IoTensor("probs", (1, OUT), dtype, *edges[1]),),
            ops=read_tflite(path).op_names,
        )
        raw = _expected((samples, path), integer=integer)
        found[integer] = artifact, Golden(inputs={"image": samples}, raw_outputs={"probs": raw})
    return found


def answered(*, changed=2, metric="accuracy"):
    """Return the answers to 60 samples of 3 classes; the candidate takes the first ``changed`` for another class."""
    labels = np.arange(60) % OUT
    given = labels.copy()
    given[:changed] = (given[:changed] + 1) % OUT
    right, ours = (np.eye(OUT, dtype=np.float32)[rows] for rows in (labels, given))
    score = Figure(1.0, "1", Evidence.COMPUTED, ci_low=0.94, ci_high=1.0, ci_level=0.95, n=60)
    return Answered(labels=labels, original=(right,), candidate=(ours,), metric=metric, original_metric=score)


@pytest.fixture
def contents(tiny):
    """Make the contents of a bundle of the tiny model for a device."""

    def make(device="rpi4", *, integer=True, **changes) -> BundleContents:
        artifact, golden = tiny[integer]
        profile = load_device(device)
        mcu = profile.device_class == "mcu"
        ram = (
            Figure(1000, "B", Evidence.COMPUTED, ci_high=1200)
            if mcu
            else Figure(5 << 20, "B", Evidence.HOST, ci_high=6 << 20)
        )
        measurement = Measurement(
            size=Figure(artifact.size_bytes, "B", Evidence.COMPUTED),
            ram=ram,
            ram_items=(("head", 400), ("tail", 600)),
            latency=Figure(2.0, "ms", Evidence.PREDICTED, ci_low=0.5, ci_high=8.0),
            metric=Figure(0.9, "1", Evidence.COMPUTED, ci_low=0.87, ci_high=0.93, ci_level=0.95, n=600),
            metric_drop=Figure(0.004, "1", Evidence.COMPUTED, ci_low=-0.002, ci_high=0.012, ci_level=0.95, n=600),
            flips=7,
        )
        limits = (
            LimitVerdict("size", 1e6, "B", 1.0, 1.0, State.MET, True, 1e6 - 1, "profile"),
            LimitVerdict("ram", 8 << 20, "B", ram.value, ram.upper, State.MET, True, 2 << 20, "--max-ram"),
            LimitVerdict("drop", 0.01, "1", 0.004, 0.004, State.MET, False, 0.006, "--max-drop", "about 100 more"),
        )
        plan = PrecisionPlan(default=artifact.precision, io="int8" if integer else "float")
        made = BundleContents(
            artifact=artifact,
            profile=profile,
            runtime=profile.runtime,
            recipe=Recipe(precision=plan),
            verdict=Verdict(limits),
            measurement=measurement,
            source=Source("tiny.keras", "keras", "a" * 64, ("batch fixed to 1",)),
            golden=golden,
            versions={"tensorflow": "2.21.0", "tflite-micro": "0.1"},
            seed=0,
            reason="It is the only one.",
            fits=Verdict(limits).fits,
            data=DataUsed("data.npz", "b" * 64, {"calibration": 10, "selection": 30, "test": 60}),
            metric="accuracy",
            candidates=(
                CandidateRow("w8a8", "fits", "", measurement.figures(), chosen=True, frontier=True),
                CandidateRow("w16", "failed", "DEQUANTIZE | float16", {}),
            ),
            operators=(
                OperatorRow("FULLY_CONNECTED", "dense + relu", 24, 36, "int8", "int8", 0.75),
                OperatorRow("SOFTMAX", "", 0, 0, "", "int8", 0.25),
            ),
            test=AnswersGiven(answered(), "c" * 64, ("cat", "dog", "owl")),
            command=("edgepack", "build", "tiny.keras", "--device", device),
            host=HostMeasurement(0.1, 0.2, 5 << 20, 1, "a machine"),
        )
        return replace(made, **changes)

    return make
