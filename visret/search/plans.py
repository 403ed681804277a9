"""Plans: ways of ranking that fuse the scores of several scorers, over the best pages of one of them or of all.

The scores of different scorers have different scales, so they are made comparable first, over the candidates of one
question. "relative" maps a scorer's lowest score among them to 0 (or the score 0 itself, if some pages have none of the
words) and the highest to 1; it preserves the ratios of the differences between pages. "rank" uses 1 / (60 + rank)
instead (reciprocal rank fusion, Cormack, Clarke and Büttcher 2009), which depends only on the order. "mean" leaves a
score as it is, but makes a sum over the vectors of a question their mean: for scorers whose scores are cosines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from visret import arguments
from visret.choices import BM25, CASCADE, DENSE, HYBRID, LATE, TOGETHER
from visret.errors import InvalidArgument
from visret.index import Snapshot
from visret.types import Question, Ranking, Scorer, Selection

Fusion = Literal["relative", "rank", "mean"]

Holds = Callable[[str, np.ndarray], np.ndarray]
"""Tells which of the pages with these keys, (n,) int64, are in the index of a scorer: (n,) bool."""

RANK_CONSTANT = 60
"""The number added to every rank: the larger it is, the less the first places count. Cormack et al. 2009 use 60."""


@dataclass(frozen=True)
class Plan:
    """A way of ranking that fuses others, for `search(..., by=Plan(...))`.

    weights: the weight of each scorer by its name, such as {"late": 0.7, "bm25": 0.3}; above 0.
    fusion: "relative", "rank" or "mean" (see the module).
    candidates: the scorer whose best pages are the only ones that can be found, as in a cascade; None takes the best
        pages of every scorer.
    depth: the number of best pages that each scorer contributes, or a mapping with a number for each scorer; at least
        as many as the search returns.

    Every scorer scores every candidate, whichever of them found it. A page that a scorer does not find at all, because
    it has none of the words, counts as its worst; with "mean" it counts as the other candidates on average. A page that
    is not in the index of a scorer, where several indexes are searched, is judged by the other scorers alone. Raises
    InvalidArgument for wrong arguments.
    """

    weights: Mapping[str, float] = field(hash=False)
    fusion: Fusion = "relative"
    candidates: str | None = None
    depth: int | Mapping[str, int] = field(default=100, hash=False)

    def __post_init__(self) -> None:
        weights = dict(self.weights)
        if not weights or not all(isinstance(name, str) for name in weights):
            raise InvalidArgument(f"a plan needs the names of scorers with their weights, got {self.weights!r}")
        for name, weight in weights.items():
            if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
                raise InvalidArgument(f"the weight of {name} must be a number above 0, got {weight!r}")
        if self.fusion not in get_args(Fusion):
            raise InvalidArgument(f"fusion: expected {' or '.join(get_args(Fusion))}, got {self.fusion!r}")
        if self.candidates is not None and self.candidates not in weights:
            raise InvalidArgument(f"candidates come from one of {', '.join(weights)}, got {self.candidates!r}")
        object.__setattr__(self, "weights", MappingProxyType(weights))
        if not isinstance(self.depth, Mapping):
            object.__setattr__(self, "depth", arguments.whole("depth", self.depth))
            return
        if self.depth.keys() != weights.keys():
            raise InvalidArgument(f"depth: expected a number for each of {', '.join(weights)}, got {self.depth!r}")
        depths = {name: arguments.whole("depth", depth) for name, depth in self.depth.items()}
        object.__setattr__(self, "depth", MappingProxyType(depths))

    def depth_of(self, name: str) -> int:
        """Return how many of its best pages a scorer contributes."""
        return self.depth[name] if isinstance(self.depth, Mapping) else self.depth


SUMS = (LATE, "maxsim")
"""The scorers whose scores are sums over the vectors of a question."""

PLANS: Mapping[str, Plan] = {
    HYBRID: Plan({LATE: 0.9, BM25: 0.1}, depth={LATE: 10, BM25: 30}),
    CASCADE: Plan({LATE: 0.7, BM25: 0.3}, candidates=BM25, depth=1000),
    TOGETHER: Plan({LATE: 1, DENSE: 1}, fusion="mean", depth={LATE: 10, DENSE: 30}),
}
"""The plans that have names, for `search(..., by=NAME)`."""


def of(given: object) -> str | Plan | None:
    """Return a way of ranking as JSON has it: the name of one, an object with the fields of a Plan, or None.

    Raises InvalidArgument for anything else.
    """
    if given is None or isinstance(given, str | Plan):
        return given
    names = [one.name for one in fields(Plan)]
    if not isinstance(given, Mapping) or not {"weights"} <= given.keys() <= set(names):
        raise InvalidArgument(
            'by takes the name of a way of ranking, or a plan such as {"weights": {"late": 0.7, "bm25": 0.3}}, whose '
            f"keys are {', '.join(names)}; got {given!r}"
        )
    if not isinstance(given["weights"], Mapping):
        raise InvalidArgument(f"a plan needs the names of scorers with their weights, got {given['weights']!r}")
    return Plan(**given)


def scorers_of(by: str | Plan) -> set[str]:
    """Return the names of the scorers that a way of ranking uses; a name that is not a plan's is a scorer's."""
    plan = PLANS.get(by, by) if isinstance(by, str) else by
    return set(plan.weights) if isinstance(plan, Plan) else {plan}


def rank(
    by: str | Plan,
    scorer: Callable[[str], Scorer],
    snapshot: Snapshot,
    questions: Sequence[Question],
    k: int,
    among: Selection,
    *,
    exact: bool = False,
    holds: Holds | None = None,
) -> list[Ranking]:
    """Return the k best pages for each question, by a scorer, a plan with a name, or a plan.

    scorer: returns the scorer of a name, and raises InvalidArgument for an unknown one. exact: as in `Scorer.rank`.
    holds: tells which pages the index of a scorer holds, if they are of several indexes; None for one index. The score
    of a page is then the weighted mean over the scorers that can know it, times the sum of all weights: what counts a
    page that one index lacks as its worst finds a third of them or fewer (docs/log.md).
    """
    plan = PLANS.get(by, by) if isinstance(by, str) else by
    if isinstance(plan, str):
        return scorer(plan).rank(questions, k, among, exact=exact)
    if not isinstance(plan, Plan):
        raise InvalidArgument(f"pages are ranked by the name of a scorer, or by a Plan, got {by!r}")
    if plan.fusion == "mean" and holds is not None:
        raise InvalidArgument('the fusion "mean" is for one index; fuse several by "relative" or "rank"')
    scorers = {name: scorer(name) for name in plan.weights}
    finders = list(scorers) if plan.candidates is None else [plan.candidates]
    depths = {name: max(k, plan.depth_of(name)) for name in scorers}
    found = {name: scorers[name].rank(questions, depths[name], among, exact=exact) for name in finders}
    out = []
    for number, question in enumerate(questions):
        keys = np.unique(np.concatenate([found[name][number].keys for name in finders]))
        parts: dict[str, np.ndarray] = {}
        total, weighed = np.zeros(len(keys)), np.zeros(len(keys))
        for name, weight in plan.weights.items():
            there = np.ones(len(keys), bool) if holds is None else holds(name, keys)
            rankings = [found[name][number]] if name in found else []
            if not rankings or len(rankings[0].keys) >= depths[name]:  # it may have more to say
                missing = np.setdiff1d(keys[there], rankings[0].keys) if rankings else keys[there]
                if len(missing):
                    rankings += scorers[name].rank([question], len(missing), snapshot.only(missing), exact=True)
            scores = np.full(len(keys), np.nan)
            for ranking in rankings:
                at = np.searchsorted(keys, ranking.keys)
                scores[at] = ranking.scores
                for part, values in (ranking.parts or {name: ranking.scores}).items():
                    parts.setdefault(part, np.full(len(keys), np.nan))[at] = values
            total[there] += weight * _comparable(scores[there] / _summed(name, question, plan), plan.fusion)
            weighed[there] += weight
        if holds is not None:
            total *= sum(plan.weights.values()) / weighed
        order = np.lexsort((keys, -total))[:k]
        out.append(Ranking(keys[order], total[order], {name: part[order] for name, part in parts.items()}))
    return out


def _summed(name: str, question: Question, plan: Plan) -> int:
    """Return how many similarities a scorer adds up to a score, where the fusion asks for their mean."""
    return len(question.encoded[LATE].vectors) if plan.fusion == "mean" and name in SUMS else 1


def _comparable(scores: np.ndarray, fusion: Fusion) -> np.ndarray:
    """Return scores (n,) as numbers that can be added to those of other scorers: from 0 to 1, but for "mean".

    NaN counts as worst; with "mean" as the others on average, since it is a page that an added model has not read yet.
    """
    known = ~np.isnan(scores)
    out = np.zeros(len(scores))
    if not known.any():
        return out
    if fusion == "mean":
        return np.where(known, scores, scores[known].mean())
    if fusion == "rank":
        order = np.argsort(-scores[known], kind="stable")
        ranks = np.empty(len(order))
        ranks[order] = np.arange(1, len(order) + 1)
        out[known] = 1 / (RANK_CONSTANT + ranks)
        return out
    low, high = scores[known].min(), scores[known].max()
    if not known.all():  # pages that have none of the words score 0
        low = min(low, 0.0)
    out[known] = (scores[known] - low) / (high - low) if high > low else 1.0
    return out
