"""Segments of a collection on N nodes: what a question waits for, and what is missing from its answer when nodes die.

    python tests/benchmarks/nodes.py INDEX                  # the index whose search times are replayed
    python tests/benchmarks/nodes.py --ms 20 30 45          # or these times, in milliseconds

Each segment lies on as many nodes as it has copies. A question goes to one copy of every segment, to the node that has
least to do; a node takes one task after the other, and its task is all that it holds of the question. The answer is
there when the last node has answered. `share` of the load that one copy of everything can bear arrives at random times
(Poisson).

A node that dies answers nothing more. It is noticed after TIMEOUT seconds without an answer; its tasks then go to other
copies, and new questions avoid it. Segments without any copy left make an answer incomplete, which is counted. A
hedged question asks another copy as well once an answer takes longer than HEDGE of all before it. What is not measured
is assumed: the network takes no time, nodes are equal, and one answer in SLOW_EVERY of a node takes SLOW times as long,
as on machines that do other work too. The same seed gives the same figures.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

TIMEOUT = 2.0
HEDGE = 0.95
SLOW_EVERY, SLOW = 100, 10.0
QUESTIONS = 5_000
ROUNDS = 5  # of measuring; other programs can only make a search slower
NODES, SEGMENTS = 16, 64
SHARE = 0.5
SEEN_FIRST = 200  # answers before anything is hedged
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Run:
    """What came of the questions. waited: seconds of each; complete: whether every segment was searched."""

    waited: np.ndarray
    complete: np.ndarray
    tasks: int

    def line(self) -> str:
        """Milliseconds at p50, p95 and p99, the answers that lack something, and the tasks of a question."""
        times = " | ".join(f"{1000 * np.percentile(self.waited, p):,.0f}" for p in (50, 95, 99))
        return f"{times} | {(~self.complete).mean():.4f} | {self.tasks / len(self.waited):.1f}"


def place(segments: int, nodes: int, copies: int, rng: random.Random) -> list[list[int]]:
    """The nodes of each segment: `copies` different ones, and every node holds about as many."""
    if copies > nodes:
        raise ValueError(f"{copies} copies need as many nodes, got {nodes}")
    held = [0] * nodes
    placed = []
    for _ in range(segments):
        order = sorted(range(nodes), key=lambda node: (held[node], rng.random()))
        placed.append(order[:copies])
        for node in order[:copies]:
            held[node] += 1
    return placed


@dataclass
class _Task:
    """Some segments of a question on one node."""

    question: int
    segments: frozenset[int]
    node: int


@dataclass
class _Question:
    arrived: float
    seconds: float
    open: set[int]
    lost: set[int] = field(default_factory=set)
    tried: dict[int, set[int]] = field(default_factory=dict)  # segment to the nodes that were asked


class Cluster:
    """Nodes with segments. seconds: of searches of everything on one node; each question takes one at random."""

    def __init__(
        self,
        seconds: Sequence[float],
        *,
        nodes: int = NODES,
        segments: int = SEGMENTS,
        copies: int = 1,
        hedged: bool = False,
        slow: float = SLOW,
        seed: int = 0,
    ) -> None:
        self._rng = random.Random(seed)
        self._seconds, self._segments, self._hedged, self._slow = list(seconds), segments, hedged, slow
        self.placed = place(segments, nodes, copies, self._rng)
        self._free = [0.0] * nodes  # when each node has done what it was given
        self._dies = [float("inf")] * nodes
        self._noticed: set[int] = set()  # nodes that are known to have died

    def replay(self, questions: int, rate: float, *, deaths: Sequence[tuple[float, int]] = ()) -> Run:
        """Ask so many questions, `rate` a second. deaths: (second, node)."""
        for second, node in deaths:
            self._dies[node] = second
        waited, complete = np.zeros(questions), np.ones(questions, bool)
        asked: dict[int, _Question] = {}
        events: list[tuple[float, int, str, object]] = []
        at, order, tasks = 0.0, 0, 0
        seen: list[float] = []
        patience = float("inf")

        def later(when: float, what: str, about: object) -> None:
            nonlocal order
            order += 1
            heapq.heappush(events, (when, order, what, about))

        def send(number: int, wanted: set[int], now: float) -> None:
            nonlocal tasks
            question = asked[number]
            chosen: dict[int, set[int]] = {}
            for segment in sorted(wanted):
                tried = question.tried.setdefault(segment, set())
                there = [node for node in self.placed[segment] if node not in tried and node not in self._noticed]
                if not there:
                    continue
                # Of nodes that are as free, one that is chosen already: many segments on one node are one task.
                node = min(there, key=lambda one: (max(self._free[one], now), one not in chosen, one))
                tried.add(node)
                chosen.setdefault(node, set()).add(segment)
            for node, segments in chosen.items():
                begins = max(self._free[node], now)
                takes = question.seconds * len(segments) / self._segments
                if self._slow > 1 and self._rng.randrange(SLOW_EVERY) == 0:
                    takes *= self._slow
                self._free[node] = ends = begins + takes
                tasks += 1
                task = _Task(number, frozenset(segments), node)
                if ends <= self._dies[node]:
                    later(ends, "done", task)
                else:
                    later(now + TIMEOUT, "late", task)
                if self._hedged and patience < TIMEOUT:
                    later(now + patience, "hedge", task)

        def finish(number: int, now: float) -> None:
            question = asked.pop(number)
            waited[number] = now - question.arrived
            complete[number] = not question.lost
            seen.append(waited[number])

        for number in range(questions):
            at += self._rng.expovariate(rate)
            later(at, "ask", number)
        while events:
            now, _, what, about = heapq.heappop(events)
            if what == "ask":
                assert isinstance(about, int)
                seconds = self._seconds[self._rng.randrange(len(self._seconds))]
                asked[about] = _Question(now, seconds, set(range(self._segments)))
                if len(seen) >= SEEN_FIRST and about % 100 == 0:
                    patience = float(np.quantile(seen[-2000:], HEDGE))
                send(about, set(asked[about].open), now)
                self._give_up(asked[about])
                if not asked[about].open:
                    finish(about, now)
                continue
            assert isinstance(about, _Task)
            if what == "late":
                self._noticed.add(about.node)
            question = asked.get(about.question)
            if question is None:
                continue
            left = question.open & about.segments
            if what == "done":
                question.open -= about.segments
            elif left:
                send(about.question, left, now)
                self._give_up(question)
            if not question.open:
                finish(about.question, now)
        assert not asked, "every question is answered, if only in part"
        return Run(waited, complete, tasks)

    def _give_up(self, question: _Question) -> None:
        """Count segments as lost if every node that has them is known to have died."""
        for segment in list(question.open):
            if self._noticed.issuperset(self.placed[segment]):
                question.open.discard(segment)
                question.lost.add(segment)


def measured(index: Path) -> list[float]:
    """The CPU seconds of each question of questions.jsonl on an index, without explanations; the best of ROUNDS."""
    from visret import Retriever

    lines = (HERE / "questions.jsonl").read_text("utf8").splitlines()
    taken = {json.loads(line)["query"]: float("inf") for line in lines}
    with Retriever.open(index) as retriever:
        for _ in range(ROUNDS):
            for question, best in taken.items():
                start = time.process_time()
                retriever.search(question, explain=False)
                taken[question] = min(best, time.process_time() - start)
    return list(taken.values())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("index", type=Path, nargs="?")
    parser.add_argument("--ms", type=float, nargs="+", help="milliseconds of searches, instead of measured ones")
    parser.add_argument("--nodes", type=int, default=NODES)
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    arguments = parser.parse_args()
    if arguments.ms is None and arguments.index is None:
        parser.error("give an INDEX, or --ms")
    each = [one / 1000 for one in arguments.ms] if arguments.ms else measured(arguments.index)
    # The time of one node's part is what was measured: a node holds as many pages as the index has.
    seconds = [one * arguments.nodes for one in each]
    usual = float(np.mean(each)) * (1 + (SLOW - 1) / SLOW_EVERY)
    rate = SHARE / usual
    lasts = arguments.questions / rate
    print(
        f"{len(each)} searches of {1000 * np.median(each):.1f} ms (p95 {1000 * np.quantile(each, 0.95):.1f}) a node; "
        f"{arguments.nodes} nodes, {rate:.1f} questions a second\n"
    )
    print("| nodes that die | copies | hedged | ms, p50 | p95 | p99 | incomplete | tasks |\n" + "|---" * 8 + "|")
    for dead in (0, 1, 2):
        deaths = [(lasts * (number + 1) / 4, number) for number in range(dead)]
        for copies in (1, 2, 3):
            for hedged in (False, True)[: 1 if copies == 1 else 2]:
                cluster = Cluster(seconds, nodes=arguments.nodes, copies=copies, hedged=hedged)
                run = cluster.replay(arguments.questions, rate, deaths=deaths)
                print(f"| {dead} | {copies} | {'yes' if hedged else 'no'} | {run.line()} |", flush=True)


if __name__ == "__main__":
    main()
