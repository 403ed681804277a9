"""Index many pages: python apps/index_pages.py PATH... --index DIR [--model NAME] [--sync] [--retry-failed]
    [--codec NAME] [--dim N] [--pool N] [--prune SHARE]     how vectors are stored, for a new index

Files that cannot be read are reported and stop nothing. Stopped at any moment, the same command goes on where it was.
The last line of stdout is the summary, as JSON; the exit status is 0 when everything was read, 1 when something failed.
"""

import sys

from visret.cli import main

if __name__ == "__main__":
    sys.exit(main(["index", "--json", *sys.argv[1:]]))
