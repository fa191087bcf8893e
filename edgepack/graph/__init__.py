# SPDX-License-Identifier: Apache-2.0
"""The model as a graph: its wiring, its channels, what it costs, and what steps hand to each other."""
