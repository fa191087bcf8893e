# SPDX-License-Identifier: Apache-2.0
"""How it is run: one runtime a file, each in a process of its own."""
