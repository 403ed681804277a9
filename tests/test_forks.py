"""A process that was forked does what its parent can: nothing that stayed behind is waited for."""

import copy
import logging
import multiprocessing.reduction
import os
import pickle
import signal
import threading
import time
import traceback
import warnings
from pathlib import Path

import pytest
from PIL import Image

from visret import Page, Retriever, forks
from visret.index.writer import writer_lock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def forked(work, seconds=60):
    """Call it in a child of this process; whether it came to its end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: there are other threads
        child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:  # noqa: BLE001 - pytest must not go on in the child
            traceback.print_exc()
            os._exit(1)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def held_by_a_thread(lock, until):
    """The lock, held by another thread; returns it when it is held."""
    held = threading.Event()

    def hold():
        with lock:
            held.set()
            until()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    return thread


@pytest.mark.heavy
def test_a_child_searches_and_indexes_after_its_parent_has(tmp_path, caplog):
    import torch

    from visret.encoders import _torch

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.ones(1 << 20).add_(1)  # now torch's pool has a thread that no child has
    try:
        with Retriever.create(tmp_path / "i.visret") as parents:
            parents.add_pages([Page.from_text("The main bearing was inspected.", doc="a")])
            parents.search("bearing")

            def child():
                with Retriever.open(tmp_path / "i.visret") as own:
                    for retriever in (own, parents):
                        retriever.add_pages([Page.from_text(f"A wheel. {os.getpid()}", doc="b")])
                        assert [hit.doc for hit in retriever.search("wheel")] == ["b", "a"]
                for _ in range(2):
                    with _torch.on_threads(2):
                        assert torch.get_num_threads() == 1
                assert len([said for said in caplog.messages if "was forked" in said]) == 1
                assert _torch.threads() == 2

            with caplog.at_level(logging.WARNING):
                assert forked(child)
            assert torch.get_num_threads() == 2
            assert not caplog.messages
            parents.refresh()
            assert [hit.doc for hit in parents.search("wheel")] == ["b", "a"]
    finally:
        torch.set_num_threads(threads)


def test_a_lock_that_another_thread_holds_is_free_in_a_child():
    lock, done = forks.Lock(), threading.Event()
    thread = held_by_a_thread(lock, done.wait)

    def child():
        with lock, lock:
            pass

    assert forked(child, 5)
    done.set()
    thread.join()


def test_a_fork_waits_for_what_must_be_whole_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(forks, "_whole", [])
    lock, steps, done = forks.Lock(whole=True), [], threading.Event()

    def two_steps():
        steps.append(1)
        time.sleep(0.1)
        steps.append(2)

    thread = held_by_a_thread(lock, two_steps)

    def child():
        with lock:
            assert len(steps) == 2

    assert forked(child)
    thread.join()
    with lock:
        pass  # it is free in the parent too
    monkeypatch.setattr(forks, "WAIT_SECONDS", 0.05)
    thread = held_by_a_thread(lock, done.wait)
    assert forked(child, 5)
    done.set()
    thread.join()


def test_an_index_is_not_locked_by_a_child_that_outlives_the_writing(tmp_path):
    read, write = os.pipe()
    with writer_lock(tmp_path), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if not child:
            os.write(write, b"x")
            time.sleep(30)
            os._exit(0)
        os.read(read, 1)
    try:
        with writer_lock(tmp_path):
            assert os.waitpid(child, os.WNOHANG) == (0, 0)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(read)
        os.close(write)


def test_a_child_lets_the_reader_of_its_parent_alone(tmp_path, fresh_workers):
    """Nor does it hold the pipe whose end ends the reader, as long as the child lives."""
    from visret.ingest.messages import Request
    from visret.ingest.process import Worker

    Image.new("RGB", (9, 9)).save(tmp_path / "a.png")
    others = set(forks._private)
    worker = Worker()
    pipes = [worker._process.stdin.fileno(), worker._process.stdout.fileno()]

    def child():
        nowhere = Path(os.devnull).stat()
        assert [os.fstat(pipe).st_rdev for pipe in pipes] == [nowhere.st_rdev] * 2
        worker.close()

    assert forked(child)
    assert list(worker.read(Request(str(tmp_path / "a.png")), doc="a.png"))[-1].ref.page == 1
    worker.close()
    assert forks._private == others


def test_what_cannot_go_to_another_process_says_so(retriever):
    retriever.add_pages([Page.from_image(Image.new("RGB", (32, 32), "red"), doc="a")])
    (hit,) = hits = retriever.search("red")
    why = retriever.heatmap("red", hit)
    for send in (pickle.dumps, copy.copy, copy.deepcopy, multiprocessing.reduction.ForkingPickler.dumps):
        with pytest.raises(TypeError, match=r"open the index there: Retriever\.open\(.*i\.visret"):
            send(retriever)
    with pytest.raises(TypeError, match="open the index there"):
        pickle.dumps(why)
    again = pickle.loads(pickle.dumps(hits))
    assert (again, again.warnings) == (hits, hits.warnings)
