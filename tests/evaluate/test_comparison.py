"""Several systems side by side: the table, its JSON, the command, and the page of what got worse."""

import json
import re
import shutil

import pytest
from reportlab.pdfgen.canvas import Canvas
from support.sheets import write_pdf

from visret import Retriever, cli, evaluate
from visret.errors import InvalidArgument, PageIndexError
from visret.evaluate import JudgedQuestion, QuestionSet, System, Target, page

PLACES = [("good", 1), ("bad", 2), ("same", 1)]
QUESTIONS = "id,question,doc,page,kind\nr,red,a.pdf,1,warm\ng,green,a.pdf,2,cold\nb,blue,a.pdf,3,cold\n"


def ranking(name, **found):
    """A system that finds these pages of a.pdf, by the id of the question."""
    return System(name, lambda asked, k: [[("a.pdf", n, 1 / at) for at, n in enumerate(found[q.id], 1)] for q in asked])


@pytest.fixture
def questions(tmp_path):
    (tmp_path / "q.csv").write_text(QUESTIONS)
    return evaluate.read(tmp_path / "q.csv")


@pytest.fixture
def papers(tmp_path):
    """An index of three pages, and a run in which two of its questions are worse."""
    with Retriever.create(tmp_path / "papers.visret", model="toy") as retriever:
        retriever.add(write_pdf(tmp_path / "a.pdf", "red", "green", "blue"))
    lines = ["r Q0 a.pdf#1 1 3 x", "g Q0 a.pdf#3 1 2 x", "g Q0 a.pdf#2 2 1 x", "b Q0 a.pdf#1 1 1 x"]
    (tmp_path / "worse.run").write_text("\n".join(lines))
    return tmp_path / "papers.visret"


def run(capsys, *arguments):
    """-> exit status, stdout, stderr"""
    try:
        status = cli.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        status = stop.code
    return status, *capsys.readouterr()


def test_the_table_has_measures_kinds_and_differences(questions):
    good = ranking("good", r=[1, 2], g=[2], b=[3])
    bad = ranking("bad", r=[2, 1], g=[2], b=[])
    found = evaluate.compare([good, bad], questions, k=3)
    text = re.sub(r"\d+\.\d +-$", "0.0 -", str(found), flags=re.MULTILINE)
    wanted = """3 questions, ranking pages

        system nDCG@3 R@3 RR@3 AP@3 ms a question bytes a page
        good 1.000 1.000 1.000 1.000 0.0 -
        bad 0.544 0.667 0.500 0.500 0.0 -

        nDCG@3 all warm cold
        questions 3 1 2
        good 1.000 1.000 1.000
        bad 0.544 0.631 0.500

        nDCG@3 against good questions that differ difference 95 % interval p
        bad all 2 of 3 -0.456 -1.000 to +0.000 1.000 too few differ
        bad warm 1 of 1 -0.369 -0.369 to -0.369 1.000 too few differ
        bad cold 1 of 2 -0.500 -1.000 to +0.000 1.000 too few differ
        p: paired permutation test, Holm's correction for 0 comparisons

        bad: found nothing for 1 question: counted as 0"""
    assert [line.split() for line in text.splitlines()] == [line.split() for line in wanted.splitlines()]


def test_a_difference_that_is_none_of_chance_is_said():
    made = {str(n): JudgedQuestion(str(n), f"q{n}", {Target("a.pdf", 1): 1}) for n in range(30)}
    good, bad, same = (ranking(name, **{key: [page] for key in made}) for name, page in PLACES)
    found = evaluate.compare([bad, good, same], QuestionSet("q", made), against="good")
    assert [(one.system, one.is_real) for one in found.differences] == [("bad", True), ("same", False)]
    assert re.search(r"bad +all +30 of 30 +-1\.000 +-1\.000 to -1\.000 +< 0\.001  worse\n", str(found))
    assert "the same" in str(found)
    assert [one.p_holm >= one.p for one in found.differences] == [True, True]


def test_what_cannot_be_compared_is_an_error(questions):
    one = ranking("one", r=[1], g=[1], b=[1])
    with pytest.raises(InvalidArgument, match="two systems are called 'one'"):
        evaluate.compare([one, one], questions)
    with pytest.raises(InvalidArgument, match="no system is called 'two'; they are one"):
        evaluate.compare([one], questions, against="two")
    with pytest.raises(InvalidArgument, match="there is no system"):
        evaluate.compare([], questions)
    with pytest.raises(InvalidArgument, match="a page or a document, got 'file'"):
        evaluate.compare([one], questions, unit="file")


def test_a_table_of_questions_is_measured_in_one_command(papers, tmp_path, capsys, questions):
    status, out, _ = run(capsys, "evaluate", papers, tmp_path / "q.csv")
    assert status == 0
    assert re.search(r"^papers +1\.000 +1\.000 +1\.000 +1\.000 +\d+\.\d +[\d,]+$", out, re.MULTILINE)
    assert "against" not in out


def test_indexes_and_runs_are_compared(papers, tmp_path, capsys, questions):
    saved = ("--save-runs", tmp_path / "runs", "--json")
    status, out, _ = run(capsys, "evaluate", papers, tmp_path / "worse.run", tmp_path / "q.csv", "-k", "2", *saved)
    assert status == 0
    found = json.loads(out)
    assert [(one["name"], one["measures"]["RR@2"]) for one in found["systems"]] == [("papers", 1), ("worse", 0.5)]
    assert found["systems"][1]["milliseconds"] is None
    assert [(one["id"], one["systems"][1]["measures"]["R@2"]) for one in found["each"]] == [
        ("r", 1),
        ("g", 1),
        ("b", 0),
    ]
    assert [(one["system"], one["kind"]) for one in found["differences"]] == [
        ("worse", k) for k in (None, "warm", "cold")
    ]
    _, again, _ = run(capsys, "evaluate", *(tmp_path / "runs").glob("*.run"), tmp_path / "q.csv", "-k", "2", "--json")
    figures = {one["name"]: one["measures"] for one in json.loads(again)["systems"]}
    assert figures == {one["name"]: one["measures"] for one in found["systems"]}


def test_indexes_of_one_name_are_called_by_their_paths(papers, tmp_path, capsys, questions):
    other = shutil.copytree(papers, tmp_path / "other" / "papers.visret")
    _, out, _ = run(capsys, "evaluate", papers, other, tmp_path / "q.csv", "--against", other, "--measure", "nDCG@10")
    assert f"nDCG@10 against {other}" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.visret", "q.csv"], "none.visret"),
        (["papers.visret", "none.csv"], "none.csv: cannot be read"),
        (["papers.visret", "bad.csv"], "bad.csv, line 2: 'a.pdf' has no page 9; its pages are 1 to 3"),
        (["papers.visret", "q.csv", "--measure", "good"], "'good' is no measure"),
        (["papers.visret", "worse.run"], "worse.run: is a run, not questions"),
    ],
)
def test_what_is_wrong_is_said(papers, tmp_path, capsys, questions, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.csv").write_text("question,doc,page\nred,a.pdf,9\n")
    status, out, err = run(capsys, "evaluate", *arguments)
    assert status in (1, 2)
    assert not out
    assert said in err


def test_the_page_shows_what_got_worse_with_both_pages(papers, tmp_path, capsys, questions):
    out = tmp_path / "new" / "worse.html"
    assert run(capsys, "evaluate", papers, tmp_path / "worse.run", tmp_path / "q.csv", "--page", out)[0] == 0
    text = out.read_text("utf8")
    sections = text.split("<section>")[1:]
    assert [re.search("<h3>(.*?)</h3>", one)[1] for one in sections] == ["blue", "green"]
    assert "2 of 3 questions got worse" in text
    assert [one.count('src="data:image/jpeg;base64,') for one in sections] == [2, 2]
    assert "a.pdf, page 2" in sections[1]
    assert "a.pdf, page 3" in sections[1]
    assert re.search(r"<td>papers</td><td>1\.000</td><td>at place 1, score \d\.\d\d</td>", sections[1])
    assert "<td>worse</td><td>0.631</td><td>at place 2, score 1.00</td>" in sections[1]
    assert "not among the first 1" in sections[0]
    assert not re.search(r'(src|href)="(?!data:)', text)


def test_of_one_system_it_shows_what_could_be_better(papers, tmp_path, capsys):
    (tmp_path / "q.csv").write_text("question,doc,page\nred,a.pdf,2\ngreen,a.pdf,2\n")
    run(capsys, "evaluate", papers, tmp_path / "q.csv", "--page", tmp_path / "p.html")
    text = (tmp_path / "p.html").read_text("utf8")
    assert "1 of 2 questions could be answered better" in text


@pytest.mark.weights
def test_where_there_is_no_picture_there_is_text(tmp_path, papers, questions):
    canvas = Canvas(str(tmp_path / "b.pdf"))
    canvas.drawString(72, 720, "red <b> roller")
    canvas.save()
    with Retriever.open(papers) as retriever:
        retriever.add(tmp_path / "b.pdf")
        (tmp_path / "a.pdf").unlink()
        (tmp_path / "b.pdf").write_bytes(b"%PDF-1.7 changed")
        (tmp_path / "t.csv").write_text("question,doc,page\nred,b.pdf,1\n")
        bad = System("bad", lambda asked, k: [[("a.pdf", 3, 1.0)] for _ in asked])
        page.write(
            tmp_path / "p.html",
            evaluate.compare([evaluate.system_of(retriever), bad], evaluate.read(tmp_path / "t.csv")),
        )
    text = (tmp_path / "p.html").read_text("utf8")
    assert "<img" not in text
    assert re.search(r'<p class="why">[^<]*b\.pdf[^<]*; its text:</p><pre>red &lt;b&gt; roller</pre>', text)
    assert re.search(r'<p class="why">[^<]*a\.pdf[^<]*</p></figure>', text)


def test_without_an_index_it_says_so(tmp_path, questions):
    good, bad = ranking("good", r=[1], g=[2], b=[3]), ranking("<bad>", r=[2], g=[], b=[3])
    page.write(tmp_path / "p.html", evaluate.compare([good, bad], questions))
    text = (tmp_path / "p.html").read_text("utf8")
    assert text.count("no index was given, so the page cannot be shown") == 3
    assert "<bad>" not in text
    with pytest.raises(PageIndexError, match="the page cannot be written"):
        page.write(tmp_path / "p.html" / "x.html", evaluate.compare([good, bad], questions))


def test_documents_are_shown_by_their_best_pages(papers, tmp_path, questions):
    with Retriever.open(papers) as retriever:
        retriever.add(write_pdf(tmp_path / "b.pdf", "white", "red"))
        (tmp_path / "d.csv").write_text("question,doc\nred,b.pdf\n")
        asked = evaluate.read(tmp_path / "d.csv")
        bad = System("bad", lambda asked, k: [[("a.pdf", 3, 2.0), ("a.pdf", 2, 1.0)] for _ in asked])
        found = evaluate.compare([evaluate.system_of(retriever), bad], asked, k=3)
        assert found.unit == "document"
        page.write(tmp_path / "p.html", found)
    text = (tmp_path / "p.html").read_text("utf8")
    assert "<b>right</b>: b.pdf, page 2" in text
    assert "<b>first for bad</b>: a.pdf, page 3" in text
