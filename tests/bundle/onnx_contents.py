# SPDX-License-Identifier: Apache-2.0
"""The contents of a bundle of a tiny ONNX model, made from those of the TFLite one."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from edgepack.bundle.contents import BundleContents, Golden
from edgepack.device.profile import RuntimeSpec
from edgepack.digest import digest_file
from edgepack.figure import Evidence, Figure
from edgepack.graph.precision_plan import PrecisionPlan
from edgepack.lower.artifact import Artifact, IoTensor
from edgepack.model.precision import Precision
from tests.write_qdq import CHANNELS, CLASSES, SIDE, write_float_onnx, write_int8_onnx

VERSION = "1.31.1"
SAMPLES = 6


def samples() -> np.ndarray:
    """Return golden inputs, (n, 3, 8, 8)."""
    return np.random.default_rng(1).random((SAMPLES, CHANNELS, SIDE, SIDE)).astype(np.float32)


def onnx_artifact(folder: Path, *, integer: bool, batch: int | str = 1) -> tuple[Artifact, Golden]:
    """Write the tiny model and return it with what ONNX Runtime answers here."""
    import onnxruntime

    path = write_float_onnx(folder / "float.onnx", batch=batch)
    if integer:
        path = write_int8_onnx(folder / "int8.onnx", path, samples())
    artifact = Artifact(
        path=path,
        format="onnx",
        digest=digest_file(path),
        size_bytes=path.stat().st_size,
        precision=Precision.W8A8 if integer else Precision.F32,
        inputs=(IoTensor("image", (1, CHANNELS, SIDE, SIDE), "float32"),),
        outputs=(IoTensor("probs", (1, CLASSES), "float32"),),
        ops=("Conv v11", "Gemm v13"),
        notes=("2 of 2 convolutions run in integers",) if integer else (),
    )
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    answers = np.concatenate([session.run(None, {"image": row[None]})[0] for row in samples()])
    return artifact, Golden(inputs={"image": samples()}, raw_outputs={"probs": answers})


def as_onnx(made: BundleContents, folder: Path, *, integer: bool, batch: int | str = 1) -> BundleContents:
    """Return ``made`` with the tiny ONNX model in place of the TFLite one."""
    artifact, golden = onnx_artifact(folder, integer=integer, batch=batch)
    spec = {"name": "onnxruntime", "version": VERSION, "kernels": "mlas", "threads": 2}
    return replace(
        made,
        artifact=artifact,
        golden=golden,
        runtime=RuntimeSpec.model_validate({**spec, "precisions": ["f32", "w8a8"]}),
        recipe=replace_precision(made, artifact.precision),
        measurement=replace(made.measurement, size=Figure(artifact.size_bytes, "B", Evidence.COMPUTED)),
        versions={**made.versions, "numpy": np.__version__},
    )


def replace_precision(made: BundleContents, precision: Precision):
    """Return the recipe of ``made`` at another precision with float edges."""
    return made.recipe.model_copy(update={"precision": PrecisionPlan(default=precision, io="float")})
