"""Questions with right pages from files of many shapes: always the same questions, and errors that name the line."""

import json

import pytest

from visret import evaluate
from visret.errors import InvalidArgument
from visret.evaluate import Target, questions


def grades(questions):
    """{question: {(doc, page): grade}}, by the texts."""
    return {one.text: {tuple(target): grade for target, grade in one.relevant.items()} for one in questions}


WANTED = {"red?": {("a.pdf", 1): 1, ("b c.pdf", 3): 2}, "blue, or green?": {("a.pdf", 2): 1}}

CSV = """question,doc,page,grade,kind
red?,a.pdf,1,,warm
red?,b c.pdf,3,2,warm
"blue, or green?",a.pdf,2,1,cold
"""
FRIENDLY = """Query ID;Question; Document ;Page number;Relevance;Category;notes
q1;red?;a.pdf;1.0;1;warm;
q1;;b c.pdf;3;2.0;;the best one
q2;blue, or green?;a.pdf;2;;cold;
"""
JSONL = [
    {"id": "q1", "query": "red?", "kind": "warm", "relevant": [{"doc": "a.pdf", "page": 1}, ["b c.pdf", 3, 2]]},
    {"id": "q2", "question": "blue, or green?", "file": "a.pdf", "page": 2, "kind": ["cold"], "also": [], "lang": "en"},
]
QRELS = "q1 0 a.pdf#1 1\nq1 0 b%20c.pdf#3 2\r\n\nq2 0 a.pdf#2 1\n"
TOPICS = "q1\tred?\nq2\tblue, or green?\nq3\tnobody knows\n"


@pytest.fixture
def written(tmp_path):
    def write(name, text):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf8", newline="")
        return file

    return write


def test_a_table_has_a_row_for_each_right_page(written):
    read = evaluate.read(written("q.csv", CSV))
    assert grades(read) == WANTED
    assert list(read.questions) == ["1", "2"]
    assert [one.kinds for one in read] == [("warm",), ("cold",)]


@pytest.mark.parametrize("name", ["q.csv", "q.tsv", "q.txt"])
def test_its_columns_may_be_called_otherwise(written, name):
    text = FRIENDLY.replace(";", "\t") if name == "q.tsv" else FRIENDLY
    read = evaluate.read(written(name, "\ufeff" + text.replace("\n", "\r\n")))
    assert grades(read) == WANTED
    assert list(read.questions) == ["q1", "q2"]


def test_a_cell_may_have_several_pages(written):
    read = evaluate.read(written("q.csv", 'question,doc,page\nred,a.pdf,"1, 3-5"\nred,b.pdf,\n'))
    assert grades(read) == {"red": {("a.pdf", page): 1 for page in (1, 3, 4, 5)} | {("b.pdf", None): 1}}


def test_lines_of_json(written):
    read = evaluate.read(written("q.jsonl", "\n".join(map(json.dumps, JSONL))))
    assert grades(read) == WANTED
    assert list(read.questions) == ["q1", "q2"]


def test_lines_of_json_as_ours_have_them(written):
    lines = [
        {"id": "d1", "query": "red", "package": "p", "file": "a.pdf", "page": 1, "also": [2]},
        {"query": "blue", "file": "b.pdf", "page": 1, "also": [["c.pdf", 4]]},
    ]
    read = evaluate.read(written("q.jsonl", "\n".join(map(json.dumps, lines))))
    assert grades(read) == {"red": {("p/a.pdf", 1): 1, ("p/a.pdf", 2): 1}, "blue": {("b.pdf", 1): 1, ("c.pdf", 4): 1}}
    assert list(read.questions) == ["d1", "2"]


@pytest.mark.parametrize("topics", ["topics.tsv", "queries.jsonl", "elsewhere/texts.tsv"])
def test_qrels_of_trec(written, topics):
    rows = [line.split("\t") for line in TOPICS.splitlines()]
    as_json = "\n".join(json.dumps({"_id": name, "text": text}) for name, text in rows)
    beside = written(topics, as_json if topics.endswith("jsonl") else f"qid\tquery\n{TOPICS}")
    read = evaluate.read(written("q.qrels", QRELS), topics=beside if "/" in topics else None)
    assert grades(read) == WANTED
    assert read.unjudged == 1


def test_qrels_without_texts_are_enough_for_runs(written):
    read = evaluate.read(written("q.qrels", QRELS))
    assert [(one.id, one.text) for one in read] == [("q1", ""), ("q2", "")]


@pytest.mark.parametrize("named", ["", "qrels/dev.tsv"])
def test_a_folder_of_beir(written, tmp_path, named):
    written("queries.jsonl", '{"_id": "q1", "text": "red?"}\n{"_id": "q2", "text": "blue?"}\n')
    written(
        "corpus.jsonl", '{"_id": "d1", "title": "Red", "text": "is warm"}\n{"_id": "d 2", "title": "", "text": "x"}'
    )
    written("qrels/dev.tsv", "query-id\tcorpus-id\tscore\nq2\td 2\t1\n")
    written("qrels/test.tsv", "query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td 2\t0\n")
    read = evaluate.read(tmp_path / named)
    wanted = {"blue?": {("d 2", None): 1}} if named else {"red?": {("d1", None): 2, ("d 2", None): 0}}
    assert grades(read) == wanted
    assert read.unit() == "document"
    assert [(page.ref, page.text) for page in evaluate.pages(tmp_path)] == [
        (("d1", 1), "Red\nis warm"),
        (("d 2", 1), "x"),
    ]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("q.csv", "question,page\nred,1\n", r"line 1: names the columns, and 'doc' is not among them"),
        ("q.csv", "question,doc,pge\nred,a.pdf,1\n", r"line 1: has a column 'pge'; did you mean 'page'\?"),
        ("q.csv", "question,query,doc\nred,red,a.pdf\n", "line 1: has two columns for the question"),
        ("q.csv", "question,doc,page\nred,a.pdf,0\n", "line 2: a page is a number, from 1, such as 3"),
        ("q.csv", "question,doc,page\nred,a.pdf,first\n", "line 2: a page is a number.*got 'first'"),
        ("q.csv", "question,doc,page,grade\nred,a.pdf,1,good\n", "line 2: a grade is a whole number.*got 'good'"),
        ("q.csv", "question,doc,page,grade\nred,a.pdf,1,1e6\n", "line 2: a grade is a whole number from 0 to 1000"),
        ("q.csv", "question,doc,page\nred, or so,a.pdf,1\n", "line 2: has 4 cells for 3 columns; quote cells"),
        ("q.csv", "question,doc,page\n,a.pdf,1\n", "line 2: has no question"),
        ("q.csv", "question,doc,page\nred,,1\n", "line 2: names no document"),
        ("q.csv", "id,question,doc\n1,red,a.pdf\n1,blue,a.pdf\n", "line 3: question 1 is 'blue' here and was 'red'"),
        (
            "q.csv",
            "question,doc,grade\nred,a.pdf,1\nred,a.pdf,2\n",
            r"line 3: a\.pdf has grade 2 .* and had 1; keep one",
        ),
        ("q.csv", "question,doc\n", "has no questions"),
        ("q.csv", "", "line 1: names the columns"),
        ("q.jsonl", '{"query": "red"', "line 1: is not JSON"),
        ("q.jsonl", "[1]", "line 1: must be an object"),
        ("q.jsonl", '\n{"doc": "a.pdf"}', "line 2: has no question; a line looks like"),
        ("q.jsonl", '{"query": "red"}', "line 1: names nothing that answers it"),
        ("q.jsonl", '{"query": "red", "doc": 3, "page": 1}', "line 1: the name of a document is text"),
        ("q.jsonl", '{"query": "red", "relevant": {"doc": "a"}}', "line 1: 'relevant' must be a list"),
        ("q.jsonl", '{"id": 1, "query": "a", "doc": "a"}\n{"id": 1, "query": "b", "doc": "a"}', "line 2: has the id 1"),
        ("q.qrels", "q1 0 d1 1\nq1 0 d2\n", "line 2: has 3 columns; qrels have four"),
        ("q.qrels", "q1 0 d1 1\nq1 0 d2 x\n", "line 2: a grade is a whole number"),
        ("q.run", "q1 Q0 d1 1 0.5 tag\n", "is a run, not questions; the questions come last"),
        ("q.doc", "hello\n", "is no file of questions; they are a table"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(written, name, text, said):
    file = written(name, text)
    with pytest.raises(InvalidArgument, match=said) as caught:
        evaluate.read(file)
    assert str(caught.value).startswith(str(file))


def test_what_cannot_be_read_is_said(tmp_path, written):
    with pytest.raises(InvalidArgument, match=r"none\.csv: cannot be read: No such file"):
        evaluate.read(tmp_path / "none.csv")
    with pytest.raises(InvalidArgument, match="is no folder of questions"):
        evaluate.read(tmp_path)
    (tmp_path / "latin.csv").write_bytes("question,doc\nStraße,a\n".encode("latin-1"))
    with pytest.raises(InvalidArgument, match=r"is not UTF-8 .*; save it as UTF-8"):
        evaluate.read(tmp_path / "latin.csv")
    written("topics.tsv", "q1\tred\n")
    with pytest.raises(InvalidArgument, match=r"q\.qrels, line 3: there are no texts of questions q2; add them"):
        evaluate.read(written("q.qrels", "q1 0 d1 1\nq1 0 d2 1\nq2 0 d1 1\n"))


def test_pages_are_ranked_where_every_answer_is_one(written):
    mixed = evaluate.read(written("q.csv", "question,doc,page,grade\nred,a.pdf,1,1\nred,a.pdf,2,3\nblue,b.pdf,,1\n"))
    with pytest.raises(InvalidArgument, match=r"q\.csv, line 4: 'b\.pdf' has no page there.*--unit document"):
        mixed.unit()
    assert mixed.unit("document") == "document"
    assert mixed.relevance("document") == {"1": {"a.pdf": 3}, "2": {"b.pdf": 1}}
    assert evaluate.read(written("q.csv", CSV)).unit() == "page"


@pytest.mark.parametrize("doc", ["a.pdf", "a b/c#1.pdf", "100% & more#3", "ü\u00a0\n\t#", "#1", "\udcff.pdf", "\x00"])
@pytest.mark.parametrize("page", [None, 1, 12])
def test_names_in_run_files_name_the_same_page(doc, page):
    name = questions.name_of(doc, page)
    assert len(name.split()) == 1
    assert name.encode()
    assert questions.target_of(name) == Target(doc, page)


def test_names_that_nobody_quoted_stay_as_they_are():
    assert questions.target_of("%ff#0") == Target("%ff#0")
    assert questions.target_of("clueweb09-en0010-85-29836") == Target("clueweb09-en0010-85-29836")


# ---- Parquet, which is a large package


@pytest.fixture
def vidore(tmp_path):
    """Parquet files as ViDoRe's, with pictures; the corpus has columns of documents where `doc` is given."""
    from io import BytesIO

    import pyarrow
    from PIL import Image
    from pyarrow import parquet

    def write(doc=None, first=0, text=False):
        out = BytesIO()
        Image.new("RGB", (20, 30), "red").save(out, "PNG")
        corpus = {"corpus-id": [7, 8]}
        corpus |= {"markdown": ["red", "blue"]} if text else {"image": [{"bytes": out.getvalue(), "path": "x"}] * 2}
        if doc:
            corpus |= {"doc_id": [doc, doc], "page_number_in_doc": [first, first + 1]}
        queries = {"query-id": [1, 2], "query": ["red?", "blue?"], "query_types": [["open"], []]}
        qrels = {"query-id": [1, 2, 2], "corpus-id": [7, 7, 8], "score": [1, 0, 2]}
        for name, table in ("corpus", corpus), ("queries", queries), ("qrels", qrels):
            (tmp_path / name).mkdir(exist_ok=True)
            parquet.write_table(pyarrow.table(table), tmp_path / name / "test-00000-of-00001.parquet")
        return tmp_path

    return write


@pytest.mark.heavy
@pytest.mark.parametrize("first", [0, 1])
def test_a_folder_of_vidore_with_documents(vidore, first):
    folder = vidore("a.pdf", first)
    read = evaluate.read(folder)
    assert grades(read) == {"red?": {("a.pdf", 1): 1}, "blue?": {("a.pdf", 1): 0, ("a.pdf", 2): 2}}
    assert [one.kinds for one in read] == [("open",), ()]
    pages = list(evaluate.pages(folder))
    assert [page.ref for page in pages] == [("a.pdf", 1), ("a.pdf", 2)]
    assert pages[0].image.size == (20, 30)


@pytest.mark.heavy
def test_a_folder_of_vidore_without(vidore):
    folder = vidore(text=True)
    assert grades(evaluate.read(folder))["red?"] == {("7", 1): 1}
    assert [(page.ref, page.text) for page in evaluate.pages(folder)] == [(("7", 1), "red"), (("8", 1), "blue")]


@pytest.mark.heavy
def test_wrong_parquet_is_said(vidore, tmp_path):
    import pyarrow
    from pyarrow import parquet

    folder = vidore("a.pdf")
    with pytest.raises(InvalidArgument, match="name the folder that has the Parquet files"):
        evaluate.read(folder / "qrels" / "test-00000-of-00001.parquet")
    parquet.write_table(pyarrow.table({"query-id": [1], "corpus-id": [9], "score": [1]}), folder / "qrels/more.parquet")
    with pytest.raises(InvalidArgument, match=r"more\.parquet, line 1: names page 9, which is not in the corpus"):
        evaluate.read(folder)
    parquet.write_table(pyarrow.table({"query": [1]}), folder / "qrels/more.parquet")
    with pytest.raises(
        InvalidArgument, match=r"more\.parquet: has no column query-id or query_id; its columns are query"
    ):
        evaluate.read(folder)
    (folder / "qrels" / "more.parquet").write_bytes(b"PAR1")
    with pytest.raises(InvalidArgument, match=r"more\.parquet: cannot be read as Parquet"):
        evaluate.read(folder)
