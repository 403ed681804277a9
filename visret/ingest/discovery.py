"""The files that are meant: those under the given files, folders and addresses, and the names they get in an index."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from visret.documents import formats
from visret.errors import DocumentError, InvalidArgument
from visret.folders import expanded, may_be_there
from visret.index.layout import CATALOGUE
from visret.ingest import messages
from visret.ingest.report import Failure, Patterns, path_in
from visret.stores import objects


@dataclass(frozen=True, slots=True)
class Source:
    """A file to be indexed, or a document inside one.

    path: absolute, with links resolved; of an object, only a name. doc: the name it would like. member: its place in
    the file, "" for the file. object: the object that it is on object storage; None for a file of this machine.
    """

    path: Path
    doc: str
    member: str = ""
    object: objects.Object | None = None

    @classmethod
    def of_object(cls, one: objects.Object, doc: str) -> Source:
        """Return an object as a source."""
        return cls(Path(one.url), doc, object=one)

    @property
    def address(self) -> str:
        """The name of the file in an index: its path, or the address of an object."""
        return str(self.path) if self.object is None else self.object.url

    @property
    def shown(self) -> str:
        """The path as people read it; that of a document inside a file goes on into the file."""
        return path_in(self.address, self.member)

    @property
    def named(self) -> Path | str:
        """The path, or the address of an object, as a callable for metadata is given it."""
        return self.path if self.object is None else self.object.url

    def version(self) -> Version:
        """Return the version of the file that is there now; of an object, that which was listed. Raises OSError."""
        if self.object is not None:
            return Version(self.object.size, self.object.stamp)
        stat = self.path.stat()
        return Version(stat.st_size, stat.st_mtime_ns)

    def sha256(self) -> str:
        """Return the checksum of the file; an object is fetched. Raises OSError, and DocumentError for an object."""
        return messages.sha256(self.path) if self.object is None else objects.sha256(self.object)


class Version(NamedTuple):
    """A version of a file: its bytes, and the time of its last change in ns, or the stamp of an object."""

    size: int
    mtime_ns: int


Listed = Mapping[str, Set[str]]
"""All objects below each address that was listed, whatever they are; an address whose listing failed is not in it."""


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """The files under given paths. ignored: files of kinds that visret does not read. listed: objects, if any."""

    sources: list[Source]
    failures: list[Failure]
    ignored: list[str]
    listed: Listed = field(default_factory=dict)


def is_gone(source: str, listed: Listed) -> bool:
    """Return whether a file of an index is known to be gone; of an object that is only known where it was listed."""
    if not objects.is_address(source):
        return not may_be_there(source)
    return any(objects.is_below(source, address) and source not in there for address, there in listed.items())


def source_at(path: str | Path, doc: str) -> Source:
    """Return a file, which need not be there, or an object as a source.

    Raises FileNotFoundError for an object that is not there, and DocumentError where nobody answers for it.
    """
    if objects.is_address(path):
        return Source.of_object(objects.Bucket(str(path)).head(), doc)
    return Source(Path(path), doc)


def discover(paths: str | Path | Iterable[str | Path], *, include: Patterns = (), exclude: Patterns = ()) -> FoundFiles:
    """Find files as `find` does. Raises InvalidArgument if there is nothing to find by these arguments.

    Raises MissingExtra for an address without the package for it.
    """
    found = find(paths, include=include, exclude=exclude)
    if not found.sources and not found.failures:
        if include or exclude:
            raise InvalidArgument("include and exclude leave no document; give other patterns")
        raise InvalidArgument("there are no paths to read; name files or folders")
    return found


def find(paths: str | Path | Iterable[str | Path], *, include: Patterns = (), exclude: Patterns = ()) -> FoundFiles:
    """Find the files under files, folders and addresses, by their names, each once; and the paths that lead to none.

    Folders are searched with everything below them, without hidden files and without following links to folders.
    include, exclude: patterns, see `Retriever.add`.
    """
    found: dict[str, Source] = {}
    listed: dict[str, Set[str]] = {}
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
        found.setdefault(str(path), Source(path, _name(name)))

    def take_objects(address: str) -> None:
        bucket = objects.Bucket(address)
        address = bucket.url
        try:
            there = bucket.listed()
        except DocumentError as error:
            failures.append(Failure(address, None, f"cannot be listed: {error.reason}"))
            return
        listed[address] = {one.url for one in there}
        known = False
        for one, name in _documents(address, there):
            if formats.format_of(name) is not None:
                known = True
                if passes(name):
                    found.setdefault(one.url, Source.of_object(one, _name(name)))
            elif passes(name):
                ignored[one.url] = None
        if not known:
            endings = " ".join(sorted(formats.FORMATS))
            failures.append(Failure(address, None, f"no documents at this address (looked for {endings})"))

    for given in given_paths(paths):
        if objects.is_address(given):
            take_objects(str(given))
            continue
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
        elif may_be_there(path):
            if passes(Path(path.name)):
                take(path, Path(path.name))
        else:
            hint = "; write an address as text, not as a pathlib.Path" if _PATH_OF_ADDRESS.match(str(given)) else ""
            failures.append(Failure(str(given), None, f"no such file or folder{hint}"))
    return FoundFiles(list(found.values()), failures, list(ignored), listed)


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
_PATH_OF_ADDRESS = re.compile(rf"({'|'.join(objects.SCHEMES)}):[/\\]")


def _documents(address: str, there: Sequence[objects.Object]) -> Iterator[tuple[objects.Object, Path]]:
    """Yield objects with their names below an address, without those that a folder would hide."""
    indexes = {one.url.removesuffix(f"/{CATALOGUE}") for one in there if one.url.endswith(f"/{CATALOGUE}")}
    for one in there:
        name = one.url.removeprefix(f"{address}/") if one.url != address else one.url.rpartition("/")[2]
        *folders, file = name.split("/")
        if any(folder.startswith(".") for folder in folders) or _is_hidden(file):
            continue
        if not one.size and "." not in file:  # a folder, as some programs make them
            continue
        if not any(objects.is_below(one.url, index) for index in indexes):
            yield one, Path(name)


def _is_hidden(name: str) -> bool:
    """Return whether a file is hidden, or lies there for the system: office programs put ~$ beside open documents."""
    return name.startswith((".", "~$")) or name.lower() in _OF_THE_SYSTEM


def _walk(root: Path, failures: list[Failure]) -> Iterator[Path]:
    def unlisted(error: OSError) -> None:
        failures.append(Failure(str(error.filename), None, f"the folder cannot be listed: {error.strerror}"))

    for folder, folders, files in os.walk(root, onerror=unlisted):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if CATALOGUE in files:  # an index among the documents is not one of them
            folders.clear()
            continue
        for name in sorted(files):
            if not _is_hidden(name):
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
    raise DocumentError(source.address, f"every name for it is taken: {source.doc} is another document")
