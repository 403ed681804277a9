"""The batch script, killed again and again until it is done: python tests/soak/kill.py [N]

`apps/index_pages.py --model toy` runs on a folder of generated PDFs. SIGKILL to its process group at a random moment, N
times, then once without. After each kill the index must open, `verify` must find nothing, and every page that was
committed at an earlier look must be there, once, with its vectors. The end must equal an uninterrupted run.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.sheets import write_pdf  # noqa: E402

from visret.errors import PageIndexError  # noqa: E402
from visret.index import PageIndex, layout  # noqa: E402
from visret.types import PageRef  # noqa: E402

COLOURS = ("red", "green", "blue", "yellow", "cyan", "magenta", "orange", "purple", "white", "black")

# The run of the script, with commits as often as pages come.
SCRIPT = """
import runpy, sys
from visret.ingest import recorder
recorder.COMMIT_SECONDS = 0.0, 0.0
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def write_papers(folder: Path, count: int, rng: random.Random) -> None:
    """PDFs of one to six pages of random colours."""
    for number in range(count):
        colours = [rng.choice(COLOURS) for _ in range(rng.randint(1, 6))]
        write_pdf(folder / f"{number % 7}" / f"{number:04d}.pdf", *colours)


def start(papers: Path, index: Path) -> subprocess.Popen[bytes]:
    """The script in a process group of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    arguments = [ROOT / "apps" / "index_pages.py", papers, "--index", index, "--model", "toy"]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def look(path: Path) -> dict[PageRef, bytes]:
    """Every page with its stored vectors. Damage and doubled pages are errors."""
    if not (path / layout.CATALOGUE).exists():
        return {}
    with PageIndex.open(path) as index:
        problems = index.verify()
        assert problems == [], problems
        snapshot = index.snapshot
        refs = [snapshot.ref(s.number, int(row)) for s in snapshot.segments for row in snapshot.rows(s.number)]
        assert len(refs) == len(set(refs)), "a page is there twice"
        return {ref: index.embedding(ref).vectors.tobytes() for ref in refs}


def finish(papers: Path, index: Path) -> float:
    """Run to the end; seconds."""
    began = time.monotonic()
    process = start(papers, index)
    errors = process.communicate()[1]
    assert process.returncode == 0, errors.decode()
    return time.monotonic() - began


def soak(folder: Path, kills: int, *, documents: int, seed: int = 0) -> dict[str, int]:
    """Kill the run so many times; counts of what was seen."""
    rng = random.Random(seed)
    papers, index, whole = (folder / name for name in ("papers", "index", "whole"))
    write_papers(papers, documents, rng)
    seconds = finish(papers, whole)
    expected = look(whole)
    known: dict[PageRef, bytes] = {}
    seen = {"kills": 0, "before the end": 0, "with new pages": 0, "restarts": 0, "pages": len(expected)}
    while seen["kills"] < kills:
        process = start(papers, index)
        try:
            # A run is as long as the whole one at most; what is over before the kill does not count.
            process.communicate(timeout=rng.uniform(0, seconds))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            seen["kills"] += 1
        now = look(index)
        assert known.items() <= now.items(), f"lost: {sorted(set(known) - set(now))}"
        assert now.items() <= expected.items(), f"not what they were: {sorted(set(now) - set(expected))}"
        seen["with new pages"] += len(now) > len(known)
        seen["before the end"] += len(now) < len(expected)
        known = now
        if len(now) == len(expected):  # done: from the beginning
            seen["restarts"] += 1
            with PageIndex.open(index) as opened, opened.writing() as writer:
                for doc in opened.snapshot.docs():
                    writer.remove(doc)
            known = {}
    finish(papers, index)
    assert look(index) == expected
    return seen


def main() -> None:
    """So many kills as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kills", nargs="?", type=int, default=200)
    parser.add_argument("--documents", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        try:
            print(soak(Path(folder), arguments.kills, documents=arguments.documents, seed=arguments.seed))
        except PageIndexError as error:
            sys.exit(f"the index does not open: {error}")


if __name__ == "__main__":
    main()
