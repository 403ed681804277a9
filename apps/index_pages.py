"""Index many pages, as `visret index` does; the last line of stdout is the summary, as JSON.

Files that cannot be read are reported and stop nothing. Stopped at any moment, the same command goes on where it was.
The exit status is 0 when everything was read, 1 when something failed, 2 for wrong usage.
"""

import sys

from visret.__main__ import stoppable


def main() -> int:
    """Index; returns the exit status."""
    from visret import cli

    return cli.main(["--json", *sys.argv[1:]], parser=cli.script(cli.index, cli.VERBS[cli.index], about=__doc__))


if __name__ == "__main__":
    sys.exit(stoppable(main))
