"""The mark of hits that hardly answer, and the relevance of a page, on a scale that means the same in every index.

How well a page answers is its strength: the mean best match of the question's content tokens. Three things are asked:

1. Is the page strong enough by itself? The model has a line for that (`weak_below` in models.yaml).
2. Is the question about what the index holds? In a large index something always matches. So the strengths of the first
   pages are compared with those that questions about something else reach in this very index
   (`visret.search.elsewhere`): that of the best page, or the mean of the first SEVERAL. A subject that an index covers
   is rarely on one page alone, so the mean tells more; a word that stands on one page only shows in the best.
3. Is there a much better page? A page is left behind if it has less than WEAK_SHARE of the strength of the best hit,
   and is nearer to the pages of this index in general than to the best hit.

A page is weak if one of the three says so. Relevance is about the first two: .5 is at their lines, and the lesser of
both counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np

from visret.index.catalogue import Floor
from visret.search.ranking import relevance
from visret.types import QueryEmbedding

SEVERAL = 5
"""The number of first pages that say together whether an index is about the subject of a question."""

WEAK_SHARE = 0.8

REACH = 0.25
"""How far from the line of the model to a perfect match a floor may lie, as a share of that way.

It is for indexes that are about everyday subjects themselves, and makes no difference in all others.
"""

SHORT, LONG = 4, 16  # the tokens of the questions that the floors were measured with, half of which have fewer


class Verdict(NamedTuple):
    """A verdict on a page; the fields are those of `Hit`."""

    weak: bool
    relevance: float | None


Judge = Callable[[np.ndarray], Verdict]
"""Says of the matches (m,) of a page what there is to say of the page."""


def judge_of(
    query: QueryEmbedding,
    line: float | None,
    floor: Floor | None,
    first: Sequence[np.ndarray],
    typical: Callable[[], float],
) -> Judge:
    """Return what judges the pages that were found for a question.

    line: that of the model; None if nothing is known of its scores, and no page is weak then. floor: what was measured
    in this index; None without. first: the matches (m,) of the first SEVERAL pages by late interaction, or of all that
    were found. typical: returns the strength of a page of this index in general.
    """
    if not query.content.any() and query.warnings:
        return lambda _: Verdict(True, 0.0)  # the model knows no word of the question
    if line is None:
        return lambda _: Verdict(False, None)
    reached = [strength(values, query.content) for values in first]
    best, on_subject = max(reached), 1.0 if floor is None else _on_subject(reached, query, line, floor)

    @cache
    def middle() -> float:
        return (best + typical()) / 2

    def judge(values: np.ndarray) -> Verdict:
        answers = strength(values, query.content)
        known = min(on_subject, relevance(answers, line))
        return Verdict(known < 0.5 or (answers < WEAK_SHARE * best and answers < middle()), known)

    return judge


def strength(values: np.ndarray, content: np.ndarray) -> float:
    """Return how well a page answers, whatever the question's length: the mean best match of its content tokens."""
    return float(values[content].mean() if content.any() else values.mean())


def _on_subject(reached: Sequence[float], query: QueryEmbedding, line: float, floor: Floor) -> float:
    """Return how sure it is that a question is about what the index holds, on the scale of relevance."""
    tokens = int(query.content.sum()) or len(query.vectors)

    def of(short: float, long: float) -> float:
        # A mean of m numbers strays in proportion to 1 / sqrt(m).
        between = float(np.interp(tokens**-0.5, [LONG**-0.5, SHORT**-0.5], [long, short]))
        return min(between, line + REACH * (1 - line))

    known = relevance(max(reached), of(floor.short, floor.long))
    if len(reached) < SEVERAL:
        return known
    return max(known, relevance(float(np.mean(reached)), of(floor.several_short, floor.several_long)))
