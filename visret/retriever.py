"""The front door of visret: a `Retriever` joins an index with the model that made it, and answers questions."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, cast

from visret import arguments, forks, stores
from visret.choices import DENSE, DEPTH, LATE, RERANK, WAYS
from visret.documents.document import corners
from visret.embedders import load_beside
from visret.encoders import load_encoder
from visret.errors import DocumentError, InvalidArgument, NoPicture, UnknownModel, VisretError
from visret.explain.attribution import Explanation, Region
from visret.index import Document, IndexModel, PageIndex
from visret.index.embedded import kind_of
from visret.index.joined import JoinedIndex, JoinedPages
from visret.index.model import check_questions, check_same, record
from visret.ingest.fetched import Fetched
from visret.ingest.options import PAGE_SECONDS, ReadOptions
from visret.ingest.report import EmptyPage, Failure, Lost, Metadata, Patterns, Progress, Report, shown
from visret.models import registry
from visret.reduction import Storage
from visret.search import elsewhere, like
from visret.search.joined import Joined
from visret.search.late_interaction import LateInteraction
from visret.search.part import Part
from visret.search.pipeline import Among, Pipeline
from visret.search.plans import Plan
from visret.search.rerank import UNSCORED, Rerankers, Reranking, asked, reranked
from visret.search.scorers import Scorers
from visret.search.weakness import SEVERAL
from visret.stores import objects
from visret.types import (
    Box,
    Embedder,
    Encoder,
    Executor,
    Hit,
    ModelSpec,
    Page,
    PageRef,
    Passage,
    Question,
    Ranked,
    Ranking,
    Reranker,
    page_ref,
)

if TYPE_CHECKING:
    from PIL.Image import Image

    from visret.ingest.added import Filled
    from visret.ingest.discovery import FoundFiles


PICTURE_DPI = 100
TOLD = 30.0  # seconds after which somebody who waits for an added model is told again
MANY = 200  # pages of which an added model makes vectors for so long that somebody who waits is told

_log = logging.getLogger("visret")


class Retriever:
    """A retriever ranks the pages of an index for a question, and shows why each was found.

    `create` and `open` make one. Close it after use, or use it in a `with` block. Several threads may search at once.
    Only one thread of one process may add or remove at a time; the others get IndexLocked.
    """

    def __init__(
        self,
        index: PageIndex,
        encoder: Encoder | None,
        *,
        question_model: str | Encoder | None = None,
        password: str | None = None,
        device: str | None = None,
    ) -> None:
        self._index = index
        self._given = encoder
        self._asking = question_model
        self._loaded: tuple[IndexModel, Encoder] | None = None
        self._loading = forks.Lock()
        self._password = password
        self._scorers = Scorers(device)
        self._rerankers = Rerankers()
        self._added: dict[int, tuple[IndexModel, Embedder]] = {}
        self._fetched = Fetched()

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
        """Make an empty index in a new or empty folder. Raises PageIndexError if the folder holds anything.

        model: a name (`visret models` lists them), a folder with a checkpoint, or a loaded encoder. "none" is no model:
            nothing is loaded or computed, and pages are found by their words, with BM25.
        codec: how a vector is stored, one of `visret.choices.CODECS`, which begin with the largest (docs/scaling.md).
        dim: project vectors to this many dimensions. pool: merge similar vectors, so that one in `pool` is left.
        prune: leave out this share of each page's vectors, those that say least.

        Residual codecs and `dim` are fitted to the first vectors that are committed: the first 131,072 of a long
        `add`. Bring in as much as possible in the first call.
        """
        if stores.is_url(path):
            raise InvalidArgument(
                f"a store is written from an index: create that in a folder, and visret export or publish it to {path}"
            )
        storage = Storage(codec=codec, dim=dim, pool=pool, prune=prune)
        PageIndex.check_new(path)  # before the model, which takes seconds or is fetched first
        encoder = load_encoder(model) if isinstance(model, str) else model
        beside = load_beside(encoder)  # before there is an index without it
        index = PageIndex.create(path, model=record(encoder), storage=storage)
        retriever = cls(index, None if isinstance(model, str) else model)
        retriever._loaded = index.model, encoder
        if beside is not None:
            retriever.add_model(beside)
        return retriever

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        model: Encoder | None = None,
        question_model: str | Encoder | None = None,
        password: str | None = None,
        device: str | None = None,
    ) -> Retriever:
        """Open an index, or a store that `visret export` or `visret publish` wrote. Its model is loaded when needed.

        path: the folder of the index, or the address of a store, such as qdrant://localhost:6333/pages, or of an image,
            such as s3://bucket/pages, which is fetched into the cache folder. It answers as the index does, but `add`,
            `remove` and all others that change pages raise InvalidArgument.
        model: a loaded encoder; None loads the model that made the index.
        question_model: another model for questions alone, by name, folder or as an encoder, such as a small one that
            was trained to meet the pages of a large one (`questions_for` in models.yaml). The model of the index is
            then loaded only to encode pages. None encodes questions with the model of the index.
        password: opens encrypted PDFs when their pages are drawn.
        device: where pages are scanned. None scans them on this CPU, straight from the files. With a name that torch
            knows, such as "cuda", they are copied to the memory of that device.
        """
        index = cast(PageIndex, stores.opened(str(path))) if stores.is_url(path) else PageIndex.open(path)
        return cls(index, model, question_model=question_model, password=password, device=device)

    def fused_with(self, /, **others: Retriever) -> Retriever:
        """Return a retriever that asks this index and others of the same documents, and fuses their rankings into one.

        For an index of a text model and one of a picture model, for example:
        `text.fused_with(pictures=Retriever.open("pictures.visret"))`. In a `Plan`, in `search(by=...)` and in
        `Hit.scores` the others have the names that they are given here, and this index has "late", "bm25" and its other
        ways. Without `by`, all have the same weight.

        A document is known by the content of its file, or by its name if it was made in memory. A page that not all
        indexes have is ranked by those that have it, and `warnings` count such pages. If a file was changed between the
        runs of indexing, only its version in the first index is searched, and `warnings` name it. Filters see the
        metadata of all indexes, those of the first one over the others. Text and passage of a hit are those of the
        first index that has the page; `heatmap(..., index="pictures")` shows those of another. A page is `weak` if all
        say so that can tell, and `relevance` is the largest that one of them sees.

        The new retriever only reads. Its `refresh` takes in what was committed to any of the indexes, and its `close`
        closes all of them. Raises InvalidArgument if an index has no document in common with the others.
        """
        return _Fused(self, others)

    def close(self) -> None:
        """Close the files of the index, and delete what was fetched to draw pages."""
        self._fetched.close()
        self._scorers.close()
        self._rerankers.close()
        self._added.clear()
        self._index.close()

    def __getstate__(self) -> NoReturn:
        raise TypeError(
            f"a Retriever cannot be copied or sent to another process; open the index there: "
            f"Retriever.open({self._index.address!r})"
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
        """The kind of model: "text" reads the words of a page, "image" looks at its picture."""
        return self._index.model.modality

    @property
    def encoder(self) -> Encoder:
        """The model, loaded on first use. Raises ModelMismatch if it is not the one that made the index."""
        return self._encoder_of(self._index.model)

    @property
    def storage(self) -> Storage:
        """The settings by which the index stores vectors: codec, dim, pool, prune."""
        return self._index.storage

    def uses(self, model: str) -> bool:
        """Return whether the index was made with the model of this name, alias or folder."""
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
        executor: Executor[Any, Any] | None = None,
    ) -> Report:
        """Bring in files and folders. Documents that are in the index and have not changed are not read again.

        paths: files and folders, also on object storage (`visret[objects]`): the text "s3://bucket/folder" stands for
            all objects below it, or for one. An object is listed, not fetched, to see whether it has changed, and is
            fetched into a temporary file when it is read.
        metadata: the metadata of every document under these paths, or a callable that returns it for a path (a
            pathlib.Path) or the address of an object (text). `where` filters on its JSON values; dates become text, and
            missing values of pandas become null. A dictionary replaces what a document has, even if its file has not
            changed and is not read again; {} removes all of it. None leaves it as it is, even if the file changes,
            moves, or fails and comes back.
        include, exclude: patterns such as "*.pdf", "2024/*" or "drafts". Each is compared, ignoring case, with the path
            inside the given folder and with every folder on that path; `*` stops at a slash. A file is read if one of
            `include` matches, or none is given, and none of `exclude` matches.
        sync: remove documents under these paths whose files are gone. Files that are only excluded stay, and so do
            objects that could not be listed.
        retry_failed: try files again that failed before and have not changed.
        password: opens encrypted PDFs, now and when their pages are drawn later.
        most_pages: a file with more pages is not read.
        ocr: whether models that read text are given the words of pictures. "auto" reads from a page's picture whatever
            is printed on it but missing from its text layer, or spelt differently there. It uses RapidOCR if that is
            installed (`visret[ocr]`), else `glyph`, and keeps the page's own words. "always" reads every picture, and
            replaces a line of the text layer if different words that are just as good were read in its place. "never"
            reads no picture. If words were read, the page's metadata has their mean confidence, 0 to 1, as
            `ocr_confidence`. Content that cannot be read is listed in the report's `lost`.
        page_seconds: a page that takes longer to read is given up, and reported.
        progress: called in this thread when the files are known, after every batch, and about once a second in
            between. The object that it gets stays up to date, and other threads may read it. Its `seconds_left` is an
            estimate, and None in the first two seconds.
        executor: what reads and encodes; None is this machine, `visret.ingest.on_ray.OnRay(...)` a Ray cluster.

        A file that fails does not stop the others: the report names it and says why. Raises IndexLocked while another
        process writes. A call that is interrupted keeps what is done, and the next call goes on from there.
        """
        self._password = password or self._password
        from visret.ingest import run

        report = run.add(
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
            executor=executor,
        )
        self._measure_floor()
        return replace(report, seconds=report.seconds + self._fill_added(executor))

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
        """Replace a document by a file, under the same name, as soon as all of the file is read.

        Until then the document stays as it is. If the file cannot be read, nothing is replaced, and the report's
        `failed` says why.

        metadata: None keeps the document's metadata. The other arguments are those of `add`.

        Raises InvalidArgument if there is no such document, and IndexLocked while another process writes.
        """
        self._password = password or self._password
        from visret.ingest import run

        report = run.replace_document(
            self._index,
            self.encoder,
            doc,
            path,
            ReadOptions(password, ocr, most_pages, page_seconds),
            metadata=metadata,
            progress=progress,
        )
        self._measure_floor()
        return replace(report, seconds=report.seconds + self._fill_added())

    def add_pages(
        self,
        pages: Iterable[Page],
        *,
        metadata: Mapping[str, Any] | None = None,
        ocr: str = "auto",
        pictures: bool = True,
    ) -> Report:
        """Bring in pages made in memory. Pages of one `doc` in one call are a document; adding it again replaces it.

        metadata: the metadata of the documents. None leaves what they have, as in `add`. Metadata of a page is replaced
            with the page. ocr: as in `add`.
        pictures: whether the index keeps the pictures of the pages, as lossless WebP. Without them indexing is faster
            and the index smaller, but no page or explanation can be drawn, and `reindex` cannot change to a model that
            looks at pictures. Pages that are only ranked, as in a benchmark, do not need them.

        The report names pages that cannot be read or stored. Raises InvalidArgument for a page that is given twice, and
        IndexLocked while another process writes.
        """
        from visret.ingest import run

        report = run.add_pages(
            self._index, self.encoder, pages, ReadOptions(ocr=ocr), metadata=metadata, pictures=pictures
        )
        self._measure_floor()
        return replace(report, seconds=report.seconds + self._fill_added())

    def add_model(
        self,
        model: str | Path | ModelSpec | Embedder | Callable[[list[str]], Any],
        *,
        name: str | None = None,
        questions: Callable[[list[str]], Any] | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Filled:
        """Add a second model to the index: one that makes a single vector of a text, or a sparse one.

        Its vectors are made of all pages that are there, from the text that the index keeps, or from the pictures of
        pages for a model that looks at them. Then `search(by="dense")` ranks by single vectors and `by="sparse"` by
        sparse ones, alone or in a `Plan`. Pages that come later get theirs in the same call that brings them. An index
        has at most one model of each kind beside its own.

        model: a name (`visret models` lists them), a folder or hub id of a SentenceTransformer or SparseEncoder, one
            that is loaded already, or a function from n texts to (n, d) numbers, such as a provider's API.
        name: what the index calls a function or a model that is loaded already. visret cannot load these again, so call
            `add_model` with the same model and name after each `open`.
        questions: the function for questions, if that is another one.
        progress: called with the number of pages that are done, and of all that have to be.

        A call that is interrupted keeps what is done, and the next call goes on from there. Raises InvalidArgument if
        another model makes vectors of this kind (`remove_model`), ModelMismatch if a model of this name has changed,
        and IndexLocked while another process writes.
        """
        from visret.embedders import load_embedder
        from visret.embedders._given import embedder_of, is_named
        from visret.ingest import added

        if is_named(model):
            spec = model if isinstance(model, ModelSpec) else registry.resolve(model)  # type: ignore[arg-type]
            known = self._index.snapshot.added.values()
            dtype = next((one.preprocessing.get("dtype") for one in known if one.name == spec.name), "auto")
            embedder = load_embedder(spec, dtype=dtype)  # type: ignore[arg-type]
        else:
            embedder = embedder_of(model, name, questions)
        made = added.record(embedder)
        there = self._index.snapshot.added_for(kind_of(made))
        if there is None or there[1].name != made.name:
            with self._index.writing() as writer:
                number = writer.add_model(made)
        else:
            number = there[0]
            added.check_same(self._index.path, there[1], embedder)
        self._added[number] = made, embedder
        if not isinstance(self._index, PageIndex) or not self._index.snapshot.count_lacking(number):
            return added.Filled(made.name, kind_of(made))
        return added.fill(self._index, number, embedder, self.page, progress=progress)

    def remove_model(self, name: str) -> None:
        """Remove an added model with the vectors that it made. name: its name, or their kind, "dense" or "sparse".

        Raises InvalidArgument if there is none, and IndexLocked while another process writes.
        """
        models = self._index.snapshot.added
        found = [number for number, model in models.items() if name in (model.name, kind_of(model))]
        if not found:
            there = " and ".join(model.name for model in models.values()) or "none"
            raise InvalidArgument(f"no model {name!r} was added to this index (there: {there})")
        with self._index.writing() as writer:
            for number in found:
                writer.remove_model(number)
                self._added.pop(number, None)

    def remove(self, docs: str | Iterable[str]) -> None:
        """Remove documents by name. Raises InvalidArgument, and removes nothing, if one of them is not there."""
        with self._index.writing() as writer:
            for doc in dict.fromkeys(map(arguments.name, arguments.several(docs))):
                writer.remove(doc)

    def set_metadata(self, doc: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change metadata of a document without reading it again, and return what the document has then.

        changes: keys with their new values, as in `add`. None deletes a key. All other keys stay.

        Raises InvalidArgument if there is no such document, or if filters cannot use the metadata.
        """
        changes = arguments.metadata(doc := arguments.name(doc), changes)
        with self._index.writing() as writer:
            document = self._index.snapshot.document(doc)
            metadata = {key: one for key, one in {**document.metadata, **changes}.items() if one is not None}
            if metadata != document.metadata:
                writer.update(document.number, metadata=metadata)
        return self.document(doc).metadata

    def compact(self, *, codec: str | None = None, dim: int | None = None) -> None:
        """Make the index smaller: free the space of removed pages, and merge small segments.

        It also deletes what `reindex` replaced, and what an unfinished `reindex` has built so far.

        codec, dim: store vectors with this codec and this many dimensions from now on. Raises InvalidArgument if that
            is more than is stored, since precision cannot come back. Without them every score stays the same to the
            last bit.
        """
        self._index.compact(codec=codec, dim=dim)
        self._measure_floor(compacted=True)

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
        """Read all documents again with another model, or store them in another way. None leaves a setting as it is.

        A new index is built beside this one, which answers until the new one replaces it in one step. Names, order and
        metadata are kept. If it is interrupted, the next call with the same arguments goes on. `undo_reindex` goes
        back; the old index is kept for that until the next `compact` or `reindex`. Others who have the index open keep
        seeing the old one until they `refresh`.

        A file that has changed is read as it is now, and a warning is logged. A file that is gone is listed in the
        report's `failed`, and its document has no pages until `add` finds the file again. Pages made in memory are read
        as they are stored. What the new model does not read of them is kept only as long as the old index.

        password, ocr, page_seconds, progress: as in `add`.

        Raises IndexLocked while another process writes, and PageIndexError, changing nothing, if not a single page can
        be read.
        """
        self._password = password or self._password
        if model is None:
            model = self._given or self.model
        encoder = load_encoder(model) if isinstance(model, str) else model
        now = self.storage if encoder.spec.dim else Storage()
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
        self._measure_floor()
        beside = None if self._index.snapshot.added_for(DENSE) else load_beside(encoder)
        filled = 0.0 if beside is None else self.add_model(beside).seconds
        return replace(report, seconds=report.seconds + filled + self._fill_added())

    def undo_reindex(self) -> None:
        """Go back to the index as it was before the last `reindex`, to the last bit. A second call undoes the first.

        What was added or removed since is not carried over. Raises PageIndexError if there is nothing to go back to.
        """
        self._index.go_back()

    def refresh(self) -> bool:
        """Take in what other processes have committed, and return whether there was anything new."""
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
        by: str | Plan | None = None,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
        weak: bool = True,
        min_score: float | None = None,
        explain: bool = True,
        rerank: str | Reranker | None = None,
        depth: int = DEPTH,
        seconds: float | None = None,
    ) -> Ranked[Hit]:
        """Return the k best pages, best first; fewer if fewer pass the filter.

        The list's `warnings` say what in the question the model did not understand.

        where: find only pages with this metadata, such as {"doc": "a.pdf", "year": [2023, 2024]}. A list stands for
            any of its values, and several keys must all hold. "doc", "page" and "source" are always there. Conditions
            can be {"year": {">=": 2020, "<": 2024}} (and "==", "!=", "<=", ">"), {"or": [{...}, {...}]},
            {"and": [...]} and {"not": {...}}. A page without the key, or with a value of another type, is in no range.
            A filter that no page passes finds nothing.
        among: find only these pages, to rank again what another engine found: a hit, a PageRef, a pair of document and
            page number, the name of a document for all its pages, or several of these.
        exact: score every page, however many there are. Otherwise, where it saves much, only those pages are scored
            whose summaries say that they may be among the best. That finds .99 of the best pages, and every score is
            still exact.
        by: the way of ranking. "late" is late interaction, less what a page loses for its length. "maxsim" is late
            interaction alone, as the papers' tables have it. "bm25", the default where no model made the index,
            compares words, and loads no model: it finds identifiers, numbers and names as they are typed, "exact
            phrases" in double quotes, and beginnings of words, as in `retriev*`. Only pages with a word of the
            question, and with all of its phrases, are found. "dense" compares single vectors, those of an added
            model (`add_model`), or else the mean of the question with the means of passages, which finds less than
            "late" and is a yardstick. "sparse" compares the sparse vectors of an added model. "poly" and "xtr" are
            scores of papers, to compare. "hybrid" fuses nine parts of "late" with one of "bm25"; "cascade" ranks the
            thousand best pages of "bm25" again, by .7 of "late" and .3 of "bm25"; a `visret.search.plans.Plan` fuses
            scorers as it says. None is "late" too, but for a question that the model knows little of, such as one in
            another language, pages with its words come first, and `warnings` say so.
        offset: leave out so many of the first hits, to go on where an earlier search ended. Ranks count them.
        group_by: "document" finds each document once, by its best page, so that k documents are found.
            `among=hit.doc` then finds the other pages of one.
        neighbours: add so many pages before and after each hit, for readers. They follow their hit, pass `where`, and
            have its rank as `neighbour_of`. A page comes only once.
        weak: False leaves out hits that are `weak`, so that fewer than k are found, or none.
        min_score: leave out hits whose `relevance` is lower, from 0 to 1. It means the same in every index: .5 leaves
            out what hardly answers, wherever it stands, and .6 what answers not much better.
        explain: examine each page that was found, for the `text`, `weak` and `relevance` of its hit. False only ranks,
            in about two thirds of the time; every `text` is "" then, and no hit is `weak`.
        rerank: the name of a reranker (`visret models` lists them), or one from `load_reranker`. It reads the first
            pages together with the question and ranks them again, and `score` is then what it says. A name is loaded
            once and kept until the retriever is closed.
        depth: the number of pages that are read again; one more page costs as much time as the first.
        seconds: begin no further page after this time. Pages that were not scored, or that the model cannot
            read, stand behind the others in their order, with the score -inf; `warnings` say how many, and why.

        Raises InvalidArgument for an empty question, a key that no page has, or a page that is not there.
        """
        return self.search_many(
            [question],
            k,
            where=where,
            among=among,
            exact=exact,
            by=by,
            offset=offset,
            group_by=group_by,
            neighbours=neighbours,
            weak=weak,
            min_score=min_score,
            explain=explain,
            rerank=rerank,
            depth=depth,
            seconds=seconds,
        )[0]

    def search_many(
        self,
        questions: Sequence[str],
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        among: Among | None = None,
        exact: bool = False,
        by: str | Plan | None = None,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
        weak: bool = True,
        min_score: float | None = None,
        explain: bool = True,
        rerank: str | Reranker | None = None,
        depth: int = DEPTH,
        seconds: float | None = None,
    ) -> list[Ranked[Hit]]:
        """Search for each of several questions, as `search` does, reading the pages once for all of them.

        `rerank` reads pages for each question by itself, and `seconds` are those of one question.
        """
        part = Part(k, offset, group_by, neighbours, weak, min_score)
        if part.examines and not explain:
            raise InvalidArgument("weak=False and min_score need a look at each page; leave out explain=False")
        again = asked(rerank, depth, seconds, self._rerankers)
        pipeline, found = self._ranked(
            questions, part, again, where=where, among=among, exact=exact, by=by, explain=explain
        )
        judge = None if again is None else again.judged
        return [
            Ranked(part.hits(pipeline, question, ranking, where, explain=explain, judge=judge), question.warnings)
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
        by: str | Plan | None = None,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
        weak: bool = True,
        min_score: float | None = None,
        rerank: str | Reranker | None = None,
        depth: int = DEPTH,
        seconds: float | None = None,
    ) -> Iterator[Ranked[tuple[Hit, Explanation]]]:
        """Yield what `search_many` returns, each hit with its explanation, as `heatmap` returns it.

        Nothing more is encoded for that. Explanations are made one question at a time, since each holds its page's
        vectors.
        """
        part = Part(k, offset, group_by, neighbours, weak, min_score)
        again = asked(rerank, depth, seconds, self._rerankers)
        pipeline, found = self._ranked(questions, part, again, where=where, among=among, exact=exact, by=by)
        judge = None if again is None else again.judged
        return (
            Ranked(part.explained(pipeline, question, ranking, where, judge=judge), question.warnings)
            for question, ranking in found
        )

    def search_like(
        self,
        page: Hit | tuple[str, int] | Page | Image | str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        among: Among | None = None,
        exact: bool = False,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
    ) -> Ranked[Hit]:
        """Return the k pages that are most like a page, best first. They are not examined, as with `explain=False`.

        page: a hit or another page of the index, which is not found itself; a Page made in memory; a picture, for a
            model that looks at pages; or a passage of text, for a model that reads words.

        `score` is how well a vector of the page is matched in the mean. The other arguments are those of `search`.
        Raises InvalidArgument for a page that the model cannot read, and for an index without vectors.
        """
        part, pipeline = Part(k, offset, group_by, neighbours), self._pipeline()
        if not self._index.model.makes_vectors:
            raise InvalidArgument("this index was made without a model, so pages have no vectors to compare")
        but = None
        if isinstance(page, Hit | tuple | list):
            but = page_ref(page)
            embedding = pipeline.snapshot.embedding(but)
        else:
            embedding = pipeline.encoded(_as_page(page))
        found = like.hits(pipeline, embedding, part, but=but, where=where, among=among, exact=exact)
        return Ranked(found)

    def heatmap(self, question: str, hit: Hit | tuple[str, int], *, index: str | None = None) -> Explanation:
        """Return where on a page the question was answered: maps, boxes, and a picture.

        hit: the hit or PageRef of the page. Its stored vectors are used, so only the question is encoded. A hit knows
            how it was ranked: what was found by its words alone is explained by them, and `about` names all its scores.
        index: which of several indexes explains the page (`fused_with`), by its name; None for the first that has it.
        """
        ref, pipeline = page_ref(hit), self._pipeline()
        pipeline.snapshot.find(ref)
        return pipeline.explain_text(question, ref, hit.scores if isinstance(hit, Hit) else {}, index)

    def passages_of(
        self, question: str, hit: Hit | tuple[str, int], n: int = 3, *, index: str | None = None
    ) -> list[Passage]:
        """Return the places on a page that answer a question, best first: at most n, none of which overlap.

        hit: the hit or PageRef of the page. The first place is the `passage` of a hit. index: as in `heatmap`.
        """
        ref, pipeline = page_ref(hit), self._pipeline()
        pipeline.snapshot.find(ref)
        asked = pipeline.asked_about(question, ref, hit.scores if isinstance(hit, Hit) else {}, index)
        return pipeline.passages(asked, ref, arguments.whole("n", n))

    def passages(
        self,
        question: str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        among: Among | None = None,
        by: str | Plan | None = None,
        of_page: int = 3,
    ) -> Ranked[Hit]:
        """Return the k best passages of all pages, best first, each as the hit of its page with that `passage`.

        They come from the k best pages, at most `of_page` from each, and are ranked by the score of the passage; `rank`
        counts passages, while `score` stays that of the page. where, among, by: as in `search`.
        """
        pipeline, k, of_page = self._pipeline(), arguments.whole("k", k), arguments.whole("of_page", of_page)
        ((asked, ranking),) = pipeline.rank([question], k, where=where, among=among, by=by)
        found = [
            replace(hit, passage=passage)
            for hit in pipeline.hits(asked, ranking)
            for passage in pipeline.passages(asked, hit.ref, of_page)
        ]
        found.sort(key=lambda hit: -hit.passage.score if hit.passage else 0.0)
        return Ranked((replace(hit, rank=rank) for rank, hit in enumerate(found[:k], 1)), asked.warnings)

    def crop(self, hit: Hit, passage: Passage | None = None, *, dpi: int = 150) -> Image:
        """Return the picture of a passage: of a paragraph, a table, a figure.

        hit: of `search` or `passages`. passage: another one of the same page; None for `hit.passage`.

        Raises InvalidArgument if there is no passage, and otherwise as `picture`.
        """
        passage = passage or hit.passage
        if passage is None or passage.box is None:
            raise InvalidArgument(f"{hit.doc}, page {hit.page}: no place on it is known; search without explain=False")
        picture = self.picture(hit, dpi=dpi)
        margin = dpi // 20
        (x0, y0, x1, y1), (width, height) = passage.box, picture.size
        low = max(0, int(x0 * width) - margin), max(0, int(y0 * height) - margin)
        return picture.crop((*low, min(width, int(x1 * width) + margin), min(height, int(y1 * height) + margin)))

    def page(self, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI, password: str | None = None) -> Page:
        """Return the page as it was indexed, with picture and words, read again from its source.

        Raises DocumentError if the file is gone or has changed since: another page is never shown in its place.
        """
        from visret.ingest import stored

        ref = page_ref(hit)
        self._index.snapshot.find(ref)
        if self._index.snapshot.document(ref.doc).source is None:
            return stored.stored_page(self._index, ref)
        return stored.drawn_page(self._index, ref, self._fetched, dpi=dpi, password=password or self._password)

    def read(self, hit: Hit | tuple[str, int], *, picture: bool = True) -> tuple[Page, DocumentError | None]:
        """Return the page for a reader: the text as it was indexed, and the picture if it can still be drawn.

        Unlike `page` it does not need the file for the text, which the index keeps. The error says why there is no
        picture, and is logged as a warning too. It is None if there is a picture, if none is wanted (no file is opened
        then), and for pages that never had one.
        """
        from visret.ingest.stored import stored_page

        ref = page_ref(hit)
        stored = stored_page(self._index, ref, image=False)
        if not picture or stored.size_pt is None:
            return stored, None
        try:
            return replace(stored, image=self.page(ref).image), None
        except DocumentError as error:
            _log.warning("%s, page %d: its picture cannot be drawn, but its text is there: %s", *ref, error)
            return stored, error

    def picture(self, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI, box: Box | None = None) -> Image:
        """Return the page as an RGB picture. Raises DocumentError as `page` does, and NoPicture if it has none.

        box: draw only this part of the page: x0, y0, x1, y1 in page fractions, origin top left.
        """
        from visret.ingest import stored

        ref, box = page_ref(hit), None if box is None else arguments.box(box)
        self._index.snapshot.find(ref)
        if self._index.snapshot.document(ref.doc).source is None:
            page = stored.stored_page(self._index, ref)
            if page.image is not None and box is not None:
                page = replace(page, image=page.image.crop(corners(box, page.image.size)))
        else:
            page = stored.drawn_page(
                self._index, ref, self._fetched, dpi=dpi, password=self._password, words=False, box=box
            )
        if page.image is None:
            reason = "is plain text and has no picture" if page.size_pt is None else "was added without a picture"
            raise NoPicture(page.ref.doc, reason, page=page.ref.page)
        return page.image

    # ---- what is there

    def documents(self) -> list[str]:
        """Return the names of all documents in the order they were added, including those without pages."""
        return [document.doc for document in self._index.snapshot.documents()]

    def document(self, doc: str) -> Document:
        """Return what is known of a document: its file, state, pages. Raises InvalidArgument if it is not there."""
        return self._index.snapshot.document(arguments.name(doc))

    def original(self, doc: str) -> Path | None:
        """Return the file of a document; None if it was made in memory.

        Raises DocumentError as `page` does, and for a document that has no file here: an object on object storage, or
        one inside another file.
        """
        from visret.ingest.stored import check_unchanged

        document = self.document(doc)
        if document.source is None:
            return None
        if objects.is_address(document.source):
            raise DocumentError(document.source, "is on object storage, and has no file here; fetch it from there")
        if document.member:
            raise DocumentError(document.source, f"holds {document.member}; unpack it to open that by itself")
        check_unchanged(self._index, document)
        return Path(document.source)

    def unread(self) -> tuple[list[Failure], list[EmptyPage]]:
        """Return what could not be read when the index was made, and the pages that hold nothing for this model."""
        failed, empty = [], []
        for document in self.incomplete():
            path = shown(document)
            if document.state == "failed" or document.reason:
                failed.append(Failure(path, None, document.reason or "failed"))
            failed += [Failure(path, page, reason) for page, reason in document.failed]
            empty += [EmptyPage(path, page) for page in document.empty]
        return failed, empty

    def lost(self) -> list[Lost]:
        """Return what is known to be missing from documents that were read."""
        return [
            Lost(shown(document), page, what, help_)
            for document in self._index.snapshot.documents()
            for page, what, help_ in document.lost
        ]

    def incomplete(self) -> Iterator[Document]:
        """Yield the documents that `unread` is about, in the order they were added."""
        return self._index.snapshot.unread()

    def unread_counts(self) -> tuple[int, int]:
        """Count the failures and the empty pages that `unread` lists, without listing them."""
        return self._index.snapshot.unread_counts

    def info(self) -> dict[str, Any]:
        """Return counts, sizes and settings of the index, as JSON values."""
        stats = self._index.stats()
        lost, unknown = self._index.snapshot.lost_counts
        model, storage, fitted = self._index.model, self._index.storage, self._index.snapshot.fitted
        return {
            "path": self._index.address,
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
            "added_models": self._added_in_words(),
            "lacks": list(stats.lacks),
            "bytes_beside": stats.beside,
            "free_on_disk": stats.free,
            "preprocessing": dict(model.preprocessing),
        }

    # ---- inside

    def _ranked(
        self, questions: Sequence[str], part: Part, again: Reranking | None, **how: Any
    ) -> tuple[Pipeline, Iterable[tuple[Question, Ranking]]]:
        """Return each question with its ranking, deep enough for this part of it, and ranked again if that is asked.

        how: further arguments of `Pipeline.rank`.
        """
        pipeline = self._pipeline()
        # The first pages say whether the index is about the question, however few are wanted.
        depth = max(part.depth, SEVERAL, 0 if again is None else again.depth)
        found = pipeline.rank(questions, depth, documents=part.documents, **how)
        return pipeline, found if again is None else reranked(
            again, found, pipeline.snapshot, partial(read_again, self)
        )

    def _measure_floor(self, *, compacted: bool = False) -> None:
        """Measure which hits are weak in this index, if that was never done, or much has changed since.

        It can wait, so if it fails, what was done before still counts.
        """
        if self._asking is not None or not elsewhere.is_due(self._index.snapshot, compacted=compacted):
            return  # of another model for questions, whose scores differ, nothing is kept
        try:
            spec = self._given.spec if self._given is not None else registry.resolve(self.model)
        except UnknownModel:  # nobody has given it here, and nothing is known of its scores
            return
        try:
            if elsewhere.fits(spec):
                floor = elsewhere.measured(self._pipeline())
                with self._index.writing() as writer:
                    writer.set_floor(floor)
        except VisretError as error:
            _log.warning("which pages hardly answer was not measured anew: %s", error)

    def _fill_added(self, executor: Executor[Any, Any] | None = None) -> float:
        """Let added models go over new pages, and return the seconds that it took.

        executor: what computes their vectors; None is this process.

        A model that is not there is named; its pages can be done later.
        """
        took = 0.0
        for number, model in self._index.snapshot.added.items():
            if not (count := self._index.snapshot.count_lacking(number)):
                continue
            try:
                from visret.ingest import added

                if count >= MANY:
                    _log.warning("%s new pages get their vectors of %s", f"{count:,}", model.name)
                embedder = self._embedder_of(number)
                with nullcontext(embedder) if executor is None else executor.embedding(embedder) as embedding:
                    at_once = None if executor is None else added.PAGES_ELSEWHERE
                    filled = added.fill(
                        self._index, number, embedding, self.page, progress=_told(model.name), at_once=at_once
                    )
                took += filled.seconds
            except VisretError as error:
                kind = kind_of(model)
                _log.warning("%s pages have no %s vectors of %s yet: %s", f"{count:,}", kind, model.name, error)
        return took

    def _embedder_of(self, number: int) -> Embedder:
        """Return an added model, loaded on first use."""
        from visret.embedders import load_embedder
        from visret.ingest import added

        model = self._index.snapshot.added[number]
        with self._loading:
            if number not in self._added or self._added[number][0] != model:
                if not model.identity:
                    raise InvalidArgument(
                        f"the {kind_of(model)} vectors of this index were made by {model.name}, which visret cannot "
                        f"load: give it again with add_model(..., name={model.name!r})"
                    )
                try:
                    embedder = load_embedder(model.name, dtype=model.preprocessing.get("dtype", "auto"))
                except UnknownModel as error:
                    raise UnknownModel(
                        f"{error}; the {kind_of(model)} vectors of this index were made by it: if it was given loaded, "
                        f"give it again with add_model(..., name={model.name!r})"
                    ) from error
                added.check_same(self._index.path, model, embedder)
                self._added[number] = model, embedder
            return self._added[number][1]

    def _added_in_words(self) -> list[str]:
        """Say which models were added, and of how many pages they have made vectors."""
        snapshot, lines = self._index.snapshot, []
        for number, model in snapshot.added.items():
            made = f"{snapshot.count_made(number):,} of {len(snapshot):,} pages"
            lines.append(f"{kind_of(model)}: {model.name}, {made}")
        return lines

    def _encoder_of(self, model: IndexModel) -> Encoder:
        with self._loading:
            if self._loaded is None or self._loaded[0] != model:
                # Questions are encoded as the pages were, whatever this machine would choose.
                encoder = self._given or load_encoder(model.name, dtype=model.preprocessing.get("dtype", "auto"))
                check_same(self._index.path, model, encoder)
                self._loaded = model, encoder
            return self._loaded[1]

    def _questions_of(self, model: IndexModel) -> Encoder:
        """Return what encodes questions, loaded on first use. Raises ModelMismatch if they do not meet the pages."""
        with self._loading:
            if isinstance(self._asking, str):
                self._asking = load_encoder(self._asking)
            assert self._asking is not None
            check_questions(self._index.path, model, self._asking)
            return self._asking

    def _scan_in_words(self) -> str:
        """Say what a question without a filter reads."""
        if not self._index.model.makes_vectors:
            return "the words of the question, in the postings of all pages"
        late = self._scorers.of(self._index.snapshot, LATE)
        if isinstance(late, LateInteraction) and late.has_first_stage:
            return "the summary of every page, then those pages that may be among the best"
        return "every page"

    def _pipeline(self) -> Pipeline:
        """Return the pipeline that answers questions from the committed state that is seen now."""
        snapshot = self._index.snapshot
        scorer = partial(self._scorers.of, snapshot)
        asking = None if self._asking is None else partial(self._questions_of, snapshot.model)
        encoder = partial(self._encoder_of, snapshot.model)
        return Pipeline(snapshot, scorer, encoder, self._drawn, self._embedder_of, asking)

    def _drawn(self, ref: PageRef, dpi: int) -> Image:
        return self.picture(ref, dpi=dpi)


class _Fused(Retriever):
    """A retriever of several indexes; `Retriever.fused_with` makes it."""

    def __init__(self, first: Retriever, others: Mapping[str, Retriever]) -> None:
        if not others:
            raise InvalidArgument("fused_with takes other retrievers by names, such as pictures=Retriever.open(...)")
        path = first._index.path
        main = str(path) if path.name in _TAKEN else path.name
        for name in others:
            if name in (main, *_TAKEN):
                raise InvalidArgument(f"{name!r} names something else in a search; give the index another name")
        self._parts = {main: first, **others}
        for name, part in self._parts.items():
            _check_fused(name, part)
        joined = JoinedIndex({name: part._index for name, part in self._parts.items()})
        for name, part in self._parts.items():
            if not joined.snapshot.shared(name):
                changed = ", since their files were changed in between" if joined.snapshot.changed else ""
                raise InvalidArgument(
                    f"{part._index.path} has no document in common with {main}{changed}: make both indexes of the same "
                    "files with visret index"
                )
        # Readers see the joined pages where they see those of one index.
        super().__init__(cast(PageIndex, joined), None)

    def close(self) -> None:
        """Close the files of all indexes."""
        for part in self._parts.values():
            part.close()

    @property
    def encoder(self) -> Encoder:
        """The model of the first index, loaded on first use."""
        return next(iter(self._parts.values())).encoder

    def info(self) -> dict[str, Any]:
        """Return what the first index says, with the pages and documents of all, and what the others say."""
        first, *others = (part.info() for part in self._parts.values())
        pages, size = len(self._index.snapshot), sum(one["bytes"] for one in (first, *others))
        counts = {"documents": len(self.documents()), "pages": pages, "bytes": size}
        beside = dict(zip(list(self._parts)[1:], others, strict=True))
        return {**first, **counts, "bytes_a_page": round(size / max(pages, 1)), "fused_with": beside}

    def add_model(self, *_: object, **__: object) -> NoReturn:
        """Refuse to write, before a model is loaded."""
        cast(JoinedIndex, self._index).writing()

    def remove_model(self, name: str) -> NoReturn:  # noqa: ARG002
        """Refuse to write."""
        cast(JoinedIndex, self._index).writing()

    def page(self, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI, password: str | None = None) -> Page:
        """Return the page as the first index that has it knows it."""
        ref = page_ref(hit)
        name, own = self._pages.home(ref)
        return replace(self._parts[name].page(own, dpi=dpi, password=password), ref=ref)

    def picture(self, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI, box: Box | None = None) -> Image:
        """Return the picture of the page, or of a part of it, from the first index that has it."""
        name, own = self._pages.home(page_ref(hit))
        return self._parts[name].picture(own, dpi=dpi, box=box)

    def original(self, doc: str) -> Path | None:
        """Return the file of a document; None if it was made in memory."""
        document = self.document(doc)
        if not document.pages:
            raise InvalidArgument(f"{doc} has no pages in any of the indexes")
        name, own = self._pages.home((doc, document.pages[0]))
        return self._parts[name].original(own.doc)

    @property
    def _pages(self) -> JoinedPages:
        return cast(JoinedIndex, self._index).snapshot

    def _pipeline(self) -> Pipeline:
        return Joined(self._pages, {name: part._pipeline() for name, part in self._parts.items()})


_TAKEN = (RERANK, *WAYS)  # names that stand for something else in plans and scores


def _told(model: str) -> Callable[[int, int], None]:
    """Return what tells those who wait how far an added model has come, once in TOLD seconds."""
    began = told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if done and now - told >= TOLD and done < total:
            told = now
            left = timedelta(seconds=round((now - began) / done * (total - done)))
            _log.warning("%s: %s of %s pages have their vectors, %s left", model, f"{done:,}", f"{total:,}", left)

    return tell


def _check_fused(name: str, given: object) -> None:
    """Raise InvalidArgument for what cannot be fused."""
    if not isinstance(given, Retriever):
        raise InvalidArgument(f"{name}: expected an open Retriever, got {given!r}")
    if isinstance(given, _Fused) or not isinstance(given._index, PageIndex):
        raise InvalidArgument(f"{given._index.path} is a store or fused already; only indexes in folders can be fused")


def pipeline_of(retriever: Retriever) -> Pipeline:
    """Return the pipeline that answers questions from the state the retriever sees now, for a caller inside visret.

    The server ranks a batch of questions first, and explains to each caller as much as was asked for.
    """
    return retriever._pipeline()


def read_again(retriever: Retriever, ref: PageRef, picture: bool) -> tuple[Page, DocumentError | None]:
    """Return a page for a reranker, as `Retriever.read` does."""
    return retriever.read(ref, picture=picture)


def add_found(retriever: Retriever, found: FoundFiles, options: ReadOptions, **how: Any) -> Report:
    """Bring in files that were found already, as `run.add_found` does with `how`, for a caller inside visret."""
    from visret.ingest import run

    report = run.add_found(retriever._index, retriever.encoder, found, options, **how)
    retriever._measure_floor()
    return replace(report, seconds=report.seconds + retriever._fill_added())


def follow(
    retriever: Retriever,
    paths: Sequence[str | Path],
    options: ReadOptions,
    *,
    metadata: Metadata = None,
    progress: Callable[[Progress], None] | None = None,
    **how: Any,
) -> Generator[Report, None, None]:
    """Keep the index in step with files and folders, as `following.follow` says, for a caller inside visret.

    metadata, progress: as in `Retriever.add`. how: the other arguments of `following.follow`.
    """
    from visret.ingest import following, run
    from visret.ingest.plan import Judge

    retriever._password = options.password or retriever._password
    index = retriever._index

    def judge() -> Judge:
        retriever.refresh()
        return Judge(index.snapshot, run.usable(options, retriever.encoder))

    def bring(found: FoundFiles, failed_before: bool) -> Report:
        return add_found(retriever, found, options, metadata=metadata, retry_failed=failed_before, progress=progress)

    return following.follow(paths, judge=judge, bring=bring, remove=retriever.remove, ignore=index.path, **how)


def _as_page(given: Page | Image | str) -> Page:
    if isinstance(given, Page):
        return given
    if isinstance(given, str):
        arguments.questions([given])
        return Page.from_text(given, doc="text")
    if not hasattr(given, "convert"):
        raise InvalidArgument(f"a hit, a Page, a picture or text is expected, got {given!r}")
    return Page.from_image(given, doc="picture")


def as_json(hit: Hit, boxes: Sequence[Region] = (), about: str = "") -> dict[str, Any]:
    """Return a hit as `visret search --json` prints it. The caller sets "picture" if it draws one.

    boxes, about: those of its Explanation, if there is one.
    JSON has no -inf: a page that a reranker did not score has null as its score, and "unscored" is true.
    """
    unscored = hit.score == UNSCORED
    return {
        "rank": hit.rank,
        "score": None if unscored else hit.score,
        "unscored": unscored,
        "doc": hit.doc,
        "page": hit.page,
        "text": hit.text,
        "source": hit.source,
        "member": hit.member,
        "boxes": [asdict(box) for box in boxes],
        "about": about,
        "picture": None,
        "weak": hit.weak,
        "relevance": hit.relevance,
        "scores": dict(hit.scores),
        "neighbour_of": hit.neighbour_of,
        "passage": passage_json(hit.passage),
        "link": hit.link,
        "metadata": dict(hit.metadata),
    }


def passage_json(passage: Passage | None) -> dict[str, Any] | None:
    """Return a passage as JSON values; its boxes in page fractions and in points."""
    if passage is None:
        return None
    lists = {"boxes": list(map(list, passage.boxes)), "boxes_pt": list(map(list, passage.boxes_pt))}
    span, size = (None if one is None else list(one) for one in (passage.span, passage.size_pt))
    return {"text": passage.text, **lists, "size_pt": size, "span": span, "score": passage.score}


def sendable(value: Any) -> Any:
    """Return JSON values as UTF-8 can carry them, with a question mark for what is not Unicode, as in some file names.

    Names of documents have the same mark in the same place.
    """
    return json.loads(json.dumps(value, ensure_ascii=False).encode("utf8", "replace"))
