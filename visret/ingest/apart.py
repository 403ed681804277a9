"""Reading and encoding parts of files, in the processes of other machines; nothing here knows what carries them there.

Such a process has its own visret, of the same version, and finds the files and the weights of the model in the same
places as the process that runs the job. Objects it fetches itself, with the keys in its own environment.
"""

from __future__ import annotations

import logging
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import visret
from visret.embedders import load_embedder
from visret.encoders import _languages, load_encoder
from visret.errors import ShapeError, VisretError
from visret.index.catalogue import IndexModel
from visret.index.model import check_same, record
from visret.index.packing import PackedPage, Packing
from visret.ingest import added
from visret.ingest.encoding import batches, encode
from visret.ingest.fetched import Fetched
from visret.ingest.messages import Unread
from visret.ingest.options import ReadOptions
from visret.ingest.parts import Answers, Coded, Glance, Part
from visret.ingest.process import Workers
from visret.ingest.reader import FileReading
from visret.ingest.tasks import End, Read, TaskAnswer
from visret.types import Embedder, Encoder, ModelSpec, Page, PageEmbedding, PageRef

Said = list[tuple[str, int, str]]  # logger, level and text of each message


class ReadParts(NamedTuple):
    """The parts that a process read: a glance at each, and what was said meanwhile."""

    glances: list[Glance]
    said: Said


class CodedParts(NamedTuple):
    """The parts that a process encoded, what was said meanwhile, and the pages that a warning will be about."""

    coded: Coded
    said: Said
    warned: _languages.Together


@dataclass(frozen=True, slots=True)
class Model:
    """An encoder on its way to another process: how to load it there, or, where visret does not know how, itself.

    index: the folder of the index, for errors. made: what the index keeps of the model.
    """

    index: Path
    made: IndexModel
    spec: ModelSpec
    encoder: Encoder | None

    @classmethod
    def of(cls, encoder: Encoder, index: Path) -> Model:
        """Return a model that is to be sent."""
        is_ours = type(encoder).__module__.startswith("visret.encoders.")
        return cls(index, record(encoder), encoder.spec, None if is_ours else encoder)

    def loaded(self, threads: int) -> Encoder:
        """Return the encoder. Raises ModelMismatch if its vectors would not meet those of the index."""
        if self.encoder is not None:
            return self.encoder
        dtype: Any = self.made.preprocessing.get("dtype", "auto")
        encoder = load_encoder(self.spec, dtype=dtype, threads=threads)
        check_same(self.index, self.made, encoder)
        return encoder


def check_version(version: str) -> None:
    """Raise VisretError unless this process has the visret of this version."""
    if visret.__version__ != version:
        raise VisretError(
            f"{socket.gethostname()} has visret {visret.__version__}, and this machine {version}: install the same "
            "version on all"
        )


class PartReader:
    """A process that reads parts, with worker processes as everywhere. It is used by one thread."""

    def __init__(self) -> None:
        self.workers = Workers()
        self.fetched = Fetched()  # by the part before, which may be of the same object

    def close(self) -> None:
        """Delete what was fetched."""
        self.fetched.close()

    def ready(self, version: str) -> None:
        """Raise VisretError unless it is of the right version."""
        check_version(version)

    def read(self, parts: Sequence[Part], options: ReadOptions) -> tuple[ReadParts, list[Answers]]:
        """Read parts. Raises VisretError where this machine lacks a package for it."""
        with _listening() as said, _plainly():
            read = [self._read(part, options) for part in parts]
        return ReadParts([glance for glance, _ in read], said), [answers for _, answers in read]

    def _read(self, part: Part, options: ReadOptions) -> tuple[Glance, Answers]:
        """Read a part, and say what the other side has to know of it at once."""
        if part.pdf is None and (reason := unseen(part)):
            return Glance(unseen=reason), [("", Unread(None, reason, reached=False))]
        counts: dict[bool, int | None] = {False: None, True: 0}  # of the file itself, and of documents inside it

        def opened(key: str, pages: int, *, inside: bool = False) -> None:  # noqa: ARG001 - there is only one file
            counts[inside] = (counts[True] or 0) + pages if inside else pages

        with ExitStack() as stack:
            task = part.task
            if part.pdf is not None:
                folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="visret-", ignore_cleanup_errors=True))
                pdf = Path(folder) / "document.pdf"
                pdf.write_bytes(part.pdf)
                task = replace(task, pdf=pdf)
            reading = FileReading(task, options, self.workers, opened, self.fetched, part.span)
            answers = [(_place(read.task.source), _of_here(read)) for read in reading.answers() if not _is_end(read)]
            hash_ = reading.reached[""].hash if task.hash is None else None
        return Glance(hash_, counts[False], counts[True] or 0), answers


class PartEncoder:
    """A process that encodes what was read of parts, and packs it as the index stores it."""

    def __init__(self) -> None:
        self.encoder: Encoder

    def ready(self, version: str, model: Model, threads: int) -> None:
        """Load the model. Raises VisretError where it cannot."""
        check_version(version)
        with _plainly():
            self.encoder = model.loaded(threads)

    def encode(self, read: Sequence[Answers], packing: Packing) -> CodedParts:
        """Encode the pages in the answers of parts. While the index has still to learn, pages are left as vectors."""
        with _listening() as said, _languages.held_back() as warned:
            pages = [answer for answers in read for _, answer in answers if isinstance(answer, Page)]
            outcomes: dict[PageRef, PageEmbedding | PackedPage | str] = {}
            for batch in batches(filter(self.encoder.can_read, pages), self.encoder):
                for ref, outcome in encode(self.encoder, batch):
                    with _plainly():
                        outcomes[ref] = outcome if packing.fitted is None else _packed(outcome, packing)
        bare: list[Answers] = [[(place, _bare(answer)) for place, answer in answers] for answers in read]
        return CodedParts(Coded(bare, outcomes), said, warned)


class PartEmbedder:
    """A process that makes the vectors of an added model."""

    def __init__(self) -> None:
        self.embedder: Embedder

    def ready(self, version: str, spec: ModelSpec, made: IndexModel) -> None:
        """Load the model. Raises VisretError where it cannot, or if its vectors would not meet those of the index."""
        check_version(version)
        with _plainly():
            self.embedder = load_embedder(spec, dtype=made.preprocessing.get("dtype", "auto"))
            added.check_same(Path(), made, self.embedder)

    def embed(self, pages: Sequence[Page]) -> list[Any]:
        """Return what the model makes of each page."""
        with _plainly():
            return list(self.embedder.embed_pages(pages))


def _packed(outcome: PageEmbedding | str, packing: Packing) -> PackedPage | str:
    if isinstance(outcome, str):
        return outcome
    try:
        return packing.packed(outcome)
    except ShapeError as error:  # vectors that cannot be stored
        return str(error)


def _bare(answer: Any) -> Any:
    """Return an answer; of a page, its name only."""
    return Page(answer.ref, None) if isinstance(answer, Page) else answer


def _place(source: Any) -> str:
    return str(source.member)


def _of_here(read: Read) -> TaskAnswer:
    """Return an answer; where an object cannot be fetched, with the name of the machine, which may lack the keys."""
    if read.task.object is not None and isinstance(read.answer, Unread) and not read.answer.reached:
        return replace(read.answer, reason=f"{read.answer.reason} (on {socket.gethostname()})")
    return read.answer


def _is_end(read: Any) -> bool:
    """Return whether this is the end of the file: of a part of it, here."""
    return isinstance(read.answer, End) and read.task.parent is None


def unseen(part: Part) -> str | None:
    """Return what this machine has instead of the file; None if it has a file of the same size, or has to fetch it."""
    assert part.task.source is not None
    if part.task.object is not None:
        return None
    try:
        size = part.task.source.path.stat().st_size
    except OSError as error:
        return error.strerror or str(error)
    return None if size == part.task.size else f"{size:,} bytes instead of {part.task.size:,}"


@contextmanager
def _plainly() -> Iterator[None]:
    """Raise errors of visret as plain ones, which can be sent to another process."""
    try:
        yield
    except VisretError as error:
        raise VisretError(f"{socket.gethostname()}: {error}") from None


@contextmanager
def _listening() -> Iterator[Said]:
    """Yield what is logged in the block, to be logged where the job runs."""
    handler = _Listener()
    logging.getLogger().addHandler(handler)
    try:
        yield handler.said
    finally:
        logging.getLogger().removeHandler(handler)


class _Listener(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: Said = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append((record.name, record.levelno, record.getMessage()))
