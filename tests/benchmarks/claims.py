"""What is said of late interaction, claim by claim, beside what the pages and questions of quality.py say of it.

    pip install -e ".[bench,onnx]"                     # bm25s, faiss-cpu, onnxruntime
    python tests/benchmarks/claims.py FOLDER           # the FOLDER of quality.py, or a new one
    python tests/benchmarks/claims.py FOLDER --only bi_encoder latency

Each row: the claim, where it comes from, what comes out here, and a verdict that follows from these numbers by a rule.
"Often said" is the source of what many repeat and no source was found for. "As published" is the verdict where the
weights cannot be had: then the figures are those of the source. All others are computed when this is run. What takes
minutes is kept in FOLDER: the vectors of all pages, the ranking of single vectors, the centroids of all pages.

Scores are those of plain MaxSim with the default model in float32 unless a row says otherwise, and quality is nDCG@5
over 94 questions. A figure is close if it is at most a fifth off. A loss of at most 2 % keeps quality. "n.s." is a
difference with p above .05 in a paired permutation test; each claim is tested by itself, without a correction for the
number of claims. Times are medians, in wall clock, and those of a question include encoding it.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import multiprocessing
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.append(str(Path(__file__).parent))
import encoders
import first_stage
import rerank
import rivals
import single_vectors
import storage
from quality import fetch, questions, texts, top

from visret import Page, PageRef, Retriever, load_encoder, load_reranker, reduction
from visret.choices import CASCADE, LATE
from visret.codec import Codec
from visret.evaluate import significance, system_of
from visret.index import PageIndex
from visret.index.model import record
from visret.maxsim import pack
from visret.reduction import Storage

MODEL = "all-minilm-l6-v2"
GIB = 1 << 30
CLOSE = 0.2  # of a figure
ALLOWED = 0.02  # of nDCG@5
DIM, SINGLE_DIM = 128, 768  # of ColBERT's vectors, and of a bi-encoder's
TOKENS = 500  # of a document, where claims count bytes
SHORTLIST = 100
LENGTH, QUESTION = 180, 32  # ColBERT's, in tokens
TIMED = 4  # every fourth question is timed
TIMED_PAGES, ROUNDS = 12, 3
PROCESSES = 2

COLBERT = "ColBERT, arXiv 2004.12832"
COLBERT_V2 = "ColBERTv2, arXiv 2112.01488"
PLAID = "PLAID, arXiv 2205.09707"
OFTEN_SAID = "often said"
MRR = {"ColBERT": 34.9, "BERT-large": 36.5}  # MRR@10 on MS MARCO of pages ranked again, table 1 of 2004.12832


class Row(NamedTuple):
    """A line of the table."""

    claim: str
    source: str
    ours: str
    verdict: str


class Bench:
    """What claims are measured on; each part is made when a claim first needs it."""

    def __init__(self, folder: Path, scratch: Path, opened: ExitStack) -> None:
        self.folder, self.scratch, self._opened = folder, scratch, opened

    @cached_property
    def collection(self) -> storage.Collection:
        """The vectors of all pages and questions."""
        return storage.load(self.folder, MODEL)

    @cached_property
    def vectors_a_page(self) -> float:
        """How many vectors a page has."""
        return len(self.collection.vectors) / len(self.collection.refs)

    @cached_property
    def values(self) -> np.ndarray:
        """nDCG@5 of each question by MaxSim, (Q,)."""
        return self.stored(Storage("float32"))

    def stored(self, how: Storage, collection: storage.Collection | None = None) -> np.ndarray:
        """nDCG@5 of each question by MaxSim, with vectors stored in another way, or other vectors."""
        collection = collection or self.collection
        return storage.ndcg(storage.ranked(collection, storage.store(collection, how).scores))

    @cached_property
    def texts(self) -> dict[PageRef, str]:
        """The words of every page that has some."""
        found = texts(fetch(self.folder))
        return {ref: found[ref] for ref in self.collection.refs}

    @cached_property
    def single(self) -> tuple[np.ndarray, float]:
        """nDCG@5 of each question by the same model with a vector for each 180 words, and its bytes a page."""
        kept = self.folder / f"{MODEL}.single.json"
        if not kept.exists():
            system = rivals.pooled(self.texts)
            kept.write_text(json.dumps({"ranked": top(system), "bytes": system.bytes_a_page}))
        read = json.loads(kept.read_text())
        return storage.ndcg([[PageRef(*ref) for ref in ranked] for ranked in read["ranked"]]), read["bytes"]

    @cached_property
    def encoder(self) -> Any:
        """The default model as it computes by default."""
        return load_encoder(MODEL)

    @cached_property
    def retriever(self) -> Retriever:
        """An index of these vectors and words."""
        path = self.scratch / "pages.visret"
        made = PageIndex.create(path, model=record(self.encoder), storage=Storage("int8"))
        with made as index, index.writing() as writer:
            numbers: dict[str, int] = {}
            for page in self.collection.pages():
                if page.ref.doc not in numbers:
                    numbers[page.ref.doc] = writer.add(page.ref.doc)
                writer.put(numbers[page.ref.doc], replace(page, text=self.texts[page.ref]))
        return self._opened.enter_context(Retriever.open(path, model=self.encoder))

    @cached_property
    def short(self) -> first_stage.Collection:
        """The same vectors through PCA to 128 dimensions, for the ways of first_stage.py."""
        made = self.collection
        step = -(-len(made.vectors) // first_stage.SAMPLE)
        projection = reduction.fit_projection(made.vectors[::step].astype(np.float32), DIM)
        rows = np.concatenate([reduction.project(page.vectors, projection) for page in made.pages()])
        asked = [reduction.project(made.asked[a:b], projection) for a, b in pairwise(made.asked_offsets)]
        exact = first_stage.exact_scores(rows, made.offsets, asked)
        return first_stage.Collection(rows, made.offsets, pack(rows, made.offsets), asked, exact)

    @cached_property
    def milliseconds(self) -> dict[str, float]:
        """The time of a question: one page after the other, an index and its scan of every page, single vectors."""
        import faiss

        pages = [page.vectors for page in self.collection.pages()]
        means = np.array([page.mean(axis=0) for page in pages])
        flat = faiss.IndexFlatIP(means.shape[1])
        flat.add(means)
        ask = single_vectors.by_faiss(flat)
        index = self.retriever

        def vectors(question: str) -> np.ndarray:
            return self.encoder.encode_queries([question])[0].vectors

        def naive(question: str) -> np.ndarray:
            asked = vectors(question).T
            return np.argsort([-(page @ asked).max(axis=0).sum() for page in pages])[:10]

        return {
            "naive": median(naive),
            "indexed": median(lambda question: index.search(question, explain=False)),
            "every page": median(lambda question: index.search(question, explain=False, exact=True)),
            "single": median(lambda question: ask(vectors(question).mean(axis=0, keepdims=True))),
        }

    @cached_property
    def pages_to_encode(self) -> list[Page]:
        """Pages of several documents."""
        return encoders.pages_of(fetch(self.folder), TIMED_PAGES)


# ---- claims about bytes


def bytes_a_vector(_bench: Bench) -> Row:
    said = (256, 36, 20)
    made = tuple(Codec(name, DIM).bytes_a_vector for name in ("float16", "residual2", "residual1"))
    return Row(
        "a vector of 128 dimensions takes 256 bytes, 36 with two bits and 20 with one",
        COLBERT_V2,
        f"`float16`, `residual2` and `residual1`: {listed(made)}",
        "holds" if made == said else "does not hold here",
    )


def ms_marco(_bench: Bench) -> Row:
    """Codes and centroids, and in a list for each centroid the passage of each of its vectors, in four bytes."""
    said, whole = (25, 16), 154
    vectors = whole * GIB / Codec("float16", DIM).bytes_a_vector
    centroids = 2 ** math.floor(math.log2(16 * math.sqrt(vectors)))
    sizes = [
        (vectors * (Codec(name, DIM).bytes_a_vector + 4) + centroids * DIM * 2) / GIB
        for name in ("residual2", "residual1")
    ]
    return Row(
        "MS MARCO's index of 154 GiB takes 25 with two bits and 16 with one",
        f"{COLBERT_V2}; centroids as in collection_indexer.py of stanford-futuredata/ColBERT",
        f"computed: {vectors / 1e6:.0f} million vectors, {centroids:,} centroids, lists of 4 bytes a vector: "
        f"{sizes[0]:.1f} and {sizes[1]:.1f} GiB",
        close(zip(sizes, said, strict=True)),
    )


def megabytes(bench: Bench) -> Row:
    counts = (100, 1_000, 10_000)

    def sizes(page: float) -> str:
        return listed([figure(count * page / 1e6, 0 if count * page >= 1e6 else 1) for count in counts])

    said, ours = TOKENS * DIM * 4, bench.vectors_a_page * DIM * 4
    coded = bench.vectors_a_page * Codec("residual2", DIM).bytes_a_vector
    return Row(
        f"{listed([f'{n:,}' for n in counts])} documents of {TOKENS} tokens take {sizes(said)} MB in vectors of "
        f"{DIM} floats, and {sizes(SINGLE_DIM * 4)} MB in one of {SINGLE_DIM}",
        f"{OFTEN_SAID}; arithmetic",
        f"{bench.vectors_a_page:.0f} vectors a page: {sizes(ours)} MB, as `float16` {sizes(ours / 2)}, as `residual2` "
        f"{sizes(coded)}",
        close([(ours, said)]),
    )


def floats(bench: Bench) -> Row:
    said = TOKENS * DIM / SINGLE_DIM
    ours = bench.vectors_a_page * DIM / SINGLE_DIM
    return Row(
        f"late interaction stores {said:.0f} times the floats ({TOKENS} x {DIM} and {SINGLE_DIM})",
        f"{OFTEN_SAID}; arithmetic",
        f"{ours:.0f} times with {DIM} and {SINGLE_DIM} dimensions, {bench.vectors_a_page:.0f} times with the "
        f"{bench.collection.vectors.shape[1]} dimensions of one model for both",
        close([(ours, said)]),
    )


def times_the_storage(bench: Bench) -> Row:
    dim = bench.collection.vectors.shape[1]
    stored = {name: bench.vectors_a_page * codec.bytes_a_vector for name, codec in _codecs(dim).items()}
    beside = {"one for each 180 words": bench.single[1], "one for a page": 4.0 * dim}
    ratios = {(codec, other): stored[codec] / beside[other] for other in beside for codec in stored}
    told = "; ".join(
        f"beside {other}, " + listed([f"{ratios[codec, other]:.1f} x ({codec})" for codec in stored])
        for other in beside
    )
    return Row(
        "late interaction takes 5 to 10 times the storage of single vectors",
        "theeazyware.com/blog/late-interaction-retrieval",
        f"single vectors in float32: {told}",
        in_range(next(iter(ratios.values())), 5, 10, "{:.0f} x"),
    )


def _codecs(dim: int) -> dict[str, Codec]:
    return {"the default, `int8`": Codec("int8", dim), f"`residual2`, {DIM} dimensions": Codec("residual2", DIM)}


# ---- claims about quality


def bi_encoder(bench: Bench) -> Row:
    single, _ = bench.single
    return Row(
        "late interaction finds 5 to 15 % more than a bi-encoder",
        f"{OFTEN_SAID}; 5 to 15 points of nDCG@10 in mr.technology/payloads/colbert-plaid-late-interaction-retrieval-"
        "rag-2026",
        f"the same weights, {ndcg(bench.values)} token by token, {ndcg(single)} with a vector for each 180 words",
        gained(single, bench.values, 0.05, 0.15),
    )


def cross_encoder(_bench: Bench) -> Row:
    return Row(
        "late interaction comes within a few points of a cross-encoder",
        COLBERT,
        f"no weights to be had; MRR@10 on MS MARCO: {listed([f'{v} ({k})' for k, v in MRR.items()])}",
        f"as published: {MRR['BERT-large'] - MRR['ColBERT']:.1f} points",
    )


def cross_encoder_time(bench: Bench) -> Row:
    """Of a thousand pages that are ranked again; random weights take as long as learned ones."""
    some = list(bench.texts.items())[:: len(bench.texts) // TIMED_PAGES]
    pages = [Page.from_text(text, doc=ref.doc, page=ref.page) for ref, text in some]
    with tempfile.TemporaryDirectory() as folder:
        reranker = load_reranker(rerank.random_weights(Path(folder)), dtype="float32")
        _, taken = rerank.seconds_a_page(pages, reranker, ROUNDS)
    read = statistics.median(taken) * 1000
    scanned = bench.milliseconds["every page"] / len(bench.collection.refs)
    ratio = float(f"{read / scanned:.2g}")
    return Row(
        "late interaction takes a tenth to a fiftieth of the time of a cross-encoder",
        f"{OFTEN_SAID}; a 170th in {COLBERT}",
        f"1,000 pages: {read:,.0f} s by a cross-encoder of the same size (ms-marco-MiniLM-L6-v2's shape, random "
        f"weights), {figure(scanned, 3)} s by MaxSim of stored vectors",
        in_range(ratio, 10, 50, "a {:,.0f}th"),
    )


def reduction_and_int8(bench: Bench) -> Row:
    dim = bench.collection.vectors.shape[1]
    options = [Storage("int8", dim=size) for size in (2 * dim // 3, DIM)]
    values = [bench.stored(option) for option in options]
    smaller = [4 * dim / Codec("int8", option.dim or dim).bytes_a_vector for option in options]
    told = [f"{s:.1f} x with {o.dim} dimensions ({ndcg(v)})" for o, s, v in zip(options, smaller, values, strict=True)]
    verdict = kept(bench.values, values[0])
    return Row(
        "fewer dimensions and int8 make vectors 6 times smaller at a loss of less than 2 %",
        OFTEN_SAID,
        f"float32 of {dim} dimensions: {ndcg(bench.values)}; smaller by {listed(told)}",
        verdict if abs(smaller[0] / 6 - 1) <= CLOSE else f"does not hold here: {smaller[0]:.1f} x",
    )


def length(bench: Bench) -> Row:
    """The first vectors of each page, and passages of as many, the best of which counts."""
    made = bench.collection
    sizes = np.diff(made.offsets)
    place = np.arange(len(made.vectors)) - np.repeat(made.offsets[:-1], sizes)
    shorter = np.minimum(sizes, LENGTH)
    cut = replace(made, vectors=made.vectors[place < LENGTH], offsets=np.cumsum([0, *shorter]))
    first = bench.stored(Storage("float32"), cut)
    passages = replace(
        made,
        offsets=np.append(np.flatnonzero(place % LENGTH == 0), len(made.vectors)),
        refs=[ref for ref, size in zip(made.refs, sizes, strict=True) for _ in range(-(-size // LENGTH))],
    )
    scores = storage.store(passages, Storage("float32")).scores
    starts = np.cumsum([0, *-(-sizes // LENGTH)])[:-1]
    best = storage.ndcg(storage.ranked(made, np.maximum.reduceat(scores, starts)))
    return Row(
        f"{LENGTH} tokens of a document are enough",
        "`doc_maxlen` of the checkpoint colbertv2.0",
        f"{100 * np.mean(sizes <= LENGTH):.0f} % of the pages have no more; all vectors {ndcg(bench.values)}, the "
        f"first {LENGTH} {ndcg(first)}, the best passage of {LENGTH} {ndcg(best)}",
        kept(bench.values, first),
    )


def marker(bench: Bench) -> Row:
    values = bench.stored(Storage("float32"), asked_with(bench, fill=0))
    return Row(
        "a marker [Q] before the question helps",
        COLBERT,
        f"[unused0], in a model that was not trained with it: {ndcg(values)}, without {ndcg(bench.values)}",
        gained(bench.values, values, 0, 1),
    )


def masks(bench: Bench) -> Row:
    values = bench.stored(Storage("float32"), asked_with(bench, fill=QUESTION))
    return Row(
        f"[MASK]s that fill a question up to {QUESTION} tokens help",
        f"{COLBERT}; arXiv 2408.13672",
        f"with [unused0], in a model that was not trained with them: {ndcg(values)}, without {ndcg(bench.values)}",
        gained(bench.values, values, 0, 1),
    )


def asked_with(bench: Bench, *, fill: int) -> storage.Collection:
    """The collection with questions as ColBERT reads them: a marker, the pieces, and [MASK]s up to so many ids."""
    encoder = bench.encoder
    token = encoder._model.tokenizer.token_to_id
    asked = []
    for question in questions():
        reading = encoder.read(question["query"], "query")
        ids = [*reading.head, token("[unused0]"), *reading.ids.tolist(), *reading.tail]
        ids += [token("[MASK]")] * (fill - len(ids))
        (scored,) = encoder._encode([ids], "query")
        counts = np.ones(len(ids), bool)
        counts[: len(reading.head)] = False  # [CLS] and [SEP], which have no vectors in the default model
        end = len(reading.head) + 1 + len(reading.ids)
        counts[end : end + len(reading.tail)] = False
        asked.append(scored.vectors[counts])
    return replace(bench.collection, asked=np.concatenate(asked), asked_offsets=np.cumsum([0, *map(len, asked)]))


def cascade(bench: Bench) -> Row:
    by = {way: storage.ndcg(top(system_of(bench.retriever, way, by=way))) for way in (LATE, CASCADE)}
    return Row(
        "the 1,000 best of BM25, then .3 BM25 and .7 late interaction, find more than late interaction",
        f"{OFTEN_SAID}; the 1,000 of BM25 in {COLBERT}, and as a baseline in arXiv 2404.14989",
        f"`cascade` {ndcg(by[CASCADE])}, `late` {ndcg(by[LATE])}",
        gained(by[LATE], by[CASCADE], 0, 1),
    )


# ---- claims about shortlists


def centroids_first(bench: Bench) -> Row:
    stage = next(some for some in first_stage.cells(bench.short, bench.folder) if some.name.startswith("PLAID, 4 "))
    return shortlisted(bench, "centroids first, then 100 documents in full, keep quality", PLAID, stage)


def ivf_pq(bench: Bench) -> Row:
    (_, stage) = first_stage.ivf_pq(bench.short)
    return shortlisted(bench, "IVF-PQ over all token vectors finds the 100 to score in full", COLBERT, stage)


def shortlisted(bench: Bench, claim: str, source: str, stage: first_stage.Stage) -> Row:
    """The ten best of a shortlist of 100, beside the ten best of all pages."""
    pages = bench.short
    scores = [stage.scores(query) for query in pages.queries]
    found = np.stack([first_stage.ranks(some, best) for some, best in zip(scores, pages.best, strict=True)])
    within = np.full_like(pages.exact, -np.inf)
    for row, some in enumerate(scores):
        chosen = first_stage.largest(some, SHORTLIST)
        within[row, chosen] = pages.exact[row, chosen]
    whole, part = (storage.ndcg(storage.ranked(bench.collection, some.T)) for some in (pages.exact, within))
    choosing, all_of_it = first_stage.timed(pages, stage, SHORTLIST)
    every = statistics.median(_milliseconds(lambda query: pages.packed.top_k(query, 10), pages.queries))
    return Row(
        claim,
        source,
        f"{DIM} dimensions, {stage.name}: {100 * np.mean(found < SHORTLIST):.1f} % of the ten best are among the 100; "
        f"{ndcg(part)} in {all_of_it:.1f} ms ({choosing:.1f} for the shortlist), every page {ndcg(whole)} in "
        f"{every:.1f} ms",
        kept(whole, part),
    )


# ---- claims about time


def latency(bench: Bench) -> Row:
    said = {"naive": 200, "indexed": 50, "single": 5}
    ours = [bench.milliseconds[name] for name in said]
    in_order = ours == sorted(ours, reverse=True)
    slower = [name for name, ms in zip(said, ours, strict=True) if ms > said[name] * (1 + CLOSE)]
    verdict = "holds" if close(zip(ours, said.values(), strict=True)) == "holds" else "in this order, and faster here"
    if not in_order:
        verdict = "does not hold here: another order"
    elif slower:
        verdict = f"does not hold here: slower ({', '.join(slower)})"
    return Row(
        "a question takes 200 ms naively, 50 with an index, 5 with single vectors",
        OFTEN_SAID,
        f"{len(bench.collection.refs):,} pages: {listed([figure(ms, 1) for ms in ours])} ms",
        verdict,
    )


def onnx(bench: Bench) -> Row:
    pages = bench.pages_to_encode
    engines = {name: encoders.visret(name, PROCESSES) for name in ("torch", "onnx")}
    default = load_encoder(MODEL, threads=PROCESSES)
    engines[default.preprocessing["dtype"]] = default.encode_pages
    taken = in_turns({name: lambda engine=engine: engine(pages) for name, engine in engines.items()})
    rates = {name: len(pages) / statistics.median(times) for name, times in taken.items()}
    last = list(rates)[-1]
    return Row(
        "onnxruntime encodes 1.4 to 3 times as fast as torch, depending on the precision",
        "github.com/UKPLab/sentence-transformers/releases/tag/v3.2.0",
        f"float32: {rates['onnx']:.1f} pages/s, torch {rates['torch']:.1f}; torch in {last}, the default here, "
        f"{rates[last]:.1f}",
        in_range(ratio_of(taken, "torch", "onnx"), 1.4, 3, "{:.1f} x"),
    )


def processes(bench: Bench) -> Row:
    pages = bench.pages_to_encode
    parts = [pages[start : start + 2] for start in range(0, len(pages), 2)]
    spawn = multiprocessing.get_context("spawn")
    threads = {count: encoders.visret("torch", count) for count in (1, PROCESSES)}
    with spawn.Pool(1, _start) as one, spawn.Pool(PROCESSES, _start) as several:
        taken = in_turns(
            {
                "one": lambda: one.map(_work, parts, 1),
                "several": lambda: several.map(_work, parts, 1),
                **{f"{count} threads": lambda count=count: threads[count](pages) for count in threads},
            }
        )
    ratio = ratio_of(taken, "one", "several")
    by_threads = ratio_of(taken, "1 threads", f"{PROCESSES} threads")
    return Row(
        "processes in parallel encode as many times faster as there are of them",
        f"{OFTEN_SAID}; pools in sbert.net/examples/sentence_transformer/applications/computing-embeddings",
        f"{PROCESSES} processes of one thread: {figure(ratio, 2)} x one; {PROCESSES} threads of one process: "
        f"{figure(by_threads, 2)} x one",
        close([(ratio, PROCESSES)]),
    )


def _start() -> None:
    global _engine
    _engine = encoders.visret("torch", 1)


def _work(pages: list[Page]) -> int:
    return sum(map(len, _engine(pages)))


CLAIMS: tuple[Callable[[Bench], Row], ...] = (
    bytes_a_vector,
    ms_marco,
    megabytes,
    floats,
    times_the_storage,
    reduction_and_int8,
    bi_encoder,
    cross_encoder,
    cross_encoder_time,
    length,
    marker,
    masks,
    cascade,
    centroids_first,
    ivf_pq,
    latency,
    onnx,
    processes,
)


# ---- verdicts, and how figures are written


def close(pairs: Any) -> str:
    """Whether all figures are close to those that are claimed. pairs: of ours and theirs."""
    off = max((ours / said - 1 for ours, said in pairs), key=abs)
    return "holds" if abs(off) <= CLOSE else f"does not hold here: {percent(off)} off"


def in_range(value: float, low: float, high: float, form: str) -> str:
    """Whether a figure is in the range that is claimed. form: how it is written."""
    if low <= value <= high:
        return f"holds: {form.format(value)}"
    return f"{'more' if value > high else 'less'} than claimed here: {form.format(value)}"


def kept(base: np.ndarray, values: np.ndarray) -> str:
    """Whether quality stays: at most 2 % is lost, or what is lost may be noise. (Q,) each."""
    loss, p = 1 - values.mean() / base.mean(), significance.permutation_p(values - base)
    if loss <= ALLOWED:
        return f"holds: {percent(-loss)}"
    if p > significance.LEVEL:
        return f"holds here: {percent(-loss)} (n.s.)"
    return f"does not hold here: {percent(-loss)} ({probability(p)})"


def gained(base: np.ndarray, values: np.ndarray, low: float, high: float) -> str:
    """Whether quality rises, by as much as is claimed. (Q,) each."""
    gain, p = values.mean() / base.mean() - 1, significance.permutation_p(values - base)
    if p > significance.LEVEL:
        return f"not seen here: {percent(gain)} (n.s.)"
    said = f"{percent(gain)} ({probability(p)})"
    if gain < low:
        return f"does not hold here: {said}"
    return f"more here: {said}" if gain > high else f"holds: {said}"


def figure(value: float, digits: int) -> str:
    """A number of at least 0 with so many digits after the point."""
    return f"{value:,.{digits}f}".removeprefix("0" * bool(digits))


def percent(share: float) -> str:
    return ("+" if share >= 0 else "-") + figure(100 * abs(share), 1) + " %"


def probability(p: float) -> str:
    return f"p = {figure(p, 3)}" if p >= 0.001 else "p < .001"


def ndcg(values: np.ndarray) -> str:
    """The mean of the questions."""
    return figure(values.mean(), 3)


def listed(some: Sequence[Any]) -> str:
    """Figures in words."""
    *first, last = map(str, some)
    return f"{', '.join(first)} and {last}" if first else last


def median(ask: Callable[[str], Any]) -> float:
    """Milliseconds of a question."""
    return statistics.median(_milliseconds(ask, [question["query"] for question in questions()[::TIMED]]))


def _milliseconds(ask: Callable[[Any], Any], asked: Sequence[Any]) -> list[float]:
    ask(asked[0])
    taken = []
    for question in asked:
        start = time.perf_counter()
        ask(question)
        taken.append((time.perf_counter() - start) * 1000)
    return taken


def in_turns(works: dict[str, Callable[[], Any]]) -> dict[str, list[float]]:
    """Seconds of each work in each round, after one that is not counted."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(ROUNDS + 1):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            if turn:
                taken[name].append(time.perf_counter() - start)
    return taken


def ratio_of(taken: dict[str, list[float]], slow: str, fast: str) -> float:
    """How many times as fast one is, in the median of the rounds."""
    return statistics.median(a / b for a, b in zip(taken[slow], taken[fast], strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the packages, the PDFs and the vectors are kept")
    parser.add_argument("--only", nargs="+", choices=[claim.__name__ for claim in CLAIMS], help="some of the claims")
    arguments = parser.parse_args()
    print("| claim | source | ours | verdict |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as opened:
        bench = Bench(arguments.folder, Path(scratch), opened)
        for claim in CLAIMS:
            if arguments.only is None or claim.__name__ in arguments.only:
                print(f"| {' | '.join(claim(bench))} |", flush=True)


if __name__ == "__main__":
    logging.getLogger("visret").setLevel(logging.ERROR)  # which words no page has
    main()
