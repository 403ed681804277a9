"""A table of metadata: each line is of one file, and no line is dropped without a word."""

from unicodedata import normalize

import pytest

from visret.errors import InvalidArgument
from visret.ingest import discovery, metadata_file


@pytest.fixture
def papers(tmp_path):
    for name in ("papers/a.txt", "papers/sub/b.txt", f"papers/{normalize('NFD', 'é')}.txt", "other/a.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path / "papers"


def read(papers, text, name="m.csv", known=()):
    """Name of file to metadata, and what was lost."""
    table = papers.parent / name
    table.write_text(text, "utf8")
    sources = discovery.discover([papers]).sources
    found, lost = metadata_file.match(table, sources, [papers], dict(known))
    return {path.relative_to(papers.parent).as_posix(): metadata for path, metadata in found.items()}, lost


def test_cells_are_json_or_text_and_empty_ones_absent(papers):
    text = '\ufeffyear,path,note,zip,tags\n2024,a.txt,"x, y","""0815""",[1]\n,sub/b.txt,NaN,0815,\n\n'
    assert read(papers, text) == (
        {"papers/a.txt": {"year": 2024, "note": "x, y", "zip": "0815", "tags": [1]},
         "papers/sub/b.txt": {"note": "NaN", "zip": "0815"}},
        [],
    )  # fmt: skip
    assert read(papers, "path;year\r\na.txt;2024\r\n")[0] == {"papers/a.txt": {"year": 2024}}


def test_lines_of_json(papers):
    text = '{"path": "a.txt", "year": 2024}\n\n{"path": "sub/b.txt", "zip": "0815", "n": null}\n'
    assert read(papers, text, "m.jsonl")[0] == {
        "papers/a.txt": {"year": 2024},
        "papers/sub/b.txt": {"zip": "0815", "n": None},
    }


@pytest.mark.parametrize("named", ["papers/a.txt", "a.txt", "sub/../a.txt", "{}/a.txt"])
def test_a_file_is_named_from_the_table_from_a_path_or_as_a_document(papers, named):
    assert read(papers, f"path,y\n{named.format(papers)},1\n") == ({"papers/a.txt": {"y": 1}}, [])


def test_names_may_be_composed_and_documents_named(papers):
    assert list(read(papers, f"path,y\n{normalize('NFC', 'é')}.txt,1\n")[0]) == [f"papers/{normalize('NFD', 'é')}.txt"]
    known = {"other/a.txt": str(papers.parent / "other/a.txt")}
    assert list(read(papers, "path,y\nother/a.txt,1\n", known=known)[0]) == ["other/a.txt"]


def test_a_line_that_names_no_file_is_reported(papers):
    found, lost = read(papers, "path,y\na.txt,1\nb.txt,2\n")
    assert list(found) == ["papers/a.txt"]
    assert [failure.reason for failure in lost] == ["line 3 names 'b.txt', but there is no such file or document"]


@pytest.mark.parametrize(
    ("text", "name", "match"),
    [
        ("path,y\na.txt,1\npapers/a.txt,2\n", "m.csv", "line 3 names 'papers/a.txt', which line 2 already names"),
        ("file,y\na.txt,1\n", "m.csv", "one of them must be 'path'"),
        ("", "m.csv", "one of them must be 'path'"),
        ("path,y,y\na.txt,1,2\n", "m.csv", "a column twice: 'y'"),
        ("path,\na.txt,1\n", "m.csv", "a column without a name"),
        ("path,y\na.txt,1,2\n", "m.csv", "line 2 has 3 cells for 2 columns"),
        ("path,y\n,1\n", "m.csv", "line 2 names no file"),
        ('path,y\n"a.txt,1\n', "m.csv", "is not CSV"),
        ("[1]\n", "m.jsonl", "line 1 must be an object that names its file"),
        ('{"y": 1}\n', "m.jsonl", "line 1 must be an object that names its file"),
        ('{"path": "a.txt", "y": NaN}\n', "m.jsonl", "line 1 is not JSON"),
        ("path: a.txt", "m.yaml", "ends in .csv or .jsonl"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused_in_words(papers, text, name, match):
    with pytest.raises(InvalidArgument, match=match):
        read(papers, text, name)


def test_a_table_in_another_encoding_or_nowhere_is_refused(papers, tmp_path):
    (tmp_path / "m.csv").write_bytes("path,y\nü.txt,1".encode("latin-1"))
    with pytest.raises(InvalidArgument, match="is not UTF-8"):
        metadata_file.match(tmp_path / "m.csv", [], [], {})
    with pytest.raises(InvalidArgument, match="cannot be read: No such file"):
        metadata_file.match(tmp_path / "n.csv", [], [], {})
