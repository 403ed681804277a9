"""A collection in the place of an index, for a Retriever: its pages, and words of refusal for all that writes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import NoReturn

from visret.errors import InvalidArgument
from visret.index import IndexModel
from visret.index.page_index import IndexStats
from visret.reduction import Storage
from visret.stores import _points
from visret.stores._engine import Engine, absent
from visret.stores._pages import Pages
from visret.stores._scorers import scorers


class StoredIndex:
    """A collection in the place of an index, for a Retriever; it is only read.

    address: where it is. path: the same, as errors have it. snapshot: its pages.
    """

    def __init__(self, engine: Engine) -> None:
        self.address = engine.name
        self.path = Path(engine.name)
        self._engine = engine
        self.snapshot = self._read()

    @property
    def model(self) -> IndexModel:
        """The model of its vectors."""
        return self.snapshot.model

    @property
    def storage(self) -> Storage:
        """The way the index stored the vectors."""
        return self.snapshot.storage

    def refresh(self) -> bool:
        """Forget what was read, and return whether the manifest differs."""
        before = self.snapshot.manifest
        self.snapshot = self._read()
        return self.snapshot.manifest != before

    def writing(self) -> NoReturn:
        """Refuse to write."""
        raise InvalidArgument(
            f"{self.address} is only searched; change the index that it was made from, and run visret export again"
        )

    def compact(self, **_: object) -> NoReturn:
        """Refuse to write."""
        self.writing()

    def reindexing(self, *_: object) -> NoReturn:
        """Refuse to write."""
        self.writing()

    go_back = writing

    def stats(self) -> IndexStats:
        """Count what is there; its bytes are for the engine to say."""
        documents, pages = list(self.snapshot.documents()), self.snapshot
        states = Counter(document.state for document in documents)
        return IndexStats(
            len(documents), len(pages), pages.manifest["vectors"], 0, states, 1, 0, 0, 0, _points.FORMAT, ()
        )

    def close(self) -> None:
        """Let go of the engine."""
        self._engine.close()

    def _read(self) -> Pages:
        if not self._engine.exists():
            raise absent(self._engine.name)
        manifest = self._engine.retrieve([_points.MANIFEST]).get(_points.MANIFEST)
        if manifest is None:
            raise absent(self._engine.name)
        return Pages(self._engine, manifest, scorers(manifest))
