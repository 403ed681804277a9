"""Damaged PDFs by the thousand: the run ends, and says of every file and page what became of it.

    python tests/soak/mutate.py 10000                         # of the documents in examples/
    python tests/soak/mutate.py 1000 --pdfs FOLDER --seed 7   # and of 50 in FOLDER, chosen by the seed

A command, not a test: tests/test_render.py runs the same code with 50 files. A file is flipped in some bits, cut off,
given a piece or an object of another, or has its numbers changed. All files are added in one run. Exit status 1 where
something is neither indexed nor reported, took longer than it may, or met a bug in visret.
"""

from __future__ import annotations

import argparse
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from visret import Retriever
from visret.ingest import encoding

EXAMPLES = Path(__file__).parent.parent.parent / "examples" / "documents"
SMALL = 300_000  # of a PDF in --pdfs: small ones break in as many ways, and sooner
OBJECT = re.compile(rb"\d+ \d+ obj\b.*?endobj", re.DOTALL)
NUMBER = re.compile(rb"(?<=[ \[])-?\d+\.?\d*(?=[ \]/>\r\n])")
NUMBERS = (b"0", b"-1", b"99999", b"1e38", b"2147483648", b"-2147483649", b"99999999999999999999", b"0.0000001", b"nan")
KINDS = ("bits", "cut", "piece", "object", "numbers")


@dataclass(frozen=True)
class Outcome:
    """reasons: how often each was given, without numbers. wrong: what should not have happened, a line each."""

    files: int
    pages: int
    failed_files: int
    failed_pages: int
    seconds: float
    longest: float
    reasons: Counter[str]
    wrong: list[str]


def mutate(rng: random.Random, data: bytes, other: bytes, kind: str) -> bytes:
    """A damaged copy of a PDF; `other` lends its pieces."""
    out = bytearray(data)
    if kind == "bits":
        for _ in range(rng.choice((1, 10, 100, 1000))):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    elif kind == "cut":
        del out[rng.randrange(len(out)) :]
    elif kind == "piece":
        length = rng.choice((10, 1000, 20_000))
        at, start = rng.randrange(len(out)), rng.randrange(len(other))
        out[at : at + rng.choice((0, length))] = other[start : start + length]
    elif kind == "object":
        for _ in range(rng.choice((1, 3))):
            ours, theirs = (list(OBJECT.finditer(part)) for part in (bytes(out), other))
            if ours and theirs:
                target, source = rng.choice(ours), rng.choice(theirs)
                name = target.group().partition(b"obj")[0]
                out[target.start() : target.end()] = name + b"obj" + source.group().partition(b"obj")[2]
    else:
        found = list(NUMBER.finditer(data))
        for match in sorted(rng.sample(found, min(len(found), 5)), key=re.Match.start, reverse=True):
            number = rng.choice(NUMBERS)
            if rng.random() < 0.5 and len(number) < len(match.group()):
                number = number.rjust(len(match.group()))  # the table of objects stays right
            out[match.start() : match.end()] = number
    return bytes(out)


def write(folder: Path, sources: Sequence[Path], count: int, seed: int) -> list[Path]:
    """So many damaged PDFs, the same for the same sources and seed."""
    rng = random.Random(seed)
    contents = [path.read_bytes() for path in sources]
    made = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        made.append(folder / f"{number:05}-{kind}.pdf")
        made[-1].write_bytes(mutate(rng, rng.choice(contents), rng.choice(contents), kind))
    return made


def soak(folder: Path, files: Sequence[Path], *, model: str = "toy", page_seconds: float = 60) -> Outcome:
    """Add the files to an index in the folder, and look for each of their pages."""
    beats = [time.monotonic()]
    with Retriever.create(folder / "index.visret", model=model) as retriever:
        report = retriever.add(files, page_seconds=page_seconds, progress=lambda _: beats.append(time.monotonic()))
        snapshot = retriever._index.snapshot
        documents = {document.source: document for document in snapshot.documents()}
        damage = retriever._index.verify()
    longest = max(later - earlier for earlier, later in pairwise(beats))
    wrong = [f"the index is damaged: {line}" for line in damage]
    failures: dict[str, dict[int | None, str]] = {}
    for failure in report.failed:
        failures.setdefault(failure.path, {})[failure.page] = failure.reason
    for path in map(str, files):
        failed, document = failures.get(path, {}), documents.get(path)
        if None in failed:
            continue
        if document is None or document.state not in {"done", "empty"} or not document.expected:
            wrong.append(f"{path}: neither indexed nor reported")
            continue
        told = {*document.pages, *document.empty, *failed}
        wrong += [f"{path}: page {page} is lost" for page in range(1, document.expected + 1) if page not in told]
    for failure in report.failed:
        if "a bug in visret" in failure.reason or len(failure.reason) < 10 or "\n" in failure.reason:
            wrong.append(f"{failure.path}, page {failure.page}: {failure.reason}")
    if longest > (page_seconds + 5) * (1 + max(encoding.BATCH_PAGES.values())):
        wrong.append(f"nothing happened for {longest:.0f} s")
    return Outcome(
        files=len(files),
        pages=report.pages,
        failed_files=sum(None in pages for pages in failures.values()),
        failed_pages=sum(failure.page is not None for failure in report.failed),
        seconds=report.seconds,
        longest=longest,
        reasons=Counter(re.sub(r"\d[\d,.]*", "N", failure.reason) for failure in report.failed),
        wrong=wrong,
    )


def main() -> None:
    """Print what became of the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int)
    parser.add_argument("--pdfs", type=Path, help="a folder with more PDFs to damage")
    parser.add_argument("--model", default="toy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page-seconds", type=float, default=60)
    parser.add_argument("--keep", type=Path, help="an empty folder for the damaged files, which stay there")
    given = parser.parse_args()
    sources = sorted(EXAMPLES.glob("*.pdf"))
    if given.pdfs:
        small = [path for path in sorted(given.pdfs.rglob("*.pdf")) if path.stat().st_size < SMALL]
        sources += random.Random(given.seed).sample(small, min(len(small), 50))
    with tempfile.TemporaryDirectory() as scratch:
        damaged = given.keep or Path(scratch, "damaged")
        damaged.mkdir(parents=True, exist_ok=True)
        files = write(damaged, sources, given.count, given.seed)
        outcome = soak(Path(scratch), files, model=given.model, page_seconds=given.page_seconds)
    for reason, count in outcome.reasons.most_common():
        print(f"{count:6} x {reason}")
    print(
        f"{outcome.files} files in {outcome.seconds:.0f} s: {outcome.pages} pages indexed, "
        f"{outcome.failed_pages} pages and {outcome.failed_files} files failed; "
        f"the longest wait was {outcome.longest:.1f} s"
    )
    print(*outcome.wrong, f"wrong: {len(outcome.wrong)}", sep="\n")
    raise SystemExit(bool(outcome.wrong))


if __name__ == "__main__":
    main()
