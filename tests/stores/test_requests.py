"""What goes to a server of Qdrant: the requests that its documentation describes, and no larger than it takes."""

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import numpy as np
import pytest
from support.listening import listening
from support.pages import add, embed
from support.pages import create as created

from visret import Retriever
from visret.errors import PageIndexError
from visret.stores import _engine, _export, _points, qdrant

pytest.importorskip("qdrant_client", reason="pip install 'visret[qdrant]' for these tests")

ANSWERS = {
    "exists": {"exists": False},
    "scroll": {"points": [], "next_page_offset": None},
    "count": {"count": 3},
    "query": {"points": [{"id": str(_points.MANIFEST), "version": 1, "score": 0.5}]},
    "POST points": [],  # those that were asked for by id
    "PUT pages": True,  # the collection
}
DONE = {"operation_id": 1, "status": "completed"}


@contextmanager
def serving(status=200):
    """A stand-in that answers each request as an empty server would; yields its address and what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do(self):
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            last = self.path.partition("?")[0].rpartition("/")[2]
            asked.append((f"{self.command} {last}", json.loads(body or "null"), len(body)))
            result = ANSWERS.get(f"{self.command} {last}", ANSWERS.get(last, DONE))
            answer = json.dumps({"result": result, "status": "ok", "time": 0.1}).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_POST = do  # noqa: N815, the names that are called

        def log_message(self, *arguments):
            pass

    with listening(Handler) as at:
        yield f"qdrant://127.0.0.1:{at}/pages", asked


def test_an_export_makes_a_collection_and_fills_it(tmp_path, monkeypatch):
    index = created(tmp_path / "index")
    with index.writing() as writer:
        add(writer, "a.pdf", [embed("a.pdf", n, n=100, text="red") for n in range(1, 9)], metadata={"year": 2020})
    size = 100 * (8 + 1) * 4
    monkeypatch.setattr(qdrant.Client, "batch", 3 * size)  # with its summary, no third page
    with serving() as (url, asked):
        assert _export.export(index, qdrant.at(url)).written == 8
    bodies = [(name, body) for name, body, _ in asked]
    made = dict(bodies)["PUT pages"]
    assert made["vectors"]["tokens"]["size"] == 9
    assert made["vectors"]["tokens"]["hnsw_config"] == {"m": 0}
    assert {one["datatype"] for one in made["vectors"].values()} == {"float16"}
    assert {one["multivector_config"]["comparator"] for one in made["vectors"].values()} == {"max_sim"}
    assert made["sparse_vectors"] == {"bm25": {"modifier": "idf"}}
    indexed = {body["field_name"]: body["field_schema"] for name, body in bodies if name == "PUT index"}
    numbers = {f"numbers.{_points.name_of(key)}" for key in ("year", "page")}
    assert indexed == {"where": "keyword", "kind": "keyword"} | dict.fromkeys(numbers, "float")
    manifest, *pages = (body["points"] for name, body in bodies if name == "PUT points")
    assert [len(points) for points in pages] == [2, 2, 2, 2]
    assert manifest[0]["payload"]["model"]["dim"] == 8
    page = pages[0][0]
    assert np.shape(page["vector"]["tokens"]) == (100, 9)
    assert page["id"] == str(_points.id_of("a.pdf", 1))
    assert (page["payload"]["doc"], page["payload"]["text"]) == ("a.pdf", "red")


def test_the_largest_request_is_one_that_a_server_takes():
    """Qdrant takes 32 MB; of JSON, a float32 is at most 25 bytes with its comma, and base64 is 4/3 of the codes."""
    largest = max(qdrant.BATCH, 4 * qdrant.MAX_FLOATS * 33 // 32)
    assert largest == qdrant.BATCH
    assert largest / 4 * (25 + 4 / 3) < 32e6


def test_a_search_asks_for_one_stage_or_two():
    query = np.ones((2, 9), np.float32)
    with serving() as (url, asked):
        engine = qdrant.at(url)
        for first in (0, 20):
            assert engine.query("tokens", query, 5, _points.is_page(), first=first) == [(_points.MANIFEST, 0.5)]
        engine.query("bm25", _engine.Sparse([7], [1.0]), 3, None)
        engine.close()
    exact, staged, words = (body for name, body, _ in asked if name == "POST query")
    assert exact["params"] == {"exact": True}
    assert (exact["using"], exact["limit"], exact["filter"]["must"][0]["key"]) == ("tokens", 5, "kind")
    assert "prefetch" not in exact
    assert (staged["prefetch"]["using"], staged["prefetch"]["limit"]) == ("summary", 20)
    assert staged["prefetch"]["filter"] == staged["filter"] == exact["filter"]
    assert words["query"]["nearest"] == {"indices": [7], "values": [1.0]}


def test_what_a_server_refuses_is_told():
    with serving(status=403) as (url, _), pytest.raises(PageIndexError, match=r"refuses.*403"):
        qdrant.at(url).exists()


def test_a_server_that_does_not_answer_is_named():
    with pytest.raises(PageIndexError, match="does not answer"):
        Retriever.open("qdrant://127.0.0.1:1/pages")
