"""What every engine's process runs: lines of JSON come in, lines of JSON go out. NumPy and the standard library only.

    {"do": "load", "folder": DATA, "pages": 1070}   -> {"settings": [...]}       everything the engine can be told to do
    {"do": "use", "setting": NAME}                  -> {"seconds": ...}          of building, now or in an earlier run
    {"do": "search", "queries": [0, 4], "k": 10, "together": false}
                                                    -> {"seconds": [...], "pages": [[...], ...]}

DATA holds vectors.npy (N, d) unit rows, offsets.npy, queries.npy and query_offsets.npy. Seconds are those of each query
when they are asked one after another, and of all of them when asked together.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

Search = Callable[[list[np.ndarray], int], list[list[int]]]  # queries, k -> the best pages of each, best first
Settings = Mapping[str, Callable[[], Search]]

NOISE = 0.5  # its length beside a unit row: a repeated row has a cosine of .89 with the real one


@dataclass(frozen=True)
class Data:
    """vectors: (N, d) float32 or float16, mapped from disk; page p is rows offsets[p]:offsets[p + 1].

    count: pages in all. Those beyond the ones that are there repeat them, with noise of their own.
    """

    vectors: np.ndarray
    offsets: np.ndarray
    queries: list[np.ndarray]
    count: int

    @property
    def dim(self) -> int:
        return int(self.vectors.shape[1])

    def pages(self, first: int = 0, last: int | None = None) -> list[np.ndarray]:
        """Pages first to last, each (n, d) float32 unit rows."""
        return [self._page(number) for number in range(first, min(last or self.count, self.count))]

    def _page(self, number: int) -> np.ndarray:
        there = len(self.offsets) - 1
        start, stop = self.offsets[number % there : number % there + 2]
        rows = np.array(self.vectors[start:stop], np.float32)
        if number >= there:
            at = number * 7919 % (len(self._noise) - len(rows))
            rows += self._noise[at : at + len(rows)]
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    @cached_property
    def _noise(self) -> np.ndarray:
        drawn = np.random.default_rng(0).standard_normal((1 << 17, self.dim), np.float32)
        return drawn * np.float32(NOISE / np.sqrt(self.dim))


def read(folder: Path, count: int | None = None) -> Data:
    """The data of one work."""
    vectors, offsets = np.load(folder / "vectors.npy", mmap_mode="r"), np.load(folder / "offsets.npy")
    queries, ends = np.load(folder / "queries.npy"), np.load(folder / "query_offsets.npy")
    return Data(vectors, offsets, [queries[a:b] for a, b in pairwise(ends)], count or len(offsets) - 1)


def best(scores: np.ndarray, k: int) -> list[int]:
    """The pages of the k largest scores, best first."""
    top = np.argpartition(scores, -k)[-k:]
    found: list[int] = top[np.argsort(-scores[top])].tolist()
    return found


def build(folder: Path, make: Callable[[Path], None]) -> Path:
    """The folder, made where it is not whole yet; how long that took stays beside it."""
    done = folder.with_name(f"{folder.name}.seconds")
    if not done.exists():
        shutil.rmtree(folder, ignore_errors=True)
        start = time.perf_counter()
        make(folder)
        done.write_text(str(time.perf_counter() - start))
    _Built.seconds += float(done.read_text())
    return folder


class _Built:
    seconds = 0.0


def serve(prepare: Callable[[Data, Path], Settings]) -> None:
    """Answer until the input ends. prepare: data and a folder to keep things in -> the settings by name."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    settings: Settings = {}
    search: Search | None = None
    for line in sys.stdin:
        command: dict[str, Any] = json.loads(line)
        answer: dict[str, Any] = {}
        if command["do"] == "load":
            data = read(Path(command["folder"]), command["pages"])
            kept = Path(command["folder"]) / f"{Path(sys.argv[0]).stem} {data.count}"
            kept.mkdir(exist_ok=True)
            settings = prepare(data, kept)
            answer["settings"] = list(settings)
        elif command["do"] == "use":
            search, _Built.seconds = None, 0.0
            search = settings[command["setting"]]()
            answer["seconds"] = _Built.seconds
        else:
            assert search is not None
            queries = [data.queries[i] for i in command["queries"]]
            answer |= {"seconds": [], "pages": []}
            for group in [queries] if command["together"] else [[query] for query in queries]:
                start = time.perf_counter()
                found = search(group, command["k"])
                answer["seconds"].append(time.perf_counter() - start)
                answer["pages"] += found
        print(json.dumps(answer), file=answers, flush=True)
