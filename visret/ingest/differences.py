"""The differences between folders and an index: files that are new, changed or gone, once they have come to rest."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from visret.folders import expanded, may_be_there
from visret.ingest.discovery import Source, find
from visret.ingest.plan import Judge
from visret.ingest.report import Failure, Patterns, Report

RETRIES = 10.0, 60.0, 300.0  # seconds after which a file that failed is read again, without having changed
MAX_REST = 10  # times `rest`: how long the removal of a file waits for others to come to rest
State = tuple[int, int] | None  # the size in bytes and the time of change in ns; None for a file that is gone


@dataclass(slots=True)
class _Waiting:
    """A difference that waits. source: None for a file that is gone. since: when it was first seen like this."""

    source: Source | None
    state: State
    since: float


class Due(NamedTuple):
    """The differences that have come to rest: files to read, files to read again although they failed, files gone."""

    changed: list[Source]
    failed: list[Source]
    gone: list[str]


class Differences:
    """The differences between what lies under paths and an index, as they come and go.

    A file is due once its size and time of change have stayed the same for `rest` seconds: others may still be writing
    it. Times are those of a monotonic clock. found: the problems and the files of unknown kinds at the latest look.
    """

    def __init__(
        self, paths: Sequence[str | Path], *, include: Patterns = (), exclude: Patterns = (), rest: float
    ) -> None:
        self.paths = [expanded(path).resolve() for path in paths]
        self.include, self.exclude, self.rest = include, exclude, rest
        self.found = find(self.paths, include=include, exclude=exclude)
        self._waiting: dict[str, _Waiting] = {}
        self._tried: dict[str, State] = {}  # the files that were read, as they were then
        self._failed: dict[str, tuple[Source, int, float]] = {}  # with the number of tries, and the time of the next
        self._has_looked = False

    def look(self, judge: Judge, now: float) -> None:
        """Look at all files, and note which of them the index does not have as they are."""
        self.found = find(self.paths, include=self.include, exclude=self.exclude)
        before, self._waiting = self._waiting, {}
        here = set()
        for source in self.found.sources:
            path, state = str(source.path), _state(source.path)
            here.add(path)
            if state is not None and self._tried.get(path, ()) != state and not _is_known(judge, path, state):
                self._wait(path, _Waiting(source, state, now), before)
        for path in self._gone(judge, here):
            self._wait(path, _Waiting(None, None, now), before)
        self._tried = {path: state for path, state in self._tried.items() if path in here}
        self._failed = {path: one for path, one in self._failed.items() if path in here}
        self._has_looked = True

    def due(self, now: float) -> Due:
        """Return what has come to rest; `done` says what became of it.

        Files that are gone wait for those that are new, since these may be the same files under other names.
        """
        for path, one in self._waiting.items():
            if (state := _state(Path(path))) != one.state:
                one.state, one.since = state, now
        self._waiting = {
            path: one for path, one in self._waiting.items() if (one.source is None) == (one.state is None)
        }
        ready = {path: one for path, one in self._waiting.items() if now - one.since >= self.rest}
        changed = [one.source for one in ready.values() if one.source is not None]
        unrest = any(one.source is not None and path not in ready for path, one in self._waiting.items())
        patience = self.rest * (MAX_REST if unrest else 1)
        gone = [path for path, one in self._waiting.items() if one.source is None and now - one.since >= patience]
        failed = [source for source, _, at in self._failed.values() if at <= now and source not in changed]
        return Due(changed, failed, gone)

    def next_due(self) -> float | None:
        """Return the time at which something may be due; None if nothing waits."""
        times = [one.since + self.rest for one in self._waiting.values()]
        return min([*times, *(at for _, _, at in self._failed.values())], default=None)

    def done(self, sources: Sequence[Source], report: Report, now: float) -> list[Failure]:
        """Note that files were read. Return the failures, which say when a file will be tried again."""
        failed = {failure.path for failure in report.failed if failure.page is None}
        said = {}
        for source in sources:
            path = str(source.path)
            if (waited := self._waiting.pop(path, None)) is not None:
                self._tried[path] = waited.state  # if it has changed since, it is looked at again
            tries = self._failed.pop(path, (source, 0, now))[1]
            if path in failed and tries < len(RETRIES):
                self._failed[path] = source, tries + 1, now + RETRIES[tries]
                said[path] = f" (tried again in {RETRIES[tries]:.0f} s)"
        return [
            Failure(one.path, one.page, one.reason + ("" if one.page else said.get(one.path, "")))
            for one in report.failed
        ]

    def removed(self, paths: Sequence[str]) -> None:
        """Note that the index has nothing of these files any more."""
        for path in paths:
            self._waiting.pop(path, None)

    def _wait(self, path: str, one: _Waiting, before: dict[str, _Waiting]) -> None:
        known = before.get(path)
        if known is not None and known.state == one.state:
            one.since = known.since
        elif not self._has_looked and one.state is not None and time.time() - one.state[1] / 1e9 > self.rest:
            one.since -= self.rest  # it has been as it is for long
        self._waiting[path] = one

    def _gone(self, judge: Judge, here: set[str]) -> Iterator[str]:
        """Yield the files of the index that were under the paths and are gone.

        What was under a folder that cannot be reached, or that has become empty, may be on a drive that is away.
        """
        unsure = [Path(failure.path) for failure in self.found.failures]
        for path in judge.snapshot.sources():
            if path in here or may_be_there(path):
                continue
            above = {Path(path), *Path(path).parents}
            if above.intersection(self.paths) and not above.intersection(unsure):
                yield path


def _state(path: Path) -> State:
    try:
        stat = path.stat()
    except OSError:  # whoever reads it says why
        return (0, 0) if may_be_there(path) else None
    return stat.st_size, stat.st_mtime_ns


def _is_known(judge: Judge, path: str, state: State) -> bool:
    number = judge.snapshot.at(path)
    if number is None:
        return False
    document = judge.snapshot.document(number)
    return (document.size, document.mtime_ns) == state and judge.is_settled_with_members(document)
