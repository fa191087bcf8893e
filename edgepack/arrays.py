# SPDX-License-Identifier: Apache-2.0
"""The array types of all stages."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
"""Numbers of any type: what a source holds is not known before it is read."""
Floats = NDArray[np.float64]
