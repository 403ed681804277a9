"""visret in the browser, as `visret serve`, but without INDEX it serves that of the sample documents.

That index is made the first time. Other files can be brought in the browser.
"""

import argparse
import sys
from pathlib import Path

from visret.__main__ import stoppable

SAMPLES = Path(__file__).parent.parent / "examples" / "documents"


def demo(arguments: argparse.Namespace) -> int:
    """Serve an index, or the one of the sample documents; returns the exit status."""
    from visret import cli

    if arguments.index is None:
        cli.serving_rules(arguments)  # what is wrong with the arguments is said before the documents are read
        arguments.index = str(SAMPLES.with_suffix(".visret"))
        if status := cli.main(["index", str(SAMPLES), "--index", arguments.index]):
            return status
    return cli.serve(arguments)


def main() -> int:
    """Read the arguments and serve; returns the exit status."""
    from visret import cli

    index = ("index",), {"metavar": "INDEX", "nargs": "?", "help": "its folder; without it, the sample documents"}
    options = cli.VERBS[cli.serve][1:]
    return cli.main(parser=cli.script(demo, [index, *options], about=__doc__))


if __name__ == "__main__":
    sys.exit(stoppable(main))
