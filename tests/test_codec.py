import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from visret import codec
from visret.codec import decode, encode
from visret.errors import ShapeError

# float32 rounding of the division, of the scale and of the product.
ROUNDING = 1 + 4e-5

component = st.floats(-8, 8, width=32).filter(lambda x: x == 0 or abs(x) > 1e-30)
shapes = array_shapes(min_dims=2, max_dims=2, max_side=12)
matrices = arrays(np.float32, shapes, elements=component).filter(lambda x: x.any(axis=1).all())


def unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    vectors = rng.standard_normal((n, d)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@settings(deadline=None)
@given(matrices)
def test_int8_errs_by_half_a_scale_at_most(vectors):
    codes, scales = encode(vectors)
    assert codes.dtype == np.uint8
    assert scales.dtype == np.float32
    np.testing.assert_allclose(scales, np.abs(vectors).max(axis=1) / 127, rtol=1e-6)
    assert (np.abs(codes.astype(int) - 128).max(axis=1) == 127).all(), "the largest component uses the whole range"
    error = np.abs(decode(codes, scales).astype(np.float64) - vectors)
    assert (error <= scales[:, None] / 2 * ROUNDING).all()


@settings(deadline=None)
@given(matrices, st.integers(0, 2**32 - 1))
def test_the_error_of_a_dot_product_is_bounded(vectors, seed):
    d = vectors.shape[1]
    query = unit(np.random.default_rng(seed), 1, d)[0].astype(np.float64)
    query /= np.linalg.norm(query)
    codes, scales = encode(vectors)
    error = np.abs((decode(codes, scales).astype(np.float64) - vectors) @ query)
    assert (error <= scales * np.sqrt(d) / 2 * ROUNDING).all()


def test_the_error_that_is_seen_is_the_one_in_the_docstring():
    rng = np.random.default_rng(0)
    vectors, query = unit(rng, 2000, 128), unit(rng, 1, 128)[0]
    codes, scales = encode(vectors)
    seen = ((decode(codes, scales) - vectors) @ query).std()
    assert seen == pytest.approx(scales.mean() / np.sqrt(12), rel=0.1)


@settings(deadline=None)
@given(matrices)
def test_float32_is_exact_and_float16_keeps_eleven_bits(vectors):
    codes, scales = encode(vectors, "float32")
    assert scales is None
    np.testing.assert_array_equal(decode(codes), vectors)
    large = np.where(np.abs(vectors).max(axis=1, keepdims=True) < 1e-4, np.float32(1), vectors)
    codes, scales = encode(large, "float16")
    assert scales is None
    assert codes.dtype == np.float16
    error = np.abs(decode(codes) - large)
    assert (error <= np.maximum(np.abs(large) * 2.0**-11, 2.0**-25)).all()


def test_known_codes():
    codes, scales = encode(np.array([[1.27, -1.27, 0.0, 0.01]], np.float32))
    np.testing.assert_array_equal(codes, [[255, 1, 128, 129]])
    np.testing.assert_allclose(scales, [0.01], rtol=1e-6)


def test_blocks_do_not_show(monkeypatch):
    vectors = unit(np.random.default_rng(1), 100, 24)
    whole = encode(vectors)
    monkeypatch.setattr(codec, "_BLOCK", 24 * 7)
    for expected, got in zip(whole, encode(vectors), strict=True):
        np.testing.assert_array_equal(got, expected)
    vectors[93, 5] = np.nan
    with pytest.raises(ShapeError, match="vector 93 is not finite"):
        encode(vectors)


@pytest.mark.parametrize("name", ["int8", "float16", "float32"])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (np.nan, "vector 1 is not finite"),
        (np.inf, "vector 1 is not finite"),
        (-np.inf, "vector 1 is not finite"),
        (0.0, "vector 1 is zero"),
        (1e-42, "vector 1 is zero"),
    ],
)
def test_vectors_that_mean_nothing_are_refused(name, bad, message):
    vectors = np.ones((3, 4), np.float32)
    vectors[1] = 0
    vectors[1, 2] = bad
    with pytest.raises(ShapeError, match=message):
        encode(vectors, name)


def test_one_bad_component_among_good_ones_is_seen():
    vectors = np.ones((2, 3), np.float32)
    vectors[1, 1] = np.nan
    with pytest.raises(ShapeError, match="vector 1"):
        encode(vectors)


def test_float16_refuses_what_it_would_make_infinite():
    with pytest.raises(ShapeError, match="too large for float16"):
        encode(np.full((1, 2), 70000, np.float32), "float16")


@pytest.mark.parametrize(
    "vectors", [np.ones((2, 3)), np.ones(3, np.float32), np.ones((2, 0), np.float32), np.ones((1, 2, 3), np.float32)]
)
def test_other_arrays_are_refused(vectors):
    with pytest.raises(ShapeError, match=r"\(N, d\) float32"):
        encode(vectors)


def test_an_unknown_codec_is_refused_with_the_known_ones():
    with pytest.raises(ShapeError, match="int8, float16, float32, got 'int4'"):
        encode(np.ones((1, 2), np.float32), "int4")


@pytest.mark.parametrize("scales", [None, np.ones(2, np.float32), np.ones((3, 1), np.float32)])
def test_codes_need_their_scales(scales):
    with pytest.raises(ShapeError, match="need scales"):
        decode(np.ones((3, 4), np.uint8), scales)


@pytest.mark.parametrize("name", ["int8", "float16", "float32"])
def test_no_vectors_at_all(name):
    codes, scales = encode(np.empty((0, 4), np.float32), name)
    assert decode(codes, scales).shape == (0, 4)
