"""The reference of the HTTP API: the schema with its keys, and a page at /docs that is made of it, without scripts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse

from visret.server.guard import PROBES

BEARER = {"type": "http", "scheme": "bearer", "description": "The key, if the server asks for one"}
STYLE = """:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code { font: .9rem ui-monospace, monospace } h2 { margin-top: 2rem; overflow-wrap: anywhere }
td, th { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0 }"""


def add(app: FastAPI) -> None:
    """Let the schema say that routes take a key, and add the page."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = made()
            schema.setdefault("components", {})["securitySchemes"] = {"key": BEARER}
            schema["security"] = [{"key": []}, {}]
            for path in PROBES:
                for operation in schema["paths"].get(path, {}).values():
                    operation["security"] = [{}, {"key": []}]
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        """Show every route."""
        return HTMLResponse("\n".join(_page(openapi())))


def _page(schema: Mapping[str, Any]) -> Iterator[str]:
    yield f'<!doctype html><html lang="en"><meta charset="utf-8"><title>visret: HTTP API</title><style>{STYLE}</style>'
    yield '<meta name="viewport" content="width=device-width"><h1>HTTP API</h1>'
    yield '<p><a href="openapi.json">openapi.json</a> has all of it for programs. A key is sent as '
    yield "<code>Authorization: Bearer KEY</code>.</p>"
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            yield f"<h2><code>{method.upper()} {escape(path)}</code></h2>"
            yield from (f"<p>{escape(part)}</p>" for part in operation.get("description", "").split("\n\n"))
            yield from _table("takes", taken(schema, operation))
            answers = operation["responses"].items()
            yield from _table("answers", [(status, one.get("description", "")) for status, one in answers])


def _table(head: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield f"<table><tr><th scope=col>{head}</th><td></td></tr>"
        yield from (f"<tr><td><code>{escape(name)}</code></td><td>{escape(about)}</td></tr>" for name, about in rows)
        yield "</table>"


def taken(schema: Mapping[str, Any], operation: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what an operation takes, with its kind: its parameters, and the parts of its body."""
    rows = [(one["name"], _kind(one["schema"])) for one in operation.get("parameters", [])]
    for body in operation.get("requestBody", {}).get("content", {}).values():
        name = body["schema"].get("$ref", "").rpartition("/")[2]
        parts = schema["components"]["schemas"].get(name, {}).get("properties", {})
        rows += [(part, _kind(one)) for part, one in parts.items()]
    return rows


def _kind(one: Mapping[str, Any]) -> str:
    """Say what a value is, in the words of JSON Schema."""
    kinds = [str(kind.get("type") or kind.get("const") or "object") for kind in one.get("anyOf", [one])]
    default = f", {one['default']} if it is left out" if "default" in one else ""
    return " or ".join(kinds) + default
