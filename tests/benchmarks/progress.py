"""Is the time that is said to be left the time that is left? At some points of a run: what was said, what was true.

    python tests/benchmarks/progress.py FOLDER                    # the default model, and OCR as it is installed
    VISRET_OCR=glyph python tests/benchmarks/progress.py FOLDER --model NAME

FOLDER is read into a new index, with an empty cache: nothing is known beforehand. The last line has the furthest that
was said above and below the truth after a tenth of the run; two seconds, or three hundredths of the run, are let pass.
On a machine that others use too, the truth itself depends on what they do later.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from visret import Retriever
from visret.ingest.report import Progress, Report
from visret.models import registry

SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9)
EVERY = 0.25  # seconds


@dataclass
class Listener:
    """Notes what is said, whatever the run does meanwhile."""

    progress: Progress | None = None
    told: list[tuple[float, float | None, int, int | None]] = field(default_factory=list)
    calls: list[float] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def __call__(self, progress: Progress) -> None:
        self.progress = progress
        self.calls.append(time.monotonic())

    def listen(self) -> None:
        """Until it is over."""
        while not self.over.wait(EVERY):
            if (now := self.progress) is not None:
                self.told.append((time.monotonic(), now.seconds_left, now.pages, now.pages_total))


def listened(retriever: Retriever, folder: Path) -> tuple[Listener, Report, float]:
    """A run; when it ended."""
    listener = Listener()
    thread = threading.Thread(target=listener.listen)
    thread.start()
    try:
        report = retriever.add(folder, progress=listener)
        return listener, report, time.monotonic()
    finally:
        listener.over.set()
        thread.join()


def say(listener: Listener, report: Report, end: float) -> float:
    """A table; the largest ratio."""
    begun = listener.calls[0]
    total = end - begun
    told = [(at - begun, left, end - at, pages, of) for at, left, pages, of in listener.told if left is not None]
    pages = f"{report.documents} files, {report.pages} pages and {len(report.empty)} empty ones in {total:.1f} s"
    print(f"{pages}; the first figure after {told[0][0]:.1f} s" if told else f"{pages}; no figure")
    for share in SHARES:
        if now := next((one for one in told if one[0] >= share * total), None):
            _, left, true, done, of = now
            said = f"said {left:7.1f} s   true {true:7.1f} s   ratio {left / true:5.2f}"
            print(f"{share:4.0%}  {said}   {done} of {of} pages")
    slack = max(2.0, 0.03 * total)
    late = [(left, true, at / total) for at, left, true, *_ in told if at >= total / 10]
    if not late:
        return 0.0
    over, under = (
        max(late, key=lambda one: (one[0] - slack) / one[1]),
        min(late, key=lambda one: (one[0] + slack) / one[1]),
    )
    for what, (left, true, share) in (("above", over), ("below", under)):
        print(f"furthest {what} the truth: {left:.1f} s for {true:.1f} s, {left / max(true, 0.1):.2f}, at {share:.0%}")
    return (over[0] - slack) / over[1]


def main() -> None:
    """Print the table; exit status 1 where more than half as much again was said to be left."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=registry.DEFAULT_MODEL, help="a name or folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["VISRET_CACHE"] = str(Path(scratch, "cache"))
        with Retriever.create(Path(scratch, "index"), model=given.model) as retriever:
            raise SystemExit(say(*listened(retriever, given.folder)) > 1.5)


if __name__ == "__main__":
    main()
