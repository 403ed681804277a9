"""Several processes that answer at one address. Each has the index open, only to read it; this one watches over them.

A worker is `python -m visret.server.worker`. It gets the listening socket, and what to serve as a line of JSON over a
pipe. When that pipe is closed, the worker ends; so none stays behind, not even if this process is killed. (The
supervisor of uvicorn leaves them behind then, and does not say when it starts another.)
"""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, NoReturn

from visret import forks
from visret.errors import InvalidArgument, VisretError

COMMAND = (sys.executable, "-P", "-m", "visret.server.worker")
READY = b"ready\n"  # on its standard output, once it answers
PAUSE_SECONDS = 5.0  # before another one is started, if one could not even begin
STOP_SECONDS = 20.0  # after which a worker that does not end is killed

_log = logging.getLogger(__name__)


def check(count: int, *, ui: bool) -> None:
    """Raise InvalidArgument unless this many processes can serve together. ui: whether there is the page."""
    if count == 1:
        return
    if os.name == "nt":
        raise InvalidArgument("--workers: on Windows one process serves; leave the option out")
    if ui:
        raise InvalidArgument(
            f"--workers {count} needs --no-ui: the page in the browser keeps the uploads and the state of its visitors "
            "in one process; to offer both, serve the page at another --port"
        )


def keep(count: int, listener: socket.socket, served: Mapping[str, Any]) -> NoReturn:
    """Keep this many workers answering, until this process is interrupted; then end them.

    served: JSON values, the arguments of `visret.server.worker`. A worker that dies is named in a warning, and another
    one takes its place. Raises VisretError if none can begin.
    """
    ended: SimpleQueue[_Worker] = SimpleQueue()
    workers: set[_Worker] = set()
    began = False
    try:
        workers.update(_Worker(listener, served, ended) for _ in range(count))
        while True:
            worker = ended.get()
            workers.discard(worker)
            began = began or worker.is_ready or any(one.is_ready for one in workers)
            if not began:
                raise VisretError(f"no process of the server could begin: the first {worker.end}")
            _log.warning("process %d of the server %s; another one takes its place", worker.number, worker.end)
            if not worker.is_ready:
                time.sleep(PAUSE_SECONDS)
            workers.add(_Worker(listener, served, ended))
    finally:
        for worker in workers:
            worker.stop()
        for worker in workers:
            worker.wait()


class _Worker:
    """A process that answers. It puts itself into `ended` when it has ended. is_ready: whether it has answered."""

    def __init__(self, listener: socket.socket, served: Mapping[str, Any], ended: SimpleQueue[_Worker]) -> None:
        self.is_ready = False
        # Not in the terminal's group: Ctrl-C is meant for the parent, which ends its workers.
        self._process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[listener.fileno()],
            start_new_session=True,
        )
        assert self._process.stdin is not None
        self._ended = ended
        line = json.dumps({**served, "listener": listener.fileno()})
        with suppress(BrokenPipeError):  # its end says more
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        threading.Thread(target=self._watch, daemon=True).start()

    @property
    def number(self) -> int:
        """The number of the process."""
        return self._process.pid

    @property
    def end(self) -> str:
        """The way in which it ended, in words."""
        code = self._process.returncode
        return f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"

    def stop(self) -> None:
        """Let it answer what was asked, and end."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended
            self._process.stdin.close()

    def wait(self) -> None:
        """Wait until it has ended."""
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _watch(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as said, forks.not_for_children(said.fileno()):
            self.is_ready = said.readline() == READY
            said.read()
        self._process.wait()
        self._ended.put(self)
