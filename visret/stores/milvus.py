"""Milvus: the schema of a collection and its index as pymilvus has them, and rows to insert.

The vectors of a page are an array of structs, whose index has the metric MAX_SIM_IP (Milvus 2.6.4 and later). Metadata
are a field of JSON, which filters take apart: `metadata["year"] >= 2020`.
"""

from __future__ import annotations

import json
from typing import Any

from visret.errors import InvalidArgument
from visret.stores._files import Row, Shape, halves

FIELDS = False
MAX_VECTORS = 4096  # of an array
MAX_BYTES = 65_535  # of a text, and of JSON

# The numbers of the types in DataType of pymilvus.
_INT64, _VARCHAR, _JSON, _FLOAT_VECTOR = 5, 21, 23, 101


def check(shape: Shape) -> None:
    """Raise InvalidArgument for pages with more vectors than an array holds."""
    if shape.longest > MAX_VECTORS:
        raise InvalidArgument(
            f"a page has {shape.longest:,} vectors, and an array of Milvus holds {MAX_VECTORS:,}; merge similar "
            "vectors first, with visret reindex --pool 2"
        )


def files(shape: Shape) -> dict[str, str]:
    """Return the schema, for `CollectionSchema.construct_from_dict`, and the index, for `add_index`."""
    fields = [
        _field("id", _VARCHAR, {"max_length": 36}) | {"is_primary": True, "auto_id": False},
        _field("doc", _VARCHAR, {"max_length": MAX_BYTES}),
        _field("page", _INT64),
        _field("text", _VARCHAR, {"max_length": MAX_BYTES}),
        _field("metadata", _JSON),
    ]
    tokens = {
        "name": "tokens",
        "description": "",
        "fields": [_field("vector", _FLOAT_VECTOR, {"dim": shape.dim})],
        "max_capacity": MAX_VECTORS,
    }
    schema = {
        "auto_id": False,
        "description": "Pages, written by visret",
        "fields": fields,
        "enable_dynamic_field": False,
        "enable_namespace": False,
        "struct_fields": [tokens],
    }
    index = {
        "field_name": "tokens[vector]",
        "index_type": "HNSW",
        "metric_type": "MAX_SIM_IP",
        "params": {"M": 16, "efConstruction": 200},
    }
    return {"schema.json": json.dumps(schema, indent=2), "index.json": json.dumps(index, indent=2)}


def document(row: Row) -> dict[str, Any]:
    """Return a page as a row. Raises InvalidArgument for text or metadata that are too long."""
    metadata = {**row.metadata, "source": row.source}
    for what, text in (("name", row.doc), ("text", row.text), ("metadata", json.dumps(metadata))):
        if (size := len(text.encode("utf8", "replace"))) > MAX_BYTES:
            raise InvalidArgument(
                f"page {row.page} of {row.doc[:200]}: its {what} has {size:,} bytes, and Milvus takes {MAX_BYTES:,}; "
                "remove the document, or split it"
            )
    return {
        "id": str(row.id),
        "doc": row.doc,
        "page": row.page,
        "text": row.text,
        "metadata": metadata,
        "tokens": [{"vector": vector} for vector in halves(row.vectors["tokens"])],
    }


def _field(name: str, kind: int, parameters: dict[str, int] | None = None) -> dict[str, Any]:
    return {"name": name, "description": "", "type": kind, **({"params": parameters} if parameters else {})}
