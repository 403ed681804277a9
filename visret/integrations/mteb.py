"""mteb: a model of the registry, or a whole index, as the model of `mteb.evaluate(model, tasks)`."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import visret
from visret import maxsim
from visret.choices import DEFAULT_MODEL, LATE_MODEL
from visret.encoders import _torch, load_encoder
from visret.errors import InvalidArgument
from visret.folders import expanded
from visret.index import Document
from visret.integrations import _pages
from visret.reduction import Storage
from visret.retriever import Retriever, pipeline_of
from visret.search.plans import Plan
from visret.types import Encoder, Page, Ranking

_torch.import_torchvision()  # before mteb imports transformers

try:
    import torch
    from mteb._create_dataloaders import create_dataloader  # what mteb's own models read their inputs with
    from mteb.models.model_meta import ModelMeta, ScoringFunction
    from mteb.types import PromptType
    from tqdm.auto import tqdm
except ModuleNotFoundError as error:
    raise _pages.missing("mteb", error) from error

BATCH_QUESTIONS = 256  # questions that are searched together, each with as many hits as mteb asks for
BLOCK_VALUES = 1 << 26  # values of pages that are scored together
NOTHING = Ranking(np.empty(0, np.int64), np.empty(0, np.float32))

_log = logging.getLogger(__name__)


class VisretEncoder:
    """A model as mteb's `EncoderProtocol`: many vectors for each input, compared by MaxSim, exactly and in float32.

    mteb holds the vectors of up to 50,000 pages in memory. `VisretRetriever` keeps them in an index, and ranks by the
    single vectors beside them, too.
    model: a name (`visret models` lists them), a folder with a checkpoint, or a loaded encoder.
    revision: None, or the revision that models.yaml must name for the model.
    device: the device of the model and of MaxSim; None takes a CUDA GPU if there is one, else the CPU.
    options: those of `load_encoder`.
    """

    def __init__(
        self,
        model: str | Path | Encoder = LATE_MODEL,
        revision: str | None = None,
        *,
        device: str | None = None,
        **options: Any,
    ) -> None:
        self._encoder = _loaded(model, device=device or "auto", **options)
        spec = self._encoder.spec
        if revision not in (None, spec.revision):
            raise InvalidArgument(f"{spec.name}, revision: models.yaml names {spec.revision!r}, got {revision!r}")
        found = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._device = None if found == "cpu" else found
        modalities = ["text"] if spec.modality == "text" else ["text", "image"]
        self.mteb_model_meta = _meta(self._encoder, modalities, {})

    def encode(
        self,
        inputs: Any,
        *,
        task_metadata: Any,
        hf_split: str,  # noqa: ARG002
        hf_subset: str,  # noqa: ARG002
        prompt_type: PromptType | None = None,
        **kwargs: Any,
    ) -> list[torch.Tensor]:
        """Return the vectors of each input, (n, d) float32, on the CPU.

        Inputs of the type "query" are questions. All others are pages. A page that holds nothing for the model, such as
        an empty text, is one vector of zeros, and its score is 0.
        """
        _check_precision(kwargs)
        read = self._questions if prompt_type == PromptType.query else self._pages
        made: list[torch.Tensor] = []
        for batch in tqdm(inputs, desc=task_metadata.name, disable=not kwargs.get("show_progress_bar", True)):
            made += [torch.from_numpy(np.ascontiguousarray(vectors)) for vectors in read(batch, task_metadata.name)]
        return made

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Return MaxSim of each of the first (questions) with each of the second (pages): (Q, P) float32."""
        questions, pages = _arrays(embeddings1), _arrays(embeddings2)
        out = np.zeros((len(questions), len(pages)), np.float32)
        filled = [i for i, page in enumerate(pages) if len(page) > 1 or page.any()]
        for some in _blocks(filled, pages):
            block = [pages[i] for i in some]
            offsets = np.cumsum([0, *map(len, block)])
            packed = maxsim.pack(np.concatenate(block), offsets, "float32", device=self._device)
            for row, question in zip(out, questions, strict=True):
                row[some] = packed.exact_scores(question)
        return torch.from_numpy(out)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Return MaxSim of each of the first (questions) with its neighbour among the second (pages): (P,) float32."""
        pairs = zip(_arrays(embeddings1), _arrays(embeddings2), strict=True)
        return torch.tensor([float((page @ question.T).max(0).sum()) for question, page in pairs])

    def _questions(self, batch: Mapping[str, Any], task: str) -> Iterator[np.ndarray]:
        yield from (question.vectors for question in self._encoder.encode_queries(_questions(batch, task)))

    def _pages(self, batch: Mapping[str, Any], task: str) -> Iterator[np.ndarray]:
        spec = self._encoder.spec
        kind = "image" if spec.modality == "image" else "text"
        if kind not in batch:
            raise InvalidArgument(
                f"{spec.name} reads pages as {kind}s, and {task} has none"
                + ("; VisretRetriever reads the words of pictures" if "image" in batch else "")
            )
        pages = [_page(spec.modality, batch, i, str(i)) for i in range(len(batch[kind]))]
        made = iter(self._encoder.encode_pages([page for page in pages if self._encoder.can_read(page)]))
        for page in pages:
            yield next(made).vectors if self._encoder.can_read(page) else np.zeros((1, spec.dim), np.float32)


class VisretRetriever:
    """A whole system as mteb's `SearchProtocol`: the corpus of each task becomes an index, which is searched.

    model: a name (`visret models` lists them), a folder with a checkpoint, or a loaded encoder.
    folder: where the indexes are kept, one for each task, subset, split, model and way of storing. What an index holds
        of a corpus is not read again, so that a run that was interrupted goes on. None takes a temporary folder.
    device: where pages are scanned, as in `Retriever.open`. by, exact: as in `Retriever.search`. by="maxsim" is what
        the tables of papers measure, without the correction for length that users get.
    codec, dim, pool, prune: as in `Retriever.create`. ocr: as in `Retriever.add`.

    Models that read text read the text of a page, and the words of its picture if it has no text.
    """

    def __init__(
        self,
        model: str | Path | Encoder = DEFAULT_MODEL,
        *,
        folder: str | Path | None = None,
        device: str | None = None,
        by: str | Plan | None = None,
        exact: bool = False,
        codec: str = "int8",
        dim: int | None = None,
        pool: int = 1,
        prune: float = 0.0,
        ocr: str = "auto",
    ) -> None:
        self._storage = Storage(codec=codec, dim=dim, pool=pool, prune=prune)
        self._encoder = _loaded(model)
        if folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="visret-mteb-"))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        else:
            self._folder = expanded(folder)
        self._is_kept = folder is not None
        self._device, self._by, self._exact, self._ocr = device, by, exact, ocr
        self._retriever: Retriever | None = None
        self._ids: dict[int, str] = {}  # of the pages in the index, by the numbers of their documents
        self._names: dict[str, list[str]] = {}  # the names of their documents, by the ids
        settings = {"codec": codec, "dim": dim, "pool": pool, "prune": prune, "ocr": ocr}
        asked = {"by": repr(by) if isinstance(by, Plan) else by, "exact": exact}
        self.mteb_model_meta = meta = _meta(self._encoder, ["text", "image"], {**settings, **asked})
        self._made = hashlib.sha256(repr((meta.name, meta.revision, settings)).encode()).hexdigest()[:12]

    def close(self) -> None:
        """Close the index of the last task, and delete it if it is temporary."""
        if self._retriever is not None:
            path = Path(self._retriever.info()["path"])
            self._retriever.close()
            self._retriever = None
            if not self._is_kept:
                shutil.rmtree(path, ignore_errors=True)

    def index(
        self,
        corpus: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        encode_kwargs: Mapping[str, Any],
        num_proc: int | None = None,
        **kwargs: Any,  # noqa: ARG002 (what later versions may add)
    ) -> None:
        """Make an index of the corpus, or bring the one that is there up to date.

        Raises InvalidArgument if the model finds nothing to read in the corpus.
        """
        _check_precision(encode_kwargs)
        self.close()
        task, how = task_metadata.name, self._storage
        path = self._folder / f"{_safe(f'{task}-{hf_subset}-{hf_split}')}-{self._made}.visret"
        if not path.is_dir() or not any(path.iterdir()):
            Retriever.create(
                path, model=self._encoder, codec=how.codec, dim=how.dim, pool=how.pool, prune=how.prune
            ).close()
        self._retriever = retriever = Retriever.open(path, model=self._encoder, device=self._device)
        there = {document.doc for document in _documents(retriever) if document.pages or document.empty}
        ids: dict[str, str] = {}
        loader = create_dataloader(
            corpus, task_metadata=task_metadata, prompt_type=PromptType.document, batch_size=32, num_proc=num_proc
        )
        batches = tqdm(loader, desc=f"{task}: pages", disable=not encode_kwargs.get("show_progress_bar", True))
        report = retriever.add_pages(self._new(batches, there, ids), ocr=self._ocr, pictures=False)
        if gone := set(retriever.documents()) - ids.keys():
            retriever.remove(gone)
        self._ids, self._names = {}, {}
        for document in _documents(retriever):
            if document.pages:
                one = self._ids[document.number] = ids[document.doc]
                self._names.setdefault(one, []).append(document.doc)
        for failure in report.failed:
            _log.warning("%s: a page cannot be found: %s", task, failure)
        if not self._ids:
            raise InvalidArgument(f"{self._encoder.spec.name} finds nothing to read in the corpus of {task}")
        if empty := len(ids) - len(self._ids) - len(report.failed):
            _log.warning("%s: %d of %d pages hold nothing for the model", task, empty, len(ids))

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,  # noqa: ARG002
        hf_subset: str,  # noqa: ARG002
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: int | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> dict[str, dict[str, float]]:
        """Return for each question the scores of its top_k pages, by their ids.

        top_ranked: for each question the pages to rank, in tasks that rank again. A question that is not there finds
            nothing.
        """
        _check_precision(encode_kwargs)
        retriever = self._retriever
        if retriever is None:
            raise InvalidArgument("there is no index to search; call index first")
        ids, found = list(queries["id"]), list[dict[str, float]]()
        loader = create_dataloader(
            queries,
            task_metadata=task_metadata,
            prompt_type=PromptType.query,
            batch_size=BATCH_QUESTIONS,
            num_proc=num_proc,
        )
        for batch in tqdm(loader, desc=task_metadata.name, disable=not encode_kwargs.get("show_progress_bar", True)):
            questions = _questions(batch, task_metadata.name)
            among = None
            if top_ranked is not None:
                ranked = (top_ranked.get(one, ()) for one in ids[len(found) : len(found) + len(questions)])
                among = [[name for one in listed for name in self._names.get(one, ())] for listed in ranked]
            found += self._search(retriever, questions, top_k, among)
        return dict(zip(ids, found, strict=True))

    def _new(self, batches: Any, there: set[str], ids: dict[str, str]) -> Iterator[Page]:
        """Yield the pages of a corpus that are not in the index, and note the id of every page by its name there."""
        for batch in batches:
            for i, one in enumerate(batch["id"]):
                name = f"{one} {_digest(batch, i)}"
                if name not in ids:
                    ids[name] = one
                    if name not in there:
                        yield _page(self._encoder.spec.modality, batch, i, name)

    def _search(
        self, retriever: Retriever, questions: list[str], k: int, among: list[list[str]] | None
    ) -> Iterator[dict[str, float]]:
        """Yield what is found for each question. among: the names of the pages to rank for each; None for all."""
        pipeline = pipeline_of(retriever)  # pages by their keys: a thousand hits a question would take as long again
        if among is None:
            found = [
                ranking for _, ranking in pipeline.rank(questions, k, exact=self._exact, by=self._by, explain=False)
            ]
        else:
            found = [
                pipeline.rank([question], k, among=names, exact=self._exact, by=self._by, explain=False)[0][1]
                if names
                else NOTHING
                for question, names in zip(questions, among, strict=True)
            ]
        for keys, values, _ in found:
            scores: dict[str, float] = {}
            for key, score in zip(keys.tolist(), values.tolist(), strict=True):
                scores.setdefault(self._ids[key >> 32], score)
            yield scores


def _documents(retriever: Retriever) -> Iterator[Document]:
    """Yield the documents of an index."""
    return map(retriever.document, retriever.documents())


def _loaded(model: str | Path | Encoder, **options: Any) -> Encoder:
    """Return the model itself, or the one of that name or in that folder."""
    if isinstance(model, str | Path):
        return load_encoder(model, **options)
    given = ", ".join(name for name, value in options.items() if value not in (None, "auto"))
    if given:
        raise InvalidArgument(f"{model.spec.name} is loaded already, so {given} cannot be chosen")
    return model


def _meta(encoder: Encoder, modalities: list[str], settings: Mapping[str, Any]) -> ModelMeta:
    """Return what mteb knows of a model. It keeps results by name, revision and settings.

    So the name is none that mteb has results of, and the revision changes with everything else that decides a score.
    """
    spec = encoder.spec
    name = Path(spec.name).name if Path(spec.name).is_absolute() else spec.name
    made = json.dumps([spec.revision, dict(encoder.preprocessing)], sort_keys=True, default=str)
    known: dict[str, Any] = {
        "name": f"visret/{_safe(name)}",
        "revision": f"{visret.__version__}-{hashlib.sha256(made.encode()).hexdigest()[:16]}",
        "n_parameters": int(spec.parameters * 1e6) or None,
        "embed_dim": spec.dim,
        "similarity_fn_name": ScoringFunction.MAX_SIM,
        "model_type": ["late-interaction"],
        "modalities": modalities,
        "use_instructions": False,
        "framework": [],
        "experiment_kwargs": dict(settings) or None,
    }
    return ModelMeta(**{field: None for field, one in ModelMeta.model_fields.items() if one.is_required()} | known)


def _safe(name: str) -> str:
    """Return a name without what file names cannot have."""
    return re.sub(r"[^\w.-]+", "__", name)


def _check_precision(kwargs: Mapping[str, Any]) -> None:
    """Raise InvalidArgument if mteb asks for other vectors than those of the model."""
    if (precision := kwargs.get("precision")) not in (None, "float32"):
        raise InvalidArgument(f"precision: vectors are float32, got {precision!r}; VisretRetriever takes a codec")


def _questions(batch: Mapping[str, Any], task: str) -> list[str]:
    """Return the questions of a batch. Raises InvalidArgument if they are no text."""
    if "text" not in batch or "image" in batch:
        raise InvalidArgument(f"visret takes questions as text alone, and those of {task} are not")
    return [str(text) for text in batch["text"]]


def _page(modality: str, batch: Mapping[str, Any], i: int, name: str) -> Page:
    """Return item i of a batch as a page: its picture for models that look at pages, else its text if it has one."""
    text = batch["text"][i] if "text" in batch else ""
    if "image" in batch and (modality == "image" or not text.strip()):
        return Page.from_image(batch["image"][i], doc=name)
    return Page.from_text(text, doc=name)


def _digest(batch: Mapping[str, Any], i: int) -> str:
    """Return a digest of what item i of a batch holds."""
    digest = hashlib.sha256(str(batch["text"][i]).encode("utf8", "surrogatepass") if "text" in batch else b"")
    if "image" in batch:
        image = batch["image"][i]
        digest.update(repr((image.mode, image.size)).encode() + image.tobytes())
    return digest.hexdigest()[:16]


def _arrays(given: Any) -> list[np.ndarray]:
    """Return multi-vectors as one array (n, d) float32 each. A single one may come as it is, (n, d)."""
    if isinstance(given, np.ndarray | torch.Tensor) and given.ndim == 2:
        given = [given]
    return [torch.as_tensor(one).detach().cpu().float().numpy() for one in given]


def _blocks(numbers: Sequence[int], pages: Sequence[np.ndarray]) -> Iterator[list[int]]:
    """Divide the numbers of pages into runs of at most BLOCK_VALUES values, or of one page."""
    block: list[int] = []
    values = 0
    for i in numbers:
        if block and values + pages[i].size > BLOCK_VALUES:
            yield block
            block, values = [], 0
        block.append(i)
        values += pages[i].size
    if block:
        yield block
