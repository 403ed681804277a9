"""What a page loses for its length: every stage ranks by it, explanations show it, MaxSim itself stays as it was."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visret import Page, Retriever
from visret.maxsim import pack, page_scores
from visret.reduction import summarise
from visret.search.late_interaction import LENGTH, Staged, best_pages, for_length


def units(*shape: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def part(pages: list[np.ndarray], codec: str, slope: float) -> Staged:
    packed, small = (
        pack(np.concatenate(rows), np.cumsum([0, *map(len, rows)]), codec=codec)
        for rows in (pages, [summarise(page, 3) for page in pages])
    )
    return Staged(packed, small, None, for_length(np.diff(packed.offsets), slope))


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 60), min_size=2, max_size=40),
    codec=st.sampled_from(["float32", "int8"]),
    staged=st.booleans(),
    slope=st.sampled_from([LENGTH, 1.0]),
    seed=st.integers(0, 99),
)
def test_every_stage_ranks_by_the_sum_less_length(counts, codec, staged, slope, seed):
    pages = list(np.split(units(sum(counts), 24, seed=seed), np.cumsum(counts)[:-1]))
    cut = len(pages) // 2
    parts = [part(pages[:cut], codec, slope), part(pages[cut:], codec, slope)]
    parts[1] = parts[1]._replace(only=np.arange(len(pages) - cut)[::2])
    query = units(5, 24, seed=seed + 1000)
    exact = np.concatenate([one.pages.exact_scores(query, one.only) for one in parts]).astype(np.float64)
    kept = np.concatenate([np.arange(cut), cut + parts[1].only])
    wanted = exact + 5 * for_length(np.array(counts), slope)[kept]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("visret.search.late_interaction.EXACT_UP_TO", 0 if staged else 1 << 25)
        patched.setattr("visret.maxsim._settle.FIRST_SCANNED", 1000)  # summaries of random vectors tell nothing
        ((number, row, scores),) = best_pages(parts, [query], 4)
    order = np.argsort(-wanted, kind="stable")[:4]
    np.testing.assert_array_equal(scores, wanted[order])
    np.testing.assert_array_equal(np.where(number == 0, row, cut + row), kept[order])
    lost = np.array([parts[n].length[r] for n, r in zip(number, row, strict=True)])
    np.testing.assert_array_equal((scores - 5 * lost).astype(np.float32), exact[order].astype(np.float32))


@pytest.fixture
def retriever(tmp_path):
    """A bill of four words, and a page of prose that holds them too."""
    bill, words = "invoice total amount due", [f"word{i}" for i in range(300)]
    with Retriever.create(tmp_path / "i", model="all-minilm-l6-v2", codec="float32") as made:
        made.add_pages([Page.from_text(bill, doc="bill"), Page.from_text(" ".join(words), doc="prose")])
        yield made


@pytest.mark.weights
def test_explanations_show_what_a_page_loses(retriever):
    question = "what is the total amount"
    for hit in retriever.search(question):
        why = retriever.heatmap(question, hit)
        vectors = retriever._index.embedding(hit.ref).vectors
        assert why.length == pytest.approx(-len(why.tokens) * LENGTH * math.log(len(vectors)))
        assert why.score == pytest.approx(hit.score, abs=1e-5)
        assert why.values.sum() == pytest.approx(hit.scores["late"], abs=1e-5)
        assert hit.scores["late"] == pytest.approx(page_scores(why.query.vectors, vectors, [0, len(vectors)])[0])
        assert str(why.table).splitlines()[-1] == f"[length of the page]  {why.length:.2f}"
        assert ">length of the page</th><td colspan" in why.table._repr_html_()


@pytest.mark.weights
def test_a_long_page_loses_more(retriever):
    found = {hit.doc: hit for hit in retriever.search("what is the total amount")}
    lost = {doc: hit.scores["late"] - hit.score for doc, hit in found.items()}
    assert 0 < lost["bill"] < lost["prose"]


@pytest.mark.weights
def test_by_maxsim_alone_nothing_is_taken_off(retriever):
    for hit in retriever.search("what is the total amount", by="maxsim"):
        assert hit.score == hit.scores["late"]


def test_length_is_the_logarithm_of_the_vectors_that_the_model_made():
    np.testing.assert_allclose(
        for_length(np.array([1, 10, 1000])), [0, -LENGTH * math.log(10), -LENGTH * math.log(1000)]
    )
