"""Reading documents in another process: a file that crashes, hangs or bloats a library ends a worker, not the run.

    worker = Worker()                                  # starts `python -m visret._render`
    for answer in worker.read(Request("/papers/a.pdf"), doc="a.pdf"):
        ...                                            # Hashed, Converted, Opened, then a Page or Unread for every page
    worker.close()

Frames go both ways through pipes: two big-endian uint32, the lengths of a JSON header and of raw bytes, then these. A
frame to the worker is a Request. Its answers are headers with one of `hash`, `converted` (the raw bytes are a PDF),
`pages` (how many the file has), `page`, `looked` (at this page) or `unread` (why not this page), and at the end `done`
or an `unread` of the file; before all of them one `ready`. What comes of a document inside the file has `in`, its place
there, and begins with a frame that has `member`, its sha256, and `size`. With a `page` come its size, words and lines;
the raw bytes are their boxes (float64) and the picture (RGB, row by row). Any of them may hold `lost`: (page or null,
what, help) of what is missing. `log` holds what the worker had to say since its last answer, and `cpu` the seconds of a
core that it has used.

The worker ends when its stdin does, and by itself when a page takes far too long: none outlives its parent, and no
LibreOffice its worker. Office documents are read as the PDF that LibreOffice makes of them; where it is not installed,
HTML and spreadsheets are read as plain text, unless their pictures are wanted.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import logging
import math
import os
import queue
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
from PIL import Image

from visret import _forecast, _forks, documents, ocr
from visret.documents import formats, office
from visret.documents.members import MAX_MEMBER_BYTES, MAX_MEMBERS
from visret.errors import DocumentError, VisretError
from visret.ocr import printed, trust
from visret.types import Loss, Page, PageRef, Word

COMMAND = (sys.executable, "-P", "-m", "visret._render")
MEMORY = 4 << 30  # bytes of its own that a worker may have; held on Linux, and by what else knows RLIMIT_DATA
STARTING_SECONDS = 120.0  # to import this file, on a machine that is busy
MOST_UNREAD = 100  # pages in a row; what a damaged PDF says of its length may be a million
SLOWEST_DISK = 10 << 20  # bytes a second: a large file may take longer to be hashed and opened than a page
DEEPEST = 4  # documents inside documents
GRACE_SECONDS = 10.0  # after which a worker that nobody ended ends itself
MOST_DRAWN = 2  # pages of a file that are drawn to see how much print OCR will read
OCR_THREADS = 2  # a page takes half the time, of 1.2 times the work, and the encoder waits for it

UNREAD_TEXT = Loss("text in a font without a table of characters", "--ocr auto reads it from the page's picture")

_LENGTHS = struct.Struct(">II")
_Frame = tuple[dict[str, Any], tuple[bytes, ...]]
_CHARGE = {"word": 500, "pixel": 4}  # bytes in memory of a Word, and of what Pillow keeps of a pixel


@dataclass(frozen=True, slots=True)
class Request:
    """A file to be read. Seconds: for the hash, the conversion, opening, and every page.

    image: else words are enough, and are read from the page's picture as `ocr` says. hash: wanted too. skip: pages not
    wanted. only: the pages wanted; None for all. looks: say of so many pages how they would be read, instead of reading
    them. most_pages: a file with more is not read. known: of documents inside the file, by their place, [their sha256,
    the pages that are not wanted where it is the same, None for all pages]. scratch: an empty folder; `Worker.read`
    sees to it, since a worker that is killed leaves it full.
    """

    path: str
    password: str | None = None
    image: bool = True
    ocr: str = "never"
    hash: bool = False
    skip: tuple[int, ...] = ()
    most_pages: int | None = None
    only: tuple[int, ...] | None = None
    looks: int = 0
    opening_seconds: float = 60.0
    page_seconds: float = 60.0
    known: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    scratch: str | None = None


@dataclass(frozen=True, slots=True)
class Hashed:
    """The content of the file, sha256."""

    hash: str


@dataclass(frozen=True, slots=True)
class Converted:
    """The PDF that was made of an office document, of which the pages are."""

    pdf: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """The file is open, and has so many pages."""

    pages: int


@dataclass(frozen=True, slots=True)
class Unread:
    """A page that cannot be read; page None: the file. reached: False where not even its bytes can be."""

    page: int | None
    reason: str
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Lost:
    """Content that is known to be missing from a page, or, page None, from the file."""

    page: int | None
    loss: Loss


@dataclass(frozen=True, slots=True)
class Begun:
    """A document inside the file begins. hash: its sha256. size: its bytes."""

    hash: str
    size: int


@dataclass(frozen=True, slots=True)
class Ended:
    """All pages of a document inside the file have been read."""


@dataclass(frozen=True, slots=True)
class Looked:
    """How a page would be read."""

    page: int
    look: _forecast.Look


Answer = Hashed | Converted | Opened | Unread | Lost | Page | Begun | Ended | Looked


@dataclass(frozen=True, slots=True)
class Inside:
    """An answer of a document inside the file. member: its place there."""

    member: str
    answer: Answer


class Died(Exception):
    """The worker is gone, by itself or for taking too long. The message says it of what was being read."""


def opening_seconds(name: str, size: int, page_seconds: float) -> float:
    """How long a file may take until its first page."""
    return page_seconds + size / SLOWEST_DISK + (office.SECONDS if formats.converts(name) else 0)


def size_in_memory(answer: object) -> int:
    """Roughly, in bytes."""
    if isinstance(answer, Converted):
        return len(answer.pdf)
    if not isinstance(answer, Page):
        return 0
    pixels = answer.image.width * answer.image.height if answer.image else 0
    return _CHARGE["pixel"] * pixels + _CHARGE["word"] * len(answer.words or ()) + len(answer.plain or "")


# ---------------------------------------------------------------------------------------------- in the parent


class Worker:
    """A process that reads files, one at a time. Used by one thread; `kill` may be called by any.

    cpu_seconds: that it has used, as of its last answer. quiet: whether what it has to say is not logged. Raises
    VisretError where it does not start.
    """

    cpu_seconds = 0.0
    quiet = False

    def __init__(self) -> None:
        self._expired: float | None = None
        self._parent = os.getpid()
        # not in the terminal's group: Ctrl-C is for the parent, which ends its workers
        apart: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            apart = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(), **apart
        )
        _widen(self._process.stdout)
        # A child that is forked meanwhile has no part in it: the worker ends when this process does.
        self._pipes = ExitStack()
        pipes = [pipe.fileno() for pipe in (self._process.stdin, self._process.stdout) if pipe is not None]
        self._pipes.enter_context(_forks.not_for_children(*pipes))
        try:
            self._receive(STARTING_SECONDS)
        except Died as death:
            tried = " ".join(COMMAND)
            raise VisretError(f"the process that reads documents does not start ({death}); try: {tried}") from death

    def read(self, request: Request, *, doc: str) -> Iterator[Answer | Inside]:
        """What comes of a file, page by page, then of each document inside it; they are named after `doc`.

        Raises Died, and is of no further use then.
        """
        with tempfile.TemporaryDirectory(prefix="visret-", ignore_cleanup_errors=True) as scratch:
            self._send(asdict(replace(request, scratch=scratch)))
            seconds = request.opening_seconds
            while True:
                header, raw = self._receive(seconds)
                member = header.get("in", "")
                seconds = _seconds_after(header, request)
                for answer in _answers_of(header, raw, f"{doc}/{member}" if member else doc):
                    yield Inside(member, answer) if member else answer
                if not member and ("done" in header or ("unread" in header and header["page"] is None)):
                    return

    def kill(self) -> None:
        """End it at once, with what it started."""
        if self._process.returncode is None and self._parent == os.getpid():
            _end(self._process.pid)

    def close(self) -> None:
        """End it, and let go of what the system holds for it."""
        self.kill()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a dead disk cannot be ended: not waited for
            self._process.wait(GRACE_SECONDS)
        self._pipes.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _send(self, header: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the end of its answers tells
            _write(self._process.stdin, header)

    def _receive(self, seconds: float) -> tuple[dict[str, Any], memoryview]:
        assert self._process.stdout is not None
        timer = threading.Timer(seconds, self._expire, [seconds])
        timer.daemon = True
        timer.start()
        try:
            frame = _read(self._process.stdout)
        finally:
            timer.cancel()
        if frame is None:
            with suppress(subprocess.TimeoutExpired):  # its own end, not ours, says what happened
                self._process.wait(GRACE_SECONDS)
            self.close()
            raise Died(self._epitaph())
        self.cpu_seconds = frame[0]["cpu"]
        for name, level, message in () if self.quiet else frame[0].get("log", ()):
            logging.getLogger(name).log(level, "%s", message)
        return frame

    def _expire(self, seconds: float) -> None:
        self._expired = seconds
        self.kill()

    def _epitaph(self) -> str:
        code = self._process.returncode
        if self._expired is not None or code is None:
            return f"took more than {self._expired or GRACE_SECONDS:g} s and was given up"
        if code == -9:
            return "was given up by the system (signal 9), most likely for lack of memory"
        how = f"signal {-code}" if code < 0 else f"exit {code:#x}" if code > 255 else f"exit {code}"
        return f"crashed the library that reads it ({how}); repair the file or save it again"


def _seconds_after(header: dict[str, Any], request: Request) -> float:
    """How long the next frame may take."""
    if "member" in header:
        return opening_seconds(header["in"], header["size"], request.page_seconds)
    return request.opening_seconds if header.keys() & {"hash", "converted"} else request.page_seconds


def _answers_of(header: dict[str, Any], raw: memoryview, doc: str) -> Iterator[Answer]:
    """What a frame says."""
    for page, *loss in header.get("lost", ()):
        yield Lost(page, Loss(*loss))
    if "member" in header:
        yield Begun(header["member"], header["size"])
    elif "done" in header:
        if "in" in header:
            yield Ended()
    elif "unread" in header:
        yield Unread(header["page"], header["unread"], header["reached"])
    elif "pages" in header:
        yield Opened(header["pages"])
    elif "looked" in header:
        yield Looked(header["looked"], _forecast.Look(*header["look"]))
    elif "converted" in header:
        yield Converted(bytes(raw))
    elif "hash" in header:
        yield Hashed(header["hash"])
    else:
        yield _unpacked(header, raw, doc)


def _widen(pipe: IO[bytes] | None) -> None:
    """Let a page through at once, on Linux; a user with many pipes may not."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        assert pipe is not None
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)


def _environment() -> dict[str, str]:
    """The same modules and the same file names as here; and one thread, which is all that reading uses."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path),
        "PYTHONUTF8": str(sys.flags.utf8_mode),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


# ---------------------------------------------------------------------------------------------- in the worker


def main() -> None:
    """Be a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(5)  # the encoder, on all cores, would wait for the one that is taken from it
    answers = os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what a library prints must not come between the answers
    _limit()
    log = _Log()
    logging.getLogger().addHandler(log)
    requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=[requests], daemon=True).start()

    def answer(header: dict[str, Any], raw: tuple[bytes, ...] = ()) -> None:
        faulthandler.cancel_dump_traceback_later()  # to wait for the parent is no hang
        header["cpu"] = time.process_time()
        if log.said:
            header["log"], log.said = log.said, []
        try:
            _write(answers, header, *raw)
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
            allow(_seconds_after(header, request))
        faulthandler.cancel_dump_traceback_later()


def _answers(request: Request) -> Iterator[_Frame]:
    path = Path(request.path)
    try:
        if request.hash:
            yield {"hash": sha256(path)}, ()
    except OSError as error:
        yield _unread(error, reached=False), ()
        return
    yield from _document(path, request, "", frozenset(request.skip), _Unpacking())


class _Unpacking:
    """What may still be unpacked of a file, the documents inside its documents included."""

    def __init__(self) -> None:
        self.members = MAX_MEMBERS
        self.bytes = MAX_MEMBER_BYTES
        self.depth = 0

    def refuses(self, size: int) -> str | None:
        """Count one more of this size; what to do where it is one too many, or they are too large or too deep."""
        self.members -= 1
        self.bytes -= size
        if self.depth >= DEEPEST:
            return f"unpack it: visret reads documents in documents {DEEPEST} deep"
        if self.members < 0 or self.bytes < 0:
            most = f"{MAX_MEMBERS:,} documents of {MAX_MEMBER_BYTES >> 30} GiB"
            return f"unpack it into a folder: visret reads {most} out of one file"
        return None


def _document(path: Path, request: Request, place: str, skip: Set[int], unpacking: _Unpacking) -> Iterator[_Frame]:
    """What comes of a file, or of the document at this place inside it."""

    def frame(header: dict[str, Any], raw: tuple[bytes, ...] = ()) -> _Frame:
        return ({**header, "in": place} if place else header), raw

    try:
        if _is_converted(path, request):
            path, missing = office.convert(path, tempfile.mkdtemp(dir=request.scratch))
            yield frame({"converted": True, "lost": [(None, *loss) for loss in missing]}, (path.read_bytes(),))
        with _opened(path, request) as document:
            for header, raw in _pages(document, request, skip):
                yield frame(header, raw)
            if request.only is None:
                yield from _members(document, request, place, unpacking)
            lost = [(None, *loss) for loss in document.lost]
    except Exception as error:  # noqa: BLE001 - the other files can be read
        yield frame(_unread(error))
        return
    yield frame({"done": True, "lost": lost})


def _pages(document: documents.Document, request: Request, skip: Set[int]) -> Iterator[_Frame]:
    path, pages = document.path, len(document)
    if request.most_pages is not None and pages > request.most_pages:
        raise DocumentError(path, f"has {pages:,} pages; {request.most_pages:,} are the most; divide it")
    yield {"pages": pages}, ()
    in_a_row = 0
    for number in range(1, pages + 1) if request.only is None else request.only:
        if number in skip:
            continue
        try:
            header, raw = _packed(_page(document, number, request))
            in_a_row = 0
        except Exception as error:  # noqa: BLE001 - whatever it is, the others can be read
            header, raw = _unread(error, number), ()
            in_a_row += 1
        yield header, raw
        if in_a_row == MOST_UNREAD:
            where = f"page {number:,} of {pages:,}"
            raise DocumentError(path, f"was given up at {where}, after {in_a_row} bad ones")


def _members(document: documents.Document, request: Request, place: str, unpacking: _Unpacking) -> Iterator[_Frame]:
    """What comes of the documents inside one; those of other kinds are named in its `lost`."""
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


def _member(file: Path, request: Request, place: str, size: int, unpacking: _Unpacking) -> Iterator[_Frame]:
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


def sha256(path: Path) -> str:
    """The checksum of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _looks(request: Request) -> Iterator[_Frame]:
    """How many pages a file has, and how some of them would be read, spread over it.

    They are more where it has more pages, and twice `looks` more where OCR reads some of them and not others.
    """
    path = Path(request.path)
    try:
        with _opened(path, request) as document:
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
    """The numbers of so many pages of a file, evenly."""
    return [(2 * i + 1) * pages // (2 * count) + 1 for i in range(count)]


def _looked(
    document: documents.Document, numbers: Sequence[int], request: Request, found: list[bool]
) -> Iterator[_Frame]:
    """How these pages would be read; the first blind ones are drawn. found: of all until now, which are blind."""
    for number in numbers:
        try:
            look = _look(document, number, request)
            if look.page_class == _forecast.BLIND and sum(found) < MOST_DRAWN:
                look = _drawn(document, number)
            found.append(look.page_class == _forecast.BLIND)
            yield {"looked": number, "look": look}, ()
        except Exception as error:  # noqa: BLE001 - whatever it is, the others can be looked at
            yield _unread(error, number), ()


def _look(document: documents.Document, number: int, request: Request) -> _forecast.Look:
    """A page by its words alone."""
    if request.ocr == "never" and request.image:
        return _forecast.Look(_forecast.WORDS, 0)
    page = document.page(number, image=False)
    own = len(page.words or ()) or len(page.plain or "") / 6
    if request.ocr == "never" or page.size_pt is None or (request.ocr == "auto" and not trust.doubtful(page)):
        return _forecast.Look(_forecast.WORDS, own)
    if request.ocr == "auto" and page.words and not trust.garbage(page.words):
        return _forecast.Look(_forecast.DOUBTFUL, own)
    return _forecast.Look(_forecast.BLIND, 0)


def _drawn(document: documents.Document, number: int) -> _forecast.Look:
    """A page that OCR will read, by its picture."""
    image = document.page(number, words=False, dpi=printed.DPI).image
    if image is None:
        return _forecast.Look(_forecast.BLIND, 0)
    inches = printed.lines((), image, None).all * image.width / printed.DPI
    return _forecast.Look(_forecast.BLIND, inches * _forecast.WORDS_PER_INCH, image.width * image.height / 1e6)


def _is_converted(path: Path, request: Request) -> bool:
    """Whether LibreOffice is asked for a PDF; without it, HTML and spreadsheets at least have words."""
    if not formats.converts(path) or office.program() is not None:
        return formats.converts(path)
    return request.image or not formats.has_text(path)


def _opened(path: Path, request: Request) -> documents.Document:
    if formats.has_text(path):
        text, lost = office.text_without(path)
        document = documents.text_document(path, text)
        document.lost += lost
        return document
    return documents.open_document(path, password=request.password)


def _page(document: documents.Document, number: int, request: Request) -> Page:
    """The page; where its words are in doubt, as they are seen in its picture."""
    page = document.page(number, image=request.image)
    if request.ocr == "never" and not request.image and (page.torn or page.unread > trust.BROKEN):
        return replace(page, lost=(*page.lost, UNREAD_TEXT))
    if request.ocr == "never" or page.size_pt is None or (request.ocr == "auto" and not trust.doubtful(page)):
        return page
    dpi = ocr.dpi_of(page.size_pt)
    drawn = document.page(number, words=False, dpi=dpi).image
    read = ocr.with_words(replace(page, image=drawn), request.ocr, threads=OCR_THREADS)
    if drawn is not None and (better := ocr.better_dpi(drawn, dpi)) > dpi:
        drawn = document.page(number, words=False, dpi=better).image
        read = ocr.with_words(replace(page, image=drawn), request.ocr, threads=OCR_THREADS)
    return replace(read, image=page.image)


def _reason(error: Exception) -> str:
    if isinstance(error, DocumentError):
        return error.reason
    if isinstance(error, MemoryError):
        return f"needs more than {MEMORY / (1 << 30):.3g} GiB of memory; reduce it"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    place = traceback.extract_tb(error.__traceback__)[-1]
    said = " ".join(str(error).split())
    return f"a defect of visret: {type(error).__name__}: {said} ({Path(place.filename).name}, line {place.lineno})"


def _listen(requests: queue.SimpleQueue[Request]) -> NoReturn:
    while frame := _read(sys.stdin.buffer):
        requests.put(Request(**frame[0]))
    if os.name == "nt" or os.getpgrp() == os.getpid():  # else somebody started it by hand
        _end(os.getpid())
    os._exit(0)  # in the middle of a page too


def _limit() -> None:
    """At most MEMORY, and no traces of a crash but its signal: no core files, no windows."""
    if os.name == "nt":
        import msvcrt

        msvcrt.SetErrorMode(msvcrt.SEM_FAILCRITICALERRORS | msvcrt.SEM_NOGPFAULTERRORBOX)  # type: ignore[attr-defined]
        return
    import resource

    # RLIMIT_AS would count what is only reserved, and mapped files
    for kind, most in ((resource.RLIMIT_DATA, MEMORY), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        with suppress(ValueError, OSError):  # a system without this limit can read documents nevertheless
            resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


class _Log(logging.Handler):
    """Keeps what is logged, for the parent to log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.name, record.levelno, record.getMessage()))


# ------------------------------------------------------------------------------------------------- both sides


def _end(worker: int) -> None:
    """Kill a worker, and LibreOffice where it has started it."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(worker)], capture_output=True, check=False)
        return
    with suppress(ProcessLookupError, PermissionError):  # it has just ended; macOS says the second
        os.killpg(worker, signal.SIGKILL)


def _write(pipe: IO[bytes], header: dict[str, Any], *raw: bytes) -> None:
    head = json.dumps(header).encode("ascii")  # ASCII: file names and texts may hold what is not Unicode
    pipe.write(_LENGTHS.pack(len(head), sum(map(len, raw))) + head)
    for part in raw:
        pipe.write(part)
    pipe.flush()


def _read(pipe: IO[bytes]) -> tuple[dict[str, Any], memoryview] | None:
    """The next frame; None at the end, which may come in the middle of one."""
    lengths = pipe.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    head, raw = _LENGTHS.unpack(lengths)
    body = pipe.read(head + raw)
    return (json.loads(body[:head]), memoryview(body)[head:]) if len(body) == head + raw else None


def _packed(page: Page) -> tuple[dict[str, Any], tuple[bytes, ...]]:
    header: dict[str, Any] = {"page": page.ref.page, "size_pt": page.size_pt, "plain": page.plain}
    header["metadata"] = dict(page.metadata)
    header["lost"] = [(page.ref.page, *loss) for loss in page.lost]
    raw = []
    if page.words is not None:
        header["words"] = [word.text for word in page.words]
        header["lines"] = [word.line for word in page.words]
        header["rest"] = {index: word.rest for index, word in enumerate(page.words) if word.rest}
        raw.append(np.array([word.box for word in page.words], np.float64).tobytes())
    if page.image is not None:
        header["image"] = page.image.size
        raw.append(page.image.tobytes())
    return header, tuple(raw)


def _unpacked(header: dict[str, Any], raw: memoryview, doc: str) -> Page:
    words, image = None, None
    if "words" in header:
        size = 32 * len(header["words"])
        boxes = np.frombuffer(raw[:size], np.float64).reshape(-1, 4).tolist()
        rest = {
            int(index): tuple((start, tuple(box)) for start, box in parts) for index, parts in header["rest"].items()
        }
        fields = zip(header["words"], boxes, header["lines"], strict=True)
        words = tuple(
            Word(text, (x0, y0, x1, y1), rest.get(index, ()), line)
            for index, (text, (x0, y0, x1, y1), line) in enumerate(fields)
        )
        raw = raw[size:]
    if "image" in header:
        image = Image.frombytes("RGB", tuple(header["image"]), raw)
    size_pt = None if header["size_pt"] is None else tuple(header["size_pt"])
    return Page(PageRef(doc, header["page"]), size_pt, image, words, header["plain"], header["metadata"])


if __name__ == "__main__":
    main()
