"""``python -m ml`` is the command line ``mlog``."""

import sys

from ml.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
