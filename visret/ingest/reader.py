"""Reading files in worker processes ahead of the encoder: what a file does to a worker costs a page or that file."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from visret.documents import formats
from visret.errors import DocumentError
from visret.ingest import messages, process
from visret.ingest.fetched import Fetched
from visret.ingest.options import ReadOptions
from visret.ingest.progress import Watch
from visret.ingest.tasks import End, Read, Task, member_task
from visret.types import Loss, Page

AHEAD_BYTES = 128 << 20  # of pages read before they are encoded, for all workers; one page may be more
MAX_CRASHES = 3  # of workers by one file, after which it is given up
MAX_WORKERS = 4
WAKE_SECONDS = 0.25  # between two looks at the clock by whoever waits for a page


def lane_count(files: int) -> int:
    """Return how many workers read so many files."""
    return max(1, min(MAX_WORKERS, (os.cpu_count() or 1) // 2, files))


class _Opened(Protocol):
    def __call__(self, key: str, pages: int, *, inside: bool = False) -> None: ...


class Reader:
    """A reader of files in worker processes, ahead of whoever iterates; it yields what comes of them, file by file.

    One worker reads the words of 75 pages in a second of its core, and draws 40: more than two cores encode. With more
    cores there are more workers, each with files of its own.
    """

    def __init__(self, tasks: Sequence[Task], options: ReadOptions, watch: Watch) -> None:
        self.tasks = tasks
        self.watch = watch
        count = lane_count(len(tasks))
        self.lanes = [_Lane(i, tasks[i::count], options, _Buffer(AHEAD_BYTES // count), watch) for i in range(count)]

    def __enter__(self) -> Reader:
        for lane in self.lanes:
            lane.start()
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self.lanes:
            lane.stop()
        for lane in self.lanes:
            lane.join()

    def __iter__(self) -> Iterator[Read]:
        for i in range(len(self.tasks)):
            buffer = self.lanes[i % len(self.lanes)].buffer
            while True:
                item = buffer.get(self.watch.teller.tick)
                if isinstance(item, BaseException):
                    raise item
                yield item
                if item.is_last:
                    break


class _Lane(threading.Thread):
    """A lane: files, the worker that reads them, and what it has read of them."""

    def __init__(self, number: int, tasks: Sequence[Task], options: ReadOptions, buffer: _Buffer, watch: Watch) -> None:
        super().__init__(name="visret-reader", daemon=True)
        self.number = number
        self.watch = watch
        self.tasks = tasks
        self.options = options
        self.buffer = buffer
        self.workers = process.Workers()
        self.fetched = Fetched()

    def stop(self) -> None:
        """Stop, even in the middle of a page."""
        self.workers.stop()
        self.buffer.close()

    def run(self) -> None:
        """Read all files."""
        try:
            for task in self.tasks:
                reading = FileReading(task, self.options, self.workers, self.watch.forecast.opened, self.fetched)
                for read in self.watch.reading(self.number, str(task.path), reading.answers(), self.cores):
                    if not self.buffer.put(read, messages.size_in_memory(read.answer)):
                        return
        except BaseException as error:  # noqa: BLE001 - a bug: raised again where the pages are awaited
            self.buffer.put(error)
        finally:
            self.workers.close()
            self.fetched.close()

    def cores(self) -> float:
        """Return the seconds of cores that reading has used."""
        return self.workers.cpu_seconds


class FileReading:
    """The reading of one file and the documents inside it, whatever their pages do to the worker.

    opened: is told how many pages a file has, or, with `inside`, how many more a document inside it adds. fetched:
    holds the object, if it is one. span: the first and the last page that are wanted, None for the end of the file;
    what is inside it comes with its last page.
    """

    def __init__(
        self,
        task: Task,
        options: ReadOptions,
        workers: process.Workers,
        opened: _Opened,
        fetched: Fetched,
        span: tuple[int, int | None] = (1, None),
    ) -> None:
        self.options = options
        self.task = task
        self.path = task.path
        self.workers = workers
        self.opened = opened
        self.fetched = fetched
        self.span = span
        self.reached = {"": _Reached(task)}  # the file, and the documents inside it, by place
        self.at = ""  # what is being read
        self.crashes = 0

    def answers(self) -> Iterator[Read]:
        """Yield what comes of the file and of the documents inside it."""
        if self.task.object is not None:
            try:
                self.path = self.fetched.file(self.task.object, stopped=lambda: self.workers.stopped)
            except DocumentError as error:
                yield Read(self.task, messages.Unread(None, error.reason, reached=False))
                return
        while True:
            try:
                for answer in self.workers.read(self.request(), doc=self.task.doc):
                    if isinstance(answer, messages.Inside):
                        yield from self.taken(answer.member, answer.answer)
                    else:
                        yield from self.taken("", answer)
                    if self.reached[""].is_over:  # the file cannot be read
                        return
                break
            except process.Died as death:
                if self.workers.stopped:
                    return
                one = self.reached[self.at]
                if self.at == "" and one.pages is not None and self.next_page(one) is None:
                    yield from self.died_of_unpacking(death)
                    break
                yield from self.died(one, death)
                if self.reached[""].is_over:
                    return
        yield Read(self.task, End(self.reached[""].pages))

    def request(self) -> messages.Request:
        """Return the request for what is still wanted."""
        known: dict[str, tuple[str, tuple[int, ...] | None]] = {
            place: (document.hash or "", None if done is None else tuple(sorted(done)))
            for place, (document, done) in self.task.known.items()
        }
        for place, one in self.reached.items():
            if place:
                known[place] = one.hash or "", None if one.is_over else tuple(sorted(one.done))
        return messages.Request(
            str(self.path),
            self.options,
            hash=self.reached[""].hash is None,
            skip=tuple(sorted(self.reached[""].done)),
            opening_seconds=messages.opening_seconds(self.path.name, self.task.size, self.options.page_seconds),
            known=known,
            span=self.span,
        )

    def taken(self, place: str, answer: messages.WorkerAnswer) -> Iterator[Read]:
        """Yield what is new in an answer."""
        self.at = place
        if isinstance(answer, messages.Begun) and place not in self.reached:
            self.reached[place] = _Reached(member_task(self.task, place, answer.hash))
            yield Read(self.reached[place].task, answer)
        one = self.reached[place]
        match answer:
            case messages.Hashed(hash=digest):
                one.hash = digest
            case messages.Opened(pages=pages):
                one.pages = pages
                self.opened(str(self.task.path), pages, inside=place != "")
                return
            case messages.Converted() if one.pages is not None:
                return  # after a crash, the first PDF stays
            case messages.Begun() | messages.Looked():
                return
            case messages.Ended():
                if not one.is_over:
                    one.is_over = True
                    yield Read(one.task, End(one.pages))
                self.at = ""
                return
            case messages.Unread(page=None):
                one.is_over = True
            case Page(ref=ref):
                one.done.add(ref.page)
            case messages.Unread(page=int() as page):
                one.done.add(page)
        yield Read(one.task, answer)

    def died(self, one: _Reached, death: process.Died) -> Iterator[Read]:
        """Give up the page or the document that ended the worker and, after too many of them, the file."""
        number = self.next_page(one)
        if one.pages is None or number is None:
            one.is_over = True
            yield Read(one.task, messages.Unread(None, str(death)))
        else:
            one.done.add(number)
            yield Read(one.task, messages.Unread(number, str(death)))
        self.crashes += 1
        file = self.reached[""]
        if self.crashes == MAX_CRASHES and not file.is_over:
            where = f"page {number}" if self.at == "" else f"{self.at} inside it"
            reason = f"was given up at {where}, the last of {self.crashes} that ended like this: it {death}"
            file.is_over = True
            yield Read(self.task, messages.Unread(None, reason))

    def died_of_unpacking(self, death: process.Died) -> Iterator[Read]:
        """Report what may be lost if the worker died after the last page: nothing, unless a file can hold others."""
        found = formats.format_of(self.path)
        if len(self.reached) > 1 or (found is not None and formats.holds_files(found.reader)):
            loss = Loss("what else is inside it", f"unpack it into a folder: reading it {death}")
            yield Read(self.task, messages.Lacking(None, loss))

    def next_page(self, one: _Reached) -> int | None:
        """Return the page that is being read; None where none is left."""
        first, last = self.span if one is self.reached[""] else (1, None)
        pages = one.pages or 0
        wanted = range(first, (pages if last is None else min(last, pages)) + 1)
        return next((number for number in wanted if number not in one.done), None)


class _Reached:
    """The state of the reading of a file, or of a document inside it.

    hash: None until it is known. pages: None until it is open. done: pages that need not be read again.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.hash = task.hash
        self.done = set(task.skip)
        self.pages: int | None = None
        self.is_over = False


class _Buffer:
    """A queue for one thread on either side, bounded by the bytes in it."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.items: deque[tuple[Read | BaseException, int]] = deque()
        self.bytes = 0
        self.closed = False
        self.changed = threading.Condition()

    def put(self, item: Read | BaseException, size: int = 0) -> bool:
        """Put an item in as soon as there is room; return False where nobody waits for it any more."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or not self.bytes or self.bytes + size <= self.most_bytes)
            self.items.append((item, size))
            self.bytes += size
            self.changed.notify_all()
            return not self.closed

    def get(self, meanwhile: Callable[[], None]) -> Read | BaseException:
        """Return the next item when it comes; `meanwhile` is called now and then."""
        while not self.await_one():
            meanwhile()
        with self.changed:
            item, size = self.items.popleft()
            self.bytes -= size
            self.changed.notify_all()
            return item

    def await_one(self) -> bool:
        """Wait a while for an item; return whether there is one."""
        with self.changed:
            return bool(self.changed.wait_for(lambda: self.items, WAKE_SECONDS))

    def close(self) -> None:
        """Close the queue, so that nobody waits for room."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
