"""Models of sentence-transformers: a `SentenceTransformer` makes single vectors, a `SparseEncoder` sparse ones.

Prompts, routes for pages and questions (`Router`), and pooling are those of the checkpoint, by `encode_document` and
`encode_query`; so questions of a model that needs no inference for them (`SparseStaticEmbedding`) cost nothing here
either. Vectors are compared as the checkpoint says: by the cosine, or by the dot product.

A page that is longer than the model reads at once is read in windows, of which the next repeats an eighth. Each window
gives a single vector, and the best one counts (MaxP, Dai and Callan, arXiv:1905.09217). Sparse vectors of windows are
joined by their maxima, as SPLADE joins those of tokens. The library would read the beginning of such a page only.

A model that looks at pages, such as CLIP, gets their pictures.

Options: longest, the most tokens of a window (the checkpoint's own limit by default, and at most 512); query_prompt and
page_prompt, the texts that go before a question and a page, for checkpoints that do not say so themselves.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from visret.embedders._base import Made, PageEmbedder, normalised
from visret.encoders import _base, _torch
from visret.encoders._stored import check_weights
from visret.encoders._windows import count, windows
from visret.errors import InvalidArgument, InvalidModelSpec, WeightsError
from visret.models import fetch, registry, weights
from visret.types import ModelSpec, Page, SparseVector

_OPTIONS: Mapping[str, Any] = {"longest": None, "query_prompt": str, "page_prompt": str}
_BATCH = {"embed": 32, "sparse": 8}  # texts; each token of one for sparse vectors has a number for every piece there is
_PICTURES = 4
_WINDOW = 512  # tokens; what a longer window says of any one thing on a page gets lost among the rest
_MIN_ROOM = 8  # tokens of a page that must fit beside a prompt
_SIMILARITIES = ("cosine", "dot")


class SentenceEmbedder(PageEmbedder):
    """A model of sentence-transformers; the module's docstring describes it."""

    def __init__(self, spec: ModelSpec, model: Any, *, dtype: str, batch: int | None, longest: int | None) -> None:
        if model.similarity_fn_name not in _SIMILARITIES:
            raise InvalidModelSpec(
                f"{spec.name} compares vectors by {model.similarity_fn_name}; pages are ranked by cosine or dot"
            )
        self._model = model
        self._batch = batch or (_PICTURES if spec.modality == "image" else _BATCH[spec.task])
        self._input = _modules(model, "document")[0]
        limit = getattr(self._input, "max_seq_length", None) or _WINDOW
        if longest is not None and longest > limit:
            raise InvalidModelSpec(f"{spec.name}, options, longest: it reads at most {limit} tokens, got {longest}")
        self._window = int(longest or min(limit, _WINDOW))
        # SigLIP was trained on texts that are filled up, without a mask (its card), which the library does not do.
        config: Any = getattr(getattr(model, "transformers_model", None), "config", None)
        is_siglip = config is not None and str(config.model_type).startswith("siglip")
        self._filled = config.text_config.max_position_embeddings if is_siglip else 0
        prompts = {name: text for name, text in sorted(model.prompts.items()) if text}
        made = {"similarity": model.similarity_fn_name, "prompts": prompts, "dtype": dtype}
        super().__init__(spec, made | ({"window": self._window} if spec.modality == "text" else {}))

    @contextmanager
    def _computing(self, *, for_pages: bool) -> Iterator[None]:
        # A question is short, and threads that wait for each other cost it more than they save.
        with _torch.on_threads(_torch.threads() if for_pages else 1), torch.inference_mode():
            yield

    def _pages(self, pages: Sequence[Page]) -> Made:
        if self.spec.modality == "image":
            return self._made(
                self._model.encode_document([page.image for page in pages], **self._how()), [1] * len(pages)
            )
        room = self._room()
        parts = [windows(page.text, self._input.tokenizer, room) for page in pages]
        made = self._model.encode_document([part for page in parts for part in page], **self._how())
        return self._made(made, [len(page) for page in parts])

    def _queries(self, texts: list[str]) -> Made:
        how = self._how()
        if self._filled:
            how["processing_kwargs"] = {
                "text": {"padding": "max_length", "max_length": self._filled, "truncation": True}
            }
        return self._made(self._model.encode_query(texts, **how), [1] * len(texts))

    def _how(self) -> dict[str, Any]:
        about = {"batch_size": self._batch, "show_progress_bar": False}
        return about | ({"save_to_cpu": True} if self.spec.task == "sparse" else {"convert_to_numpy": True})

    def _made(self, made: Any, counts: Sequence[int]) -> Made:
        """Return what was made of some texts, of which each page has so many."""
        ends = np.cumsum(counts)
        is_cosine = self.preprocessing["similarity"] == "cosine"
        if self.spec.task == "sparse":
            return [_joined(rows, is_cosine) for rows in _split(made, ends)]
        vectors = np.asarray(made, np.float32)
        return np.split(normalised(vectors) if is_cosine else vectors, ends[:-1])

    def _room(self) -> int:
        """Return how many tokens of a page fit beside the prompt of pages."""
        prompts = self._model.prompts
        named = next((prompts[name] for name in ("document", "passage", "corpus") if name in prompts), None)
        prompt = named or prompts.get(self._model.default_prompt_name or "", "")
        room = self._window - count(prompt, self._input.tokenizer)
        if room < _MIN_ROOM:
            raise InvalidModelSpec(
                f"{self.spec.name}, options, longest: {self._window} tokens leave no room for a page"
            )
        return room


def _split(made: torch.Tensor, ends: np.ndarray) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """Return a sparse tensor (t, d) as the ids and weights of each row, in groups that end before these rows."""
    made = made.float().cpu().coalesce()
    row, ids = made.indices().numpy()
    at = np.searchsorted(row, np.arange(made.shape[0] + 1))
    values = made.values().numpy()
    rows = [(ids[a:b], values[a:b]) for a, b in pairwise(at)]
    return [rows[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _joined(rows: list[tuple[np.ndarray, np.ndarray]], is_cosine: bool) -> SparseVector:
    """Return the maxima of sparse vectors, without what is 0; of length 1 if they are compared by the cosine."""
    every = np.concatenate([ids for ids, _ in rows])
    ids, at = np.unique(every, return_inverse=True)
    weights = np.full(len(ids), -np.inf, np.float32)
    np.maximum.at(weights, at, np.concatenate([values for _, values in rows]).astype(np.float32))
    ids, weights = ids[weights != 0], weights[weights != 0]
    length = float(np.linalg.norm(weights)) if is_cosine else 1.0
    return SparseVector(ids.astype(np.uint32), weights / np.float32(length or 1))


def load(spec: ModelSpec, *, dtype: str, device: str, batch: int | None) -> SentenceEmbedder:
    """Load the model. Raises WeightsError for missing weights, or code that only the repository has."""
    options = _base.options(spec, _OPTIONS)
    folder = fetch.weights_folder(spec)
    if spec.task == "sparse" and dtype == "auto":
        dtype = "float32"  # a weight that is rounded to 8 bits is off by as much as between two near pages
    where, kind = _base.Place(device, dtype).found
    if not (folder / "modules.json").is_file() and spec.modality == "text":
        raise WeightsError(f"{folder}: has no modules.json, which would say how a text becomes one vector")
    with _torch.quiet(), weights.loading(folder):
        import sentence_transformers as library

        make = library.SparseEncoder if spec.task == "sparse" else library.SentenceTransformer
        model = make(str(folder), device=str(where), local_files_only=True, model_kwargs={"use_safetensors": True})
        leaves = [module for task in ("document", "query") for module in _modules(model, task)]
        check_weights(list({id(module): module for module in leaves}.values()), folder)
    for name, option in (("query", "query_prompt"), ("document", "page_prompt")):
        if options[option] is not None:
            model.prompts[name] = options[option]
    model.to(kind).eval()
    dim = _dim(model)
    if spec.dim and dim != spec.dim:
        raise WeightsError(f"{spec.name}: its weights give vectors of {dim} dimensions, but its entry says {spec.dim}")
    pinned = dataclasses.replace(weights.pinned(spec, folder), dim=dim)
    said = str(kind).removeprefix("torch.")
    return SentenceEmbedder(pinned, model, dtype=said, batch=batch, longest=options["longest"])


def given(model: Any, name: str) -> SentenceEmbedder:
    """Return a loaded SentenceTransformer or SparseEncoder as an embedder, pinned by a checksum of its weights.

    It gets the pictures of pages if it reads pictures, and else their text.
    """
    from sentence_transformers import SparseEncoder

    task = "sparse" if isinstance(model, SparseEncoder) else "embed"
    if registry.find(name) is not None:
        raise InvalidArgument(f"{name!r} is the name of a model that visret loads itself; give this one another name")
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(f"{key} {tuple(value.shape)}".encode())
        digest.update(value.detach().float().cpu().contiguous().numpy().tobytes())
    modality = "image" if "image" in model.modalities else "text"
    dim = _dim(model.eval())
    spec = ModelSpec(name, "sentence", "", digest.hexdigest(), modality, dim, "unknown", 0.0, task=task)
    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    return SentenceEmbedder(spec, model, dtype=dtype, batch=None, longest=None)


def _dim(model: Any) -> int:
    """Return the dimensions of a model's vectors; some that make sparse ones do not say."""
    with torch.inference_mode():
        return int(model.encode_query(["dimensions"], show_progress_bar=False).shape[1])


def _modules(model: Any, task: str) -> list[Any]:
    """Return the modules that a text of pages ("document") or a question ("query") goes through."""
    first, *rest = list(model)
    routes = getattr(first, "sub_modules", None)
    if routes is None:
        return [first, *rest]
    route = first.default_route if task not in routes else task
    return [*routes[route or next(iter(routes))], *rest]
