# SPDX-License-Identifier: Apache-2.0
"""Spoil one layer of an imported net, and see what the gate says. Runs in a worker."""

import json
from pathlib import Path

from edgepack.errors import ModelError
from edgepack.importer.gate import check_parity
from edgepack.importer.imported import Edge
from edgepack.importer.importer import import_onnx
from edgepack.importer.prepare import prepare
from edgepack.importer.read import read_onnx
from edgepack.importer.samples import draw

DENSE, BRANCHES, TABLE = (Path(name) for name in (dense, branches, table))  # noqa: F821 - given by the caller


def spoiled(path, layer):
    """Return what the gate says of the model at ``path`` with the weights of ``layer`` changed a little."""
    source = read_onnx(path)
    imported = import_onnx(prepare(source, shapes={}, where="m.onnx"), where="m.onnx")
    if layer:
        found = next(item for item in imported.net.layers if item.name == layer)
        values = found.get_weights()
        values[0][..., 0] += 0.01
        found.set_weights(values)
    try:
        check_parity(imported, source, where="m.onnx")
    except ModelError as error:
        return [error.code, error.message, error.hint]
    return []


def drawn(path):
    """Return what is drawn for indices of a table, bytes and flags."""
    edges = [
        Edge(name="tokens", shape=(None, 6), dtype="int32", axes=(0, 1)),
        Edge(name="pixels", shape=(None, 4), dtype="uint8", axes=(0, 1)),
        Edge(name="flags", shape=(None, 3), dtype="bool", axes=(0, 1)),
        Edge(name="noise", shape=(None, 500), dtype="float32", axes=(0, 1)),
    ]
    found = draw(edges, read_onnx(path), batch=200, seed=1)
    again = draw(edges, read_onnx(path), batch=200, seed=1)
    return {
        "tokens": [int(found["tokens"].min()), int(found["tokens"].max())],
        "pixels": [int(found["pixels"].min()), int(found["pixels"].max())],
        "flags": sorted(set(found["flags"].ravel().tolist())),
        "noise": [float(found["noise"].mean()), float(found["noise"].std())],
        "shapes": [list(found[name].shape) for name in found],
        "same": all(bool((found[name] == again[name]).all()) for name in found),
    }


report = {
    "whole": spoiled(DENSE, ""),
    "first": spoiled(DENSE, "stem"),
    "last": spoiled(DENSE, "head"),
    "branch": spoiled(BRANCHES, "b_conv1"),
    "other": spoiled(BRANCHES, "a_conv2"),
    "drawn": drawn(TABLE),
}
Path(REPORT).write_text(json.dumps(report))  # noqa: F821
