"""The plan of a run: which documents are read, left alone, renamed and removed. Planning looks, and writes nothing.

A plan is a list of steps, which `recorder` carries out in order, and of the tasks among them, which are read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain, takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any

from visret import arguments
from visret.documents import formats, office, pictures
from visret.errors import DocumentError
from visret.folders import expanded
from visret.index import Document, PageIndex, Snapshot, renditions
from visret.ingest.discovery import Listed, Source, free_name, is_gone
from visret.ingest.options import ReadOptions
from visret.ingest.report import EmptyPage, Failure, Lost, Metadata, shown
from visret.ingest.tasks import KnownMembers, Task
from visret.stores import objects


@dataclass(frozen=True, slots=True)
class Leave:
    """A document stays as it is. is_read: whether it was read, else it failed. The rest is reported again.

    A large index has many of these, so they hold nothing else of their documents.
    """

    source: Source
    is_read: bool
    failed: tuple[Failure, ...]
    empty: tuple[EmptyPage, ...]
    lost: tuple[Lost, ...]

    @classmethod
    def as_it_is(cls, document: Document, source: Source) -> Leave:
        """Return the step that leaves this document."""
        path, is_read = source.shown, document.state != "failed"
        failed = [(None, document.reason or "failed before")] if not is_read else []
        return cls(
            source,
            is_read,
            tuple(Failure(path, page, reason) for page, reason in [*failed, *document.failed]),
            tuple(EmptyPage(path, page) for page in document.empty),
            tuple(Lost(path, page, what, help_) for page, what, help_ in document.lost),
        )


@dataclass(frozen=True, slots=True)
class Update:
    """A document of the index gets other values in these columns."""

    number: int
    columns: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Remove:
    """A document goes, with what is inside it. is_gone: whether because its file is gone, which the report counts."""

    doc: str
    is_gone: bool


@dataclass(frozen=True, slots=True)
class Begin:
    """A new document, or a new version of one, is read from its first page on."""

    task: Task
    metadata: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Resume:
    """A document that is in the index is read on; `task.skip` are the pages that it keeps."""

    task: Task
    document: Document


@dataclass(frozen=True, slots=True)
class Fail:
    """A file cannot be read. document: its number, if the index is to say so as well."""

    failure: Failure
    document: int | None = None


MetadataOf = Callable[[Path | str], Mapping[str, Any] | None]
Step = Leave | Update | Remove | Begin | Resume | Fail


@dataclass(slots=True)
class Plan:
    """A plan: steps in their order. updated: numbers of documents that get other metadata, read again or not.

    stored: documents made in memory, whose pages are read from the index.
    """

    steps: list[Step] = field(default_factory=list)
    stored: list[Task] = field(default_factory=list)
    updated: set[int] = field(default_factory=set)

    @property
    def tasks(self) -> list[Task]:
        """The files that are to be read, in order."""
        return [step.task for step in self.steps if isinstance(step, Begin | Resume)]


class Judge:
    """A judge of which documents of an index have to be read again, as of one committed state.

    retry_failed: whether to read again what failed before.
    """

    def __init__(self, snapshot: Snapshot, options: ReadOptions, *, retry_failed: bool = False) -> None:
        self.snapshot = snapshot
        self.options = options
        self.retry_failed = retry_failed

    def members_of(self, document: Document | None) -> list[Document]:
        """Return the documents inside a file that the index has."""
        if document is None or document.source is None or document.member:
            return []
        return [self.snapshot.document(number) for _, number in sorted(self.snapshot.members(document.source).items())]

    def known_members(self, document: Document | None) -> KnownMembers:
        """Return the documents inside a file by their place, and which of their pages need not be read again.

        None stands for all pages; the pages count only while the document is the same.
        """
        members = {member.member: member for member in self.members_of(document)}
        settled = {place for place, member in members.items() if self.is_settled(member)}
        known: dict[str, tuple[Document, Set[int] | None]] = {}
        for place, member in members.items():
            inside = [other for other in members if other == place or other.startswith(f"{place}/")]
            done = self.done_pages(member) if not (self.retry_failed and member.failed) else set(member.pages)
            known[place] = (member, None if settled.issuperset(inside) else done)
        return known

    def done_pages(self, document: Document) -> set[int]:
        """Return the pages of a document that need not be read again."""
        return {*document.pages, *(document.blank if self.options.ocr != "never" else document.empty)}

    def is_settled(self, document: Document) -> bool:
        """Return whether an unchanged file needs no second look."""
        if self.retry_failed and (document.state == "failed" or document.failed):
            return False
        if self.options.password and document.state == "failed":  # the password may be what was missing
            return False
        if document.reason == office.MISSING and office.program():
            return False
        if document.reason == pictures.NO_HEIF and pictures.reads_heif():
            return False
        return document.state != "partial" and not self.may_have_words(document)

    def is_settled_with_members(self, document: Document) -> bool:
        """Return whether neither an unchanged file nor what is inside it needs a second look."""
        return all(map(self.is_settled, [document, *self.members_of(document)]))

    def may_have_words(self, document: Document) -> bool:
        """Return whether a document has empty pages at which OCR has not looked."""
        return self.options.ocr != "never" and document.state != "failed" and document.empty != document.blank


def plan_files(
    index: PageIndex,
    sources: Sequence[Source],
    judge: Judge,
    metadata_of: MetadataOf,
    *,
    moves: bool = True,
    listed: Listed = MappingProxyType({}),
) -> Plan:
    """Plan what becomes of files: by size and time of change, and by content if only the time differs.

    Other files are hashed when they are read, so that the first page does not wait for the hash of the last file.
    Metadata goes with the content where that is known, as for a file moved over another, else with the path. moves:
    whether documents whose files are gone may be found again by their content. listed: all objects that are there.
    """
    planner = _Planner(index, sources, judge, moves=moves, listed=listed)
    for source in sources:
        planner.take(source, metadata_of(source.named))
    return planner.plan


def plan_removals(
    plan: Plan,
    snapshot: Snapshot,
    below: Sequence[str | Path],
    sources: Sequence[Source],
    listed: Listed = MappingProxyType({}),
) -> None:
    """Add to a plan the removal of the documents from these folders and files whose files are no longer there.

    Objects that are not there are gone if all objects below their address were listed.
    """
    here = {source.address for source in sources}
    renamed = {step.number for step in plan.steps if isinstance(step, Update) and "doc" in step.columns}
    try:
        roots = [expanded(path).resolve(strict=True) for path in below if not objects.is_address(path)]
    except (OSError, RuntimeError):
        return  # out of reach with all that is below, but not gone
    for document in snapshot.documents():
        if document.source is None or document.member or document.source in here:
            continue
        if document.number in renamed or not is_gone(document.source, listed):
            continue  # it may be hidden, for instance
        if objects.is_address(document.source) or any(Path(document.source).is_relative_to(root) for root in roots):
            plan.steps.append(Remove(document.doc, is_gone=True))


def plan_again(index: PageIndex, judge: Judge) -> Plan:
    """Plan to read every document of an index that has no pages yet, such as one being built by `reindex`."""
    plan, sources = Plan(), []
    object_at = cache(_object_at)
    for document in judge.snapshot.documents():
        source = Source(Path(document.source or document.doc), document.doc, document.member)
        is_there = os.path.isfile(source.path)  # noqa: PTH113 - it raises nothing
        try:
            if document.source is not None and objects.is_address(document.source):
                found = object_at(document.source)
                is_there = found is not None
                source = replace(source, object=found or objects.unknown(document.source))
        except DocumentError as error:  # it may be there, but cannot be looked at now
            plan.steps.append(Fail(Failure(shown(document), None, error.reason), document.number))
            continue
        if document.member and is_there:
            continue  # it is read, or left alone, with the file it is in
        if judge.is_settled_with_members(document):
            plan.steps += _left(judge, document, source)
        elif document.source is None:
            done = {*document.pages, *document.empty}
            plan.stored.append(Task(None, document.doc, document.number, 0, None, done))
        elif is_there:
            sources.append(source)
        else:
            failure = Failure(source.shown, None, "is no longer there; put it back and index it again")
            plan.steps.append(Fail(failure, document.number))
    plan.steps += plan_files(index, sources, judge, lambda _: None).steps
    return plan


def _object_at(address: str) -> objects.Object | None:
    try:
        return objects.Bucket(address).head()
    except FileNotFoundError:
        return None


def metadata_of_files(given: Metadata) -> MetadataOf:
    """Return a function that gives the metadata that a file is to have; None leaves that of the index.

    Raises InvalidArgument, now or when it is called, for what is not metadata.
    """
    if not callable(given):
        made = None if given is None else arguments.metadata("documents", given)
        return lambda _: made

    def of(path: Path | str) -> Mapping[str, Any] | None:
        one = given(path)
        return None if one is None else arguments.metadata(str(path), one)

    return of


class _Planner:
    """A plan as it grows, and the names of documents that are taken so far."""

    def __init__(
        self, index: PageIndex, sources: Sequence[Source], judge: Judge, *, moves: bool, listed: Listed
    ) -> None:
        self.index = index
        self.judge = judge
        self.plan = Plan()
        self.numbers = judge.snapshot.sources()
        self.taken = set(judge.snapshot.docs())
        self.lost: dict[str, list[Document]] = {}  # documents whose file is gone, by content
        for document in judge.snapshot.documents() if moves else ():
            if document.source and document.hash and not document.member and is_gone(document.source, listed):
                self.lost.setdefault(document.hash, []).append(document)
        self.changed = {document.hash: document for document in _changed(judge.snapshot, sources)}
        self.moved_sizes = {one.size for one in [*chain.from_iterable(self.lost.values()), *self.changed.values()]}

    def take(self, source: Source, metadata: Mapping[str, Any] | None) -> None:
        """Decide what becomes of a file."""
        number = self.numbers.get(source.address)
        known = None if number is None else self.judge.snapshot.document(number)
        self.describe(known, metadata)
        try:
            size, mtime_ns = version = source.version()
            same = known is not None and version == (known.size, known.mtime_ns)
            if known and same and self.judge.is_settled_with_members(known):
                self.plan.steps += _left(self.judge, known, source)
                return
            may_be_known = size in self.moved_sizes or (known and size == known.size)
            digest = known.hash if known and same else source.sha256() if may_be_known else None
            doc = known.doc if known else free_name(source, self.taken)
        except OSError as error:
            self.plan.steps.append(Fail(Failure(source.address, None, error.strerror or str(error))))
            return
        except DocumentError as error:
            self.plan.steps.append(Fail(Failure(source.address, None, error.reason)))
            return
        same = known is not None and digest is not None and known.hash == digest
        if known and same:
            for one in [known, *self.judge.members_of(known)]:
                self.plan.steps.append(Update(one.number, {"size": size, "mtime_ns": mtime_ns}))
        elif digest and self.lost.get(digest):  # the same content under another name
            known, doc = self.move(known, source, digest, mtime_ns, metadata)
            same = True
        elif (
            metadata is None and digest in self.changed
        ):  # its file has another name now, and another file has its name
            metadata = self.changed[digest].metadata
        if known and same and self.judge.is_settled_with_members(known):
            self.plan.steps += _left(self.judge, known, source)
            return
        task = Task(source, doc, 0, size, digest, set(), mtime_ns=mtime_ns)
        task.known = self.judge.known_members(known)
        if known and same and self.may_go_on(known, source):
            task.number, task.skip = known.number, self.judge.done_pages(known)
            task.pdf = renditions.pdf_of(self.index.path, known.number)
            self.plan.steps.append(Resume(task, known))
        else:
            self.plan.steps.append(Begin(task, metadata))
            self.taken.add(doc)

    def may_go_on(self, known: Document, source: Source) -> bool:
        """Return whether the pages that the index has of an unchanged file can stay while the others are read."""
        if formats.converts(source.path) and not renditions.pdf_of(self.index.path, known.number):
            return False
        goes_on = known.state == "partial" or self.judge.may_have_words(known)
        return goes_on or self.judge.is_settled(known)  # it is settled, but what is inside it is not

    def move(
        self,
        known: Document | None,
        source: Source,
        digest: str,
        mtime_ns: int,
        metadata: Mapping[str, Any] | None,
    ) -> tuple[Document, str]:
        """Plan that a document whose file is gone gets this file; return the document, and its name from then on."""
        if known:  # this file belonged to another document
            self.plan.steps.append(Remove(known.doc, is_gone=False))
            self.plan.updated.discard(known.number)
            self.taken.remove(known.doc)
        known = _likeliest(self.lost[digest], source)
        self.lost[digest].remove(known)
        self.describe(known, metadata)
        together = [known, *self.judge.members_of(known)]
        for one in together:
            self.taken.remove(one.doc)
        doc = free_name(source, self.taken)
        for one in together:
            name = f"{doc}/{one.member}" if one.member else doc
            self.taken.add(name)
            columns = {"doc": name, "source": source.address, "mtime_ns": mtime_ns}
            self.plan.steps.append(Update(one.number, columns))
        return known, doc

    def describe(self, known: Document | None, metadata: Mapping[str, Any] | None) -> None:
        """Plan that a document and what is inside it get other metadata, whatever becomes of their pages."""
        for one in [] if known is None or metadata is None else [known, *self.judge.members_of(known)]:
            if is_other(one, metadata):
                self.plan.steps.append(Update(one.number, {"metadata": metadata}))
                self.plan.updated.add(one.number)


def _left(judge: Judge, document: Document, source: Source) -> list[Step]:
    """Return the steps that leave a file as it is, with the documents inside it."""
    members = [(one, replace(source, doc=one.doc, member=one.member)) for one in judge.members_of(document)]
    return [Leave.as_it_is(*one) for one in [(document, source), *members]]


def _changed(snapshot: Snapshot, sources: Sequence[Source]) -> Iterator[Document]:
    """Yield the documents whose files may have changed."""
    numbers = snapshot.sources()
    for source in sources:
        if (number := numbers.get(source.address)) is None:
            continue
        document = snapshot.document(number)
        with suppress(OSError):
            if document.hash and source.version() != (document.size, document.mtime_ns):
                yield document


def is_other(document: Document, metadata: Mapping[str, Any] | None) -> bool:
    """Return whether a document would get other metadata than it has, compared as JSON, where 1 is not true."""
    then, now = (json.dumps(one, sort_keys=True) for one in (document.metadata, metadata))
    return metadata is not None and then != now


def _likeliest(lost: Sequence[Document], source: Source) -> Document:
    """Return, of documents with a file's content, the one that shares most of the end of its path, else the first."""

    def shared(document: Document) -> int:
        pairs = zip(reversed(Path(document.source or "").parts), reversed(source.path.parts), strict=False)
        return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))

    return max(lost, key=shared)
