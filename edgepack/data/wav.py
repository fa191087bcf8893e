# SPDX-License-Identifier: Apache-2.0
"""16-bit PCM WAV files in class subfolders; every preprocessing beyond a fixed length is the user's."""

import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepack.arrays import Array
from edgepack.data._folders import FileSource, file_parts, list_files
from edgepack.data.source import Kind, Opening, Parts, unreadable
from edgepack.errors import DataError

_SAMPLE_BYTES = 2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WavSource(FileSource):
    """Clips as int16, shape (samples,), or (samples, channels) where there are several."""

    length: int | None

    def decode(self, content: bytes, name: str) -> Array:
        """Read the frames; cut or zero-pad them to ``length``."""
        try:
            with wave.open(io.BytesIO(content)) as clip:
                width, channels = clip.getsampwidth(), clip.getnchannels()
                frames = clip.readframes(clip.getnframes())
        except (wave.Error, EOFError) as error:
            raise unreadable(f"{name} of {self.origin}", f"it is no whole PCM WAV file ({error})") from error
        if width != _SAMPLE_BYTES:
            raise DataError(
                "EP-218",
                f"{name} of {self.origin} has {8 * width} bits a sample; only 16-bit PCM is read",
                hint="convert it, for example: sox in.wav -b 16 out.wav",
            )
        values = np.frombuffer(frames[: len(frames) - len(frames) % (_SAMPLE_BYTES * channels)], "<i2")
        values = values.astype(np.int16).reshape(-1, channels)
        if self.length is not None:
            values = values[: self.length]
            values = np.pad(values, ((0, self.length - len(values)), (0, 0)))
        return values[:, 0] if channels == 1 else values


class Wav(Kind):
    """Class subfolders of clips."""

    expects = "a folder or .zip of class subfolders with 16-bit .wav files"

    @classmethod
    def usable(cls, spec: str) -> int:
        """Return the number of clips."""
        path = Path(spec)
        return len(list_files(path, (".wav",))) if path.is_dir() or path.suffix.lower() == ".zip" else 0

    @classmethod
    def open(cls, spec: str, opening: Opening) -> Parts:
        """List the files; none is read."""
        root = Path(spec).absolute()
        return file_parts(WavSource, root, list_files(root, (".wav",)), length=opening.settings.wav.length)
