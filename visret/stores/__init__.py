"""Stores hold what an index has where others run the machines: its pages in an engine, or an image of all of it.

    qdrant://HOST:PORT/COLLECTION     a Qdrant server; qdrant+https:// for one behind TLS
    qdrant+edge:///FOLDER             the same engine inside this process (qdrant-edge-py)
    lancedb:///FOLDER                 a table of LanceDB in a folder
    lancedb+s3://BUCKET/FOLDER        the same on object storage
    s3://BUCKET/NAME                  an image on object storage (also gs:// and az://)
    file:///FOLDER                    the same in a folder

`visret export INDEX URL` writes pages, `visret publish INDEX URL` an image, and `Retriever.open(URL)` searches either:
an engine ranks pages itself; an image is fetched and searched here. An index stays the place where documents are read;
a store is written from it. The module of an engine defines `at(url)`, which returns its Engine (`_engine`); everything
else is the same for all engines.

`visret export INDEX FOLDER --to vespa` writes files that an engine loads by itself: its schema, and the pages.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from visret.errors import InvalidArgument
from visret.folders import expanded
from visret.stores import objects

if TYPE_CHECKING:
    from visret.stores._engine import Engine
    from visret.stores._export import Exported
    from visret.stores._files import Written
    from visret.stores._index import StoredIndex
    from visret.stores.images import Image, Published


class Store(NamedTuple):
    """A kind of address of an engine.

    module: the file beside this one. extra: that with its packages. form: what it looks like. port: that of a server to
    which Python connects, where the address names none; None if no Python connects.
    """

    module: str
    extra: str
    form: str
    port: int | None = None


PORT = 6333  # of a Qdrant server


STORES = {
    "qdrant": Store("qdrant", "qdrant", "qdrant://HOST:PORT/COLLECTION", PORT),
    "qdrant+https": Store("qdrant", "qdrant", "qdrant+https://HOST:PORT/COLLECTION", PORT),
    "qdrant+edge": Store("qdrant", "qdrant", "qdrant+edge:///FOLDER"),
    "lancedb": Store("lancedb", "lancedb", "lancedb:///FOLDER"),
    "lancedb+s3": Store("lancedb", "lancedb", "lancedb+s3://BUCKET/FOLDER"),
}
"""The engines, by the scheme of their addresses."""

IMAGES = objects.SCHEMES
"""The schemes of images."""

FORMS = ("vespa", "weaviate", "milvus")
"""The engines that files can be written for, by the names of their modules."""


def is_url(path: str | Path) -> bool:
    """Return whether this names a store, and not the folder of an index."""
    return "://" in str(path)


def opened(url: str) -> StoredIndex | Image:
    """Open a store to search it, as `Retriever.open` does.

    Raises InvalidArgument for an address of no known store; PageIndexError if no pages are there, or visret did not
    write them; MissingExtra without its packages.
    """
    if _scheme(url) in IMAGES:
        from visret.stores.images import Image

        return Image(url)
    engine = _at(url, *IMAGES)
    from visret.stores._index import StoredIndex

    try:
        return StoredIndex(engine)
    except BaseException:
        engine.close()
        raise


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
    engine = _at(url)
    from visret.index import PageIndex
    from visret.stores import _export

    try:
        opened = PageIndex.open(index)
        try:
            return _export.export(opened, engine, keep=keep, progress=progress)
        finally:
            opened.close()
    finally:
        engine.close()


def write(
    index: str | Path, folder: str | Path, to: str, *, progress: Callable[[int, int], None] | None = None
) -> Written:
    """Write the files that an engine loads by itself into a new or empty folder: its schema, and the pages.

    to: "vespa", "weaviate" or "milvus". progress: called with the number of pages that are done, and of all.

    What stops it leaves no folder of this name; the next call begins again.

    Raises InvalidArgument, and writes nothing, for another engine, a folder that holds anything, and an index that the
    engine cannot hold; PageIndexError if the files cannot be written.
    """
    if to not in FORMS:
        raise InvalidArgument(f"files can be written for {', '.join(FORMS)}, not for {to!r}")
    if is_url(folder):
        raise InvalidArgument(f"files are written into a folder, and {folder} is the address of a store")
    from visret.index import PageIndex
    from visret.stores import _files

    opened = PageIndex.open(index)
    try:
        return _files.write(opened, expanded(folder), to, progress)
    finally:
        opened.close()


def publish(index: str | Path, url: str, *, progress: Callable[[int, int], None] | None = None) -> Published:
    """Publish the latest committed state of an index as an image; see `visret.stores.images.publish`.

    Raises InvalidArgument for an address of no known object storage, and MissingExtra without its package.
    """
    if _scheme(url) not in IMAGES:
        raise _unknown(url, *IMAGES)
    from visret.stores import images

    return images.publish(index, url, progress=progress)


def addresses(url: str | Path) -> list[tuple[str, int]]:
    """Return the host and port of each machine that Python connects to when a store or an index is searched.

    Images are fetched by obstore and tables read by LanceDB, which connect by themselves.
    """
    store = STORES.get(_scheme(str(url)))
    if store is None or store.port is None:
        return []
    parts = urlsplit(str(url))
    return [] if parts.hostname is None else [(parts.hostname, parts.port or store.port)]


def _scheme(url: str) -> str:
    return url.partition("://")[0] if is_url(url) else ""


def _at(url: str, *others: str) -> Engine:
    """Return the engine of an address; nothing is asked of it yet. others: schemes that the caller takes beside."""
    store = STORES.get(_scheme(url))
    if store is None:
        raise _unknown(url, *STORES, *others)
    engine: Engine = import_module(f"visret.stores.{store.module}").at(url)
    return engine


def _unknown(url: str, *schemes: str) -> InvalidArgument:
    return InvalidArgument(f"an address here begins with {', '.join(f'{one}://' for one in schemes)}, got {url!r}")
