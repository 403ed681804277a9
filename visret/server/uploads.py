"""Files that clients bring: under safe names, in a folder of the index, whose documents they are."""

from __future__ import annotations

import filecmp
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from visret import pdf
from visret.errors import InvalidQuery
from visret.index.layout import UPLOADS
from visret.ingest import Report
from visret.retriever import Retriever

PAGE_SECONDS = 20.0  # for a page to be read
LONGEST_NAME = 120  # characters; file systems take 255 bytes


def safe_name(given: str) -> str:
    """The last part of a name that a client gave, without what means something to a file system.

    InvalidQuery where nothing is left of it, or files of its kind are not read.
    """
    last = re.split(r"[/\\]", given)[-1]
    name = "".join("_" if sign in '<>:"|?*' else sign for sign in last if sign.isprintable()).strip(" .")
    path = Path(name)
    if path.suffix.lower() not in pdf.SUFFIXES:
        raise InvalidQuery(f"{last!r} is not taken; files ending in {' '.join(pdf.SUFFIXES)} are")
    return path.stem[: LONGEST_NAME - len(path.suffix)].rstrip(" .") + path.suffix


def keep(paths: Sequence[str | Path], folder: Path) -> list[Path]:
    """Move files into the folder, each under its own name; where another file has it, with a number behind."""
    kept = []
    for path in map(Path, paths):
        target, number = folder / path.name, 1
        while target.exists() and not filecmp.cmp(path, target, shallow=False):
            number += 1
            target = target.with_name(f"{path.stem} ({number}){path.suffix}")
        kept.append(Path(shutil.move(path, target)))
    return kept


def add(
    retriever: Retriever,
    folder: Path,
    files: Sequence[tuple[str, IO[bytes]]],
    *,
    metadata: dict[str, Any] | None = None,
    most_pages: int | None = None,
) -> Report:
    """Bring files, by name, into the index of a folder; what cannot be read is not kept.

    InvalidQuery, and nothing is kept, for a name that is not taken. One call at a time.
    """
    names = [safe_name(name) for name, _ in files]
    uploads = folder / UPLOADS
    uploads.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=uploads, prefix=".") as incoming:
        received = [Path(incoming, str(number), name) for number, name in enumerate(names)]
        for path, (_, file) in zip(received, files, strict=True):
            path.parent.mkdir()
            with path.open("wb") as copy:
                shutil.copyfileobj(file, copy)
        kept = keep(received, uploads.resolve())
    try:
        return retriever.add(kept, metadata=metadata, most_pages=most_pages, page_seconds=PAGE_SECONDS)
    finally:
        sources = {document.source: document for document in map(retriever.document, retriever.documents())}
        for path in set(kept):
            document = sources.get(str(path))
            if document is None or document.state == "failed":
                path.unlink()
                if document is not None:
                    retriever.remove(document.doc)


def remove(retriever: Retriever, folder: Path, doc: str) -> None:
    """Take a document out of the index of a folder, and its file where it was uploaded. InvalidQuery where none is."""
    source = retriever.document(doc).source
    retriever.remove(doc)
    if source is not None and Path(source).parent == (folder / UPLOADS).resolve():
        Path(source).unlink(missing_ok=True)


def parse_metadata(text: str) -> dict[str, Any]:
    """A JSON object, {} for nothing. InvalidQuery for anything else."""
    try:
        metadata = json.loads(text or "{}")
    except (ValueError, RecursionError) as error:
        raise InvalidQuery(f"metadata is not JSON ({error})") from None
    if not isinstance(metadata, dict):
        raise InvalidQuery('metadata is a JSON object such as {"year": 2024}')
    return metadata
