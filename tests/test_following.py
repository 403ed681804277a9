"""An index that follows folders: `visret watch`, with messages of the system and without."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from functools import partial

import pytest
from support.sheets import write_pdf

from visret import Retriever, cli, retriever
from visret.errors import InvalidArgument, MissingExtra
from visret.index.writer import writer_lock
from visret.ingest import differences, following
from visret.ingest.options import ReadOptions

REST = 0.05


@pytest.fixture
def papers(papers):
    """Files that have been as they are for long: at the first look all of them, or none, would be at rest."""
    for file in papers.iterdir():
        os.utime(file, (time.time() - 60,) * 2)
    return papers


@pytest.fixture
def made(tmp_path):
    with Retriever.create(tmp_path / "papers" / "i.visret", model="toy") as opened:  # among the papers, as it may be
        yield opened


@pytest.fixture
def outside(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as opened:
        yield opened


@contextmanager
def followed(made, *paths, poll=0.05, **how):
    with closing(retriever.follow(made, paths, ReadOptions(), rest=REST, poll=poll, **how)) as reports:
        yield partial(next, reports)


def docs(made):
    return sorted(made.documents())


def test_what_comes_changes_moves_and_goes_is_followed(papers, made):
    with followed(made, papers, metadata={"year": 2024}) as report:
        assert report().added == 2
        made.set_metadata("one.pdf", {"seen": True})
        write_pdf(papers / "sub" / "three.pdf", "cyan")
        assert report().added == 1
        assert docs(made) == ["one.pdf", "sub/three.pdf", "two.pdf"]
        assert made.search("cyan")[0].doc == "sub/three.pdf"
        write_pdf(papers / "two.pdf", "magenta", "cyan", "blue")
        assert report().pages == 3
        assert len(made.document("two.pdf").pages) == 3
        before = made.document("one.pdf").number
        (papers / "one.pdf").rename(papers / "sub" / "uno.pdf")
        assert report().unchanged == 1  # the same document under another name, and nothing is read
        assert made.document("sub/uno.pdf").number == before
        assert docs(made) == ["sub/three.pdf", "sub/uno.pdf", "two.pdf"]
        shutil.rmtree(papers / "sub")
        assert report().removed == 2
        assert docs(made) == ["two.pdf"]


def test_a_document_that_others_put_there_stays(papers, made, tmp_path):
    made.add(write_pdf(tmp_path / "elsewhere" / "other.pdf", "red"))
    (tmp_path / "elsewhere" / "other.pdf").unlink()
    with followed(made, papers) as report:
        report()
        (papers / "one.pdf").unlink()
        assert report().removed == 1
    assert docs(made) == ["other.pdf", "two.pdf"]


def test_a_folder_that_is_gone_takes_nothing_with_it(papers, outside, tmp_path):
    with followed(outside, papers, tmp_path / "later") as report:
        (failure,) = report().failed
        assert (failure.path, failure.reason) == (str(tmp_path / "later"), "no such file or folder")
        assert report().added == 2
        papers.rename(tmp_path / "away")  # as a drive that is taken out
        (failure,) = report().failed
        assert (failure.path, failure.reason) == (str(papers), "no such file or folder")
        write_pdf(papers / "three.pdf", "cyan")
        assert report().added == 1
        assert report().removed == 2  # it is there again, without those two
    assert docs(outside) == ["three.pdf"]


def test_a_drive_that_comes_back_is_followed_again(papers, outside, tmp_path):
    with followed(outside, papers) as report:
        report()
        papers.rename(tmp_path / "away")
        report()
        (tmp_path / "away").rename(papers)
        write_pdf(papers / "three.pdf", "cyan")
        assert (report().added, docs(outside)) == (1, ["one.pdf", "three.pdf", "two.pdf"])


def test_a_drive_that_comes_back_empty_keeps_its_documents(outside, tmp_path):
    write_pdf(tmp_path / "drive" / "one.pdf", "red")
    with followed(outside, tmp_path / "drive") as report:
        assert report().added == 1
        (tmp_path / "drive" / "one.pdf").rename(tmp_path / "one.pdf")
        assert "no documents in this folder" in report().failed[0].reason
        write_pdf(tmp_path / "drive" / "two.pdf", "blue")
        assert report().added == 1
        assert report().removed == 1  # there are documents again, and this one is not among them
        assert docs(outside) == ["two.pdf"]


def test_a_file_that_is_being_written_is_read_when_it_is_whole(papers, made, tmp_path):
    whole = write_pdf(tmp_path / "whole.pdf", *["red", "green", "blue"] * 5).read_bytes()

    def write():
        with (papers / "slow.pdf").open("wb") as file:
            for start in range(0, len(whole), len(whole) // 20):
                file.write(whole[start : start + len(whole) // 20])
                file.flush()
                time.sleep(0.02)

    with followed(made, papers) as report:
        assert report().added == 2
        writing = threading.Thread(target=write)
        writing.start()
        first = report()
        writing.join()
        assert (first.added, first.failed) == (1, [])
        assert len(made.document("slow.pdf").pages) == 15


def test_what_fails_is_tried_again_and_then_let_be(papers, made, monkeypatch):
    monkeypatch.setattr(differences, "RETRIES", (0.1, 0.2))
    whole = (papers / "one.pdf").read_bytes()
    stat = (papers / "one.pdf").stat()
    (papers / "one.pdf").write_bytes(b"x" * len(whole))
    os.utime(papers / "one.pdf", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with followed(made, papers) as report:
        assert report().failed[0].reason.endswith(" (tried again in 0 s)")
        assert report().failed[0].reason.endswith(" (tried again in 0 s)")
        assert "tried again" not in report().failed[0].reason
        (papers / "one.pdf").write_bytes(whole)
        os.utime(papers / "one.pdf", ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
        assert (report().failed, docs(made)) == ([], ["one.pdf", "two.pdf"])


def test_a_file_that_failed_is_read_once_it_can_be_read(papers, made, monkeypatch):
    """Its size and its time of change may say nothing of it: a file that another program had locked."""
    monkeypatch.setattr(differences, "RETRIES", (0.1,))
    stat = (papers / "one.pdf").stat()
    whole = (papers / "one.pdf").read_bytes()
    (papers / "one.pdf").write_bytes(b"x" * len(whole))
    os.utime(papers / "one.pdf", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with followed(made, papers) as report:
        assert len(report().failed) == 1
        (papers / "one.pdf").write_bytes(whole)
        os.utime(papers / "one.pdf", ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert (report().failed, made.document("one.pdf").state) == ([], "done")


def test_it_waits_while_another_writes(papers, made, monkeypatch, caplog):
    monkeypatch.setattr(following, "LOCKED_SECONDS", 0.05)
    with followed(made, papers) as report:
        lock = writer_lock(made._index.path)
        lock.__enter__()
        threading.Timer(0.3, lambda: lock.__exit__(None, None, None)).start()
        assert report().added == 2
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.endswith("is being written by another process or thread; wait for it to end, or stop it; waiting")


def test_the_lock_is_held_for_a_batch_at_a_time(papers, made, monkeypatch):
    monkeypatch.setattr(following, "MAX_FILES", 1)
    with followed(made, papers) as report:
        for _ in range(2):
            assert report().added == 1
            with Retriever.open(made._index.path) as another:
                another.set_metadata("one.pdf", {"year": 2024})  # between two batches, others may write


def test_nothing_is_written_while_nothing_changes(papers, made):
    with followed(made, papers) as report:
        report()
        before = made._index.snapshot.commits
        threading.Timer(0.5, lambda: write_pdf(papers / "three.pdf", "cyan")).start()
        report()
        assert made._index.snapshot.commits <= before + 2  # of the new file alone


def test_patterns_are_heeded(papers, made):
    write_pdf(papers / "drafts" / "three.pdf", "cyan")
    (papers / "one.txt").write_text("red")
    with followed(made, papers, include=["*.pdf"], exclude=["drafts"]) as report:
        assert report().added == 2
    assert docs(made) == ["one.pdf", "two.pdf"]


def test_the_system_says_when_to_look(papers, made):
    pytest.importorskip("watchdog", reason="needs watchdog: pip install 'visret[watch]'")
    with followed(made, papers, poll=None) as report:
        assert report().added == 2
        write_pdf(papers / "sub" / "three.pdf", "cyan")
        assert report().added == 1
        write_pdf(papers / "sub" / "three.pdf", "cyan", "blue")
        assert report().pages == 2
        (papers / "sub").rename(papers / "other")
        assert report().unchanged == 1
        (papers / "other" / "three.pdf").unlink()
        assert report().removed == 1


def test_a_single_file_is_followed(papers, made):
    pytest.importorskip("watchdog", reason="needs watchdog: pip install 'visret[watch]'")
    with followed(made, papers / "one.pdf", poll=None) as report:
        assert report().added == 1
        write_pdf(papers / "one.pdf", "cyan", "blue", "red")
        assert report().pages == 3
        (papers / "one.pdf").unlink()
        threading.Timer(0.2, lambda: write_pdf(papers / "one.pdf", "cyan")).start()
        assert "no such file" in report().failed[0].reason
        assert report().added == 1


def test_what_is_missing_is_said_with_what_to_do(papers, made, monkeypatch):
    with (
        followed(made, papers / "nowhere", poll=None) as report,
        pytest.raises(InvalidArgument, match=r"--poll SECONDS waits for it"),
    ):
        report()
    monkeypatch.setitem(sys.modules, "watchdog", None)
    with followed(made, papers, poll=None) as report, pytest.raises(MissingExtra, match=r"visret\[watch\]"):
        report()


@pytest.mark.skipif(os.name == "nt", reason="signals are sent to a process of its own on POSIX only")
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_a_signal_ends_it_in_order(papers, tmp_path, number):
    index = tmp_path / "k.visret"
    command = ["watch", str(papers), "--index", str(index), "--model", "toy", "--poll", "0.1", "--settle", "0.1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "visret", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline().startswith(f"{index}: 2 documents (2 added, 0 unchanged), 3 pages read")
    process.send_signal(number)
    said, complaints = process.communicate(timeout=60)
    assert (process.returncode, said) == (130, "")
    assert complaints == "\nvisret: stopped; run the same command again to go on\n"
    assert cli.main(["verify", str(index)]) == 0


@pytest.mark.skipif(os.name == "nt", reason="signals are sent to a process of its own on POSIX only")
@pytest.mark.long
def test_it_ends_in_the_background_of_a_shell_too(papers, tmp_path):
    """There Ctrl-C is ignored, which SIGTERM must not be."""
    options = f"--index {tmp_path / 'k.visret'} --model toy --poll 0.1 --settle 0.1"
    script = f"{sys.executable} -m visret watch {papers} {options} & watcher=$!; sleep 6; kill $watcher; wait $watcher"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 130, done.stderr


def test_what_it_does_can_be_read_by_programs(papers, tmp_path, capsys, monkeypatch):
    reports = retriever.follow

    def two(*given, **named):
        followed = reports(*given, **named)
        yield next(followed)
        (papers / "one.pdf").unlink()
        yield next(followed)

    monkeypatch.setattr(retriever, "follow", two)
    before = signal.getsignal(signal.SIGTERM)
    try:
        options = ["--model", "toy", "--poll", "0.05", "--settle", "0.05", "--json"]
        assert cli.main(["watch", str(papers), "--index", str(tmp_path / "k.visret"), *options]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["added"], one["removed"]) for one in lines] == [(2, 0), (0, 1)]
