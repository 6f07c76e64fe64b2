"""``python -m fastvae``: the command line."""

import sys

from fastvae._cli import main

if __name__ == "__main__":
    sys.exit(main())
