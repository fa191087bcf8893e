# SPDX-License-Identifier: Apache-2.0
"""How it is made small: recipes, and one step a file."""
