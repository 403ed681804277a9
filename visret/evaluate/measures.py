"""nDCG, recall and others of rankings, computed by ir-measures, which asks trec_eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from subprocess import SubprocessError
from typing import Any

import numpy as np

from visret.errors import InvalidArgument, MissingExtra

NAMES = ("nDCG", "R", "RR", "AP")  # the first is the one that differences are told of
MAX_CUTOFF = 1_000_000
# What ir-measures says of names and numbers that are none.
WRONG = (
    *(ArithmeticError, AssertionError, LookupError, NameError, OSError, RuntimeError, SubprocessError),
    *(SyntaxError, TypeError, ValueError),
)
DEPTH = 1000  # pages that are asked for where a measure looks at all


def parsed(names: Sequence[str], k: int) -> list[Any]:
    """Return measures of ir-measures by their names, such as nDCG@10; those of NAMES at k where there are none.

    Raises InvalidArgument for a name that ir-measures does not know, and MissingExtra where it is not installed.
    """
    try:
        import ir_measures
    except ModuleNotFoundError as error:
        raise MissingExtra('measures need ir-measures: pip install "visret[evaluate]"') from error
    measures = []
    for name in dict.fromkeys(names or [f"{name}@{k}" for name in NAMES]):
        try:
            measure = ir_measures.parse_measure(name)
            if not 1 <= measure.params.get("cutoff", 1) <= MAX_CUTOFF:
                raise ValueError("trec_eval ends the process")
            list(ir_measures.iter_calc([measure], {"question": {"page": 1}}, {"question": {"page": 1.0}}))
        except WRONG as error:
            raise InvalidArgument(
                f"{name!r} is no measure; they are those of ir-measures, as nDCG@10, R@100"
            ) from error
        if measure not in measures:
            measures.append(measure)
    return measures


def depth(measures: Sequence[Any]) -> int:
    """Return how many pages of a ranking the measures look at."""
    return max(int(measure.params.get("cutoff") or DEPTH) for measure in measures)


class Judge:
    """Measures rankings of questions whose right pages are known.

    relevance: grades by the ids of questions and pages. measures: those of `parsed`.
    """

    def __init__(self, relevance: Mapping[str, Mapping[str, int]], measures: Sequence[Any]) -> None:
        import ir_measures

        self._names = {measure: str(measure) for measure in measures}
        self._at = {question: str(number) for number, question in enumerate(relevance)}  # plain ids, whatever they are
        grades = {self._at[question]: dict(one) for question, one in relevance.items()}
        self._evaluator = ir_measures.evaluator(list(measures), grades)

    def values(self, scores: Mapping[str, Mapping[str, float]]) -> dict[str, np.ndarray]:
        """Return each measure of every question, (Q,) float64 in the order of `relevance`, by its name.

        scores: what was found, by the ids of questions and pages. A question for which nothing was found has 0, and a
        page that nobody judged is not right.
        """
        values = {name: np.zeros(len(self._at)) for name in self._names.values()}
        asked = {self._at[name]: dict(found) for name, found in scores.items() if found and name in self._at}
        for metric in self._evaluator.iter_calc(asked):
            values[self._names[metric.measure]][int(metric.query_id)] = metric.value
        return values
