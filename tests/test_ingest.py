"""Files in, index out: nothing stops a batch, nothing is read twice, nothing is lost. With `toy`, on small PDFs."""

import os
import shutil
import signal
import sys
import threading
from itertools import groupby
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas
from support.runs import best, counts
from support.sheets import write_pdf

from visret import Page, Retriever, load_encoder
from visret.errors import DocumentError, IndexLocked, InvalidArgument
from visret.index import Writer, writer
from visret.ingest import encoding, messages, reader, recorder, run


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "papers"
    write_pdf(root / "one.pdf", "red", "green")
    write_pdf(root / "deep" / "two.pdf", "blue")
    Image.new("RGB", (64, 64), "yellow").save(root / "three.png")
    (root / ".DS_Store").write_bytes(b"junk")
    (root / "notes.xyz").write_bytes(b"junk")
    return root


def test_a_folder_becomes_documents_named_by_their_paths(retriever, folder):
    report = retriever.add(folder)
    assert counts(report) == (3, 4, 3, 0, 0)
    assert (report.failed, report.empty) == ([], [])
    assert best(retriever, "green") == ("one.pdf", 2)
    assert best(retriever, "blue") == ("deep/two.pdf", 1)
    assert best(retriever, "yellow") == ("three.png", 1)
    assert retriever.search("blue", k=1)[0].source == str((folder / "deep" / "two.pdf").resolve())


def test_again_nothing_is_read(retriever, folder):
    retriever.add(folder)
    assert counts(retriever.add(folder)) == (3, 0, 0, 3, 0)
    os.utime(folder / "one.pdf", (1, 1))  # another time, the same content
    assert counts(retriever.add(folder)) == (3, 0, 0, 3, 0)
    assert counts(retriever.add(folder)) == (3, 0, 0, 3, 0)


def test_a_changed_file_is_read_again_and_its_old_pages_are_gone(retriever, folder):
    retriever.add(folder)
    write_pdf(folder / "one.pdf", "magenta")
    assert counts(retriever.add(folder)) == (3, 1, 1, 2, 0)
    assert best(retriever, "magenta") == ("one.pdf", 1)
    assert len(retriever.search("red", k=99)) == 3


def test_a_renamed_file_is_not_read_again(retriever, folder):
    retriever.add(folder, metadata={"kept": True})
    shutil.move(folder / "one.pdf", folder / "deep" / "uno.pdf")
    assert counts(retriever.add(folder)) == (3, 0, 0, 3, 0)
    assert best(retriever, "red") == ("deep/uno.pdf", 1)
    assert retriever.search("red", where={"kept": True, "doc": "deep/uno.pdf"})
    assert "one.pdf" not in retriever.documents()
    assert retriever.page(("deep/uno.pdf", 1)).image.getpixel((5, 5)) == (254, 0, 0)  # JPEG inside the PDF


def test_new_files_are_hashed_when_they_are_read(retriever, folder, monkeypatch):
    of_file = messages.sha256
    monkeypatch.setattr(messages, "sha256", lambda path: pytest.fail(f"the first page waits for {path}"))
    retriever.add(folder)
    write_pdf(folder / "one.pdf", "red", "green", "blue")  # another size: not the file it was
    assert counts(retriever.add(folder)) == (3, 3, 1, 2, 0)
    for document in retriever._index.snapshot.documents():
        assert document.hash == of_file(Path(document.source))


def test_a_file_that_goes_before_it_is_read_leaves_its_pages_as_they_are(retriever, folder, monkeypatch):
    retriever.add(folder)
    changed = [write_pdf(folder / "one.pdf", "magenta"), write_pdf(folder / "new.pdf", "magenta")]
    carry = run.Recorder.carry_out

    def carry_out(self, *decided):
        for path in changed:
            path.unlink()
        return carry(self, *decided)

    with monkeypatch.context() as patch:  # after the files were looked at
        patch.setattr(run.Recorder, "carry_out", carry_out)
        report = retriever.add(folder, metadata={"hidden": True})
    assert all(retriever.document(doc).metadata == {"hidden": True} for doc in retriever.documents())
    assert [(Path(failure.path).name, failure.page) for failure in report.failed] == [
        ("new.pdf", None),
        ("one.pdf", None),
    ]
    assert sorted(hit.ref for hit in retriever.search("red", k=9) if hit.doc != "three.png") == [
        ("deep/two.pdf", 1),
        ("one.pdf", 1),
        ("one.pdf", 2),
    ]
    write_pdf(folder / "one.pdf", "cyan")
    assert counts(retriever.add(folder)) == (3, 1, 1, 2, 0)


def test_sync_removes_what_is_gone_under_these_folders_only(retriever, folder, tmp_path):
    other = write_pdf(tmp_path / "elsewhere" / "four.pdf", "cyan")
    retriever.add([folder, other])
    other.unlink()
    (folder / "three.png").unlink()
    assert counts(retriever.add(folder)) == (2, 0, 0, 2, 0)
    assert counts(retriever.add(folder, sync=True)) == (2, 0, 0, 2, 1)
    assert set(retriever.documents()) == {"one.pdf", "deep/two.pdf", "four.pdf"}


def test_sync_removes_nothing_from_a_folder_that_may_not_be_listed(retriever, folder, monkeypatch):
    retriever.add(folder)
    refuse = PermissionError(13, "Permission denied", str(folder / "deep"))
    lstat, scandir = os.lstat, os.scandir
    closed = (folder / "deep").resolve()
    monkeypatch.setattr(os, "scandir", lambda path: raising(refuse) if Path(path) == closed else scandir(path))
    monkeypatch.setattr(
        os, "lstat", lambda path, **how: raising(refuse) if closed in Path(path).parents else lstat(path, **how)
    )
    (folder / "three.png").unlink()
    report = retriever.add(folder, sync=True)
    assert [(failure.path, failure.reason) for failure in report.failed] == [
        (str(folder / "deep"), "the folder cannot be listed: Permission denied")
    ]
    assert set(retriever.documents()) == {"one.pdf", "deep/two.pdf"}


@pytest.mark.parametrize(
    ("include", "exclude", "docs"),
    [
        ("*.pdf", (), ["deep/two.pdf", "one.pdf"]),
        (["*.PNG", "one*"], (), ["one.pdf", "three.png"]),
        ((), ["deep"], ["one.pdf", "three.png"]),
        ((), "deep/", ["one.pdf", "three.png"]),
        ("deep/*", (), ["deep/two.pdf"]),
        ("*.pdf", "*/two*", ["one.pdf"]),
    ],
)
def test_patterns_choose_files(retriever, folder, include, exclude, docs):
    retriever.add(folder, include=include, exclude=exclude)
    assert sorted(retriever.documents()) == docs


def test_patterns_choose_among_files_given_by_themselves_too(retriever, folder):
    retriever.add(sorted(folder.iterdir()), include="*.pdf", exclude="t*")
    assert retriever.documents() == ["one.pdf"]


def test_sync_leaves_what_is_only_excluded(retriever, folder):
    retriever.add(folder)
    (folder / "three.png").unlink()
    assert counts(retriever.add(folder, exclude="deep", sync=True)) == (1, 0, 0, 1, 1)
    assert sorted(retriever.documents()) == ["deep/two.pdf", "one.pdf"]


@pytest.mark.parametrize("pattern", ["", "/", "/papers/*.pdf"])
def test_patterns_that_could_match_nothing_are_refused(retriever, folder, pattern):
    with pytest.raises(InvalidArgument, match="is not a pattern of names"):
        retriever.add(folder, include=pattern)


def test_the_same_name_from_two_folders_gets_its_parent(retriever, tmp_path):
    for name, colour in (("a", "red"), ("b", "green"), ("c", "blue")):
        retriever.add(write_pdf(tmp_path / name / "r.pdf", colour))
    assert retriever.documents() == ["r.pdf", "b/r.pdf", "c/r.pdf"]
    assert best(retriever, "green") == ("b/r.pdf", 1)


def test_bad_files_are_reported_and_stop_nothing(retriever, folder, tmp_path):
    (folder / "empty.pdf").write_bytes(b"")
    (folder / "broken.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    (folder / "text.pdf").write_text("I am text")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n then nothing")
    bare = tmp_path / "bare"
    bare.mkdir()
    report = retriever.add([folder, tmp_path / "missing", bare])
    assert counts(report) == (9, 4, 3, 0, 0)
    failed = {Path(failure.path).name: failure.reason for failure in report.failed}
    assert set(failed) == {"empty.pdf", "broken.pdf", "text.pdf", "broken.png", "missing", "bare"}
    assert all("\n" not in reason and len(reason) > 10 for reason in failed.values())
    assert "no documents" in failed["bare"]
    assert best(retriever, "yellow") == ("three.png", 1)


def test_an_encrypted_file_needs_its_password(retriever, folder):
    sheet = Canvas(str(folder / "secret.pdf"), pagesize=(64, 96), encrypt="sesame")
    sheet.setFillColorRGB(0, 1, 1)
    sheet.rect(0, 0, 64, 96, fill=1)
    sheet.save()
    (failure,) = retriever.add(folder).failed
    assert "password" in failure.reason
    (failure,) = retriever.add(folder, password="wrong").failed
    assert "password" in failure.reason
    assert retriever.add(folder, password="sesame").failed == []
    assert best(retriever, "cyan") == ("secret.pdf", 1)
    assert retriever.page(("secret.pdf", 1)).image.getpixel((5, 5)) == (0, 255, 255)


def test_a_truncated_file_keeps_what_can_be_read(retriever, folder):
    whole = (folder / "one.pdf").read_bytes()
    (folder / "one.pdf").write_bytes(whole[: len(whole) // 2])
    report = retriever.add(folder)
    assert [Path(failure.path).name for failure in report.failed] == ["one.pdf"]
    assert report.pages == 2


def test_a_failed_file_is_tried_again_when_it_changed_or_when_asked(retriever, folder):
    (folder / "one.pdf").write_bytes(b"%PDF-1.7 and then nothing")
    for retry in (False, True):
        report = retriever.add(folder, retry_failed=retry)
        assert [Path(failure.path).name for failure in report.failed] == ["one.pdf"]
    write_pdf(folder / "one.pdf", "red")
    report = retriever.add(folder)
    assert report.failed == []
    assert best(retriever, "red") == ("one.pdf", 1)


def test_what_a_model_cannot_read_is_empty_and_reported_each_time(retriever, folder):
    (folder / "words.txt").write_text("red and green")
    for _ in range(2):
        report = retriever.add(folder)
        assert [(Path(page.path).name, page.page) for page in report.empty] == [("words.txt", 1)]
        assert report.failed == []
    assert retriever.unread()[1][0].page == 1


def test_a_page_that_cannot_be_encoded_fails_alone(tmp_path, folder, monkeypatch):
    encoder = load_encoder("toy")
    encode = type(encoder).encode_pages

    def fussy(self, pages):
        if any(page.ref == ("one.pdf", 2) for page in pages):
            raise DocumentError("one.pdf", "is green", page=2)
        return encode(self, pages)

    monkeypatch.setattr(type(encoder), "encode_pages", fussy)
    with Retriever.create(tmp_path / "f.visret", model=encoder) as retriever:
        report = retriever.add(folder)
        assert [(Path(f.path).name, f.page) for f in report.failed] == [("one.pdf", 2)]
        assert report.pages == 3
        monkeypatch.setattr(type(encoder), "encode_pages", encode)
        assert len(retriever.add(folder).failed) == 1
        report = retriever.add(folder, retry_failed=True)
        assert (report.failed, report.pages) == ([], 2)
        assert best(retriever, "green") == ("one.pdf", 2)


def test_stopped_in_the_middle_it_keeps_what_is_done_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "BATCH_PAGES", {"image": 1, "text": 1})
    path = write_pdf(tmp_path / "p" / "many.pdf", *["red", "green", "blue", "yellow", "cyan"])
    encoder = load_encoder("toy")
    encode, seen = type(encoder).encode_pages, []

    def stop(self, pages):
        seen.extend(page.ref.page for page in pages)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return encode(self, pages)

    with Retriever.create(tmp_path / "s.visret", model=encoder) as retriever:
        monkeypatch.setattr(type(encoder), "encode_pages", stop)
        with pytest.raises(KeyboardInterrupt):
            retriever.add(path)
        assert [hit.page for hit in retriever.search("red", k=9)] == [1, 2]
        assert retriever.info()["partial"] == 1
        path = path.rename(path.with_name("renamed.pdf"))
        report = retriever.add(path)
        assert (report.pages, report.added) == (3, 1)
        assert seen == [1, 2, 3, 3, 4, 5]
        assert sorted(hit.page for hit in retriever.search("red", k=9)) == [1, 2, 3, 4, 5]
        assert retriever.info()["done"] == 1
    assert not [thread for thread in threading.enumerate() if thread.name == "visret-reader"]


def test_metadata_may_depend_on_the_path(retriever, folder):
    retriever.add(folder, metadata=lambda path: {"folder": path.parent.name})
    assert [hit.doc for hit in retriever.search("red", where={"folder": "deep"})] == ["deep/two.pdf"]


def test_a_source_that_changed_is_never_shown_in_its_place(retriever, folder):
    retriever.add(folder)
    write_pdf(folder / "one.pdf", "blue", "blue")
    with pytest.raises(DocumentError, match="changed"):
        retriever.heatmap("red", ("one.pdf", 1)).image()
    (folder / "one.pdf").unlink()
    with pytest.raises(DocumentError, match="no longer there"):
        retriever.page(("one.pdf", 1))
    assert best(retriever, "red") == ("one.pdf", 1)  # the index still answers


def test_a_second_writer_is_refused(retriever, folder, tmp_path):
    with Retriever.open(tmp_path / "i.visret") as other, retriever._index.writing(), pytest.raises(IndexLocked):
        other.add(folder)


def test_links_to_folders_are_not_followed_and_a_file_counts_once(retriever, folder):
    try:
        (folder / "deep" / "loop").symlink_to(folder, target_is_directory=True)
        (folder / "again.pdf").symlink_to(folder / "one.pdf")
    except OSError:
        pytest.skip("this system makes no symbolic links for this user")
    assert counts(retriever.add([folder, folder / "one.pdf"])) == (3, 4, 3, 0, 0)


def test_an_index_among_the_documents_is_left_alone(retriever, folder):
    with Retriever.create(folder / "old", model="toy") as other:
        other.add_pages([Page.from_image(Image.new("RGB", (32, 32), "cyan"), doc="x")])
    assert list((folder / "old").rglob("*.webp"))
    assert retriever.add(folder).documents == 3


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse file names that are not Unicode")
def test_names_in_any_encoding(retriever, folder):
    for name in (b"caf\xe9.pdf", b"caf\xe8.pdf", "日本 ü.pdf".encode()):
        write_pdf(folder / "plain.pdf", "cyan").rename(folder / os.fsdecode(name))
    report = retriever.add(folder)
    assert (report.documents, report.failed) == (6, [])
    names = retriever.documents()
    assert "日本 ü.pdf" in names
    assert len([name for name in names if "caf?.pdf" in name]) == 2
    for hit in retriever.search("cyan", k=3):
        assert retriever.page(hit).image.getpixel((9, 9))[0] < 9
    assert retriever.add(folder).unchanged == 6


@pytest.mark.skipif(os.name == "nt", reason="pipes among files, and links without rights, are POSIX")
def test_odd_files_stop_nothing(retriever, folder):
    (folder / "loop.pdf").symlink_to("loop.pdf")
    (folder / "gone.pdf").symlink_to("nowhere.pdf")
    os.mkfifo(folder / "pipe.pdf")
    report = retriever.add(folder)
    assert {Path(failure.path).name for failure in report.failed} == {"loop.pdf", "gone.pdf", "pipe.pdf"}
    assert report.pages == 4


def test_sync_keeps_what_is_only_out_of_reach(retriever, folder, monkeypatch):
    retriever.add(folder)
    walk = os.walk

    def broken(top, onerror):
        yield next(walk(top))
        onerror(OSError(5, "Input/output error", str(folder / "deep")))

    monkeypatch.setattr(os, "walk", broken)
    report = retriever.add(folder, sync=True)
    assert report.removed == 0
    assert "cannot be listed" in report.failed[0].reason
    monkeypatch.undo()
    folder.rename(folder.with_name("unmounted"))
    assert retriever.add(folder, sync=True).removed == 0
    assert len(retriever.documents()) == 3


def test_vectors_that_cannot_be_stored_fail_alone(tmp_path, folder, monkeypatch):
    encoder = load_encoder("toy")
    encode = type(encoder).encode_pages

    def spoil(self, pages):
        made = encode(self, pages)
        for page in made:
            if page.ref == ("one.pdf", 1):
                page.vectors[0, 0] = np.nan
        return made

    monkeypatch.setattr(type(encoder), "encode_pages", spoil)
    with Retriever.create(tmp_path / "n.visret", model=encoder) as retriever:
        report = retriever.add(folder)
        assert [(Path(f.path).name, f.page) for f in report.failed] == [("one.pdf", 1)]
        assert report.pages == 3


def test_ctrl_c_while_writing_waits_for_the_page_to_be_whole(retriever, folder, monkeypatch):
    put = Writer.put

    def interrupted(self, number, page):
        signal.raise_signal(signal.SIGINT)
        put(self, number, page)

    monkeypatch.setattr(Writer, "put", interrupted)
    with pytest.raises(KeyboardInterrupt):
        retriever.add(folder)
    monkeypatch.undo()
    assert len(retriever.search("red", k=9)) == 4
    assert retriever._index.verify() == []
    assert retriever.add(folder).failed == []


def test_pages_given_twice_and_documents_without_vectors(retriever):
    sheet = Image.new("RGB", (32, 32), "red")
    with pytest.raises(InvalidArgument, match="given twice"):
        retriever.add_pages([Page.from_image(sheet, doc="x"), Page.from_image(sheet, doc="x")])
    retriever.add_pages([Page.from_text("words", doc="y")])
    assert retriever.info()["empty"] == 1


def test_progress_counts_to_the_end(retriever, folder):
    seen = []
    retriever.add(folder, progress=lambda p: seen.append((p.documents, p.documents_total, p.pages, p.seconds_left)))
    assert seen[-1][:3] == (3, 3, 4)
    assert seen[-1][3] == 0


# ---- what an index learns from its first pages


@pytest.fixture
def learning(tmp_path, monkeypatch):
    """An index that learns from two pages of 11 x 16 cells, and commits after every page."""
    monkeypatch.setattr(encoding, "BATCH_PAGES", {"image": 1, "text": 1})
    monkeypatch.setattr(recorder, "COMMIT_BYTES", 0)
    monkeypatch.setattr(writer, "SAMPLE", 2 * 176)
    with Retriever.create(tmp_path / "l.visret", model="toy", codec="residual2") as made:
        yield made


def segments(retriever):
    """Pages of each segment."""
    return [len(segment) for segment in retriever._index.snapshot.segments]


def test_the_first_commit_waits_for_enough_to_learn_from(learning, tmp_path):
    path = write_pdf(tmp_path / "p" / "many.pdf", "red", "green", "blue", "yellow")
    seen = []
    report = learning.add(path, progress=lambda _: seen.append(segments(learning)))
    assert report.pages == 4
    assert [now for now, _ in groupby(seen)] == [[], [2], [2, 1], [2, 1, 1]]
    assert learning.info()["fitted_to"] == 2 * 176
    assert best(learning, "green") == ("many.pdf", 2)


def test_the_end_of_a_run_ends_the_wait(learning, tmp_path):
    assert learning.add(write_pdf(tmp_path / "p" / "one.pdf", "red")).pages == 1
    assert (segments(learning), learning.info()["fitted_to"]) == ([1], 176)
    learning.add(write_pdf(tmp_path / "p" / "two.pdf", "green", "blue"))
    assert (segments(learning), learning.info()["fitted_to"]) == ([1, 1, 1], 176)


def test_pages_made_in_memory_wait_too(learning):
    sheets = [Page.from_image(Image.new("RGB", (64, 96), c), doc="x", page=i) for i, c in enumerate(["red"] * 4, 1)]
    learning.add_pages(sheets)
    assert (segments(learning), learning.info()["fitted_to"]) == ([2, 1, 1], 2 * 176)


def test_stopped_while_it_waits_it_keeps_what_is_done_and_goes_on(learning, tmp_path, stopping_at_page_2):
    path = write_pdf(tmp_path / "p" / "many.pdf", "red", "green", "blue")
    with stopping_at_page_2(), pytest.raises(KeyboardInterrupt):
        learning.add(path)
    assert [hit.page for hit in learning.search("red")] == [1]
    assert learning.add(path).pages == 2
    assert learning.info()["fitted_to"] == 176
    assert learning._index.verify() == []


HIDDEN = {"confidential": True}


def metadata(retriever):
    return {doc: retriever.document(doc).metadata for doc in retriever.documents()}


@pytest.mark.parametrize("how", ["changed", "moved", "failed and back", "read again", "synced"])
def test_metadata_stays_with_a_document_whatever_becomes_of_its_file(retriever, folder, how):
    """A filter that hides a document goes on hiding it, when the next run says nothing of metadata."""
    retriever.add(folder / "one.pdf", metadata=HIDDEN)
    doc = "one.pdf"
    if how == "changed":
        write_pdf(folder / doc, "magenta")
    elif how == "moved":
        doc = "uno.pdf"
        (folder / "one.pdf").rename(folder / doc)
    elif how == "failed and back":
        (folder / doc).write_bytes(b"%PDF-no")
        assert len(retriever.add(folder).failed) == 1
        assert retriever.document(doc).metadata == HIDDEN
        write_pdf(folder / doc, "magenta")
    report = retriever.add(folder, sync=how == "synced", retry_failed=how == "read again")
    assert report.updated == 0
    assert retriever.document(doc).metadata == HIDDEN
    assert doc not in {hit.doc for hit in retriever.search("magenta", where={"not": HIDDEN})}


def test_metadata_stays_with_a_document_that_was_stopped(retriever, folder, stopping_at_page_2, monkeypatch):
    monkeypatch.setitem(encoding.BATCH_PAGES, "image", 1)
    with stopping_at_page_2(), pytest.raises(KeyboardInterrupt):
        retriever.add(folder / "one.pdf", metadata=HIDDEN)
    assert retriever.document("one.pdf").state == "partial"
    assert counts(retriever.add(folder / "one.pdf")) == (1, 1, 1, 0, 0)
    assert retriever.document("one.pdf").metadata == HIDDEN


def test_metadata_of_files_that_have_not_changed_is_replaced_without_reading(retriever, folder, monkeypatch):
    retriever.add(folder, metadata={"year": 2023, "shelf": "a"})
    monkeypatch.setattr(reader.Reader, "__iter__", lambda reader: iter(()) if not reader.tasks else pytest.fail("read"))
    report = retriever.add(folder, metadata=lambda path: {"year": 2024} if path.name == "one.pdf" else None)
    assert (counts(report), report.updated) == ((3, 0, 0, 3, 0), 1)
    assert metadata(retriever)["one.pdf"] == {"year": 2024}
    assert metadata(retriever)["three.png"] == {"year": 2023, "shelf": "a"}
    assert retriever.add(folder / "three.png", metadata={"year": 2023, "shelf": "a"}).updated == 0
    assert retriever.add(folder / "three.png", metadata={"year": 2023, "shelf": True}).updated == 1
    assert retriever.add(folder / "three.png", metadata={"year": 2023, "shelf": 1}).updated == 1, "1 is not true"
    assert retriever.add(folder, metadata={}).updated == 3
    assert set(map(str, metadata(retriever).values())) == {"{}"}


def test_metadata_is_replaced_where_a_file_failed_or_moved_or_cannot_be_reached(retriever, folder, monkeypatch):
    (folder / "one.pdf").write_bytes(b"%PDF-no")
    retriever.add(folder)
    (folder / "three.png").rename(folder / "drei.png")
    stat = Path.stat
    refuse = PermissionError(13, "Permission denied")
    monkeypatch.setattr(Path, "stat", lambda path, **how: stat(path, **how) if path.stem != "two" else raising(refuse))
    monkeypatch.setattr(Path, "is_file", os.path.isfile)
    retriever.add(folder, metadata=HIDDEN)
    assert metadata(retriever) == {"deep/two.pdf": HIDDEN, "one.pdf": HIDDEN, "drei.png": HIDDEN}


def raising(error):
    raise error


def test_of_files_with_one_content_each_keeps_its_metadata_when_they_move(retriever, folder):
    shutil.copy(folder / "three.png", folder / "deep" / "public.png")
    retriever.add(folder, metadata=lambda path: {"public": path.name == "public.png"})
    shutil.move(folder, folder.parent / "moved")
    retriever.add(folder.parent / "moved")
    assert {doc: kept["public"] for doc, kept in metadata(retriever).items() if doc.endswith("png")} == {
        "deep/public.png": True,
        "three.png": False,
    }


def test_metadata_goes_with_the_content_of_files_that_change_names(retriever, folder):
    """A file that is moved over another does not get what that one was allowed."""
    retriever.add(folder, metadata=lambda path: {"was": path.stem})
    (folder / "one.pdf").replace(folder / "deep" / "two.pdf")
    (folder / "three.png").rename(folder / "three-2023.png")
    Image.new("RGB", (64, 60), "cyan").save(folder / "three.png")
    report = retriever.add(folder)
    assert {doc: of["was"] for doc, of in metadata(retriever).items()} == {
        "deep/two.pdf": "one",
        "three-2023.png": "three",
        "three.png": "three",
    }
    assert (report.pages, report.unchanged, report.failed) == (2, 1, [])
    assert best(retriever, "green") == ("deep/two.pdf", 2)


def test_metadata_that_no_filter_could_use_is_refused_before_anything_is_read(retriever, folder):
    for wrong in ({"doc": "x"}, {"x": b""}, {5: 1}, "text", lambda path: [1]):
        with pytest.raises(InvalidArgument, match="metadata of"):
            retriever.add(folder, metadata=wrong)
    assert retriever.documents() == []


def test_paths_that_are_none_are_refused(retriever, folder):
    for wrong in ("", [None], [folder, ""], b"a", 5):
        with pytest.raises(InvalidArgument, match="a path to read is text"):
            retriever.add(wrong)
    with pytest.raises(InvalidArgument, match="no paths to read"):
        retriever.add([])
    report = retriever.add(path for path in [str(folder / "three.png") + "/", folder / ("x" * 300), "~nobody-here/x"])
    assert (report.documents, len(report.failed)) == (3, 2)
