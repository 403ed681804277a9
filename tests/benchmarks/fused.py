"""Two indexes of the same documents, asked together: what a page that only one of them has loses, and what it costs.

    python tests/benchmarks/fused.py FOLDER    # as quality.py, which makes the index

No published weights of a picture model can be loaded without a network, so late interaction stands for one index, and
BM25 or single vectors, of the same pages, for the other. Of the first a share of all pages is left out at random, as a
text model finds nothing on scans; four times, with equal weights. nDCG@5 of the questions whose pages both have, and
of those whose pages are left out: where a page that an index lacks counts as its worst, and where it is ranked by the
other alone (`visret.search.plans.rank`).

Then the median time of a question with ten explained hits, in three rounds: the index alone, and fused with its copy.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from quality import questions, relevant

from visret import Retriever
from visret.choices import BM25, DENSE, LATE
from visret.index import Snapshot
from visret.search import plans
from visret.search.plans import Plan
from visret.types import Question, Ranking, Selection

SHARES = (0.2, 0.5)  # of all pages, left out of the first index
TIMES, ROUNDS = 4, 3


class Part:
    """A scorer of some of the pages of an index, from the rankings of all pages for each question.

    pages: their keys, (n,) int64.
    """

    def __init__(self, whole: Mapping[str, Ranking], snapshot: Snapshot, pages: np.ndarray) -> None:
        self._whole, self._snapshot, self._pages = whole, snapshot, pages

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:
        rows = [self._snapshot.keys(np.full(len(rows), n), rows) for n, rows in among.rows.items()]
        keys, found = np.intersect1d(np.concatenate(rows), self._pages), []
        for whole in (self._whole[question.text] for question in questions):
            here = np.isin(whole.keys, keys)
            found.append(Ranking(whole.keys[here], whole.scores[here]).first(k))
        return found


def _holds(there: Mapping[str, np.ndarray], name: str, keys: np.ndarray) -> np.ndarray:
    return np.isin(keys, there[name])


def ndcg(found: Sequence[int], right: set[int], k: int = 5) -> float:
    gains = [1 / np.log2(place + 2) for place, key in enumerate(found[:k]) if key in right]
    return float(sum(gains) / sum(1 / np.log2(place + 2) for place in range(min(k, len(right)))))


def row(retriever: Retriever, other: str, share: float, fusion: Literal["relative", "rank"]) -> str:
    pipeline, snapshot = retriever._pipeline(), retriever._index.snapshot
    asked = pipeline.asked([one["query"] for one in questions()], LATE)
    keys = np.sort(np.concatenate([snapshot.keys(np.full(len(r), n), r) for n, r in snapshot.select().rows.items()]))
    at = {snapshot.document(doc).doc: snapshot.document(doc).number for doc in retriever.documents()}
    right = [{at[ref.doc] << 32 | ref.page for ref in relevant(one)} for one in questions()]
    whole = {}
    for name in (LATE, other):
        ranked = pipeline.scorer(name).rank(asked, len(keys), snapshot.select(), exact=True)
        whole[name] = {question.text: found for question, found in zip(asked, ranked, strict=True)}
    rng, values = np.random.default_rng(0), defaultdict(list)
    for _ in range(TIMES):
        there = {LATE: keys[rng.random(len(keys)) >= share], other: keys}
        scorers = {name: Part(whole[name], snapshot, pages) for name, pages in there.items()}
        plan = Plan(dict.fromkeys(there, 0.5), fusion)
        for holds in (None, partial(_holds, there)):
            found = plans.rank(plan, scorers.__getitem__, snapshot, asked, 5, snapshot.select(), holds=holds)
            for one, pages in zip(found, right, strict=True):
                both = np.isin(list(pages), there[LATE]).all()
                values[holds is None, bool(both)].append(ndcg(one.keys.tolist(), pages))
    shown = [f"{np.mean(values[worst, both]):.3f}" for worst in (True, False) for both in (True, False)]
    return f"| {LATE} + {other}, {fusion} | {share:.0%} | " + " | ".join(shown) + " |"


def milliseconds(retriever: Retriever) -> float:
    asked, taken = [one["query"] for one in questions()], []
    retriever.search_many(asked)
    for _ in range(ROUNDS):
        for question in asked:
            start = time.perf_counter()
            retriever.search(question)
            taken.append(time.perf_counter() - start)
    return 1000 * float(np.median(taken))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--index", type=Path, help="the index of the pages (the one of quality.py)")
    arguments = parser.parse_args()
    index = arguments.index or arguments.folder / "all-minilm-l6-v2.visret"
    print("| fused, by nDCG@5 | left out | worst: both have it | left out | ranked by the other: both | left out |")
    with Retriever.open(index) as alone:
        fusion: Literal["relative", "rank"]
        for fusion in ("relative", "rank"):
            for other, share in ((other, share) for other in (DENSE, BM25) for share in SHARES):
                print(row(alone, other, share, fusion), flush=True)
        first = milliseconds(alone)
    copy = arguments.folder / "copy.visret"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(index, copy)
    with Retriever.open(index).fused_with(copy=Retriever.open(copy)) as fused:
        print(f"{first:.1f} ms alone, {milliseconds(fused):.1f} ms fused with its copy")
    shutil.rmtree(copy)


if __name__ == "__main__":
    main()
