"""The engine beside its peers: the same work on the same vectors in one run, and one table.

    python tests/benchmarks/engines.py FOLDER                       # FOLDER is that of quality.py, or a new one
    python tests/benchmarks/engines.py FOLDER --only exact ragged   # some of the works

    exact     10 of 1,000 pages of 1,030 random unit vectors of 128 dimensions, 32 query tokens. Peers: maxsim-cpu,
              colpali-engine, sentence-transformers; a loop of torch products; one cosine a page (another ranking)
    ragged    10 of the real pages of quality.py through PCA to 128 dimensions, questions of 11 tokens; ours with and
              without a first stage. Peer: maxsim-cpu
    busy      the same while a process on every core spins, beside the time without. Peer: maxsim-cpu
    batch     the same, 32 questions at once. Peer: maxsim-cpu
    system    the same from an index on disk, with ten hits that say where they answer, and without that ("ranks
              only"). Peers: LanceDB, fast-plaid, qdrant-edge
    large     100,000 pages of about 200 vectors: real ones, neighbours merged, repeated with noise. The same peers,
              each at the largest size it can hold

and two lines: how far the engine is from what the machine can do, and the memory that a search takes.

Every engine runs in a process of its own (peers/with_*.py, spoken to over pipes); peers that cannot live beside us in
an environment of their own, made in FOLDER/peers by the first run. They take turns, each warmed up before its turn, on
the same two cores: what disturbs one disturbs all. A peer runs at the fastest of its settings that finds at least .99
of the exact ten best pages (.95 of `large`, where recall is measured on real pages alone), or at the one that finds
most; all that were tried are listed. Recall counts pages whose float32 score is among the ten best. An engine that
should be exact and is not, or that did not run, is said so and the command ends with 1.

More real pages for `large`: FOLDER/more/*.npz with `vectors` (N, 384) of the default model and `lens` of the pages.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from visret.reduction import fit_projection, project

HERE = Path(__file__).parent / "peers"
sys.path.append(str(HERE))
from worker import Data, read  # noqa: E402

K = 10
CORES = 2
DIM = 128
PAGE_VECTORS = 200  # of a page of `large`
ROUNDS = 7
ASKED_A_ROUND = 3
SETTLE = 0.1  # seconds; threads of OpenMP and BLAS spin for a while after their work, on the cores of the next engine
ENVIRONMENTS = {  # folder of the environment, what it holds
    "with_maxsim_cpu": ("maxsim", "maxsim-cpu==0.1.0"),
    "with_lancedb": ("lance", "lancedb==0.40.0"),
    "with_qdrant_edge": ("qdrant", "qdrant-edge-py==0.9.0"),
    "with_fast_plaid": ("plaid", "fast-plaid==1.7.0.2110"),
}
SYSTEMS = ("with_lancedb", "with_fast_plaid", "with_qdrant_edge")
# Pages of `large` that each can hold: what it builds in some ten minutes, in the memory of this machine.
PAGES = {"with_visret_index": 100_000, "with_lancedb": 20_000, "with_fast_plaid": 5_000, "with_qdrant_edge": 100_000}
NO_RANKING = {"with_one_cosine"}  # answers another question, and is here for its time only


class Failed(Exception):
    """An engine did not run, or not rightly."""


class Engine:
    """An engine in a process of its own, with some work loaded."""

    def __init__(self, script: str, python: Path, data: Path, pages: int | None) -> None:
        self.script, self.setting = script, ""
        self.scale = 1.0  # what its times are multiplied with
        self.recall = np.nan  # where it was measured before
        self._log = data / f"{script}.log"
        ours = {"PYTHONPATH": str(HERE.parents[2])} if python == Path(sys.executable) else {}
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, HERE / f"{script}.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | ours,
            )
        self.settings: list[str] = self._ask(do="load", folder=str(data), pages=pages)["settings"]

    def use(self, setting: str) -> float:
        """Go over to a setting; the seconds it took to build what it needs, now or in an earlier run."""
        self.setting = setting
        return float(self._ask(do="use", setting=setting)["seconds"])

    def search(self, queries: Sequence[int], *, together: bool = False) -> tuple[list[float], list[list[int]]]:
        """Seconds (of each query, or of all together) and the best pages of each."""
        answer = self._ask(do="search", queries=list(queries), k=K, together=together)
        return answer["seconds"], answer["pages"]

    def memory(self) -> float:
        """MiB that are its own: not mapped from files."""
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{self._process.pid}/status").read_text())
        if found is None:  # a process that has ended
            raise Failed(self._last_words())
        return int(found[1]) / 1024

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()  # type: ignore[union-attr]
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _ask(self, **command: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it says why in its log
        line = self._process.stdout.readline()
        if not line:
            raise Failed(self._last_words())
        found: dict[str, Any] = json.loads(line)
        return found

    def _last_words(self) -> str:
        said = self._log.read_text().strip().splitlines() or ["it ended without a word"]
        return said[-1][:200]


@dataclass(frozen=True)
class Work:
    """So many pages, and questions, in a folder."""

    name: str
    folder: Path
    pages: int

    @cached_property
    def questions(self) -> int:
        """How many there are."""
        return len(np.load(self.folder / "query_offsets.npy")) - 1

    @cached_property
    def scores(self) -> np.ndarray:
        """The float32 scores of all pages, (questions, pages)."""
        for known in self.folder.glob("scores *.npy"):
            if int(known.stem.split()[1]) >= self.pages:  # the first pages of a larger work are the same
                return np.asarray(np.load(known)[:, : self.pages])
        scores = exact_scores(read(self.folder, self.pages))
        np.save(self.folder / f"scores {self.pages}.npy", scores)
        return scores

    def recall(self, queries: Sequence[int], found: Sequence[Sequence[int]]) -> float:
        """The share of the found pages whose score is among the ten best."""
        shares = []
        for query, pages in zip(queries, found, strict=True):
            scores = self.scores[query]
            tenth = np.partition(scores, -K)[-K]
            shares.append(np.sum(scores[pages] >= tenth - 1e-5 * abs(tenth)) / K)
        return float(np.mean(shares))

    def some(self) -> list[int]:
        """The questions that are timed, spread over all of them."""
        spread = np.linspace(0, self.questions - 1, ROUNDS * ASKED_A_ROUND)
        return [int(number) for number in spread]


@dataclass(frozen=True)
class Line:
    """A line of the table; `ratio` is to the first line of its work."""

    work: str
    engine: str
    ms: float
    ratio: float
    recall: float
    memory: tuple[float, float]
    note: str = ""

    def __str__(self) -> str:
        held, more = self.memory
        recall = "" if np.isnan(self.recall) else f"{self.recall:.3f}"
        return (
            f"| {self.work} | {self.engine} | {self.ms:,.2f} | {self.ratio:,.1f} | {recall} | "
            f"{held:,.0f} | {more:,.0f} | {self.note} |"
        )


HEADER = (
    "| work | engine | ms | times visret | recall@10 | own MiB | MiB more in search | setting |\n" + "|---" * 8 + "|"
)


# ---- the data -----------------------------------------------------------------------------------------------------


def save(folder: Path, vectors: np.ndarray, lengths: Sequence[int], queries: Sequence[np.ndarray]) -> None:
    """The data of a work, as worker.read takes it."""
    folder.mkdir(parents=True)
    np.save(folder / "vectors.npy", vectors)
    np.save(folder / "offsets.npy", np.cumsum([0, *lengths]))
    np.save(folder / "query_offsets.npy", np.cumsum([0, *map(len, queries)]))
    np.save(folder / "queries.npy", np.concatenate(queries).astype(np.float32))  # last: the data is whole


def work(name: str, folder: Path, make: Callable[[Path], None], pages: int | None = None) -> Work:
    """A work of so many pages, with its data made where it is not there."""
    at = folder / "engines" / name
    if not (at / "queries.npy").exists():
        make(at)
    return Work(name, at, pages or len(np.load(at / "offsets.npy")) - 1)


def exact_scores(data: Data, together: int = 256) -> np.ndarray:
    """(questions, pages) float32 by the definition: products, the best of each token, summed."""
    asked, starts = np.concatenate(data.queries), np.cumsum([0, *map(len, data.queries[:-1])])
    parts: list[np.ndarray] = []
    for first in range(0, data.count, together):
        pages = data.pages(first, first + together)
        best = np.maximum.reduceat(np.concatenate(pages) @ asked.T, np.cumsum([0, *map(len, pages[:-1])]))
        parts.append(np.add.reduceat(best, starts, axis=1))
    return np.concatenate(parts).T.copy()


def make_random(at: Path) -> None:
    rng = np.random.default_rng(0)

    def units(count: int) -> np.ndarray:
        drawn = rng.standard_normal((count, DIM), np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    save(at, units(1_000 * 1_030), [1_030] * 1_000, [units(32) for _ in range(ROUNDS * ASKED_A_ROUND)])


def real(folder: Path) -> tuple[np.ndarray, np.ndarray, list[np.ndarray], np.ndarray]:
    """Rows of the pages of quality.py, their numbers, the questions, and the projection to DIM dimensions."""
    from storage import load

    pages = load(folder, "all-minilm-l6-v2")
    projection = fit_projection(pages.vectors[::4].astype(np.float32), DIM)
    questions = [
        project(pages.asked[a:b], projection)
        for a, b in zip(pages.asked_offsets, pages.asked_offsets[1:], strict=False)
    ]
    return project(pages.vectors.astype(np.float32), projection), np.diff(pages.offsets), questions, projection


def make_real(folder: Path) -> Callable[[Path], None]:
    def make(at: Path) -> None:
        vectors, lengths, questions, _ = real(folder)
        save(at, vectors, lengths.tolist(), questions)

    return make


def make_short(folder: Path) -> Callable[[Path], None]:
    """All real pages there are, neighbouring rows merged until about PAGE_VECTORS are left of each."""

    def merged(vectors: np.ndarray, lengths: np.ndarray) -> Iterator[np.ndarray]:
        for end, length in zip(np.cumsum(lengths), lengths, strict=True):
            rows = vectors[end - length : end]
            edges = np.unique(np.linspace(0, length, min(length, PAGE_VECTORS) + 1).astype(int))[:-1]
            sums = np.add.reduceat(rows, edges)
            yield (sums / np.linalg.norm(sums, axis=1, keepdims=True)).astype(np.float16)

    def make(at: Path) -> None:
        vectors, lengths, questions, projection = real(folder)
        pages = list(merged(vectors, lengths))
        for file in sorted((folder / "more").glob("*.npz")):
            with np.load(file) as more:
                lengths = more["lens"][more["lens"] > 0]
                pages += merged(project(more["vectors"].astype(np.float32), projection), lengths)
        save(at, np.concatenate(pages), [len(page) for page in pages], questions)

    return make


# ---- running ------------------------------------------------------------------------------------------------------


class Bench:
    """One run: where things are, what was printed, whether all went well."""

    def __init__(self, folder: Path, peers: Path, *, again: bool) -> None:
        self.folder, self.peers, self.again = folder, peers, again
        self.lines: list[Line] = []
        self.tried: list[str] = []
        self.machine: list[dict[str, float]] = []
        self.failed = False

    def measure(self) -> None:
        """What the machine can do at this moment (peers/machine.py)."""
        told = subprocess.run([sys.executable, HERE / "machine.py"], capture_output=True, text=True, check=True).stdout
        self.machine.append(json.loads(told))

    def python(self, script: str) -> Path:
        """The Python an engine runs in; its environment is made where it is not there."""
        if script not in ENVIRONMENTS:
            return Path(sys.executable)
        name, wanted = ENVIRONMENTS[script]
        python = self.peers / name / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", self.peers / name], check=True)
            done = subprocess.run([python, "-m", "pip", "install", "-q", wanted, "numpy"], check=False)
            if done.returncode:
                raise Failed(f"pip install {wanted} did not work")
        return python

    @contextmanager
    def engine(self, script: str, work: Work, setting: str = "", *, least: float = 0.99) -> Iterator[Engine | None]:
        """An engine ready to search, at the setting given or the best of its own; None where it does not run."""
        with ExitStack() as stack:
            try:
                found = stack.enter_context(Engine(script, self.python(script), work.folder, work.pages))
                found.use(setting or self.choose(found, work, least))
                found.search(work.some()[:1])
            except (Failed, subprocess.SubprocessError, OSError) as error:
                self.fail(work, script, str(error))
                yield None
                return
            yield found

    def choose(self, engine: Engine, work: Work, least: float) -> str:
        """The fastest setting that finds `least` of the best pages, else the one that finds most; kept for later.

        Where all of them should be exact, and differ in time only, fewer questions will do."""
        kept = work.folder / f"{engine.script} {work.pages}.tried.json"
        if self.again or not kept.exists():
            measured, asked = {}, work.some()[:: ASKED_A_ROUND if least == 1 else 1]
            for setting in engine.settings:
                seconds = engine.use(setting)
                engine.search(asked[:1])
                times, found = engine.search(asked)
                measured[setting] = {
                    "ms": float(np.median(times)) * 1000,
                    "recall": work.recall(asked, found),
                    "seconds": seconds,
                }
            kept.write_text(json.dumps(measured))
        tried: dict[str, dict[str, float]] = json.loads(kept.read_text())
        good = {name: one for name, one in tried.items() if one["recall"] >= least - 1e-9}
        if good:
            best = min(good, key=lambda name: good[name]["ms"])
        else:
            best = max(tried, key=lambda name: (tried[name]["recall"], -tried[name]["ms"]))
        self.tried += [
            f"{work.name}, {engine.script}: {name}: {one['ms']:,.1f} ms, recall {one['recall']:.3f}, built in "
            f"{one['seconds']:,.0f} s{' (chosen)' if name == best else ''}"
            for name, one in tried.items()
        ]
        return best

    def fail(self, work: Work, script: str, why: str) -> None:
        self.failed = True
        self.lines.append(Line(work.name, name_of(script), np.nan, np.nan, np.nan, (0, 0), f"DID NOT RUN: {why}"))

    def race(
        self,
        work: Work,
        engines: Sequence[Engine | None],
        *,
        together: int = 0,
        seconds: float = 90,
        exact: bool = False,
        label: str = "",
    ) -> None:
        """Check what the engines find, time them in turns, and write a line for each.

        together: so many questions at once. exact: float rows must give exactly the best.
        """
        asked = [i % work.questions for i in range(together)] if together else work.some()
        here = [engine for engine in engines if engine is not None]
        found = [self.check(work, engine, asked, together=bool(together), exact=exact) for engine in here]
        good = [(engine, *one) for engine, one in zip(here, found, strict=True) if one is not None]
        times: list[list[float]] = [[] for _ in good]
        end = time.monotonic() + seconds
        for turn in range(ROUNDS):
            if turn >= 3 and time.monotonic() > end:
                break
            part = asked if together else asked[turn * ASKED_A_ROUND : (turn + 1) * ASKED_A_ROUND]
            for (engine, *_), some in zip(good, times, strict=True):
                time.sleep(SETTLE)
                if not some or some[-1] < 2:
                    engine.search(part[:1])  # wakes its threads up
                some += engine.search(part, together=bool(together))[0]
        base = np.nan
        for (engine, share, memory), some in zip(good, times, strict=True):
            measured = float(np.median(some)) * 1000 / (together or 1)
            ms = measured * engine.scale
            base = ms if np.isnan(base) else base
            note = engine.setting
            if engine.scale > 1:
                note += f"; {measured:,.1f} ms on 1/{engine.scale:.0f} of the pages"
            self.lines.append(Line(label or work.name, name_of(engine.script), ms, ms / base, share, memory, note))
            print(self.lines[-1], file=sys.stderr, flush=True)

    def check(
        self, work: Work, engine: Engine, asked: Sequence[int], *, together: bool, exact: bool
    ) -> tuple[float, tuple[float, float]] | None:
        """Recall, own memory and how much more a search takes; None where the engine is wrong or died."""
        try:
            if engine.script.startswith("with_visret") and not together:
                asked = range(work.questions)
            with watched(engine) as peak:
                before = engine.memory()
                _, found = engine.search(asked, together=together)
            if engine.script in NO_RANKING:
                return np.nan, (before, max(peak) - before)
            share = work.recall(asked, found) if np.isnan(engine.recall) else engine.recall
            if exact and share < 1 and not engine.setting.startswith("int8"):
                raise Failed(f"finds {share:.3f} of the ten best pages, and should be exact")
            return share, (before, max(peak) - before)
        except Failed as error:
            self.fail(work, engine.script, str(error))
            return None


@contextmanager
def watched(engine: Engine) -> Iterator[list[float]]:
    """The memory of an engine, every two milliseconds while the block runs."""
    seen, done = [engine.memory()], threading.Event()

    def look() -> None:
        with suppress(Failed):  # whoever waits for its answer says so
            while not done.wait(0.002):
                seen.append(engine.memory())

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


@contextmanager
def spinning() -> Iterator[None]:
    """A process that computes on every core."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in os.sched_getaffinity(0)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def name_of(script: str) -> str:
    return script.removeprefix("with_").replace("_", "-")


# ---- the works ----------------------------------------------------------------------------------------------------


def run_exact(bench: Bench) -> None:
    work_ = work("exact", bench.folder, make_random)
    peers = "with_maxsim_cpu", "with_colpali_engine", "with_sentence_transformers", "with_torch_loop", "with_one_cosine"
    with ExitStack() as stack:
        ours = [stack.enter_context(bench.engine("with_visret", work_, codec)) for codec in ("int8", "float32")]
        bench.race(
            work_, [*ours, *(stack.enter_context(bench.engine(peer, work_, least=1)) for peer in peers)], exact=True
        )


def run_ragged(bench: Bench) -> None:
    work_ = real_work(bench, "ragged")
    settings = "int8, first stage", "int8", "int8, the scan alone", "float32"
    with ExitStack() as stack:
        ours = [stack.enter_context(bench.engine("with_visret", work_, setting)) for setting in settings]
        bench.race(work_, [*ours, stack.enter_context(bench.engine("with_maxsim_cpu", work_, least=1))], exact=True)


def run_busy(bench: Bench) -> None:
    work_ = real_work(bench, "ragged")
    with (
        bench.engine("with_visret", work_, "int8, first stage") as ours,
        bench.engine("with_maxsim_cpu", work_, least=1) as peer,
    ):
        bench.race(work_, [ours, peer], exact=True, label="quiet")
        with spinning():
            bench.race(work_, [ours, peer], exact=True, label="busy")
    quiet, busy = ([line.ms for line in bench.lines if line.work == name] for name in ("quiet", "busy"))
    bench.tried.append("busy over quiet: " + ", ".join(f"{b / q:.2f}" for b, q in zip(busy, quiet, strict=False)))


def run_batch(bench: Bench) -> None:
    work_ = real_work(bench, "ragged")
    with (
        bench.engine("with_visret", work_, "int8, first stage") as ours,
        bench.engine("with_maxsim_cpu", work_, least=1) as peer,
    ):
        bench.race(work_, [ours, peer], together=32, exact=True, label="batch")


def run_system(bench: Bench) -> None:
    work_ = real_work(bench, "ragged")
    with ExitStack() as stack:
        settings = "int8", "int8, ranks only", "int8, every page"
        ours = [stack.enter_context(bench.engine("with_visret_index", work_, setting)) for setting in settings]
        bench.race(
            work_, [*ours, *(stack.enter_context(bench.engine(peer, work_)) for peer in SYSTEMS)], label="system"
        )


def run_large(bench: Bench) -> None:
    make, least = make_short(bench.folder), 0.95
    alone = work("large", bench.folder, make)
    with bench.engine("with_visret_index", alone, "int8") as ours:
        our_recall = recall_of(alone, ours)
    full = work("large", bench.folder, make, PAGES["with_visret_index"])
    for peer in SYSTEMS:
        real_pages = work("large", bench.folder, make, min(PAGES[peer], alone.pages))
        with bench.engine(peer, real_pages, least=least) as theirs:
            recall, setting = recall_of(real_pages, theirs), theirs.setting if theirs else ""
        if not setting:
            continue
        part = work("large", bench.folder, make, PAGES[peer])
        with bench.engine("with_visret_index", full, "int8") as ours, bench.engine(peer, part, setting) as theirs:
            if ours and theirs:
                ours.recall, theirs.recall = our_recall, recall
                theirs.scale = full.pages / part.pages
            bench.race(full, [ours, theirs], label=f"large, {alone.pages:,} real")


def recall_of(work: Work, engine: Engine | None) -> float:
    return np.nan if engine is None else work.recall(work.some(), engine.search(work.some())[1])


def real_work(bench: Bench, name: str) -> Work:
    return work(name, bench.folder, make_real(bench.folder))


def limits(bench: Bench) -> Iterator[str]:
    """How far from the machine's own limits the scans were, and what memory a search from an index took."""
    speeds = {name: max([machine[name] for machine in bench.machine]) for name in bench.machine[0]}
    peak = max([speed for name, speed in speeds.items() if name != "bytes read"], default=np.nan)
    yield "a second: " + ", ".join(f"{speed / 1e9:,.0f} G {name}" for name, speed in speeds.items())
    for name in ("exact", "ragged"):
        line = next((line for line in bench.lines if line.work == name and line.note == "int8"), None)
        if line is not None:
            data = read(bench.folder / "engines" / name)
            tokens = np.mean([len(query) for query in data.queries])
            reading = len(data.vectors) * (DIM + 4) / speeds["bytes read"] * 1000
            multiplying = len(data.vectors) * DIM * tokens / peak * 1000
            yield (
                f"{name}: {line.ms:.2f} ms; reading its rows takes {reading:.2f}, multiplying {multiplying:.2f}: "
                f"{line.ms / max(reading, multiplying):.2f} times the nearer limit"
            )
    for line in bench.lines:
        if line.engine == "visret-index" and not np.isnan(line.ms):
            yield f"{line.work}: a search takes {line.memory[1]:.1f} MiB beyond the mapped index"


WORKS: dict[str, Callable[[Bench], None]] = {
    "exact": run_exact,
    "ragged": run_ragged,
    "busy": run_busy,
    "batch": run_batch,
    "system": run_system,
    "large": run_large,
}


def main() -> int:
    """Print the table; 1 where something did not run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the pages, the indexes and the peers are kept")
    parser.add_argument("--only", nargs="+", choices=WORKS, default=list(WORKS))
    parser.add_argument("--peers", type=Path, help="where the environments of the peers are (FOLDER/peers)")
    parser.add_argument("--again", action="store_true", help="try all settings of the peers again")
    arguments = parser.parse_args()
    folder = arguments.folder.absolute()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    bench = Bench(folder, (arguments.peers or folder / "peers").absolute(), again=arguments.again)
    bench.measure()
    for name in arguments.only:
        WORKS[name](bench)
    bench.measure()
    print("\n".join(["", HEADER, *map(str, bench.lines), "", *limits(bench), "", *bench.tried]))
    return int(bench.failed)


if __name__ == "__main__":
    sys.exit(main())
