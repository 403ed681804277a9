"""The front door: one index, the encoder that made it, questions in, pages out."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from visret import arguments, forks
from visret.encoders import load_encoder
from visret.errors import DocumentError, NoPicture
from visret.explain.attribution import Explanation, Region
from visret.index import Document, IndexModel, PageIndex
from visret.index.model import check_same, record
from visret.ingest.options import PAGE_SECONDS, ReadOptions
from visret.ingest.report import EmptyPage, Failure, Lost, Metadata, Patterns, Progress, Report, shown
from visret.models import registry
from visret.reduction import Storage
from visret.search.late_interaction import LateInteraction
from visret.search.pipeline import Among, Pipeline
from visret.types import Encoder, Hit, Page, PageRef, Ranked, page_ref

if TYPE_CHECKING:
    from PIL.Image import Image


PICTURE_DPI = 100

_log = logging.getLogger("visret")


class Retriever:
    """Ranks the pages of an index for a question, and shows why.

    Made with `create` or `open`; close it, or use it in a `with` block. Several threads may use it at once; one of
    them, and one process, may add or remove at a time, the others get IndexLocked.
    """

    def __init__(self, index: PageIndex, encoder: Encoder | None) -> None:
        self._index = index
        self._given = encoder
        self._loaded: tuple[IndexModel, Encoder] | None = None
        self._loading = forks.Lock()
        self._password: str | None = None
        self._device: str | None = None
        self._late: LateInteraction | None = None

    # ---- opening and closing

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        model: str | Encoder = registry.DEFAULT_MODEL,
        codec: str = "int8",
        dim: int | None = None,
        pool: int = 1,
        prune: float = 0.0,
    ) -> Retriever:
        """Make an empty index in a new or empty folder. PageIndexError where there is something already.

        model: a name (`visret models`), a folder with a checkpoint, or a loaded encoder.
        codec: how a vector is stored: float32, float16, int8, residual2, residual1 or binary, from the largest to the
            smallest.
        dim: project vectors to this many dimensions. pool: merge vectors that are alike, so that one in `pool` is left.
        prune: leave out this share of each page's vectors, the least telling ones.

        What residual codecs and `dim` have to learn, they learn from the first vectors that are committed: from the
        first 131,072 of a long `add`. So bring in much at once.
        """
        storage = Storage(codec=codec, dim=dim, pool=pool, prune=prune)
        PageIndex.check_new(path)  # before the model, which takes seconds or is fetched first
        encoder = load_encoder(model) if isinstance(model, str) else model
        index = PageIndex.create(path, model=record(encoder), storage=storage)
        retriever = cls(index, None if isinstance(model, str) else model)
        retriever._loaded = index.model, encoder
        return retriever

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        model: Encoder | None = None,
        password: str | None = None,
        device: str | None = None,
    ) -> Retriever:
        """Open an index. Its model loads with the first question; or hand over one that is loaded already.

        password: for drawing the pages of encrypted PDFs. device: where pages are scanned: None for this CPU, straight
        from the files; or a name torch knows, such as "cuda", whose memory they are copied to.
        """
        index = PageIndex.open(path)
        retriever = cls(index, model)
        retriever._password = password
        retriever._device = device
        return retriever

    def close(self) -> None:
        """Let go of the index's files."""
        self._late = None
        self._index.close()

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            f"a Retriever cannot be copied or sent to another process; open the index there: "
            f"Retriever.open({str(self._index.path)!r})"
        )

    def __enter__(self) -> Retriever:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def model(self) -> str:
        """The name of the model that made the index."""
        return self._index.model.name

    @property
    def modality(self) -> str:
        """ "text" (reads words) or "image" (looks at the page)."""
        return self._index.model.modality

    @property
    def encoder(self) -> Encoder:
        """The model, loaded on first use. ModelMismatch where it is not the one the index was made with."""
        return self._encoder_of(self._index.model)

    @property
    def storage(self) -> Storage:
        """What the index does with vectors: codec, dim, pool, prune."""
        return self._index.storage

    def uses(self, model: str) -> bool:
        """Whether the index was made with the model of this name, alias or folder."""
        return registry.resolve(model).name == self.model

    # ---- putting pages in, and taking them out

    def add(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        metadata: Metadata = None,
        include: Patterns = (),
        exclude: Patterns = (),
        sync: bool = False,
        retry_failed: bool = False,
        password: str | None = None,
        ocr: str = "auto",
        most_pages: int | None = None,
        page_seconds: float = PAGE_SECONDS,
        progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Bring in files and folders; what is in the index and unchanged is left alone.

        metadata: for every document under these paths, or a callable that gives it for a path; JSON values, for `where`
            (dates become text, missing values of pandas null). A dictionary takes the place of what a document has,
            also where its file has not changed, and is not read again; {} takes all of it away. None leaves it as it
            is, whatever becomes of the file: changed, moved, failed and back again.
        include, exclude: patterns such as "*.pdf", "2024/*" or "drafts", of the path inside the folder that was given
            or of a folder on it, in any case; `*` ends at a slash. Only files that one of `include` matches, where
            there are any, and none that one of `exclude` matches.
        sync: take out documents under these paths whose files are gone; what is only excluded stays.
        retry_failed: read files again that failed before and have not changed.
        password: for encrypted PDFs, and for drawing their pages later. most_pages: a file with more is not read.
        ocr: for models that read text. "auto" reads from a page's picture what stands on it and is not in its text
            layer, or is there in other letters: with RapidOCR where that is installed (`visret[ocr]`), else with
            `glyph`. The page's own words stay. "always" reads every picture, and a line of the layer gives way where
            something else stands in its place in words as good; "never" reads none. A page with words that were read
            has their mean confidence, 0 to 1, in its metadata: `ocr_confidence`. What cannot be read is in the
            report's `lost`.
        page_seconds: a page that takes longer to read is given up, and reported.
        progress: called in this thread when the files are known, after every batch, and about once a second while
            nothing comes; what it is handed stays up to date, and other threads may read it. Its `seconds_left` is an
            estimate, None in the first two seconds.

        No file stops the others: the report says what failed, and why. IndexLocked while another process writes.
        Interrupted, it keeps what is done; the next call goes on there.
        """
        self._password = password or self._password
        from visret.ingest import run

        return run.add(
            self._index,
            self.encoder,
            paths,
            ReadOptions(password, ocr, most_pages, page_seconds),
            metadata=metadata,
            include=include,
            exclude=exclude,
            sync=sync,
            retry_failed=retry_failed,
            progress=progress,
        )

    def replace(
        self,
        doc: str,
        path: str | Path,
        *,
        metadata: Mapping[str, Any] | None = None,
        password: str | None = None,
        ocr: str = "auto",
        most_pages: int | None = None,
        page_seconds: float = PAGE_SECONDS,
        progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Bring in a file in the place of a document, which it takes under the same name when all of it is read.

        Until then, and where the file cannot be read, the document stays as it is; the report's `failed` says why.
        metadata: None keeps the document's. The other arguments are those of `add`.

        InvalidArgument where there is no such document, IndexLocked while another process writes.
        """
        self._password = password or self._password
        from visret.ingest import run

        return run.replace_document(
            self._index,
            self.encoder,
            doc,
            Path(path),
            ReadOptions(password, ocr, most_pages, page_seconds),
            metadata=metadata,
            progress=progress,
        )

    def add_pages(
        self, pages: Iterable[Page], *, metadata: Mapping[str, Any] | None = None, ocr: str = "auto"
    ) -> Report:
        """Bring in pages made in memory. Pages of one `doc` in one call are a document; adding it again replaces it.

        Their pictures are kept in the index, so that highlights can be drawn. metadata: of the documents, None leaves
        what they have, as in `add`; a page's own is replaced with the page. ocr: as in `add`.
        """
        from visret.ingest import run

        return run.add_pages(self._index, self.encoder, pages, ReadOptions(ocr=ocr), metadata=metadata)

    def remove(self, docs: str | Iterable[str]) -> None:
        """Take documents out, by name. InvalidArgument, and nothing removed, where one is not there."""
        with self._index.writing() as writer:
            for doc in dict.fromkeys(map(arguments.name, arguments.several(docs))):
                writer.remove(doc)

    def set_metadata(self, doc: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change metadata of a document without reading it again; returns what it has then.

        changes: keys with their new values, as in `add`; None deletes a key, and all others stay. InvalidArgument where
        there is no such document, or the metadata is none that filters can use.
        """
        changes = arguments.metadata(doc := arguments.name(doc), changes)
        with self._index.writing() as writer:
            document = self._index.snapshot.document(doc)
            metadata = {key: one for key, one in {**document.metadata, **changes}.items() if one is not None}
            if metadata != document.metadata:
                writer.update(document.number, metadata=metadata)
        return self.document(doc).metadata

    def compact(self, *, codec: str | None = None, dim: int | None = None) -> None:
        """Make the index smaller: let go of the room of removed pages, and merge small segments.

        What `reindex` took the place of is gone then, or half of what it was building.

        codec, dim: store vectors with this codec, of this many dimensions, from now on; both only ever lose, so
        InvalidArgument where the stored vectors have less. Without them scores stay as they are, to the last bit.
        """
        self._index.compact(codec=codec, dim=dim)

    def reindex(
        self,
        *,
        model: str | Encoder | None = None,
        codec: str | None = None,
        dim: int | None = None,
        pool: int | None = None,
        prune: float | None = None,
        password: str | None = None,
        ocr: str = "auto",
        page_seconds: float = PAGE_SECONDS,
        progress: Callable[[Progress], None] | None = None,
    ) -> Report:
        """Read all documents again, with another model or stored in another way; what is None stays as it is.

        A new index is built beside this one, which answers until the new one takes its place at once. Names, order and
        metadata are kept. Interrupted, the next call with the same arguments goes on; IndexLocked while another process
        writes. `undo_reindex` goes back; what that takes is kept until the next `compact` or `reindex`. Others who have
        the index open go on with what it was until they `refresh`.

        A file that has changed is read as it is now, and a warning is logged. A file that is gone is in the report's
        `failed`, and its document stays without pages until `add` finds the file again. Pages made in memory are read
        as they are stored, and what the new model does not read of them is only kept as long as the old index is.
        PageIndexError, and nothing changed, where not one page can be read. password, ocr, page_seconds, progress: as
        in `add`.
        """
        self._password = password or self._password
        if model is None:
            model = self._given or self.model
        encoder = load_encoder(model) if isinstance(model, str) else model
        now = self.storage
        storage = Storage(
            codec=codec or now.codec,
            dim=None if dim == encoder.spec.dim else dim or now.dim,
            pool=now.pool if pool is None else pool,
            prune=now.prune if prune is None else prune,
        )
        from visret.ingest import run

        report = run.reindex(
            self._index,
            encoder,
            storage,
            ReadOptions(password, ocr, page_seconds=page_seconds),
            progress=progress,
        )
        self._given, self._loaded = None if isinstance(model, str) else model, (self._index.model, encoder)
        return report

    def undo_reindex(self) -> None:
        """Be as before the last `reindex`, to the last bit; called again, as after it.

        What was added or removed since is not part of it. PageIndexError where there is nothing to go back to.
        """
        self._index.go_back()

    def refresh(self) -> bool:
        """See what other processes have committed since; whether anything has."""
        return self._index.refresh()

    # ---- asking

    def search(
        self,
        question: str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        among: Among | None = None,
        exact: bool = False,
        explain: bool = True,
    ) -> Ranked[Hit]:
        """The k best pages, best first; fewer where fewer pass. The list's `warnings` say what was not understood.

        where: only pages with this metadata, such as {"doc": "a.pdf", "year": [2023, 2024]}: a list is any of them,
            several keys must all hold; "doc", "page" and "source" are always there. What matches nothing gives nothing.
            Also {"year": {">=": 2020, "<": 2024}} (and "==", "!=", "<=", ">"), {"or": [{...}, {...}]}, {"and": [...]}
            and {"not": {...}}. A page without the key, or with a value of another type, is in no range.
        among: only these pages, to rank again what another engine found: a hit, a PageRef, a pair of doc and page, the
            name of a document for all its pages, or several of these.
        exact: score every page, however many there are. Else, where it saves much, only those whose summaries leave a
            hope of being among the best are scored: .99 of the best pages are found, and a score is never a guess.
        explain: look at each page that was found, for the `text` and `weak` of its hit. False ranks only, in about half
            the time: every `text` is "" then, and no hit is `weak`.

        InvalidArgument for an empty question, a key no page has, or a page that is not there.
        """
        return self.search_many([question], k, where=where, among=among, exact=exact, explain=explain)[0]

    def search_many(
        self,
        questions: Sequence[str],
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        among: Among | None = None,
        exact: bool = False,
        explain: bool = True,
    ) -> list[Ranked[Hit]]:
        """`search` for each question; the pages are read once for all of them."""
        pipeline = self._pipeline()
        found = pipeline.rank(questions, k, where=where, among=among, exact=exact)
        return [
            Ranked(pipeline.hits(question, ranking, explain=explain), pipeline.query(question).warnings)
            for question, ranking in found
        ]

    def explained(
        self,
        questions: Sequence[str],
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        among: Among | None = None,
        exact: bool = False,
    ) -> Iterator[Ranked[tuple[Hit, Explanation]]]:
        """`search_many`, each hit with what `heatmap` gives for it, and nothing encoded for that.

        Question by question: an explanation holds its page's vectors.
        """
        pipeline = self._pipeline()
        found = pipeline.rank(questions, k, where=where, among=among, exact=exact)
        return (
            Ranked(pipeline.explained(question, ranking), pipeline.query(question).warnings)
            for question, ranking in found
        )

    def heatmap(self, question: str, hit: Hit | tuple[str, int]) -> Explanation:
        """Where on the page of a hit (or a PageRef) the question was answered: maps, boxes, and a picture.

        From the stored vectors: nothing is encoded but the question.
        """
        ref, pipeline = page_ref(hit), self._pipeline()
        pipeline.snapshot.find(ref)
        (asked,) = pipeline.read([question])
        return pipeline.explain(asked, ref)

    def page(self, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI, password: str | None = None) -> Page:
        """The page as it was indexed, with picture and words, read again from its source.

        DocumentError where the file is gone or has changed since: another page is never shown in its place.
        """
        from visret.ingest import stored

        ref = page_ref(hit)
        self._index.snapshot.find(ref)
        if self._index.snapshot.document(ref.doc).source is None:
            return stored.stored_page(self._index, ref)
        return stored.drawn_page(self._index, ref, dpi=dpi, password=password or self._password)

    def read(self, hit: Hit | tuple[str, int], *, picture: bool = True) -> tuple[Page, DocumentError | None]:
        """The page for somebody who reads it: the text as it was indexed, and the picture where it can still be drawn.

        Unlike `page` it does not need the file for the text, which the index keeps. The error says why there is no
        picture; it is None where there is one, where none is wanted (then no file is opened), and for pages that never
        had one. It is logged as a warning as well.
        """
        from visret.ingest.stored import stored_page

        ref = page_ref(hit)
        stored = stored_page(self._index, ref, image=False)
        if not picture or stored.size_pt is None:
            return stored, None
        try:
            return replace(stored, image=self.page(ref).image), None
        except DocumentError as error:
            _log.warning("%s, page %d: its picture cannot be drawn, its text is there: %s", *ref, error)
            return stored, error

    def picture(self, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI) -> Image:
        """The page as an RGB picture; DocumentError as for `page`, NoPicture for plain text, which has none."""
        page = self.page(hit, dpi=dpi)
        if page.image is None:
            reason = "is plain text and has no picture" if page.size_pt is None else "was added without a picture"
            raise NoPicture(page.ref.doc, reason, page=page.ref.page)
        return page.image

    # ---- what is there

    def documents(self) -> list[str]:
        """The names of all documents, in the order they were added; those without pages too."""
        return [document.doc for document in self._index.snapshot.documents()]

    def document(self, doc: str) -> Document:
        """What is known of a document: its file, its state, its pages. InvalidArgument where there is none."""
        return self._index.snapshot.document(arguments.name(doc))

    def original(self, doc: str) -> Path | None:
        """The file of a document, None where it was made in memory.

        DocumentError as for `page`, and for a document inside a file, which has none of its own.
        """
        from visret.ingest.stored import check_unchanged

        document = self.document(doc)
        if document.source is None:
            return None
        if document.member:
            raise DocumentError(document.source, f"holds {document.member}; unpack it to open that by itself")
        check_unchanged(self._index, document)
        return Path(document.source)

    def unread(self) -> tuple[list[Failure], list[EmptyPage]]:
        """What could not be read when the index was made, and pages with nothing this model reads."""
        failed, empty = [], []
        for document in self.incomplete():
            path = shown(document)
            if document.state == "failed" or document.reason:
                failed.append(Failure(path, None, document.reason or "failed"))
            failed += [Failure(path, page, reason) for page, reason in document.failed]
            empty += [EmptyPage(path, page) for page in document.empty]
        return failed, empty

    def lost(self) -> list[Lost]:
        """Content that is known to be missing from documents that were read."""
        return [
            Lost(shown(document), page, what, help_)
            for document in self._index.snapshot.documents()
            for page, what, help_ in document.lost
        ]

    def incomplete(self) -> Iterator[Document]:
        """The documents that `unread` is about, in the order they were added."""
        return self._index.snapshot.unread()

    def unread_counts(self) -> tuple[int, int]:
        """How many failures and how many empty pages `unread` lists, without listing them."""
        return self._index.snapshot.unread_counts

    def info(self) -> dict[str, Any]:
        """Counts and sizes, JSON."""
        stats = self._index.stats()
        lost, unknown = self._index.snapshot.lost_counts
        model, storage, fitted = self._index.model, self._index.storage, self._index.snapshot.fitted
        return {
            "path": str(self._index.path),
            "model": model.name,
            "modality": model.modality,
            "dim": model.dim,
            "codec": storage.codec,
            "scan": self._scan_in_words(),
            "stored_dim": storage.dim or model.dim,
            "pool": storage.pool,
            "prune": storage.prune,
            "fitted_to": fitted.vectors if fitted else 0,
            "documents": stats.documents,
            **dict(sorted(stats.states.items())),
            "pages": stats.pages,
            "documents_with_losses": lost,
            "documents_with_losses_unknown": unknown,
            "vectors": stats.vectors,
            "bytes": stats.bytes,
            "bytes_a_page": round(stats.bytes_per_page),
            "segments": stats.segments,
            "removed_pages": stats.removed,
            "lacks": list(stats.lacks),
            "bytes_beside": stats.beside,
            "free_on_disk": stats.free,
            "preprocessing": dict(model.preprocessing),
        }

    # ---- inside

    def _encoder_of(self, model: IndexModel) -> Encoder:
        with self._loading:
            if self._loaded is None or self._loaded[0] != model:
                # computed as the index's vectors were, whatever this machine would choose
                encoder = self._given or load_encoder(model.name, dtype=model.preprocessing.get("dtype", "auto"))
                check_same(self._index.path, model, encoder)
                self._loaded = model, encoder
            return self._loaded[1]

    def _scan_in_words(self) -> str:
        """What a question without a filter makes read."""
        if self._scorer().has_first_stage:
            return "the summary of every page, then those pages that may be among the best"
        return "every page"

    def _pipeline(self) -> Pipeline:
        """What answers questions from the committed state that is seen now."""
        late = self._scorer()
        return Pipeline(late, partial(self._encoder_of, late.snapshot.model), self._drawn)

    def _scorer(self) -> LateInteraction:
        """What ranks the pages of the committed state, kept until there is another state."""
        snapshot, known = self._index.snapshot, self._late
        if known is None or known.snapshot is not snapshot:
            known = self._late = LateInteraction(snapshot, device=self._device, before=known)
        return known

    def _drawn(self, ref: PageRef, dpi: int) -> Image:
        return self.picture(ref, dpi=dpi)


def pipeline_of(retriever: Retriever) -> Pipeline:
    """Return what answers questions from the state the retriever sees now, for a caller inside visret.

    The server ranks a batch of questions first, and explains to each caller as much as was asked for.
    """
    return retriever._pipeline()


def as_json(hit: Hit, boxes: Sequence[Region] = ()) -> dict[str, Any]:
    """A hit as `visret search --json` prints it; its picture is where the caller drew one."""
    return {
        "rank": hit.rank,
        "score": hit.score,
        "doc": hit.doc,
        "page": hit.page,
        "text": hit.text,
        "source": hit.source,
        "member": hit.member,
        "boxes": [asdict(box) for box in boxes],
        "picture": None,
        "weak": hit.weak,
    }


def sendable(value: Any) -> Any:
    """JSON values as UTF-8 can carry them: what is not Unicode, as in some file names, is a question mark.

    Names of documents have the same mark in the same place.
    """
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf8", "replace"))
