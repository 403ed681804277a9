"""A difference of noise is called one: the test is exact, its level holds, comparisons are corrected together."""

from itertools import product

import numpy as np
import pytest
import scipy.stats

from visret.evaluate import significance
from visret.evaluate.significance import Difference, corrected, holm, interval, permutation_p

LEVELS = np.array([0, 0.39, 0.43, 0.5, 0.63, 1.0])  # of nDCG@5 with one right page


def test_few_differences_are_swapped_in_every_way(monkeypatch):
    rng = np.random.default_rng(0)
    for count in range(1, 9):
        values = rng.choice([-0.5, 0, 0.25, 1], count)
        sums = [abs(np.dot(signs, values)) for signs in product([1, -1], repeat=count)]
        expected = np.mean(np.array(sums) >= abs(values.sum()) - 1e-12)
        assert permutation_p(values) == pytest.approx(expected)
    values = rng.choice([-0.5, -0.25, 0.25, 0.5], 14)
    exact = permutation_p(values)
    monkeypatch.setattr(significance, "EXACT_UP_TO", 0)
    assert permutation_p(values) == pytest.approx(exact, abs=0.02)


def test_it_is_the_test_of_scipy():
    values = np.random.default_rng(1).normal(0.1, 0.5, 60)
    theirs = scipy.stats.permutation_test(
        (values, np.zeros(60)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=20_000,
        rng=np.random.default_rng(2),
    )
    assert permutation_p(values) == pytest.approx(theirs.pvalue, abs=0.015)
    assert permutation_p(values) == permutation_p(values)


def test_the_interval_is_that_of_scipy():
    values = np.random.default_rng(1).choice(LEVELS, 80) - 0.3
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=10_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert interval(values) == pytest.approx(tuple(theirs), abs=0.01)


def test_runs_that_are_the_same_do_not_differ():
    assert permutation_p(np.zeros(20)) == 1
    assert interval(np.zeros(20)) == (0, 0)


def test_holm_is_that_of_the_paper():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1, 1]
    assert holm([]) == []


def test_comparisons_that_can_show_nothing_are_not_corrected_for():
    few = np.ones(5)
    assert permutation_p(few) > significance.LEVEL >= permutation_p(np.ones(6))
    assert corrected([(0.03, 6), (permutation_p(few), 5), (0.02, 50), (1.0, 0)]) == pytest.approx([0.04, 1, 0.04, 1])


def noisy(rng, base):
    """The scores of a system whose ranking was shaken: three in ten of them are drawn anew."""
    return np.where(rng.random(len(base)) < 0.3, rng.choice(LEVELS, len(base)), base)


@pytest.mark.parametrize("questions", [12, 94])
def test_noise_is_called_a_difference_in_at_most_one_of_twenty_trials(questions, monkeypatch):
    monkeypatch.setattr(significance, "SWAPS", 1000)  # the level holds whatever their number, and trials are many
    monkeypatch.setattr(significance, "RESAMPLES", 500)
    rng = np.random.default_rng(0)
    trials, called = 1000, 0
    for _ in range(trials):
        base = rng.choice(LEVELS, questions)
        first = noisy(rng, base)
        values = [noisy(rng, base) - first for _ in range(2)]
        tests = [(permutation_p(one), np.count_nonzero(one)) for one in values]
        told = [
            Difference("a", "b", "nDCG@5", None, questions, differ, one.mean(), *interval(one), p, p_holm)
            for one, (p, differ), p_holm in zip(values, tests, corrected(tests), strict=True)
        ]
        called += any(one.is_real for one in told)
    assert called <= 0.05 * trials


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    base = rng.choice(LEVELS, 94)
    values = np.clip(noisy(rng, base) + 0.15, 0, 1) - noisy(rng, base)
    low, high = interval(values)
    assert Difference("a", "b", "nDCG@5", None, 94, 94, values.mean(), low, high, permutation_p(values), 0.01).is_real
