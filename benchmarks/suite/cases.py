# SPDX-License-Identifier: Apache-2.0
"""The models of the suite, each with four parts of labelled data, the last of which edgepack never sees.

Parts are drawn by a seeded index and kept as ``.npz`` under the work folder, never in the repository.
"""

import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

from edgepack.digest import digest_file, digest_json

HERE = Path(__file__).resolve().parent
FIELD = Path(os.environ.get("EDGEPACK_FIELD", "../shared/field"))
SEED = 5
Samples = tuple[np.ndarray, np.ndarray]
Parts = Mapping[str, Samples]


@dataclass(frozen=True, slots=True)
class Case:
    """A model with its data on disk.

    Attributes:
        model: What edgepack is given.
        folder: Holds ``train.npz`` or ``calib.npz``, ``select.npz``, ``test.npz``, ``unseen.npz`` and perhaps
            ``data.yaml``.
        metric: The name of how answers are scored.
    """

    name: str
    model: Path
    folder: Path
    metric: str = "accuracy"

    @property
    def sources(self) -> list[str]:
        """The parts that edgepack is given, as arguments of ``edgepack build``: all but ``unseen``."""
        given = [name for name in ("train", "calib", "select", "test") if (self.folder / f"{name}.npz").exists()]
        return [part for name in given for part in (f"--{name}", str(self.folder / f"{name}.npz"))]

    def samples(self, part: str) -> Samples:
        """Return inputs (n, ...) and n labels of a part."""
        with np.load(self.folder / f"{part}.npz") as arrays:
            return arrays["x"], arrays["y"]

    @property
    def digest(self) -> str:
        """Of the model file and of every part's arrays: what a result stands on."""
        parts = sorted(self.folder.glob("*.npz"))
        arrays = [[path.stem, *(digest_json(_described(array)) for array in self.samples(path.stem))] for path in parts]
        files = sorted(self.model.rglob("*")) if self.model.is_dir() else [self.model]
        return digest_json([arrays, [_content(path) for path in files if path.is_file()]])


def _content(path: Path) -> object:
    """Return what identifies a file; a ``.keras`` file tells the time when it was saved, which does not."""
    if path.suffix != ".keras":
        return digest_file(path)
    with zipfile.ZipFile(path) as archive:
        return {item.filename: item.CRC for item in archive.infolist() if item.filename != "metadata.json"}


def _described(array: np.ndarray) -> list[object]:
    import hashlib

    return [list(array.shape), str(array.dtype), hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()]


def open_case(name: str, work: Path) -> Case:
    """Return the case called ``name``; what is not there yet is trained or drawn under ``work`` first."""
    folder = work / "cases" / name
    make, metric = _CASES[name]
    model, parts = make(folder)
    if not (folder / "unseen.npz").exists():
        folder.mkdir(parents=True, exist_ok=True)
        if name == "cifar10":
            (folder / "data.yaml").write_text("augmentation: {flip_horizontal: true, shift: 4}\n")
        elif metric != "accuracy":
            (folder / "data.yaml").write_text(f"metric: {metric}\n")
        for part, (x, y) in parts().items():  # unseen comes last: with it the folder is whole
            np.savez(folder / f"{part}.npz", x=x, y=y)
    return Case(name, model, folder, metric)


Made = tuple[Path, Callable[[], Parts]]


def _thirds(x: np.ndarray, y: np.ndarray) -> Parts:
    """Return select, test and unseen of equal size, shuffled."""
    order = np.random.default_rng(SEED).permutation(len(x))
    pieces = np.array_split(order, 3)
    return {name: (x[rows], y[rows]) for name, rows in zip(("select", "test", "unseen"), pieces, strict=True)}


def _digits(folder: Path) -> Made:
    del folder
    home = HERE.parents[1] / "examples" / "digits"

    def parts() -> Parts:
        with np.load(home / "digits.npz") as arrays:
            train = arrays["x_train"], arrays["y_train"]
            return {"train": train, **_thirds(arrays["x_test"], arrays["y_test"])}

    return home / "digits.keras", parts


def _small(folder: Path) -> Made:
    made = folder / "made"
    if not (made / "model.keras").exists():
        quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        subprocess.run([sys.executable, str(HERE / "small_models.py"), folder.name, str(made)], check=True, env=quiet)

    def parts() -> Parts:
        with np.load(made / "train.npz") as train, np.load(made / "rest.npz") as rest:
            return {"train": (train["x"], train["y"]), **_thirds(rest["x"], rest["y"])}

    return made / "model.keras", parts


def _cifar10(folder: Path) -> Made:
    """Draw 1,000, 2,000 and 2,000 of the test images: the kernels of microcontrollers are slow on this side."""
    del folder
    home = FIELD / "cifar10"

    def parts() -> Parts:
        train = _images(home / "cifar10jpeg_train10k_test2k.zip", "train")
        x, y = _images(home / "cifar10jpeg_test10k.zip", "test")
        order = np.random.default_rng(SEED).permutation(len(x))
        cuts = {"select": order[:1000], "test": order[1000:3000], "unseen": order[3000:5000]}
        return {"train": train, **{name: (x[rows], y[rows]) for name, rows in cuts.items()}}

    return home / "resnet8_cifar10jpeg_ft.h5", parts


def _images(path: Path, part: str) -> Samples:
    from PIL import Image

    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(f"{part}/") and name.endswith(".jpg"))
        classes = sorted({name.split("/")[1] for name in names})
        pixels = [np.asarray(Image.open(BytesIO(archive.read(name))).convert("RGB")) for name in names]
    return np.stack(pixels).astype(np.float32), np.array([classes.index(name.split("/")[1]) for name in names])


def _fsdd(folder: Path) -> Made:
    """300 test clips are too few for three parts, so each gets 300 of the clips that the original was trained on.

    It answers all of them right, seen or not, so the drop that is measured is the candidate's own.
    """
    del folder
    home = FIELD / "fsdd"

    def parts() -> Parts:
        with np.load(home / "fsdd_logmel.npz") as arrays:
            x, y = arrays["x_train"].astype(np.float32), arrays["y_train"].astype(np.int64)
            x_test, y_test = arrays["x_test"].astype(np.float32), arrays["y_test"].astype(np.int64)
        order = np.random.default_rng(SEED).permutation(len(x))
        held, rest = order[:900], order[900:]
        scored = _thirds(np.concatenate([x_test, x[held]]), np.concatenate([y_test, y[held]]))
        return {"train": (x[rest], y[rest]), **scored}

    return home / "fsdd_dscnn.h5", parts


def _kws(folder: Path) -> Made:
    """A SavedModel without layers: nothing is trained, so 250 of the 1,000 clips calibrate."""
    del folder
    home = FIELD / "kws"

    def parts() -> Parts:
        with np.load(home / "kws01_mfcc_int8.npz") as arrays:
            x = ((arrays["x"].astype(np.float32) - arrays["zero_point"]) * arrays["scale"]).astype(np.float32)
            y = arrays["y"].astype(np.int64)
        return {"calib": (x[:250], y[:250]), **_thirds(x[250:], y[250:])}

    return home / "saved_model", parts


_CASES: Mapping[str, tuple[Callable[[Path], Made], str]] = {
    "digits": (_digits, "accuracy"),
    "rows": (_small, "accuracy"),
    "cancer": (_small, "accuracy"),
    "diabetes": (_small, "mae"),
    "cifar10": (_cifar10, "accuracy"),
    "fsdd": (_fsdd, "accuracy"),
    "kws": (_kws, "accuracy"),
}


def metric_of(name: str) -> str:
    """Return how the answers of the case called ``name`` are scored; nothing is opened for it."""
    return _CASES[name][1]
