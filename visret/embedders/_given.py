"""Functions of the user's that make single vectors of texts, such as those of a provider over its API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visret.embedders._base import PageEmbedder, normalised
from visret.errors import InvalidArgument, ShapeError
from visret.models import registry
from visret.types import Embedder, ModelSpec, Page

Function = Callable[[list[str]], Any]
"""A function from n texts to their vectors, (n, d) numbers."""


class FunctionEmbedder(PageEmbedder):
    """A function as a model: each page is given to it whole, and has one vector. Vectors are compared by the cosine.

    dim: the dimensions of its vectors. questions: the function for questions, if that is another one.
    """

    def __init__(self, name: str, pages: Function, questions: Function | None, dim: int) -> None:
        spec = ModelSpec(name, "", "", "", "text", dim, "unknown", 0.0, task="embed")
        super().__init__(spec, {"similarity": "cosine", "questions": questions is not None})
        self._of_pages, self._of_questions = pages, questions or pages

    def _pages(self, pages: Sequence[Page]) -> list[np.ndarray]:
        return self._made(self._of_pages, [page.text for page in pages])

    def _queries(self, texts: list[str]) -> list[np.ndarray]:
        return self._made(self._of_questions, texts)

    def _made(self, function: Function, texts: list[str]) -> list[np.ndarray]:
        made = np.asarray(function(texts), np.float32)
        if made.shape != (len(texts), self.spec.dim):
            raise ShapeError(
                f"{self.spec.name} must return ({len(texts)}, {self.spec.dim}) numbers for {len(texts)} texts, got "
                f"{made.shape}"
            )
        return list(normalised(made)[:, None])


def embedder_of(model: Any, name: str | None, questions: Function | None) -> Embedder:
    """Return what a user gave as an embedder: one that is one, a model of sentence-transformers, or a function.

    Raises InvalidArgument for anything else, and without a name for what has none.
    """
    if callable(getattr(model, "embed_pages", None)):
        if name is not None or questions is not None:
            raise InvalidArgument("an embedder has its own name and its own questions; leave out name and questions")
        embedder: Embedder = model
        return embedder
    if not isinstance(name, str) or not name:
        raise InvalidArgument("give the model a name, by which the index knows it: add_model(model, name='...')")
    if hasattr(model, "encode_document") and hasattr(model, "state_dict"):
        from visret.embedders import sentence

        if questions is not None:
            raise InvalidArgument("this model encodes questions itself; leave out questions")
        return sentence.given(model, name)
    if not callable(model):
        raise InvalidArgument(f"a model is a name, a folder, a model of sentence-transformers or a function: {model!r}")
    if registry.find(name) is not None:
        raise InvalidArgument(f"{name!r} is the name of a model that visret loads itself; give this one another name")
    probe = np.asarray((questions or model)(["a question"]))
    if probe.ndim != 2 or len(probe) != 1 or not probe.shape[1]:
        raise ShapeError(f"{name} must return (1, d) numbers for one text, got {probe.shape}")
    return FunctionEmbedder(name, model, questions, probe.shape[1])


def is_named(model: Any) -> bool:
    """Return whether a model is given by its name, its folder or its entry, so that visret loads it."""
    return isinstance(model, str | Path | ModelSpec)
