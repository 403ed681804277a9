"""Protection of forked processes from what they cannot use of their parent's: held locks, pools, and open files.

A fork (`multiprocessing` on Linux, `gunicorn --preload`, Celery) copies the memory of a process and one of its threads.
A lock that another thread holds stays locked in the child, work given to a pool waits for threads that do not exist,
and an open file is held by two processes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any
from weakref import WeakSet

WAIT_SECONDS = 5.0  # the longest that a fork waits for a lock

_locks: WeakSet[Lock] = WeakSet()
_whole: list[Lock] = []
_waited_for: list[Any] = []  # of RLock, which is a function until Python 3.13
_private: set[int] = set()


class Lock:
    """A lock for `with` that one thread may take more than once. In a process that has just been forked it is free.

    whole: makes a fork wait until no other thread holds the lock, so that the child finds nothing half done, for
    libraries that are not Python. Such a lock lives as long as the program, and no other one may be taken inside of it.
    """

    def __init__(self, *, whole: bool = False) -> None:
        self.inner = threading.RLock()
        _locks.add(self)
        if whole:
            _whole.append(self)

    def __enter__(self) -> None:
        self.inner.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.inner.release()


def in_child(function: Callable[[], object]) -> None:
    """Call a function in every process that is forked from now on, once its locks are free."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


@contextmanager
def not_for_children(*descriptors: int) -> Iterator[None]:
    """Keep these open files from children that are forked inside the block.

    They are closed when the parent closes them, however long a child lives.
    """
    _private.update(descriptors)
    try:
        yield
    finally:
        _private.difference_update(descriptors)


def _before() -> None:
    _waited_for[:] = [lock.inner for lock in _whole if lock.inner.acquire(timeout=WAIT_SECONDS)]


def _in_parent() -> None:
    while _waited_for:
        _waited_for.pop().release()


def _in_child() -> None:
    _waited_for.clear()
    for lock in list(_locks):
        lock.inner = threading.RLock()
    for descriptor in _private:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, descriptor, inheritable=False)  # if it were closed, another file might get its number
        os.close(nowhere)
    _private.clear()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
