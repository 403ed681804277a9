import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from support.vectors import units

from visret import codec
from visret.codec import CODECS, Codec, Rows, decode, encode, fit
from visret.errors import ShapeError

# float32 rounding of the division, of the scale and of the product.
ROUNDING = 1 + 4e-5

component = st.floats(-8, 8, width=32).filter(lambda x: x == 0 or abs(x) > 1e-30)
shapes = array_shapes(min_dims=2, max_dims=2, max_side=12)
matrices = arrays(np.float32, shapes, elements=component).filter(lambda x: x.any(axis=1).all())


@settings(deadline=None)
@given(matrices)
def test_int8_errs_by_half_a_scale_at_most(vectors):
    int8 = Codec("int8", vectors.shape[1])
    rows = encode(vectors, int8)
    codes, scales, _ = rows
    assert codes.dtype == np.uint8
    assert scales.dtype == np.float32
    np.testing.assert_allclose(scales, np.abs(vectors).max(axis=1) / 127, rtol=1e-6)
    assert (np.abs(codes.astype(int) - 128).max(axis=1) == 127).all(), "the largest component uses the whole range"
    error = np.abs(decode(rows, int8).astype(np.float64) - vectors)
    assert (error <= scales[:, None] / 2 * ROUNDING).all()


@settings(deadline=None)
@given(matrices, st.integers(0, 2**32 - 1))
def test_the_error_of_a_dot_product_is_bounded(vectors, seed):
    d = vectors.shape[1]
    query = units(np.random.default_rng(seed), 1, d)[0].astype(np.float64)
    query /= np.linalg.norm(query)
    rows = encode(vectors, Codec("int8", d))
    error = np.abs((decode(rows, Codec("int8", d)).astype(np.float64) - vectors) @ query)
    assert (error <= rows.scales * np.sqrt(d) / 2 * ROUNDING).all()


def test_the_error_that_is_seen_is_the_one_in_the_docstring():
    rng = np.random.default_rng(0)
    vectors, query = units(rng, 2000, 128), units(rng, 1, 128)[0]
    rows = encode(vectors, Codec("int8", 128))
    seen = ((decode(rows, Codec("int8", 128)) - vectors) @ query).std()
    assert seen == pytest.approx(rows.scales.mean() / np.sqrt(12), rel=0.1)


@settings(deadline=None)
@given(matrices)
def test_float32_is_exact_and_float16_keeps_eleven_bits(vectors):
    float32, float16 = (Codec(name, vectors.shape[1]) for name in ("float32", "float16"))
    np.testing.assert_array_equal(decode(encode(vectors, float32), float32), vectors)
    large = np.where(np.abs(vectors).max(axis=1, keepdims=True) < 1e-4, np.float32(1), vectors)
    rows = encode(large, float16)
    assert rows.codes.dtype == np.float16
    error = np.abs(decode(rows, float16) - large)
    assert (error <= np.maximum(np.abs(large) * 2.0**-11, 2.0**-25)).all()


def test_known_codes():
    rows = encode(np.array([[1.27, -1.27, 0.0, 0.01]], np.float32), Codec("int8", 4))
    np.testing.assert_array_equal(rows.codes, [[255, 1, 128, 129]])
    np.testing.assert_allclose(rows.scales, [0.01], rtol=1e-6)


@pytest.mark.parametrize("name", CODECS)
def test_blocks_do_not_show(monkeypatch, name):
    vectors = units(np.random.default_rng(1), 100, 24)
    fitted = fit(name, vectors)
    whole = encode(vectors, fitted)
    monkeypatch.setattr(codec, "_BLOCK", 24 * 7)
    for expected, got in zip(whole, encode(vectors, fitted), strict=True):
        np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(decode(whole.part(slice(30, 50)), fitted), decode(whole, fitted)[30:50])
    vectors[93, 5] = np.nan
    with pytest.raises(ShapeError, match="vector 93 is not finite"):
        encode(vectors, fitted)


@pytest.mark.parametrize("name", CODECS)
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
    fitted = fit(name, vectors)
    vectors[1] = 0
    vectors[1, 2] = bad
    with pytest.raises(ShapeError, match=message):
        encode(vectors, fitted)
    if fitted.needs_fit:
        with pytest.raises(ShapeError, match=message):
            fit(name, vectors)


def test_one_bad_component_among_good_ones_is_seen():
    vectors = np.ones((2, 3), np.float32)
    vectors[1, 1] = np.nan
    with pytest.raises(ShapeError, match="vector 1"):
        encode(vectors, Codec("int8", 3))


@pytest.mark.parametrize("name", ["float16", "residual2", "residual1"])
def test_what_a_float16_cannot_hold_is_refused(name):
    fitted = fit(name, np.ones((1, 2), np.float32))
    with pytest.raises(ShapeError, match="too large for float16"):
        encode(np.full((1, 2), 1e8, np.float32), fitted)
    with pytest.raises(ShapeError, match="too small for float16"):
        encode(np.full((1, 2), 1e-8, np.float32), fitted)


@pytest.mark.parametrize("vectors", [np.ones((2, 3)), np.ones(3, np.float32), np.ones((1, 2, 3), np.float32)])
def test_other_arrays_are_refused(vectors):
    with pytest.raises(ShapeError, match=r"\(N, 3\) float32"):
        encode(vectors, Codec("int8", 3))
    with pytest.raises(ShapeError, match=r"\(S, d\) float32"):
        fit("int8", vectors)


def test_vectors_of_another_length_are_refused():
    with pytest.raises(ShapeError, match=r"\(N, 4\) float32, got \(2, 3\)"):
        encode(np.ones((2, 3), np.float32), Codec("int8", 4))


def test_the_table_has_the_names_that_users_choose_from():
    assert list(codec.FORMS) == list(CODECS)
    assert [name for name in CODECS if codec.FORMS[name].keeps_lengths] == ["float32", "float16", "int8"]


def test_an_unknown_codec_is_refused_with_the_known_ones():
    with pytest.raises(ShapeError, match="float16, int8, residual2, residual1, binary, got 'int4'"):
        Codec("int4", 2)


CENTROIDS, WEIGHTS = np.array([[100, 0, -3], [0, 90, 0]], np.int8), np.array([-20, -4, 4, 20], np.int8)


@pytest.mark.parametrize(
    ("name", "fitted", "message"),
    [
        ("int8", (CENTROIDS, WEIGHTS, 0.01), "belong to a residual codec"),
        ("residual2", (CENTROIDS, None, 0.01), "all three"),
        ("residual2", (CENTROIDS, WEIGHTS, None), "all three"),
        ("residual2", (CENTROIDS[:, :2], WEIGHTS, 0.01), "K a power of two"),
        ("residual1", (CENTROIDS, WEIGHTS, 0.01), "K a power of two"),
        ("residual2", (CENTROIDS.astype(np.int16), WEIGHTS, 0.01), "K a power of two"),
        ("residual2", (CENTROIDS, WEIGHTS, -1.0), "K a power of two"),
        ("residual2", (CENTROIDS[:0], WEIGHTS, 0.01), "K a power of two"),
        ("residual2", (CENTROIDS[[0, 1, 1]], WEIGHTS, 0.01), "K a power of two"),
        ("residual2", (CENTROIDS, WEIGHTS[::-1].copy(), 0.01), "weights must rise"),
        ("residual2", (CENTROIDS, WEIGHTS * 2, 0.01), "stay within 127"),
    ],
)
def test_what_was_fitted_has_to_fit(name, fitted, message):
    with pytest.raises(ShapeError, match=message):
        Codec(name, 3, *fitted)


def test_a_residual_codec_stores_nothing_before_it_is_fitted():
    assert not Codec("residual2", 3).fitted
    with pytest.raises(ShapeError, match="has to be fitted"):
        encode(np.ones((2, 3), np.float32), Codec("residual2", 3))
    with pytest.raises(ShapeError, match="at least one vector"):
        fit("residual1", np.empty((0, 3), np.float32))


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("int8", Rows(np.ones((3, 4), np.uint8))),
        ("int8", Rows(np.ones((3, 4), np.uint8), np.ones(2, np.float32))),
        ("int8", Rows(np.ones((3, 4), np.uint8), np.ones((3, 1), np.float32))),
        ("float32", Rows(np.ones((3, 4), np.float16))),
        ("binary", Rows(np.ones((3, 4), np.uint8))),
        ("binary", Rows(np.ones((3, 1), np.uint8), np.ones(3, np.float32))),
        ("residual2", Rows(np.ones((3, 1), np.uint8), np.ones(3, np.float16))),
        ("residual2", Rows(np.ones((3, 1), np.uint8), np.ones(3, np.float32), np.zeros(3, np.uint16))),
    ],
)
def test_rows_of_another_codec_are_not_decoded(name, rows):
    with pytest.raises(ShapeError, match="expected"):
        decode(rows, fit(name, np.ones((1, 4), np.float32)))


@pytest.mark.parametrize("name", CODECS)
def test_no_vectors_at_all(name):
    fitted = fit(name, np.ones((1, 4), np.float32))
    assert decode(encode(np.empty((0, 4), np.float32), fitted), fitted).shape == (0, 4)


@pytest.mark.parametrize(
    ("name", "d", "size"),
    [
        *(("float32", 384, 1536), ("float16", 384, 768), ("int8", 384, 388), ("binary", 384, 48), ("binary", 100, 13)),
        *(("residual2", 128, 36), ("residual1", 128, 20), ("residual2", 6, 6), ("residual1", 9, 6)),
    ],
)
def test_bytes_a_vector(name, d, size):
    assert Codec(name, d).bytes_a_vector == size


def test_known_residuals():
    """The layout of the table, by hand: 3 dimensions of two bits, the first in the lowest."""
    fitted = Codec("residual2", 3, CENTROIDS, WEIGHTS, 0.01)
    vectors = np.array([[0.96, 0.21, -0.5], [0.15, 0.8, 0.5]], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = encode(vectors, fitted)
    # 0.870, 0.190, -0.453 in hundredths less the centroid: -13.0 19.0 -42.3, so weights -20 20 -20: codes 0 3 0.
    # 0.157, 0.838,  0.524                                : 15.7 -6.2 52.4, so weights  20 -4  20: codes 3 1 3.
    np.testing.assert_array_equal(rows.centroids, [0, 1])
    np.testing.assert_array_equal(rows.codes, [[0b00_11_00], [0b11_01_11]])
    whole = np.array([[80, 20, -23], [20, 86, 20]], np.float32)
    expected = whole / np.linalg.norm(whole, axis=1, keepdims=True)
    np.testing.assert_allclose(decode(rows, fitted), expected, rtol=1e-3)
    tripled = encode(vectors * 3, fitted)
    np.testing.assert_array_equal(tripled.codes, rows.codes)
    np.testing.assert_allclose(decode(tripled, fitted), expected * 3, rtol=1e-3)


def test_known_signs():
    binary = Codec("binary", 10)
    rows = encode(np.array([[1, -1, 2, 0, -3, 1e-20, -1e-20, 5, -1, 1]], np.float32), binary)
    np.testing.assert_array_equal(rows.codes, [[0b10100101, 0b10]])
    expected = np.array([[1, -1, 1, -1, -1, 1, -1, 1, -1, 1]]) / np.sqrt(10)
    np.testing.assert_allclose(decode(rows, binary), expected, rtol=1e-6)


@settings(deadline=None)
@given(st.sampled_from([1, 2]), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_residuals_are_what_the_table_says(bits, d, seed):
    """Against one dimension at a time, in Python."""
    rng = np.random.default_rng(seed)
    name = f"residual{bits}"
    fitted = fit(name, units(rng, 100, d))
    vectors = units(rng, 9, d)
    rows = encode(vectors, fitted)
    decoded = decode(rows, fitted)
    each = 8 // bits
    for vector, got, codes, scale, number in zip(vectors, decoded, *rows, strict=True):
        centroid = fitted.centroids[number].astype(float)
        bit_string = [int(codes[i // each]) >> (i % each * bits) & ((1 << bits) - 1) for i in range(d)]
        assert sum(code << (i % each * bits) for i, code in enumerate(bit_string) if i // each == d // each) == (
            codes[-1] if d % each else 0
        ), "bits beyond d are 0"
        for i, code in enumerate(bit_string):
            rest = vector[i] / fitted.step - centroid[i]
            chosen = abs(rest - fitted.weights[code])
            assert chosen <= np.abs(rest - fitted.weights.astype(float)).min() + 1e-3
            assert got[i] == pytest.approx((centroid[i] + fitted.weights[code]) * float(scale), abs=1e-6)
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), 1, rtol=1e-3)


def blobs(rng: np.random.Generator, n: int, d: int, k: int, noise: float = 0.05) -> np.ndarray:
    """n unit vectors around k directions."""
    vectors = units(rng, k, d)[rng.integers(k, size=n)] + noise * units(rng, n, d)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_more_bits_say_more():
    """How like the stored vectors are to their own, codec by codec."""
    rng = np.random.default_rng(2)
    vectors = blobs(rng, 6000, 64, 50, noise=1.5)
    sample, others = vectors[:5000], vectors[5000:]
    likeness = {
        name: (decode(encode(others, f := fit(name, sample)), f) * others).sum(axis=1).mean() for name in CODECS
    }
    assert likeness["float32"] == pytest.approx(1, abs=1e-5)
    assert likeness["int8"] > 0.999 > likeness["residual2"] > 0.95 > likeness["residual1"] > 0.85 > likeness["binary"]


def test_centroids_lie_where_the_vectors_are():
    rng = np.random.default_rng(3)
    fitted = fit("residual1", blobs(rng, 2000, 16, 8, noise=0.01))
    centroids = fitted.centroids.astype(np.float32) * fitted.step
    directions = units(np.random.default_rng(3), 8, 16)
    assert (directions @ centroids.T).max(axis=1).min() > 0.98
    assert np.abs(fitted.weights * fitted.step).max() < 0.05, "little is left for the bits"


def test_a_sample_that_repeats_itself():
    vectors = np.repeat(np.eye(3, dtype=np.float32), 40, axis=0)
    fitted = fit("residual2", vectors)
    np.testing.assert_allclose(decode(encode(vectors, fitted), fitted), vectors, atol=0.02)


def test_a_centroid_that_loses_its_points_starts_again():
    """Of four drawn at random most are the same point."""
    points = np.concatenate([np.repeat(np.eye(4, dtype=np.float32)[:1], 60, axis=0), np.eye(4, dtype=np.float32)[1:]])
    found = codec._k_means(points, 4, np.random.default_rng(0))
    assert sorted(found.tolist()) == np.eye(4)[::-1].tolist()


@pytest.mark.parametrize(
    ("sample", "count", "centroids"),
    [
        (1, None, 1),
        (40, None, 8),
        (4096, None, 256),
        (4096, 4096, 1024),
        (4096, 64, 128),
        (4096, 60, 128),
        (4096, 20, 64),
        (300, 10**9, 64),
    ],
)
def test_the_number_of_centroids(sample, count, centroids):
    """16 sqrt(count) as a power of two, 256 where nobody counted; and at least 4 vectors of the sample for each."""
    fitted = fit("residual2", units(np.random.default_rng(4), sample, 4), count=count)
    assert len(fitted.centroids) == centroids


def test_a_fit_can_be_repeated():
    sample = units(np.random.default_rng(5), 500, 8)
    one, other, third = fit("residual2", sample), fit("residual2", sample), fit("residual2", sample, seed=1)
    np.testing.assert_array_equal(one.centroids, other.centroids)
    np.testing.assert_array_equal(one.weights, other.weights)
    assert (one.centroids != third.centroids).any()
