# SPDX-License-Identifier: Apache-2.0
"""16-bit PCM WAV files in class subfolders; every preprocessing beyond a fixed length is the user's."""

import io
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepack.arrays import Array
from edgepack.data._folders import FileSource, file_parts, list_files, read_content
from edgepack.data.source import Kind, Opening, Parts, unreadable
from edgepack.errors import DataError

_SAMPLE_BYTES = 2
_FORMATS = {"3": "32-bit float", "6": "A-law", "7": "mu-law", "65534": "WAVE_FORMAT_EXTENSIBLE"}


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class WavSource(FileSource):
    """Clips as int16, shape (samples,), or (samples, channels) where there are several.

    Attributes:
        length: Samples that clips are cut or zero-padded to; None demands that of the first clip.
        rate_hz: Of the first clip; 0 where that one is broken. All clips must share it.
        frames: Samples a channel of the first clip.
    """

    sample_kind = "audio"

    length: int | None
    rate_hz: int
    frames: int

    def decode(self, content: bytes, name: str) -> Array:
        """Read the frames; cut or zero-pad them to ``length``."""
        try:
            with wave.open(io.BytesIO(content)) as clip:
                width, channels, rate = clip.getsampwidth(), clip.getnchannels(), clip.getframerate()
                frames = clip.readframes(clip.getnframes())
        except (wave.Error, EOFError) as error:
            raise _no_pcm(f"{name} of {self.origin}", str(error)) from error
        if width != _SAMPLE_BYTES:
            raise _unsupported(f"{name} of {self.origin}", f"{8 * width} bits a sample")
        values = np.frombuffer(frames[: len(frames) - len(frames) % (_SAMPLE_BYTES * channels)], "<i2")
        values = values.astype(np.int16).reshape(-1, channels)
        self._check_alike(name, rate, len(values))
        if self.length is not None:
            values = values[: self.length]
            values = np.pad(values, ((0, self.length - len(values)), (0, 0)))
        return values[:, 0] if channels == 1 else values

    def _check_alike(self, name: str, rate: int, count: int) -> None:
        if self.rate_hz and rate != self.rate_hz:
            raise DataError(
                "EP-218",
                f"{name} of {self.origin} has {rate} samples a second, and {self.names[0]} {self.rate_hz}",
                hint=f"bring all clips to one rate, for example: sox in.wav -r {self.rate_hz} out.wav",
            )
        if self.rate_hz and self.length is None and count != self.frames:
            raise DataError(
                "EP-207",
                f"{name} of {self.origin} has {count} samples, and {self.names[0]} {self.frames}",
                hint=f"set wav: {{length: {max(count, self.frames)}}} in data.yaml: longer clips are cut, shorter ones "
                "zero-padded",
            )


def _no_pcm(what: str, said: str) -> DataError:
    kind = next((name for code, name in _FORMATS.items() if said == f"unknown format: {code}"), None)
    return unreadable(what, f"it is no whole PCM WAV file ({said})") if kind is None else _unsupported(what, kind)


def _unsupported(what: str, kind: str) -> DataError:
    return DataError(
        "EP-218",
        f"{what} has {kind}; only 16-bit PCM is read",
        hint="convert it, for example: sox in.wav -b 16 -e signed-integer out.wav",
    )


def _first_clip(root: Path, name: str) -> tuple[int, int]:
    """Return rate and frames of a clip, or zeros: what is wrong with it is said when it is read."""
    try:
        with wave.open(io.BytesIO(read_content(root, name))) as clip:
            return clip.getframerate(), clip.getnframes()
    except (wave.Error, EOFError):
        return 0, 0


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
        """List the files; the first one sets rate and length."""
        root = Path(spec).absolute()
        names = list_files(root, (".wav",))
        rate, frames = _first_clip(root, names[0])
        length = opening.settings.wav.length
        return file_parts(WavSource, root, names, length=length, rate_hz=rate, frames=frames)
