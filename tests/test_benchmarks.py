"""benchmarks/engines.py measures what it says: the right answers count, wrong and dead engines are told."""

import numpy as np
import pytest
from benchmarks import engines
from support.vectors import units
from worker import Data

from visret.maxsim import reference


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """40 ragged pages and 20 more that repeat them with noise, 21 questions."""

    def make(at):
        rng = np.random.default_rng(0)
        lengths = rng.integers(1, 20, 40)
        engines.save(at, units(rng, lengths.sum()), lengths.tolist(), [units(rng, 3 + i % 4) for i in range(21)])

    return engines.work("toy", tmp_path_factory.mktemp("bench"), make, 60)


@pytest.fixture
def bench(tmp_path):
    return engines.Bench(tmp_path, tmp_path / "peers", again=False)


def test_the_scores_are_the_definition(work):
    data = engines.read(work.folder, 60)
    pages = data.pages()
    offsets = np.cumsum([0, *map(len, pages)])
    for query, scores in zip(data.queries, work.scores, strict=True):
        expected = reference.page_scores(query, np.concatenate(pages), offsets)
        np.testing.assert_allclose(scores, expected, rtol=1e-5)


def test_repeated_pages_are_like_the_real_ones_and_no_two_are_the_same():
    rng = np.random.default_rng(0)
    data = Data(units(rng, 50, 128), np.array([0, 20, 50]), [], 6)
    real, again, more = (data.pages(page, page + 1)[0] for page in (1, 3, 5))
    for rows in (again, more):
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, rtol=1e-5)
        assert 0.85 < np.sum(rows * real, axis=1).mean() < 0.93
    assert np.abs(again - more).max() > 0.01
    assert np.array_equal(again, data.pages(2, 4)[1])


def test_recall_counts_pages_that_are_as_good_as_the_tenth(tmp_path):
    scores = np.array([[9, 8, 7, 6, 5, 4, 3, 2, 1, 1, 1, 0.5]], np.float32)
    np.save(tmp_path / "scores 12.npy", scores)
    work = engines.Work("x", tmp_path, 12)
    assert work.recall([0], [[0, 1, 2, 3, 4, 5, 6, 7, 8, 10]]) == 1
    assert work.recall([0], [[0, 1, 2, 3, 4, 5, 6, 7, 8, 11]]) == pytest.approx(0.9)


def test_engines_are_checked_and_timed_side_by_side(bench, work):
    with bench.engine("with_visret_index", work, "float32") as ours, bench.engine("with_visret", work) as chosen:
        bench.race(work, [ours, chosen], exact=True)
    one, other = bench.lines
    assert (one.recall, one.ratio, bench.failed) == (1, 1, False)
    assert other.ratio == pytest.approx(other.ms / one.ms)
    tried = [line for line in bench.tried if "float32: " in line]
    assert len(bench.tried) == 5
    assert "recall 1.000" in tried[0]


def test_an_engine_that_dies_is_told(bench, work):
    with bench.engine("with_visret", work, "no such codec") as ours:
        assert ours is None
        bench.race(work, [ours])
    (line,) = bench.lines
    assert bench.failed
    assert "DID NOT RUN: KeyError: 'no such codec'" in str(line)


def test_an_engine_that_is_wrong_is_told(bench, work, monkeypatch):
    with bench.engine("with_one_cosine", work, "float32") as ours:
        monkeypatch.setattr(engines, "NO_RANKING", set())
        bench.race(work, [ours], exact=True)
    assert bench.failed
    assert "should be exact" in str(bench.lines[0])
