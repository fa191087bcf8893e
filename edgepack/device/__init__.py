# SPDX-License-Identifier: Apache-2.0
"""What it must fit: device profiles, budgets, units."""
