"""BM25 three ways on the same terms: postings in the index, SQLite's FTS5, and tantivy; and what terms are best.

    pip install -e ".[bench]" tantivy          # bm25s; without tantivy its rows are left out
    python tests/benchmarks/lexical.py FOLDER  # as quality.py, which fetches 41 PDFs of 1,086 pages into FOLDER
    python tests/benchmarks/lexical.py FOLDER --pages 100000    # as many pages, made of lines of the real ones

Every engine gets the terms of visret.index.terms and the 94 questions of questions.jsonl, ten pages for each. FTS5 is a
table without content in a database of its own (`unicode61` with every character but the space in a token), tantivy an
index without stored text ("whitespace"). They are built once, in FOLDER. Each row, in CPU time: the time to add pages,
without reading and tokenizing them; bytes beside the text; the median time of a question, of three runs in turns. And
without --pages: the largest difference from bm25s' scores, after what each engine multiplies them by; the time to
remove every tenth page; the difference then; how many of 20 processes that were killed left a catalogue that does not
name the pages of the engine.

The second table is nDCG@5 of ways to make terms, by bm25s, on the real pages.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from quality import KINDS, fetch, questions, table_row
from quality import texts as texts_of

from visret import PageRef
from visret.index import IndexModel, PageIndex, layout, terms
from visret.index.postings import ARRAYS
from visret.reduction import Storage
from visret.search.bm25 import BM25
from visret.types import PageEmbedding, Question

K = 10
BATCH = 5000  # pages a commit
KILLS = 20
MODEL = IndexModel("toy", "1", 8, "text", {})
Pages = Sequence[list[str]]  # the terms of each


class Postings:
    """What visret does."""

    name, factor = "postings in the index", 1.0

    def __init__(self, folder: Path) -> None:
        path = folder / "index"
        there = path.exists()
        self.index = PageIndex.open(path) if there else PageIndex.create(path, model=MODEL, storage=Storage("float32"))

    def add(self, first: int, pages: Sequence[str]) -> None:
        vector, where = np.eye(1, 8, dtype=np.float32), np.zeros((1, 2), np.float32)
        with self.index.writing() as writer:
            for number, text in enumerate(pages, first):
                doc = f"{number}"
                writer.put(writer.add(doc), PageEmbedding(PageRef(doc, 1), None, vector, where, text))

    def remove(self, numbers: Sequence[int], texts: Sequence[str]) -> None:
        with self.index.writing() as writer:
            for number in numbers:
                writer.remove(f"{number}")

    def opened(self) -> None:
        self.snapshot = self.index.snapshot
        self.scorer, self.all = BM25(self.snapshot), self.snapshot.select()

    def ask(self, question: str, k: int = K) -> list[tuple[int, float]]:
        self.scorer._looked.clear()  # what was kept of other questions
        (found,) = self.scorer.rank([Question(question, {})], k, self.all)
        return [(key, score) for key, score in zip(found.keys.tolist(), found.scores.tolist(), strict=True)]

    def numbers(self, found: Sequence[tuple[int, float]]) -> dict[int, float]:
        return {int(self.snapshot.document(key >> 32).doc): score for key, score in found}

    def bytes(self) -> int:
        folders = [layout.segment_folder(self.index.path, segment.number) for segment in self.snapshot.segments]
        return sum((f / f"{n}.npy").stat().st_size for f in folders for n in ARRAYS if (f / f"{n}.npy").exists())


class Fts5:
    """A table of SQLite's full-text search, in a database of its own."""

    name, factor = "FTS5", 2.2  # its formula has k1 + 1

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self.path = folder / "words.sqlite"
        there = self.path.exists()
        self.database = sqlite3.connect(self.path)
        if not there:
            tokens = "unicode61 remove_diacritics 0 categories 'L* M* N* P* S* C*'"
            self.database.execute(f"CREATE VIRTUAL TABLE words USING fts5(terms, content='', tokenize=\"{tokens}\")")

    def add(self, first: int, pages: Sequence[str]) -> None:
        with self.database:
            rows = enumerate(map(joined, pages), first)
            self.database.executemany("INSERT INTO words(rowid, terms) VALUES (?, ?)", rows)

    def remove(self, numbers: Sequence[int], texts: Sequence[str]) -> None:
        with self.database:  # a table without content is told what it forgets
            rows = ((number, joined(texts[number])) for number in numbers)
            self.database.executemany("INSERT INTO words(words, rowid, terms) VALUES ('delete', ?, ?)", rows)

    def opened(self) -> None:
        pass

    def ask(self, question: str, k: int = K) -> list[tuple[int, float]]:
        asked = " OR ".join(f'"{term}"' for term in terms.of_question(question).terms)
        rows = self.database.execute(
            "SELECT rowid, -bm25(words) FROM words WHERE words MATCH ? ORDER BY rank LIMIT ?", (asked, k)
        )
        return rows.fetchall()

    def numbers(self, found: Sequence[tuple[int, float]]) -> dict[int, float]:
        return dict(found)

    def bytes(self) -> int:
        return self.path.stat().st_size


class Tantivy:
    """tantivy, the library behind Quickwit, from its Python wheel."""

    name, factor = "tantivy", 2.2

    def __init__(self, folder: Path) -> None:
        import tantivy

        self.tantivy, self.folder = tantivy, folder / "tantivy"
        self.folder.mkdir(parents=True, exist_ok=True)
        builder = tantivy.SchemaBuilder()
        builder.add_integer_field("number", stored=True, indexed=True, fast=True)
        builder.add_text_field("terms", tokenizer_name="whitespace")
        self.schema = builder.build()
        self.index = tantivy.Index(self.schema, path=str(self.folder))

    def add(self, first: int, pages: Sequence[str]) -> None:
        writer = self.index.writer(heap_size=100_000_000, num_threads=1)
        for number, text in enumerate(pages, first):
            writer.add_document(self.tantivy.Document(number=number, terms=joined(text)))
        writer.commit()
        writer.wait_merging_threads()

    def remove(self, numbers: Sequence[int], texts: Sequence[str]) -> None:
        writer = self.index.writer(heap_size=100_000_000, num_threads=1)
        for number in numbers:
            writer.delete_documents_by_term("number", number)
        writer.commit()
        writer.wait_merging_threads()

    def opened(self) -> None:
        self.index.reload()
        self.searcher = self.index.searcher()

    def ask(self, question: str, k: int = K) -> list[tuple[int, float]]:
        query, should = self.tantivy.Query, self.tantivy.Occur.Should
        parts = [(should, query.term_query(self.schema, "terms", t)) for t in terms.of_question(question).terms]
        hits = self.searcher.search(query.boolean_query(parts), k, count=False).hits
        return [(self.searcher.doc(address)["number"][0], score) for score, address in hits]

    def numbers(self, found: Sequence[tuple[int, float]]) -> dict[int, float]:
        return dict(found)

    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.folder.iterdir())


def joined(text: str) -> str:
    """The terms of a page with spaces between, for an engine that divides them there."""
    return " ".join(terms.of_page(text))


ENGINES = {"postings": Postings, "fts5": Fts5, "tantivy": Tantivy}


def made(texts: Sequence[str], count: int) -> list[str]:
    """So many pages: the real ones, then pages of their lines, each with a word of its own."""
    rng = random.Random(0)
    lines = [line for text in texts for line in text.split("\n") if line.strip()]
    each = round(len(lines) / len(texts))
    more = ("\n".join([*rng.choices(lines, k=each), f"id-{number:x}"]) for number in range(len(texts), count))
    return [*texts[:count], *more]


def golden(pages: Pages, removed: Sequence[int]) -> list[dict[int, float]]:
    """The scores of bm25s for every question, over the pages that are left."""
    import bm25s

    left = np.setdiff1d(np.arange(len(pages)), removed).tolist()
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    index.index([pages[number] for number in left], show_progress=False)
    found = []
    for question in questions():
        asked = [term for term in terms.of_question(question["query"]).terms if term in index.vocab_dict]
        found.append(dict(zip(left, index.get_scores(asked).tolist(), strict=True)))
    return found


def difference(engine: Postings | Fts5 | Tantivy, scores: list[dict[int, float]]) -> str:
    """The largest difference of the score of one of the ten best pages of any question."""
    worst = 0.0
    for question, expected in zip(questions(), scores, strict=True):
        for number, score in engine.numbers(engine.ask(question["query"])).items():
            worst = max(worst, abs(score / engine.factor - expected[number]))
    return f"{worst:.1g}"


def killed(name: str, texts: Sequence[str]) -> int:
    """How many of KILLS processes, killed while they add pages, leave other pages in the catalogue than in the engine.

    A catalogue beside an engine is an SQLite table that is committed after it; visret's own is the index.
    """
    wrong = 0
    for number in range(KILLS):
        with tempfile.TemporaryDirectory() as scratch:
            here = [sys.executable, __file__, "--play", name, scratch]
            with subprocess.Popen(here, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
                assert process.stdin is not None
                assert process.stdout is not None
                process.stdin.write(json.dumps(list(texts[:200])).encode())
                process.stdin.close()
                process.stdout.readline()  # the first commit
                time.sleep(0.02 + 0.03 * random.Random(number).random() * 10)
                process.send_signal(signal.SIGKILL)
            engine = ENGINES[name](Path(scratch))
            engine.opened()
            found = set(engine.numbers(engine.ask("everypage", 10**6)))
            if isinstance(engine, Postings):
                known = {int(doc) for doc in engine.snapshot.docs()}
            else:
                catalogue = sqlite3.connect(Path(scratch, "catalogue"))
                known = {row for (row,) in catalogue.execute("SELECT number FROM pages")}
            wrong += found != known
    return wrong


def play(name: str, folder: Path) -> None:
    """Add pages until somebody kills this process."""
    texts = json.loads(sys.stdin.read())
    engine, catalogue = ENGINES[name](folder), sqlite3.connect(folder / "catalogue")
    catalogue.execute("CREATE TABLE pages (number INTEGER PRIMARY KEY)")
    for first in range(0, 10**6, 10):
        pages = [f"everypage {texts[number % len(texts)]}" for number in range(first, first + 10)]
        engine.add(first, pages)
        if not isinstance(engine, Postings):
            with catalogue:
                catalogue.executemany(
                    "INSERT INTO pages VALUES (?)", [(number,) for number in range(first, first + 10)]
                )
        print(first, flush=True)


def compare(folder: Path, texts: Sequence[str], names: Sequence[str], *, all_of_it: bool) -> None:
    """Print the first table. all_of_it: with what takes long, for few pages."""
    start = time.process_time()
    sample = list(map(terms.of_page, texts[:2000]))
    each = (time.process_time() - start) / len(sample) * 1e3
    print(
        f"{len(texts):,} pages, {sum(map(len, sample)) / len(sample):.0f} terms each; tokenizing one: {each:.2f} ms\n"
    )
    gone = list(range(0, len(texts), 10))
    rows: dict[str, list[str]] = {name: [] for name in names}
    engines = {name: built(folder / name, name, texts, each, rows[name]) for name in names}
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(3):
        for name, engine in engines.items():
            for question in questions():
                start = time.thread_time()
                engine.ask(question["query"])
                times[name].append(time.thread_time() - start)
    for name in names:
        rows[name].append(f"{statistics.median(times[name]) * 1e3:.2f}")
    head = ["add, ms a page", "bytes a page", "ms a question"]
    if all_of_it:
        head += ["off bm25s", "remove a tenth, s", "off bm25s then", "killed"]
        pages = list(map(terms.of_page, texts))
        scores, left = golden(pages, []), golden(pages, gone)
        for name, engine in engines.items():
            rows[name].append(difference(engine, scores))
            start = time.process_time()
            engine.remove(gone, texts)
            rows[name].append(f"{time.process_time() - start:.1f}")
            engine.opened()
            rows[name] += [difference(engine, left), f"{killed(name, texts)} of {KILLS}"]
        shutil.rmtree(folder)
    print(f"| engine | {' | '.join(head)} |\n|---{'|---' * len(head)}|")
    for name, row in rows.items():
        print(f"| {ENGINES[name].name} | {' | '.join(row)} |")


def built(folder: Path, name: str, texts: Sequence[str], each: float, row: list[str]) -> Postings | Fts5 | Tantivy:
    """The engine with all pages, built once; `row` gets what that took. each: ms for the terms of a page."""
    marker = folder / "took"
    if not marker.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        engine = ENGINES[name](folder)
        start = time.process_time()
        for first in range(0, len(texts), BATCH):
            engine.add(first, texts[first : first + BATCH])
        milliseconds = max(0.0, (time.process_time() - start) / len(texts) * 1e3 - each)
        engine.opened()
        marker.write_text(f"{milliseconds:.2f} {engine.bytes() / len(texts):,.0f}")
    row += marker.read_text().split()
    engine = ENGINES[name](folder)
    engine.opened()
    return engine


# ---- ways to make terms


def singular(word: str) -> str:
    """The S-stemmer (Harman 1991)."""
    if word.endswith("ies") and word[-4:-3] not in ("a", "e"):
        return f"{word[:-3]}y"
    if word.endswith("es") and word[-3:-2] not in ("a", "e", "o"):
        return word[:-1]
    return word[:-1] if word.endswith("s") and word[-2:-1] not in ("u", "s") else word


def words_of(text: str) -> list[str]:
    """Letters and digits alone."""
    return re.findall(r"[^\W_]+", terms.folded(text))


def ways() -> dict[str, tuple[Callable[[str], list[str]], Callable[[str], list[str]]]]:
    """The terms of a page and of a question."""
    import bm25s
    from bm25s.stopwords import STOPWORDS_EN

    def asked(text: str) -> list[str]:
        return list(terms.of_question(text).terms)

    def default(text: str) -> list[str]:
        return list(bm25s.tokenize([text], stopwords="en", show_progress=False, return_ids=False)[0])

    return {
        "visret's terms": (terms.of_page, asked),
        "without English stop words": (terms.of_page, lambda text: [t for t in asked(text) if t not in STOPWORDS_EN]),
        "without the plural s": (lambda t: [*map(singular, terms.of_page(t))], lambda t: [*map(singular, asked(t))]),
        "letters and digits alone": (words_of, words_of),
        "bm25s, its defaults, English stop words": (default, default),
    }


def quality(texts: dict[PageRef, str]) -> None:
    """Print the second table."""
    import bm25s

    print(f"\n| terms | {' | '.join(KINDS)} |\n|---|---|---|---|---|")
    refs = list(texts)
    for name, (of_page, of_question) in ways().items():
        golden = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
        golden.index([of_page(text) for text in texts.values()], show_progress=False)
        rankings = []
        for question in questions():
            asked = [term for term in of_question(question["query"]) if term in golden.vocab_dict]
            best = np.argsort(-golden.get_scores(asked), kind="stable")[:5]
            rankings.append([refs[i] for i in best])
        print(table_row(name, rankings))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the packages and the PDFs are kept")
    parser.add_argument("--pages", type=int, help="as many, made of lines of the real ones; only the first table")
    parser.add_argument("--engines", nargs="+", choices=ENGINES, help="default: those that are installed")
    parser.add_argument("--play", choices=ENGINES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.play:
        play(arguments.play, arguments.folder)
        return
    names = arguments.engines or [*ENGINES]
    if arguments.engines is None:
        try:
            import tantivy  # noqa: F401
        except ImportError:
            names.remove("tantivy")
    kept = arguments.folder / "texts.json"
    if not kept.exists():
        read = texts_of(fetch(arguments.folder))
        kept.write_text(json.dumps([(*ref, text) for ref, text in read.items()]))
    texts = {PageRef(doc, page): text for doc, page, text in json.loads(kept.read_text())}
    real = list(texts.values())
    pages = made(real, arguments.pages) if arguments.pages else real
    compare(arguments.folder / f"lexical-{len(pages)}", pages, names, all_of_it=not arguments.pages)
    if not arguments.pages:
        quality(texts)


if __name__ == "__main__":
    main()
