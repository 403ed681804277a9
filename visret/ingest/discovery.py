"""The files that are meant: those under the given files and folders, and the names they get in an index."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from visret.documents import formats
from visret.errors import DocumentError, InvalidArgument
from visret.folders import expanded
from visret.index.layout import CATALOGUE
from visret.ingest.report import Failure, Patterns


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be indexed, or a document inside one.

    path: absolute, with links resolved. doc: the name it would like. member: its place in the file, "" for the file.
    """

    path: Path
    doc: str
    member: str = ""

    @property
    def shown(self) -> str:
        """The path as people read it; that of a document inside a file goes on into the file."""
        return f"{self.path}/{self.member}" if self.member else str(self.path)


class FoundFiles(NamedTuple):
    """The files under given paths. ignored: files of kinds that visret does not read."""

    sources: list[Source]
    failures: list[Failure]
    ignored: list[str]


def discover(paths: str | Path | Iterable[str | Path], *, include: Patterns = (), exclude: Patterns = ()) -> FoundFiles:
    """Find the files under files and folders, in order of their names, each once; and the paths that lead to none.

    Folders are searched with everything below them, without hidden files and without following links to folders.
    include, exclude: patterns, see `Retriever.add`.
    """
    found: dict[Path, Source] = {}
    failures: list[Failure] = []
    ignored: dict[str, None] = {}
    wanted, unwanted = _patterns("include", include), _patterns("exclude", exclude)

    def passes(name: Path) -> bool:
        """Return whether a file is asked for, by its name in the given folder or that of a folder on the way."""
        on_the_way = [PurePosixPath(_name(part).lower()) for part in (name, *name.parents) if part.name]

        def matches(patterns: Sequence[str]) -> bool:
            return any(part.match(pattern) for part in on_the_way for pattern in patterns)

        return (not wanted or matches(wanted)) and not matches(unwanted)

    def take(file: Path, name: Path) -> None:
        try:
            if not file.is_file():  # reading a pipe would never end
                failures.append(Failure(str(file), None, "is not a file, or a link that leads nowhere"))
                return
            path = file.resolve()
        except (OSError, RuntimeError) as error:  # RuntimeError: a link to itself, before Python 3.13
            failures.append(Failure(str(file), None, f"cannot be reached: {error}"))
            return
        found.setdefault(path, Source(path, _name(name)))

    for given in given_paths(paths):
        try:
            path = expanded(given)
            root = path.resolve() if path.is_dir() else None
        except (OSError, RuntimeError) as error:  # a name that is too long; a link to itself
            failures.append(Failure(str(given), None, f"cannot be reached: {error}"))
            continue
        if root is not None:
            before = len(failures)
            walked = [(file, formats.format_of(file)) for file in _walk(root, failures)]
            files = [file for file, known in walked if known]
            ignored |= {str(file): None for file, known in walked if not known and passes(file.relative_to(root))}
            if not files and len(failures) == before:
                endings = " ".join(sorted(formats.FORMATS))
                failures.append(Failure(str(given), None, f"no documents in this folder (looked for {endings})"))
            for file in files:
                if passes(file.relative_to(root)):
                    take(file, file.relative_to(root))
        elif os.path.lexists(path):
            if passes(Path(path.name)):
                take(path, Path(path.name))
        else:
            failures.append(Failure(str(given), None, "no such file or folder"))
    if not found and not failures and not (wanted or unwanted):
        raise InvalidArgument("there are no paths to read; name files or folders")
    if not found and not failures:
        raise InvalidArgument("include and exclude leave no document; give other patterns")
    return FoundFiles(list(found.values()), failures, list(ignored))


def given_paths(paths: str | Path | Iterable[str | Path]) -> list[str | Path]:
    """Return one path or several as a list. Raises InvalidArgument for what is not a path."""
    one = isinstance(paths, str | bytes | os.PathLike) or not isinstance(paths, Iterable)
    listed: list[Any] = [paths] if one else list(paths)  # type: ignore[arg-type]
    for path in listed:
        named = os.fspath(path) if isinstance(path, str | os.PathLike) else None
        if not isinstance(named, str) or not named:  # "" would be the current folder
            raise InvalidArgument(f"a path to read is text or a pathlib.Path, and not empty; got {path!r}")
    return listed


def _patterns(name: str, given: Patterns) -> list[str]:
    """Return patterns in the form that names are compared in. Raises InvalidArgument for what is not a pattern."""
    patterns = [given] if isinstance(given, str) else given
    for pattern in patterns:
        if not pattern.strip("/") or pattern.startswith("/"):
            raise InvalidArgument(f"{name}: {pattern!r} is not a pattern of names such as '*.pdf' or 'drafts'")
    return [pattern.rstrip("/").lower() for pattern in patterns]


def _name(path: Path) -> str:
    """Return a path as a document's name: with "/", and a question mark for what is not Unicode."""
    return path.as_posix().encode("utf8", "replace").decode("utf8")


_OF_THE_SYSTEM = {"thumbs.db", "desktop.ini"}  # Windows puts them into folders of pictures


def _walk(root: Path, failures: list[Failure]) -> Iterator[Path]:
    def unlisted(error: OSError) -> None:
        failures.append(Failure(str(error.filename), None, f"the folder cannot be listed: {error.strerror}"))

    for folder, folders, files in os.walk(root, onerror=unlisted):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if CATALOGUE in files:  # an index among the documents is not one of them
            folders.clear()
            continue
        for name in sorted(files):
            hidden = name.startswith((".", "~$"))  # ~$: office programs put it beside an open document
            if not hidden and name.lower() not in _OF_THE_SYSTEM:
                yield Path(folder, name)


def free_name(source: Source, taken: Container[str]) -> str:
    """Return a name for a new document: its own, or with the fewest parents in front that no other document has."""
    if source.doc not in taken:
        return source.doc
    parts = source.path.parts
    for count in range(source.doc.count("/") + 2, len(parts) + 1):
        name = _name(Path(*parts[-count:]))
        if name not in taken:
            return name
    raise DocumentError(source.path, f"every name for it is taken: {source.doc} is another document")
