"""The rate of indexing on a Ray cluster beside that of this machine alone: python tests/benchmarks/clusters.py FOLDER

The same files are indexed by one process, which uses all cores, and by a cluster on this machine with a node of one
core, and one encoder, for each of its cores. Reading and committing count; what happens once does not: the clock of the
one process begins with its first batch, that of the cluster when all its encoders have loaded the model. `--rounds`
repeats both in turn. It also prints how many pages a second the process that holds the index records of those that
other machines have packed: the bound on how many encoders it can serve.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from support.clusters import nodes

from visret import Retriever, load_encoder
from visret.ingest import execution, on_ray, run
from visret.types import Encoder


class Clock:
    """The time of the first of some calls, or of the last of so many."""

    def __init__(self, calls: int = 1) -> None:
        self.left = calls
        self.at = 0.0

    def after(self, function):  # type: ignore[no-untyped-def]
        """The function, which is timed when it is called."""

        def timed(*given, **named):  # type: ignore[no-untyped-def]
            self.left -= 1
            if self.left == 0:
                self.at = time.monotonic()
            return function(*given, **named)

        return timed


def here(folder: Path, index: Path, encoder: Encoder) -> float:
    """Pages a second of one process."""
    clock = Clock()
    with Retriever.create(index, model=encoder) as retriever:
        with mock.patch.object(execution, "encode", clock.after(execution.encode)):
            pages = retriever.add(folder, ocr="never").pages
        return pages / (time.monotonic() - clock.at)


def there(folder: Path, index: Path, encoder: Encoder, address: str, encoders: int) -> tuple[float, float]:
    """Pages a second of a cluster, and those that one process records."""
    clock, recording = Clock(encoders), [0.0]
    ready = on_ray._Pool.started

    def started(self, answer):  # type: ignore[no-untyped-def]
        ready(self, answer)
        if self.kind == "encoder":
            clock.after(lambda: None)()

    def timed(function):  # type: ignore[no-untyped-def]
        def call(*given, **named):  # type: ignore[no-untyped-def]
            began = time.thread_time()
            try:
                return function(*given, **named)
            finally:
                recording[0] += time.thread_time() - began

        return call

    with (
        Retriever.create(index, model=encoder) as retriever,
        mock.patch.object(on_ray._Pool, "started", started),
        mock.patch.object(run._Run, "write", timed(run._Run.write)),
        mock.patch.object(on_ray._Run, "take", timed_generator(on_ray._Run.take, recording)),
    ):
        pages = retriever.add(folder, ocr="never", executor=on_ray.OnRay(address, encoders=encoders)).pages
        return pages / (time.monotonic() - clock.at), pages / recording[0]


def timed_generator(function, spent):  # type: ignore[no-untyped-def]
    """The generator function, whose own time is added up."""

    def call(*given):  # type: ignore[no-untyped-def]
        made = function(*given)
        while True:
            began = time.thread_time()
            one = next(made, None)
            spent[0] += time.thread_time() - began
            if one is None:
                return
            yield one

    return call


def main() -> None:
    """Both, in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="all-minilm-l6-v2")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    encoder = load_encoder(arguments.model)
    rates: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as made, nodes(cores) as cluster:
        folder = Path(made)
        for number in range(arguments.rounds):
            one = here(arguments.folder, folder / f"here{number}", encoder)
            other, recorded = there(arguments.folder, folder / f"there{number}", encoder, cluster.address, cores)
            rates.append((one, other, recorded))
            print(f"here {one:.1f} pages/s, on {cores} nodes {other:.1f} pages/s: {other / one:.2f}", flush=True)
    one, other, recorded = (statistics.median(rate) for rate in zip(*rates, strict=True))
    print(f"median: here {one:.1f} pages/s, on {cores} nodes {other:.1f} pages/s: {other / one:.2f}")
    print(f"one core of the process that holds the index records {recorded:,.0f} pages/s")


if __name__ == "__main__":
    main()
