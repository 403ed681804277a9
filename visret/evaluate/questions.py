"""Questions with graded right pages, and the names that pages have in the files of TREC."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote

from visret.errors import InvalidArgument

Unit = Literal["page", "document"]
UNITS: tuple[Unit, ...] = ("page", "document")

# What would end a column or begin the number of a page, and what UTF-8 has no bytes for.
_UNSAFE = re.compile(r"[\s%#\x00-\x1f\x7f-\x9f\ud800-\udfff]")


class Target(NamedTuple):
    """The answer to a question: a page of a document, or the document where `page` is None."""

    doc: str
    page: int | None = None

    def __str__(self) -> str:
        return self.doc if self.page is None else f"{self.doc}, page {self.page}"


@dataclass(frozen=True, slots=True, eq=False)
class JudgedQuestion:
    """A question, and how well pages answer it.

    id: its name in run files. text: "" where only its id is known.
    kinds: the kinds that tables count it under, such as "paraphrase".
    relevant: the grade of each page or document; above 0 is right, and more is better. lines: where the file says so.
    """

    id: str
    text: str
    relevant: Mapping[Target, int]
    kinds: tuple[str, ...] = ()
    lines: Mapping[Target, int] = field(default_factory=dict)

    @property
    def right(self) -> Iterator[Target]:
        """The pages or documents that answer it, those with the highest grade first."""
        order = sorted(self.relevant, key=lambda target: -self.relevant[target])
        return (target for target in order if self.relevant[target] > 0)


@dataclass(frozen=True, slots=True, eq=False)
class QuestionSet:
    """Questions by id, from one file or folder.

    file: what says which pages are right; errors name it.
    unjudged: how many questions were left out because the file judges no page for them.
    """

    file: Path
    questions: Mapping[str, JudgedQuestion]
    unjudged: int = 0

    def __len__(self) -> int:
        return len(self.questions)

    def __iter__(self) -> Iterator[JudgedQuestion]:
        return iter(self.questions.values())

    def unit(self, wanted: Unit | None = None) -> Unit:
        """Return what is ranked: `wanted` if given, else pages if every answer names one, and documents if none does.

        Raises InvalidArgument if an answer names no page although pages are wanted, or other answers name one.
        """
        if wanted not in (None, *UNITS):
            raise InvalidArgument(f"what is ranked is a page or a document, got {wanted!r}")
        if wanted == "document":
            return "document"
        whole = [(question, target) for question in self for target in question.relevant if target.page is None]
        if wanted is None and len(whole) == sum(len(question.relevant) for question in self):
            return "document"
        if whole:
            question, target = whole[0]
            raise InvalidArgument(
                f"{self.place(question, target)}: {target.doc!r} has no page there, so it cannot be told which page is "
                "right; write the page, or measure documents (--unit document)"
            )
        return "page"

    def relevance(self, unit: Unit) -> dict[str, dict[str, int]]:
        """Return the grades by the ids of questions and of pages or documents, as ir-measures takes them.

        A document has the highest grade of its pages.
        """
        made = {}
        for question in self:
            grades: dict[str, int] = {}
            for (doc, page), grade in question.relevant.items():
                name = name_of(doc, page if unit == "page" else None)
                grades[name] = max(grade, grades.get(name, grade))
            made[question.id] = grades
        return made

    def place(self, question: JudgedQuestion, target: Target) -> str:
        """Return where the file names this answer, for messages."""
        line = question.lines.get(target)
        return f"{self.file}, " + (f"line {line}" if line else f"question {question.id}")


def name_of(doc: str, page: int | None) -> str:
    """Return what a page or a document is called in run files: `doc#page`, without blanks; `target_of` reads it."""
    name = quoted(doc)
    return name if page is None else f"{name}#{page}"


def target_of(name: str) -> Target:
    """Return the page or document with this name in a run file or qrels."""
    if "#" in name:
        doc, _, page = name.rpartition("#")
        if doc and page.isascii() and page.isdigit() and int(page):
            return Target(unquoted(doc), int(page))
    return Target(unquoted(name))


def quoted(text: str) -> str:
    """Return text for a column of a file whose columns end at blanks."""
    if not _UNSAFE.search(text):
        return text
    return _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode("utf8", "surrogatepass")), text)


def unquoted(text: str) -> str:
    """Return the text of a column that `quoted` wrote, or somebody who quoted nothing."""
    if "%" not in text:
        return text
    try:
        return unquote(text, errors="surrogatepass")
    except UnicodeDecodeError:  # a name with such signs, from elsewhere
        return text


class Builder:
    """A question set while its file is read. where: the file that says which pages are right."""

    def __init__(self, where: Path) -> None:
        self.where = where
        self._texts: dict[str, str] = {}
        self._kinds: dict[str, dict[str, None]] = {}
        self._grades: dict[str, dict[Target, int]] = {}
        self._lines: dict[str, dict[Target, int]] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._texts

    def ask(self, name: str, text: str, kinds: tuple[str, ...] = (), *, line: int = 0) -> None:
        """Take in a question, or more about one. Raises InvalidArgument where it is another question so far."""
        before = self._texts.setdefault(name, text)
        if before != text:
            raise self.wrong(line, f"question {name} is {text!r} here and was {before!r}; give each question one id")
        self._kinds.setdefault(name, {}).update(dict.fromkeys(kinds))

    def judge(self, name: str, target: Target, grade: int, *, line: int = 0) -> None:
        """Take in how well a page answers a question. Raises InvalidArgument where it had another grade so far."""
        grades = self._grades.get(name)
        if grades is None:
            grades, self._lines[name] = self._grades.setdefault(name, {}), {}
        if target not in grades:
            grades[target], self._lines[name][target] = grade, line
        elif grades[target] != grade:
            raise self.wrong(line, f"{target} has grade {grade} for question {name} and had {grades[target]}; keep one")

    def wrong(self, line: int, reason: str) -> InvalidArgument:
        """Return the error for something in a line."""
        return wrong(self.where, line, reason)

    def made(self, *, texts_known: bool = True, numbered: bool = False) -> QuestionSet:
        """Return the questions that have answers. Raises InvalidArgument where there are none, or one has no text.

        texts_known: whether every question must have been asked; else it is "" of those that have not.
        numbered: whether their ids are numbers in their order, and not the names that they had so far.
        """
        if texts_known and (unknown := self._grades.keys() - self._texts.keys()):
            listed = ", ".join(islice(sorted(unknown), 3))
            first = next(name for name in self._grades if name in unknown)
            line = next(iter(self._lines[first].values()), 0)
            raise self.wrong(line, f"there are no texts of questions {listed}{' ...' * (len(unknown) > 3)}; add them")
        if not self._grades:
            raise InvalidArgument(f"{self.where}: has no questions with right pages")
        questions = {}
        for number, (name, grades) in enumerate(self._grades.items(), 1):
            key = str(number) if numbered else name
            kinds = tuple(self._kinds.get(name, ()))
            questions[key] = JudgedQuestion(key, self._texts.get(name, ""), grades, kinds, self._lines[name])
        return QuestionSet(self.where, questions, len(self._texts.keys() - self._grades.keys()))


def wrong(file: Path, line: int, reason: str) -> InvalidArgument:
    """Return the error for something in a file. line: from 1, or 0 for the whole file."""
    return InvalidArgument(f"{file}{f', line {line}' if line else ''}: {reason}")
