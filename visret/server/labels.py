"""The labels of pages as they are printed, such as "iv" or "25", which PDFs name beside the numbers of their pages."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict

from visret import documents
from visret.errors import VisretError
from visret.retriever import Retriever
from visret.types import PageRef

KEPT = 1000  # documents whose labels are remembered

_log = logging.getLogger(__name__)


class Labels:
    """The labels of an index, read from its files when they are first asked for."""

    def __init__(self, retriever: Retriever) -> None:
        self._retriever = retriever
        self._known: OrderedDict[tuple[str, str | None], list[str]] = OrderedDict()
        self._guard = threading.Lock()

    def of(self, ref: PageRef) -> str | None:
        """Return the label of a page; None if it is the number of the page, or unknown."""
        try:
            key = ref.doc, self._retriever.document(ref.doc).hash
        except VisretError:  # the document was removed after it was found
            return None
        with self._guard:
            if key not in self._known:
                self._known[key] = self._read(ref.doc)
                if len(self._known) > KEPT:
                    self._known.popitem(last=False)
            labels = self._known[key]
        label = labels[ref.page - 1] if ref.page <= len(labels) else ""
        return label if label.strip() and label != str(ref.page) else None

    def _read(self, doc: str) -> list[str]:
        """Return the labels of a document; [] if its file cannot be opened, for then it has no picture either."""
        try:
            path = self._retriever.original(doc)
            if path is None or path.suffix.lower() != ".pdf":
                return []
            with documents.open_document(path) as opened:
                return opened.labels()
        except VisretError as error:
            _log.info("%s: the labels of its pages are not known: %s", doc, error)
            return []
