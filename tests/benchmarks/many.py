"""Right pages of documents of many kinds: nDCG@5 of a model, by kind of question, and what was not read.

    python tests/benchmarks/many.py FOLDER [--model NAME] [--dim N] [--json FILE]

FOLDER holds documents/ and questions.jsonl, a line a question: {"id", "query", "file", "page", "also": [[file, page],
...], "kind", "lang", "scan"}; `also` are pages that answer it as well, `scan` whether the page has no text layer. Every
page of every document is a candidate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from visret import PageRef, Retriever, metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="all-minilm-l6-v2")
    parser.add_argument("--dim", type=int, help="project vectors to so many dimensions")
    parser.add_argument("--json", type=Path, help="write the score of every question to this file")
    arguments = parser.parse_args()
    questions = [json.loads(line) for line in (arguments.folder / "questions.jsonl").read_text("utf8").splitlines()]
    scores = defaultdict(list)
    each = {}
    storage = {"model": arguments.model, "dim": arguments.dim}
    with tempfile.TemporaryDirectory() as scratch, Retriever.create(Path(scratch) / "index", **storage) as retriever:
        report = retriever.add(arguments.folder / "documents")
        for question in questions:
            right = [PageRef(question["file"], question["page"]), *(PageRef(*other) for other in question["also"])]
            found = [hit.ref for hit in retriever.search(question["query"], k=5, explain=False)]
            each[question["id"]] = score = metrics.ndcg(found, right, 5)
            other = "English" if question["lang"] == "en" else "other languages"
            for group in ("all", question["kind"], "scans" if question["scan"] else "text layers", other):
                scores[group].append(score)
    print(f"{report.pages} pages of {report.documents} files in {report.seconds:.0f} s")
    for group, values in scores.items():
        print(f"{group:16} {statistics.fmean(values):.3f}  {len(values):3} questions")
    for failure in report.failed:
        print(f"failed: {Path(failure.path).name}, page {failure.page}: {failure.reason}")
    for empty in report.empty:
        print(f"without words: {Path(empty.path).name}, page {empty.page}")
    for lost in report.lost:
        print(f"missing: {Path(lost.path).name}, page {lost.page}: {lost.what}")
    if arguments.json:
        arguments.json.write_text(json.dumps(each, indent=1))


if __name__ == "__main__":
    main()
