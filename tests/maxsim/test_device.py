"""Pages on a torch device score as the definition says and refuse what PackedPages refuses. Here the device is the CPU;
float16, which only GPUs scan in, is forced."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.vectors import problems, units

from visret import codec as codecs
from visret.codec import Codec, Rows
from visret.errors import ShapeError, VisretError
from visret.maxsim import PackedPages, pack, reference
from visret.maxsim.device import on_device

PROBLEMS = problems([4, 20, 48, 50, 96, 100, 128, 320], longest=70)


def stored(name, vectors):
    codec = codecs.fit(name, vectors)
    return codecs.encode(vectors, codec), codec


@pytest.mark.parametrize("name", codecs.CODECS)
@settings(max_examples=15, deadline=None)
@given(problem=PROBLEMS, memory=st.sampled_from([1, 20_000, 1 << 23]))
def test_scores_are_the_definition_however_rows_are_cut_into_blocks(name, problem, memory):
    query, vectors, offsets = problem
    rows, codec = stored(name, vectors)
    pages = dataclasses.replace(on_device(rows, offsets, codec, "cpu"), memory=memory)
    expected = reference.page_scores(query, codecs.decode(rows, codec), offsets)
    assert np.abs(pages.exact_scores(query) - expected).max() <= 1e-5 * len(query)
    assert np.abs(pages.scores(query) - expected).max() <= 1e-5 * len(query)
    if rows.codes.dtype == np.uint8:
        long = np.float32(10_000)  # products of 127 would leave float16 here
        halved = dataclasses.replace(pages, half=True).scores(query * long) / long
        assert np.abs(halved - expected).max() <= len(query) / 300


def test_a_block_keeps_to_its_memory_and_repeats_few_rows(monkeypatch):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 500, 200)
    lengths[7] = 9_000  # alone longer than a block
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    rows, codec = stored("int8", units(rng, offsets[-1], 64))
    pages = dataclasses.replace(on_device(rows, offsets, codec, "cpu"), memory=2 << 20)
    seen = []
    vectors = type(pages)._vectors
    monkeypatch.setattr(type(pages), "_vectors", lambda *a: seen.append(vectors(*a)) or seen[-1])
    query = units(rng, 12, 64)
    pages.scores(query)
    counts = [len(block) for block in seen]
    assert max(counts) * 64 * 4 < 2 << 20
    assert max(counts) < 9_000
    assert sum(counts) < 1.15 * offsets[-1]


def test_exact_scores_do_not_depend_on_neighbours_blocks_or_precision_settings():
    rng = np.random.default_rng(2)
    lengths = rng.integers(1, 300, 60)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    vectors, query = units(rng, offsets[-1], 128), units(rng, 12, 128)
    rows, codec = stored("residual2", vectors)
    pages = on_device(rows, offsets, codec, "cpu")
    together = pages.exact_scores(query)
    assert (dataclasses.replace(pages, memory=100_000).exact_scores(query) == together).all()
    some = np.array([59, 3, 3, 40])
    assert (pages.exact_scores(query, some) == together[some]).all()
    alone = on_device(rows.part(slice(offsets[3], offsets[4])), offsets[3:5] - offsets[3], codec, "cpu")
    assert alone.exact_scores(query)[0] == together[3]
    with torch.autocast("cpu", torch.bfloat16):
        assert (pages.exact_scores(query) == together).all()
        assert (pages.top_k(query, 60)[1] == np.sort(together)[::-1]).all()


@pytest.mark.parametrize("half", [False, True])
def test_top_k_is_exact_ordered_and_breaks_ties_by_row(half):
    rng = np.random.default_rng(3)
    vectors, query = units(rng, 3000, 64), units(rng, 5, 64)
    vectors[600:610] = vectors[30:40]  # page 60 is page 3 again
    offsets = np.arange(0, 3001, 10)
    rows, codec = stored("int8", vectors)
    pages = dataclasses.replace(on_device(rows, offsets, codec, "cpu"), half=half, memory=50_000)
    exact = pages.exact_scores(query)
    order = np.lexsort((np.arange(300), -exact))
    found, scores = pages.top_k(query, 300)
    assert found.tolist() == order.tolist()
    assert (scores == exact[order]).all()
    assert pages.top_k(query, 300, only=np.array([60, 3]))[0].tolist() == [3, 60]
    best = pages.top_k(query, 7)
    assert best[0].tolist() == order[:7].tolist()
    assert (best[1] == exact[order[:7]]).all()
    queries = [query, units(rng, 1, 64), units(rng, 33, 64)]
    wanted = np.array([299, 5, 60, 3, 17])
    for one, found in zip(queries, pages.top_k_many(queries, 4, only=wanted), strict=True):
        alone = pages.top_k(one, 4, only=wanted)
        assert found[0].tolist() == alone[0].tolist()
        assert (found[1] == alone[1]).all()
        assert set(found[0]) <= set(wanted)
    assert [len(part) for part in pages.top_k(query, 3, only=np.array([], int))] == [0, 0]
    assert pages.top_k_many([], 3) == []


def test_it_agrees_with_packed_pages():
    rng = np.random.default_rng(4)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 60, 90))])
    vectors, query = units(rng, offsets[-1], 96), units(rng, 20, 96)
    for name in codecs.CODECS:
        rows, codec = stored(name, vectors)
        packed, pages = PackedPages(rows, offsets, codec), on_device(rows, offsets, codec, "cpu")
        assert (len(pages), pages.dim) == (len(packed), packed.dim)
        assert pages.exact_scores(query) == pytest.approx(packed.exact_scores(query), abs=1e-4)
        assert pages.top_k(query, 10)[0].tolist() == packed.top_k(query, 10)[0].tolist()


QUERY = np.eye(8, dtype=np.float32)


@pytest.mark.parametrize(
    "call",
    [
        lambda pages: pages.scores(QUERY[:0]),
        lambda pages: pages.scores(QUERY[:, :7]),
        lambda pages: pages.exact_scores(QUERY[0]),
        lambda pages: pages.top_k(np.full((1, 8), np.nan, np.float32), 1),
        lambda pages: pages.top_k_many([QUERY, QUERY[:, :3]], 1),
        lambda pages: pages.top_k(QUERY, 0),
        lambda pages: pages.scores(QUERY, np.array([2])),
        lambda pages: pages.scores(QUERY, np.array([-1])),
        lambda pages: pages.top_k(QUERY, 1, np.array([True, False])),
    ],
)
def test_what_packed_pages_refuse_is_refused_in_the_same_words(call):
    rows, codec = stored("int8", units(np.random.default_rng(5), 6, 8))
    offsets = np.array([0, 2, 6])
    with pytest.raises(ShapeError) as expected:
        call(PackedPages(rows, offsets, codec))
    with pytest.raises(ShapeError) as error:
        call(on_device(rows, offsets, codec, "cpu"))
    assert str(error.value) == str(expected.value)


def test_rows_and_offsets_that_do_not_fit_are_refused():
    rows, codec = stored("int8", units(np.random.default_rng(5), 6, 8))
    for offsets in ([0, 2, 2, 6], [0, 5], [1, 6], []):
        with pytest.raises(ShapeError):
            on_device(rows, np.array(offsets, int), codec, "cpu")
    with pytest.raises(ShapeError):
        on_device(rows._replace(scales=None), np.array([0, 6]), codec, "cpu")


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "cpu:x"])
def test_a_device_that_is_not_there_is_named(device):
    rows, codec = stored("float32", QUERY)
    with pytest.raises(VisretError, match=f"{device}.*'cpu'"):
        on_device(rows, np.array([0, 8]), codec, device)


def test_rows_mapped_from_a_file_are_copied_piece_by_piece(tmp_path, monkeypatch):
    monkeypatch.setattr("visret.maxsim.device.UPLOAD", 100)  # three rows
    vectors = units(np.random.default_rng(6), 50, 30)
    offsets = np.array([0, 1, 20, 50])
    for name in codecs.CODECS:
        rows, codec = stored(name, vectors)
        for field, array in rows._asdict().items():
            if array is not None:
                np.save(tmp_path / f"{field}.npy", array)
        mapped = Rows(*(None if a is None else np.load(tmp_path / f"{f}.npy", "r") for f, a in rows._asdict().items()))
        pages = on_device(mapped, offsets, codec, "cpu")
        expected = reference.page_scores(vectors[:5], codecs.decode(rows, codec), offsets)
        assert pages.exact_scores(vectors[:5]) == pytest.approx(expected, abs=1e-4)


def test_the_number_of_a_centroid_that_is_not_there_is_the_last_one():
    """What a damaged index may hold; on a GPU a number out of range would end the program."""
    rows, codec = stored("residual1", units(np.random.default_rng(7), 200, 16))
    last = np.full(200, len(codec.centroids) - 1, np.uint16)
    query, offsets = units(np.random.default_rng(8), 3, 16), np.array([0, 200])
    expected = on_device(rows._replace(centroids=last), offsets, codec, "cpu").exact_scores(query)
    got = on_device(rows._replace(centroids=last + np.uint16(1)), offsets, codec, "cpu").exact_scores(query)
    assert got == expected


def test_many_centroids_are_told_apart():
    """Numbers above 32,767 do not turn negative on the way through int16."""
    rng = np.random.default_rng(9)
    centroids = rng.integers(-100, 100, (65_536, 16)).astype(np.int8)
    codec = Codec("residual2", 16, centroids, np.array([-9, -3, 3, 9], np.int8), 0.01)
    rows = codec.empty(300)
    rows.codes[:], rows.scales[:], rows.centroids[:] = rng.integers(0, 256, (300, 4)), 0.01, np.arange(300) + 65_236
    offsets, query = np.arange(301), units(rng, 4, 16)
    expected = reference.page_scores(query, codecs.decode(rows, codec), offsets)
    assert on_device(rows, offsets, codec, "cpu").exact_scores(query) == pytest.approx(expected, abs=1e-5)


def test_torch_is_loaded_only_when_a_device_is_used():
    code = "import sys, visret.maxsim.device; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_pack_takes_a_device():
    query, vectors, offsets = np.eye(4, dtype=np.float32)[:1], np.eye(4, dtype=np.float32), np.array([0, 1, 4])
    assert pack(vectors, offsets, device="cpu").top_k(query, 1)[0].tolist() == [0]
