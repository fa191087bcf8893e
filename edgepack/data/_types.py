# SPDX-License-Identifier: Apache-2.0
"""The array type of this stage."""

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]
"""Numbers of any type: what a source holds is not known before it is read."""
