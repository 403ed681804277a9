"""Weights times a few columns, as machine code, are what NumPy says."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visret.errors import ShapeError
from visret.maxsim import _kernel, _paths, linear

FLOATS = [path for path in _paths.available() if path.kind == "float"]


@pytest.fixture(scope="module", params=FLOATS, ids=lambda path: path.name)
def path(request):
    return request.param


@pytest.fixture(scope="module")
def product(path):
    return linear.compiled(path)


@pytest.fixture
def afresh():
    """Nothing is chosen yet, before and after."""
    linear._chosen.cache_clear()
    yield
    linear._chosen.cache_clear()


@given(rows=st.integers(1, 40), dim=st.integers(1, 70), registers=st.integers(1, 6), seed=st.integers(0, 99))
def test_it_is_the_product(path, product, rows, dim, registers, seed):
    random = np.random.default_rng(seed)
    weights = random.standard_normal((rows, dim), np.float32)
    columns = random.standard_normal((dim, registers * path.lanes), np.float32)
    expected = weights.astype(np.float64) @ columns.astype(np.float64)
    np.testing.assert_allclose(product(weights, columns), expected, atol=2e-5, rtol=0)


@given(rows=st.integers(1, 40), dim=st.integers(1, 70), registers=st.integers(1, 6), seed=st.integers(0, 99))
def test_rows_may_be_bytes(path, product, rows, dim, registers, seed):
    random = np.random.default_rng(seed)
    weights = random.integers(0, 256, (rows, dim), np.uint8)
    columns = random.standard_normal((dim, registers * path.lanes), np.float32)
    expected = weights.astype(np.float64) @ columns.astype(np.float64)
    np.testing.assert_allclose(product(weights, columns), expected, atol=5e-3, rtol=0)


def test_a_column_does_not_depend_on_the_others(path, product):
    random = np.random.default_rng(0)
    weights = random.standard_normal((19, 33), np.float32)
    columns = random.standard_normal((33, 5 * path.lanes), np.float32)
    together = product(weights, columns)
    for first in range(0, columns.shape[1], path.lanes):
        some = slice(first, first + path.lanes)
        alone = product(weights, np.ascontiguousarray(columns[:, some]))
        np.testing.assert_array_equal(together[:, some], alone)


def test_other_arrays_are_refused(path, product):
    weights, columns = np.ones((9, 8), np.float32), np.ones((8, path.lanes), np.float32)
    assert (product(weights, columns) == 8).all()
    wrong = [
        (weights.astype(np.float64), columns),
        (weights.astype(np.int8), columns),
        (weights, columns.astype(np.uint8)),
        (weights, columns.astype(np.float16)),
        (weights[:, ::2], columns[:4]),
        (weights, np.ones((path.lanes, 8), np.float32).T),
        (weights[0], columns),
        (weights, columns[:7]),
        (weights, np.ones((8, path.lanes + 1), np.float32)),
        (weights, np.ones((8, 0), np.float32)),
        (weights[:0], columns),
    ]
    for left, right in wrong:
        with pytest.raises(ShapeError, match="expected"):
            product(left, right)


def test_code_that_is_wrong_is_given_up_aloud(afresh, monkeypatch):
    right = linear.compiled
    monkeypatch.setattr(linear, "compiled", lambda path: lambda a, b: right(path)(a, b) + np.float32(0.01))
    with pytest.warns(RuntimeWarning, match=r"machine code of the path float\w* is wrong here: products with weights"):
        lanes = linear.lanes()
    weights, columns = np.ones((3, 8), np.float32), np.ones((8, lanes), np.float32)
    assert (linear.product(weights, columns) == 8).all()


def test_code_that_gives_no_number_is_given_up(path):
    assert "numbers differ" in linear.differences(path, lambda a, b: np.full((len(a), b.shape[1]), np.nan, np.float32))


def test_without_a_compiler_numpy_multiplies(afresh, monkeypatch):
    def fail(*args):
        raise RuntimeError("no LLVM")

    monkeypatch.setattr(_kernel, "machine_code", fail)
    with pytest.warns(RuntimeWarning, match="no LLVM"):
        lanes = linear.lanes()
    for dtype in (np.float32, np.uint8):
        assert (linear.product(np.ones((3, 8), dtype), np.ones((8, lanes), np.float32)) == 8).all()


def test_here_it_is_right(afresh):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert linear.lanes() == FLOATS[0].lanes
