"""Plans: scores that are fused, on the candidates of one scorer or of all, equal a plain loop over all pages."""

import math

import numpy as np
import pytest

from visret import Page, Retriever
from visret.errors import InvalidArgument
from visret.search import plans
from visret.search.plans import Plan
from visret.types import Ranking

PAGES = 30


class Given:
    """Ranks pages by the scores that it was given, by the number of the page; NaN is not found."""

    def __init__(self, name, values, snapshot):
        self.name, self.values, self.snapshot = name, values, snapshot
        self.depths = []

    def rank(self, questions, k, among, *, exact=False):
        self.depths.append(k)
        keys = np.concatenate([self.snapshot.keys(np.full(len(rows), n), rows) for n, rows in among.rows.items()])
        values = self.values[(keys & 0xFFFFFFFF) - 1]
        keys, values = keys[~np.isnan(values)], values[~np.isnan(values)]
        order = np.lexsort((keys, -values))[:k]
        return [Ranking(keys[order], values[order]) for _ in questions]

    def explain(self, question, key):
        return None


@pytest.fixture
def two(tmp_path):
    """An index of 30 pages, and two scorers with random scores, the second of which finds half of them."""
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=PAGES), generator.normal(size=PAGES) + 3
    b[::2] = np.nan
    with Retriever.create(tmp_path / "i", model="toy") as made:
        made.add_pages([Page.from_image(blank(), doc="book", page=n + 1) for n in range(PAGES)])
        snapshot = made._index.snapshot
        opened = {"a": Given("a", a, snapshot), "b": Given("b", b, snapshot)}
        yield made, a, b, opened


def blank():
    from PIL import Image

    return Image.new("RGB", (64, 64), "red")


def ranked(made, opened, plan, k):
    snapshot = made._index.snapshot
    (found,) = plans.rank(plan, opened.__getitem__, snapshot, [None], k, snapshot.select())
    return (found.keys & 0xFFFFFFFF) - 1, found


def relative(values, among):
    some = values[among]
    low = np.nanmin(some) if not np.isnan(some).any() else min(np.nanmin(some), 0)
    return {i: 0.0 if math.isnan(values[i]) else (values[i] - low) / (np.nanmax(some) - low) for i in among}


def reciprocal(values, among):
    order = sorted((i for i in among if not math.isnan(values[i])), key=lambda i: -values[i])
    return {i: 1 / (60 + order.index(i) + 1) if i in order else 0.0 for i in among}


@pytest.mark.parametrize("fusion", ["relative", "rank"])
@pytest.mark.parametrize("candidates", [None, "a", "b"])
@pytest.mark.parametrize("depth", [3, 8, 100, {"a": 3, "b": 9}])
def test_fusion_is_that_of_a_plain_loop(two, fusion, candidates, depth):
    made, a, b, opened = two
    k = 5
    at = depth if isinstance(depth, dict) else {"a": depth, "b": depth}
    best = {"a": np.argsort(-a)[: max(k, at["a"])], "b": [i for i in np.argsort(-b) if i % 2][: max(k, at["b"])]}
    among = sorted({int(i) for name in ([candidates] if candidates else "ab") for i in best[name]})
    comparable = {"relative": relative, "rank": reciprocal}[fusion]
    one, other = comparable(a, among), comparable(b, among)
    wanted = sorted(among, key=lambda i: (-(0.7 * one[i] + 0.3 * other[i]), i))[:k]
    places, found = ranked(made, opened, Plan({"a": 0.7, "b": 0.3}, fusion, candidates, depth), k)
    assert places.tolist() == wanted
    np.testing.assert_allclose(found.scores, [0.7 * one[i] + 0.3 * other[i] for i in wanted])
    np.testing.assert_array_equal(found.parts["a"], a[wanted])
    np.testing.assert_array_equal(found.parts["b"], b[wanted])


def test_what_one_scorer_says_alone_is_its_own_order(two):
    made, a, _, opened = two
    places, _ = ranked(made, opened, Plan({"a": 2}), 10)
    assert places.tolist() == np.argsort(-a)[:10].tolist()


def test_pages_without_any_score_are_no_error(two):
    made, _, b, opened = two
    b[:] = np.nan
    assert ranked(made, opened, Plan({"b": 1}), 10)[0].tolist() == []
    assert len(ranked(made, opened, Plan({"a": 1, "b": 1}), 10)[0]) == 10


def test_hits_have_the_scores_of_all(tmp_path):
    with Retriever.create(tmp_path / "i", model="toy") as made:
        made.add_pages([Page.from_image(blank(), doc=f"page{n}") for n in range(3)])
        (first, *_) = made.search("red", by=Plan({"late": 1, "maxsim": 1}))
        assert first.score == 2
        assert set(first.scores) == {"late"}
        (exact,) = made.search("red", k=1, by="maxsim", where={"doc": first.doc})
        assert first.scores["late"] == exact.score


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"weights": {}}, "needs the names of scorers"),
        ({"weights": {"late": 0}}, "the weight of late must be a number above 0, got 0"),
        ({"weights": {"late": math.nan}}, "above 0"),
        ({"weights": {"late": 1}, "fusion": "sum"}, "fusion: expected relative or rank or mean, got 'sum'"),
        ({"weights": {"late": 1}, "candidates": "bm25"}, "candidates come from one of late, got 'bm25'"),
        ({"weights": {"late": 1}, "depth": 0}, "depth must be a whole number"),
        ({"weights": {"late": 1}, "depth": {"bm25": 9}}, "depth: expected a number for each of late, got"),
    ],
)
def test_what_cannot_be_is_refused(given, reason):
    with pytest.raises(InvalidArgument, match=reason):
        Plan(**given)
