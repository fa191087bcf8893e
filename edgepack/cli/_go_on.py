# SPDX-License-Identifier: Apache-2.0
"""What to type after an interrupted build; as it was typed, for what it names lies on this machine."""

import sys


def go_on(*more: str) -> str:
    """Return the command that was typed, with those of the options ``more`` that it lacks."""
    import shlex

    return shlex.join(["edgepack", *sys.argv[1:], *(option for option in more if option not in sys.argv)])


def builds() -> bool:
    """Whether what was typed is a build, and not its plan alone."""
    return sys.argv[1:2] == ["build"] and "--dry-run" not in sys.argv
