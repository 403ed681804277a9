"""What stands for a page in the first stage of a search, and which pages are scanned then."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visret.maxsim import PackedPages, pack, page_scores
from visret.reduction import summarise, summary_size
from visret.search.late_interaction import Staged, best_pages, has_first_stage


def units(*shape: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def around(middles: np.ndarray, count: int, noise: float, seed: int = 1) -> np.ndarray:
    """`count` unit rows around each of the middles (k, d), one group after the other."""
    rows = np.repeat(middles, count, axis=0)
    rows = rows + noise * units(*rows.shape, seed=seed)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_the_centroids_are_the_middles_of_what_belongs_together():
    groups = around(units(6, 32), 20, 0.3)
    mixed = groups[np.random.default_rng(2).permutation(len(groups))]
    found = summarise(mixed, 12)
    means = groups.reshape(6, 20, 32).mean(axis=1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    directions = found / np.linalg.norm(found, axis=1, keepdims=True)
    assert (means @ directions.T).max(axis=1).min() > 0.95
    assert (directions @ means.T).max(axis=1).min() > 0.8  # and no centroid lies between two groups


def test_a_centroid_is_as_long_as_its_vectors_differ():
    page = np.array([[1, 0, 0], [0.6, 0.8, 0], [0, 0, 1], [0, 0, 1]], np.float32)
    found = summarise(page, 2)
    cosine = np.sqrt(0.8)  # of both with the vector halfway, (2, 1, 0) / sqrt(5)
    wanted = np.array([[2, 1, 0] / np.sqrt(5) / np.sqrt(cosine), [0, 0, 1]])
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_vectors_of_other_lengths_are_sorted_by_their_directions():
    page = around(units(4, 16), 10, 0.3)
    assert np.allclose(summarise(7 * page, 6), 7 * summarise(page, 6), rtol=1e-5)
    long = np.array([[4, 0], [2, 0], [0, 1], [0, 1]], np.float32)
    np.testing.assert_allclose(summarise(long, 2), [[3, 0], [0, 1]], atol=1e-6)


def test_few_vectors_stand_for_themselves():
    page = units(5, 8)
    assert np.array_equal(summarise(page, 5), page)
    assert np.array_equal(summarise(page, summary_size(len(page)) + 1), page)


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 6), st.integers(1, 5), st.integers(0, 99))
def test_every_page_has_a_summary_that_can_be_stored(n: int, k: int, d: int, different: int, seed: int):
    """Also pages of equal vectors, and of vectors that cancel out."""
    some = units(different, d, seed=seed)
    page = np.concatenate([some, -some])[np.random.default_rng(seed).integers(2 * different, size=n)]
    found = summarise(page, k)
    assert found.dtype == np.float32
    assert 1 <= len(found) <= min(k, n)
    lengths = np.linalg.norm(found, axis=1)
    assert (lengths > 0.999).all()
    assert (lengths < 3.2).all()
    assert np.array_equal(found, summarise(page, k))
    assert np.isfinite(pack(found, np.array([0, len(found)])).scores(page[:3])).all()


def test_opposite_vectors_have_a_summary_too():
    vector = units(1, 8)
    (found,) = summarise(np.concatenate([vector, -vector]), 1)
    assert abs(found @ vector[0]) > 1


def test_the_best_pages_are_in_a_short_list():
    """Pages of six subjects each, questions about one of them: a tenth of the pages keeps what is best."""
    middles = units(300, 6, 24)
    pages = [around(some, 30, 0.6, seed=number) for number, some in enumerate(middles)]
    offsets = np.arange(301) * 180
    small = [summarise(page, summary_size(len(page)) * 2) for page in pages]
    packed = pack(np.concatenate(small), np.cumsum([0, *map(len, small)]))
    kept = []
    for number in range(20):
        query = around(middles[number, :2], 3, 0.5, seed=1000 + number)
        best = np.argsort(-page_scores(query, np.concatenate(pages), offsets))[:5]
        shortlist = np.argsort(-packed.scores(query))[:30]
        kept.append(np.isin(best, shortlist).mean())
        assert best[0] == number == shortlist[0]
    assert np.mean(kept) > 0.9


class Counted(PackedPages):
    """Pages that count how many of them are scanned."""

    scanned = 0

    def _prepare(self, queries, only, *, exact, laid_out):
        Counted.scanned += 0 if exact else len(self) if only is None else len(only)
        return super()._prepare(queries, only, exact=exact, laid_out=laid_out)


def collection(pages: list[np.ndarray], summaries: list[np.ndarray]) -> list[Staged]:
    """Two parts, counting what is scanned."""
    parts = []
    for some, short in zip((pages[:100], pages[100:]), (summaries[:100], summaries[100:]), strict=True):
        whole, small = (pack(np.concatenate(x), np.cumsum([0, *map(len, x)])) for x in (some, short))
        parts.append(Staged(Counted(whole.rows, whole.offsets, whole.codec), small))
    return parts


@pytest.mark.parametrize("first", [7, 64])  # in many rounds, or in few
def test_pages_without_hope_are_not_scanned(monkeypatch, first):
    monkeypatch.setattr("visret.search.late_interaction.EXACT_UP_TO", 0)
    monkeypatch.setattr("visret.maxsim._settle.FIRST_SCANNED", first)
    middles = units(300, 6, 24)
    pages = [around(some, 30, 0.6, seed=number) for number, some in enumerate(middles)]
    parts = collection(pages, [summarise(page, 6) for page in pages])
    queries = [around(middles[number, :2], 3, 0.5, seed=1000 + number) for number in range(20)]
    Counted.scanned = 0
    every = best_pages(parts, queries, 5, exact=True)
    assert Counted.scanned == 300  # read once for all questions
    Counted.scanned = 0
    found = best_pages(parts, queries, 5)
    assert 20 * first <= Counted.scanned < 20 * 150
    kept = [np.isin(a[0] * 1000 + a[1], b[0] * 1000 + b[1]).mean() for a, b in zip(every, found, strict=True)]
    assert np.mean(kept) > 0.95
    for one, (part, row, scores) in zip(queries, found, strict=True):
        assert (np.diff(scores) <= 0).all()
        exact = [parts[p].pages.exact_scores(one, np.array([r]))[0] for p, r in zip(part, row, strict=True)]
        np.testing.assert_array_equal(exact, scores)
    assert [list(map(list, one)) for one in found] == [
        list(map(list, best_pages(parts, [query], 5)[0])) for query in queries
    ]


def test_where_summaries_tell_nothing_every_page_is_scanned(monkeypatch):
    monkeypatch.setattr("visret.search.late_interaction.EXACT_UP_TO", 0)
    pages = list(units(300, 20, 24))
    parts = collection(pages, [units(1, 24)] * 300)
    for number in range(5):
        query = units(4, 24, seed=number + 1)
        Counted.scanned = 0
        ((part, row, scores),) = best_pages(parts, [query], 5)
        assert Counted.scanned == 300
        ((same, rows, exact),) = best_pages(parts, [query], 5, exact=True)
        assert np.array_equal(part, same)
        assert np.array_equal(row, rows)
        assert np.array_equal(scores, exact)


def test_more_pages_may_be_wanted_than_there_are(monkeypatch):
    monkeypatch.setattr("visret.search.late_interaction.EXACT_UP_TO", 0)
    pages = list(units(200, 9, 16))
    parts = collection(pages, [summarise(page, 4) for page in pages])
    ((part, row, scores),) = best_pages(parts, [units(3, 16, seed=5)], 1000)
    assert len(scores) == 200
    assert len(set(zip(part.tolist(), row.tolist(), strict=True))) == 200
    only = [parts[0]._replace(only=np.array([7, 3])), parts[1]._replace(only=np.array([], np.int64))]
    ((part, row, scores),) = best_pages(only, [units(3, 16, seed=5)], 10)
    assert sorted(row.tolist()) == [3, 7]
    assert best_pages([], [units(3, 16)], 10)[0][2].shape == (0,)


@pytest.mark.parametrize(("rows", "k"), [(1, 4), (127, 4), (160, 5), (1024, 32)])
def test_a_thirty_second_of_the_rows_and_at_least_four(rows: int, k: int):
    assert summary_size(rows) == k


def test_summaries_are_read_only_where_there_is_much_to_scan(monkeypatch):
    monkeypatch.setattr("visret.search.late_interaction.EXACT_UP_TO", 100 * 9 * 16)
    pages = list(units(200, 9, 16))
    first, second = collection(pages, [summarise(page, 4) for page in pages])
    assert not has_first_stage([])
    assert not has_first_stage([first])  # 100 pages of 9 vectors, to the last value
    assert has_first_stage([first, second])
    assert not has_first_stage([first._replace(only=np.arange(60)), second._replace(only=np.arange(40))])
    assert has_first_stage([first, second._replace(only=np.array([7]))])
