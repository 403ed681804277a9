"""Every path on every CPU: the interpreter is held to the definition, machine code to the interpreter."""

import itertools
import warnings

import numpy as np
import pytest

from visret import codec as codecs
from visret.codec import decode
from visret.errors import ShapeError, VisretError
from visret.maxsim import _check, _kernel, _paths, device, pack, packed, reference

CODECS = ["int8", "residual2", "residual1", "binary"]
PATHS = list(_paths.PATHS)
HERE = [path.name for path in _paths.available()]
DIMS = [4, 20, 48, 50, 96, 128, 320, 384]
TOKENS = [1, 3, 4, 8, 12, 17, 32, 61]


@pytest.fixture
def forgetful(monkeypatch):
    """Paths are checked again, and nothing that is found out stays."""
    monkeypatch.setattr(_check, "_given_up", {})
    _check._trusted.cache_clear()
    device._agrees.cache_clear()
    yield
    _check._trusted.cache_clear()
    device._agrees.cache_clear()


def given_for(path, codec, dim, queries, lengths=(1, 2, 26)):
    """Random pages as a scan by this path is given them; and what it should score, for integers in the questions."""
    rng = np.random.default_rng(dim)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    vectors = rng.standard_normal((offsets[-1], dim)).astype(np.float32)
    fitted = codecs.fit(codec, vectors)
    rows = codecs.encode(vectors, fitted)
    asked = [query / np.float32(np.sqrt(dim)) for query in queries] if codec == "binary" else queries
    laid = _paths.lay_out(path, asked, _kernel.width(dim))
    given = _kernel.arguments(rows, fitted, offsets[:-1].copy(), offsets[1:].copy(), laid, len(queries))
    expected = [reference.page_scores(query, decode(rows, fitted), offsets) for query in queries]
    return given, np.array(expected).T


def whole_numbers(tokens, dim):
    """A question that every path's codes hold exactly."""
    query = np.random.default_rng(tokens).integers(-1, 2, (tokens, dim)).astype(np.float32)
    query[:, 0] = -1
    return query


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("name", PATHS)
def test_the_interpreter_scores_as_defined(name, codec):
    path = _paths.PATHS[name]
    for i, dim in enumerate(DIMS):
        # all eight numbers of tokens for two of the dimensions, and two for each of the others
        for tokens in TOKENS if dim in (50, 384) else (TOKENS[i], TOKENS[-1 - i]):
            queries = [whole_numbers(tokens, dim), whole_numbers(tokens + 1, dim)]
            given, expected = given_for(path, codec, dim, queries)
            _check.interpreted(path, codec, dim)(given)()
            assert given["out"] == pytest.approx(expected, rel=1e-5, abs=1e-4), (dim, tokens)


@pytest.mark.parametrize(("name", "codec"), list(itertools.product(HERE, CODECS)))
def test_machine_code_does_what_the_interpreter_does(name, codec):
    path = _paths.PATHS[name]
    rng = np.random.default_rng(0)
    for dim in (50, 128):
        for tokens in TOKENS:
            queries = [rng.standard_normal((tokens, dim)).astype(np.float32) / np.float32(np.sqrt(dim))]
            outs = []
            for scan in (_kernel.scan, _check.interpreted):
                given, _ = given_for(path, codec, dim, queries)
                scan(path, codec, dim)(given)()
                outs.append(given["out"])
            if path.limit:
                assert (outs[0] == outs[1]).all()
            else:
                assert outs[0] == pytest.approx(outs[1], abs=1e-5 * tokens * np.sqrt(dim))


@pytest.mark.parametrize("codec", codecs.CODECS)
def test_the_check_finds_nothing_on_this_cpu(codec):
    for path in _paths.available():
        if path.limit == 0 or not codec.startswith("float"):
            assert _check.differences(path, codec, 36, _kernel.scan(path, codec, 36)) is None


def test_the_pair_sums_stop_and_wrap_as_the_instructions_do():
    """Codes that no question is laid out with: vpmaddubsw stops at 32,767, and the sums of a chunk wrap."""
    rows = np.full((1, 1, 1, 2, 2), 255, np.int32)
    codes = np.array([127, 127, -127, -127], np.int8)
    stream = np.concatenate([np.array([5, -5], np.int16).view(np.uint8), codes.view(np.uint8)])
    sums = _check._pair_sums(rows, stream, (1, 1, 1))  # 32767 + 5 wraps, and so does -32768 - 5
    assert sums.ravel().tolist() == [(32767 + 5 - 65536) + (-32768 - 5 + 65536)]


@pytest.mark.parametrize("name", [name for name in HERE if name != "generic" and _paths.PATHS[name].limit])
def test_a_path_whose_code_is_broken_is_given_up(name, monkeypatch, forgetful):
    """The first of its tokens is multiplied with nothing; the next path ranks, and says why, once."""
    multiply, chunk = _kernel._Builder.multiply_add, _kernel._Builder.chunk
    broken = _paths.PATHS[name]

    def no_product(builder, total, value, token):
        return total if builder.path is broken else multiply(builder, total, value, token)

    def no_chunk(builder, *arguments):
        return None if builder.path is broken else chunk(builder, *arguments)

    monkeypatch.setattr(_kernel._Builder, "multiply_add", no_product)
    monkeypatch.setattr(_kernel._Builder, "chunk", no_chunk)
    monkeypatch.setenv(_check.FORCED, name)
    dim = 40 + HERE.index(name)  # which no other test compiles
    with pytest.warns(RuntimeWarning, match=rf"path {name} is wrong here: int8 rows of {dim}") as told:
        path, _ = _check.trusted("int8", dim, exact=False)
    assert path.name != name
    assert path is next(path for path in _paths.available() if path.limit and path.name != name)
    assert _check.cpu() in str(told[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _check.trusted("binary", dim, exact=False)[0].name != name
    assert set(_check._given_up) == {name}


def test_a_path_that_is_given_what_does_not_fit_is_given_up(monkeypatch, forgetful):
    """As starting sums in 64 bits once were: machine code that reads 32 of them ranks wrongly, and nobody sees it."""
    tiles_of = _paths._tiles_of

    def with_wide_sums(path, tile, dense):
        stream, bias, scales = tiles_of(path, tile, dense)
        return stream, bias.astype(np.int64) if path.name == "generic" else bias, scales

    monkeypatch.setattr(_paths, "_tiles_of", with_wide_sums)
    with pytest.warns(RuntimeWarning, match=r"path generic is wrong here: .*bias: a scan of int8 rows takes int32"):
        path, _ = _check.trusted("int8", 52, "generic", exact=False)
    assert path.name != "generic" or len(HERE) == 2


def test_where_all_machine_code_is_wrong_the_interpreter_ranks(monkeypatch, forgetful):
    monkeypatch.setattr(_check, "differences", lambda *_: "wrong")
    vectors = np.random.default_rng(0).standard_normal((70, 40)).astype(np.float32)
    offsets = np.array([0, 3, 40, 70])
    with pytest.warns(RuntimeWarning, match="wrong here"):
        rows, scores = pack(vectors, offsets, threads=2).top_k(vectors[50:53], 3)
    stored = pack(vectors, offsets)
    expected = reference.page_scores(vectors[50:53], decode(stored.rows, stored.codec), offsets)
    assert rows.tolist() == np.argsort(-expected).tolist()
    assert scores == pytest.approx(expected[rows], rel=1e-5)


def test_a_path_may_be_forced(monkeypatch):
    monkeypatch.setenv(_check.FORCED, "generic, float")
    assert [_check.trusted("int8", 16, exact=exact)[0].name for exact in (False, True)] == ["generic", "float"]
    verdicts = {verdict.path: verdict for verdict in _check.report("int8", 16)}
    assert {name for name, verdict in verdicts.items() if verdict.chosen} == {"generic", "float"}
    assert [name for name, verdict in verdicts.items() if verdict.available] == HERE
    assert not [verdict for verdict in verdicts.values() if verdict.difference]
    assert _check.trusted("int8", 16, "float", exact=False)[0] is _paths.candidates(exact=False)[0]


@pytest.mark.parametrize(("name", "message"), [("avx3", "there is no path 'avx3'"), ("neon", "cannot run path 'neon'")])
def test_a_path_that_cannot_be_forced_is_an_error(name, message, monkeypatch):
    monkeypatch.setattr(_paths, "available", lambda: [_paths.PATHS["generic"], _paths.PATHS["float"]])
    monkeypatch.setenv(_check.FORCED, name)
    with pytest.raises(VisretError, match=rf"{message}; it has generic, float"):
        _check.trusted("int8", 17, exact=False)
    with pytest.raises(VisretError, match=message):
        pack(np.eye(4, dtype=np.float32), np.array([0, 4]), path=name).scores(np.eye(4, dtype=np.float32))


@pytest.mark.heavy
def test_a_device_that_is_wrong_in_float16_scans_in_float32(monkeypatch, forgetful):
    widen = device.DevicePages._vectors
    factor = {"torch.float16": 0.9}
    monkeypatch.setattr(
        device.DevicePages, "_vectors", lambda self, at, kind: widen(self, at, kind) * factor.get(str(kind), 1)
    )
    with pytest.warns(RuntimeWarning, match="cpu: scans in float16 of binary rows of 8 dimensions are wrong here"):
        assert not device._agrees("cpu", "binary", 8, True)
    assert device._agrees("cpu", "binary", 8, False)


@pytest.mark.heavy
def test_a_device_that_is_wrong_is_given_up(monkeypatch, forgetful):
    lay_out = device._lay_out
    monkeypatch.setattr(device, "_lay_out", lambda queries: (lay_out(queries)[0] * 1.001, lay_out(queries)[1]))
    with pytest.warns(RuntimeWarning, match="cpu: exact scores of int8 rows of 8 dimensions are wrong here"):
        pages = pack(np.eye(8, dtype=np.float32), np.array([0, 8]), device="cpu")
    assert type(pages) is packed.PackedPages


WRONG = {
    "codes": [lambda a: a.astype(np.int16), lambda a: a[:, :-1], lambda a: np.asfortranarray(a), lambda a: None],
    "scales": [lambda a: a.astype(np.float64), lambda a: a[:-1], lambda a: a.astype(">f4"), lambda a: None],
    "centroids": [lambda a: np.zeros((1, 24), np.int8)],
    "weights": [lambda a: np.zeros(4, np.int8)],
    "centroid_of": [lambda a: np.zeros(29, np.uint16)],
    "last_centroid": [lambda a: None, lambda a: -1, lambda a: 0.0],
    "starts": [lambda a: a.astype(np.int32), lambda a: a[:, None]],
    "ends": [lambda a: a[:-1], lambda a: np.repeat(a, 2)[::2]],
    "edges": [lambda a: a[:1], lambda a: a.astype(np.uint64)],
    "parts": [lambda a: 2, lambda a: "1"],
    "taken": [lambda a: np.zeros(2, np.int64), lambda a: np.broadcast_to(np.int64(0), 1)],
    "counts": [lambda a: a + 1, lambda a: a[:-1], lambda a: a.astype(np.int32)],
    "stream": [lambda a: a[:-1], lambda a: a.view(np.int8)],
    "bias": [lambda a: a.astype(np.int64), lambda a: a.ravel(), lambda a: a[:-1]],
    "token_scales": [lambda a: a.astype(np.float64)],
    "owners": [lambda a: a.astype(np.int32), lambda a: a.T],
    "registers": [lambda a: a + 1],
    "queries": [lambda a: a + 1, lambda a: -1],
    "out": [lambda a: a.astype(np.float64), lambda a: a[:, :-1], lambda a: np.broadcast_to(a[:1, :1], a.shape)],
}


@pytest.mark.parametrize("name", WRONG)
def test_no_array_reaches_machine_code_unchecked(name):
    path = _paths.candidates(exact=False)[0]
    given, _ = given_for(path, "int8", 24, [whole_numbers(3, 24), whole_numbers(2, 24)])
    bind = _kernel.scan(path, "int8", 24)
    for change in WRONG[name]:
        with pytest.raises(ShapeError, match=r"^\w+: a scan [^\n]+$"):
            bind(given | {name: change(given[name])})
    assert set(WRONG) == set(_kernel.ARGUMENTS) - {"scratch"}
    bind(given)()  # what is right is taken


def test_what_was_checked_before_has_to_fit_what_comes_with_it():
    path = _paths.candidates(exact=False)[0]
    given, expected = given_for(path, "int8", 24, [whole_numbers(3, 24), whole_numbers(2, 24)])
    per_scan = set(_kernel.of_pages(given["starts"], given["ends"], 2))
    known = _kernel.check(path, "int8", 24, {name: value for name, value in given.items() if name not in per_scan})
    bind = _kernel.scan(path, "int8", 24)
    scan = {name: given[name] for name in per_scan}
    bind(scan, known)()
    assert given["out"] == pytest.approx(expected, rel=1e-5, abs=1e-4)
    with pytest.raises(ShapeError, match=r"^out: a scan of int8 rows takes float32 \(3, 2\), [^\n]+$"):
        bind(scan | {"out": np.zeros((3, 3), np.float32)}, known)
