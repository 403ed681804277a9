"""Stores hold the pages of an index in an engine that others run, and search them there.

    qdrant://HOST:PORT/COLLECTION     a Qdrant server; qdrant+https:// for one behind TLS
    qdrant+edge:///FOLDER             the same engine inside this process (qdrant-edge-py)

`visret export INDEX URL` writes, and `Retriever.open(URL)` searches. An index stays the place where documents are read;
a store is written from it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from visret.errors import InvalidArgument

if TYPE_CHECKING:
    from visret.stores.qdrant import Exported, QdrantIndex

SCHEMES = ("qdrant", "qdrant+https", "qdrant+edge")


def is_url(path: str | Path) -> bool:
    """Return whether this names a store, and not the folder of an index."""
    return "://" in str(path)


def opened(url: str) -> QdrantIndex:
    """Open a store to search it, as `Retriever.open` does. Raises InvalidArgument for an address of no known store."""
    _check(url)
    from visret.stores import qdrant

    return qdrant.open_(url)


def export(
    index: str | Path, url: str, *, keep: bool = False, progress: Callable[[int, int], None] | None = None
) -> Exported:
    """Write the pages of an index into a store, and delete those there that the index does not have.

    keep: delete nothing, so that several indexes that were made in the same way can share a store. progress: called
    with the number of pages that are done, and of all.

    Pages that are there with the same content are skipped, so that an export that was stopped goes on.

    Raises InvalidArgument, and writes nothing, for an address of no known store, and for an index that the store cannot
    hold; PageIndexError if the store holds pages that were made in another way; MissingExtra without its packages.
    """
    _check(url)
    from visret.index import PageIndex
    from visret.stores import qdrant

    opened = PageIndex.open(index)
    try:
        return qdrant.export(opened, url, keep=keep, progress=progress)
    finally:
        opened.close()


def _check(url: str) -> None:
    if url.partition("://")[0] not in SCHEMES:
        raise InvalidArgument(f"stores begin with {', '.join(f'{one}://' for one in SCHEMES)}, got {url!r}")
