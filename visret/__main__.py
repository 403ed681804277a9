"""`python -m visret` is the command `visret`, which Ctrl-C ends without a traceback at any moment."""

import gc
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

BEFORE_GARBAGE = 10_000  # objects that are made before Python looks for garbage among them; 700 is its own number


def main() -> int:
    """Run the command; returns the exit status."""
    gc.set_threshold(BEFORE_GARBAGE)  # nearly all that is made while it starts stays

    def run() -> int:
        from visret.cli import main as command

        try:
            return command()
        finally:
            gc.freeze()  # or Python looks for garbage once more when it ends, a tenth of the time of a search

    return stoppable(run)


def stoppable(run: Callable[[], int]) -> int:
    """The exit status that `run` returns, or 130 when Ctrl-C came, also while it imports, and while Python ends.

    For a process of its own: what Ctrl-C does is not put back afterwards.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # ignored, as in the background
        return run()
    stopped = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopped
        stopped = True
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, stop)
    try:
        status = run()
    except KeyboardInterrupt:
        status = 130
    except Exception:  # NumPy's import, for one, turns a KeyboardInterrupt into an ImportError
        if not stopped:
            raise
    finally:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    return 130 if stopped else status


if __name__ == "__main__":
    sys.exit(main())
