"""benchmarks/claims.py: arithmetic that can be done by hand, and verdicts that follow from what is measured."""

import re
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from benchmarks import claims
from support.vectors import units

TABLE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
NONE, HALF = np.zeros(94), np.tile([0.0, 1.0], 47)
ALL = np.ones(94)


@pytest.fixture
def bench(tmp_path):
    """A page for each question, of 200 vectors, the last two of which are those of the question."""
    rng = np.random.default_rng(0)
    right = [min(claims.storage.relevant(question)) for question in claims.questions()]
    refs = sorted(set(right))
    pages = {ref: units(rng, 200, 128) for ref in refs}
    rows = [pages[ref][-2:] for ref in right]
    made = claims.Bench(tmp_path, tmp_path, ExitStack())
    made.collection = claims.storage.Collection(
        np.concatenate(list(pages.values())).astype(np.float16),
        np.arange(len(refs) + 1) * 200,
        np.concatenate(rows),
        np.arange(len(rows) + 1) * 2,
        refs,
    )
    return made


def test_bytes_and_gibibytes_follow_from_the_codecs():
    assert "256, 36 and 20" in claims.bytes_a_vector(None).ours
    vectors = 154 * 2**30 / 256
    assert 2**18 < 16 * vectors**0.5 < 2**19
    by_hand = [(vectors * (size + 4) + 2**18 * 128 * 2) / 2**30 for size in (36, 20)]
    row = claims.ms_marco(None)
    assert f"{by_hand[0]:.1f} and {by_hand[1]:.1f} GiB" in row.ours
    assert row.verdict == "holds"


def test_sizes_are_those_of_the_vectors_of_the_pages(bench):
    row = claims.megabytes(bench)
    assert "200 vectors a page: 10, 102 and 1,024 MB" in row.ours
    assert row.verdict == "does not hold here: -60.0 % off"
    assert "33 times with 128 and 768 dimensions" in claims.floats(bench).ours


def test_what_stands_behind_the_first_180_vectors_is_lost_and_found_in_passages(bench):
    row = claims.length(bench)
    every, first, best = re.findall(r"(?:vectors|180) (\d?\.\d+)", row.ours)
    assert float(every) == float(best) > 0.9
    assert float(first) < 0.3
    assert row.ours.startswith("0 % of the pages")
    assert re.fullmatch(r"does not hold here: -[7-9]\d\.\d % \(p < \.001\)", row.verdict)


@pytest.mark.parametrize(("sign", "verdict", "among"), [(1, "holds: +.0 %", 100), (-1, "does not hold here", 0)])
def test_a_shortlist_is_judged_by_what_it_leaves_out(bench, monkeypatch, sign, verdict, among):
    monkeypatch.setattr(claims, "SHORTLIST", 10)
    stage = claims.first_stage.Stage("a stage", 0, 0, lambda query: sign * bench.short.packed.scores(query))
    row = claims.shortlisted(bench, "a claim", "a source", stage)
    assert row.verdict.startswith(verdict)
    assert abs(float(re.search(r"([\d.]+) % of the ten best", row.ours)[1]) - among) < 3


@pytest.mark.parametrize(
    ("pairs", "verdict"),
    [([(83, 100), (119, 100)], "holds"), ([(100, 100), (79, 100)], "does not hold here: -21.0 % off")],
)
def test_a_figure_is_close_at_a_fifth(pairs, verdict):
    assert claims.close(pairs) == verdict


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(5, "holds: 5 x"), (10, "holds: 10 x"), (11, "more than claimed here: 11 x"), (4, "less than claimed here: 4 x")],
)
def test_a_range_includes_its_ends(value, verdict):
    assert claims.in_range(value, 5, 10, "{:.0f} x") == verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (ALL, "holds: +.0 %"),
        (np.where(np.arange(94) < 1, 0.0, 1.0), "holds: -1.1 %"),
        (np.where(np.arange(94) < 4, 0.0, 1.0), "holds here: -4.3 % (n.s.)"),
        (HALF, "does not hold here: -50.0 % (p < .001)"),
    ],
)
def test_quality_is_kept_if_little_is_lost_or_what_is_lost_may_be_noise(values, verdict):
    assert claims.kept(ALL, values) == verdict


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (HALF, "not seen here: +.0 % (n.s.)"),
        (np.maximum(HALF, np.arange(94) < 12), "holds: +12.8 % (p = .031)"),
        (ALL, "more here: +100.0 % (p < .001)"),
        (NONE, "does not hold here: -100.0 % (p < .001)"),
    ],
)
def test_quality_is_gained_if_the_gain_is_no_noise(values, verdict):
    assert claims.gained(HALF, values, 0.05, 0.15) == verdict


def test_the_table_of_the_document_has_every_claim_once(capsys, monkeypatch):
    computed = [claims.bytes_a_vector, claims.ms_marco, claims.cross_encoder]
    monkeypatch.setattr("sys.argv", ["claims.py", "nowhere", "--only", *(claim.__name__ for claim in computed)])
    claims.main()
    head, rule, *rows = capsys.readouterr().out.splitlines()
    lines = TABLE.read_text("utf8").splitlines()
    start = lines.index(head)
    table = lines[start + 2 : lines.index("", start)]
    assert lines[start + 1] == rule
    assert len(rows) == len(computed)
    assert set(rows) <= set(table)
    assert len(table) == len(claims.CLAIMS)
