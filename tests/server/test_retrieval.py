"""What chat tools ask for, by the schemas of their documents, and the reference of the HTTP API."""

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from visret import Page, Retriever
from visret.server import app
from visret.server.guard import Rules


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retrieval")
    (folder / "rules for all.txt").write_text("Unpaid loans are called after ninety days.")
    with Retriever.create(folder / "i.visret", model="none") as made:
        made.add(folder / "rules for all.txt", metadata={"year": 2024, "kind": "rule"})
        word = ("loans", (0.1, 0.1, 0.5, 0.2))
        made.add_pages([Page.from_image(Image.new("RGB", (40, 40)), doc="scan", words=[word])], metadata={"year": 1999})
    with TestClient(app.build(folder / "i.visret", Rules(rate=0), ui=False), base_url="http://localhost") as made:
        yield made


def dify(client, **more):
    asked = {"knowledge_id": "any", "query": "unpaid loans", "retrieval_setting": {"top_k": 3, "score_threshold": 0.0}}
    return client.post("/retrieval", json={**asked, **more})


def test_dify_gets_records(client):
    """The schema of its external knowledge API: content, score, title, and metadata, which are an object."""
    (first, second) = dify(client).json()["records"]
    assert set(first) == {"content", "score", "title", "metadata"}
    assert (first["content"], first["title"]) == ("Unpaid loans are called after ninety days.", "rules for all.txt")
    assert first["metadata"] == {"year": 2024, "kind": "rule", "doc": "rules for all.txt", "page": 1}
    assert 0 <= second["score"] <= first["score"] <= 1
    assert dify(client, query="nothing").json() == {"records": []}
    assert len(dify(client, retrieval_setting={"top_k": 1, "score_threshold": 0}).json()["records"]) == 1


@pytest.mark.parametrize(
    ("operator", "value", "titles"),
    [
        ("is", 2024, ["rules for all.txt"]),
        ("≠", 2024, ["scan"]),
        ("in", [1999, 2024], ["rules for all.txt", "scan"]),
        ("not in", [1999], ["rules for all.txt"]),
        ("≥", 2000, ["rules for all.txt"]),
        ("before", 2000, ["scan"]),
    ],
)
def test_the_conditions_of_dify_are_filters(client, operator, value, titles):
    condition = {"name": "year", "comparison_operator": operator, "value": value}
    answer = dify(client, metadata_condition={"logical_operator": "and", "conditions": [condition]})
    assert [one["title"] for one in answer.json()["records"]] == titles


def test_a_condition_that_no_filter_has_is_refused(client):
    condition = {"name": "kind", "comparison_operator": "start with", "value": "r"}
    answer = dify(client, metadata_condition={"conditions": [condition]})
    assert (answer.status_code, "start with" in answer.json()["detail"]) == (400, True)


def test_open_webui_gets_links(client):
    """Its SearchResult has a link, a title and a snippet; the link leads to the page."""
    results = client.post("/open-webui", json={"query": "unpaid loans", "count": 2}).json()
    assert [set(one) for one in results] == [{"link", "title", "snippet"}] * 2
    assert results[0]["link"].startswith("http://localhost/document/rules%20for%20all.txt#page=1")
    assert results[0]["title"] == "rules for all.txt, page 1"
    assert "ninety days" in results[0]["snippet"]
    assert client.get(results[0]["link"]).text == "Unpaid loans are called after ninety days."
    assert client.get(results[1]["link"]).headers["content-type"] == "image/png"


def test_passages_and_texts(client):
    (hit, *_) = client.post("/passages", json={"question": "unpaid loans"}).json()["hits"]
    assert hit["passage"]["text"] == "Unpaid loans are called after ninety days."
    assert client.post("/passages", json={"question": "loans", "of_pages": 3}).status_code == 422
    told = client.get("/text/scan/1.json").json()
    assert (told["text"], told["words"][0]["box"]) == ("loans", pytest.approx([0.1, 0.1, 0.5, 0.2]))
    assert len(told["size_pt"]) == 2
    plain = client.get("/text/rules for all.txt/1.json").json()
    assert (plain["size_pt"], plain["words"]) == (None, None)
    assert client.get("/text/none/1.json").status_code == 404


def test_the_schema_says_how_a_key_is_sent(client):
    schema = client.get("/openapi.json").json()
    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert schema["security"] == [{"key": []}, {}]
    assert schema["paths"]["/health"]["get"]["security"][0] == {}
    pytest.importorskip("openapi_spec_validator", reason="needs openapi-spec-validator").validate(schema)


def test_the_reference_names_every_route_and_loads_nothing(client):
    answer = client.get("/docs")
    for path in client.get("/openapi.json").json()["paths"]:
        assert f" {path}</code>" in answer.text
    assert "<code>score_threshold" not in answer.text
    assert "<code>retrieval_setting</code>" in answer.text
    assert not {"<script", "<link", "<img", "http://", "https://"} & {*answer.text.replace("<", " <").split()}
    assert "src=" not in answer.text
    assert "script-src" not in answer.headers["content-security-policy"]
