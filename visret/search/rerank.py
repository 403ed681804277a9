"""The second look at a ranking: a reranker reads the question together with each of the first pages.

The pages come from the index: their text as it was stored, and their picture drawn again from the file for a model that
looks at pages. They are read and scored batch by batch, best first, so that a time limit costs the last ones only.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from visret import arguments, forks
from visret.choices import DEPTH, RERANK
from visret.errors import DocumentError, InvalidArgument
from visret.index import Snapshot
from visret.rerankers import load_reranker
from visret.search.ranking import relevance
from visret.types import Hit, Page, PageRef, Question, Ranking, Reranker

UNSCORED = -math.inf
"""The score of a page that was not scored: beyond the depth, out of time, unreadable, or without a finite score."""

_NAMED = 3  # pages that a warning names
_FIRST = 2  # pages of the first batch under a time limit; what it takes decides the size of the next one

Reader = Callable[[PageRef, bool], tuple[Page, DocumentError | None]]
"""Returns a page of the index, with its picture if that is wanted and can be drawn; the error says why it cannot be."""


@dataclass
class _Notes:
    """The pages that warnings name. unread: those without a score. unseen: those read as text, without a picture."""

    unread: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)


class Reranked(NamedTuple):
    """A ranking after the second look. warnings: sentences about pages that were not scored, or not seen."""

    ranking: Ranking
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Reranking:
    """The settings of a second look.

    depth: the number of pages that are read again. seconds: the time after which no further page is begun; None has no
    limit. The first pages are always scored.
    """

    reranker: Reranker
    depth: int = DEPTH
    seconds: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "depth", arguments.whole("depth", self.depth))
        if self.seconds is not None and not (isinstance(self.seconds, int | float) and self.seconds > 0):
            raise InvalidArgument(f"seconds must be a number above 0, or None for no limit, got {self.seconds!r}")

    def again(self, question: str, found: Ranking, snapshot: Snapshot, read: Reader) -> Reranked:
        """Rank the first pages of a ranking by what the reranker says of them.

        Scored pages come first; all others follow in their order, with the score UNSCORED.
        """
        start = time.monotonic()
        count = min(self.depth, len(found.keys))
        scores = np.full(len(found.keys), UNSCORED, np.float32)
        notes = _Notes()
        done = 0
        while done < count and (some := self._next(done, start)):
            rows = range(done, min(done + some, count))
            refs = [snapshot.ref(*snapshot.locate(int(found.keys[row]))) for row in rows]
            self._score(question, rows, refs, read, into=scores, notes=notes)
            done = rows.stop
        order = np.argsort(-scores, kind="stable")
        parts = {**found.parts, RERANK: np.where(scores == UNSCORED, np.nan, scores)}
        ranking = Ranking(found.keys[order], scores[order], {name: part[order] for name, part in parts.items()})
        return Reranked(ranking, tuple(self._warnings(notes, count, left=count - done)))

    def judged(self, hit: Hit) -> Hit:
        """Return a hit with what its score says of how well it answers.

        For models whose scores say nothing of that, and for a page without a score, the hit is returned as it is.
        """
        line = self.reranker.spec.options.get("weak_below")
        if line is None or hit.score == UNSCORED:
            return hit
        is_share = 0 < line < 1  # then the scores are from 0 to 1; others are logits
        known = relevance(hit.score, line) if is_share else float(1 / (1 + np.exp(line - hit.score)))
        return replace(hit, weak=hit.score < line, relevance=known)

    def _next(self, done: int, start: float) -> int:
        """Return the number of pages that are read next; 0 when the time is up. start: when the first one was begun."""
        if self.seconds is None:
            return self.reranker.batch
        if not done:
            return min(_FIRST, self.reranker.batch)
        taken = time.monotonic() - start
        if taken > self.seconds:
            return 0
        fitting = int((self.seconds - taken) * done / taken) if taken else self.reranker.batch
        return max(1, min(fitting, self.reranker.batch))

    def _score(
        self,
        question: str,
        rows: Sequence[int],
        refs: Sequence[PageRef],
        read: Reader,
        *,
        into: np.ndarray,
        notes: _Notes,
    ) -> None:
        """Write the scores of some pages, and note those that the model cannot read or see, with the reason."""
        pages: dict[int, Page] = {}
        for row, ref in zip(rows, refs, strict=True):
            page, error = read(ref, self.reranker.spec.modality == "image")
            reason = "it finds nothing to read" if error is None else error.reason
            if not self.reranker.can_read(page):
                notes.unread.append(f"{ref.doc}, page {ref.page} ({reason})")
                continue
            pages[row] = page
            if error is not None:
                notes.unseen.append(f"{ref.doc}, page {ref.page} ({reason})")
        if not pages:
            return
        made = np.asarray(self.reranker.scores(question, list(pages.values())), np.float32)
        if made.shape != (len(pages),):
            raise InvalidArgument(
                f"{self.reranker.spec.name} must return a score for each of {len(pages)} pages, got {made.shape}"
            )
        for row, score in zip(pages, made, strict=True):
            if np.isfinite(score):
                into[row] = score
            else:
                notes.unread.append(f"{pages[row].ref.doc}, page {pages[row].ref.page} (its score is {score})")

    def _warnings(self, notes: _Notes, count: int, *, left: int) -> Iterator[str]:
        name = self.reranker.spec.name
        for pages, what in (
            (notes.unread, "could not score {} of {} pages, which stand behind the others"),
            (notes.unseen, "read the text of {} of {} pages, whose pictures cannot be drawn"),
        ):
            if pages:
                shown = "; ".join(pages[:_NAMED]) + ("; ..." if len(pages) > _NAMED else "")
                yield f"{name} {what.format(len(pages), count)}: {shown}"
        if left:
            yield (
                f"{name} had no time for {left} of {count} pages, which stand behind the others in their order; "
                "give it more seconds, or a smaller depth"
            )


def asked(rerank: str | Reranker | None, depth: int, seconds: float | None, known: Rerankers) -> Reranking | None:
    """Return what a search asks for with these arguments; None without a reranker.

    Raises InvalidArgument for a depth or a time limit that nothing would heed.
    """
    check_limits(rerank, depth, seconds)
    return None if rerank is None else Reranking(known.of(rerank), depth, seconds)


def check_limits(rerank: str | Reranker | None, depth: int, seconds: float | None) -> None:
    """Raise InvalidArgument for a depth or a time limit without a reranker, which nothing would heed."""
    if rerank is None and (seconds is not None or depth != DEPTH):
        raise InvalidArgument("depth and seconds limit the reranking of pages; give a reranker with rerank=...")


def reranked(
    reranking: Reranking, found: Iterable[tuple[Question, Ranking]], snapshot: Snapshot, read: Reader
) -> Iterator[tuple[Question, Ranking]]:
    """Yield each question with its ranking by the reranker; what could not be scored is among the warnings."""
    for question, ranking in found:
        made = reranking.again(question.text, ranking, snapshot, read)
        yield replace(question, warnings=(*question.warnings, *made.warnings)), made.ranking


class Rerankers:
    """The rerankers that were asked for by name; each is loaded once.

    offered: the only names that can be asked for, with what `load_reranker` takes for each, for a server whose visitors
    must not choose what it loads. None is no such limit.
    """

    def __init__(self, offered: Mapping[str, str] | None = None) -> None:
        self._offered = offered
        self._loading = forks.Lock()
        self._loaded: dict[str, Reranker] = {}

    def of(self, asked: str | Reranker) -> Reranker:
        """Return the reranker of this name, or the given one.

        Raises InvalidArgument for anything else, and for what is not offered.
        """
        self.check(asked)
        if not isinstance(asked, str):
            if not callable(getattr(asked, "scores", None)):
                raise InvalidArgument(f"rerank takes the name of a reranker, or one that is loaded, got {asked!r}")
            return asked
        with self._loading:
            if asked not in self._loaded:
                self._loaded[asked] = load_reranker((self._offered or {}).get(asked, asked))
            return self._loaded[asked]

    @property
    def names(self) -> list[str]:
        """The names of the rerankers that are offered; none if there is no limit."""
        return list(self._offered or ())

    def check(self, asked: str | Reranker | None) -> None:
        """Raise InvalidArgument for a reranker that is not offered."""
        if asked is not None and self._offered is not None and asked not in self._offered:
            there = f"it offers {' and '.join(self._offered)}" if self._offered else "it was started without one"
            raise InvalidArgument(f"this server does not offer the reranker {str(asked)[:80]!r}; {there}")

    def load(self) -> None:
        """Load the rerankers that are offered, so that nobody waits for it later."""
        for name in self.names:
            self.of(name)

    def close(self) -> None:
        """Let go of all rerankers."""
        self._loaded.clear()
