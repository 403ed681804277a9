"""Ways of ranking by name: what searches by another one gets its ranking, and hits are explained where they can be."""

import sys
import types

import numpy as np
import pytest

from visret import Page, Retriever, choices
from visret.errors import InvalidArgument
from visret.search import plans, scorers
from visret.types import Ranking


class Backwards:
    """Ranks the pages that come last first, and cannot tell why."""

    name = "backwards"

    def __init__(self, snapshot):
        self.snapshot = snapshot

    def rank(self, questions, k, among, *, exact=False):
        keys = np.concatenate([self.snapshot.keys(np.full(len(rows), n), rows) for n, rows in among.rows.items()])
        order = np.sort(keys)[::-1][:k]
        return [Ranking(order, np.arange(len(order), 0, -1, dtype=np.float32)) for _ in questions]

    def explain(self, question, key):
        return None


@pytest.fixture
def retriever(tmp_path, monkeypatch):
    """Three pages, and "backwards" in the table of scorers, which counts in `opened` how often it is opened."""
    module = types.ModuleType("backwards")
    module.count = 0

    def opened(snapshot, *, device, before):
        module.count += 1
        return Backwards(snapshot)

    module.opened = opened
    monkeypatch.setitem(sys.modules, "backwards", module)
    monkeypatch.setitem(scorers.SCORERS, "backwards", "backwards")
    with Retriever.create(tmp_path / "i", model="toy") as made:
        made.add_pages([Page.from_image(picture(colour), doc=colour) for colour in ("red", "green", "blue")])
        made.opened = lambda: module.count
        yield made


def picture(colour):
    from PIL import Image

    return Image.new("RGB", (80, 80), colour)


def test_a_search_by_another_scorer_has_its_ranking(retriever):
    assert retriever.search("red", k=2)[0].doc == "red"
    assert [(hit.doc, hit.score) for hit in retriever.search("red", k=2, by="backwards")] == [("blue", 3), ("green", 2)]
    assert [hit.doc for hit in retriever.search("red", where={"doc": ["red"]}, by="backwards")] == ["red"]


def test_a_scorer_is_opened_once_a_state(retriever):
    for _ in range(3):
        retriever.search("red", by="backwards")
    assert retriever.opened() == 1
    retriever.add_pages([Page.from_image(picture("yellow"), doc="yellow")])
    assert retriever.search("red", k=1, by="backwards")[0].doc == "yellow"
    assert retriever.opened() == 2


def test_an_unknown_way_of_ranking_is_refused(retriever):
    with pytest.raises(InvalidArgument, match=r"ranked by 'late' or 'maxsim' or .* or 'backwards', not by 'bm52'"):
        retriever.search("red", by="bm52")


def test_every_way_has_a_name_for_the_command():
    assert set(choices.WAYS) == {*scorers.SCORERS, *plans.PLANS}
