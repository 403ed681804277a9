"""Vespa: an application package as pyvespa makes it, and documents to feed.

The vectors of a page are a mixed tensor of bfloat16, in the hexadecimal form of Vespa's JSON. The rank profile "exact"
is MaxSim of all vectors; "late" ranks by the summaries of pages first, and the best of each node by all vectors. Both
take query(question), a tensor of the vectors of the question. "bm25" is Vespa's, with words as Vespa makes them.
"""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np

from visret.stores._engine import SUMMARY, TOKENS
from visret.stores._files import Row, Shape

FIELDS = True
FIRST = 320  # pages of each node that are ranked by all vectors

_TYPES = {
    "text": "string",
    "number": "double",
    "bool": "bool",
    "text[]": "array<string>",
    "number[]": "array<double>",
}

_SERVICES = """\
<?xml version="1.0" encoding="UTF-8"?>
<services version="1.0">
    <container id="visret_container" version="1.0">
        <search></search>
        <document-api></document-api>
        <document-processing></document-processing>
    </container>
    <content id="visret_content" version="1.0">
        <redundancy>1</redundancy>
        <documents>
            <document type="pages" mode="index"></document>
        </documents>
        <nodes>
            <node distribution-key="0" hostalias="node1"></node>
        </nodes>
    </content>
</services>"""

# What a string of Vespa cannot hold; it has a space there, as Vespa's own clients put one.
_ILLEGAL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufdd0-\ufddf\ufffe\uffff]")


def check(shape: Shape) -> None:
    """Do nothing: Vespa holds every page."""


def files(shape: Shape) -> dict[str, str]:
    """Return the application package."""
    return {"schemas/pages.sd": _schema(shape), "services.xml": _SERVICES}


def document(row: Row) -> dict[str, Any]:
    """Return the operation that puts a page."""
    fields = {
        "doc": row.doc,
        "page": row.page,
        "text": row.text,
        **({"source": row.source} if row.source is not None else {}),
        "metadata": json.dumps(row.metadata),
        **row.fields,
    }
    tensors = {
        name: {str(at): _hex(vector) for at, vector in enumerate(row.vectors[kind])}
        for name, kind in (("tokens", TOKENS), ("summaries", SUMMARY))
    }
    return {"put": f"id:visret:pages::{row.id}", "fields": {**{k: _legal(v) for k, v in fields.items()}, **tensors}}


def _hex(vector: np.ndarray) -> str:
    """Return a vector as bfloat16, rounded to even, in hexadecimal digits, the high ones first."""
    bits = np.ascontiguousarray(vector, np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(">u2").tobytes().hex()


def _legal(value: Any) -> Any:
    if isinstance(value, list):
        return [_legal(one) for one in value]
    return _ILLEGAL.sub(" ", value) if isinstance(value, str) else value


def _schema(shape: Shape) -> str:
    tensor = f"tensor<bfloat16>(token{{}}, x[{shape.dim}])"
    fields = [
        _filtered("doc", "string"),
        _filtered("page", "int"),
        _field("text", "string", "index | summary", "index: enable-bm25"),
        _filtered("source", "string"),
        _field("metadata", "string", "summary"),
        *(_filtered(f"meta_{key}", _TYPES[kind]) for key, kind in shape.fields.items()),
        _field("tokens", tensor, "attribute", "attribute {\n    paged\n}"),
        _field("summaries", tensor, "attribute"),
    ]
    inputs = f"inputs {{\n    query(question) tensor<float>(word{{}}, x[{shape.dim}])\n}}"
    exact, summary = (f"expression {{\n    {_max_sim(name)}\n}}" for name in ("tokens", "summaries"))
    profiles = [
        _block("rank-profile exact", inputs, _block("first-phase", exact)),
        _block(
            "rank-profile late",
            inputs,
            _block("first-phase", summary),
            _block("second-phase", exact, f"rerank-count: {FIRST}"),
        ),
        _block("rank-profile bm25", _block("first-phase", "expression {\n    bm25(text)\n}")),
    ]
    fieldset = _block("fieldset default", "fields: text")
    return _block("schema pages", _block("document pages", *fields), fieldset, *profiles)


def _max_sim(name: str) -> str:
    product = f"query(question) * cell_cast(attribute({name}), float)"
    return f"sum(reduce(sum({product}, x), max, token), word)"


def _filtered(name: str, kind: str) -> str:
    """Return a field to filter by, as a whole."""
    match = ["match {\n    word\n}"] if "string" in kind else []
    fast = ["attribute {\n    fast-search\n}"] if kind != "bool" else []
    return _field(name, kind, "attribute | summary", *fast, *match)


def _field(name: str, kind: str, indexing: str, *parts: str) -> str:
    return _block(f"field {name} type {kind}", f"indexing: {indexing}", *parts)


def _block(head: str, *parts: str) -> str:
    lines = [f"    {line}" for part in parts for line in part.splitlines()]
    return "\n".join([f"{head} {{", *lines, "}"])
