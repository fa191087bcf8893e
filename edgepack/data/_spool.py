# SPDX-License-Identifier: Apache-2.0
"""A ``.npy`` that grows row by row, for sources whose length is known only at their end."""

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from edgepack.arrays import Array


class GrowingArray:
    """Writes rows of one shape and type; the header is completed when the block ends.

    NumPy pads a ``.npy`` header so that the first dimension can grow in place.

    Args:
        path: The file to write.
    """

    def __init__(self, path: Path) -> None:
        self.count = 0
        self.shape: tuple[int, ...] | None = None
        self.dtype: np.dtype[np.generic] = np.dtype(np.float32)
        self._stream = path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self.shape is not None:
            self._header()
        self._stream.close()

    def append(self, row: Array) -> None:
        """Write one row.

        Raises:
            ValueError: Its shape or type differs from the first row's.
        """
        if self.shape is None:
            self.shape, self.dtype = row.shape, row.dtype
            self._header()
        elif (row.shape, row.dtype) != (self.shape, self.dtype):
            raise ValueError(
                f"row {self.count} has shape {row.shape} and type {row.dtype}, the first {self.shape} and {self.dtype}"
            )
        self._stream.write(np.ascontiguousarray(row).tobytes())
        self.count += 1

    def _header(self) -> None:
        self._stream.seek(0)
        np.lib.format.write_array_header_1_0(
            self._stream,
            {
                "descr": np.lib.format.dtype_to_descr(self.dtype),
                "fortran_order": False,
                "shape": (self.count, *(self.shape or ())),
            },
        )
