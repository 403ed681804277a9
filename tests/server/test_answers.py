"""What is answered over HTTP: text of any kind, errors in words, heads and ETags, and the schema that says so."""

import json
import os
import sys
import threading

import pytest
import uvicorn
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import data, sampled_from
from support.sheets import write_pdf
from support.waiting import until

from visret import Page, Retriever, cli
from visret.errors import DocumentError, IndexFormatError, IndexLocked, MissingExtra, WeightsError
from visret.ingest import stored
from visret.retriever import sendable
from visret.server import answers, app
from visret.server.guard import Rules

BYTES = pytest.mark.skipif(sys.platform != "linux", reason="file systems there take no name that is not Unicode")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    """Papers, one of them unreadable, plain text, and pages with nothing on them."""
    folder = tmp_path_factory.mktemp("answers")
    write_pdf(folder / "papers" / "one.pdf", "red", "blue")
    (folder / "papers" / "no.pdf").write_bytes(b"no")
    with Retriever.create(folder / "i.visret", model="toy") as retriever:
        retriever.add(folder / "papers", metadata={"title": "half a \ud83d"})
        retriever.add_pages(Page.from_text(" ", doc="blank", page=page) for page in range(1, 300))
        if sys.platform == "linux":
            os.rename(write_pdf(folder / "x.pdf", "green"), os.fsencode(folder) + b"/caf\xe9\n.pdf")  # noqa: PTH104
            os.rename(write_pdf(folder / "x.pdf", "cyan"), os.fsencode(folder) + b"/bad\xe9.pdf")  # noqa: PTH104
            retriever.add([os.fsdecode(os.fsencode(folder) + b"/caf\xe9\n.pdf")])
    return folder / "i.visret"


@pytest.fixture(scope="module")
def client(index):
    with TestClient(
        app.build(index, Rules(rate=0), ui=False), base_url="http://localhost", raise_server_exceptions=False
    ) as made:
        yield made


@BYTES
def test_names_that_are_not_unicode_are_answered_and_have_an_address(client, index, capsys):
    green = client.post("/search", json={"question": "green", "k": 1}).json()["hits"][0]
    assert green["doc"] == "caf?\n.pdf"
    assert green["source"].endswith("/caf?\n.pdf")
    assert client.get("/documents").json()["documents"][0]["metadata"] == {"title": "half a ?"}
    for name in ("caf%E9%0A.pdf", "caf%3F%0A.pdf"):
        assert client.get(f"/document/{name}").content.startswith(b"%PDF")
        assert client.get(f"/page/{name}/1.png").headers["content-type"] == "image/png"
        assert client.get(f"/highlight/{name}/1.png?q=green").status_code == 200
    assert client.get("/document/caf%E8%0A.pdf").status_code == 404  # another file, if there were one
    assert client.delete("/documents/%FF").status_code == 404
    assert cli.main(["search", str(index), "green", "-k1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.encode())["hits"][0]["source"].encode().endswith(b"/caf?\n.pdf")


def test_a_part_of_the_ranking_is_asked_for(client):
    def found(**asked):
        answer = client.post("/search", json={"question": "red", **asked})
        assert answer.status_code == 200
        return [(hit["rank"], hit["doc"], hit["page"], hit["neighbour_of"]) for hit in answer.json()["hits"]]

    whole = found()
    assert len(whole) > 1
    assert found(offset=1) == whole[1:]
    assert found(offset=1, k=1) == whole[1:2]
    assert len(found(group_by="document")) == len({doc for _, doc, *_ in whole})
    assert found(k=1, neighbours=1)[0] == whole[0]
    assert set(found(weak=False)) <= set(whole)
    for wrong in ({"offset": -1}, {"offset": 10**9}, {"group_by": "page"}, {"neighbours": 100}, {"weak": "maybe"}):
        assert client.post("/search", json={"question": "red", **wrong}).status_code == 422


def test_values_are_made_sendable_and_nothing_else_is_changed():
    assert sendable({"a\udcff": ["\ud800b", 1, 2.5, None, True]}) == {"a?": ["?b", 1, 2.5, None, True]}
    assert sendable("\U0001f600 é") == "\U0001f600 é"


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (IndexLocked("/srv/secret/i", "is being written"), 409, "the index is being written"),
        (IndexFormatError("/srv/secret/i", "is damaged"), 500, "the index is damaged"),
        (
            DocumentError("/srv/a secret/a.pdf", "no '/srv/a secret/b.pdf'", page=2),
            410,
            "a.pdf, page 2: no 'b.pdf'",
        ),
        (WeightsError("/srv/secret/model: no weights; and/or fetch them"), 500, "model: no weights; and/or fetch them"),
        (MissingExtra("needs x: pip install x"), 501, "needs x: pip install x"),
        (OSError("/srv/secret/a"), 500, "the server failed; its output says why"),
    ],
)
def test_no_error_tells_where_on_this_machine_it_happened(client, monkeypatch, error, status, said):
    def fail(*_):
        raise error

    monkeypatch.setattr(Retriever, "unread_counts", fail)
    answer = client.get("/unread")
    assert (answer.status_code, answer.json()) == (status, {"detail": said})


@pytest.mark.parametrize("path", [r"C:\srv\a b\x.pdf", r"C:\\srv\\a b\\x.pdf", "/srv/a b/x.pdf", r"\\host\share\x.pdf"])
def test_of_a_path_its_name_is_said(path):
    assert answers.without_paths(f"cannot open '{path}': no") == "cannot open 'x.pdf': no"
    assert answers.without_paths("km/h, http://a/b, 1/2 and /x") == "km/h, http://a/b, 1/2 and /x"


def test_what_cannot_be_found_is_counted_and_listed_apart(client):
    found = client.post("/search", json={"question": "red", "k": 1})
    assert found.json()["unread"] == {"failed": 1, "empty": 299}
    assert len(found.content) < 1000
    first = client.get("/unread?count=2").json()
    assert first["total"] == 300
    assert first["unread"] == [
        {
            "doc": "no.pdf",
            "page": None,
            "state": "failed",
            "reason": "is not a PDF: it begins with 'no'",
        },
        {"doc": "blank", "page": 1, "state": "empty", "reason": None},
    ]
    assert [one["page"] for one in client.get("/unread?start=298").json()["unread"]] == [298, 299]
    assert client.get("/unread?start=1" + "0" * 30).json() == {"unread": [], "total": 300}
    blank = next(one for one in client.get("/documents").json()["documents"] if one["doc"] == "blank")
    assert (len(blank["empty"]), blank["unread"]) == (100, {"failed": 0, "empty": 299})


@pytest.mark.parametrize(
    "metadata",
    [
        '{"doc": "x"}',
        '{"not": 1}',
        '{"year": NaN}',
        '{"year": [1e999]}',
        '{"a": "\\ud800"}',
        '{"\\ud800": 1}',
        '{"a": ' + "[" * 11 + "]" * 11 + "}",
        json.dumps({"a": list(range(2000))}),
        json.dumps({"a": "x" * 70_000}),
        '{"a": ' + "9" * 5000 + "}",
    ],
)
def test_metadata_that_cannot_be_stored_is_refused(client, index, metadata):
    answer = client.post("/documents", files={"files": ("a.txt", b"red")}, data={"metadata": metadata})
    assert answer.status_code == 400
    assert "metadata" in answer.json()["detail"]
    assert not (index / "uploads" / "a.txt").exists()


def test_metadata_is_changed_without_reading_again(client):
    def change(changes, doc="one.pdf"):
        return client.patch(f"/documents/{doc}", json=changes)

    assert change({"year": 2024, "place": "x"}).json()["metadata"] == {"title": "half a ?", "year": 2024, "place": "x"}
    assert change({"year": 2025, "place": None}).json()["metadata"] == {"title": "half a ?", "year": 2025}
    found = client.post("/search", json={"question": "red", "where": {"year": 2025}}).json()["hits"]
    assert {hit["doc"] for hit in found} == {"one.pdf"}
    assert [change({"doc": 1}).status_code, change([1]).status_code, change({}, "none.pdf").status_code] == [
        400,
        422,
        404,
    ]
    assert change({"year": None}).json()["metadata"] == {"title": "half a ?"}


def test_what_has_no_picture_is_not_found(client, monkeypatch):
    plain = Page.from_text("red", doc="one.pdf")
    monkeypatch.setattr(stored, "drawn_page", lambda *_, **__: plain)
    answer = client.get("/page/one.pdf/1.png")
    assert (answer.status_code, answer.json()["detail"]) == (404, "one.pdf, page 1: is plain text and has no picture")


@pytest.mark.parametrize(
    "path",
    [
        "/health",
        "/documents",
        "/unread",
        "/openapi.json",
        "/document/one.pdf",
        "/page/one.pdf/1.png",
        "/highlight/one.pdf/1.png?q=red",
        "/document/none.pdf",
    ],
)
def test_head_is_get_without_a_body(client, path):
    asked, got = client.head(path), client.get(path)
    assert (asked.status_code, asked.content) == (got.status_code, b"")
    assert asked.headers == got.headers


@pytest.mark.parametrize("path", ["/document/one.pdf", "/page/one.pdf/1.png", "/highlight/one.pdf/1.png?q=red"])
def test_a_client_that_has_it_gets_no_second_copy(client, path):
    first = client.get(path)
    tag = first.headers["etag"]
    for known in (tag, f"W/{tag}", f'"other, thing", {tag}', "*"):
        for range_ in ({}, {"Range": "bytes=0-3"}, {"Range": "nonsense"}):
            again = client.get(path, headers={"If-None-Match": known, **range_})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    for other in ('"other"', f'"x{tag[1:]}', tag.strip('"'), ""):
        assert client.get(path, headers={"If-None-Match": other}).content == first.content
    assert client.head(path, headers={"If-None-Match": tag}).status_code == 304


def test_a_part_of_a_file_is_of_that_file(client):
    tag = client.get("/document/one.pdf").headers["etag"]
    part = {"Range": "bytes=0-3"}
    assert client.get("/document/one.pdf", headers=part).content == b"%PDF"
    assert client.get("/document/one.pdf", headers={**part, "If-Range": tag}).status_code == 206
    assert client.get("/document/one.pdf", headers={**part, "If-Range": '"other"'}).status_code == 200
    assert client.get("/document/one.pdf", headers={**part, "If-None-Match": '"other"'}).status_code == 206
    assert client.get("/document/one.pdf", headers={"Range": "bytes=99999999-"}).status_code == 416


def test_what_is_wrong_is_listed_and_not_repeated(client):
    secret = "x" * 5000
    answer = client.post("/search", json={"question": 1, "k": secret, secret: secret})
    assert answer.status_code == 422
    assert {tuple(one) for one in answer.json()["detail"]} == {("loc", "msg", "type")}
    assert ["body", "question"] in [one["loc"] for one in answer.json()["detail"]]
    assert len(answer.content) < 1000


# ---- the schema


@pytest.mark.heavy
def test_the_schema_is_one_and_says_every_error(client):
    schema = client.get("/openapi.json").json()
    pytest.importorskip("openapi_spec_validator").validate(schema)
    form = schema["components"]["schemas"]["Body_add_documents_post"]["properties"]
    assert form["files"]["items"]["format"] == "binary"
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert {"400", "401", "422", "429", "500", "503"} <= {*operation["responses"]}, path
            for status, response in operation["responses"].items():
                assert "content" in response or status in ("204", "304"), (path, status)


@pytest.mark.heavy
def test_answers_are_what_the_schema_says(index):
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis import checks
    from schemathesis.generation import GenerationMode

    listener = app.listen("127.0.0.1", 0)
    server = uvicorn.Server(app.configuration(app.build(index, Rules(rate=0), ui=False)))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    until(lambda: server.started)
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    checks.load_all_checks()
    names = ("not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance")
    wanted = [checks.CHECKS.get_one(name) for name in names]
    try:
        schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations()]
        assert len(operations) >= 13

        @settings(max_examples=25, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        @given(data())
        def ask(drawn):
            operation = drawn.draw(sampled_from(operations))
            case = drawn.draw(operation.as_strategy(generation_mode=drawn.draw(sampled_from(list(GenerationMode)))))
            case.call_and_validate(base_url=address, checks=wanted)

        ask()
    finally:
        server.should_exit = True
        thread.join()
