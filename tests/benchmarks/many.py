"""Right pages of documents of many kinds, by kind of question: visret, the same model pooled, BM25; what was not read.

    pip install -e ".[bench]"                          # bm25s, ir-measures
    python tests/benchmarks/many.py FOLDER [--model NAME] [--dim N] [--alone] [--json FILE]

FOLDER holds documents/ and questions.jsonl, a line a question: {"id", "query", "file", "page", "also": [[file, page],
...], "kind", "lang", "scan"}; `also` are pages that answer it as well, `scan` whether the page has no text layer. Every
page of every document is a candidate. The other systems rank the words that visret read, with OCR where it took any.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from rivals import bm25, pooled, texts_of

from visret import Retriever
from visret.choices import DEFAULT_MODEL
from visret.evaluate import QuestionSet, compare, read, system_of


def questions(file: Path) -> QuestionSet:
    """The questions, counted by their kinds, by whether the page is a scan, and by language."""
    lines = [json.loads(line) for line in file.read_text("utf8").splitlines()]
    more = {
        line["id"]: (
            "scans" if line["scan"] else "text layers",
            "English" if line["lang"] == "en" else "other languages",
        )
        for line in lines
    }
    asked = read(file)
    return replace(asked, questions={one.id: replace(one, kinds=_kinds(*one.kinds, *more[one.id])) for one in asked})


def _kinds(*kinds: str) -> tuple[str, ...]:
    return tuple(kind for kind in kinds if kind != "other-language")  # as the language says


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default=DEFAULT_MODEL)
    parser.add_argument("--dim", type=int, help="project vectors to so many dimensions")
    parser.add_argument("--alone", action="store_true", help="without BM25 and the pooled model")
    parser.add_argument("--json", type=Path, help="write the score of every question to this file")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        Retriever.create(Path(scratch) / "index", model=arguments.model, dim=arguments.dim) as retriever,
    ):
        report = retriever.add(arguments.folder / "documents")
        systems = [system_of(retriever, f"visret, {arguments.model}")]
        if not arguments.alone:
            pages = texts_of(retriever)
            systems += [pooled(pages), bm25(pages, "BM25 on the words that visret read")]
        comparison = compare(systems, questions(arguments.folder / "questions.jsonl"), k=5)
    print(f"{report.pages} pages of {report.documents} files in {report.seconds:.0f} s\n")
    print(comparison)
    for failure in report.failed:
        print(f"failed: {Path(failure.path).name}, page {failure.page}: {failure.reason}")
    for empty in report.empty:
        print(f"without words: {Path(empty.path).name}, page {empty.page}")
    for lost in report.lost:
        print(f"missing: {Path(lost.path).name}, page {lost.page}: {lost.what}")
    if arguments.json:
        scores = comparison.systems[0].values[comparison.measures[0]].tolist()
        arguments.json.write_text(json.dumps(dict(zip(comparison.questions.questions, scores, strict=True)), indent=1))


if __name__ == "__main__":
    main()
