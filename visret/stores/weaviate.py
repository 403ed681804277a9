"""Weaviate: the configuration of a collection as its client sends it, and objects with the named vector "tokens".

The vector is a multi-vector, whose score is MaxSim (`aggregation: maxSim`) of dot products. Weaviate takes no vectors
of another kind beside it for a first stage; its own is the graph (HNSW) over all vectors.
"""

from __future__ import annotations

import json
from typing import Any

from visret.stores._files import Row, Shape, halves

FIELDS = True
COLLECTION = "Pages"

_TYPES = {"text": "text", "number": "number", "bool": "boolean", "text[]": "text[]", "number[]": "number[]"}


def check(shape: Shape) -> None:
    """Do nothing: Weaviate holds every page."""


def files(shape: Shape) -> dict[str, str]:
    """Return the configuration of the collection, for `client.collections.create_from_dict`."""
    properties = [
        _property("doc", "text", whole=True),
        _property("page", "int"),
        _property("text", "text"),
        _property("source", "text", whole=True),
        _property("metadata", "text", whole=True),
        *(_property(f"meta_{key}", _TYPES[kind], whole="text" in kind) for key, kind in shape.fields.items()),
    ]
    index = {"distance": "dot", "multivector": {"enabled": True, "aggregation": "maxSim"}}
    vectors = {"tokens": {"vectorizer": {"none": {}}, "vectorIndexType": "hnsw", "vectorIndexConfig": index}}
    made = {"class": COLLECTION, "properties": properties, "vectorConfig": vectors}
    return {"collection.json": json.dumps(made, indent=2)}


def document(row: Row) -> dict[str, Any]:
    """Return a page as an object."""
    properties = {
        "doc": row.doc,
        "page": row.page,
        "text": row.text,
        **({"source": row.source} if row.source is not None else {}),
        "metadata": json.dumps(row.metadata),
        **row.fields,
    }
    return {
        "class": COLLECTION,
        "id": str(row.id),
        "properties": properties,
        "vectors": {"tokens": halves(row.vectors["tokens"])},
    }


def _property(name: str, kind: str, *, whole: bool = False) -> dict[str, Any]:
    """Return a property. whole: its text is compared as a whole, and not split into words."""
    return {"name": name, "dataType": [kind], **({"tokenization": "field"} if whole else {})}
