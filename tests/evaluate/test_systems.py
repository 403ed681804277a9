"""What ranks pages: indexes, run files and functions; what they found is ordered, written and read back."""

import pytest
from support.judge import Judge
from support.sheets import write_pdf

from visret import Page, Retriever, evaluate
from visret.errors import InvalidArgument, PageIndexError
from visret.evaluate import Found, JudgedQuestion, QuestionSet, System, Target, systems


def asked(*texts, **relevant):
    """Questions with these texts as ids; right pages of some."""
    made = [
        JudgedQuestion(text, text, {Target(*one): 1 for one in relevant.get(text, [("a.pdf", 1)])}) for text in texts
    ]
    return QuestionSet("q.csv", {one.id: one for one in made})


@pytest.fixture
def retriever(tmp_path):
    with Retriever.create(tmp_path / "papers.visret", model="toy") as made:
        made.add([write_pdf(tmp_path / "a.pdf", "red", "green", "blue"), write_pdf(tmp_path / "b.pdf", "red", "white")])
        yield made


def listed(rankings):
    return {key: [(one.doc, one.page) for one in found] for key, found in rankings.found.items()}


def test_an_index_ranks_as_it_searches(retriever):
    system = evaluate.system_of(retriever)
    assert system.name == "papers"
    assert system.bytes_a_page == retriever.info()["bytes_a_page"]
    found = systems.rankings_of(system, asked("green", "blue"), 2, "page")
    for question in ("green", "blue"):
        hits = retriever.search(question, k=2)
        assert [(one.doc, one.page, one.score) for one in found.found[question]] == [(*h.ref, h.score) for h in hits]
    assert found.milliseconds > 0
    alone = systems.rankings_of(evaluate.system_of(retriever, by="maxsim"), asked("green"), 2, "page")
    assert alone.found["green"][0].score == retriever.search("green", k=1)[0].scores["late"]
    with pytest.raises(InvalidArgument, match="not by 'bm52'"):
        systems.rankings_of(evaluate.system_of(retriever, by="bm52"), asked("green"), 2, "page")


def test_an_index_ranks_by_a_reranker_and_what_it_left_follows(retriever):
    judge = Judge({"a.pdf": 0.25, "b.pdf": 0.75}, modality="image")
    system = evaluate.system_of(retriever, "again", rerank=judge, depth=3)
    found = systems.rankings_of(system, asked("red"), 5, "page").found["red"]
    hits = retriever.search("red", k=5, rerank=judge, depth=3)
    assert {(one.doc, one.page) for one in found[:3]} == {tuple(hit.ref) for hit in hits[:3]}
    assert [(one.doc, one.page) for one in found[3:]] == [tuple(hit.ref) for hit in hits[3:]]
    assert [one.score for one in found[3:]] == [hits[2].score - 1, hits[2].score - 2]  # numbers, as a run file has


def test_an_index_ranks_in_the_way_that_is_named(tmp_path):
    with Retriever.create(tmp_path / "words", model="none") as made:
        made.add_pages([Page.from_text(text, doc=text) for text in ("green", "blue")])
        for by in (None, "bm25"):
            found = systems.rankings_of(evaluate.system_of(made, by=by), asked("green"), 2, "page")
            assert [one.doc for one in found.found["green"]] == ["green"]
        with pytest.raises(PageIndexError, match="has no vectors"):
            systems.rankings_of(evaluate.system_of(made, by="late"), asked("green"), 2, "page")


def test_documents_have_their_best_pages_scores(retriever, monkeypatch):
    monkeypatch.setattr(systems, "PAGES_A_DOCUMENT", 1)
    found = systems.rankings_of(evaluate.system_of(retriever), asked("green", "white"), 2, "document")
    best = {hit.doc: hit for hit in reversed(retriever.search("green", k=9))}
    assert {one.doc: (one.page, one.score) for one in found.found["green"]} == {
        doc: (hit.page, hit.score) for doc, hit in best.items()
    }
    assert [one.doc for one in found.found["white"]] == ["b.pdf", "a.pdf"]


def test_a_function_is_asked_for_more_until_there_are_documents_enough():
    calls = []

    def rank(questions, k):
        calls.append((len(questions), k))
        pages = [("a", page, 1 / page) for page in range(1, 50)] + [("b", 1, 0.001)]
        return [pages[:k] for _ in questions]

    found = systems.rankings_of(System("s", rank, is_timed=False), asked("x", "y"), 2, "document")
    assert listed(found) == {key: [("a", 1), ("b", 1)] for key in "xy"}
    assert calls == [(2, 8), (2, 32), (2, 128)]


def test_ties_are_broken_as_trec_eval_does():
    pages = [("a", 1, 0.5), ("b", 2, 0.5), ("b", 10, 0.5), ("c", 1, 0.7)]
    found = systems.rankings_of(System("s", lambda questions, k: [pages], is_timed=False), asked("x"), 9, "page")
    assert listed(found) == {"x": [("c", 1), ("b", 2), ("b", 10), ("a", 1)]}


def test_a_function_that_ranks_for_other_questions_is_refused():
    with pytest.raises(InvalidArgument, match="s: ranks 1 lists of pages for 2 questions"):
        systems.rankings_of(System("s", lambda questions, k: [[]], is_timed=False), asked("x", "y"), 1, "page")


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ([("a", 1, 0.5), ("a", 1, 0.4)], "s: finds a page twice for question x"),
        ([("a", 1, float("nan"))], "s: a score is a number, got nan for question x"),
    ],
)
def test_a_function_that_finds_what_cannot_be_is_refused(pages, said):
    with pytest.raises(InvalidArgument, match=said):
        systems.rankings_of(System("s", lambda questions, k: [pages]), asked("x"), 1, "page")


@pytest.mark.parametrize("unit", ["page", "document"])
def test_runs_are_written_and_read_back(tmp_path, unit):
    pages = [Found("a b.pdf", 1, 1 / 3), Found("c#1.pdf", 12, 1e-9), Found("ü%.pdf", 3, -0.25)]
    system = System("my system", lambda questions, k: [pages if one.text == "x y" else [] for one in questions])
    found = systems.rankings_of(system, asked("x y", "z"), 3, unit)
    evaluate.write_run(tmp_path / "new" / "r.run", found)
    text = (tmp_path / "new" / "r.run").read_text("utf8")
    assert all(len(line.split()) == 6 for line in text.splitlines())
    read = evaluate.read_run(tmp_path / "new" / "r.run")
    assert read.name == "r"
    again = systems.rankings_of(read, asked("x y", "z"), 3, unit)
    assert again.milliseconds is None
    assert again.scores() == found.scores()
    assert [one.doc for one in again.found["x y"]] == [one.doc for one in pages]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("q Q0 d 1 0.5\n", "line 1: has 5 columns; a run has six"),
        ("q Q0 d 1 0.5 t\nq Q0 d 2 0.4 t\n", "line 2: has d a second time for question q"),
        ("q Q0 d 1 high t\n", "line 1: its score, the fifth column, is not a number: 'high'"),
        ("q Q0 d 1 nan t\n", "line 1: its score"),
        ("", "is an empty run"),
    ],
)
def test_a_wrong_run_is_said_with_its_line(tmp_path, text, said):
    (tmp_path / "r.run").write_text(text)
    with pytest.raises(InvalidArgument, match=said):
        evaluate.read_run(tmp_path / "r.run")


def test_a_run_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "file").write_text("")
    found = systems.rankings_of(System("s", lambda questions, k: [[]]), asked("x"), 1, "page")
    with pytest.raises(PageIndexError, match="the run cannot be written"):
        evaluate.write_run(tmp_path / "file" / "r.run", found)


@pytest.mark.parametrize(
    ("right", "said"),
    [
        (("a.pd", 1), "question red: no document 'a.pd' in this index; did you mean 'a.pdf'"),
        (("a.pdf", 4), "question red: 'a.pdf' has no page 4; its pages are 1 to 3"),
    ],
)
def test_a_right_page_that_does_not_exist_is_no_miss(retriever, right, said):
    system = evaluate.system_of(retriever)
    with pytest.raises(InvalidArgument, match=said):
        systems.unfindable(system, asked("red", red=[right]), "page")
    with pytest.raises(InvalidArgument, match="1 more such"):
        systems.unfindable(system, asked("red", red=[right, ("z", 1)]), "page")


def test_a_page_without_anything_to_read_is_a_miss(tmp_path, retriever):
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(tmp_path / "c.pdf"))
    canvas.showPage()
    canvas.save()
    retriever.add(tmp_path / "c.pdf")
    (tmp_path / "d.pdf").write_bytes(b"%PDF-1.7")
    retriever.add(tmp_path / "d.pdf")
    questions = asked("red", red=[("a.pdf", 1), ("d.pdf", 7)])
    assert systems.unfindable(evaluate.system_of(retriever), questions, "page") == 1
    assert systems.unfindable(evaluate.system_of(retriever), questions, "document") == 1


def test_an_index_needs_the_texts_of_questions(retriever):
    questions = [JudgedQuestion("1", "", {Target("a.pdf", 1): 1})]
    with pytest.raises(InvalidArgument, match="question 1 has no text; bring the questions with --topics"):
        systems.rankings_of(evaluate.system_of(retriever), questions, 1, "page")
