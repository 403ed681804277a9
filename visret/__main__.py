"""The command `visret` as `python -m visret`. Ctrl-C ends it without a traceback at any moment."""

import gc
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

BEFORE_GARBAGE = 10_000  # objects that are made before Python looks for garbage among them; its own number is 700


def main() -> int:
    """Run the command and return the exit status."""
    gc.set_threshold(BEFORE_GARBAGE)  # nearly everything that is made during the start stays

    def run() -> int:
        from visret.cli import main as command

        try:
            return command()
        finally:
            gc.freeze()  # otherwise Python looks for garbage again when it ends, a tenth of the time of a search

    return stoppable(run)


def stoppable(run: Callable[[], int]) -> int:
    """Call `run` and return its exit status, or 130 after Ctrl-C, even during imports and while Python ends.

    The process must be `run`'s own: the handler of Ctrl-C is not restored afterwards.
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
