"""The questions of a file or a folder, whatever its format."""

from __future__ import annotations

from pathlib import Path

from visret.errors import InvalidArgument
from visret.evaluate import benchmarks, tables
from visret.evaluate.questions import QuestionSet
from visret.folders import expanded

SHAPES = (
    "a table (.csv or .tsv) with the columns question, doc and page; JSON lines (.jsonl); qrels of TREC; or a folder "
    "of BEIR or ViDoRe"
)
RUN_COLUMNS = 6  # question, Q0, page, rank, score, name of the run


def read(path: str | Path, *, topics: str | Path | None = None) -> QuestionSet:
    """Read questions with their right pages from a file or folder, whose name and first line show its format.

    A table (CSV) has a row for each right page, with the columns question, doc, page, optionally grade, kind and id.
    A file of JSON lines has an object for each question, with query, doc and page, and optionally id, kind, `also`
    (more right pages) and `relevant` (a list of objects with doc, page and grade). In TREC's qrels a page is called
    `doc#page`. A folder of BEIR has queries.jsonl and qrels/test.tsv, and one of ViDoRe's shape has Parquet files of
    queries, qrels and corpus.

    topics: a file with the texts of the questions, for qrels: id, tab and text, or JSON lines; without it, topics.tsv,
    queries.jsonl or the like beside the qrels.

    Raises InvalidArgument, which names the file and the line, for anything wrong there, and MissingExtra for Parquet
    without pyarrow.
    """
    path = expanded(path)
    if topics is not None:
        return tables.from_qrels(path, expanded(topics))
    if path.is_dir():
        if benchmarks.is_beir(path):
            return benchmarks.from_beir(path)
        if benchmarks.is_parquet(path):
            return benchmarks.from_parquet(path)
        raise InvalidArgument(f"{path}: is no folder of questions; they are {SHAPES}")
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        raise InvalidArgument(f"{path}: name the folder that has the Parquet files of queries and qrels")
    if suffix in (".xlsx", ".xls", ".ods"):
        raise InvalidArgument(f"{path}: save the table as CSV")
    first = next((line for _, line in tables.lines_of(path)), "")
    if suffix in (".jsonl", ".ndjson") or first.startswith("{"):
        return tables.from_jsonl(path)
    if tuple(first.split()) == benchmarks.BEIR_HEAD and benchmarks.is_beir(path.parent.parent):
        return benchmarks.from_beir(path.parent.parent, path)
    cells = first.split()
    if suffix != ".csv" and len(cells) == 4 and _is_number(cells[3]):
        return tables.from_qrels(path)
    if suffix != ".csv" and len(cells) == RUN_COLUMNS and _is_number(cells[4]):
        raise InvalidArgument(
            f"{path}: is a run, not questions; the questions come last: visret evaluate RUN QUESTIONS"
        )
    if suffix in (".csv", ".tsv") or any(mark in first for mark in ",;\t"):
        return tables.from_csv(path)
    raise InvalidArgument(f"{path}: is no file of questions; they are {SHAPES}")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
