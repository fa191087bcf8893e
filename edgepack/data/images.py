# SPDX-License-Identifier: Apache-2.0
"""PNG and JPEG files in class subfolders, in a folder or a zip."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgepack.arrays import Array
from edgepack.data._folders import FileSource, file_parts, list_files
from edgepack.data.preprocess import pillow_missing
from edgepack.data.source import Kind, Opening, Parts, unreadable

_SUFFIXES = (".png", ".jpg", ".jpeg")
_GRAY = frozenset({"1", "L", "LA"})


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ImageSource(FileSource):
    """Images as height, width, channels in uint8 (16-bit gray PNG: uint16).

    Gray stays one channel, everything else becomes RGB; an alpha channel is dropped; EXIF rotation is not applied.
    """

    sample_kind = "image"

    def decode(self, content: bytes, name: str) -> Array:
        """Decode with Pillow, as the bundle's ``infer.py`` does."""
        try:
            from PIL import Image, UnidentifiedImageError
        except ImportError as error:
            raise pillow_missing("reading images") from error
        try:
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as image:
                if image.mode.startswith("I"):
                    return np.asarray(image).astype(np.uint16)[..., np.newaxis]
                pixels = np.asarray(image.convert("L" if image.mode in _GRAY else "RGB"))
        except UnidentifiedImageError as error:
            problem = f"its {len(content)} bytes are no PNG or JPEG" if content else "the file is empty"
            raise unreadable(f"{name} of {self.origin}", problem) from error
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise unreadable(f"{name} of {self.origin}", f"it is no whole PNG or JPEG ({error})") from error
        return pixels[..., np.newaxis] if pixels.ndim == 2 else pixels  # noqa: PLR2004 - height and width


class Images(Kind):
    """Class subfolders of images."""

    expects = "a folder or .zip of class subfolders with PNG or JPEG files (also under train/ and test/)"

    @classmethod
    def usable(cls, spec: str) -> int:
        """Return the number of images."""
        path = Path(spec)
        return len(list_files(path, _SUFFIXES)) if path.is_dir() or path.suffix.lower() == ".zip" else 0

    @classmethod
    def open(cls, spec: str, opening: Opening) -> Parts:
        """List the files; none is decoded."""
        del opening
        root = Path(spec).absolute()
        return file_parts(ImageSource, root, list_files(root, _SUFFIXES))
