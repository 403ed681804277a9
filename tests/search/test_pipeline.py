"""Ranking and explaining are two steps: both give what they gave together, and ranks alone cost no look at a page."""

import pytest
from PIL import Image
from support.word_model import WORDS, Words

from visret import Page, Retriever, evaluate, load_encoder
from visret.codec import CODECS
from visret.explain import attribution
from visret.index import Segment
from visret.retriever import pipeline_of


def page(number):
    """A page of four lines of two words."""
    words = [WORDS[(number * 3 + i * i) % 8] for i in range(8)]
    if number % 2:
        lines = [" ".join(words[at : at + 2]) for at in range(0, 8, 2)]
        return Page.from_text("\n".join(lines), doc=f"{number}.txt")
    boxes = [(i % 2 * 0.5, i // 2 * 0.25, i % 2 * 0.5 + 0.4, i // 2 * 0.25 + 0.2) for i in range(8)]
    placed = list(zip(words, boxes, strict=True))
    made = Page.from_image(Image.new("RGB", (80, 80), "white"), doc=f"{number}.png", words=placed)
    lines = [type(word)(word.text, word.box, (), i // 2) for i, word in enumerate(made.words)]
    return Page(made.ref, made.size_pt, made.image, tuple(lines))


@pytest.fixture(params=CODECS)
def retriever(request, tmp_path):
    with Retriever.create(tmp_path / "i.visret", model=Words(), codec=request.param) as made:
        made.add_pages(map(page, range(8)), metadata={"shelf": "a"})
        made.add_pages(map(page, range(8, 12)))
        yield made


QUESTIONS = ["red", "grey pink", "brown black white"]


def test_hits_say_the_same_with_explanations_and_without(retriever):
    for question in QUESTIONS:
        hits = retriever.search(question)
        (explained,) = retriever.explained([question])
        assert hits == [hit for hit, _ in explained]
        assert [hit.text for hit in hits] == [why.line for _, why in explained]
        assert all(hit.text for hit in hits)


def test_who_asks_for_ranks_pays_for_ranks(retriever, monkeypatch):
    explained = retriever.search_many(QUESTIONS, k=5)

    def look(*_):
        raise AssertionError("nobody asked for an explanation")

    for name in ("page", "matches", "placed_text"):
        monkeypatch.setattr(Segment, name, look)
    ranked = retriever.search_many(QUESTIONS, k=5, explain=False)
    for full, bare in zip(explained, ranked, strict=True):
        assert [(h.ref, h.score, h.rank, h.source, h.metadata) for h in bare] == [
            (h.ref, h.score, h.rank, h.source, h.metadata) for h in full
        ]
        assert {(hit.text, hit.weak) for hit in bare} == {("", False)}
    assert retriever.search("red", explain=False) == retriever.search_many(["red"], explain=False)[0]
    right = {question: [hits[0].ref] for question, hits in zip(QUESTIONS, explained, strict=True)}
    assert evaluate.run(retriever, right).ndcg == 1
    with pytest.raises(AssertionError, match="nobody asked"):
        retriever.search("red")


def test_a_hit_needs_no_decoded_page(retriever, monkeypatch):
    """Nor what only a picture needs."""
    expected = retriever.search("grey pink")

    def whole(*_):
        raise AssertionError("a whole page was decoded")

    monkeypatch.setattr(Segment, "page", whole)
    monkeypatch.setattr(attribution, "explain", whole)
    assert retriever.search("grey pink") == expected


def test_a_question_is_encoded_once(retriever):
    retriever.encoder.encoded = 0
    for explained in retriever.explained(QUESTIONS, k=7):
        assert len(explained) == 7
    retriever.search_many(QUESTIONS, k=7)
    assert retriever.encoder.encoded == 2 * len(QUESTIONS)


def test_weak_are_those_far_below_the_best(retriever):
    hits = retriever.search("grey", k=12)
    (explained,) = retriever.explained(["grey"], k=12)
    answers = [float(why.values[1]) for _, why in explained]
    assert {hit.weak for hit in hits} == {False, True}
    for hit, answer in zip(hits, answers, strict=True):
        assert hit.weak == (answer < max(0.2, 0.8 * answers[0]))


def test_keys_name_pages_whatever_becomes_of_their_segments(retriever):
    def keys(question):
        ((_, ranking),) = pipeline_of(retriever).rank([question], 12)
        return ranking.keys.tolist()

    before = keys("red")
    snapshot = pipeline_of(retriever).snapshot
    assert [snapshot.ref(*snapshot.locate(key)) for key in before] == [hit.ref for hit in retriever.search("red", 12)]
    gone = retriever.search("red")[3]
    retriever.remove(gone.doc)
    retriever.compact()
    assert keys("red") == [key for number, key in enumerate(before) if number != 3]
    with pytest.raises(KeyError):
        pipeline_of(retriever).snapshot.locate(before[3])


def test_nothing_is_loaded_for_a_filter_that_cannot_be_answered(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as made:
        made.add_pages([Page.from_image(Image.new("RGB", (64, 64), "red"), doc="a.png")])
    with Retriever.open(tmp_path / "i.visret") as opened:
        with pytest.raises(Exception, match="no page has metadata 'year'"):
            opened.search("red", where={"year": 1})
        assert opened._loaded is None
        assert opened.search("red", explain=False)[0].doc == "a.png"
        assert opened.encoder.spec == load_encoder("toy").spec
