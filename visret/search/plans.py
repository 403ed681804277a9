"""Plans: ways of ranking that fuse the scores of several scorers, over the best pages of one of them or of all.

The scores of different scorers have different scales, so they are made comparable first, over the candidates of one
question. "relative" maps a scorer's lowest score among them to 0 (or the score 0 itself, if some pages have none of the
words) and the highest to 1; it preserves the ratios of the differences between pages. "rank" uses 1 / (60 + rank)
instead (reciprocal rank fusion, Cormack, Clarke and Büttcher 2009), which depends only on the order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, get_args

import numpy as np

from visret import arguments
from visret.choices import BM25, CASCADE, HYBRID, LATE
from visret.errors import InvalidArgument
from visret.index import Snapshot
from visret.types import Question, Ranking, Scorer, Selection

Fusion = Literal["relative", "rank"]

RANK_CONSTANT = 60
"""The number added to every rank: the larger it is, the less the first places count. Cormack et al. 2009 use 60."""


@dataclass(frozen=True)
class Plan:
    """A way of ranking that fuses others, for `search(..., by=Plan(...))`.

    weights: the weight of each scorer by its name, such as {"late": 0.7, "bm25": 0.3}; above 0.
    fusion: "relative" or "rank" (see the module).
    candidates: the scorer whose best pages are the only ones that can be found, as in a cascade; None takes the best
        pages of every scorer.
    depth: the number of best pages that each scorer contributes, or a mapping with a number for each scorer; at least
        as many as the search returns.

    Every scorer scores every candidate, whichever of them found it. A page that a scorer does not find at all, because
    it has none of the words, counts as its worst. Raises InvalidArgument for wrong arguments.
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


PLANS: Mapping[str, Plan] = {
    HYBRID: Plan({LATE: 0.9, BM25: 0.1}, depth={LATE: 10, BM25: 30}),
    CASCADE: Plan({LATE: 0.7, BM25: 0.3}, candidates=BM25, depth=1000),
}
"""The plans that have names, for `search(..., by=NAME)`."""


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
) -> list[Ranking]:
    """Return the k best pages for each question, by a scorer, a plan with a name, or a plan.

    scorer: returns the scorer of a name, and raises InvalidArgument for an unknown one. exact: as in `Scorer.rank`.
    """
    plan = PLANS.get(by, by) if isinstance(by, str) else by
    if isinstance(plan, str):
        return scorer(plan).rank(questions, k, among, exact=exact)
    if not isinstance(plan, Plan):
        raise InvalidArgument(f"pages are ranked by the name of a scorer, or by a Plan, got {by!r}")
    scorers = {name: scorer(name) for name in plan.weights}
    finders = list(scorers) if plan.candidates is None else [plan.candidates]
    depths = {name: max(k, plan.depth_of(name)) for name in scorers}
    found = {name: scorers[name].rank(questions, depths[name], among, exact=exact) for name in finders}
    out = []
    for number, question in enumerate(questions):
        keys = np.unique(np.concatenate([found[name][number].keys for name in finders]))
        parts: dict[str, np.ndarray] = {}
        total = np.zeros(len(keys))
        for name, weight in plan.weights.items():
            rankings = [found[name][number]] if name in found else []
            if not rankings or len(rankings[0].keys) >= depths[name]:  # it may have more to say
                missing = np.setdiff1d(keys, rankings[0].keys) if rankings else keys
                if len(missing):
                    rankings += scorers[name].rank([question], len(missing), snapshot.only(missing), exact=True)
            scores = np.full(len(keys), np.nan)
            for ranking in rankings:
                at = np.searchsorted(keys, ranking.keys)
                scores[at] = ranking.scores
                for part, values in (ranking.parts or {name: ranking.scores}).items():
                    parts.setdefault(part, np.full(len(keys), np.nan))[at] = values
            total += weight * _comparable(scores, plan.fusion)
        order = np.lexsort((keys, -total))[:k]
        out.append(Ranking(keys[order], total[order], {name: part[order] for name, part in parts.items()}))
    return out


def _comparable(scores: np.ndarray, fusion: Fusion) -> np.ndarray:
    """Return scores (n,) as numbers from 0 to 1 that can be added to those of other scorers; NaN counts as worst."""
    known = ~np.isnan(scores)
    out = np.zeros(len(scores))
    if not known.any():
        return out
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
