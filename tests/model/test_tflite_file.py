# SPDX-License-Identifier: Apache-2.0
"""Reading a ``.tflite`` without a framework: what it says, and that damage is only ever a ModelError."""

import numpy as np
import pytest

from edgepack.errors import ModelError
from edgepack.model.tflite_file import parse_tflite, read_tflite
from edgepack.model.tflite_summary import io_specs
from tests.write_tflite import Op, Tensor, tflite_bytes


def test_a_dense_layer_is_read_whole(tmp_path, tiny_tflite):
    path = tmp_path / "dense.tflite"
    path.write_bytes(tiny_tflite)
    graph = read_tflite(path)
    assert graph.op_names == ("FULLY_CONNECTED v1",)
    assert [tensor.name for tensor in graph.tensors] == ["x", "w", "y"]
    assert graph.ops[0].inputs == (0, 1, -1)
    assert graph.macs == 12
    assert graph.weight_dtypes == {"float32": 48}
    assert graph.traffic[0][1] == 12 + 48 + 16
    assert not graph.is_quantized
    assert graph.n_bytes == len(tiny_tflite)
    assert (graph.signatures[0].key, graph.signatures[0].inputs) == ("serving_default", (("x", 0),))
    assert graph.description == "written by hand"
    assert (graph.tensors[1].is_constant, graph.tensors[0].is_constant) == (True, False)


@pytest.mark.parametrize(
    ("dtype", "scale", "scaled"), [("int8", 0.5, True), ("int8", None, False), ("float32", 0.5, False)]
)
def test_only_integers_with_a_scale_take_reals(dtype, scale, scaled, tmp_path):
    known = None if scale is None else (scale, 0)
    ends = [Tensor(name, (1, 4), dtype, quantization=known) for name in ("x", "y")]
    content = tflite_bytes(ends, [Op("RESHAPE", 1, (0,), (1,), "ReshapeOptions")], inputs=[0], outputs=[1])
    inputs, outputs = io_specs(parse_tflite(content, tmp_path))
    assert [spec.scaled for spec in (*inputs, *outputs)] == [scaled, scaled]


def _reads(data: bytes, path) -> bool:
    """Whether the file is read; anything but a ModelError comes through."""
    try:
        parse_tflite(data, path)
    except ModelError as error:
        return error.code not in {"EP-107", "EP-108"}
    return True


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "EP-101", "is empty"),
        (b"\x18\x00\x00\x00TFL3", "EP-101", "8 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "EP-102", "Git LFS pointer"),
        (b"\x18\x00\x00\x00ABCD" + bytes(64), "EP-107", "ABCD"),
        (b"\x18\x00\x00\x00TFL3" + bytes(8), "EP-108", "beyond the end"),
    ],
)
def test_what_is_no_tflite_file_is_named(tmp_path, content, code, words):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=words) as caught:
        read_tflite(path)
    assert caught.value.code == code
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match="No such file") as caught:
        read_tflite(tmp_path / "none.tflite")
    assert caught.value.code == "EP-100"


def test_every_truncation_is_a_model_error(tmp_path, tiny_tflite):
    """A cut either loses something that is read, or only what nothing reads: never another exception."""
    path = tmp_path / "cut.tflite"
    refused = [length for length in range(16, len(tiny_tflite)) if not _reads(tiny_tflite[:length], path)]
    assert len(refused) > 0.9 * (len(tiny_tflite) - 16)


def test_flipped_bytes_are_read_or_refused(tmp_path, tiny_tflite):
    path = tmp_path / "flipped.tflite"
    chance = np.random.default_rng(7)
    refused = 0
    for _ in range(4000):
        damaged = bytearray(tiny_tflite)
        for at in chance.integers(len(damaged), size=chance.choice((1, 2, 8))):
            damaged[at] ^= 1 << chance.integers(8)
        refused += not _reads(bytes(damaged), path)
    assert 500 < refused < 4000


@pytest.mark.field
def test_a_damaged_real_file_is_only_ever_a_model_error(field):
    path = field("kws/kws_ref_model.tflite")
    data = path.read_bytes()
    chance = np.random.default_rng(11)
    refused = 0
    for _ in range(300):
        damaged = bytearray(data)
        # Half of the bytes are weights, where a change harms nothing: many words at once find an offset.
        for at in chance.integers(len(data) // 4, size=16) * 4:
            damaged[at : at + 2] = chance.bytes(2)
        refused += not _reads(bytes(damaged[: chance.choice((len(data), chance.integers(64, len(data))))]), path)
    assert refused > 100


@pytest.mark.field
def test_a_quantized_model_is_told_from_its_tensors(field):
    graph = read_tflite(field("kws/kws_ref_model.tflite"))
    assert graph.is_quantized
    assert set(graph.weight_dtypes) == {"int8"}
    assert graph.macs == 2_656_768
    hybrid = read_tflite(field("kws/kws_ref_model_float32.tflite"))
    assert hybrid.is_quantized
    assert hybrid.tensors[hybrid.inputs[0]].dtype == "float32"


@pytest.mark.field
def test_per_channel_scales_have_their_dimension(field):
    graph = read_tflite(field("kws/kws_ref_model.tflite"))
    weights = [graph.tensors[op.inputs[1]] for op in graph.ops if op.name == "CONV_2D"]
    assert all(len(item.scales) == item.shape[item.quantized_dimension] for item in weights)
