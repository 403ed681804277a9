"""The parts into which files are cut so that other machines read them, and what comes of them, put together again.

A PDF with many pages is cut into ranges of pages as soon as its first range has told how many there are; every other
file is one part. Parts of small files travel together, as one portion. A portion can be read and encoded anywhere, any
number of times: nothing of it is recorded before all of it has come.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from visret.documents import formats
from visret.ingest import messages
from visret.ingest.execution import Encoded, Outcomes
from visret.ingest.tasks import End, Read, Task, TaskAnswer, member_task
from visret.types import Page

PAGES = {"text": 32, "image": 8}  # of a part; pictures are large
FILES = {"text": 32, "image": 4}  # of a portion
BYTES = 1 << 18  # of the files in a portion
MAX_UNREAD = 100  # pages in a row; a damaged PDF may claim to have a million
DEATHS = 3  # of processes by a portion, after which it is divided with each further one
MAX_DEATHS = 10  # after which what cannot be divided is given up

Span = tuple[int, int | None]  # the first page and the last one; None for the end of the file
Place = tuple[int, int]  # in a run: the number of a file in it, and a page


@dataclass(frozen=True, slots=True)
class Part:
    """A range of pages of a file, or all of it with what is inside it. It can be sent to another machine.

    file: its place in the run. pdf: the PDF that an office document was converted to for pages that the index has.
    """

    file: int
    task: Task
    span: Span
    pdf: bytes | None = None

    @property
    def place(self) -> Place:
        """The place of its first page."""
        return self.file, self.span[0]


@dataclass(slots=True)
class Portion:
    """Parts that are read and encoded together. deaths: how many processes have ended while they were at it."""

    parts: list[Part]
    deaths: int = 0


class Glance(NamedTuple):
    """A look at a part that was read, for the process that cuts files.

    hash: of the file, where it was asked for. pages: of the whole file; None where it did not open. inside: pages of
    the documents inside it. unseen: what that machine has instead of the file; None where it has it.
    """

    hash: str | None = None
    pages: int | None = None
    inside: int = 0
    unseen: str | None = None


Answers = Sequence[tuple[str, TaskAnswer]]  # of a part; each with the place in the file that it is about


class Coded(NamedTuple):
    """The outcome of a portion. answers: of its parts, in order; their pages have nothing but a name.

    outcomes: what became of the pages, as in `Encoded`.
    """

    answers: list[Answers]
    outcomes: Outcomes


@dataclass(slots=True)
class _File:
    """A file of the run. in_a_row: how many bad pages came one after the other."""

    task: Task
    pages: int | None = None
    is_over: bool = False
    in_a_row: int = 0
    hash_is_said: bool = False
    members: dict[str, Task] = field(default_factory=dict)
    losses: set[tuple[str, messages.Lacking]] = field(default_factory=set)


class Cut:
    """The files of a run, cut. It hands out portions, and puts together what comes of them.

    modality: of the model, "text" or "image".
    """

    def __init__(self, tasks: Sequence[Task], modality: str) -> None:
        self.files = [_File(task) for task in tasks]
        self.pages = PAGES[modality]
        self.most_files = FILES[modality]
        self.ahead = deque(range(len(tasks)))
        self.again: deque[Portion] = deque()  # they come before the files ahead
        self.left = len(tasks)  # files that are not over
        self.out: set[Place] = set()  # of parts that have not come
        self.held: list[tuple[Place, Part, Answers, Outcomes]] = []  # a heap of what waits for its turn

    def next_portion(self) -> Portion | None:
        """Return what is to be read next; None if nothing is waiting now, which may change while parts are out."""
        if self.again:
            return self.again.popleft()
        parts: list[Part] = []
        size = 0
        while self.ahead and len(parts) < self.most_files:
            task = self.files[self.ahead[0]].task
            if parts and size + task.size > BYTES:
                break
            parts.append(self._whole(self.ahead.popleft()))
            size += task.size
        return Portion(parts) if parts else None

    def _whole(self, number: int) -> Part:
        """Return the first part of a file, which is all of it unless it can be cut."""
        task = self.files[number].task
        self.out.add((number, 1))
        pdf = None if task.pdf is None else task.pdf.read_bytes()
        # The sets are filled here while it is on its way, and mean nothing there.
        sent = replace(task, seen=set(), whole=set(), pdf=None)
        return Part(number, sent, (1, self.pages if _can_be_cut(task) else None), pdf)

    def was_read(self, portion: Portion, glances: Sequence[Glance]) -> Iterator[Read]:
        """Cut files whose number of pages is known now, and yield their checksums, which a later run goes on by."""
        for part, glance in zip(portion.parts, glances, strict=True):
            file = self.files[part.file]
            if glance.hash is not None and not file.hash_is_said and not file.is_over:
                file.hash_is_said = True
                yield Read(file.task, messages.Hashed(glance.hash))
            first = file.pages is None
            file.pages = glance.pages if glance.pages is not None else file.pages
            if first and file.pages is not None and part.span[1] is not None and not file.is_over:
                self._cut(part, glance.hash, file.pages)

    def _cut(self, head: Part, digest: str | None, pages: int) -> None:
        """Add the parts that follow the first one of a file, unless the index has their pages."""
        file = self.files[head.file]
        task = replace(head.task, hash=head.task.hash or digest)
        made = []
        for first in range(self.pages + 1, pages + 1, self.pages):
            last = first + self.pages - 1 if first + self.pages <= pages else None
            if last is None or not all(page in file.task.skip for page in range(first, last + 1)):
                made.append(Portion([Part(head.file, task, (first, last))]))
        self.out.update(portion.parts[0].place for portion in made)
        self.again.extendleft(reversed(made))

    def was_encoded(self, portion: Portion, coded: Coded) -> None:
        """Take in what came of a portion."""
        for part, answers in zip(portion.parts, coded.answers, strict=True):
            heapq.heappush(self.held, (part.place, part, answers, coded.outcomes))

    def ready(self, *, in_order: bool) -> Iterator[tuple[Part, Encoded]]:
        """Yield parts that have come, and what came of them as the recorder takes it.

        in_order: whether a part has to wait for those that precede it in the run.
        """
        while self.held:
            first = self.held[0][0]
            if in_order and min(self.out, default=first) < first:
                return
            _, part, answers, outcomes = heapq.heappop(self.held)
            file, reads = self.files[part.file], list[Read]()
            for place, answer in answers:
                if not file.is_over:
                    reads += self._taken(part.file, place, answer)
            yield part, Encoded([*reads, *self._is_over(part)], outcomes)

    def _is_over(self, part: Part) -> Iterator[Read]:
        """Count a part that has come or was given up, and yield the end of its file with the last one."""
        file = self.files[part.file]
        self.out.discard(part.place)
        if not file.is_over and not any(number == part.file for number, _ in self.out):
            self._end(part.file)
            yield Read(file.task, End(file.pages))

    def _end(self, number: int) -> None:
        """End a file; of its parts, nothing more is wanted."""
        self.files[number].is_over = True
        self.left -= 1
        self.out = {place for place in self.out if place[0] != number}

    def _taken(self, number: int, place: str, answer: TaskAnswer) -> Iterator[Read]:
        """Yield what is new in an answer about a file, or about a place in it."""
        file = self.files[number]
        if isinstance(answer, messages.Hashed) and not place:
            return  # it is said already
        if isinstance(answer, messages.Begun):
            file.members[place] = member_task(file.task, place, answer.hash)
        if isinstance(answer, messages.Lacking):  # every part of a file may say what the file lacks
            if (place, answer) in file.losses:
                return
            file.losses.add((place, answer))
        yield Read(file.members[place] if place else file.task, answer)
        if not place and isinstance(answer, messages.Unread):
            yield from self._unread(number, answer)
        elif not place and isinstance(answer, Page):
            file.in_a_row = 0

    def _unread(self, number: int, answer: messages.Unread) -> Iterator[Read]:
        """Give up a file that cannot be read, or after too many bad pages in a row."""
        file = self.files[number]
        file.in_a_row += 1
        if answer.page is not None:
            if file.in_a_row < MAX_UNREAD:
                return
            reason = f"was given up at page {answer.page:,} of {file.pages or 0:,}, after {file.in_a_row} bad ones"
            yield Read(file.task, messages.Unread(None, reason))
        self._end(number)

    def is_wanted(self, portion: Portion) -> bool:
        """Return whether any of its files is still to be read."""
        return not all(self.files[part.file].is_over for part in portion.parts)

    def died(self, portion: Portion, why: str) -> Iterator[Read]:
        """Take back a portion that a process or a machine was lost with; yield what is given up, if it is.

        What ends one process after another is divided, so that in the end only the page that does it is given up.
        """
        if not self.is_wanted(portion):
            return
        portion.deaths += 1
        if portion.deaths < DEATHS:
            self.again.appendleft(portion)
            return
        divided = self._divided(portion)
        if len(divided) > 1 or portion.deaths < MAX_DEATHS:
            self.again.extendleft(reversed(divided))
            return
        (part,) = portion.parts
        file = self.files[part.file]
        reason = f"was given up: {portion.deaths} processes ended while they were at it, the last because {why}"
        if part.span[0] == part.span[1]:
            yield Read(file.task, messages.Unread(part.span[0], reason))
            yield from self._is_over(part)
        else:  # the index keeps what it has of the file, and the next run tries it again
            self._end(part.file)
            yield Read(file.task, messages.Unread(None, reason, reached=False))

    def _divided(self, portion: Portion) -> list[Portion]:
        """Return a portion as two, or as it is if it is a single page or a file that cannot be cut."""
        if (count := len(portion.parts)) > 1:
            halves = portion.parts[: count // 2], portion.parts[count // 2 :]
            return [Portion(list(half), portion.deaths) for half in halves]
        (part,) = portion.parts
        (first, last), file = part.span, self.files[part.file]
        end = first if file.pages is None else min(last or file.pages, file.pages)
        if not _can_be_cut(file.task) or first >= end:
            return [portion]
        middle = (first + end) // 2
        self.out.add((part.file, middle + 1))
        spans: list[Span] = [(first, middle), (middle + 1, last)]
        return [Portion([replace(part, span=span)], portion.deaths) for span in spans]


def _can_be_cut(task: Task) -> bool:
    """Return whether ranges of pages of a file can be read, each without the others."""
    if task.pdf is not None:
        return False
    found = formats.format_of(task.path)
    return found is not None and found.reader == "pdf" and not formats.converts(task.path)
