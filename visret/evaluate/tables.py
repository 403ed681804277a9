"""Lines of files as questions: CSV, JSON lines, and the qrels and topics of TREC."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Any

from visret.errors import InvalidArgument
from visret.evaluate.questions import Builder, QuestionSet, Target, target_of, unquoted, wrong

# What a column may be called, in any case; the first is what messages say.
COLUMNS = {
    "question": ("question", "query", "text"),
    "doc": ("doc", "document", "file", "filename", "path"),
    "page": ("page", "pages", "page number"),
    "grade": ("grade", "relevance", "rel", "score"),
    "kind": ("kind", "type", "category"),
    "id": ("id", "question id", "query id", "qid", "no"),
}
_NAMED = {name: column for column, names in COLUMNS.items() for name in names}
MAX_PAGES = 10_000  # of a range such as 3-5 in a cell
MAX_GRADE = 1000  # trec_eval counts the pages of each grade
EXAMPLE = '{"query": "What did it cost?", "doc": "a.pdf", "page": 3}'
TOPICS = ("topics.tsv", "topics.jsonl", "queries.tsv", "queries.jsonl")


def text_of(file: Path) -> str:
    """Return what a file says. Raises InvalidArgument where it cannot be read, or is not UTF-8."""
    try:
        return file.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidArgument(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"{file}: is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error


def lines_of(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a file that are not empty, with their numbers from 1."""
    for number, line in enumerate(text_of(file).split("\n"), 1):
        if line and not line.isspace():
            yield number, line


def rows(file: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a table with commas, semicolons or tabs, and the number of the line where each ends."""
    text = text_of(file)
    first = text.partition("\n")[0]
    found = csv.reader(StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        for row in found:
            if any(cell.strip() for cell in row):
                yield found.line_num, [cell.strip() for cell in row]
    except csv.Error as error:
        raise wrong(file, found.line_num, f"is not CSV: {error}") from error


def from_csv(file: Path) -> QuestionSet:
    """Read a table with a row for each right page: question, doc, page, and if wanted grade, kind and id."""
    made = Builder(file)
    table = rows(file)
    _, head = next(table, (1, []))
    columns = _columns(file, head)
    for line, row in table:
        if len(row) > len(head):
            raise wrong(file, line, f"has {len(row)} cells for {len(head)} columns; quote cells that have commas")
        cells = {column: row[at] for column, at in columns.items() if at < len(row) and row[at]}
        text = cells.get("question", "")
        name = cells.get("id") or text
        if not name or (name not in made and not text):
            raise wrong(file, line, "has no question; write it in the column 'question'")
        if "doc" not in cells:
            raise wrong(file, line, "names no document that answers it; write it in the column 'doc'")
        if text:
            made.ask(name, text, kinds_of(cells.get("kind")), line=line)
        grade = grade_of(file, line, cells.get("grade", 1))
        for page in pages_of(file, line, cells.get("page")):
            made.judge(name, Target(cells["doc"], page), grade, line=line)
    return made.made(numbered="id" not in columns)


def from_jsonl(file: Path) -> QuestionSet:
    """Read a line for each question, with its right page or several: page and also, or relevant with grades."""
    made = Builder(file)
    for line, entry in objects(file):
        text = entry.get("query", entry.get("question"))
        if not isinstance(text, str) or not text.strip():
            raise wrong(file, line, f"has no question; a line looks like {EXAMPLE}")
        name = str(entry.get("id", line))
        if name in made:
            raise wrong(file, line, f"has the id {name} of an earlier line; give each question its own")
        made.ask(name, text, kinds_of(entry.get("kind")), line=line)
        answers = list(_answers(file, line, entry))
        if not answers:
            raise wrong(file, line, f"names nothing that answers it; a line looks like {EXAMPLE}")
        for target, grade in answers:
            made.judge(name, target, grade, line=line)
    return made.made()


def from_qrels(file: Path, topics: Path | None = None) -> QuestionSet:
    """Read TREC's qrels: the id of a question, 0, the name of a page or document, and a grade.

    topics: the texts of the questions; without it, one of TOPICS beside the file, if there is one. Without either
    every text is "", which is enough to measure run files.
    """
    if topics is None:
        topics = next((there for name in TOPICS if (there := file.with_name(name)).is_file() and there != file), None)
    made = Builder(file)
    if topics is not None:
        for line, name, text in topics_of(topics):
            made.ask(name, text, line=line)
    grades: dict[str, int] = {}  # a million lines have a handful
    for line, row in lines_of(file):
        cells = row.split()
        if len(cells) != 4:
            raise wrong(file, line, f"has {len(cells)} columns; qrels have four: question, 0, page, grade")
        name, _, page, grade = cells
        if grade not in grades:
            grades[grade] = grade_of(file, line, grade, least=None)
        made.judge(unquoted(name), target_of(page), grades[grade], line=line)
    return made.made(texts_known=topics is not None)


def topics_of(file: Path) -> Iterator[tuple[int, str, str]]:
    """Yield line, id and text of questions: JSON lines with id and text, or a table of ids and texts with tabs."""
    if file.suffix.lower() in (".jsonl", ".json"):
        for line, entry in objects(file):
            name = next((entry[key] for key in ("_id", "id", "query_id", "qid") if key in entry), None)
            text = next((entry[key] for key in ("text", "query", "question", "title") if key in entry), None)
            if name is None or not isinstance(text, str) or not text.strip():
                raise wrong(file, line, 'has no id or no text; a line looks like {"_id": "1", "text": "..."}')
            yield line, str(name), text
        return
    for line, row in lines_of(file):
        name, tab, text = row.partition("\t")
        if not tab or not text.strip():
            raise wrong(file, line, "has no text; a line is the id of a question, a tab, and the question")
        if line == 1 and _named(name) == "id" and _named(text.split("\t")[0]) == "question":
            continue
        yield line, name.strip(), text.strip()


def objects(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of JSON lines, with the number of each line."""
    for line, text in lines_of(file):
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise wrong(file, line, f"is not JSON: {error}") from error
        if not isinstance(entry, dict):
            raise wrong(file, line, f"must be an object such as {EXAMPLE}")
        yield line, entry


def _answers(file: Path, line: int, entry: dict[str, Any]) -> Iterator[tuple[Target, int]]:
    """Yield what answers the question of a JSON line, with grades."""
    doc = next((entry[key] for key in ("doc", "document", "file") if entry.get(key) is not None), None)
    if isinstance(doc, str) and isinstance(entry.get("package"), str):
        doc = f"{entry['package']}/{doc}"
    if doc is not None:
        grade = grade_of(file, line, entry.get("grade", 1))
        for page in pages_of(file, line, entry.get("page")):
            yield _target(file, line, doc, page), grade
    for other in _several(file, line, entry, "also"):
        if isinstance(other, list):
            if len(other) != 2:
                raise wrong(file, line, f"'also' has pages, or [document, page], got {other!r}")
            yield _target(file, line, *other), 1
        else:
            yield _target(file, line, doc, other), 1
    for one in _several(file, line, entry, "relevant"):
        if isinstance(one, list) and 1 <= len(one) <= 3:
            one = dict(zip(("doc", "page", "grade"), one, strict=False))
        if not isinstance(one, dict):
            raise wrong(file, line, f'\'relevant\' has objects such as {{"doc": "a.pdf", "page": 3}}, got {one!r}')
        named = one.get("doc", one.get("document", one.get("file", doc)))
        yield _target(file, line, named, one.get("page")), grade_of(file, line, one.get("grade", 1))


def _several(file: Path, line: int, entry: dict[str, Any], key: str) -> list[Any]:
    given = entry.get(key) or []
    if not isinstance(given, list):
        raise wrong(file, line, f"{key!r} must be a list, got {given!r}")
    return given


def _target(file: Path, line: int, doc: Any, page: Any) -> Target:
    if not isinstance(doc, str) or not doc:
        raise wrong(file, line, f"the name of a document is text such as 'a.pdf', got {doc!r}")
    if page is None:
        return Target(doc)
    found = pages_of(file, line, page)
    if len(found) > 1:
        raise wrong(file, line, f"a page is one number, from 1, got {page!r}")
    return Target(doc, found[0])


def _columns(file: Path, head: Sequence[str]) -> dict[str, int]:
    """Return the columns that mean something, and where they stand."""
    columns: dict[str, int] = {}
    for at, name in enumerate(head):
        column = _named(name)
        if column is None:
            continue
        if column in columns:
            raise wrong(file, 1, f"has two columns for the {column}: {head[columns[column]]!r} and {name!r}; keep one")
        columns[column] = at
    for name in head:
        near = get_close_matches(_plain(name), _NAMED, 1, 0.8) if _named(name) is None else []
        if near and _NAMED[near[0]] not in columns:
            raise wrong(file, 1, f"has a column {name!r}; did you mean {near[0]!r}?")
    if missing := [column for column in ("question", "doc") if column not in columns]:
        known = ", ".join(COLUMNS)
        raise wrong(
            file, 1, f"names the columns, and {missing[0]!r} is not among them; they are {known}; got {', '.join(head)}"
        )
    return columns


def _named(name: str) -> str | None:
    return _NAMED.get(_plain(name))


def _plain(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", name.strip().casefold())


def kinds_of(given: Any) -> tuple[str, ...]:
    """Return the kinds of a question, which are text or a list of it."""
    listed = given if isinstance(given, list) else [given]
    return tuple(str(kind).strip() for kind in listed if kind is not None and str(kind).strip())


def pages_of(file: Path, line: int, given: Any) -> list[int | None]:
    """Return the pages in a cell, such as 3, "3, 7" or "3-5"; one None where it is empty."""
    if given is None or (isinstance(given, str) and not given.strip()):
        return [None]
    found: list[int | None] = []
    for part in re.split(r"[,;]", str(given)):
        one = re.fullmatch(r"\s*(\d{1,9})(?:\.0+)?(?:\s*[-–]\s*(\d{1,9}))?\s*", part, re.ASCII)
        first, last = (int(one[1]), int(one[2] or one[1])) if one and not isinstance(given, bool) else (0, 0)
        if not 1 <= first <= last < first + MAX_PAGES:
            raise wrong(
                file, line, f"a page is a number, from 1, such as 3, or several such as 3, 7 or 3-5; got {given!r}"
            )
        found += range(first, last + 1)
    return found


def grade_of(file: Path, line: int, given: Any, *, least: int | None = 0) -> int:
    """Return a grade, a whole number. least: below it nothing is a grade; None for any."""
    try:
        number = float(given)
        grade = int(number)
    except (TypeError, ValueError, OverflowError):
        number, grade = 0.5, 0
    if grade != number or isinstance(given, bool) or not (-MAX_GRADE if least is None else least) <= grade <= MAX_GRADE:
        whole = f"a whole number up to {MAX_GRADE}" if least is None else f"a whole number from {least} to {MAX_GRADE}"
        raise wrong(file, line, f"a grade is {whole}, such as 1 for a right page and 2 for a better one; got {given!r}")
    return grade
