"""What reading the first pages again brings and costs: the questions of quality.py, with and without a reranker.

    python tests/benchmarks/rerank.py FOLDER             # the time only, of random weights
    python tests/benchmarks/rerank.py FOLDER RERANKER    # a name of models.yaml or a folder: nDCG@5 and the line too

FOLDER is that of quality.py, with the index of the default model. The first table is nDCG@5 of the default model alone
and with its first --depth pages read again. The line is the score below which a page is weak: the highest that marks at
most one in a hundred right pages, with the share of the best pages for questions on other subjects that it marks.

The time is that of one page in seconds of the machine: rounds alternate between the encoder that indexes pages and the
reranker, so that what else the machine does falls on both. Without RERANKER its weights are random, in the shape of
ms-marco-MiniLM-L6-v2, which is that of the default model, and in float32 as the encoder's.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from quality import ELSEWHERE, asked, questions, relevant

from visret import Page, Retriever, load_encoder, load_reranker
from visret.evaluate import compare, system_of
from visret.search.rerank import DEPTH
from visret.types import Reranker

MODEL = "all-minilm-l6-v2"
MARKED = 0.01  # of the right pages


def random_weights(folder: Path) -> Path:
    """A cross-encoder with the shape, the tokenizer and the limit of ms-marco-MiniLM-L6-v2."""
    import json
    import shutil

    from visret.encoders import _torch
    from visret.models import registry, weights

    with _torch.quiet():
        from transformers import BertConfig, BertForSequenceClassification

    here = weights.location(registry.get(MODEL)).path
    assert here is not None
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        if (here / name).exists():
            shutil.copy(here / name, folder)
    settings = json.loads((here / "config.json").read_text())
    BertForSequenceClassification(BertConfig(**{**settings, "num_labels": 1})).save_pretrained(folder)
    return folder


def seconds_a_page(pages: Sequence[Page], reranker: Reranker, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds a page of the encoder and of the reranker, one of each a round."""
    encoder = load_encoder(MODEL, dtype="float32")
    question = questions()[0]["query"]
    works = (lambda: encoder.encode_pages(pages), lambda: reranker.scores(question, pages))
    for work in works:
        work()
    taken: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for work, times in zip(works, taken, strict=True):
            start = time.perf_counter()
            work()
            times.append((time.perf_counter() - start) / len(pages))
    return taken


def line(retriever: Retriever, reranker: Reranker, depth: int) -> str:
    """The line below which a page is weak, and what it marks."""
    right = [
        hit.score
        for question in questions()
        for hit in retriever.search(question["query"], k=10, rerank=reranker, depth=depth, explain=False)
        if hit.ref in relevant(question)
    ]
    others = [retriever.search(q, k=1, rerank=reranker, depth=depth, explain=False)[0].score for q in ELSEWHERE]
    at = float(np.quantile(right, MARKED, method="lower"))
    return (
        f"weak_below: {at:.3g} marks {np.mean(np.array(right) < at):.1%} of {len(right)} right pages among ten hits, "
        f"and {np.mean(np.array(others) < at):.0%} of the best pages for {len(others)} questions on other subjects"
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="that of quality.py")
    parser.add_argument("reranker", nargs="?", help="a name of models.yaml, or a folder")
    parser.add_argument("--depth", type=int, default=DEPTH)
    parser.add_argument("--pages", type=int, default=20, help="that are timed")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    where = arguments.folder / f"{MODEL}.visret"
    if not where.exists():
        sys.exit(f"{where} is not there: python tests/benchmarks/quality.py {arguments.folder}")
    with tempfile.TemporaryDirectory() as scratch, Retriever.open(where) as retriever:
        given = arguments.reranker or random_weights(Path(scratch))
        reranker = load_reranker(given, dtype="auto" if arguments.reranker else "float32")
        hits = retriever.search(questions()[0]["query"], k=arguments.pages)
        pages = [retriever.read(hit, picture=reranker.spec.modality == "image")[0] for hit in hits]
        encoder, again = seconds_a_page([page for page in pages if reranker.can_read(page)], reranker, arguments.rounds)
        ratios = [two / one for one, two in zip(encoder, again, strict=True)]
        words = statistics.mean(len(page.text.split()) for page in pages)
        print(
            f"a page of {words:.0f} words: {statistics.median(encoder):.3f} s to encode ({MODEL}), "
            f"{statistics.median(again):.3f} s to score, {statistics.median(ratios):.2f} times as long "
            f"({min(ratios):.2f} to {max(ratios):.2f})"
        )
        if arguments.reranker:
            again = system_of(retriever, f"{MODEL}, then {reranker.spec.name}", rerank=reranker, depth=arguments.depth)
            systems = [system_of(retriever, MODEL), again]
            print(f"\n{compare(systems, asked(), k=5)}\n\n{line(retriever, reranker, arguments.depth)}")


if __name__ == "__main__":
    main()
