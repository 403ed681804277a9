"""Warnings about texts in a language that is none of a model's."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from visret.documents import languages
from visret.types import ModelSpec, Page

NAMES = {"en": "English", "de": "German", "fr": "French", "es": "Spanish", "it": "Italian", "pt": "Portuguese"}
MAX_NAMED = 3  # documents in a warning

_LATIN_SCRIPT = frozenset(NAMES)
_LATIN = ((0x41, 0x24F), (0x1E00, 0x1EFF), (0x2C60, 0x2C7F), (0xA720, 0xA7FF), (0xFB00, 0xFB06), (0xFF21, 0xFF5A))

_log = logging.getLogger("visret")


def foreign_share(text: str) -> float:
    """Return the share of a text's letters that are not Latin, 0 to 1; 0 for a text without letters."""
    letters = Counter(filter(str.isalpha, text))
    foreign = sum(n for x, n in letters.items() if not any(first <= ord(x) <= last for first, last in _LATIN))
    return foreign / letters.total() if letters else 0.0


def _is_in_another(spec: ModelSpec, text: str) -> bool:
    """Return whether a text is mostly in another script or, where it is long enough to tell, in another language."""
    if foreign_share(text) > 0.5:
        return True
    language = languages.other_than_english(text)
    return language is not None and language not in {NAMES[code] for code in spec.languages}


def _judges(spec: ModelSpec) -> bool:
    """Return whether all languages of a model are known and written in Latin script."""
    return bool(spec.languages) and _LATIN_SCRIPT.issuperset(spec.languages)


def _warn(spec: ModelSpec, foreign: int, of: str, where: str = "") -> None:
    _log.warning(
        "%s was trained on %s; %d of %s are mostly in another language and can hardly be matched by meaning%s; "
        "the model multilingual reads them",
        spec.name, " and ".join(NAMES.get(code, code) for code in spec.languages), foreign, of, where,
    )  # fmt: skip


def warn_of_questions(spec: ModelSpec, texts: Sequence[str]) -> None:
    """Log a warning if any of the questions is mostly in another language.

    Only models of English and other languages in Latin script are judged, and short questions by their script alone.
    """
    if _judges(spec) and (foreign := sum(_is_in_another(spec, text) for text in texts)):
        _warn(spec, foreign, f"{len(texts)} questions")


def warn_of_pages(spec: ModelSpec, pages: Sequence[Page]) -> None:
    """Log the same about encoded pages, naming their documents; inside of `said_once`, once at its end."""
    if not _judges(spec):
        return
    pages_together = _together.get()
    if pages_together is None:
        with said_once():
            warn_of_pages(spec, pages)
        return
    pages_together.add(spec, pages)


class Together:
    """The warning about the pages of many batches. It can be sent to another process."""

    def __init__(self) -> None:
        self.spec: ModelSpec | None = None
        self.count = 0
        self.foreign: Counter[str] = Counter()  # pages by document

    def add(self, spec: ModelSpec, pages: Sequence[Page]) -> None:
        """Take in pages that were encoded."""
        self.spec = spec
        self.count += len(pages)
        self.foreign.update(page.ref.doc for page in pages if _is_in_another(spec, page.text))

    def join(self, other: Together) -> None:
        """Take in what another one is about."""
        self.spec = other.spec or self.spec
        self.count += other.count
        self.foreign += other.foreign

    def say(self) -> None:
        """Log the warning, if there is anything to warn of."""
        if self.spec is None or not self.foreign:
            return
        named = ", ".join(list(self.foreign)[:MAX_NAMED])
        if (more := len(self.foreign) - MAX_NAMED) > 0:
            named += f" and {more} more {'document' if more == 1 else 'documents'}"
        _warn(self.spec, self.foreign.total(), f"{self.count} pages", f": {named}")


_together: ContextVar[Together | None] = ContextVar("_together", default=None)


@contextmanager
def said_once() -> Iterator[None]:
    """Hold back warnings about pages inside the block; a single one at its end is about all of them."""
    with held_back() as found:
        try:
            yield
        finally:
            found.say()


@contextmanager
def held_back() -> Iterator[Together]:
    """Hold back warnings about pages inside the block, and yield what they are about, for `join_others`."""
    found = Together()
    before = _together.set(found)
    try:
        yield found
    finally:
        _together.reset(before)


def join_others(found: Together) -> None:
    """Let the warning of the surrounding `said_once` be about these pages too, which another process encoded."""
    pages_together = _together.get()
    assert pages_together is not None
    pages_together.join(found)
