"""The command line: what it prints and where, its exit status, and one clear line for everything that goes wrong."""

import contextlib
import errno
import io
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from support.judge import Judge
from support.sheets import write_pdf
from support.word_model import Words

from visret import Page, Retriever, cli
from visret.__main__ import stoppable
from visret.encoders import toy
from visret.ingest import encoding
from visret.models import registry
from visret.types import Hit, PageRef, Passage

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def index(papers, tmp_path, capsys):
    assert cli.main(["index", str(papers), "--index", str(tmp_path / "i.visret"), "--model", "toy"]) == 0
    capsys.readouterr()
    return tmp_path / "i.visret"


def damage_vectors(index):
    """Flip the last bit of a stored vector."""
    (vectors,) = index.glob("segments/*/vectors.npy")
    data = bytearray(vectors.read_bytes())
    data[-1] ^= 1
    vectors.write_bytes(data)


def run(capsys, *arguments):
    """-> exit status, stdout, stderr"""
    try:
        status = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def test_find_answers_at_once_and_reads_only_what_is_new(capsys, papers):
    status, out, _ = run(capsys, "find", "blue", papers, "--model", "toy")
    assert status == 0
    assert out.split()[:4] == ["1", "one.pdf", "p.", "2"]
    write_pdf(papers / "three.pdf", "cyan")
    status, out, _ = run(capsys, "find", "cyan", papers, "--model", "toy", "--json")
    found = json.loads(out)
    assert (found["query"], found["failed"], found["empty"]) == ("cyan", [], [])
    assert found["hits"][0]["doc"] == "three.pdf"
    (papers / "three.pdf").unlink()
    _, out, _ = run(capsys, "find", "cyan", papers, "--model", "toy", "--json")
    assert "three.pdf" not in {hit["doc"] for hit in json.loads(out)["hits"]}
    status, out, _ = run(capsys, "cache")
    assert str(papers) in out
    assert run(capsys, "cache", "--clear")[1] == "removed 1 cached index\n"
    assert run(capsys, "cache")[1] == "nothing is cached\n"


def test_find_reports_a_missing_path_and_answers_from_the_others(capsys, papers, tmp_path):
    status, out, err = run(capsys, "find", "blue", tmp_path / "missing", papers, "--model", "toy", "--json")
    assert status == 1
    assert "missing: no such file" in err
    assert json.loads(out)["hits"][0]["doc"] == "one.pdf"


def test_find_answers_from_what_is_done_after_ctrl_c(capsys, papers, monkeypatch):
    monkeypatch.setattr(encoding, "BATCH_PAGES", {"image": 1, "text": 1})
    encode = toy.ToyEncoder.encode_pages

    def stop(self, pages):
        if pages[0].ref.doc == "two.pdf":
            raise KeyboardInterrupt
        return encode(self, pages)

    monkeypatch.setattr(toy.ToyEncoder, "encode_pages", stop)
    status, out, err = run(capsys, "find", "blue", papers, "--model", "toy", "--json")
    assert status == 130
    assert "what has been read so far" in err
    assert [hit["page"] for hit in json.loads(out)["hits"]] == [2, 1]


@pytest.mark.heavy
def test_a_document_cannot_write_to_the_terminal(capsys, tmp_path):
    (tmp_path / "evil.txt").write_text("the red door \x1b]0;owned\x07 is open")
    _, out, _ = run(capsys, "find", "which door is open?", tmp_path / "evil.txt")
    assert "the red door" in out
    assert "\x1b" not in out


def test_a_terminal_that_cannot_show_a_letter(papers, tmp_path):
    (papers / "one.pdf").rename(papers / "été.pdf")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "visret", "find", "blue", str(papers), "--model", "toy"]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert b"?t?.pdf" in done.stdout


class Broken(io.TextIOWrapper):
    """A stream to a pipe that nobody reads."""

    def __init__(self):
        reader, writer = os.pipe()
        os.close(reader)
        super().__init__(open(writer, "wb"), encoding="utf8")  # noqa: PTH123, SIM115


@pytest.mark.parametrize("arguments", [["models"], ["--help"], ["models", "--json"]])
def test_a_reader_that_went_away_is_no_traceback(capsys, monkeypatch, arguments):
    with Broken() as stream:  # closing it flushes, as Python does when it ends
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(arguments) == 1
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a disk that is always full is Linux's")  # noqa: PTH110
def test_a_full_disk_under_stdout_is_said(capsys, monkeypatch):
    with open("/dev/full", "w") as stream:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", stream)
        assert cli.main(["models"]) == 1
    assert "the disk is full" in capsys.readouterr().err


def test_closed_streams_are_no_error(capsys, papers, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", None)  # and what belongs there does not go to stdout
        assert cli.main(["search", str(papers), "red", "--json"]) == 1
        sys.stderr.close()
        patch.setattr(sys, "stdout", None)
        assert cli.main(["models"]) == 0
        sys.stdout.close()
    assert capsys.readouterr().out == ""


@pytest.fixture
def interrupts():
    """Puts back what Ctrl-C does."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_ctrl_c_ends_the_command_with_130_whatever_it_does():
    def imported():  # as NumPy's import does
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("PyCapsule_Import") from None

    def kept():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        return 0

    for run in (imported, kept, lambda: signal.raise_signal(signal.SIGINT)):
        signal.signal(signal.SIGINT, signal.default_int_handler)
        assert stoppable(run) == 130
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(ZeroDivisionError):
        stoppable(lambda: 1 // 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert stoppable(lambda: 3) == 3
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_ctrl_c_while_python_ends_is_130():
    code = "import signal, visret.__main__ as m; m.stoppable(lambda: 0); signal.raise_signal(signal.SIGINT)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (130, b"")


def test_what_cannot_be_written_fails_in_a_sentence_before_the_work(capsys, papers, index, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("")
    monkeypatch.setattr(toy, "load", lambda *_, **__: pytest.fail("the model was loaded"))
    search, find = ["search", index, "red", "--pictures"], ["find", "red", papers, "--model", "toy", "--pictures"]
    draw = ["heatmap", index, "red", "--doc", "one.pdf", "--page", 1, "--out"]
    make = ["index", papers, "--model", "toy", "--index"]
    for command, place, status, message in (
        (search, file, 2, "--pictures takes a folder"),
        (find, file, 2, "--pictures takes a folder"),
        (search, file / "below", 1, "no picture can be written there"),
        (find, file / "below", 1, "no picture can be written there"),
        (draw, tmp_path, 2, "is a folder"),
        (draw, file / "why.png", 1, "no picture can be written there"),
        (make, file, 1, "cannot be made"),
        (make, file / "below", 1, "cannot be made"),
        (make, papers, 1, "is not empty"),
        (["models", "fetch", "vidore/colqwen2-v1.0", "--to"], file / "below", 1, "nothing can be written there"),
    ):
        got, out, err = run(capsys, *command, place)
        assert (got, out, len(err.splitlines())) == (status, "", 1)
        assert message in err
    monkeypatch.setattr(cli, "unwritable", lambda _: "Read-only file system")
    status, _, err = run(capsys, "index", papers, "--index", index)
    assert (status, err) == (1, f"visret: {index}: cannot be written: Read-only file system\n")


def test_a_picture_whose_document_is_gone_is_named_and_the_others_are_drawn(capsys, papers, index, tmp_path):
    (papers / "one.pdf").unlink()
    status, out, err = run(capsys, "search", index, "red", "--json", "--pictures", tmp_path / "pics")
    assert status == 1
    pictures = {(hit["doc"], hit["page"]): hit["picture"] for hit in json.loads(out)["hits"]}
    assert [place for place, picture in pictures.items() if picture] == [("two.pdf", 1)]
    assert err.count("no picture of one.pdf") == 2
    assert len(list((tmp_path / "pics").iterdir())) == 1


def test_a_disk_that_fills_up_is_said_once_and_the_hits_stand(capsys, index, tmp_path, monkeypatch):
    def save(image, path):
        path.write_bytes(b"half a")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    status, out, err = run(capsys, "search", index, "red", "--json", "--pictures", tmp_path / "pics")
    assert status == 1
    assert [hit["picture"] for hit in json.loads(out)["hits"]] == [None] * 3
    assert len(err.splitlines()) == 1
    assert "or any after it" in err
    assert list((tmp_path / "pics").iterdir()) == []


def test_a_picture_has_a_name_that_every_file_system_takes():
    for doc in ("a/b.pdf", 'https://x?y="1"|*<>', "\\" * 300, "日" * 300, "tab\there", "half \ud800"):
        name = cli._picture_name(Hit(PageRef(doc, 3), 1.0, 2, "", None, {}, False))
        assert len(name.encode("utf8", "replace")) <= 255
        assert not set(name) & set('/\\:*?"<>|\t')
        assert name.startswith("02-")
        assert name.endswith("-p3.png")


@pytest.mark.parametrize("name", ["demo", "index_pages"])
def test_a_script_speaks_for_itself_before_any_work(capsys, monkeypatch, name):
    script = Path(__file__).parent.parent / "apps" / f"{name}.py"
    made = runpy.run_path(str(script))
    monkeypatch.setattr(Retriever, "create", lambda *_, **__: pytest.fail("an index was made"))
    for argument, status in (("--help", 0), ("--nope", 2), ("--port=99999", 2), ("--codec=zip", 2)):
        monkeypatch.setattr(sys, "argv", [str(script), argument])
        with pytest.raises(SystemExit) as stop:
            made["main"]()
        assert stop.value.code == status
        said = "".join(capsys.readouterr())
        assert said.startswith(f"usage: {name}.py [-h]")
        assert "visret serve [" not in said
    if name == "demo":
        monkeypatch.setattr(sys, "argv", [str(script), "--host", "0.0.0.0"])
        monkeypatch.delenv("VISRET_API_KEY", raising=False)
        assert made["main"]() == 1
        assert "a key is needed" in capsys.readouterr().err


def test_a_snippet_is_the_beginning_of_the_passage_or_the_line_that_answers():
    def shown(passage, line):
        given = Passage(passage, (), None, None, 1.0) if passage else None
        return cli._snippet(Hit(PageRef("a", 1), 1.0, 1, line, None, passage=given))

    words = " ".join(f"word{i}" for i in range(40))
    assert shown("A heading\nand a line", "and a line") == "A heading and a line"
    assert shown(f"{words}\nthe line  that answers\nmore", "the line that answers") == "... the line that answers more"
    long = shown(f"{words}\n{words}", words)
    assert long.startswith("word0 word1")
    assert long.endswith(" ...")
    assert len(long) <= cli.SNIPPET
    assert shown("", "a line") == "a line"
    assert shown("", "") == ""


def test_json_has_the_fields_people_script_against(capsys, papers, index, tmp_path):
    status, out, err = run(capsys, "search", index, "blue", "-k", 2, "--json", "--pictures", tmp_path / "pics")
    assert (status, err) == (0, "")
    found = json.loads(out)
    assert set(found) == {"query", "hits", "warnings", "failed", "empty", "lost"}
    assert found["warnings"] == []
    first = found["hits"][0]
    assert set(first) >= {"rank", "score", "doc", "page", "text", "source", "boxes", "picture"}
    assert (first["rank"], first["doc"], first["page"]) == (1, "one.pdf", 2)
    assert set(first["boxes"][0]) == {"x0", "y0", "x1", "y1", "score"}
    assert sum(box["score"] for box in first["boxes"]) == pytest.approx(1, abs=1e-3)
    with Image.open(first["picture"]) as picture:
        assert picture.size[0] > 20


def test_index_prints_its_summary_and_says_what_failed(capsys, papers, tmp_path):
    (papers / "bad.pdf").write_bytes(b"%PDF-1.7 and nothing")
    (papers / "words.txt").write_text("red")
    arguments = ["index", papers, "--index", tmp_path / "j.visret", "--model", "toy", "--json"]
    status, out, err = run(capsys, *arguments)
    report = json.loads(out)
    assert status == 1
    keys = [
        "documents",
        "pages",
        "added",
        "unchanged",
        "removed",
        "empty",
        "failed",
        "seconds",
        "updated",
        "lost",
        "ignored",
    ]
    assert list(report) == keys
    assert (report["documents"], report["pages"], report["added"]) == (4, 3, 3)
    assert report["empty"] == [{"path": str(papers / "words.txt"), "page": 1}]
    assert set(report["failed"][0]) == {"path", "page", "reason"}
    assert "bad.pdf" in err
    assert "words.txt" in err
    (papers / "bad.pdf").unlink()
    status, out, err = run(capsys, *arguments, "--sync")
    assert status == 0
    assert json.loads(out)["unchanged"] == 3


def test_an_estimate_writes_nothing(capsys, papers, tmp_path):
    status, out, _ = run(capsys, "index", papers, "--index", tmp_path / "no", "--model", "toy", "--estimate")
    assert status == 0
    assert re.search(r"^2 documents, .*\n3 pages, 0:00:00 h", out)
    assert not (tmp_path / "no").exists()
    arguments = ["index", papers, "--index", tmp_path / "no", "--model", "toy", "--estimate", "--json"]
    _, out, _ = run(capsys, *arguments, "--exclude", "one*")
    fields = ["documents", "bytes", "pages", "seconds", "index_bytes", "free_bytes"]
    assert list(json.loads(out)) == fields
    assert json.loads(out)["documents"] == 1


@pytest.mark.weights
def test_who_reads_text_with_the_default_model_is_told_of_the_better_one(capsys, tmp_path):
    papers = tmp_path / "papers"
    papers.mkdir()
    (papers / "words.txt").write_text("The blue line of the report shows how sales have grown.")
    estimate = ["index", papers, "--index", tmp_path / "no", "--estimate"]
    assert "--model quality" in run(capsys, *estimate)[1]
    assert "--model quality" not in run(capsys, *estimate, "--model", "toy")[1]
    asked = "blue line of the report"
    for question, said in ((asked, True), (asked, False), ("best beaches in Portugal", True)):  # read, known, weak
        _, out, err = run(capsys, "find", question, papers)
        assert ("--model quality" in err) is said
        assert "--model quality" not in out
    assert "--model quality" not in run(capsys, "find", "blue", papers, "--model", "toy")[2]


def test_find_keeps_what_it_answers_from_apart_by_patterns(capsys, papers):
    for patterns, docs in (([], {"one.pdf", "two.pdf"}), (["--include", "t*"], {"two.pdf"})):
        _, out, _ = run(capsys, "find", "blue", papers, "--model", "toy", "--json", *patterns)
        assert {hit["doc"] for hit in json.loads(out)["hits"]} == docs


def test_where_info_heatmap_remove_verify(capsys, papers, index, tmp_path):
    _, out, _ = run(capsys, "search", index, "blue", "--where", '{"doc": "two.pdf"}', "--json")
    assert [hit["doc"] for hit in json.loads(out)["hits"]] == ["two.pdf"]
    _, out, _ = run(capsys, "info", index, "--json")
    assert json.loads(out)["pages"] == 3
    assert "toy" in run(capsys, "info", index)[1]
    picture = tmp_path / "out" / "why.png"
    status, out, _ = run(capsys, "heatmap", index, "blue", "--doc", "one.pdf", "--page", 2, "--out", picture)
    assert status == 0
    assert picture.exists()
    command = ["heatmap", index, "Red blue", "--doc", "one.pdf", "--page", 2, "--out"]
    for name, more in (
        ("all", []),
        ("blue", ["--token", "BLUE"]),
        ("map", ["--token", "blue", "--mode", "similarity"]),
    ):
        assert run(capsys, *command, tmp_path / f"{name}.png", *more)[0] == 0
    assert len({(tmp_path / f"{name}.png").read_bytes() for name in ("all", "blue", "map")}) == 3
    status, _, err = run(capsys, *command, picture, "--token", "green")
    assert status == 2
    assert "the tokens of this question are Red | blue, got green" in err
    assert run(capsys, "verify", index)[0] == 0
    damage_vectors(index)
    status, out, _ = run(capsys, "verify", index)
    assert status == 1
    assert "vectors" in out
    assert run(capsys, "remove", index, "one.pdf")[0] == 0
    _, out, _ = run(capsys, "search", index, "blue", "--json")
    assert [hit["doc"] for hit in json.loads(out)["hits"]] == ["two.pdf"]


def test_a_part_of_the_ranking_is_shown(capsys, index):
    def found(*options):
        status, out, _ = run(capsys, "search", index, "red", "--json", *options)
        assert status == 0
        return [(hit["rank"], hit["doc"], hit["page"], hit["neighbour_of"]) for hit in json.loads(out)["hits"]]

    whole = found()
    assert len(whole) == 3
    assert found("--offset", 1, "-k", 1) == whole[1:2]
    documents = found("--group-by", "document")
    assert documents[0] == whole[0]
    assert {doc for _, doc, *_ in documents} == {"one.pdf", "two.pdf"}
    assert [rank for rank, *_ in documents] == [1, 2]
    around = found("-k", 1, "--neighbours", 1, "--where", '{"doc": "one.pdf"}')
    assert [(rank, page, beside) for rank, _, page, beside in around] in (
        [(1, 1, None), (0, 2, 1)],
        [(1, 2, None), (0, 1, 1)],
    )
    status, out, _ = run(capsys, "search", index, "red", "-k", 1, "--neighbours", 1, "--where", '{"doc": "one.pdf"}')
    assert status == 0
    assert "next to 1" in out.splitlines()[-1]
    assert "no page is left" in run(capsys, "search", index, "red", "--offset", 9)[1]
    assert run(capsys, "search", index, "red", "--offset", -1)[0] == 2


def test_pages_are_read_again_by_a_reranker(capsys, index, monkeypatch):
    judge = Judge({"one.pdf": 0.3, "two.pdf": 0.8}, modality="image", options={"weak_below": 0.5})
    monkeypatch.setattr("visret.search.rerank.load_reranker", lambda name: judge if name == "judge" else 1 / 0)
    asked = ("search", index, "red", "--rerank", "judge")
    status, out, _ = run(capsys, *asked, "--depth", 2, "--json")
    assert status == 0
    hits = json.loads(out)["hits"]
    assert len(hits) == 3
    assert [(hit["score"] is None, hit["unscored"]) for hit in hits] == [(False, False), (False, False), (True, True)]
    assert [hit["scores"].get("rerank") for hit in hits] == [hit["score"] for hit in hits]
    _, out, _ = run(capsys, *asked, "--depth", 2)
    assert out.rstrip().splitlines()[-1].endswith(" -")
    _, out, _ = run(capsys, *asked, "--min-score", 0.5, "--json")
    assert [(hit["doc"], hit["relevance"]) for hit in json.loads(out)["hits"]] == [("two.pdf", pytest.approx(0.8))]
    assert json.loads(run(capsys, *asked, "--seconds", 60, "--no-weak", "--json")[1])["hits"][0]["doc"] == "two.pdf"
    assert "no page is left" in run(capsys, *asked, "--min-score", 1)[1]
    for wrong, said in (
        (("--depth", 3), "give a reranker"),
        (("--seconds", 3), "give a reranker"),
        (("--min-score", 2), "min_score is a number from 0 to 1"),
    ):
        status, _, err = run(capsys, "search", index, "red", *wrong)
        assert (status, said in err) == (2, True)


def test_pages_like_another_are_found(capsys, papers, index, tmp_path):
    with Retriever.open(index) as retriever:
        expected = [(hit.doc, hit.page, hit.score) for hit in retriever.search_like(("one.pdf", 2))]
    write_pdf(tmp_path / "other.pdf", "yellow", "red")

    def like(given, *options):
        status, out, _ = run(capsys, "search", index, "--like", given, "--json", *options)
        assert status == 0
        return [(hit["doc"], hit["page"], hit["score"]) for hit in json.loads(out)["hits"]]

    assert like("one.pdf:2") == expected
    assert len(expected) == 2
    assert like("one.pdf:2", "--offset", 1, "--group-by", "document") == expected[1:]
    assert like("two.pdf") == like("two.pdf:1")  # its first page
    assert like(tmp_path / "other.pdf")[0][:2] == ("two.pdf", 1)
    assert like(f"{tmp_path / 'other.pdf'}:2")[0][:2] == ("one.pdf", 1)
    status, out, _ = run(capsys, "search", index, "--like", "one.pdf:2", "--pictures", tmp_path / "drawn")
    assert (status, len(list((tmp_path / "drawn").iterdir()))) == (0, 2)
    assert out.startswith("  1  ")
    for wrong, said in (
        (("red", "--like", "one.pdf:2"), "either a question, or --like"),
        ((), "either a question, or --like"),
        (("--like", "three.pdf:1"), "no document 'three.pdf', and there is no such file"),
        (("--like", "one.pdf:9"), "no page 9 of one.pdf"),
        (("--like", f"{tmp_path / 'other.pdf'}:3"), "has 2 pages, and no page 3"),
        (("--like", "one.pdf:2", "--by", "bm25"), "takes no --by"),
    ):
        status, _, err = run(capsys, "search", index, *wrong)
        assert (status, said in err) == (2, True), err


def test_a_scan_is_read_before_pages_like_it_are_found(capsys, tmp_path, monkeypatch):
    with Retriever.create(tmp_path / "i.visret", model=Words()) as made:
        made.add_pages([Page.from_text(text, doc=text) for text in ("red green", "black white")])
    monkeypatch.setattr(Retriever, "encoder", property(lambda self: Words()))
    monkeypatch.setattr("visret.retriever.Retriever._encoder_of", lambda self, model: Words())
    read = Page.from_image(Image.new("RGB", (40, 40)), doc="x", words=[("black", (0, 0, 1, 1))])
    monkeypatch.setattr("visret.ocr.with_words", lambda page, mode: read if mode == "auto" else page)
    Image.new("RGB", (40, 40)).save(tmp_path / "scan.png")
    status, out, _ = run(capsys, "search", tmp_path / "i.visret", "--like", tmp_path / "scan.png", "--json")
    assert (status, json.loads(out)["hits"][0]["doc"]) == (0, "black white")


def test_another_model_encodes_questions(capsys, index, tmp_path, monkeypatch):
    described = "family: toy, source: '', revision: '', modality: image, dim: {dim}, license: none, size_gb: 0"
    entries = {"small": described.format(dim=4) + ", questions_for: toy", "other": described.format(dim=5)}
    (tmp_path / "more.yaml").write_text("\n".join(f"{name}: {{{entry}}}" for name, entry in entries.items()))
    monkeypatch.setenv("VISRET_MODELS", str(tmp_path / "more.yaml"))
    usual = run(capsys, "search", index, "red", "--json")
    assert run(capsys, "search", index, "red", "--json", "--question-model", "small") == usual
    status, _, err = run(capsys, "search", index, "red", "--question-model", "other")
    assert (status, "other encodes questions in 5" in err) == (1, True)
    status, _, err = run(capsys, "index", index.parent / "papers", "--index", tmp_path / "new", "--model", "small")
    assert (status, "small encodes questions only: make the index with toy" in err) == (1, True)


def test_an_index_without_a_model_is_searched_by_its_words(capsys, tmp_path):
    (tmp_path / "notes.txt").write_text("install.packages of R\nand more", "utf8")
    folder = tmp_path / "words"
    assert run(capsys, "index", tmp_path / "notes.txt", "--index", folder, "--model", "none", "--estimate")[0] == 0
    assert run(capsys, "index", tmp_path / "notes.txt", "--index", folder, "--model", "none")[0] == 0
    status, out, _ = run(capsys, "search", folder, "install.packages", "--json")
    (hit,) = json.loads(out)["hits"]
    assert (status, hit["doc"], hit["text"], hit["weak"]) == (0, "notes.txt", "install.packages of R", False)
    passage = "install.packages of R\nand more"
    assert (hit["passage"]["text"], hit["passage"]["span"], hit["passage"]["boxes"]) == (passage, [0, len(passage)], [])
    assert hit["link"] == "#page=1"
    assert "install.packages of R and more" in run(capsys, "search", folder, "install.packages")[1]
    status, _, err = run(capsys, "index", tmp_path / "notes.txt", "--index", folder, "--model", "toy")
    assert (status, "was made with none, not toy" in err) == (1, True)


def test_an_index_keeps_the_storage_it_was_made_with(capsys, caplog, papers, tmp_path):
    index = ["index", papers, "--index", tmp_path / "s.visret", "--model", "toy"]
    asked = ["--codec", "residual1", "--dim", 3, "--pool", 2, "--prune", 0.25]
    assert run(capsys, *index, *asked)[0] == 0
    assert "fitted to" in caplog.text
    facts = json.loads(run(capsys, "info", tmp_path / "s.visret", "--json")[1])
    assert [facts[key] for key in ("codec", "stored_dim", "pool", "prune")] == ["residual1", 3, 2, 0.25]
    assert facts["bytes_a_page"] == round(facts["bytes"] / 3)
    assert facts["fitted_to"] == facts["vectors"] > 0
    assert "residual1" in run(capsys, "info", tmp_path / "s.visret")[1]
    for same in (asked, asked[:2], []):
        assert run(capsys, *index, *same)[0] == 0
    for flag, value, made in (
        ("--codec", "int8", "with --codec residual1, not --codec int8"),
        ("--dim", 2, "with --dim 3, not --dim 2"),
        ("--pool", 3, "with --pool 2, not --pool 3"),
        ("--prune", 0.5, "with --prune 0.25, not --prune 0.5"),
    ):
        status, out, err = run(capsys, *index, flag, value)
        assert (status, out) == (1, "")
        assert f"s.visret: was made {made}; use another --index folder" in err


def test_models_are_listed(capsys):
    status, out, _ = run(capsys, "models")
    assert status == 0
    lines = out.splitlines()
    assert max(map(len, lines)) <= 100
    words, pages, rerankers = out.split("\n\n")[:3]
    assert words.startswith("reads words")
    assert pages.startswith("looks at pages")
    assert "minilm-granite (default)" in words
    assert "vidore/colqwen2-v1.0" in pages
    assert rerankers.startswith("reranks")
    assert "jinaai/jina-reranker-m0" in rerankers
    assert "rerank" not in words + pages
    told = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert told["vidore/colqwen2-v1.0"] == ["128", "2.2", "B", "apache-2.0", "no", "en"]
    assert told["lightonai/LateOn-Code-edge"] == ["48", "17", "M", "apache-2.0", "no", "code,", "en"]
    assert told["jinaai/jina-reranker-m0"] == ["page", "2.4", "B", "cc-by-nc-4.0", "*", "no"]
    assert told["jinaai/jina-colbert-v2"] == ["128", "559", "M", "cc-by-nc-4.0", "*", "no", "+", "22", "languages"]
    assert "\n* its licence forbids commercial use\n+ only code in its repository" in out
    rows = {row["name"]: row for row in json.loads(run(capsys, "models", "--json")[1])}
    assert set(rows) == {spec.name for spec in registry.specs()}
    assert rows["toy"]["here"] is True
    assert rows["all-minilm-l6-v2"]["license"] == "apache-2.0"
    every = {"architecture", "parameters", "page_tokens", "longest_query", "longest_page", "languages", "purpose"}
    assert set(rows["toy"]) >= every | {"unconfirmed", "remote_code", "options", "here", "path"}


def test_the_last_column_is_cut_to_the_terminal(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "98")
    out = run(capsys, "models")[1]
    assert max(map(len, out.splitlines())) <= 98
    assert "biomedi..." in out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["search", "{index}", ""], 2, "question"),
        (["search", "{index}", "mauvish"], 2, "colours"),
        (["search", "{index}", "red", "--where", '{"shelf": 1}'], 2, "shelf"),
        (["search", "{index}", "red", "--where", "doc=a"], 2, "JSON"),
        (["search", "{index}", "red", "--where", "[1]"], 2, "object"),
        (["search", "{index}", "red", "-k", "0"], 2, "at least 1"),
        (["search", "{index}", "red", "--question-model", "toyy"], 1, "did you mean toy"),
        (["serve", "--question-model", "toy"], 2, "give the folder of one"),
        (["search", "{tmp}/nowhere", "red"], 1, "nowhere"),
        (["search", "{papers}", "red"], 1, "not an index"),
        (["find", "red", "{tmp}/missing", "--model", "toy"], 1, "missing"),
        (["find", "red", "{papers}", "--model", "toyy"], 1, "did you mean toy"),
        (["index", "{papers}", "--index", "{index}", "--model", "all-minilm-l6-v2"], 1, "made with toy"),
        (["index", "{papers}", "--index", "{papers}", "--model", "toy"], 1, "not empty"),
        (
            ["index", "{papers}", "--index", "{index}", "--codec", "float16"],
            1,
            "made with --codec int8, not --codec flo",
        ),
        (["index", "{papers}", "--index", "{index}", "--dim", "2"], 1, "was made without --dim 2"),
        (["index", "{papers}", "--index", "{tmp}/n", "--model", "toy", "--dim", "4"], 1, "below the 4 of toy"),
        (["index", "{papers}", "--index", "{tmp}/n", "--codec", "zip"], 2, "residual2"),
        (["index", "{papers}", "--index", "{tmp}/n", "--dim", "0"], 2, "at least 1"),
        (["index", "{papers}", "--index", "{tmp}/n", "--pool", "0.5"], 2, "--pool"),
        (["index", "{papers}", "--index", "{tmp}/n", "--prune", "1"], 2, "below 1"),
        (["heatmap", "{index}", "red", "--doc", "x.pdf", "--page", "1", "--out", "{tmp}/x.png"], 2, "x.pdf"),
        (["heatmap", "{index}", "red", "--doc", "one.pdf", "--page", "1", "--out", "{tmp}/x.nope"], 1, "x.nope"),
        (["remove", "{index}", "x.pdf"], 2, "x.pdf"),
        (["info", "{papers}"], 1, "not an index"),
        (["juggle"], 2, "juggle"),
        (["models", "juggle"], 2, "juggle"),
        (["models", "fetch", "toy"], 2, "--to"),
        (["models", "fetch", "toy", "--to", "{tmp}/new"], 1, "toy has no weights: there is nothing to fetch"),
        (["models", "fetch", "tpy", "--to", "{tmp}/new"], 1, "did you mean toy"),
        (["find", "red", ""], 2, "is empty"),
    ],
)
def test_one_line_for_what_is_wrong(capsys, papers, index, tmp_path, arguments, status, message):
    filled = [a.format(index=index, papers=papers, tmp=tmp_path) if "{" in a and '"' not in a else a for a in arguments]
    got, out, err = run(capsys, *filled)
    assert (got, out) == (status, "")
    assert message in err
    assert "Traceback" not in err
    said = [line for line in err.splitlines() if not line.startswith(("usage:", " "))]  # argparse shows the usage first
    assert len(said) == 1


def test_a_folder_without_documents_fails_and_says_so(capsys, tmp_path):
    (tmp_path / "bare").mkdir()
    status, _, err = run(capsys, "find", "red", tmp_path / "bare", "--model", "toy")
    assert status == 1
    assert "no documents in this folder" in err
    assert "Traceback" not in err


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent to a process of its own on POSIX only")
def test_ctrl_c_leaves_an_index_that_goes_on(papers, tmp_path):
    for i in range(40):
        write_pdf(papers / f"more{i}.pdf", "red", "green", "blue")
    app = os.path.join(os.path.dirname(__file__), "..", "apps", "index_pages.py")  # noqa: PTH118, PTH120
    command = [sys.executable, app, str(papers), "--index", str(tmp_path / "k.visret"), "--model", "toy"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while process.poll() is None and not (tmp_path / "k.visret" / "catalogue.sqlite").exists():
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in {0, 130}
    assert "Traceback" not in err
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout.splitlines()[-1])
    assert report["documents"] == 42
    assert report["failed"] == []
    again = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])
    assert (again["pages"], again["unchanged"]) == (0, 42)


def test_compact_makes_an_index_smaller_and_answers_alike(capsys, papers, index):
    _, before, _ = run(capsys, "search", index, "blue", "--json")
    assert run(capsys, "remove", index, "two.pdf")[0] == 0
    status, out, _ = run(capsys, "compact", index)
    assert status == 0
    was, now = (int(number.replace(",", "")) for number in re.findall(r"([\d,]+) (?:bytes before|now)", out))
    assert now < was
    _, after, _ = run(capsys, "search", index, "blue", "--json")
    hits = [hit for hit in json.loads(before)["hits"] if hit["doc"] != "two.pdf"]
    assert [hit["score"] for hit in json.loads(after)["hits"]] == [hit["score"] for hit in hits]
    assert run(capsys, "verify", index)[0] == 0
    status, _, err = run(capsys, "compact", index, "--codec", "float32")
    assert status != 0
    assert "int8" in err


def test_what_is_damaged_is_dropped_and_read_again(capsys, papers, index):
    _, before, _ = run(capsys, "search", index, "blue", "--json")
    damage_vectors(index)
    status, out, _ = run(capsys, "verify", index)
    assert status == 1
    assert "vectors.npy is damaged" in out
    assert "--repair drops what is damaged" in out
    status, out, _ = run(capsys, "verify", index, "--repair")
    assert status == 0
    assert "one.pdf" in out
    assert run(capsys, "verify", index)[0] == 0
    assert run(capsys, "index", papers, "--index", index)[0] == 0
    assert run(capsys, "verify", index)[0] == 0
    _, after, _ = run(capsys, "search", index, "blue", "--json")
    assert json.loads(after)["hits"] == json.loads(before)["hits"]


@pytest.mark.parametrize(
    ("where", "docs"),
    [
        ({"page": {">=": 2}}, {"one.pdf"}),
        ({"not": {"doc": "one.pdf"}}, {"two.pdf"}),
        ({"or": [{"doc": "two.pdf"}, {"page": {">": 1}}]}, {"one.pdf", "two.pdf"}),
    ],
)
def test_filters_take_ranges_and_combinations(capsys, index, where, docs):
    status, out, _ = run(capsys, "search", index, "blue", "--json", "--where", json.dumps(where))
    assert status == 0
    assert {hit["doc"] for hit in json.loads(out)["hits"]} == docs


def test_an_operator_that_does_not_exist_is_said(capsys, index):
    status, _, err = run(capsys, "search", index, "blue", "--where", '{"page": {"~": 2}}')
    assert status != 0
    assert "'~'" in err
    assert ">=" in err


def test_metadata_is_given_set_and_kept(capsys, papers, index, tmp_path):
    (tmp_path / "m.csv").write_text("path,year\none.pdf,2024\nzero.pdf,1\n")
    arguments = ("index", papers, "--index", index)
    status, out, err = run(capsys, *arguments, "--metadata-file", tmp_path / "m.csv", "--metadata", '{"open": true}')
    assert (status, "2 unchanged, 2 with other metadata, 1 failed" in out) == (1, True)
    assert "line 3 names 'zero.pdf'" in err
    assert run(capsys, *arguments)[0] == 0
    assert run(capsys, "set", index, "one.pdf", "year=2025", "note=a b=c", 'zip="0815"', "--json")[1] == (
        '{"note": "a b=c", "open": true, "year": 2025, "zip": "0815"}\n'
    )
    assert run(capsys, "set", index, "one.pdf", "note=null", "zip=null")[1] == 'one.pdf: {"open": true, "year": 2025}\n'
    hits = json.loads(run(capsys, "search", index, "red", "--where", '{"year": 2025}', "--json")[1])["hits"]
    assert {hit["doc"] for hit in hits} == {"one.pdf"}
    status, _, err = run(capsys, "set", index, "on.pdf", "year=1")
    assert (status, "did you mean 'one.pdf'" in err) == (2, True)
    for wrong in ("year", "=1"):
        assert run(capsys, "set", index, "one.pdf", wrong)[0] == 2
    assert run(capsys, "set", index, "one.pdf", "a=1", "a=2")[0] == 2
    assert run(capsys, *arguments, "--metadata", "[1]")[0] == 2


def test_a_table_may_name_files_that_are_not_read_now(capsys, papers, index, tmp_path):
    (tmp_path / "m.jsonl").write_text('{"path": "one.pdf", "y": 1}\n{"path": "papers/two.pdf", "y": 2}\n')
    status, out, err = run(
        capsys, "index", papers / "one.pdf", "--index", index, "--metadata-file", tmp_path / "m.jsonl"
    )
    assert (status, "1 with other metadata" in out) == (0, True)
    assert "names 1 file that this run does not read" in err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["serach", "i", "x"], "no command serach; did you mean search?"),
        (["models", "fecth", "x"], "no command fecth; did you mean fetch?"),
        (["index", "p", "--indx", "i"], "no option --indx; did you mean --index?"),
        (["index", "p", "--index", "i", "--metadate={}"], "no option --metadate; did you mean --metadata?"),
    ],
)
def test_what_was_meant_is_said(capsys, arguments, meant):
    status, _, err = run(capsys, *arguments)
    assert (status, meant in err) == (2, True)
