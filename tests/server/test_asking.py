"""What a question may ask for over HTTP and MCP: the words of `Retriever.search`, and nothing of the operator's."""

import asyncio
import json
import socket
from functools import partial

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from support.judge import Judge

from visret import Page, Retriever
from visret.errors import InvalidArgument, WeightsError
from visret.search import rerank
from visret.search.rerank import Rerankers
from visret.server import api, app
from visret.server.guard import Rules

OFFERED = app.offered
COLOURS = {"red": 0.2, "green": 0.9, "blue": 0.6, "yellow": 0.4}


@pytest.fixture(scope="module")
def loaded():
    """The names of the rerankers that were loaded."""
    names = []
    with pytest.MonkeyPatch.context() as patch:
        judge = Judge(COLOURS, options={"weak_below": 0.5})
        patch.setattr(rerank, "load_reranker", lambda name: names.append(name) or judge)
        yield names


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("asking") / "i.visret"
    with Retriever.create(folder, model="toy") as made:
        word = (0.1, 0.1, 0.5, 0.2)
        made.add_pages(
            [Page.from_image(Image.new("RGB", (40, 40), name), doc=name, words=[(name, word)]) for name in COLOURS],
            ocr="never",
        )
    return folder


@pytest.fixture(scope="module")
def client(index, loaded):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "offered", lambda names: Rerankers({name: f"/models/{name}" for name in names}))
        built = app.build(index, Rules(rate=0), ui=False, rerank=["judge"])
        with TestClient(built, base_url="http://localhost") as made:
            yield made


def found(client, **asked):
    answer = client.post("/search", json={"question": "red", **asked})
    assert answer.status_code == 200, answer.text
    return answer.json()


def docs(answer):
    return [hit["doc"] for hit in answer["hits"]]


def test_what_the_operator_offers_reads_pages_again(client, index, loaded):
    assert client.get("/health").json()["rerankers"] == ["judge"]
    answer = found(client, rerank="judge")
    assert docs(answer) == ["green", "blue", "yellow", "red"]
    assert [hit["weak"] for hit in answer["hits"]] == [False, False, True, True]
    assert loaded == ["/models/judge"]
    with Retriever.open(index) as alone:
        for asked in ({}, {"depth": 2}, {"k": 2, "depth": 3, "weak": False}, {"offset": 1, "min_score": 0.4}):
            hits = alone.search("red", rerank=Judge(COLOURS, options={"weak_below": 0.5}), **asked)
            assert docs(found(client, rerank="judge", **asked)) == [hit.doc for hit in hits]


def test_a_page_that_was_not_scored_is_null_and_said(client):
    hits = found(client, rerank="judge", depth=1, k=2)["hits"]
    assert [(hit["score"], hit["unscored"]) for hit in hits] == [(pytest.approx(0.2), False), (None, True)]
    schema = client.get("/openapi.json").json()["components"]["schemas"]["Found"]
    assert {"type": "null"} in schema["properties"]["score"]["anyOf"]
    assert {"score", "unscored", "relevance"} <= {*schema["required"]}
    assert "unscored is true" in " ".join(schema["description"].split())


def test_nothing_that_was_not_offered_is_loaded(client, loaded, monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("somebody was called"))
    before = list(loaded)
    for name in ("BAAI/bge-reranker-v2-m3", "/models/judge", "../judge", "x" * 500):
        answer = client.post("/search", json={"question": "red", "rerank": name})
        assert answer.status_code == 400
        said = answer.json()["detail"]
        assert said == f"this server does not offer the reranker {name[:80]!r}; it offers judge"
    assert loaded == before


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"depth": 3}, 400),
        ({"seconds": 3}, 400),
        ({"rerank": "judge", "depth": api.MAX_DEPTH + 1}, 422),
        ({"rerank": "judge", "seconds": api.MAX_SECONDS + 1}, 422),
        ({"rerank": "judge", "seconds": 0}, 422),
        ({"min_score": 2}, 422),
        ({"min_score": 0.5}, 400),  # nothing is known of the scores of `toy`
        ({"by": "guess"}, 400),
    ],
)
def test_what_makes_no_sense_is_refused(client, asked, status):
    assert client.post("/search", json={"question": "red", **asked}).status_code == status


def test_every_way_of_ranking_can_be_asked_for(client, index):
    with Retriever.open(index) as alone:
        for by in ("late", "maxsim", "bm25", "dense", "hybrid", "cascade"):
            answer = found(client, by=by)
            (expected,) = alone.explained(["red"], by=by)
            assert docs(answer) == [hit.doc for hit, _ in expected]
            assert [hit["about"] for hit in answer["hits"]] == [why.about for _, why in expected]


def test_pages_like_another_are_found(client, index):
    with Retriever.open(index) as alone:
        expected = alone.search_like(("red", 1))
    answer = client.post("/like", json={"doc": "red"}).json()
    assert [(hit["doc"], hit["score"]) for hit in answer["hits"]] == [(hit.doc, hit.score) for hit in expected]
    assert docs(client.post("/like", json={"doc": "red", "page": 1, "k": 1, "offset": 1}).json()) == [expected[1].doc]
    for wrong, status in (
        ({"doc": "mauve"}, 404),
        ({"doc": "red", "page": 2}, 404),
        ({}, 400),
        ({"doc": "red", "text": "red"}, 400),
        ({"text": "red"}, 400),  # `toy` looks at pictures
        ({"doc": "red", "like": 1}, 422),
        ({"doc": "red", "page": 0}, 422),
    ):
        assert client.post("/like", json=wrong).status_code == status, wrong


@pytest.mark.heavy
def test_the_tools_take_the_same_words(index, loaded):
    """Over MCP itself, without HTTP between."""
    from mcp import Client

    from visret.server import tools

    asked = []

    class Noted(api.Library):
        async def search(self, question):
            asked.append(question)
            return await super().search(question)

    async def talk(library):
        async with Client(tools.server(library)) as client:
            described = {tool.name: tool.description for tool in (await client.list_tools()).tools}
            assert sorted(described) == ["find_passages", "pages_like", "read_page", "search_pages", "show_place"]
            assert described["search_pages"].endswith("rerank takes judge.")
            call = partial(client.call_tool, "search_pages")
            again = await call({"question": "red", "rerank": "judge", "depth": 2, "weak": False})
            wanted = {"question": "red", "by": "hybrid", "offset": 1, "group_by": "document", "neighbours": 1}
            await call(wanted)
            other = await call({"question": "red", "rerank": "BAAI/bge-reranker-v2-m3"})
            fused = await call({"question": "red", "by": {"weights": {"late": 1, "bm25": 1}, "fusion": "rank"}})
            assert fused.structured_content["pages"][0]["score"] == pytest.approx(2 / 61)
            like = await client.call_tool("pages_like", {"doc": "red", "page": 1, "k": 2})
            wrong = await client.call_tool("pages_like", {"doc": "mauve", "page": 1})
            return again, other, like, wrong

    with Retriever.open(index) as retriever:
        library = Noted(retriever, most_pages=1, rerankers=Rerankers({"judge": "/models/judge"}))
        again, other, like, wrong = asyncio.run(talk(library))
        nearest = [hit.doc for hit in retriever.search_like(("red", 1), 2)]
        library.close()
    pages = again.structured_content["pages"]
    assert json.dumps(pages, allow_nan=False)
    assert other.is_error
    assert "does not offer" in other.content[0].text
    assert wrong.is_error
    assert [page["doc"] for page in like.structured_content["pages"]] == nearest
    assert (asked[1].by, asked[1].offset, asked[1].group_by, asked[1].neighbours) == ("hybrid", 1, "document", 1)
    assert (asked[0].rerank, asked[0].depth, asked[0].weak) == ("judge", 2, False)


def test_the_operator_is_told_at_the_start_what_cannot_be_offered():
    with pytest.raises(InvalidArgument, match="--rerank: toy is no reranker"):
        OFFERED(["toy"])
    with pytest.raises(WeightsError, match="weights of BAAI/bge-reranker-v2-m3 are not on this machine; `visret mod"):
        OFFERED(["BAAI/bge-reranker-v2-m3"])
    assert OFFERED([]).names == []
