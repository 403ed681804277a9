"""Words and boxes of the text layer beside poppler's: what share of `pdftotext -bbox` does visret find?

    python tests/benchmarks/words_vs_pdftotext.py FOLDER [--pages 200] [--seed 0]

Random pages of the PDFs of documents.txt under FOLDER (quality.py fetches them), or of all its PDFs. A word is *found*
where a word, or the part of a hyphenated one, has the same text (NFKC, without control characters and a hyphen at its
end) and a box with an intersection over union of at least .5. *Divided otherwise* are words whose letters stand in the
same place in the same order but between other spaces: poppler ends a word wherever the font or its size changes
("L A T EX", "H 2 O", "(" "https://..." ")"), and at every letter of a listing set wide. Speeds are pages per second of
CPU time over all pages of these documents, words only. Needs poppler.
"""

from __future__ import annotations

import argparse
import html
import random
import re
import subprocess
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

from visret import Page, documents
from visret.types import Box

HERE = Path(__file__).parent
Placed = tuple[str, Box]  # text, box in points

FOUND, BOX_OFF, DIVIDED, MISSING = "found", "box off", "divided otherwise", "missing"


def normal(text: str) -> str:
    text = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c)[0] not in "CZ")
    return text.rstrip("-\u2010") or text


def parts(page: Page) -> Iterator[Placed]:
    """What stands on the lines: a hyphenated word counts by its parts."""
    width, height = page.size_pt
    for word in page.words:
        starts = [0, *(start for start, _ in word.rest)]
        boxes = [word.box, *(box for _, box in word.rest)]
        for start, end, (x0, y0, x1, y1) in zip(starts, [*starts[1:], None], boxes, strict=True):
            yield normal(word.text[start:end]), (x0 * width, y0 * height, x1 * width, y1 * height)


def pdftotext(path: Path, page: int | None = None) -> list[Placed]:
    only = [] if page is None else ["-f", str(page), "-l", str(page)]
    out = subprocess.run(["pdftotext", "-bbox", "-cropbox", *only, path, "-"], capture_output=True, check=True)
    found = re.findall(
        r'<word xMin="(.*?)" yMin="(.*?)" xMax="(.*?)" yMax="(.*?)">(.*?)</word>', out.stdout.decode(), re.S
    )
    words = ((normal(html.unescape(text)), tuple(map(float, box))) for *box, text in found)
    return [(text, box) for text, box in words if text]


def overlap(a: Box, b: Box) -> float:
    """Intersection over union."""
    both = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    return both / (sum((x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b)) - both or 1)


def compare(ours: list[Placed], theirs: list[Placed]) -> list[str]:
    """FOUND, BOX_OFF, DIVIDED or MISSING for each of their words; a word of ours is used once."""
    by_text = defaultdict(list)
    for i, (text, _) in enumerate(ours):
        by_text[text].append(i)
    used = [False] * len(ours)
    state = [MISSING] * len(theirs)
    for least, name in ((0.5, FOUND), (0.1, BOX_OFF)):
        for k, (text, box) in enumerate(theirs):
            free = [i for i in by_text[text] if not used[i]]
            best = max(free, key=lambda i: overlap(ours[i][1], box), default=None) if state[k] == MISSING else None
            if best is not None and overlap(ours[best][1], box) >= least:
                used[best], state[k] = True, name
    for i, whole in enumerate(ours):
        pieces = [k for k, name in enumerate(state) if name == MISSING and inside(theirs[k], whole)]
        if not used[i] and spells(whole, [theirs[k] for k in pieces]):
            used[i] = True
            state = [DIVIDED if k in pieces else name for k, name in enumerate(state)]
    for k, whole in enumerate(theirs):
        pieces = [i for i, taken in enumerate(used) if not taken and inside(ours[i], whole)]
        if state[k] == MISSING and spells(whole, [ours[i] for i in pieces]):
            state[k] = DIVIDED
            used = [taken or i in pieces for i, taken in enumerate(used)]
    return state


def inside(piece: Placed, whole: Placed) -> bool:
    """The centre of one in the box of the other?"""
    (x0, y0, x1, y1), (left, top, right, bottom) = piece[1], whole[1]
    return left <= (x0 + x1) / 2 <= right and top <= (y0 + y1) / 2 <= bottom


def spells(whole: Placed, pieces: list[Placed]) -> bool:
    """Do the pieces, from left to right (or along turned text), make up the word?"""
    along = (lambda p: p[1][0], lambda p: p[1][1], lambda p: -p[1][3], lambda p: -p[1][2])
    return any("".join(text for text, _ in sorted(pieces, key=key)) == whole[0] for key in along)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pages", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    listed = [args.folder / name for name in (HERE / "documents.txt").read_text().split()]
    paths = [path for path in listed if path.exists()] or sorted(args.folder.rglob("*.pdf"))
    every = [(path, page) for path in paths for page in range(1, documents.count(path) + 1)]
    sample = sorted(random.Random(args.seed).sample(every, min(args.pages, len(every))))

    total, anywhere, worst = Counter(), 0, defaultdict(Counter)
    for path, number in sample:
        with documents.open_document(path) as document:
            ours = list(parts(document.page(number, image=False)))
        theirs = pdftotext(path, number)
        states = Counter(compare(ours, theirs))
        total += states
        worst[path.name] += states
        anywhere += (Counter(text for text, _ in ours) & Counter(text for text, _ in theirs)).total()
    n = total.total()
    print(f"{n:,} words on {len(sample)} pages of {len(paths)} documents")
    for name in (FOUND, DIVIDED, BOX_OFF, MISSING):
        print(f"  {total[name] / n:7.2%}  {name}")
    print(f"  {(total[FOUND] + total[DIVIDED]) / n:7.2%}  found or divided otherwise")
    print(f"  {anywhere / n:7.2%}  same text anywhere on the page")
    print("\nnot found, by document")
    for name, states in sorted(worst.items(), key=lambda item: item[1][FOUND] / item[1].total())[:12]:
        shares = "  ".join(f"{states[s] / states.total():6.1%} {s}" for s in (FOUND, DIVIDED, BOX_OFF, MISSING))
        print(f"  {shares}  {name}")

    start = time.process_time()
    for path in paths:
        with documents.open_document(path) as document:
            for number in range(1, len(document) + 1):
                document.page(number, image=False)
    ours_s = time.process_time() - start
    start = children()
    for path in paths:
        pdftotext(path)
    theirs_s = children() - start
    print(f"\n{len(every)} pages: {len(every) / ours_s:.0f} a second of CPU, pdftotext {len(every) / theirs_s:.0f}")


def children() -> float:
    """CPU seconds of the programs run so far."""
    import resource  # not on Windows, where the tests import `compare` from here

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
