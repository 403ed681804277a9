"""benchmarks/nodes.py against the formulas of queues, and what it must never lose."""

import random

import numpy as np
import pytest
from benchmarks import nodes
from hypothesis import given
from hypothesis import strategies as st

STEADY = {"nodes": 1, "segments": 1, "slow": 1.0}


def test_one_node_waits_as_the_formula_of_pollaczek_and_khinchine_says():
    """M/D/1: the mean wait is s (1 + load / (2 (1 - load))). Services of two lengths add their variance: M/G/1."""
    rate = 6.0
    fixed = nodes.Cluster([0.1], **STEADY).replay(20_000, rate)
    load = rate * 0.1
    assert fixed.waited.mean() == pytest.approx(0.1 * (1 + load / (2 * (1 - load))), rel=0.04)
    mixed = nodes.Cluster([0.05, 0.15], **STEADY).replay(20_000, rate)
    second = (0.05**2 + 0.15**2) / 2
    assert mixed.waited.mean() == pytest.approx(0.1 + rate * second / (2 * (1 - load)), rel=0.04)
    assert fixed.complete.all()


@given(st.integers(1, 12), st.integers(1, 40), st.integers(1, 3), st.integers(0, 99))
def test_copies_lie_on_different_nodes_and_every_node_has_about_as_many(count, segments, copies, seed):
    if copies > count:
        with pytest.raises(ValueError, match="copies need as many nodes"):
            nodes.place(segments, count, copies, random.Random(seed))
        return
    placed = nodes.place(segments, count, copies, random.Random(seed))
    assert all(len({*held}) == copies for held in placed)
    counts = np.bincount(np.concatenate(placed), minlength=count)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("hedged", [False, True])
def test_with_two_copies_nothing_is_missing_when_one_node_dies(hedged):
    one = nodes.Cluster([0.2], nodes=4, segments=8, copies=1, hedged=hedged).replay(500, 8, deaths=[(20.0, 1)])
    two = nodes.Cluster([0.2], nodes=4, segments=8, copies=2, hedged=hedged).replay(500, 8, deaths=[(20.0, 1)])
    three = nodes.Cluster([0.2], nodes=4, segments=8, copies=3).replay(500, 8, deaths=[(20.0, 1), (30.0, 2)])
    assert two.complete.all()
    assert three.complete.all()
    assert (two.waited > 0).all()
    late = 500 * 20 // 62  # about when the node dies
    assert one.complete[: late - 40].all()
    assert not one.complete[late + 60 :].any()
    assert two.waited.max() < nodes.TIMEOUT + 1 if not hedged else two.waited.max() <= nodes.TIMEOUT + 1


def test_asking_another_copy_as_well_shortens_the_tail():
    plain, hedged = (
        nodes.Cluster([0.4], nodes=8, segments=16, copies=2, hedged=hedged).replay(3_000, 8) for hedged in (False, True)
    )
    assert np.percentile(hedged.waited, 99) < 0.9 * np.percentile(plain.waited, 99)
    assert hedged.tasks > plain.tasks


def test_the_same_seed_gives_the_same_run():
    runs = [nodes.Cluster([0.1, 0.3], nodes=3, segments=6, copies=2, hedged=True, seed=5).replay(300, 9) for _ in "ab"]
    np.testing.assert_array_equal(runs[0].waited, runs[1].waited)
