"""A worker process as its parent sees it: a file that crashes, hangs or bloats a library ends a worker, not the run.

worker = Worker()                                  # starts `python -m visret.ingest.worker`
for answer in worker.read(Request("/papers/a.pdf"), doc="a.pdf"):
    ...                                            # Hashed, Converted, Opened, then a Page or Unread for every page
worker.close()
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

from visret import forks
from visret.errors import VisretError
from visret.ingest.messages import Inside, Request, WorkerAnswer, answers_of, read_frame, seconds_after, write_frame

COMMAND = (sys.executable, "-P", "-m", "visret.ingest.worker")
STARTING_SECONDS = 120.0  # to import this file, on a machine that is busy
GRACE_SECONDS = 10.0  # after which a worker that nobody ended ends itself


class Died(Exception):
    """The worker is gone, by itself or because it took too long; the message says so of what was being read."""


class Worker:
    """A process that reads files, one at a time. It is used by one thread; `kill` may be called by any.

    cpu_seconds: those it has used, as of its last answer. quiet: whether to drop what it logs. Raises VisretError
    where it does not start.
    """

    cpu_seconds = 0.0
    quiet = False

    def __init__(self) -> None:
        self._expired: float | None = None
        self._parent = os.getpid()
        # not in the terminal's group: Ctrl-C is meant for the parent, which ends its workers
        apart: dict[str, Any] = {"start_new_session": True}
        if os.name == "nt":
            apart = {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}  # type: ignore[attr-defined]
        self._process = subprocess.Popen(
            COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(), **apart
        )
        _widen(self._process.stdout)
        # A child forked meanwhile must not hold the pipes: the worker ends when this process does.
        self._pipes = ExitStack()
        pipes = [pipe.fileno() for pipe in (self._process.stdin, self._process.stdout) if pipe is not None]
        self._pipes.enter_context(forks.not_for_children(*pipes))
        try:
            self._receive(STARTING_SECONDS)
        except Died as death:
            tried = " ".join(COMMAND)
            raise VisretError(f"the process that reads documents does not start ({death}); try: {tried}") from death

    def read(self, request: Request, *, doc: str) -> Iterator[WorkerAnswer | Inside]:
        """Yield what comes of a file, page by page, then of each document inside it; they are named after `doc`.

        Raises Died, after which the worker is of no further use.
        """
        with tempfile.TemporaryDirectory(prefix="visret-", ignore_cleanup_errors=True) as scratch:
            self._send(asdict(replace(request, scratch=scratch)))
            seconds = request.opening_seconds
            while True:
                header, raw = self._receive(seconds)
                member = header.get("in", "")
                seconds = seconds_after(header, request)
                for answer in answers_of(header, raw, f"{doc}/{member}" if member else doc):
                    yield Inside(member, answer) if member else answer
                if not member and ("done" in header or ("unread" in header and header["page"] is None)):
                    return

    def kill(self) -> None:
        """End the worker at once, with the processes it started."""
        if self._process.returncode is None and self._parent == os.getpid():
            end(self._process.pid)

    def close(self) -> None:
        """End the worker, and release what the system holds for it."""
        self.kill()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a dead disk cannot be ended
            self._process.wait(GRACE_SECONDS)
        self._pipes.close()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _send(self, header: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the end of its answers will tell
            write_frame(self._process.stdin, header)

    def _receive(self, seconds: float) -> tuple[dict[str, Any], memoryview]:
        assert self._process.stdout is not None
        timer = threading.Timer(seconds, self._expire, [seconds])
        timer.daemon = True
        timer.start()
        try:
            frame = read_frame(self._process.stdout)
        finally:
            timer.cancel()
        if frame is None:
            with suppress(subprocess.TimeoutExpired):  # its own exit status, not our kill, says what happened
                self._process.wait(GRACE_SECONDS)
            self.close()
            raise Died(self._epitaph())
        self.cpu_seconds = frame[0]["cpu"]
        for name, level, message in () if self.quiet else frame[0].get("log", ()):
            logging.getLogger(name).log(level, "%s", message)
        return frame

    def _expire(self, seconds: float) -> None:
        self._expired = seconds
        self.kill()

    def _epitaph(self) -> str:
        code = self._process.returncode
        if self._expired is not None or code is None:
            return f"took more than {self._expired or GRACE_SECONDS:g} s and was given up"
        if code == -9:
            return "was given up by the system (signal 9), most likely for lack of memory"
        how = f"signal {-code}" if code < 0 else f"exit {code:#x}" if code > 255 else f"exit {code}"
        return f"crashed the library that reads it ({how}); repair the file or save it again"


class Workers:
    """The workers of one thread, one after the other: if one dies, another reads the next file.

    `stop` may be called by any thread. quiet: whether to drop what they log. current: the running worker; None before
    the first file and after a death. stopped: whether no other will follow.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.current: Worker | None = None
        self.stopped = False
        self._quiet = quiet
        self._gone = 0.0  # seconds of cores that earlier workers have used
        self._starting = threading.Lock()

    @property
    def cpu_seconds(self) -> float:
        """The seconds of cores that all workers have used, as of the last answer."""
        return self._gone + (0.0 if self.current is None else self.current.cpu_seconds)

    def read(self, request: Request, *, doc: str) -> Iterator[WorkerAnswer | Inside]:
        """Yield what comes of a file, as `Worker.read` does. Raises Died if it ends the worker, and after `stop`."""
        worker = self._ready()
        try:
            yield from worker.read(request, doc=doc)
        except Died:  # it is closed by then
            self._gone += worker.cpu_seconds
            self.current = None
            raise

    def stop(self) -> None:
        """End the worker at once, even in the middle of a page; none follows."""
        with self._starting:
            self.stopped = True
            if self.current is not None:
                self.current.kill()

    def close(self) -> None:
        """Close the worker; the next file starts another one."""
        if self.current is not None:
            self._gone += self.current.cpu_seconds
            self.current.close()
            self.current = None

    def _ready(self) -> Worker:
        with self._starting:
            if self.stopped:
                raise Died
        if self.current is None:
            worker = Worker()
            worker.quiet = self._quiet
            with self._starting:
                self.current = worker
                if self.stopped:
                    worker.kill()
        return self.current


def _widen(pipe: IO[bytes] | None) -> None:
    """Make room for a whole page in a pipe, on Linux; a user with many pipes may not be allowed to."""
    with suppress(ImportError, AttributeError, OSError):
        import fcntl

        assert pipe is not None
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 1 << 20)


def _environment() -> dict[str, str]:
    """Return an environment with the same modules and file names as here, and one thread, enough for reading."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in sys.path),
        "PYTHONUTF8": str(sys.flags.utf8_mode),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }


def end(worker: int) -> None:
    """Kill a worker, and LibreOffice where it has started it."""
    if os.name == "nt":
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(worker)], capture_output=True, check=False)
        return
    with suppress(ProcessLookupError, PermissionError):  # it has just ended; macOS raises the second
        os.killpg(worker, signal.SIGKILL)
