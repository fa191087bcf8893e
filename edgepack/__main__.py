# SPDX-License-Identifier: Apache-2.0
"""Entry point of the command line: ``edgepack`` and ``python -m edgepack``."""

from edgepack.cli._group import main

if __name__ == "__main__":
    main()
