"""``python -m dreamdiffusion``: the command line."""

import sys

from dreamdiffusion.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
