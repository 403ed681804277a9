"""The requests to a worker process, its answers, and the frames that carry both through its pipes.

A frame is two big-endian uint32, the lengths of a JSON header and of raw bytes, followed by these. A frame to the
worker is a `Request`. Its answers are headers with one of `hash`, `converted` (the raw bytes are a PDF), `pages` (how
many the file has), `page`, `looked` (the number of a page looked at) or `unread` (why a page cannot be read), and at
the end `done` or an `unread` of the file; before all of them comes one `ready`. What comes of a document inside the
file has `in`, its place there, and begins with a frame that has `member`, its sha256, and `size`. With a `page` come
its size, words and lines; the raw bytes are their boxes (float64) and the picture (RGB, row by row). Any answer may
hold `lost`: (page or null, what, help) of what is missing. `log` holds what the worker has logged since its last
answer, and `cpu` the seconds of a core that it has used.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from visret.documents import formats, office
from visret.ingest.costs import Look
from visret.ingest.options import PAGE_SECONDS, ReadOptions
from visret.types import Loss, Page, PageRef, Word

SLOWEST_DISK = 10 << 20  # bytes a second: hashing and opening a large file may take longer than a page
_LENGTHS = struct.Struct(">II")
Frame = tuple[dict[str, Any], tuple[bytes, ...]]
_CHARGE = {"word": 500, "pixel": 4}  # bytes in memory of a Word, and of a pixel in Pillow


@dataclass(frozen=True, slots=True)
class Request:
    """A file to be read, and how.

    hash: whether its checksum is wanted too. skip: pages that are not wanted. only: the wanted pages; None for all.
    looks: how many pages to look at, to say how they would be read, instead of reading; 0 to read. opening_seconds: the
    limit for the hash, the conversion and opening, each. known: for documents inside the file, by their place, [their
    sha256, the pages that are not wanted if it is the same, None for all pages]. scratch: an empty folder, which
    `Worker.read` provides, because a worker that is killed leaves it full. span: the first and the last page that are
    wanted, None for the end of the file; what is inside it comes with its last page.
    """

    path: str
    options: ReadOptions = field(default_factory=ReadOptions)
    hash: bool = False
    skip: tuple[int, ...] = ()
    only: tuple[int, ...] | None = None
    looks: int = 0
    opening_seconds: float = PAGE_SECONDS
    known: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    scratch: str | None = None
    span: tuple[int, int | None] = (1, None)

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Request:
        """Return the request that a frame carries."""
        return cls(**{**header, "options": ReadOptions(**header["options"])})


@dataclass(frozen=True, slots=True)
class Hashed:
    """The checksum of the file, a sha256."""

    hash: str


@dataclass(frozen=True, slots=True)
class Converted:
    """The PDF that an office document was converted to; its pages follow."""

    pdf: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """The file is open, and has this many pages."""

    pages: int


@dataclass(frozen=True, slots=True)
class Unread:
    """A page, or the file if page is None, cannot be read. reached: False where not even its bytes could be read."""

    page: int | None
    reason: str
    reached: bool = True


@dataclass(frozen=True, slots=True)
class Lacking:
    """Content is known to be missing from a page, or from the file if page is None."""

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
    """A page would be read as `look` says."""

    page: int
    look: Look


WorkerAnswer = Hashed | Converted | Opened | Unread | Lacking | Page | Begun | Ended | Looked


@dataclass(frozen=True, slots=True)
class Inside:
    """An answer about a document inside the file. member: its place there."""

    member: str
    answer: WorkerAnswer


def opening_seconds(name: str, size: int, page_seconds: float) -> float:
    """Return the seconds that a file may take until its first page."""
    return page_seconds + size / SLOWEST_DISK + (office.SECONDS if formats.converts(name) else 0)


def size_in_memory(answer: object) -> int:
    """Return roughly how many bytes an answer takes in memory."""
    if isinstance(answer, Converted):
        return len(answer.pdf)
    if not isinstance(answer, Page):
        return 0
    pixels = answer.image.width * answer.image.height if answer.image else 0
    return _CHARGE["pixel"] * pixels + _CHARGE["word"] * len(answer.words or ()) + len(answer.plain or "")


def sha256(path: Path) -> str:
    """Return the checksum of a file, which both sides compute in the same way."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seconds_after(header: dict[str, Any], request: Request) -> float:
    """Return the seconds that the next frame may take."""
    if "member" in header:
        return opening_seconds(header["in"], header["size"], request.options.page_seconds)
    return request.opening_seconds if header.keys() & {"hash", "converted"} else request.options.page_seconds


def answers_of(header: dict[str, Any], raw: memoryview, doc: str) -> Iterator[WorkerAnswer]:
    """Yield the answers that a frame carries."""
    for page, *loss in header.get("lost", ()):
        yield Lacking(page, Loss(*loss))
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
        yield Looked(header["looked"], Look(*header["look"]))
    elif "converted" in header:
        yield Converted(bytes(raw))
    elif "hash" in header:
        yield Hashed(header["hash"])
    else:
        yield unpacked(header, raw, doc)


def write_frame(pipe: IO[bytes], header: dict[str, Any], *raw: bytes) -> None:
    """Send a frame at once."""
    head = json.dumps(header).encode("ascii")  # ASCII, because file names and texts may hold what is not Unicode
    pipe.write(_LENGTHS.pack(len(head), sum(map(len, raw))) + head)
    for part in raw:
        pipe.write(part)
    pipe.flush()


def read_frame(pipe: IO[bytes]) -> tuple[dict[str, Any], memoryview] | None:
    """Return the next frame; None at the end of the pipe, which may come in the middle of a frame."""
    lengths = pipe.read(_LENGTHS.size)
    if len(lengths) < _LENGTHS.size:
        return None
    head, raw = _LENGTHS.unpack(lengths)
    body = pipe.read(head + raw)
    return (json.loads(body[:head]), memoryview(body)[head:]) if len(body) == head + raw else None


def packed(page: Page) -> Frame:
    """Return the frame that carries a page."""
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


def unpacked(header: dict[str, Any], raw: memoryview, doc: str) -> Page:
    """Return the page that a frame carries, as a page of `doc`."""
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
