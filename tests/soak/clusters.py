"""Indexing on a Ray cluster whose nodes and drivers are killed: python tests/soak/clusters.py [N]

A run on a cluster of three nodes of one core indexes a folder of generated PDFs with the model `toy`. At a random
moment SIGKILL ends one of the nodes with all its actors, and another joins, or the driver, which holds the index, and
the run is started again; N times, then once without. After each death of a driver the index must open, `verify` must
find nothing, and every page that was committed must be there, once, with its vectors. Each run that comes to its end
must equal one that was never interrupted, and report nothing but the file that cannot be read.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)]

from kill import look, write_papers  # noqa: E402
from support.clusters import nodes  # noqa: E402

from visret import Retriever  # noqa: E402
from visret.index import PageIndex  # noqa: E402
from visret.types import PageRef  # noqa: E402

# Commits as often as pages come, and says how many there are; in the end, what failed.
DRIVER = """
import json, pathlib, sys
from visret import Retriever
from visret.ingest import recorder
from visret.ingest.on_ray import OnRay
recorder.COMMIT_SECONDS = 0.0, 0.0
papers, index, address = sys.argv[1:]
made = pathlib.Path(index, "catalogue.sqlite").exists()
with Retriever.open(index) if made else Retriever.create(index, model="toy") as retriever:
    tell = lambda progress: print(progress.pages, flush=True)
    report = retriever.add(papers, ocr="never", executor=OnRay(address), progress=tell)
    print(json.dumps([report.pages, [failure.path for failure in report.failed]]), flush=True)
"""


def start(papers: Path, index: Path, address: str, errors: Path) -> subprocess.Popen[str]:
    """A driver. errors: a file for what it says of them."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", DRIVER, str(papers), str(index), address]
    with errors.open("w") as file:
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=file, text=True)


def soak(folder: Path, kills: int, *, documents: int, seed: int = 0) -> dict[str, int]:
    """Kill nodes and drivers so many times; counts of what was seen."""
    rng = random.Random(seed)
    papers, index, errors = folder / "papers", folder / "index", folder / "errors"
    write_papers(papers, documents, rng)
    broken = papers / "broken.pdf"
    broken.write_bytes(b"%PDF-1.4 and nothing else")
    with Retriever.create(folder / "whole", model="toy") as retriever:
        retriever.add(papers, ocr="never")
    expected = look(folder / "whole")
    known: dict[PageRef, bytes] = {}
    seen = {"nodes": 0, "drivers": 0, "drivers with new pages": 0, "ends": 0, "pages": len(expected)}
    with nodes(3) as cluster:
        while seen["nodes"] + seen["drivers"] < kills or not seen["ends"]:
            process = start(papers, index, cluster.address, errors)
            assert process.stdout is not None
            left, line = len(expected) - len(known), ""
            at = rng.randint(0, max(0, left - 1))  # pages of the run by when something is killed
            for line in process.stdout:
                if not line.strip().isdigit() or int(line) < at or seen["nodes"] + seen["drivers"] >= kills:
                    continue
                if rng.random() < 0.5:
                    process.kill()
                    break
                cluster.kill(rng.randrange(3))
                cluster.join()
                seen["nodes"] += 1
                at = rng.randint(int(line) + 1, left + 1)
            rest = process.stdout.read()
            assert process.wait() in (0, -signal.SIGKILL), errors.read_text()
            seen["drivers"] += process.returncode != 0  # 0: it had come to its end before it was killed
            now = look(index)
            assert known.items() <= now.items(), f"lost: {sorted(set(known) - set(now))}"
            assert now.items() <= expected.items(), f"not what they were: {sorted(set(now) - set(expected))}"
            seen["drivers with new pages"] += process.returncode != 0 and len(now) > len(known)
            known = now
            print(seen, len(now), flush=True)
            if process.returncode == 0:
                pages, failed = json.loads(next(filter(None, reversed([line, *rest.split("\n")]))))
                assert (pages, failed) == (left, [str(broken)]), line
                assert now == expected
                seen["ends"] += 1
                with PageIndex.open(index) as opened, opened.writing() as writer:  # from the beginning
                    for doc in opened.snapshot.docs():
                        writer.remove(doc)
                known = {}
    return seen


def main() -> None:
    """So many kills as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=20)
    parser.add_argument("--documents", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(soak(Path(folder), arguments.kills, documents=arguments.documents, seed=arguments.seed))


if __name__ == "__main__":
    main()
