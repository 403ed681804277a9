"""A table of metadata, CSV or JSONL, and the files that its lines belong to."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any
from unicodedata import normalize

from visret.errors import InvalidArgument
from visret.folders import expanded
from visret.ingest.discovery import Source
from visret.ingest.report import Failure
from visret.stores.objects import is_address

PATH = "path"  # the column or key that names the file
SUFFIXES = (".csv", ".jsonl")

_Entry = tuple[int, str, dict[str, Any]]  # its number, from 1; the file that it names; metadata


def value(text: str) -> Any:
    """Return the value of a cell, or of the text after KEY=: as JSON, else the text itself."""
    try:
        return json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return text


def match(
    file: Path, sources: Sequence[Source], paths: Sequence[str | Path], known: Mapping[str, str]
) -> tuple[dict[Path | str, dict[str, Any]], list[Failure]]:
    """Return the metadata that a table has for some of the files being read, and the lines that name no file at all.

    A file is named relative to the table's folder or to one of the given paths, or as a document; an object by its
    address or as a document. sources: the files being read; paths: those that were given. known: the name and the file
    of each document of the index.

    Raises InvalidArgument for a table that cannot be read, a file that two lines name, and a name that two files have.
    """
    here = {source.named for source in sources}
    names: dict[str, set[Path | str]] = {}
    named_so = [(source.doc, source.named) for source in sources]
    named_so += [(doc, path if is_address(path) else Path(path)) for doc, path in known.items()]
    for doc, there in named_so:
        for name in (doc, there) if isinstance(there, str) else (doc,):
            names.setdefault(normalize("NFC", name), set()).add(there)
    given = [Path(path) for path in paths if not is_address(path)]
    folders = [file.parent, *(path if path.is_dir() else path.parent for path in given)]
    found: dict[Path | str, dict[str, Any]] = {}
    line_of: dict[Path | str, int] = {}
    lost = []
    for number, named, metadata in _lines(file):
        place = f"line {number} names {named!r}"
        in_folders = (_resolved(expanded(folder) / named) for folder in folders)
        meant: set[Path | str] = {one for one in in_folders if one is not None}
        meant |= names.get(normalize("NFC", named if is_address(named) else Path(named).as_posix()), set())
        meant = meant & here or meant
        if len(meant) > 1:
            raise InvalidArgument(
                f"{file}: {place}, which may be {' or '.join(sorted(map(str, meant)))}; write its path"
            )
        if not meant:
            lost.append(Failure(str(file), None, f"{place}, but there is no such file or document"))
            continue
        (path,) = meant
        if path in found:
            raise InvalidArgument(f"{file}: {place}, which line {line_of[path]} already names")
        found[path], line_of[path] = metadata, number
    return found, lost


def _resolved(path: Path) -> Path | None:
    """Return the path of the file that is there, with links resolved; None where there is none."""
    try:
        return path.resolve(strict=True) if path.is_file() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _lines(file: Path) -> Iterator[_Entry]:
    if file.suffix.lower() not in SUFFIXES:
        raise InvalidArgument(f"{file}: a table of metadata ends in {' or '.join(SUFFIXES)}")
    try:
        text = file.read_text("utf-8-sig")
    except OSError as error:
        raise InvalidArgument(f"{file}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"{file}: is not UTF-8 ({error.reason} at byte {error.start}); save it as UTF-8"
        ) from error
    read: Callable[[Path, str], Iterator[_Entry]] = _csv if file.suffix.lower() == ".csv" else _jsonl
    yield from read(file, text)


def _csv(file: Path, text: str) -> Iterator[_Entry]:
    """Yield the lines of a CSV table; empty cells are left out."""
    first = text.partition("\n")[0]
    rows = csv.reader(StringIO(text, newline=""), delimiter=max(",;\t", key=first.count), strict=True)
    try:
        head = [name.strip() for name in next(rows, [])]
        if PATH not in head:
            raise InvalidArgument(f"{file}: line 1 names the columns, and one of them must be {PATH!r}; got {head}")
        if wrong := [name for name in head if not name or head.count(name) > 1]:
            raise InvalidArgument(
                f"{file}: line 1 has a column {f'twice: {wrong[0]!r}' if wrong[0] else 'without a name'}"
            )
        for row in rows:
            number = rows.line_num
            if not any(row):
                continue
            if len(row) > len(head):
                raise InvalidArgument(f"{file}: line {number} has {len(row)} cells for {len(head)} columns")
            cells = {name: cell for name, cell in zip(head, row, strict=False) if cell.strip()}
            if PATH not in cells:
                raise InvalidArgument(f"{file}: line {number} names no file in its column {PATH!r}")
            named = cells.pop(PATH).strip()
            yield number, named, {name: value(cell) for name, cell in cells.items()}
    except csv.Error as error:
        raise InvalidArgument(f"{file}: line {rows.line_num} is not CSV: {error}") from error


def _jsonl(file: Path, text: str) -> Iterator[_Entry]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise InvalidArgument(f"{file}: line {number} is not JSON: {error}") from error
        if not isinstance(entry, dict) or not isinstance(entry.get(PATH), str) or not entry[PATH]:
            example = '{"path": "a.pdf", "year": 2024}'
            raise InvalidArgument(f"{file}: line {number} must be an object that names its file, such as {example}")
        yield number, entry.pop(PATH), entry


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
