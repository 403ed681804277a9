"""benchmarks/scaling.py: arithmetic that can be done by hand."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from benchmarks import scaling
from benchmarks.scaling import Assumed, plan


def test_a_billion_pages_in_four_bits_are_66_terabytes_and_64_gigabytes_are_looked_at():
    made = plan(10**9, "four bits", Assumed())
    beside = 10**9 * (33 * 132 + scaling.BESIDE + 64)
    assert made.stored - beside == pytest.approx(1030 * 64 * 10**9)  # 64 TB for 1,000 vectors
    assert made.first == 64 * 10**9
    assert made.machines == 23  # 2 x 86 TB on disks of 7.6 TB


def test_hours_and_money_follow_from_rates_and_prices():
    made = plan(10**6, "int8", Assumed(gpu_hour=2.0, machine_hour=3.0))
    assert made.gpu_hours == pytest.approx(10**6 * 0.39 / 3600)
    assert made.encoding == pytest.approx(2 * made.gpu_hours)
    assert made.month == pytest.approx(made.machines * 3 * 730)
    assert made.core_hours == pytest.approx(10**6 / 3.65 / 3600)


@pytest.mark.parametrize("codec", scaling.BYTES_A_VECTOR)
def test_more_pages_copies_and_questions_never_take_less(codec):
    given = Assumed()
    plans = [plan(pages, codec, given) for pages in scaling.PAGES]
    for less, more in pairwise(plans):
        assert less.stored < more.stored
        assert less.machines <= more.machines
        assert less.gpu_hours < more.gpu_hours
    for name, value in (("copies", 3), ("questions", 1000.0)):
        assert plan(10**9, codec, replace(given, **{name: value})).machines >= plans[-1].machines


def test_the_table_of_the_document_is_the_one_that_is_printed(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["scaling.py"])
    scaling.main()
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    text = (Path(scaling.__file__).parents[2] / "docs" / "scaling.md").read_text("utf8")
    assert "\n".join(printed) in text, "run tests/benchmarks/scaling.py, and put its table into docs/scaling.md"
