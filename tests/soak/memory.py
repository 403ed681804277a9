"""Memory of a long run: python tests/soak/memory.py [PAGES] [--model NAME] [--pdfs FOLDER]

Adds generated PDFs of 1 to 400 pages, or those of a folder, in one run, and prints the memory of this process, which
encodes and writes, and of all its worker processes. Exit status 1 where this process's own memory (anonymous pages:
mapped files are the system's to drop) leaves a band of 200 MiB after page 1,000. Linux.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from reportlab.pdfgen.canvas import Canvas  # noqa: E402

from visret import Retriever  # noqa: E402
from visret.ingest.report import Progress  # noqa: E402

BAND = 200  # MiB
WORDS = ("pages", "vector", "is", "scored", "of", "the", "index", "by", "a", "question", "and", "1984", "model")


def write_papers(folder: Path, pages: int, rng: random.Random) -> None:
    """PDFs of so many pages in all, with 200 words and a coloured bar each."""
    number = 0
    while pages:
        count = min(pages, rng.choice((1, 10, 60, 400)))
        canvas = Canvas(str(folder / f"{number:05}.pdf"))
        for _ in range(count):
            canvas.setFillColorRGB(rng.random(), rng.random(), rng.random())
            canvas.rect(50, 700, rng.uniform(100, 500), 100, stroke=0, fill=1)
            canvas.setFillColorRGB(0, 0, 0)
            for line in range(20):
                canvas.drawString(50, 660 - 20 * line, " ".join(rng.choices(WORDS, k=10)))
            canvas.showPage()
        canvas.save()
        pages, number = pages - count, number + 1


def own_mib() -> int:
    """Anonymous memory of this process."""
    return _kib("/proc/self/status", "RssAnon:") // 1024


def workers_mib() -> int:
    """All memory of its children."""
    children = " ".join(path.read_text() for path in Path("/proc/self/task").glob("*/children")).split()
    return sum(_kib(f"/proc/{child}/status", "VmRSS:") for child in children) // 1024


def _kib(file: str, name: str) -> int:
    lines = Path(file).read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def soak(index: Path, papers: Path | Iterable[Path], *, model: str, every: int) -> list[tuple[int, int, int]]:
    """Pages, and MiB of this process and of its workers, every so many pages."""
    rows: list[tuple[int, int, int]] = []

    def note(progress: Progress) -> None:
        if progress.pages >= every * (len(rows) + 1):
            rows.append((progress.pages, own_mib(), workers_mib()))
            print("{:>9,} {:>9,} {:>9,}".format(*rows[-1]), flush=True)

    with Retriever.create(index, model=model) as retriever:
        retriever.add(papers, progress=note)
    return rows


def main() -> None:
    """As the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="?", type=int, default=20_000)
    parser.add_argument("--model", default="toy")
    parser.add_argument("--pdfs", type=Path)
    parser.add_argument("--every", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        papers = given.pdfs or Path(scratch, "papers")
        if not given.pdfs:
            papers.mkdir()
            write_papers(papers, given.pages, random.Random(0))
        print(f"{'pages':>9} {'MiB':>9} {'workers':>9}")
        rows = soak(Path(scratch, "index"), papers, model=given.model, every=given.every)
    after = [own for pages, own, _ in rows if pages >= 1000]
    print(f"after page 1,000: {min(after):,} to {max(after):,} MiB")
    raise SystemExit(max(after) - min(after) > BAND)


if __name__ == "__main__":
    main()
