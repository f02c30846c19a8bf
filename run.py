"""The payout reconciler's command line: `python run.py --help`."""

import sys

from cli.starting import run

if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
