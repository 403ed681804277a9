"""Which model finds what in which language: nDCG@5 of late interaction, BM25, and what a search does by itself.

    python tests/benchmarks/languages.py FOLDER [--models NAME ...] [--languages de fr ...]

The Debian administrator's handbook in seven languages (Debian's package debian-handbook, GPL-2+ or CC-BY-SA-3.0,
fetched into FOLDER once), as plain text: a file for each of its 127 sections. Parts of each translation are still in
English. languages.jsonl asks the same 15 things in each language, of sections that are translated in all of them,
mostly in other words than the handbook's; a section is right or wrong as a whole. Needs apt-get and dpkg for the first
run.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from debian import unpacked

from visret import Retriever
from visret.choices import DEFAULT_MODEL

QUESTIONS = Path(__file__).with_suffix(".jsonl")
HANDBOOKS = {
    "en": "en-US", "de": "de-DE", "fr": "fr-FR", "es": "es-ES", "ru": "ru-RU", "zh": "zh-CN", "ja": "ja-JP",
}  # fmt: skip
WAYS = {"late interaction": "late", "BM25": "bm25", "as searched by itself": None}
UNSEEN, BLOCKS = {"script", "style", "title"}, {"p", "div", "li", "dt", "dd", "td", "tr", "pre", "h1", "h2", "h3", "h4"}


class Text(HTMLParser):
    """The text of an HTML file, a line for each block."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in UNSEEN
        self.parts += ["\n"] * (tag in BLOCKS)

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in UNSEEN
        self.parts += ["\n"] * (tag in BLOCKS)

    def handle_data(self, data: str) -> None:
        self.parts += [data] * (not self._hidden)

    def __str__(self) -> str:
        lines = (" ".join(line.split()) for line in "".join(self.parts).splitlines())
        return "\n".join(line for line in lines if line)


def fetch(folder: Path, language: str) -> Path:
    """The handbook in one language as text files."""
    texts = folder / "handbooks" / language
    if not texts.exists():
        handbook = unpacked("debian-handbook", folder)
        texts.mkdir(parents=True)
        for page in sorted((handbook / "usr/share/doc/debian-handbook/html" / HANDBOOKS[language]).glob("*.html")):
            (texts / page.with_suffix(".txt").name).write_text(str(Text(page.read_text("utf8"))), "utf8")
    return texts


def questions(language: str) -> list[tuple[str, str]]:
    """Each question with the file that answers it."""
    lines = map(json.loads, QUESTIONS.read_text("utf8").splitlines())
    return [(q["query"], q["doc"].replace(".html", ".txt")) for q in lines if q["language"] == language]


def ndcg(retriever: Retriever, asked: list[tuple[str, str]], by: str | None) -> float:
    """nDCG@5 of ranked files, of which one is right."""
    gains = 0.0
    for query, doc in asked:
        hits = retriever.search(query, k=5, by=by, group_by="document", explain=False)
        found = [hit.doc for hit in hits]
        gains += 1 / math.log2(found.index(doc) + 2) if doc in found else 0
    return gains / len(asked)


def rows(folder: Path, models: list[str], languages: list[str]) -> Iterator[list[str]]:
    """A row for each model and way of ranking, a figure for each language."""
    for model in models:
        values: dict[str, list[str]] = {way: [] for way in WAYS}
        pages, seconds = 0, 0.0
        for language in languages:
            index = folder / "handbook-indexes" / f"{model.replace('/', '_')}-{language}"
            with Retriever.open(index) if index.exists() else Retriever.create(index, model=model) as retriever:
                began = time.perf_counter()
                report = retriever.add(fetch(folder, language))
                pages, seconds = pages + report.pages, seconds + time.perf_counter() - began
                for way, by in WAYS.items():
                    values[way].append(f"{ndcg(retriever, questions(language), by):.3f}")
        speed = f"{pages / seconds:.1f}" if pages else ""
        for way, found in values.items():
            if by_words(way) and model != models[0]:
                continue  # the same whatever the model
            yield [f"{way}" if by_words(way) else f"`{model}`, {way}", *found, "" if by_words(way) else speed]


def by_words(way: str) -> bool:
    """Whether the model takes no part in a way of ranking."""
    return WAYS[way] == "bm25"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=[DEFAULT_MODEL, "quality"])
    parser.add_argument("--languages", nargs="+", choices=HANDBOOKS, default=list(HANDBOOKS))
    arguments = parser.parse_args()
    head = ["", *arguments.languages, "pages/s"]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    for row in rows(arguments.folder, arguments.models, arguments.languages):
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
