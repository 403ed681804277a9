"""Scores of the literature beside MaxSim, each against a loop of its paper's formula."""

import math

import numpy as np
import pytest
from support.pages import FLOATS, MODEL, add, embed
from support.vectors import units

from visret.choices import LATE
from visret.codec import Codec, decode, encode
from visret.index import PageIndex
from visret.reduction import means
from visret.search.poly import Poly
from visret.search.xtr import XTR
from visret.types import QueryEmbedding, Question

SIZES = [1, 5, 63, 64, 65, 200, 300, 2, 40]
PAGES = [embed(f"{i % 3}.pdf", i // 3 + 1, n=n) for i, n in enumerate(SIZES)]
ODD = [page for page in PAGES if page.ref.doc == "1.pdf"]
SETTINGS = {"poly": (Poly, {}), "xtr": (XTR, {"found": 30}), "xtr, few": (XTR, {"found": 2})}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Three documents with three pages each, in three segments."""
    path = tmp_path_factory.mktemp("index") / "i"
    with PageIndex.create(path, model=MODEL, storage=FLOATS) as index, index.writing() as writer:
        for number in range(3):
            add(writer, f"{number}.pdf", PAGES[number::3], metadata={"odd": number == 1})
            writer.commit()
    return path


def asked(seed):
    """A question whose first vector is a marker."""
    vectors = units(np.random.default_rng(seed), 4 + seed, 8)
    content = np.arange(len(vectors)) > 0
    return Question("", {LATE: QueryEmbedding("q", vectors, ("t",) * len(vectors), content)})


def poly(pages, query):
    """Humeau et al. 2020, equations 1 to 3: the candidate attends over the codes of the context."""
    scores, int8 = {}, Codec("int8", 8)
    for page in pages:
        best = -math.inf
        for candidate in decode(encode(means(page.vectors), int8), int8):
            weights = [math.exp(float(candidate @ code)) for code in query.vectors[query.content]]
            context = sum(w * code for w, code in zip(weights, query.vectors[query.content], strict=True))
            best = max(best, float(context @ candidate) / sum(weights))
        scores[page.ref] = best
    return scores


def xtr(pages, query, found):
    """Lee et al. 2023, section 3.2: every token finds vectors, pages lack those that no token found."""
    total = {page.ref: 0.0 for page in pages}
    seen = set()
    for token in query.vectors:
        every = sorted(((float(v @ token), page.ref) for page in pages for v in page.vectors), reverse=True)[:found]
        of_page = {}
        for score, ref in reversed(every):
            of_page[ref] = score
        seen |= set(of_page)
        for ref in total:
            total[ref] += of_page.get(ref, every[-1][0])
    return {ref: total[ref] for ref in seen}


def loop(name, pages, query):
    return poly(pages, query) if name == "poly" else xtr(pages, query, SETTINGS[name][1]["found"])


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_a_plain_loop_and_filters_lose_nothing(path, name, seed):
    questions = [asked(seed), asked(seed + 1)]
    kind, options = SETTINGS[name]
    with PageIndex.open(path) as index:
        snapshot, scorer = index.snapshot, kind(index.snapshot, **options)
        for pages, where in ((PAGES, None), (ODD, {"odd": True})):
            rankings = scorer.rank(questions, 99, snapshot.select(where))
            for question, ranking in zip(questions, rankings, strict=True):
                wanted = loop(name, pages, question.encoded[LATE])
                refs = [snapshot.ref(*snapshot.locate(key)) for key in ranking.keys.tolist()]
                assert dict(zip(refs, ranking.scores.tolist(), strict=True)) == pytest.approx(wanted, abs=1e-5)
                assert (np.diff(ranking.scores) <= 0).all()
            (best,) = scorer.rank(questions[:1], 2, snapshot.select(where))
            assert best.keys.tolist() == rankings[0].keys[:2].tolist()


def test_where_every_vector_is_found_it_is_maxsim(path):
    question = asked(1)
    with PageIndex.open(path) as index:
        (ranking,) = XTR(index.snapshot, found=10**6).rank([question], 99, index.snapshot.select())
        refs = [index.snapshot.ref(*index.snapshot.locate(key)) for key in ranking.keys.tolist()]
    wanted = {page.ref: (page.vectors @ question.encoded[LATE].vectors.T).max(axis=0).sum() for page in PAGES}
    assert dict(zip(refs, ranking.scores.tolist(), strict=True)) == pytest.approx(wanted, abs=1e-5)
