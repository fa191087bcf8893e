# SPDX-License-Identifier: Apache-2.0
"""Small sources of every kind."""

import wave

import numpy as np
import pytest

from edgepack.data.open import DataOptions, open_data
from edgepack.data.source import Opening, open_source
from edgepack.errors import DataError


@pytest.fixture
def opened(work):
    """Open a source with its own settings file; returns its parts."""
    from edgepack.data.settings import Settings, find_settings, read_settings

    def run(path, group_by=None):
        found = find_settings(str(path))
        settings = Settings() if found is None else read_settings(found)
        return open_source(str(path), Opening(settings, work, group_by))

    return run


@pytest.fixture
def data_of(work):
    """Open data by option names."""
    return lambda **options: open_data(DataOptions(**{k: _text(v) for k, v in options.items()}), work=work)


def _text(value):
    return value if value is None or isinstance(value, int) else str(value)


@pytest.fixture
def refused(data_of):
    """Open data that must be refused; returns the error."""

    def run(**options):
        with pytest.raises(DataError) as caught:
            data_of(**options)
        return caught.value

    return run


@pytest.fixture
def make_npz(tmp_path):
    """Write an ``.npz``: ``count`` samples, balanced labels, values that tell the samples apart."""

    def run(name="set.npz", *, count=100, classes=4, save=np.savez, **arrays):
        if not arrays:
            rng = np.random.default_rng(5)
            arrays = {"x": rng.normal(size=(count, 6, 5, 1)).astype(np.float32), "y": np.arange(count) % classes}
        path = tmp_path / name
        save(path, **arrays)
        return path

    return run


@pytest.fixture
def make_images(tmp_path):
    """Write class folders of PNG files; returns the folder."""

    def run(layout, name="images", *, size=(6, 5), mode="RGB"):
        from PIL import Image

        rng = np.random.default_rng(7)
        root = tmp_path / name
        for folder, count in layout.items():
            (root / folder).mkdir(parents=True)
            for number in range(count):
                shape = size if mode == "L" else (*size, 3)
                pixels = rng.integers(0, 256, shape, np.uint8)
                Image.fromarray(pixels).save(root / folder / f"{number:03}.png")
        return root

    return run


@pytest.fixture
def make_wav():
    """Write one clip."""

    def run(path, values, *, width=2, channels=1, rate=16000):
        path.parent.mkdir(parents=True, exist_ok=True)
        with wave.open(str(path), "wb") as clip:
            clip.setnchannels(channels)
            clip.setsampwidth(width)
            clip.setframerate(rate)
            clip.writeframes(np.asarray(values).tobytes())

    return run
