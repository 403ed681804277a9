"""Processes that read documents, used again by the next test where nothing around them is different: each start costs a
third of a second, and there are hundreds.
"""

import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace

from visret.ingest import messages, process

Fresh = process.Worker  # what visret does: one that has done its work is ended
MAX_WAITING = 2
# Each test may have a cache of its own; what a worker has read by OCR is the same in any.
MEANS_NOTHING = {"PYTEST_CURRENT_TEST", "VISRET_CACHE"}

# A worker that breaks on the pages it is told to: {file name: {page, or 0 for opening: what happens}}.
BREAKING = """
import json, os, signal, sys, time
from visret import documents
from visret.documents import pdf
from visret.ingest import worker

plan = json.loads(sys.argv[1])
worker.MEMORY = 1 << 30

def happen(path, number):
    what = plan.get(path.name, {}).get(str(number))
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "exit":
        os._exit(3)
    elif what == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    elif what == "hang":
        time.sleep(600)
    elif what == "memory":
        bytearray(2 << 30)
    elif what == "defect":
        {}["nothing\\nthere"]
    elif what == "print":
        os.write(1, b"what a library prints\\n")

page, close, open_document = documents.Document.page, pdf.Pdf.close, documents.open_document

def breaking_page(self, number, **options):
    happen(self.path, number)
    return page(self, number, **options)

def breaking_close(self):
    happen(self.path, "close")
    close(self)

def breaking_open(path, **options):
    happen(path, 0)
    return open_document(path, **options)

documents.Document.page, pdf.Pdf.close, documents.open_document = breaking_page, breaking_close, breaking_open
worker.main()
"""


class Reused(Fresh):
    """As the product's, but for a start that may be spared and an end that may be put off."""

    waiting: list[tuple[object, dict]] = []  # noqa: RUF012 - what was around each, and all that is known of it

    def __init__(self) -> None:
        self._handing_over = threading.RLock()  # while it is, nobody may end it: the next one has it
        self._around = _around()
        self._idle, self._killed = True, False
        for waits in self.waiting[:]:
            around, known = waits
            if around == self._around and known["_process"].poll() is None:
                self.waiting.remove(waits)
                vars(self).update(known)
                return
        super().__init__()

    def read(self, request: messages.Request, *, doc: str) -> Iterator[messages.WorkerAnswer]:
        """One that is left in the middle of a file is of no use to anybody else."""
        self._idle = False
        yield from super().read(request, doc=doc)
        self._idle = True

    def kill(self) -> None:
        """End it, unless it waits for others already."""
        with self._handing_over:
            self._killed = True  # even if it has just read the last page, and has not died yet
            super().kill()

    def close(self) -> None:
        """Let it wait."""
        with self._handing_over:
            process = self._process
            if not self._idle or self._killed or self._expired is not None or process.poll() is not None:
                super().close()
                return
            known = {name: vars(self)[name] for name in ("_expired", "_parent", "_pipes", "_process")}
            self._idle, self._process = False, SimpleNamespace(returncode=0, stdin=None, stdout=None)
            self.waiting.append((self._around, known))
        while len(self.waiting) > MAX_WAITING:
            end(self.waiting.pop(0)[1])


def end(known) -> None:
    """End one that waits."""
    worker = Fresh.__new__(Fresh)
    vars(worker).update(known)
    worker.close()


def _around() -> object:
    """Everything that a worker is started with, and by whom: a process that was forked has no part in it."""
    environment = {name: value for name, value in process._environment().items() if name not in MEANS_NOTHING}
    return os.getpid(), tuple(process.COMMAND), os.getcwd(), environment  # noqa: PTH109
