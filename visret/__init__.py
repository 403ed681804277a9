"""Find the right page in a pile of PDFs, and see why: document retrieval by late interaction.

This is the public API. Its parts are loaded when they are used: `import visret` loads neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visret.embedders import load_embedder
    from visret.encoders import load_encoder
    from visret.errors import VisretError
    from visret.explain.attribution import Explanation
    from visret.ingest.report import Report
    from visret.rerankers import load_reranker
    from visret.retriever import Retriever
    from visret.server.client import AsyncClient, Client
    from visret.types import Grid, Hit, ModelSpec, Page, PageEmbedding, PageRef, Passage, QueryEmbedding, Word

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "Client",
    "Explanation",
    "Grid",
    "Hit",
    "ModelSpec",
    "Page",
    "PageEmbedding",
    "PageRef",
    "Passage",
    "QueryEmbedding",
    "Report",
    "Retriever",
    "VisretError",
    "Word",
    "load_embedder",
    "load_encoder",
    "load_reranker",
]

_MODULES = {"documents", "evaluate", "maxsim", "metrics", "pdf", "rag"}
_HOMES = {
    "AsyncClient": "server.client",
    "Client": "server.client",
    "Explanation": "explain.attribution",
    "Report": "ingest.report",
    "Retriever": "retriever",
    "VisretError": "errors",
    "load_embedder": "embedders",
    "load_encoder": "encoders",
    "load_reranker": "rerankers",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"visret.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'visret' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"visret.{_HOMES.get(name, 'types')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
