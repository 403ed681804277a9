"""Pages on disk: a catalogue of what is there, and immutable memory-mapped segments of vectors."""

from visret.index.catalogue import Document, IndexModel
from visret.index.page_index import IndexStats, PageIndex, page_bytes
from visret.index.segment import Segment
from visret.index.snapshot import Snapshot
from visret.index.writer import Writer

__all__ = ["Document", "IndexModel", "IndexStats", "PageIndex", "Segment", "Snapshot", "Writer", "page_bytes"]
