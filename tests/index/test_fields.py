"""A segment may lack a field: what works without it works, and what needs it says what adds it."""

import numpy as np
import pytest
from support.pages import FLOATS, MODEL, add, embed, without

from visret import Retriever
from visret.errors import PageIndexError
from visret.index import PageIndex, fields
from visret.search import late_interaction
from visret.types import Question

PAGES = [embed(page=number, n=6, text=f"page {number}") for number in range(1, 9)]


@pytest.fixture
def path(tmp_path):
    """An index of two segments."""
    with PageIndex.create(tmp_path / "i", model=MODEL, storage=FLOATS) as index, index.writing() as writer:
        add(writer, "a.pdf", PAGES)
        writer.commit()
        add(writer, "b.pdf", [embed("b.pdf", n=5)])
    return tmp_path / "i"


def ranked(path):
    with PageIndex.open(path) as index:
        scorer = late_interaction.LateInteraction(index.snapshot)
        query = type("Query", (), {"vectors": PAGES[2].vectors[:3]})()
        (ranking,) = scorer.rank([Question("", {"late": query})], 9, index.snapshot.select())
        return scorer.has_first_stage, ranking.keys.tolist(), ranking.scores.tolist()


def test_without_summaries_every_page_is_scanned_until_they_are_made(path, monkeypatch):
    monkeypatch.setattr(late_interaction, "EXACT_UP_TO", 0)
    first_stage, *before = ranked(path)
    with PageIndex.open(path) as index:
        summaries = {s.number: s.stored(fields.SUMMARIES).codes.copy() for s in index.snapshot.segments}
    without(path, 1, "summaries")
    assert first_stage
    assert ranked(path) == (False, *before)
    with PageIndex.open(path) as index:
        assert index.verify() == []
        assert [text.split(":")[0] for text in index.stats().lacks] == ["8 pages have no summaries"]
        assert "visret compact makes them" in index.stats().lacks[0]
        index.compact()
        assert index.stats().lacks == []
        assert index.verify() == []
        (segment,) = index.snapshot.segments
        np.testing.assert_array_equal(segment.stored(fields.SUMMARIES).codes, np.concatenate(list(summaries.values())))
    assert ranked(path)[1][0] == before[0][0]


def test_one_segment_without_summaries_is_written_again(tmp_path):
    with PageIndex.create(tmp_path / "i", model=MODEL) as index, index.writing() as writer:
        add(writer, "a.pdf", PAGES)
    without(tmp_path / "i", 1, "summaries")
    with PageIndex.open(tmp_path / "i") as index:
        index.compact()
        assert index.stats().lacks == []
        assert [segment.number for segment in index.snapshot.segments] == [2]


def test_what_needs_vectors_says_what_brings_them(path):
    without(path, 1, "vectors")
    with PageIndex.open(path) as index:
        assert index.verify() == []
        for needs in (lambda: index.embedding(("a.pdf", 1)), lambda: ranked(path)):
            with pytest.raises(
                PageIndexError, match="segment 1 has no vectors: visret reindex --model NAME reads and encodes"
            ):
                needs()
        assert index.embedding(("b.pdf", 1)).text == ""
        assert index.snapshot.segment(1).text(2) == "page 3"
        index.compact()  # of what is left nothing is lost, and segments that differ do not meet
        assert [len(segment) for segment in index.snapshot.segments] == [8, 1]


def test_info_says_what_is_lacking(tmp_path, path, capsys):
    from visret.cli import main

    colours = tmp_path / "colours"
    Retriever.create(colours, model="toy").close()
    assert Retriever.open(colours).info()["lacks"] == []
    assert main(["info", str(colours)]) == 0
    assert "lacks" in capsys.readouterr().out


def test_every_field_packs_a_page_or_its_vectors_or_its_text():
    for field in fields.FIELDS:
        packs = (field.pack, field.pack_vectors, field.pack_text)
        assert [made is None for made in packs].count(False) == 1, field.name
        assert (field.gather is None) == (field.pack_text is None), field.name
        assert bool(field.rows) == (field.pack_vectors is not None), field.name
    assert len(set(fields.FILES)) == len(fields.FILES)
