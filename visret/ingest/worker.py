"""The process that reads documents: `python -m visret.ingest.worker`, started and watched by `process.Worker`.

It ends when its stdin does, and by itself when a page takes far too long, so that none outlives its parent, and no
LibreOffice outlives its worker. Office documents are read as the PDF that LibreOffice makes of them; where it is not
installed, HTML and spreadsheets are read as plain text, unless their pictures are wanted.
"""

from __future__ import annotations

import faulthandler
import logging
import math
import os
import queue
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from visret import documents
from visret.documents import formats, office
from visret.documents.members import MAX_MEMBER_BYTES, MAX_MEMBERS
from visret.errors import DocumentError
from visret.ingest import costs
from visret.ingest.messages import Frame, Request, packed, read_frame, seconds_after, sha256, write_frame
from visret.ingest.options import ReadOptions
from visret.ingest.pages import is_converted, opened, read_page
from visret.ingest.process import GRACE_SECONDS, end
from visret.ocr import printed, trust
from visret.types import Loss

MEMORY = 4 << 30  # bytes that a worker may have; enforced on Linux and other systems that know RLIMIT_DATA
MAX_UNREAD = 100  # pages in a row; a damaged PDF may claim to have a million
MAX_DEPTH = 4  # of documents inside documents
MAX_DRAWN = 2  # pages of a file that are drawn to see how much print OCR will have to read


def main() -> None:
    """Answer requests, as a worker, until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(5)  # the encoder uses all cores, and would wait for the one that is taken from it
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # the output of libraries must not come between the answers
    _limit()
    log = _Log()
    logging.getLogger().addHandler(log)
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=[requests], daemon=True).start()

    def answer(header: dict[str, Any], raw: tuple[bytes, ...] = ()) -> None:
        faulthandler.cancel_dump_traceback_later()  # waiting for the parent is not a hang
        header["cpu"] = time.process_time()
        if log.said:
            header["log"], log.said = log.said, []
        try:
            write_frame(answers, header, *raw)
        except BrokenPipeError:  # the parent is gone
            os._exit(0)

    def allow(seconds: float) -> None:
        faulthandler.dump_traceback_later(seconds + GRACE_SECONDS, exit=True, file=nowhere)

    answer({"ready": True})
    while True:
        request = requests.get()
        allow(request.opening_seconds)
        for header, raw in _looks(request) if request.looks else _answers(request):
            answer(header, raw)
            allow(seconds_after(header, request))
        faulthandler.cancel_dump_traceback_later()


def _answers(request: Request) -> Iterator[Frame]:
    path = Path(request.path)
    try:
        if request.hash:
            yield {"hash": sha256(path)}, ()
    except OSError as error:
        yield _unread(error, reached=False), ()
        return
    yield from _document(path, request, "", frozenset(request.skip), _Limits())


class _Limits:
    """The limits on what may still be unpacked of a file, including the documents inside its documents."""

    def __init__(self) -> None:
        self.members = MAX_MEMBERS
        self.bytes = MAX_MEMBER_BYTES
        self.depth = 0

    def refuses(self, size: int) -> str | None:
        """Count one more document of this size; return what to do if there are too many, too large or too deep ones."""
        self.members -= 1
        self.bytes -= size
        if self.depth >= MAX_DEPTH:
            return f"unpack it: visret reads documents in documents {MAX_DEPTH} deep"
        if self.members < 0 or self.bytes < 0:
            most = f"{MAX_MEMBERS:,} documents of {MAX_MEMBER_BYTES >> 30} GiB"
            return f"unpack it into a folder: visret reads {most} out of one file"
        return None


def _document(path: Path, request: Request, place: str, skip: Set[int], unpacking: _Limits) -> Iterator[Frame]:
    """Yield what comes of a file, or of the document at this place inside it."""

    def frame(header: dict[str, Any], raw: tuple[bytes, ...] = ()) -> Frame:
        return ({**header, "in": place} if place else header), raw

    try:
        if is_converted(path, request.options):
            path, missing = office.convert(path, tempfile.mkdtemp(dir=request.scratch))
            yield frame({"converted": True, "lost": [(None, *loss) for loss in missing]}, (path.read_bytes(),))
        with opened(path, request.options) as document:
            first, last = (1, None) if place else request.span
            wanted = range(first, min(last or len(document), len(document)) + 1)
            for header, raw in _pages(document, request, wanted, skip):
                yield frame(header, raw)
            if request.only is None and wanted.stop > len(document):
                yield from _members(document, request, place, unpacking)
            lost = [(None, *loss) for loss in document.lost]
    except Exception as error:  # noqa: BLE001 - the other files can be read
        yield frame(_unread(error))
        return
    yield frame({"done": True, "lost": lost})


def _pages(document: documents.Document, request: Request, wanted: range, skip: Set[int]) -> Iterator[Frame]:
    path, pages = document.path, len(document)
    if request.options.max_pages is not None and pages > request.options.max_pages:
        raise DocumentError(path, f"has {pages:,} pages; at most {request.options.max_pages:,} are read; divide it")
    yield {"pages": pages}, ()
    in_a_row = 0
    for number in wanted if request.only is None else request.only:
        if number in skip:
            continue
        try:
            header, raw = packed(read_page(document, number, request.options))
            in_a_row = 0
        except Exception as error:  # noqa: BLE001 - whatever it is, the others can be read
            header, raw = _unread(error, number), ()
            in_a_row += 1
        yield header, raw
        if in_a_row == MAX_UNREAD:
            where = f"page {number:,} of {pages:,}"
            raise DocumentError(path, f"was given up at {where}, after {in_a_row} bad ones")


def _members(document: documents.Document, request: Request, place: str, unpacking: _Limits) -> Iterator[Frame]:
    """Yield what comes of the documents inside a document; those of other kinds are named in its `lost`."""
    others: Counter[str] = Counter()
    for member in document.members(Path(tempfile.mkdtemp(dir=request.scratch))):
        inside = f"{place}/{member.name}" if place else member.name
        try:
            size = member.file.stat().st_size
            if formats.format_of(member.name) is None:
                others[formats.ending(member.name)] += 1
            elif reason := unpacking.refuses(size):
                document.lost.append(Loss(f"what is inside it from {member.name} on", reason))
                return
            else:
                yield from _member(member.file, request, inside, size, unpacking)
        finally:
            member.file.unlink(missing_ok=True)
    if others:
        document.lost.append(Loss(formats.unread(others), "save them as files of kinds that it reads"))


def _member(file: Path, request: Request, place: str, size: int, unpacking: _Limits) -> Iterator[Frame]:
    digest = sha256(file)
    yield {"member": digest, "size": size, "in": place}, ()
    known, skip = request.known.get(place, (None, ()))
    if known != digest:
        skip = ()
    if skip is None:
        yield {"done": True, "in": place}, ()
        return
    unpacking.depth += 1
    yield from _document(file, request, place, frozenset(skip), unpacking)
    unpacking.depth -= 1


def _unread(error: Exception, page: int | None = None, *, reached: bool = True) -> dict[str, Any]:
    return {"page": page, "unread": _reason(error), "reached": reached}


def _looks(request: Request) -> Iterator[Frame]:
    """Yield the number of pages of a file, and how some of them, spread over it, would be read.

    A longer file has more of them looked at, and up to twice `looks` more if OCR reads some of them and not others.
    """
    path = Path(request.path)
    try:
        with opened(path, request.options) as document:
            pages = len(document)
            yield {"pages": pages}, ()
            few = _spread(pages, min(request.looks, math.isqrt(pages - 1) + 1 if pages else 0))
            found: list[bool] = []
            yield from _looked(document, few, request, found)
            if any(found) and not all(found):
                more = sorted({*_spread(pages, min(pages, 2 * request.looks))} - {*few})
                yield from _looked(document, more, request, found)
    except Exception as error:  # noqa: BLE001 - it is said where the file is read
        yield _unread(error), ()
        return
    yield {"done": True}, ()


def _spread(pages: int, count: int) -> list[int]:
    """Return the numbers of so many pages of a file, evenly spread."""
    return [(2 * i + 1) * pages // (2 * count) + 1 for i in range(count)]


def _looked(
    document: documents.Document, numbers: Sequence[int], request: Request, found: list[bool]
) -> Iterator[Frame]:
    """Yield how these pages would be read; the first blind ones are drawn. found: whether each page so far is blind."""
    for number in numbers:
        try:
            look = _look(document, number, request.options)
            if look.page_class == costs.BLIND and sum(found) < MAX_DRAWN:
                look = _drawn(document, number)
            found.append(look.page_class == costs.BLIND)
            yield {"looked": number, "look": look}, ()
        except Exception as error:  # noqa: BLE001 - whatever it is, the others can be looked at
            yield _unread(error, number), ()


def _look(document: documents.Document, number: int, options: ReadOptions) -> costs.Look:
    """Look at a page by its words alone."""
    if options.ocr == "never" and options.pictures:
        return costs.Look(costs.WORDS, 0)
    page = document.page(number, image=False)
    own = len(page.words or ()) or len(page.plain or "") / 6
    if options.ocr == "never" or page.size_pt is None or (options.ocr == "auto" and not trust.doubtful(page)):
        return costs.Look(costs.WORDS, own)
    if options.ocr == "auto" and page.words and not trust.garbage(page.words):
        return costs.Look(costs.DOUBTFUL, own)
    return costs.Look(costs.BLIND, 0)


def _drawn(document: documents.Document, number: int) -> costs.Look:
    """Look at a page that OCR will read, by its picture."""
    image = document.page(number, words=False, dpi=printed.DPI).image
    if image is None:
        return costs.Look(costs.BLIND, 0)
    inches = printed.lines((), image, None).all * image.width / printed.DPI
    return costs.Look(costs.BLIND, inches * costs.WORDS_PER_INCH, image.width * image.height / 1e6)


def _reason(error: Exception) -> str:
    if isinstance(error, DocumentError):
        return error.reason
    if isinstance(error, MemoryError):
        return f"needs more than {MEMORY / (1 << 30):.3g} GiB of memory; reduce it"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())
    return f"a bug in visret: {type(error).__name__}: {said} ({Path(place.filename).name}, line {place.lineno})"


def _listen(requests: queue.SimpleQueue[Request]) -> NoReturn:
    while frame := read_frame(sys.stdin.buffer):
        requests.put(Request.from_header(frame[0]))
    if os.name == "nt" or os.getpgrp() == os.getpid():  # else it was started by hand
        end(os.getpid())
    os._exit(0)  # even in the middle of a page


def _limit() -> None:
    """Limit memory to MEMORY, and leave no trace of a crash but its signal: no core files, no windows."""
    if os.name == "nt":
        import msvcrt

        msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)  # type: ignore[attr-defined]
        return
    import resource

    # RLIMIT_AS would count memory that is only reserved, and mapped files
    for kind, most in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        with suppress(ValueError, OSError):  # a system without this limit can still read documents
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


class _Log(logging.Handler):
    """A handler that keeps log records for the parent to log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.name, record.levelno, record.getMessage()))


if __name__ == "__main__":
    main()
