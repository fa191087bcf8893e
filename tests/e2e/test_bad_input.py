# SPDX-License-Identifier: Apache-2.0
"""What a user may get wrong: each says what, where and what next, ends with its code, and leaves nothing behind."""

import json
import shutil
import subprocess
import zipfile

import h5py
import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.e2e.conftest import DIGITS
from tests.write_onnx import edge, write_onnx, write_quadrants, write_relu

MODEL = DIGITS / "digits.keras"
DATA = DIGITS / "digits.npz"


def cut(source, target, share=0.6):
    content = source.read_bytes()
    target.write_bytes(content[: int(len(content) * share)])


def truncated_keras(folder):
    cut(MODEL, folder / "m.keras")
    return "m.keras", DATA, ["m.keras"]


def truncated_h5(folder):
    with zipfile.ZipFile(MODEL) as archive:
        (folder / "whole.h5").write_bytes(archive.read("model.weights.h5"))
    cut(folder / "whole.h5", folder / "m.h5")
    (folder / "whole.h5").unlink()
    return "m.h5", DATA, ["m.h5"]


def eight_bytes(folder):
    (folder / "m.tflite").write_bytes(b"\x18\0\0\0TFL3")
    return "m.tflite", DATA, ["m.tflite"]


def lfs_pointer(folder):
    (folder / "m.keras").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 151576\n"
    )
    return "m.keras", DATA, ["LFS", "git lfs pull"]


def nan_weights(folder):
    with zipfile.ZipFile(MODEL) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    weights = folder / "w.h5"
    weights.write_bytes(members["model.weights.h5"])
    with h5py.File(weights, "r+") as file:
        kernels = []

        def collect(name, item):
            # The optimizer's slots have the same shape.
            if name.startswith("layers/") and getattr(item, "shape", ()) == (3, 3, 16, 32):
                kernels.append(item)

        file.visititems(collect)
        (kernel,) = kernels
        for index in ((1, 2, 3, 4), (2, 2, 3, 4)):
            kernel[index] = np.nan
    members["model.weights.h5"] = weights.read_bytes()
    weights.unlink()
    with zipfile.ZipFile(folder / "m.keras", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return "m.keras", DATA, ["conv_1", "2 NaN", "[1, 2, 3, 4]"]


def no_such_model(folder):
    return "nowhere.keras", DATA, ["nowhere.keras"]


def truncated_onnx(folder):
    write_quadrants(folder / "whole.onnx")
    cut(folder / "whole.onnx", folder / "m.onnx")
    (folder / "whole.onnx").unlink()
    return "m.onnx", DATA, ["m.onnx", "cut off", "compare the file sizes"]


def onnx_pointer(folder):
    (folder / "m.onnx").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0123456789abcdef\nsize 151\n"
    )
    return "m.onnx", DATA, ["LFS", "git lfs pull --include m.onnx"]


def onnx_with_an_open_size(folder):
    write_relu(folder / "m.onnx", "batch", 3, "height", "width")
    return "m.onnx", DATA, ["[None, 3, None, None]", "--shape x=1x3x128x128"]


def onnx_too_new(folder):
    write_relu(folder / "m.onnx", opset=28, ir=14)
    return "m.onnx", DATA, ["opset 28", "opset 26 at most", "opset_version=18"]


def onnx_of_a_full_batch(folder):
    write_relu(folder / "m.onnx", 8, 4)
    return "m.onnx", DATA, ["'x'", "[8, 4]", "batch of 8", "dynamic_axes"]


def onnx_operators_without_counterpart(folder):
    nodes = [
        helper.make_node("Det", ["x"], ["a"], name="size_1"),
        helper.make_node("NonZero", ["a"], ["y"], name="where_1"),
    ]
    edges = [edge("x", "batch", 4, 4)], [edge("y", 1, "found", dtype=TensorProto.INT64)]
    write_onnx(folder / "m.onnx", nodes, *edges)
    words = ["Det x1 (at 'size_1')", "NonZero x1 (at 'where_1')", "--device rpi4 --format onnx"]
    return "m.onnx", DATA, words, ["--format=tflite"]


def two_models_in_a_zip(folder):
    with zipfile.ZipFile(folder / "m.zip", "w") as archive:
        archive.writestr("a.onnx", b"one")
        archive.writestr("b.onnx", b"two")
    return "m.zip", DATA, ["2 models: a.onnx, b.onnx", "give one of them"]


def torch_pickle(folder):
    with zipfile.ZipFile(folder / "m.pt", "w") as archive:
        archive.writestr("m/data.pkl", b"\x80\x02}q\x00.")
    return (
        "m.pt",
        DATA,
        ["never opens one", "model.eval()", "dynamic_axes", 'torch.onnx.export(model, sample, "model.onnx"'],
    )


def layout_of_a_keras_model(folder):
    del folder
    return MODEL, DATA, ["--layout nhwc", "keras", "leave --layout out"], ["--layout", "nhwc"]


def too_few_labels(folder):
    with np.load(DATA) as found:
        np.savez(folder / "d.npz", x=found["x_test"], y=found["y_test"][:-7])
    return MODEL, "d.npz", ["899", "892"]


def labels_beyond_the_classes(folder):
    with np.load(DATA) as found:
        labels = found["y_test"].copy()
        labels[5] = 12
        np.savez(folder / "d.npz", x=found["x_test"], y=labels)
    return MODEL, "d.npz", ["12", "10"]


def constant_samples(folder):
    with np.load(DATA) as found:
        np.savez(folder / "d.npz", x=np.full_like(found["x_test"], 3), y=found["y_test"])
    return MODEL, "d.npz", ["equal"]


def another_shape(folder):
    with np.load(DATA) as found:
        np.savez(folder / "d.npz", x=found["x_test"][:, :7], y=found["y_test"])
    return MODEL, "d.npz", ["7", "8"]


def an_empty_folder(folder):
    (folder / "d").mkdir()
    return MODEL, "d", ["d"]


def labels_at_random(folder):
    with np.load(DATA) as found:
        np.savez(folder / "d.npz", x=found["x_test"], y=np.random.default_rng(0).permutation(found["y_test"]))
    return MODEL, "d.npz", ["chance", "label"]


CASES = [
    (truncated_keras, "EP-1"),
    (truncated_h5, "EP-1"),
    (eight_bytes, "EP-1"),
    (lfs_pointer, "EP-1"),
    (nan_weights, "EP-110"),
    (no_such_model, "EP-1"),
    (truncated_onnx, "EP-105"),
    (onnx_pointer, "EP-102"),
    (onnx_with_an_open_size, "EP-112"),
    (onnx_too_new, "EP-151"),
    (onnx_of_a_full_batch, "EP-157"),
    pytest.param(onnx_operators_without_counterpart, "EP-140", marks=pytest.mark.tf),
    (two_models_in_a_zip, "EP-106"),
    (layout_of_a_keras_model, "EP-156"),
    (torch_pickle, "EP-1"),
    (too_few_labels, "EP-2"),
    (an_empty_folder, "EP-2"),
    pytest.param(labels_beyond_the_classes, "EP-2", marks=pytest.mark.tf),
    pytest.param(constant_samples, "EP-2", marks=pytest.mark.tf),
    pytest.param(another_shape, "EP-2", marks=pytest.mark.tf),
    pytest.param(labels_at_random, "EP-2", marks=pytest.mark.tf),
]


@pytest.mark.parametrize(("case", "code"), CASES)
def test_bad_input_is_named_and_leaves_nothing(case, code, edgepack, tmp_path):
    model, data, words, *more = case(tmp_path)
    options = more[0] if more else []
    before = sorted(path.name for path in tmp_path.iterdir())
    run = edgepack("build", model, "--device=rpi4", "--data", data, *options, "-o", "out", "--json", cwd=tmp_path)
    assert run.code == 2, run.err
    error = run.json["error"]
    assert error["code"].startswith(code)
    for word in words:
        assert word in f"{error['message']} {error['hint']}", error
    assert error["hint"], "says what to do next"
    assert "Traceback" not in run.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != ".edgepack") == before


LIMITS = [
    ("--max-size=-20KiB", "EP-312", "--max-size: '-20KiB' is negative; a size is not"),
    ("--max-size=20", "EP-310", "--max-size: '20' has no unit: did you mean 20KiB or 20MiB?"),
    ("--max-size=0KiB", "EP-331", "the size limit is 0: a limit must be positive"),
    ("--max-ram=64kib", "EP-311", "--max-ram: '64kib': 'kib' is not a unit of a size, did you mean 64KiB?"),
    ("--max-latency=20", "EP-310", "--max-latency: '20' has no unit: did you mean 20ms or 20s?"),
    ("--max-latency=-1ms", "EP-312", "--max-latency: '-1ms' is negative; a duration is not"),
    ("--max-energy=3", "EP-310", "--max-energy: '3' has no unit: did you mean 3mJ?"),
    ("--max-energy=0mJ", "EP-331", "the energy limit is 0: a limit must be positive"),
    ("--max-download=lots", "EP-313", "--max-download: 'lots' is not a size"),
    ("--max-drop=1", "EP-310", "--max-drop: '1' can be read two ways: did you mean 1% or 1.0?"),
    ("--max-drop=-1%", "EP-312", "--max-drop: '-1%' is negative"),
    ("--min-metric=0.0", "EP-331", "the min-metric limit is 0: a limit must be positive"),
    ("--min-metric=150%", "EP-337", "--min-metric asks for 1.5 or more, and no accuracy is above 1"),
    ("--max-flash=1MiB", "EP-335", "--max-flash limits everything on the chip"),
]


@pytest.mark.parametrize(("option", "code", "words"), LIMITS, ids=[option for option, *_ in LIMITS])
def test_a_limit_that_cannot_be_meant_is_refused_and_nothing_is_written(option, code, words, edgepack, tmp_path):
    run = edgepack("build", MODEL, "--device=rpi4", "--data", DATA, option, "-o", "out", "--json", cwd=tmp_path)
    assert run.code == 2, run.err
    error = run.json["error"]
    assert (error["code"], error["message"][: len(words)]) == (code, words)
    assert error["hint"], "says what to do next"
    assert not list(tmp_path.iterdir())


def test_an_unknown_objective_is_refused_with_those_there_are(edgepack, tmp_path):
    run = edgepack("build", MODEL, "--device=rpi4", "--data", DATA, "--optimize=speed", "-o", "out", cwd=tmp_path)
    assert run.code == 2
    assert "'speed' is not one of 'latency', 'size', 'ram', 'accuracy', 'energy'" in run.err
    assert not list(tmp_path.iterdir())


def test_an_unwritable_output_is_refused_before_any_work(edgepack, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    run = edgepack("build", MODEL, "--device=rpi4", "--data", DATA, "-o", "file/out", cwd=tmp_path)
    assert run.code == 2
    assert "EP-402" in run.err
    assert not (tmp_path / ".edgepack").exists()


def test_two_dynamic_dimensions_name_the_option_to_give(edgepack, tmp_path, worker):
    worker.call("save-sequence", save_open_sequence, str(tmp_path / "sequence.keras"))
    run = edgepack("build", "sequence.keras", "--device=rpi4", "-o", "out", "--json", cwd=tmp_path)
    assert run.code == 2
    assert "--shape tokens=1x" in run.json["error"]["hint"]
    fixed = edgepack(
        "build", "sequence.keras", "--device=rpi4", "--shape=tokens=1x24x4", "-o", "out", "--json", cwd=tmp_path
    )
    assert fixed.code == 0, fixed.err


def save_open_sequence(path):
    import keras

    tokens = keras.Input((None, 4), name="tokens")
    hidden = keras.layers.Conv1D(6, 3, padding="same", name="conv")(tokens)
    keras.Model(tokens, keras.layers.GlobalAveragePooling1D(name="mean")(hidden)).save(path)


# The mount is seen by the command alone and goes with it, however it ends: one that outlived a killed run could not be
# deleted with the folder around it. What is left on the disk is listed beside it.
SMALL_DISK = """
mount -t tmpfs -o size=$1 tmpfs "$2" || exit
disk=$2; shift 2
"$@"; code=$?
ls -A "$disk" > "$disk.left"
exit $code
"""


def small_disk(folder, size):
    folder.mkdir()
    own_mounts = ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*own_mounts, "true"], check=False).returncode:
        pytest.skip("mounting a small file system needs `unshare` and the right to use it")
    return [*own_mounts, "sh", "-c", SMALL_DISK, "sh", size, str(folder)]


@pytest.mark.tf
def test_a_full_disk_says_what_to_free_and_keeps_no_half_bundle(edgepack, tmp_path):
    disk = tmp_path / "disk"
    run = edgepack(
        "build", MODEL, "--device=rpi4", "--data", DATA, "-o", disk / "out", "--json",
        cwd=tmp_path, under=small_disk(disk, "48k"),
    )  # fmt: skip
    assert run.code == 5, run.err
    assert run.json["error"]["code"] == "EP-501"
    assert "free space" in run.json["error"]["hint"]
    assert (tmp_path / "disk.left").read_text() == ""  # no half-written file of any name


@pytest.mark.tf
def test_a_full_work_folder_is_said_too(edgepack, tmp_path):
    disk = tmp_path / "disk"
    run = edgepack(
        "build", MODEL, "--device=rpi4", "--data", DATA, "--work", disk / "work", "-o", "out", "--json",
        cwd=tmp_path, under=small_disk(disk, "256k"),
    )  # fmt: skip
    assert run.code == 5, run.err
    assert run.json["error"]["code"] == "EP-501"
    assert (tmp_path / "disk.left").read_text() == "work\n"
    assert not (tmp_path / "out").exists()


def test_a_bundle_is_replaced_with_force_only_if_it_is_one(edgepack, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    run = edgepack("build", MODEL, "--device=rpi4", "--data", DATA, "-o", "out", "--force", cwd=tmp_path)
    assert run.code == 2
    assert (tmp_path / "out" / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"old": "total: {value: 4GiB", "new": "total: {value: 256m"}, ["milli", "256MiB"]),
        ({"old": "class: linux", "new": "class: linux\npowr: 3"}, ["powr", "did you mean"]),
        ({"old": "name: rpi4", "new": "name: &a rpi4\ntitle2: *a"}, ["board.yaml:"]),
    ],
)
def test_a_profile_with_a_mistake_names_file_and_line(edgepack, tmp_path, change, words):
    text = (DIGITS.parent.parent / "device_profiles" / "rpi4.yaml").read_text()
    assert change["old"] in text
    (tmp_path / "board.yaml").write_text(text.replace(change["old"], change["new"], 1))
    run = edgepack("build", MODEL, "--device=board.yaml", "--data", DATA, "-o", "out", "--json", cwd=tmp_path)
    assert run.code == 2
    told = json.dumps(run.json["error"])
    assert "board.yaml:" in told
    for word in words:
        assert word in told
