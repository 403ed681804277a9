"""What stands for a page in the first stage."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visret.candidates import EXACT_UP_TO, needed, shortlist_size, summarise, summary_size
from visret.maxsim import pack, page_scores


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


@pytest.mark.parametrize(("rows", "k"), [(1, 4), (127, 4), (160, 5), (1024, 32)])
def test_a_thirty_second_of_the_rows_and_at_least_four(rows: int, k: int):
    assert summary_size(rows) == k


@given(st.integers(1, 10**7), st.integers(1, 2000))
def test_a_shortlist_holds_what_is_wanted_and_grows_with_the_pages(pages: int, k: int):
    size = shortlist_size(pages, k)
    assert min(pages, k) <= size <= pages
    assert size <= shortlist_size(pages + 1, k)
    assert size <= shortlist_size(pages, k + 1)


def test_a_shortlist_is_a_small_part_of_many_pages():
    assert shortlist_size(100_000, 10) == 4_000
    assert shortlist_size(40, 10) == 40


def test_it_is_needed_only_where_there_is_much_to_scan():
    assert not needed(1_500 * 554, 384)
    assert needed(100_000 * 200, 128)
    assert not needed(EXACT_UP_TO // 128, 128)
    assert needed(EXACT_UP_TO // 128 + 1, 128)
