"""Jupyter notebooks as text: their cells and the output of these, in order."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from visret.documents import office
from visret.documents.document import Document
from visret.documents.encodings import decode
from visret.documents.text import PlainText
from visret.errors import DocumentError
from visret.types import Loss

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_TEXTS = ("text/plain", "text/markdown", "text/html", "text/latex", "application/json")  # the first one present


def opened(path: Path, _: str | None) -> Document:
    """Return the text of a notebook, in pages like those of plain text. Its pictures are counted as lost."""
    reading = _CellText()
    text = "\n\n".join(filter(None, (part.strip("\n") for part in reading.parts(_cells(path)))))
    notebook = PlainText(path, text + "\n")
    if reading.pictures:
        what = "one picture" if reading.pictures == 1 else f"{reading.pictures:,} pictures"
        notebook.lost.append(Loss(f"{what} in its cells", "export the notebook as HTML or PDF and add that"))
    return notebook


def _cells(path: Path) -> list[Any]:
    try:
        stored = json.loads(decode(path.read_bytes()).text)
    except (ValueError, RecursionError) as error:
        raise DocumentError(path, f"is not a notebook, or a damaged one ({error}); save it again in Jupyter") from error
    if isinstance(stored, dict) and isinstance(cells := stored.get("cells"), list):
        return cells
    if isinstance(stored, dict) and isinstance(sheets := stored.get("worksheets"), list):  # until 2015
        listed = (sheet.get("cells") for sheet in sheets if isinstance(sheet, dict))
        return [cell for cells in listed if isinstance(cells, list) for cell in cells]
    raise DocumentError(path, "is not a notebook: it has no cells; save it again in Jupyter")


class _CellText:
    """The text of cells, and a count of the pictures in them."""

    def __init__(self) -> None:
        self.pictures = 0

    def parts(self, cells: list[Any]) -> Iterator[str]:
        for cell in cells:
            if isinstance(cell, dict):
                yield _joined(cell.get("source", cell.get("input")))
                for held in _dicts(_values(cell.get("attachments"))):
                    self.pictures += any(kind.startswith("image/") for kind in held)
                for output in _dicts(cell.get("outputs")):
                    yield self.of_output(output)

    def of_output(self, output: dict[str, Any]) -> str:
        data = output.get("data", output)  # before 2015 there was no "data"
        data = data if isinstance(data, dict) else {}
        self.pictures += any(kind.startswith("image/") or kind in ("png", "jpeg", "svg") for kind in data)
        if "evalue" in output:
            trace = output.get("traceback")
            lines = trace if isinstance(trace, list) and trace else [f"{output.get('ename')}: {output['evalue']}"]
            return _COLOURS.sub("", "\n".join(map(str, lines)))
        found = next((kind for kind in (*_TEXTS, "text") if kind in data), None)
        if found is None:
            return ""
        text = _joined(data[found])
        return office.text_of_html(text.encode("utf-8", "replace")) if found == "text/html" else _COLOURS.sub("", text)


def _joined(lines: Any) -> str:
    if isinstance(lines, list):
        return "".join(str(line) for line in lines)
    return lines if isinstance(lines, str) else "" if lines is None else json.dumps(lines)


def _values(given: Any) -> list[Any]:
    return list(given.values()) if isinstance(given, dict) else []


def _dicts(given: Any) -> list[dict[str, Any]]:
    return [one for one in given if isinstance(one, dict)] if isinstance(given, list) else []
