"""Folders as questions: those of BEIR, and tables of ViDoRe's shape; and their pages, to make an index of.

BEIR: queries.jsonl, qrels/test.tsv and corpus.jsonl; what is right are documents, with their names in corpus.jsonl.

ViDoRe: Parquet files of queries, qrels and corpus, each in a folder or with a name that begins so. A page of the corpus
is a page of a document where the corpus has columns for both; else it is the first page of a document that is called
by its id.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visret.errors import DocumentError, InvalidArgument, MissingExtra
from visret.evaluate.questions import Builder, QuestionSet, Target, wrong
from visret.evaluate.tables import grade_of, kinds_of, lines_of, objects, topics_of
from visret.types import Page

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

BEIR_QUERIES, BEIR_CORPUS = "queries.jsonl", "corpus.jsonl"
BEIR_HEAD = ("query-id", "corpus-id", "score")
SPLITS = ("test", "dev", "validation", "train")

Columns = dict[str, tuple[str, ...]]  # what is wanted of a file, and what its columns may be called

# What columns of Parquet files are called.
QUERY_ID = ("query-id", "query_id", "_id", "id", "qid")
CORPUS_ID = ("corpus-id", "corpus_id", "_id", "id")
QUERY_TEXT = ("query", "text", "question")
KIND = ("kind", "query_types", "query_type", "type")
GRADE = ("score", "grade", "relevance")
DOC = ("doc_id", "doc-id", "docid", "doc", "document")
PAGE = ("page_number_in_doc", "page_number", "page-number", "page")
PAGE_TEXT = ("markdown", "text", "ocr")
IMAGE = ("image",)


def is_beir(folder: Path) -> bool:
    """Return whether a folder is one of BEIR's."""
    return (folder / BEIR_QUERIES).is_file() and (folder / "qrels").is_dir()


def is_parquet(folder: Path) -> bool:
    """Return whether a folder has Parquet files of queries and qrels."""
    return bool(_files(folder, "queries") and _files(folder, "qrels"))


def from_beir(folder: Path, qrels: Path | None = None) -> QuestionSet:
    """Read a folder of BEIR. qrels: the file of them, test.tsv unless given, else the only one there is."""
    if qrels is None:
        there = sorted((folder / "qrels").glob("*.tsv"))
        qrels = next((path for split in SPLITS for path in there if path.stem == split), None)
        if qrels is None and len(there) == 1:
            (qrels,) = there
        if qrels is None:
            raise InvalidArgument(f"{folder / 'qrels'}: has {len(there)} qrels and no test.tsv; name the file")
    made = Builder(qrels)
    for line, name, text in topics_of(folder / BEIR_QUERIES):
        made.ask(name, text, line=line)
    for line, row in lines_of(qrels):
        cells = row.rstrip("\r").split("\t")
        if line == 1 and tuple(cells) == BEIR_HEAD:
            continue
        if len(cells) != 3:
            raise wrong(
                qrels, line, f"has {len(cells)} columns with tabs between them; {', '.join(BEIR_HEAD)} are three"
            )
        made.judge(cells[0], Target(cells[1]), grade_of(qrels, line, cells[2], least=None), line=line)
    return made.made()


def from_parquet(folder: Path) -> QuestionSet:
    """Read Parquet files of ViDoRe's shape. Raises MissingExtra without pyarrow."""
    places = _places(folder)
    files = _files(folder, "qrels")
    made = Builder(files[0])
    for file in _files(folder, "queries"):
        for line, row in _rows(file, {"id": QUERY_ID, "text": QUERY_TEXT}, {"kind": KIND}):
            made.ask(str(row["id"]), str(row["text"]), kinds_of(row["kind"]), line=line)
    columns: Columns = {"query": QUERY_ID[:2], "corpus": CORPUS_ID[:2]}
    for file in files:
        for line, row in _rows(file, columns, {"grade": GRADE}):
            page = str(row["corpus"])
            if places and page not in places:
                raise wrong(file, line, f"names page {page}, which is not in the corpus beside it")
            grade = grade_of(file, line, 1 if row["grade"] is None else row["grade"], least=None)
            made.judge(str(row["query"]), places.get(page, Target(page, 1)), grade, line=line)
    return made.made()


def pages(folder: str | Path) -> Iterator[Page]:
    """Yield the pages of a folder of BEIR or of ViDoRe's shape, named as its questions name them.

    They are for `Retriever.add_pages`, with `pictures=False` if they are only ranked. Texts of BEIR are pages of plain
    text with their title first; pages of ViDoRe have the picture of the corpus, or its text where it has no pictures.
    Raises InvalidArgument for another folder or one without a corpus, and MissingExtra without pyarrow.
    """
    folder = Path(folder)
    if (folder / BEIR_CORPUS).is_file():
        return _beir_pages(folder / BEIR_CORPUS)
    if _files(folder, "corpus"):
        return _parquet_pages(folder)
    raise InvalidArgument(f"{folder}: has no pages; they stand in {BEIR_CORPUS}, or in Parquet files of a corpus")


def _beir_pages(file: Path) -> Iterator[Page]:
    for line, entry in objects(file):
        if "_id" not in entry:
            raise wrong(file, line, 'has no "_id"')
        text = "\n".join(str(entry[key]) for key in ("title", "text") if entry.get(key))
        yield Page.from_text(text, doc=str(entry["_id"]))


def _parquet_pages(folder: Path) -> Iterator[Page]:
    from PIL import Image

    places = _places(folder)
    for file in _files(folder, "corpus"):
        for line, row in _rows(file, {"id": CORPUS_ID}, {"image": IMAGE, "text": PAGE_TEXT}):
            target = places[str(row["id"])]
            assert target.page is not None
            picture = row["image"]["bytes"] if isinstance(row["image"], dict) else row["image"]
            if isinstance(picture, bytes):
                try:
                    image = Image.open(BytesIO(picture)).convert("RGB")
                except OSError as error:
                    raise DocumentError(file, f"row {line}: its picture cannot be read: {error}") from error
                yield Page.from_image(image, doc=target.doc, page=target.page)
            else:
                yield Page.from_text(str(row["text"] or ""), doc=target.doc, page=target.page)


def _places(folder: Path) -> dict[str, Target]:
    """Return the page that each id of a corpus is; nothing where there is no corpus."""
    rows = [
        (str(row["id"]), row["doc"], row["page"])
        for file in _files(folder, "corpus")
        for _, row in _rows(file, {"id": CORPUS_ID}, {"doc": DOC, "page": PAGE})
    ]
    if any(doc is None or page is None for _, doc, page in rows):
        return {name: Target(name, 1) for name, _, _ in rows}
    first = min((int(page) for _, _, page in rows), default=1)  # some corpora count pages from 0
    return {name: Target(str(doc), int(page) + (first == 0)) for name, doc, page in rows}


def _files(folder: Path, part: str) -> list[Path]:
    """Return the Parquet files of queries, qrels or corpus, which the name or the folder of each says."""
    return [
        file
        for file in sorted(folder.rglob("*.parquet"))
        if any(name.startswith(part) for name in file.relative_to(folder).parts)
    ]


def _rows(file: Path, wanted: Columns, optional: Columns) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the rows of a Parquet file with their numbers from 1: what is wanted, under these names.

    wanted, optional: what the columns may be called; what is optional is None where there is no such column. Raises
    InvalidArgument where a wanted one is not there.
    """
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ModuleNotFoundError as error:
        raise MissingExtra(f'{file}: Parquet needs pyarrow: pip install "visret[evaluate]"') from error
    try:
        table: ParquetFile = ParquetFile(file)
    except (ArrowException, OSError) as error:
        raise InvalidArgument(f"{file}: cannot be read as Parquet: {error}") from error
    with table:
        there = table.schema_arrow.names
        columns = {}
        for key, names in (wanted | optional).items():
            column = next((name for name in names if name in there), None)
            if column is None and key in wanted:
                raise InvalidArgument(f"{file}: has no column {' or '.join(names)}; its columns are {', '.join(there)}")
            columns[key] = column
        number = 0
        for batch in table.iter_batches(64, columns=[column for column in columns.values() if column]):
            for row in batch.to_pylist():
                number += 1
                yield number, {key: None if column is None else row[column] for key, column in columns.items()}
