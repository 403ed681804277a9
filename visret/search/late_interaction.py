"""The Scorer "late": MaxSim of a question with the stored vectors of every page, minus a correction for page length.

The more vectors a page has, the more of them are similar to a word by chance, so a sum of maxima prefers full pages to
bills, drawings and charts. So LENGTH times the logarithm of the number of a page's vectors is subtracted for each
vector of the question.

In indexes of more than EXACT_UP_TO stored values, a first stage scans the summaries of the pages
(`reduction.summarise`), which are a few vectors of each page. Then only the pages that may be among the best by their
summaries are scanned (`maxsim._settle`). The first stage decides only which pages are scored; every score is that of
the stored page.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from visret.choices import LATE
from visret.index import IndexModel, Segment, Snapshot
from visret.index.fields import SUMMARIES
from visret.maxsim.device import on_device
from visret.maxsim.packed import PackedPages, top_k_of_parts
from visret.types import Matches, QueryEmbedding, Question, Ranking, Scorer, Selection

EXACT_UP_TO = 1 << 25
"""The number of values (vectors x dimensions) up to which every page is scanned: some milliseconds on two cores."""

LENGTH = 0.02
"""The score that a page loses for its length, for each vector of a question and each unit of ln(the page's vectors).

nDCG@5 with and without it: .724 and .716 on 94 questions, .766 and .763 on 133, .668 and .658 on documents of many
kinds. For each question, half of the slope of a regression of all pages' scores would give .725, .765 and .665, but
would make the score of a page depend on the other pages.
"""


class Staged(NamedTuple):
    """The pages of a segment with their summaries, row by row; None if they have none.

    only: the rows of the pages that may be found; None for all. length: what is added to the score of each
        page for its length (`for_length`); empty for nothing.
    """

    pages: PackedPages
    summaries: PackedPages | None
    only: np.ndarray | None = None
    length: np.ndarray = np.empty(0)


class LateInteraction:
    """The scorer "late" of one committed state. It reads nothing before the first question.

    device: the device that scans pages; None for this CPU, or else a name that torch knows. before: the scorer of an
    earlier state. Its segments are reused, since on a device they are already in its memory.
    """

    name = LATE
    slope = LENGTH

    def __init__(self, snapshot: Snapshot, *, device: str | None = None, before: LateInteraction | None = None) -> None:
        self.snapshot = snapshot
        known: Mapping[int, Staged] = {} if before is None else before._segments
        self._segments: dict[int, Staged] = {
            s.number: known.get(s.number) or self._staged(s, device) for s in snapshot.segments
        }

    @property
    def has_first_stage(self) -> bool:
        """True if a search of all pages reads the summaries first."""
        return has_first_stage(list(self._segments.values()))

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:
        """Return the k best pages for each question; the pages are read once for all of them.

        exact: scan every page, without the first stage.
        """
        numbers = np.fromiter(among.rows, np.int64, len(among.rows))
        parts = []
        for number, rows in among.rows.items():
            staged = self._segments[number]
            parts.append(staged if len(rows) == len(staged.pages) else staged._replace(only=rows))
        queries = [self._query(question).vectors for question in questions]
        out = []
        for query, (part, rows, scores) in zip(queries, best_pages(parts, queries, k, exact=exact), strict=True):
            keys = self.snapshot.keys(numbers[part], rows)
            lengths = np.array([parts[i].length[row] for i, row in zip(part.tolist(), rows.tolist(), strict=True)])
            out.append(Ranking(keys, scores, {LATE: (scores - len(query) * lengths).astype(np.float32)}))
        return out

    def explain(self, question: Question, key: int) -> Matches:
        """Return the vector of the page that matches each token best, from one pass over the stored vectors."""
        segment, row = self.snapshot.locate(key)
        return self.snapshot.segment(segment).matches(row, self._query(question).vectors)

    def _query(self, question: Question) -> QueryEmbedding:
        query: QueryEmbedding = question.encoded[LATE]
        return query

    def _staged(self, segment: Segment, device: str | None) -> Staged:
        lay: Callable[..., PackedPages] = PackedPages if device is None else partial(on_device, device=device)
        pages = lay(segment.rows, segment.offsets, segment.codec)
        length = for_length(segment.made, slope_for(self.snapshot.model, self.slope))
        if SUMMARIES in segment.lacks:
            return Staged(pages, None, length=length)
        rows, codec = segment.stored(SUMMARIES), SUMMARIES.codec(segment.codec)
        return Staged(pages, lay(rows, segment.offsets_of(SUMMARIES), codec), length=length)


def opened(snapshot: Snapshot, *, device: str | None, before: Scorer | None) -> LateInteraction:
    """Open the scorer of a committed state, as `scorers.Scorers` does."""
    return LateInteraction(snapshot, device=device, before=before if isinstance(before, LateInteraction) else None)


def best_pages(
    parts: Sequence[Staged], queries: Sequence[np.ndarray], k: int, *, exact: bool = False
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return for each query the parts, rows and exact scores of the k best pages, as `top_k_of_parts` does.

    If there are many vectors, pages that their summaries rule out are not scanned. exact: scan all pages.
    """
    summaries = None
    if not exact and has_first_stage(parts):
        summaries = [part.summaries for part in parts if part.summaries is not None]
    added = [part.length for part in parts] if any(part.length.size for part in parts) else None
    return top_k_of_parts([(part.pages, part.only) for part in parts], queries, k, summaries=summaries, added=added)


def slope_for(model: IndexModel, slope: float = LENGTH) -> float:
    """Return the slope for the scores of a model; 0 if its vectors are not of length 1, for which none was measured."""
    return slope if model.unit_vectors else 0.0


def for_length(made: np.ndarray, slope: float = LENGTH) -> np.ndarray:
    """Return what a page's length adds to its score for each vector of a question: (P,) float64, at most 0.

    made: (P,), how many vectors the model made of each page, before pruning and pooling.
    """
    return np.asarray(-slope * np.log(made))


def has_first_stage(parts: Sequence[Staged]) -> bool:
    """Return whether a search of these pages reads their summaries first."""
    rows = 0
    if any(part.summaries is None for part in parts):
        return False
    for pages, _, only, _ in parts:
        rows += int(pages.offsets[-1] if only is None else (pages.offsets[only + 1] - pages.offsets[only]).sum())
    return bool(parts) and rows * parts[0].pages.dim > EXACT_UP_TO


if TYPE_CHECKING:  # holds the class to the protocol
    _SCORER: type[Scorer] = LateInteraction
