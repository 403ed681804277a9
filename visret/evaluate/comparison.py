"""Several systems on the same questions: the measures of each, the differences between them, and both as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from visret import arguments
from visret.errors import InvalidArgument
from visret.evaluate import measures as measuring
from visret.evaluate import significance
from visret.evaluate.questions import QuestionSet, Unit
from visret.evaluate.significance import Difference
from visret.evaluate.systems import Rankings, System, rankings_of, unfindable

MAX_KINDS = 20  # that a table has columns for, the most frequent ones


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """The quality of one system.

    name: what it is called.
    rankings: what it found.
    values: each measure by its name, (Q,) in the order of the questions.
    unfindable: how many right pages its index lacks because nothing on them could be read.
    """

    name: str
    rankings: Rankings
    values: Mapping[str, np.ndarray]
    unfindable: int

    def mean(self, measure: str, among: np.ndarray | None = None) -> float:
        """Return the mean of a measure. among: the numbers of some questions; None for all."""
        values = self.values[measure]
        return float(np.mean(values if among is None else values[among]))

    @property
    def unanswered(self) -> int:
        """The number of questions for which it found nothing at all."""
        return sum(not found for found in self.rankings.found.values())


@dataclass(frozen=True, eq=False)
class Comparison:
    """Systems on the same questions. Printed, it is a table.

    unit: what is ranked, "page" or "document". measures: their names; `differences` are about the first. systems: in
    the order in which they were given. against: the name of the one that the others are compared with.
    differences: of every other system, over all questions and each kind of them.
    """

    questions: QuestionSet
    unit: Unit
    measures: tuple[str, ...]
    systems: tuple[Measured, ...]
    against: str
    differences: tuple[Difference, ...]

    @cached_property
    def kinds(self) -> dict[str, np.ndarray]:
        """The kinds of the questions, each with the numbers of its questions; empty if all are of one kind."""
        return _kinds(self.questions)

    def system(self, name: str) -> Measured:
        """Return the system of this name. Raises InvalidArgument where there is none."""
        return _named(self.systems, name)

    @property
    def notes(self) -> list[str]:
        """Sentences on what the figures count, or leave out."""
        said = []
        if count := sum(not any(grade > 0 for grade in one.relevant.values()) for one in self.questions):
            said.append(f"{_count(count, 'question')} without a right {self.unit} (a grade above 0): counted as 0")
        if count := self.questions.unjudged:
            said.append(f"{_count(count, 'question')} of which nothing is known to be right: left out")
        for one in self.systems:
            if one.unanswered:
                said.append(f"{one.name}: found nothing for {_count(one.unanswered, 'question')}: counted as 0")
            if one.unfindable:
                what = _count(one.unfindable, f"right {self.unit}")
                said.append(f"{one.name}: cannot find {what}, on which its model had nothing to read: counted as 0")
        return said

    def __str__(self) -> str:
        parts = [f"{_count(len(self.questions), 'question')}, ranking {self.unit}s", _table(self._of_systems())]
        if self.kinds:
            parts.append(_table(self._of_kinds()))
        if self.differences:
            counted = sum(one.differ >= significance.LEAST for one in self.differences)
            test = f"p: paired permutation test, Holm's correction for {_count(counted, 'comparison')}"
            parts.append(f"{_table(self._of_differences())}\n{test}")
        return "\n\n".join([*parts, *(["\n".join(self.notes)] if self.notes else [])])

    def _of_systems(self) -> list[list[str]]:
        rows = [["system", *self.measures, "ms a question", "bytes a page"]]
        for one in self.systems:
            time, size = one.rankings.milliseconds, one.rankings.system.bytes_a_page
            costs = ["-" if time is None else f"{time:.1f}", "-" if size is None else f"{size:,.0f}"]
            rows.append([one.name, *(f"{one.mean(measure):.3f}" for measure in self.measures), *costs])
        return rows

    def _of_kinds(self) -> list[list[str]]:
        first, groups = self.measures[0], [None, *self.kinds.values()]
        counts = [len(self.questions), *map(len, self.kinds.values())]
        rows = [[first, "all", *self.kinds], ["questions", *map(str, counts)]]
        return rows + [[one.name, *(f"{one.mean(first, among):.3f}" for among in groups)] for one in self.systems]

    def _of_differences(self) -> list[list[str]]:
        against = f"{self.measures[0]} against {self.against}"
        rows = [[against, "questions", "that differ", "difference", "95 % interval", "p", ""]]
        for one in self.differences:
            verdict = "may be noise" if one.differ else "the same"
            if one.is_real:
                verdict = "better" if one.difference > 0 else "worse"
            elif 0 < one.differ < significance.LEAST:
                verdict = "too few differ"
            p = "< 0.001" if one.p_holm < 0.001 else f"{one.p_holm:.3f}"
            counts = [one.kind or "all", f"{one.differ} of {one.questions}"]
            rows.append(
                [one.system, *counts, f"{one.difference:+.3f}", f"{one.low:+.3f} to {one.high:+.3f}", p, verdict]
            )
        return rows

    def as_json(self) -> dict[str, Any]:
        """Return all of it, and the measures of each question, as JSON has it."""
        return {
            "questions": len(self.questions),
            "unit": self.unit,
            "against": self.against,
            "systems": [
                {
                    "name": one.name,
                    "measures": {measure: one.mean(measure) for measure in self.measures},
                    "kinds": [
                        {
                            "kind": kind,
                            "questions": len(among),
                            "measures": {measure: one.mean(measure, among) for measure in self.measures},
                        }
                        for kind, among in self.kinds.items()
                    ],
                    "milliseconds": one.rankings.milliseconds,
                    "bytes_a_page": one.rankings.system.bytes_a_page,
                    "unanswered": one.unanswered,
                    "unfindable": one.unfindable,
                }
                for one in self.systems
            ],
            "differences": [{**asdict(one), "is_real": one.is_real} for one in self.differences],
            "notes": self.notes,
            "each": [
                {
                    "id": question.id,
                    "question": question.text,
                    "kinds": list(question.kinds),
                    "systems": [
                        {
                            "name": one.name,
                            "measures": {measure: float(one.values[measure][at]) for measure in self.measures},
                        }
                        for one in self.systems
                    ],
                }
                for at, question in enumerate(self.questions)
            ],
        }


def compare(
    systems: Sequence[System],
    questions: QuestionSet,
    *,
    k: int = 5,
    measures: Sequence[str] = (),
    unit: Unit | None = None,
    against: str | None = None,
) -> Comparison:
    """Ask every system all questions, measure what it finds, and compare each with the first.

    k: nDCG, recall, MRR and MAP are measured at k, unless `measures` names others, as ir-measures does: "nDCG@10".
    unit: what is ranked: "page", or "document", which has the score of its best page. None ranks what the questions
        name. against: the system that the others are compared with; None compares them with the first.

    Raises InvalidArgument for a right page that an index does not have, and MissingExtra without ir-measures.
    """
    unit = questions.unit(unit)
    wanted = measuring.parsed(measures, arguments.whole("k", k))
    names = [system.name for system in systems]
    if not systems:
        raise InvalidArgument("there is no system to evaluate")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InvalidArgument(f"two systems are called {twice[0]!r}; give each its own name")
    if against is not None and against not in names:
        raise InvalidArgument(f"no system is called {against!r}; they are {', '.join(names)}")
    lacking = [unfindable(system, questions, unit) for system in systems]  # all, before the first is asked
    judge = measuring.Judge(questions.relevance(unit), wanted)
    made = []
    for system, lacks in zip(systems, lacking, strict=True):
        found = rankings_of(system, questions, measuring.depth(wanted), unit)
        made.append(Measured(system.name, found, judge.values(found.scores()), lacks))
    base = against or names[0]
    shown = tuple(str(measure) for measure in wanted)
    return Comparison(questions, unit, shown, tuple(made), base, _differences(made, base, shown[0], _kinds(questions)))


def _differences(
    systems: Sequence[Measured], against: str, measure: str, kinds: Mapping[str, np.ndarray]
) -> tuple[Difference, ...]:
    base = _named(systems, against)
    made = []
    for one in systems:
        if one is base:
            continue
        values = one.values[measure] - base.values[measure]
        for kind, among in (None, np.arange(len(values))), *kinds.items():
            mean, (low, high) = float(values[among].mean()), significance.interval(values[among])
            p, differ = significance.permutation_p(values[among]), int(np.count_nonzero(values[among]))
            made.append(Difference(one.name, against, measure, kind, len(among), differ, mean, low, high, p, p))
    p_values = significance.corrected([(one.p, one.differ) for one in made])
    return tuple(replace(one, p_holm=p) for one, p in zip(made, p_values, strict=True))


def _kinds(questions: QuestionSet) -> dict[str, np.ndarray]:
    numbers: dict[str, list[int]] = {}
    for at, question in enumerate(questions):
        for kind in question.kinds:
            numbers.setdefault(kind, []).append(at)
    if all(len(among) == len(questions) for among in numbers.values()):
        return {}
    often = sorted(numbers, key=lambda kind: -len(numbers[kind]))[:MAX_KINDS]
    return {kind: np.array(among) for kind, among in numbers.items() if kind in often}


def _named(systems: Sequence[Measured], name: str) -> Measured:
    for one in systems:
        if one.name == name:
            return one
    raise InvalidArgument(f"no system is called {name!r}; they are {', '.join(one.name for one in systems)}")


def _table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows with columns of one width: the first to the left, the last of words too, all others to the right."""
    rows = [[*row, *[""] * (len(rows[0]) - len(row))] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        if not rows[0][-1]:
            cells[-1] = row[-1]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
