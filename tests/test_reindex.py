"""An index built anew beside itself: equal to a fresh one, in place at once, and back to the last bit."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reportlab.pdfgen.canvas import Canvas
from support.sheets import write_pdf

from visret import Page, Retriever, cli, load_encoder
from visret.errors import IndexLocked, ModelMismatch, PageIndexError
from visret.index import PageIndex
from visret.ingest import encoding

ROOT = Path(__file__).parent.parent
COLOURS = ("red", "green", "blue", "yellow")


@pytest.fixture
def folder(tmp_path):
    """PDFs with a colour and a sentence on each page."""
    root = tmp_path / "papers"
    root.mkdir()
    for name, colours in {"one": ["red", "green"], "two": ["blue"], "three": ["yellow", "red", "blue"]}.items():
        write_sheets(root / f"{name}.pdf", colours)
    return root


def write_sheets(path, colours):
    canvas = Canvas(str(path), pagesize=(64, 96))
    for colour in colours:
        canvas.setFillColor("lime" if colour == "green" else colour)
        canvas.rect(0, 0, 64, 64, stroke=0, fill=1)
        canvas.setFillColor("black")
        canvas.setFont("Helvetica", 6)
        canvas.drawString(2, 80, f"A {colour} house")
        canvas.showPage()
    canvas.save()


@pytest.fixture
def retriever(tmp_path, folder):
    with Retriever.create(tmp_path / "i.visret", model="toy") as made:
        made.add(folder, metadata=lambda path: {"stem": path.stem})
        yield made


def pages(retriever):
    """Every page with its stored vectors, and all that is known of its document."""
    index = retriever._index
    index.refresh()
    assert index.verify() == []
    return {
        (document.doc, page): (
            document.number,
            dict(document.metadata),
            document.state,
            index.embedding((document.doc, page)).vectors.tobytes(),
        )
        for document in index.snapshot.documents()
        for page in document.pages
    }


def answers(retriever, questions):
    return [(hit.ref, hit.score, hit.text, hit.metadata) for q in questions for hit in retriever.search(q)]


def entries(retriever):
    return {entry.name for entry in retriever._index.path.iterdir()}


@pytest.mark.heavy
def test_it_is_as_a_fresh_index_and_undone_as_it_was(retriever, folder, reads_words, tmp_path):
    before, asked = pages(retriever), answers(retriever, COLOURS)
    names = retriever.documents()
    report = retriever.reindex(model=reads_words, codec="float32", pool=2)
    assert (report.documents, report.pages, report.failed, report.empty) == (3, 6, [], [])
    assert (retriever.model, retriever.storage.codec, retriever.storage.pool) == ("all-minilm-l6-v2", "float32", 2)
    with Retriever.create(tmp_path / "fresh.visret", model=reads_words, codec="float32", pool=2) as fresh:
        fresh.add(folder, metadata=lambda path: {"stem": path.stem})
        questions = ["a blue house", "red"]
        assert answers(retriever, questions) == answers(fresh, questions)
        assert pages(retriever) == pages(fresh)
    assert retriever.documents() == names
    assert retriever.search("red", where={"stem": "two"})[0].doc == "two.pdf"

    retriever._given = None  # as if opened anew
    retriever.undo_reindex()
    assert retriever.model == "toy"
    assert pages(retriever) == before
    assert answers(retriever, COLOURS) == asked
    retriever.undo_reindex()
    assert retriever.model == "all-minilm-l6-v2"
    assert {place[1] for place in pages(retriever)} == {1, 2, 3}


@pytest.mark.heavy
def test_readers_go_on_until_they_refresh(retriever, reads_words):
    path = retriever._index.path
    asked = answers(retriever, COLOURS)
    with Retriever.open(path) as reader, Retriever.open(path, model=load_encoder("toy")) as bound:
        assert answers(reader, COLOURS) == asked
        seen = []

        def look(_):
            with Retriever.open(path) as late, pytest.raises(IndexLocked):
                late.remove("one.pdf")
            seen.append(answers(bound, COLOURS))

        retriever.reindex(model=reads_words, progress=look)
        assert seen
        assert all(there == asked for there in seen)
        assert answers(reader, COLOURS) == asked
        with pytest.raises(ModelMismatch, match="was made with all-minilm-l6-v2"):  # it still has the other one
            reader.add_pages([Page.from_text("words", doc="late")])
        assert reader.add_pages([Page.from_text("words", doc="late")]).pages == 1
        retriever.refresh()
        assert reader.search("a blue house") == retriever.search("a blue house")
        bound.refresh()
        with pytest.raises(ModelMismatch, match="was made with all-minilm-l6-v2"):
            bound.search("red")


@pytest.mark.heavy
def test_pages_made_in_memory_are_read_as_they_are_stored(tmp_path, reads_words):
    red = Image.new("RGB", (64, 96), "red")
    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        retriever.add_pages(
            [
                Page.from_image(red, doc="x", words=[("house", (0, 0, 0.5, 0.5))], metadata={"n": 1}),
                Page.from_image(red, doc="x", page=2, metadata={"n": 2}),
            ],
            metadata={"shelf": "a"},
        )
        retriever.add_pages([Page.from_text("only words", doc="y")])
        report = retriever.reindex(model=reads_words)
        assert (report.documents, report.pages, report.failed) == (2, 1, [])
        assert [(e.path, e.page) for e in report.empty] == [("x", 2), ("y", 1)]
        hit = retriever.search("house", where={"shelf": "a"})[0]
        assert (hit.ref, hit.metadata) == (("x", 1), {"shelf": "a", "n": 1})
        assert np.array_equal(np.asarray(retriever.picture(hit)), np.asarray(red))
        retriever.reindex(model="toy")  # the picture that the words' model could not read is still there
        assert {hit.ref for hit in retriever.search("red")} == {("x", 1), ("x", 2)}
        assert retriever._index.verify() == []


def test_a_damaged_picture_stays_damaged(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        retriever.add_pages([Page.from_image(Image.effect_noise((64, 96), 50), doc=d) for d in "xy"])
        picture = retriever._index.path / "renditions" / "000001" / "1.webp"
        data = bytearray(picture.read_bytes())
        data[len(data) // 2] ^= 1
        picture.write_bytes(data)
        retriever.reindex()
        assert any("1.webp is damaged" in problem for problem in retriever._index.verify())


def test_files_that_changed_or_are_gone(retriever, folder, caplog):
    (folder / "two.pdf").unlink()
    write_sheets(folder / "three.pdf", ["green"])
    report = retriever.reindex()
    assert [(Path(f.path).name, f.page) for f in report.failed] == [("two.pdf", None)]
    assert "put it back" in report.failed[0].reason
    assert "three.pdf: has changed since it was indexed" in caplog.text
    assert sorted(retriever.documents()) == ["one.pdf", "three.pdf", "two.pdf"]
    assert {hit.ref for hit in retriever.search("green", where={"stem": "three"})} == {("three.pdf", 1)}
    assert retriever.unread()[0] == report.failed
    write_sheets(folder / "two.pdf", ["blue"])
    assert retriever.add(folder).failed == []
    assert retriever.search("blue", k=1)[0].doc == "two.pdf"
    assert retriever.unread()[0] == []


def test_nothing_takes_the_place_where_no_page_can_be_read(retriever, folder, tmp_path):
    before = pages(retriever)
    folder.rename(tmp_path / "elsewhere")
    with pytest.raises(PageIndexError, match=r"no page could be read with toy, .* put it back"):
        retriever.reindex()
    assert pages(retriever) == before
    (tmp_path / "elsewhere").rename(folder)
    assert retriever.reindex().pages == 6


class Stopped(Exception):
    pass


def stop(progress):
    if progress.documents:
        raise Stopped


def test_a_stopped_one_goes_on(retriever, folder, monkeypatch):
    monkeypatch.setitem(encoding.BATCH_PAGES, "image", 1)
    before, asked = pages(retriever), answers(retriever, COLOURS)
    for _ in range(2):
        with pytest.raises(Stopped):
            retriever.reindex(codec="float32", progress=stop)
        assert pages(retriever) == before
        assert answers(retriever, COLOURS) == asked
        assert retriever.info()["bytes_beside"] > 0
    # meanwhile: one more, one less, one other
    write_sheets(folder / "four.pdf", ["green"])
    retriever.add(folder / "four.pdf", metadata={"late": True})
    retriever.remove("one.pdf")
    report = retriever.reindex(codec="float32")
    assert report.documents == 3
    assert report.unchanged >= 1, "what was read before the stop was read again"
    assert report.pages + report.unchanged < 6
    assert sorted(retriever.documents()) == ["four.pdf", "three.pdf", "two.pdf"]
    assert retriever.search("green", where={"late": True})[0].doc == "four.pdf"
    after = pages(retriever)
    assert {place: facts[:3] for place, facts in before.items() if place[0] != "one.pdf"}.items() <= {
        place: facts[:3] for place, facts in after.items()
    }.items()
    assert "next" not in entries(retriever)
    assert len(entries(retriever) - {"fitted"}) == 5  # with previous-N


def test_another_choice_starts_over_and_compact_lets_go(retriever, monkeypatch):
    monkeypatch.setitem(encoding.BATCH_PAGES, "image", 1)
    for codec in ("float32", "float16"):
        with pytest.raises(Stopped):
            retriever.reindex(codec=codec, progress=stop)
    assert retriever.reindex(codec="float16").unchanged == 1
    with pytest.raises(Stopped):
        retriever.reindex(codec="int8", progress=stop)
    retriever.compact()
    assert entries(retriever) == {"catalogue.sqlite", "catalogue.seal", "segments", "writer.lock"}
    segments = {segment.number for segment in retriever._index.snapshot.segments}
    assert {int(folder.name) for folder in (retriever._index.path / "segments").iterdir()} == segments
    with pytest.raises(PageIndexError, match="nothing to go back to"):
        retriever.undo_reindex()


def test_no_number_is_used_twice(retriever, folder):
    def segments():
        return {segment.number for segment in retriever._index.snapshot.segments}

    seen = segments()
    numbers = set(retriever._index.snapshot.docs().values())
    retriever.reindex()
    assert not segments() & seen
    seen |= segments()
    write_pdf(folder / "late.pdf", "red")
    retriever.add(folder)
    late = retriever._index.snapshot.docs()["late.pdf"]
    seen |= segments()
    retriever.undo_reindex()
    write_pdf(folder / "later.pdf", "red")
    retriever.add(folder / "later.pdf")
    assert retriever._index.snapshot.docs()["later.pdf"] not in numbers | {late}
    assert len(segments() - seen) == 1


@pytest.mark.parametrize("what", ["catalogue.sqlite", "catalogue.seal"])
def test_damage_beside_is_found_and_dropped(retriever, what):
    retriever.reindex()
    before = pages(retriever)
    (previous,) = retriever._index.path.glob("previous-*")
    data = bytearray((previous / what).read_bytes())
    data[len(data) // 2] ^= 1
    (previous / what).write_bytes(data)
    problems = retriever._index.verify()
    assert problems
    assert all(problem.startswith(previous.name) for problem in problems)
    assert retriever._index.repair() == [f"{previous.name} was dropped; the index itself is not affected"]
    assert pages(retriever) == before
    assert not previous.exists()
    with pytest.raises(PageIndexError, match="nothing to go back to"):
        retriever.undo_reindex()


def test_every_byte_of_the_segments_beside_is_checked(retriever):
    old = {segment.number for segment in retriever._index.snapshot.segments}
    retriever.reindex()
    vectors = retriever._index.path / "segments" / f"{max(old):06d}" / "vectors.npy"
    data = bytearray(vectors.read_bytes())
    data[-1] ^= 1
    vectors.write_bytes(data)
    assert any("vectors.npy is damaged" in problem for problem in retriever._index.verify())


def test_a_folder_that_cannot_be_written_is_said(retriever, monkeypatch):
    real = Path.open

    def refuse(path, *arguments, **named):
        if path.name == "writer.lock":
            raise OSError(30, "Read-only file system")
        return real(path, *arguments, **named)

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PageIndexError, match="cannot be written: Read-only file system"):
        retriever.reindex()


def test_on_the_command_line(retriever, folder, capsys):
    path = str(retriever._index.path)
    assert cli.main(["reindex", path, "--codec", "float32", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["pages"] == 6
    write_pdf(folder / "late.pdf", "red")
    retriever.add(folder)
    assert cli.main(["reindex", path, "--undo", "--codec", "int8"]) == 2
    assert cli.main(["reindex", path, "--undo"]) == 0
    out = capsys.readouterr()
    assert "toy again, 3 documents" in out.out
    assert "1 document added since" in out.err
    (folder / "one.pdf").unlink()
    assert cli.main(["reindex", path]) == 1
    assert "one.pdf: is no longer there" in capsys.readouterr().err


SCRIPT = """
import sys
from visret.ingest import encoding, recorder
recorder.COMMIT_SECONDS, encoding.BATCH_PAGES["image"] = (0.0, 0.0), 1
from visret.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.long
def test_killed_at_any_moment_it_is_one_good_index(tmp_path):
    rng = random.Random(5)
    for number in range(8):
        write_pdf(tmp_path / "papers" / f"{number}.pdf", *rng.choices(COLOURS, k=3))
    path = tmp_path / "i.visret"
    command = [sys.executable, "-c", SCRIPT, "reindex", str(path), "--codec", "float32"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with Retriever.create(path, model="toy") as retriever:
        retriever.add(tmp_path / "papers")
        old = pages(retriever)
        began = time.monotonic()
        subprocess.run(command, env=environment, check=True, capture_output=True)
        seconds = time.monotonic() - began
        new = pages(retriever)
        assert new != old
        retriever.undo_reindex()
        assert pages(retriever) == old
        for _ in range(3):
            process = subprocess.Popen(
                command, env=environment, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            try:
                process.wait(timeout=rng.uniform(seconds / 3, seconds))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            there = pages(retriever)
            assert there in (old, new)
            if there == new:
                retriever.undo_reindex()
        retriever.reindex(codec="float32")
        assert pages(retriever) == new
        retriever.undo_reindex()
        assert pages(retriever) == old
        assert entries(retriever) <= {
            "catalogue.sqlite",
            "catalogue.seal",
            "segments",
            "writer.lock",
            *(f"previous-{n}" for n in [PageIndex.open(path).snapshot.commits - 1]),
        }


def test_metadata_is_of_a_document_and_not_of_a_version(retriever, folder):
    """What a filter hides since the reindex stays hidden when one goes back, and forth again."""
    write_sheets(folder / "two.pdf", ["red", "blue"])
    retriever.reindex(codec="float32")
    assert retriever.document("two.pdf").metadata == {"stem": "two"}
    for doc in retriever.documents():
        retriever.set_metadata(doc, {"hidden": doc})
    for _ in range(2):
        retriever.undo_reindex()
        assert [retriever.document(doc).metadata["hidden"] for doc in retriever.documents()] == retriever.documents()
    assert len(retriever.search("red", where={"hidden": "two.pdf"})) == 2


def test_metadata_set_while_a_reindex_is_stopped_costs_no_page(retriever, stopping_at_page_2, monkeypatch):
    monkeypatch.setitem(encoding.BATCH_PAGES, "image", 1)
    with stopping_at_page_2(), pytest.raises(KeyboardInterrupt):
        retriever.reindex(codec="float32")
    retriever.set_metadata("one.pdf", {"hidden": True})
    assert retriever.reindex(codec="float32").pages == 5
    assert retriever.document("one.pdf").metadata == {"stem": "one", "hidden": True}
