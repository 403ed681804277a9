"""The part of a ranking that a search returns: each is a piece of the whole ranking, and no fixed depth cuts it off."""

import pytest
from PIL import Image
from support.word_model import Words

from visret import Page, PageRef, Retriever
from visret.errors import InvalidArgument
from visret.search.plans import Plan
from visret.search.ranking import relevance

LONG = 40  # pages of the document that is best; more than any first depth below


@pytest.fixture(scope="module")
def retriever(tmp_path_factory):
    """One long document in which every page is about red, and short ones that are less and less so."""
    with Retriever.create(tmp_path_factory.mktemp("part") / "i.visret", model=Words()) as made:
        pages = [Page.from_text(" ".join(["red"] + ["grey"] * (n % 5)), doc="long", page=n + 1) for n in range(LONG)]
        for n, words in enumerate(["green red", "pink pink", "blue white", "black"]):
            pages += [Page.from_text(f"{words} brown", doc=f"short {n}", page=page) for page in (1, 2, 4)]
        made.add_pages(pages, metadata={"shelf": "a"})
        made.add_pages([Page.from_text("white grey", doc="other", page=1)], metadata={"shelf": "b"})
        yield made


WAYS = [None, "maxsim", "bm25", Plan({"late": 0.5, "bm25": 0.5})]


@pytest.mark.parametrize("by", WAYS, ids=str)
@pytest.mark.parametrize("explain", [True, False])
def test_pages_from_a_rank_on_are_those_of_the_whole_ranking(retriever, by, explain):
    for question in ("red", "white brown"):
        whole = retriever.search(question, k=30, by=by, explain=explain)
        for offset in (0, 1, 7, 25):
            assert retriever.search(question, k=5, offset=offset, by=by, explain=explain) == whole[offset : offset + 5]
    assert retriever.search("red", offset=1000, by=by, explain=explain) == []


def test_explanations_begin_at_the_same_rank(retriever):
    (whole,) = retriever.explained(["red"], k=9)
    (rest,) = retriever.explained(["red"], k=4, offset=5)
    assert [hit for hit, _ in rest] == [hit for hit, _ in whole[5:]]
    assert [hit.rank for hit, _ in rest] == [6, 7, 8, 9]
    assert list(retriever.explained(["red"], offset=1000)) == [[]]


@pytest.mark.parametrize("by", WAYS, ids=str)
@pytest.mark.parametrize("question", ["red", "pink grey", "white"])
def test_documents_are_found_by_their_best_pages(retriever, by, question):
    best = {}
    for hit in retriever.search(question, k=1000, by=by):
        best.setdefault(hit.doc, hit)
    for k, offset in ((1, 0), (3, 0), (3, 1), (10, 0)):
        hits = retriever.search(question, k=k, offset=offset, by=by, group_by="document")
        expected = list(best.values())[offset : offset + k]
        if not isinstance(by, Plan):  # whose scores, and so order, depend on how many pages are ranked
            assert [hit.ref for hit in hits] == [hit.ref for hit in expected]
            assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected])
        assert len({hit.doc for hit in hits}) == len(hits) == len(expected)
        assert [hit.rank for hit in hits] == list(range(offset + 1, offset + len(hits) + 1))


def test_documents_among_some_pages(retriever):
    among = [("long", 3), ("long", 1), ("short 1", 2)]
    assert [hit.doc for hit in retriever.search("red", among=among, group_by="document")] == ["long", "short 1"]
    assert [hit.doc for hit in retriever.search("red", where={"shelf": "b"}, group_by="document")] == ["other"]


def test_neighbours_follow_their_hit(retriever):
    alone = retriever.search("pink", k=1, among="short 1")
    hits = retriever.search("pink", k=1, among="short 1", neighbours=1)
    assert hits[:1] == alone
    there = [page for page in (hits[0].page - 1, hits[0].page + 1) if page in retriever.document("short 1").pages]
    assert [hit.ref for hit in hits[1:]] == [PageRef("short 1", page) for page in there]
    assert there  # or nothing was tested
    for hit in hits[1:]:
        assert (hit.neighbour_of, hit.rank, hit.score, hit.text, hit.weak) == (1, 0, 0, "", False)
        assert hit.metadata == {"shelf": "a"}
    assert [hit.page for hit in retriever.search("pink", k=1, among="short 1", neighbours=9)[1:]] == [
        page for page in (1, 2, 4) if page != hits[0].page
    ]


def test_a_page_comes_once(retriever):
    hits = retriever.search("red", k=12, neighbours=3)
    assert len({hit.ref for hit in hits}) == len(hits) > 12
    assert [hit for hit in hits if hit.rank] == retriever.search("red", k=12)
    for place, hit in enumerate(hits):
        if hit.neighbour_of:
            beside = next(one for one in reversed(hits[:place]) if one.rank)
            assert beside.rank == hit.neighbour_of
            assert beside.doc == hit.doc
            assert abs(beside.page - hit.page) <= 3
    (explained,) = retriever.explained(["red"], k=12, neighbours=3)
    assert [hit for hit, _ in explained] == hits
    assert [why.embedding.ref for _, why in explained] == [hit.ref for hit in hits]


def test_neighbours_pass_the_filter(retriever):
    hits = retriever.search("pink", k=1, neighbours=3, where={"doc": "short 1", "page": [1, 4]})
    assert sorted(hit.page for hit in hits) == [1, 4]


def test_weak_hits_are_left_out(retriever):
    hits = retriever.search("grey", k=50)
    strong = [hit for hit in hits if not hit.weak]
    assert 0 < len(strong) < len(hits)
    assert retriever.search("grey", k=50, weak=False) == strong
    (explained,) = retriever.explained(["grey"], k=50, weak=False)
    assert [hit for hit, _ in explained] == strong
    # A weak page that stands beside a strong one comes as its neighbour.
    around = retriever.search("grey", k=50, weak=False, neighbours=1)
    assert {hit.ref for hit in around if hit.neighbour_of} & {hit.ref for hit in hits if hit.weak}


@pytest.mark.parametrize("by", WAYS, ids=str)
def test_hits_of_less_relevance_are_left_out(retriever, by):
    hits = retriever.search("grey blue", k=50, by=by)
    known = sorted({hit.relevance for hit in hits})
    assert len(known) > 1
    for least in (0, known[1], known[-1], 1):
        kept = [hit for hit in hits if hit.relevance >= least]
        assert retriever.search("grey blue", k=50, by=by, min_score=least) == kept
        (explained,) = retriever.explained(["grey blue"], k=50, by=by, min_score=least)
        assert [hit.ref for hit, _ in explained] == [hit.ref for hit in kept]
    assert all(hit.weak for hit in hits if hit.relevance < 0.5)


def test_relevance_is_half_at_the_line_and_one_at_a_perfect_match():
    assert [relevance(value, 0.4) for value in (-0.5, 0, 0.2, 0.4, 0.7, 1, 2)] == [0, 0, 0.25, 0.5, 0.75, 1, 1]


def test_a_model_without_a_line_has_no_relevance_to_compare(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as other:
        other.add_pages([Page.from_image(Image.new("RGB", (40, 40), "red"), doc="red")])
        assert other.search("red")[0].relevance is None
        with pytest.raises(InvalidArgument, match="min_score needs a model whose scores have a line"):
            other.search("red", min_score=0.5)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"offset": -1}, "offset must be a whole number, at least 0"),
        ({"neighbours": 0.5}, "neighbours must be a whole number, at least 0"),
        ({"group_by": "doc"}, "group_by is 'document' or None"),
        ({"weak": None}, "weak is True or False"),
        ({"weak": False, "explain": False}, "weak=False and min_score need a look at each page"),
        ({"min_score": 0.5, "explain": False}, "weak=False and min_score need a look at each page"),
        ({"min_score": 1.5}, "min_score is a number from 0 to 1"),
        ({"min_score": "high"}, "min_score is a number from 0 to 1"),
        ({"min_score": float("nan")}, "min_score is a number from 0 to 1"),
        ({"k": 0}, "k must be a whole number, at least 1"),
    ],
)
def test_what_makes_no_sense_is_refused(retriever, wrong, reason):
    with pytest.raises(InvalidArgument, match=reason):
        retriever.search("red", **wrong)
