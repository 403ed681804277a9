"""The time that is left: runs of many mixes of files are played, and what was said is held against what was true."""

import random

import numpy as np
import pytest
from support.playing import KINDS, Doc, Play, blind, one_file, plain, played

from visret.ingest.costs import BLIND, DOUBTFUL, WORDS, File, Look
from visret.ingest.forecast import Forecast, finish


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def corpus(seed):
    """Files of one to three kinds, scans first or last or anywhere; and how many lanes read them."""
    chance = random.Random(seed)
    kinds = chance.sample(KINDS, chance.randint(1, 3))
    speed = chance.choice([0.4, 0.8, 1.6])
    docs = [one_file(chance, chance.choice(kinds), speed) for _ in range(chance.choice([15, 40]))]
    order = chance.choice([0, 1, -1])
    docs.sort(key=lambda doc: order * (doc.pages[0][0].page_class == BLIND))
    return docs, chance.choice([1, 1, 3])


def worst(told, total):
    """The largest ratio of what was said to what was true after a tenth of the run, but for a bit of slack."""
    slack = max(2.0, 0.03 * total)
    return max((left - slack) / true for share, left, true in told if share >= 0.1 and true > 0)


def by_bytes(docs, play, told):
    """What would have been said by the share of the bytes that is done."""
    ends = {i: play.ended[str(i)] for i in range(len(docs))}
    total = sum(doc.size for doc in docs)
    for share, _, true in told:
        now = share * play.now
        done = sum(doc.size for i, doc in enumerate(docs) if ends[i] <= now)
        yield share, now * (total - done) / done if done else 1e9, true


def test_the_time_left_is_hardly_ever_half_again_as_long_as_the_truth():
    ratios, before = {}, {}
    for seed in range(24):
        docs, lanes = corpus(seed)
        told, play = played(docs, points=25, lanes=lanes)
        ratios[seed] = worst(told, play.now)
        before[seed] = worst(list(by_bytes(docs, play, told)), play.now)
        assert told[-1][1] < max(2, 0.1 * play.now)
    assert len([ratio for ratio in ratios.values() if ratio > 1.5]) <= 2, ratios
    assert max(ratios.values()) < 2, ratios
    assert np.median(list(before.values())) > 2, "the test is too easy"


@pytest.mark.parametrize("scans_first", [True, False])
def test_scans_are_foreseen_wherever_they_stand(scans_first):
    chance = random.Random(1)
    scans = [Doc([blind(chance, 200, speed=0.5, spread=0.1)]) for _ in range(30)]
    papers = [Doc([plain(chance)] * 10, size=300_000) for _ in range(60)]
    told, play = played([*scans, *papers] if scans_first else [*papers, *scans])
    late = [left / true for share, left, true in told if 0.1 <= share < 0.95]
    assert 0.6 < min(late) <= max(late) < 1.5, play.now


def test_what_happens_once_is_not_multiplied():
    chance = random.Random(2)
    told, _ = played([Doc([plain(chance)] * 10) for _ in range(100)], warming=3.0)
    assert worst(told, 1) < 1.5
    scans = [Doc([blind(chance, 100, speed=0.05, spread=0.1)]) for _ in range(100)]
    told, _ = played(scans, engine="glyph")
    assert worst([one for one in told if one[0] > 0.2], 1) < 1.5


# ---- the parts of a run


def test_the_slower_of_reading_and_encoding_decides():
    one = np.ones(10)
    assert finish(2 * one[:, None], one, one, room=100, lanes=[0]) == pytest.approx(20, abs=1)
    assert finish(one[:, None], 2 * one, one, room=100, lanes=[0]) == pytest.approx(20, abs=1)
    assert finish(one[:, None], 2 * one, one, room=100, lanes=[0], waiting=5, waiting_pages=2) == pytest.approx(25)
    assert finish(2 * one[:, None], one, one, room=100, lanes=[-1.5]) == pytest.approx(18.5)
    assert finish(np.zeros((0, 1)), np.zeros(0), np.zeros(0), room=1, lanes=[0], waiting=3) == 3


def test_who_encodes_is_quicker_when_nobody_reads_any_more():
    one = np.ones(10)
    assert finish(one[:, None], 2 * one, one, room=100, lanes=[0], alone=0.5) == pytest.approx(10 + 10 * 0.5, abs=1)
    assert finish(2 * one[:, None], one, one, room=100, lanes=[0], alone=0.5) == pytest.approx(20, abs=1)
    assert finish(np.zeros((0, 1)), np.zeros(0), np.zeros(0), room=1, lanes=[0], waiting=3, alone=0.5) == 1.5


@pytest.mark.parametrize(("mine", "left"), [(12.0, 6.0), (4.0, 10.0)], ids=["all cores are busy", "some are idle"])
def test_what_is_left_to_encode_has_the_cores_of_who_read(clock, monkeypatch, mine, left):
    used = [0.0]
    monkeypatch.setattr("visret.ingest.forecast.time.process_time", lambda: used[0])
    pages = [Look(WORDS, 300)] * 2
    forecast = Forecast([File("a", "pdf", 1000, pages=6)], clock=clock, cores=2)

    def read(core_seconds):
        forecast.begins(0, "a")
        forecast.came(0, pages[0], size=1000, core_seconds=core_seconds)

    for _ in range(4):
        read(0.0)
    for _ in range(2):
        forecast.encoding(pages)
        clock.now += 10
        used[0] += mine
        read(8.0)
        forecast.encoded()
    forecast.ended(0, "a")
    assert forecast.left() == pytest.approx(left, rel=0.2)


def test_lanes_read_at_the_same_time():
    reading = np.zeros((8, 2))
    reading[::2, 0] = reading[1::2, 1] = 5
    assert finish(reading, np.full(8, 0.1), np.ones(8), room=100, lanes=[0, 0]) == pytest.approx(20, abs=1)


def test_no_more_is_read_ahead_than_there_is_room_for():
    reading = np.array([[0.0]] * 100 + [[10.0]] * 10)  # quick pages, then scans
    encoding, pages = np.array([1.0] * 100 + [0.0] * 10), np.ones(110)
    assert finish(reading, encoding, pages, room=1000, lanes=[0]) == pytest.approx(100, abs=2)
    assert finish(reading, encoding, pages, room=20, lanes=[0]) == pytest.approx(180, abs=12)


def test_pages_of_unknown_files_are_like_those_of_their_size():
    files = [File(f"s{i}", "pdf", 30_000) for i in range(20)] + [File(f"l{i}", "pdf", 5_000_000) for i in range(20)]
    forecast = Forecast(files)
    for i in range(10):
        forecast.looked(f"s{i}", 2, {1: Look(WORDS, 300)})
        forecast.looked(f"l{i}", 400, {1: Look(WORDS, 300)})
    assert forecast.pages == pytest.approx(20 * 2 + 20 * 400, rel=0.1)
    assert not forecast.is_counted
    assert forecast.is_unknown("s15")
    assert not forecast.is_unknown("s5")


def test_pages_of_documents_inside_a_file_are_added(clock):
    forecast = Forecast([File("a.zip", "archive", 1000)], clock=clock)
    forecast.opened("a.zip", 3, inside=True)
    forecast.opened("a.zip", 4, inside=True)
    assert forecast.pages == 7
    assert not forecast.is_counted  # there may be more
    for number in range(7):
        forecast.begins(0, "a.zip")
        forecast.came(0, Look(WORDS, 1), number=number, size=1)
    forecast.ended(0, "a.zip")
    assert forecast.is_counted


def test_a_page_that_takes_longer_than_others_does_not_end_the_run(clock):
    forecast = Forecast([File("a", "pdf", 1000, pages=2)], ocr="auto", engine="glyph", clock=clock)
    forecast.looked("a", 2, {1: Look(BLIND, 10, 1.0), 2: Look(BLIND, 10, 1.0)})
    forecast.begins(0, "a")
    clock.now = 60.0
    assert forecast.left() > 10
    before = forecast.left()
    clock.now += 0.1
    assert forecast.left() < before  # it runs down, also where nothing happens


def test_doubtful_pages_are_read_by_ocr_as_often_as_they_were(clock):
    def told(outcome):
        files = [File(str(i), "pdf", 1000) for i in range(20)]
        forecast = Forecast(files, ocr="auto", engine="rapidocr", clock=clock)
        for file in files:
            forecast.looked(file.key, 1, {1: Look(DOUBTFUL, 20)})
        for file in files[:10]:
            forecast.begins(0, file.key)
            clock.now += 5 if outcome == BLIND else 0.05
            forecast.came(0, Look(outcome, 100, 0.9), number=1, size=1)
            forecast.ended(0, file.key)
        return forecast.left()

    assert told(BLIND) > 20
    assert told(DOUBTFUL) < 5


def test_it_is_quick_for_many_files(clock):
    files = [File(str(i), "pdf", 1000 * (i % 999)) for i in range(100_000)]
    forecast = Forecast(files, lanes=4, ocr="auto", engine="glyph")
    assert forecast.left() > 1000
    assert forecast.effort < 2  # it takes .05 s, and is asked the less often the longer it takes
    told = forecast.told
    assert forecast.left() > 1000
    assert forecast.told == told


def test_an_end_is_an_end(clock):
    play = Play([Doc([plain(random.Random(0))] * 3)]).run()
    assert play.forecast.left() == 0
    assert play.forecast.pages == 3
    assert Forecast([]).left() == 0
