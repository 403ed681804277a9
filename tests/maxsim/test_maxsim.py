"""The fast scan equals the definition, on every path this CPU can run."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import binding
from support.vectors import problems, units

from visret.codec import CODECS, FORMS, Codec, Form, Rows, decode, encode, fit
from visret.errors import ShapeError
from visret.maxsim import PackedPages, _kernel, _paths, pack, packed, page_scores, reference

INTEGER = [path.name for path in _paths.available() if path.limit]
FLOAT = [path.name for path in _paths.available() if not path.limit]

PROBLEMS = problems([4, 20, 48, 50, 96, 128, 320, 384], longest=40)


@settings(max_examples=60, deadline=None)
@given(PROBLEMS)
def test_page_scores_are_the_definition(problem):
    assert np.allclose(page_scores(*problem), reference.page_scores(*problem), atol=1e-5 * len(problem[0]))


@pytest.mark.parametrize("name", INTEGER)
@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS, stored_as=st.sampled_from([name for name in CODECS if not name.startswith("float")]))
def test_integer_scan_stays_within_its_bound(name, problem, stored_as):
    query, vectors, offsets = problem
    pages = pack(vectors, offsets, stored_as, path=name)
    stored = decode(pages.rows, pages.codec)
    expected = reference.page_scores(query, stored, offsets)
    # of a token, half a step of its code in each dimension; "pairs" paths may make the step larger
    limit = _paths.PATHS[name].limit if _paths.PATHS[name].kind != "pairs" else 255 / (2 * _paths.CHUNK) - 1
    bound = (np.abs(query).max(axis=1) / (2 * limit)).sum() * np.abs(stored).sum(axis=1).max()
    assert np.abs(pages.scores(query) - expected).max() <= bound + 1e-5 * len(query)
    assert np.allclose(pages.exact_scores(query), expected, atol=1e-5 * len(query))


@pytest.mark.parametrize("dim", [24, 48])
def test_a_codec_of_other_bits_is_a_row_of_the_table(monkeypatch, dim):
    """Nothing but the table says how rows are stored: four bits of a residual are packed, unpacked and scanned."""
    monkeypatch.setitem(FORMS, "residual4", Form(4, scales=np.float16, learned=True))
    vectors = units(np.random.default_rng(0), 400, dim)
    made = {name: fit(name, vectors) for name in ("residual2", "residual4")}
    errors = {name: np.abs(decode(encode(vectors, one), one) - vectors).mean() for name, one in made.items()}
    assert errors["residual4"] < errors["residual2"] / 2
    offsets = np.arange(0, 401, 8)
    for path in [*INTEGER, *FLOAT]:
        pages = pack(vectors, offsets, made["residual4"], path=path)
        assert pages.rows.codes.shape == (400, dim // 2)
        stored = decode(pages.rows, pages.codec)
        expected = reference.page_scores(vectors[:5], stored, offsets)
        np.testing.assert_allclose(pages.exact_scores(vectors[:5]), expected, atol=1e-5)
        np.testing.assert_allclose(pages.scores(vectors[:5]), expected, atol=0.2)


@settings(max_examples=40, deadline=None)
@given(problem=PROBLEMS, stored_as=st.sampled_from(["float32", "float16", "int8"]), seed=st.integers(0))
def test_vectors_of_any_length_are_ranked_by_the_definition(problem, stored_as, seed):
    """Of a hundredth to a hundred: pages and questions of models that do not normalise."""
    query, vectors, offsets = problem
    rng = np.random.default_rng(seed)
    spans, asked = (10 ** rng.uniform(-2, 2, (len(rows), 1)).astype(np.float32) for rows in (vectors, query))
    query, vectors = query * asked, vectors * spans
    pages = pack(vectors, offsets, stored_as)
    stored = decode(pages.rows, pages.codec)
    found, scores = pages.top_k(query, len(pages))
    expected = reference.page_scores(query, stored, offsets)
    near = 1e-5 * asked.sum() * spans.max()
    assert np.allclose(scores, expected[found], atol=near)
    assert (np.diff(expected[found]) <= 2 * near).all()
    loss = {"float32": 1e-6, "float16": 2**-10, "int8": np.sqrt(vectors.shape[1]) / 254}[stored_as]
    assert (np.linalg.norm(stored - vectors, axis=1) <= loss * spans[:, 0]).all()


@pytest.mark.parametrize("name", INTEGER)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("code", [255, 1])
@pytest.mark.parametrize("dim", [8, 128, 2560])
def test_integer_scan_does_not_saturate(name, sign, code, dim):
    """Rows of +-127 (codes 255 and 1) against queries of +-127, where vpmaddubsw by itself would stop at 32,767."""
    codes = np.full((5, dim), code, np.uint8)
    pages = PackedPages(Rows(codes, np.ones(5, np.float32)), np.array([0, 2, 5]), Codec("int8", dim), path=name)
    for tokens in (3, 8, 16):
        query = np.full((tokens, dim), sign * 127, np.float32)
        assert pages.scores(query) == pytest.approx(np.full(2, query.sum() * (code - 128.0)), rel=1e-6)
    query[:, 1::2] *= -1  # whatever the signs of neighbours
    assert pages.scores(query) == pytest.approx(np.zeros(2), abs=1e-3 * 127 * 127 * dim)


@pytest.mark.parametrize("name", INTEGER)
def test_integer_scan_counts_exactly(name):
    """Whole numbers that every path's query codes hold: the score is the number."""
    rng = np.random.default_rng(8)
    for dim in (4, 16, 36, 128, 384):
        for tokens in (1, 4, 6, 8, 12, 17, 40):
            codes = rng.integers(0, 256, (50, dim), dtype=np.uint8)
            query = rng.integers(-1, 2, (tokens, dim)).astype(np.float32)
            query[:, 0] = 1
            query *= 16  # a step of at least 1/16 of the largest component
            offsets = np.array([0, 1, 20, 50])
            pages = PackedPages(Rows(codes, np.ones(50, np.float32)), offsets, Codec("int8", dim), path=name)
            expected = reference.page_scores(query, codes.astype(np.float32) - 128, offsets)
            assert pages.scores(query) == pytest.approx(expected, rel=1e-5, abs=1e-2), (dim, tokens)


@pytest.mark.parametrize("name", FLOAT)
@pytest.mark.parametrize("stored_as", CODECS)
def test_float_paths_on_all_rows(name, stored_as):
    rng = np.random.default_rng(1)
    for dim in (20, 50, 384):
        for tokens in (3, 12, 19):
            query, vectors, offsets = units(rng, tokens, dim), units(rng, 90, dim), np.array([0, 1, 30, 90])
            pages = pack(vectors, offsets, stored_as, path=name)
            expected = reference.page_scores(query, decode(pages.rows, pages.codec), offsets)
            assert np.allclose(pages.exact_scores(query), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "cpu", "triple", "instruction"),
    [
        ("vnni512", "icelake-server", "x86_64-unknown-linux-gnu", "vpdpbusd"),
        ("avx512", "skylake-avx512", "x86_64-unknown-linux-gnu", "vpmaddubsw"),
        ("vnni256", "alderlake", "x86_64-unknown-linux-gnu", "vpdpbusd"),
        ("avx2", "haswell", "x86_64-unknown-linux-gnu", "vpmaddubsw"),
        ("generic", "", "x86_64-unknown-linux-gnu", "pmadd"),
        ("float512", "skylake-avx512", "x86_64-unknown-linux-gnu", "vfmadd"),
        ("float256", "haswell", "x86_64-unknown-linux-gnu", "vfmadd"),
    ],
)
def test_every_path_becomes_the_instruction_it_is_for(name, cpu, triple, instruction):
    """Machine code for CPUs that are not this one: it can be made and read, if not run."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    module = binding.parse_assembly(str(_kernel.build(_paths.PATHS[name], "int8", 128, triple)))
    module.verify()
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=cpu, opt=3)
    _kernel.optimise(module, machine)
    assert instruction in machine.emit_assembly(module)


@pytest.mark.parametrize("triple", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"])
@pytest.mark.parametrize("codec", CODECS)
def test_machine_code_calls_nothing(codec, triple):
    """A CPU without an instruction that LLVM has a library function for would end the process: float16 without F16C."""
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    for name in ("float",) if codec.startswith("float") else ("generic", "float"):
        module = binding.parse_assembly(str(_kernel.build(_paths.PATHS[name], codec, 20, triple)))
        machine = binding.Target.from_triple(triple).create_target_machine(opt=3)
        _kernel.optimise(module, machine)
        code = [line.split() for line in machine.emit_assembly(module).splitlines() if line.startswith("\t")]
        assert not [line for line in code if line[0] in ("callq", "call", "bl", "blr", "jmpq")]
        assert any(line[0] in ("retq", "ret") for line in code)


def test_a_page_does_not_depend_on_its_neighbours_threads_or_place():
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 900, 80)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    vectors, query = units(rng, offsets[-1], 128), units(rng, 12, 128)
    together = pack(vectors, offsets, threads=1).scores(query)
    assert (pack(vectors, offsets, threads=3).scores(query) == together).all()
    for page in (0, 7, 79):
        rows = vectors[offsets[page] : offsets[page + 1]]
        assert pack(rows, np.array([0, len(rows)])).scores(query)[0] == together[page]
    some = np.array([79, 3, 3, 40])
    assert (pack(vectors, offsets).scores(query, some) == together[some]).all()


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="threads cannot be moved on this system")
@pytest.mark.parametrize("refused", [False, True])
def test_a_thread_woken_on_the_core_of_its_waker_goes_to_another(refused, monkeypatch):
    moves, worked = [], []
    monkeypatch.setattr(packed.os, "sched_getaffinity", lambda _: {0, 1, 2})

    def move(thread, cores):
        moves.append(cores)
        if refused:
            raise PermissionError

    monkeypatch.setattr(packed.os, "sched_setaffinity", move)
    monkeypatch.setattr(packed, "_core", lambda: 1)
    packed._elsewhere(lambda: worked.append(list(moves)), 2)  # it is elsewhere already
    packed._elsewhere(lambda: worked.append(list(moves)), None)  # nobody knows
    assert worked == [[], []]
    packed._elsewhere(lambda: worked.append(list(moves)), 1)
    assert worked[2] == [{0, 2}]
    assert moves == [{0, 2}] if refused else [{0, 2}, {0, 1, 2}]
    monkeypatch.setattr(packed.os, "sched_getaffinity", lambda _: {1})
    packed._elsewhere(lambda: worked.append(list(moves)), 1)  # there is no other core
    assert worked[3] == moves


def test_negative_pages_keep_their_negative_score():
    """Zero padding would win here (colpali-engine, transformers, pylate: -0.6 becomes 0)."""
    query = np.array([[1, 0, 0, 0]], np.float32)
    vectors = np.array([[-0.6, 0.8, 0, 0], [-1, 0, 0, 0], [-0.8, 0.6, 0, 0]], np.float32)
    offsets = np.array([0, 1, 3])
    assert page_scores(query, vectors, offsets) == pytest.approx([-0.6, -0.8])
    assert pack(vectors, offsets).exact_scores(query) == pytest.approx([-0.6, -0.8], abs=0.01)


def test_top_k_is_exact_ordered_and_breaks_ties_by_row():
    rng = np.random.default_rng(3)
    vectors, query = units(rng, 3000, 64), units(rng, 5, 64)
    vectors[600:610] = vectors[30:40]  # page 60 is page 3 again
    offsets = np.arange(0, 3001, 10)
    pages = pack(vectors, offsets)
    exact = pages.exact_scores(query)
    order = np.lexsort((np.arange(300), -exact))
    rows, scores = pages.top_k(query, 300)
    assert rows.tolist() == order.tolist()
    assert scores == pytest.approx(exact[order])
    rows, _ = pages.top_k(query, 300, only=np.array([60, 3]))
    assert rows.tolist() == [3, 60]
    same = pack(np.repeat(vectors[:1], 300, axis=0), np.arange(301))
    assert same.top_k(query, 5, only=np.arange(300)[::-1])[0].tolist() == [0, 1, 2, 3, 4]
    assert [len(r) for r in pages.top_k(query, 7)] == [7, 7]
    queries = [query, units(rng, 1, 64), units(rng, 33, 64)]
    for one, (rows, scores) in zip(queries, pages.top_k_many(queries, 4), strict=True):
        alone = pages.top_k(one, 4)
        assert (rows == alone[0]).all()
        assert (scores == alone[1]).all()


def test_only_none_of_them_gives_none_of_them():
    pages = pack(np.eye(4, dtype=np.float32), np.array([0, 4]))
    rows, scores = pages.top_k(np.eye(4, dtype=np.float32), 3, only=np.array([], int))
    assert len(rows) == len(scores) == 0


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.zeros((0, 8), np.float32), "m > 0"),
        (np.zeros((2, 9), np.float32), "expected"),
        (np.zeros((2, 7), np.float32), "expected"),
        (np.zeros(8, np.float32), "expected"),
        (np.full((1, 8), np.nan, np.float32), "finite"),
    ],
)
def test_bad_queries_are_refused(query, message):
    pages = pack(units(np.random.default_rng(4), 6, 8), np.array([0, 6]))
    for score in (pages.scores, pages.exact_scores, lambda q: pages.top_k(q, 1)):
        with pytest.raises(ShapeError, match=message):
            score(query)


@pytest.mark.parametrize("offsets", [[0, 3, 3, 6], [0, 5], [1, 6], [0, 7], [0, 4, 2, 6], [], [[0, 6]]])
def test_offsets_that_do_not_fit_are_refused(offsets):
    with pytest.raises(ShapeError):
        pack(units(np.random.default_rng(4), 6, 8), np.array(offsets, int))


def test_pages_outside_are_refused():
    pages = pack(np.eye(4, dtype=np.float32), np.array([0, 4]))
    for only in ([1], [-1]):
        with pytest.raises(ShapeError, match="below 1"):
            pages.scores(np.eye(4, dtype=np.float32), np.array(only))
    with pytest.raises(ShapeError, match="page numbers"):
        pages.top_k(np.eye(4, dtype=np.float32), 1, np.array([True]))


def test_rows_of_zeros_have_a_score_and_what_is_not_finite_has_none():
    query, vectors = -np.eye(4, dtype=np.float32)[:1], np.eye(4, dtype=np.float32)
    vectors[1] = 0
    assert page_scores(query, vectors[:2], np.array([0, 1, 2])).tolist() == [-1, 0]
    vectors[1, 2] = np.nan
    with pytest.raises(ShapeError, match="finite"):
        page_scores(query, vectors, np.array([0, 4]))


@pytest.mark.parametrize(
    ("rows", "codec"),
    [
        (Rows(np.zeros((3, 8), np.uint8), np.ones(2, np.float32)), Codec("int8", 8)),
        (Rows(np.zeros((3, 8), np.uint8), np.ones(3)), Codec("int8", 8)),
        (Rows(np.zeros((3, 8), np.uint8), np.ones(6, np.float32)[::2]), Codec("int8", 8)),
        (Rows(np.zeros((3, 8), np.uint8)), Codec("int8", 8)),
        (Rows(np.zeros((3, 8), np.uint8), np.ones(3, np.float32)), Codec("int8", 9)),
        (Rows(np.zeros((8, 3), np.float32).T), Codec("float32", 8)),
        (Rows(np.zeros((3, 8), np.float64)), Codec("float32", 8)),
        (Rows(np.zeros((3, 8), np.float32), np.ones(3, np.float32)), Codec("float32", 8)),
        (Rows(np.zeros((3, 9000), np.float32)), Codec("float32", 9000)),
        (Rows(np.zeros((3, 2), np.uint8), np.ones(3, np.float16), np.zeros(3, np.uint16)), Codec("residual2", 8)),
        (Rows(np.zeros((3, 2), np.uint8)), Codec("binary", 8)),
    ],
)
def test_rows_the_machine_code_cannot_read_are_refused(rows, codec):
    with pytest.raises(ShapeError):
        PackedPages(rows, np.array([0, 3]), codec)


def test_a_damaged_centroid_number_reads_no_foreign_memory():
    rng = np.random.default_rng(9)
    pages = pack(units(rng, 100, 16), np.array([0, 50, 100]), "residual2")
    pages.rows.centroids[:] = 65535
    assert np.isfinite(pages.scores(units(rng, 4, 16))).all()
