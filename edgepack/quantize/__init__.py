# SPDX-License-Identifier: Apache-2.0
"""How a graph is rounded: grids, error-compensating rounding, bits by layer, fake quantization."""
