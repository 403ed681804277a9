"""The families' use of torch: its threads, its integers, and its libraries without noise."""

from __future__ import annotations

import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import torch

from visret import forks

_log = logging.getLogger("visret")

Item = TypeVar("Item")
Made = TypeVar("Made")

_question_lock = forks.Lock(whole=True)
_threads_lock = forks.Lock()
_inside = _outside = 0  # the number of blocks that set the threads now, and the number of threads outside of them
_own = threading.local()  # count: the number that the block around this thread has set
_usual: int | None = None  # the number of threads of torch before this process was forked; None if it was not
_schemas: list[torch.library.Library] = []  # the operators live as long as this


def cpu_has_int8() -> bool:
    """Return whether the CPU has AVX-512 VNNI, without which torch has no fast code for 8-bit integers."""
    return bool(torch.cpu._is_vnni_supported())


def threads() -> int:
    """Return the number of threads that encode pages, if nobody asks for another."""
    return _usual or int(torch.get_num_threads())


def _forked() -> None:
    """Set torch to one thread in a forked process: its pool (OpenMP) has no threads here and would never answer.

    That pool belongs to the thread that forked. Threads that are made here have pools of their own, so `spread` works.
    """
    global _usual, _inside, _outside, _own
    _usual = _usual or (_outside if _inside else int(torch.get_num_threads()))
    _inside, _outside, _own = 0, 1, threading.local()
    torch.set_num_threads(1)


forks.in_child(_forked)


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Let torch use `count` threads inside the block.

    If blocks of several threads overlap, each gets at most what it asked for or what is set outside. The setting from
    outside all of them comes back at the end. A block inside another one of its thread leaves that as it was.
    """
    global _inside, _outside
    if _usual and count > 1:
        _say_once_of_fork(count)
        count = 1
    with _threads_lock:
        if not _inside:
            _outside = torch.get_num_threads()
        _inside += 1
        around, _own.count = getattr(_own, "count", None), count
        torch.set_num_threads(count)
    try:
        yield
    finally:
        with _threads_lock:
            _inside -= 1
            _own.count = around
            torch.set_num_threads(around if around and _inside else _outside)


@functools.cache
def _say_once_of_fork(count: int) -> None:
    _log.warning(
        "this process was forked from one that used torch, and encodes on one thread instead of %d; "
        "start it with the method spawn or forkserver for all of them",
        count,
    )


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Let torch use one thread inside the block, as questions do.

    They are so little work that waiting for a second thread on a busy machine costs more than it saves.
    """
    with _question_lock, on_threads(1):
        yield


def spread(function: Callable[[Item], Made], items: Sequence[Item], threads: int) -> list[Made]:
    """Call the function with each item on so many threads, with torch on one thread in each; results are in order.

    No thread waits for another, while torch's own threads meet after every product: 8.3 pages/s instead of 7.5 on two
    cores, and 2.7 instead of 1.4 while another process keeps them busy (all-minilm-l6-v2, float32).
    """
    with on_threads(1), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(function, items))


def import_torchvision() -> None:
    """Make torchvision importable, for transformers and colpali-engine.

    PyPI's torchvision for Linux is built for CUDA. Beside a CPU build of torch it lacks the operators `nms` and `qnms`
    and fails on import. Nobody here calls them, but their schemas must exist.
    """
    try:
        import torchvision
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
    except RuntimeError as error:
        if "torchvision::nms does not exist" not in str(error):
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for operator in ("nms", "qnms"):
            library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _schemas.append(library)
        import torchvision  # noqa: F401


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the progress bars and the advice of the model libraries inside the block."""
    import_torchvision()
    from transformers.utils import logging as transformers_logging

    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    # A library that calls logging.info() before logging is configured gives the root logger a handler.
    handlers = list(logging.root.handlers)
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # the hub's too
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
        logging.root.handlers[:] = handlers


def to_numpy(tensor: Any, *, unit: bool = True) -> Any:
    """Return float32 rows on the CPU.

    unit: make them unit rows, again where the model did so already, since bfloat16 rows are unit to three digits.
    """
    rows = tensor.detach().to("cpu", torch.float32)
    return (torch.nn.functional.normalize(rows, dim=-1) if unit else rows).numpy()
