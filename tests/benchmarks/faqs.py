"""Right answers to questions that people asked: the FAQs of Perl and Python, whose own answers are the candidates.

    pip install -e ".[bench]"                # bm25s
    python tests/benchmarks/faqs.py FOLDER [--models NAME ...]

The packages perl-doc and python3-doc of Debian are fetched into FOLDER, once. A question is the heading of an answer of
more than 15 words; the answer, without the heading, is a page of plain text. Nobody chose these questions to try a
search engine, and few repeat the words of their answers. The tables are those of `visret evaluate`. Needs apt-get and
dpkg for the first run.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from debian import unpacked
from rivals import bm25, texts_of

from visret import Page, Retriever
from visret.choices import QUALITY_MODEL
from visret.evaluate import QuestionSet, compare, system_of
from visret.evaluate.questions import JudgedQuestion, Target

PACKAGES = ("perl-doc", "python3.11-doc")
SHORTEST = 15  # words; what is shorter refers to another answer


class Entry(NamedTuple):
    """A question with its answer. source: "perl" or "python"."""

    source: str
    question: str
    answer: str


class Sections(HTMLParser):
    """The headings of a page of Python's documentation, each with the text up to the next."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self._in_heading = False
        self._hidden = 0
        self.feed(html.partition('class="sphinxsidebar"')[0])

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("h2", "h3"):
            self.found.append(["", ""])
            self._in_heading = True
        self._hidden += tag in ("script", "style", "nav")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("h2", "h3"):
            self._in_heading = False
        self._hidden -= tag in ("script", "style", "nav")

    def handle_data(self, data: str) -> None:
        if self.found and not self._hidden:
            self.found[-1][not self._in_heading] += data


def entries(folder: Path) -> list[Entry]:
    """The questions with their answers; a question that comes twice counts once."""
    perl, python = (unpacked(package, folder) for package in PACKAGES)
    found = [*_perl(perl), *_python(python)]
    return list({one.question: one for one in reversed(found) if len(one.answer.split()) > SHORTEST}.values())


def _perl(folder: Path) -> Iterator[Entry]:
    for file in sorted(folder.rglob("perlfaq[1-9].pod")):
        headings = re.split(r"^=head2 (.*)$", file.read_text("utf8", "replace"), flags=re.M)
        for question, answer in zip(headings[1::2], headings[2::2], strict=True):
            answer = re.split(r"^=head1", answer, flags=re.M)[0]
            yield Entry("perl", _plain(question), _plain(re.sub(r"^=\w+.*$", "", answer, flags=re.M)))


def _plain(pod: str) -> str:
    """The words of a piece of POD, without its formatting codes."""
    return " ".join(re.sub(r"[A-Z]<+ ?(?:[^<>|]*\|)?([^<>]*?) ?>+", r"\1", pod).split())


def _python(folder: Path) -> Iterator[Entry]:
    for file in sorted(folder.rglob("html/faq/*.html")):
        for heading, text in Sections(file.read_text("utf8")).found:
            question = " ".join(heading.replace("¶", "").split())
            if question.endswith("?"):
                yield Entry("python", question, " ".join(text.split()))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", nargs="+", default=["minilm-granite", QUALITY_MODEL])
    arguments = parser.parse_args()
    found = entries(arguments.folder)
    pages = [Page.from_text(one.answer, doc="faq", page=number) for number, one in enumerate(found, 1)]
    asked = QuestionSet(
        arguments.folder,
        {
            str(number): JudgedQuestion(str(number), one.question, {Target("faq", number): 1}, (one.source,))
            for number, one in enumerate(found, 1)
        },
    )
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as opened:
        systems = []
        for model in arguments.models:
            made = opened.enter_context(Retriever.create(Path(scratch) / model.replace("/", "-"), model=model))
            made.add_pages(pages)
            alone = [system_of(made, f"{model}, late", by="late")] if made.info()["added_models"] else []
            systems += [*alone, system_of(made, model)]
        systems.append(bm25(texts_of(made), "BM25"))
        print(compare(systems, asked, k=5))


if __name__ == "__main__":
    main()
