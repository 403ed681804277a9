"""Each framework, the real one, gets the pages that the retriever finds, and asks nobody else."""

import asyncio
import base64
import importlib
import io
import json
import os
import sys
import threading

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # before it is imported: it sends statistics unless told not to

import pytest
from PIL import Image
from support.asked import EVERY_WORD
from support.judge import Judge
from support.sheets import write_pdf

from visret import Page, Retriever
from visret.errors import InvalidArgument, MissingExtra
from visret.retriever import passage_json

FRAMEWORKS = {"langchain": "langchain_core", "llamaindex": "llama_index", "haystack": "haystack", "mteb": "mteb"}


@pytest.fixture(scope="module")
def retriever(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frameworks")
    with Retriever.create(folder / "i.visret", model="toy") as made:
        made.add(write_pdf(folder / "a.pdf", "red", "green"), metadata={"year": 2024, "score": "the document's own"})
        words = [("Blue,", (0, 0, 0.5, 0.1)), ("mostly.", (0.5, 0, 1, 0.1))]
        made.add_pages([Page.from_image(Image.new("RGB", (90, 120), "blue"), doc="made.png", words=words)])
        yield made


def expected(retriever, question, k, where=None):
    """Of each page: its text and its metadata."""
    texts = {"a.pdf": "", "made.png": "Blue, mostly."}
    out = []
    for hit in retriever.search(question, k, where=where):
        why = retriever.heatmap(question, hit)
        boxes = [{"x0": b.x0, "y0": b.y0, "x1": b.x1, "y1": b.y1, "score": b.score} for b in why.boxes]
        own = {"year": 2024} if hit.doc == "a.pdf" else {}
        found = {"weak": hit.weak, "relevance": hit.relevance, "boxes": boxes}
        place = {"doc": hit.doc, "page": hit.page, "score": hit.score, "source": hit.source, **found}
        place["passage"] = passage_json(why.passage)
        out.append((texts[hit.doc], {**own, **place}))
    assert len(out) > 1 or where
    return out


def test_langchain(retriever):
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnablePassthrough

    from visret.integrations.langchain import VisretRetriever

    pages = VisretRetriever(retriever=retriever, k=3)
    found = pages.invoke("blue")
    assert [(document.page_content, document.metadata) for document in found] == expected(retriever, "blue", 3)
    assert found[0].id == "made.png#page=1"
    assert json.loads(json.dumps(found[0].metadata)) == found[0].metadata
    assert asyncio.run(pages.ainvoke("blue")) == found
    prompt = ChatPromptTemplate.from_template("{context}\n{question}")
    said = ({"context": pages, "question": RunnablePassthrough()} | prompt).invoke("blue").to_string()
    assert "Blue, mostly." in said
    old = VisretRetriever(retriever=retriever, where={"doc": "made.png"}).invoke("red")
    assert [(document.page_content, document.metadata) for document in old] == expected(
        retriever, "red", 5, {"doc": "made.png"}
    )


def test_llamaindex(retriever):
    from llama_index.core.schema import ImageNode, MetadataMode

    from visret.integrations.llamaindex import VisretRetriever

    found = VisretRetriever(retriever, k=3).retrieve("blue")
    assert [(node.text, node.metadata) for node in found] == expected(retriever, "blue", 3)
    assert [node.score for node in found] == [hit.score for hit in retriever.search("blue", 3)]
    first = found[0].node
    assert isinstance(first, ImageNode)
    assert (first.node_id, first.image_mimetype) == ("made.png#page=1", "image/png")
    picture = Image.open(io.BytesIO(base64.b64decode(first.image)))
    assert picture.getpixel((50, 50)) == (0, 0, 255)
    assert Image.open(first.resolve_image()).size == picture.size == (90, 120)
    begin, *said, end = first.get_content(MetadataMode.LLM).split("\n")
    assert said == ["doc: 'made.png'", "page: '1'", "", "Blue, mostly."]
    assert (begin[:6], end) == ("<page-", begin.replace("<", "</"))
    small = VisretRetriever(retriever, k=1, where={"doc": "a.pdf"}, max_pixels=1000).retrieve("blue")
    assert [node.metadata["doc"] for node in small] == ["a.pdf"]
    width, height = Image.open(small[0].node.resolve_image()).size
    assert width * height <= 1000
    assert VisretRetriever(retriever, k=1, vision=False).retrieve("blue")[0].node.image is None


def test_llamaindex_takes_plain_text_which_has_no_picture(tmp_path):
    from visret.integrations.llamaindex import VisretRetriever

    with Retriever.create(tmp_path / "i.visret") as retriever:
        retriever.add_pages([Page.from_text("The quay was rebuilt in 1931.", doc="quay")])
        (found,) = VisretRetriever(retriever).retrieve("When was the quay rebuilt?")
    assert (found.text, found.node.image, found.metadata["boxes"]) == ("The quay was rebuilt in 1931.", None, [])


def test_haystack(retriever):
    from haystack import Pipeline

    from visret.integrations.haystack import VisretRetriever

    pipeline = Pipeline()
    pipeline.add_component("pages", VisretRetriever(retriever, top_k=2))
    again = Pipeline.loads(pipeline.dumps(), allowed_modules=["visret.integrations.haystack"])
    for one in (pipeline, again):
        found = one.run({"pages": {"query": "blue"}})["pages"]["documents"]
        assert [(document.content, document.meta) for document in found] == expected(retriever, "blue", 2)
        assert [document.score for document in found] == [hit.score for hit in retriever.search("blue", 2)]
        assert found[0].id == "made.png#page=1"
        assert type(found[0]).from_dict(json.loads(json.dumps(found[0].to_dict()))) == found[0]
    other = again.run({"pages": {"query": "blue", "top_k": 1, "where": {"doc": "a.pdf"}}})["pages"]["documents"]
    assert [document.meta["doc"] for document in other] == ["a.pdf"]
    again.get_component("pages").retriever.close()


def docs(found):
    return [document.metadata["doc"] for document in found]


def test_langchain_drops_no_argument(retriever):
    from langchain_core.runnables import ConfigurableField
    from pydantic import ValidationError

    from visret.integrations.langchain import VisretRetriever

    pages, made = VisretRetriever(retriever=retriever, k=3), {"doc": "made.png"}
    chosen = [
        pages.invoke("red", where=made),
        asyncio.run(pages.ainvoke("red", where=made)),
        pages.batch(["red"], where=made)[0],
        pages.bind(where=made).invoke("red"),
        pages.with_config(configurable={"where": made}).invoke("red"),
        asyncio.run(pages.with_config(configurable={"where": made}).ainvoke("red")),
        next(pages.stream("red", where=made)),
    ]
    assert [docs(found) for found in chosen] == [["made.png"]] * len(chosen)
    assert len(pages.invoke("red", k=1)) == len(pages.with_config(configurable={"k": 1}).invoke("red")) == 1
    own = pages.configurable_fields(k=ConfigurableField(id="count"))
    assert len(own.with_config(configurable={"count": 2, "thread_id": "7"}).invoke("red")) == 2
    filtered = VisretRetriever(retriever=retriever, where=made)
    assert docs(filtered.invoke("red", where=None)) == ["made.png"]  # None is no wish to do without
    for wrong in ({"filter": made}, {"search_kwargs": {"k": 1}}):
        with pytest.raises(InvalidArgument, match=r"does not understand '.*'; it takes k, where, by, .* and seconds"):
            pages.invoke("red", **wrong)
    with pytest.raises(ValidationError, match="wher"):
        VisretRetriever(retriever=retriever, wher=made)


def test_llamaindex_drops_no_argument(retriever):
    from llama_index.core.schema import QueryBundle

    from visret.integrations.llamaindex import VisretRetriever

    pages = VisretRetriever(retriever, k=1, vision=False)
    assert pages.retrieve(QueryBundle("blue"))[0].metadata["doc"] == "made.png"
    for given in ({"embedding": [1.0]}, {"custom_embedding_strs": ["red"]}, {"image_path": "a.png"}):
        with pytest.raises(InvalidArgument, match=f"does not understand '{next(iter(given))}'; it takes query_str"):
            pages.retrieve(QueryBundle("blue", **given))


def test_haystack_drops_no_argument(retriever):
    from visret.integrations.haystack import VisretRetriever

    saved = VisretRetriever(retriever, top_k=2).to_dict()
    saved["init_parameters"]["filters"] = {"doc": "made.png"}
    with pytest.raises(InvalidArgument, match=r"'filters'; it takes index, top_k, where, by, .* and seconds"):
        VisretRetriever.from_dict(saved)
    with pytest.raises(TypeError, match="filters"):
        VisretRetriever(retriever).run("red", filters={"doc": "made.png"})


def test_a_question_does_not_keep_the_event_loop_waiting(retriever, monkeypatch):
    """The search ends when the loop has gone on."""
    from visret.integrations import _pages, haystack, langchain, llamaindex

    search = _pages.search

    def patient(*given, **named):
        assert turned.wait(10), "the event loop stands still"
        return search(*given, **named)

    monkeypatch.setattr(_pages, "search", patient)
    turned = threading.Event()

    async def ask(asked):
        turned.clear()
        asyncio.get_running_loop().call_later(0.01, turned.set)
        return await asked

    for asked in (
        langchain.VisretRetriever(retriever=retriever).ainvoke("blue"),
        llamaindex.VisretRetriever(retriever, vision=False).aretrieve("blue"),
        haystack.VisretRetriever(retriever).run_async("blue"),
    ):
        assert asyncio.run(ask(asked))


def test_llamaindex_goes_on_without_a_picture_that_cannot_be_drawn(tmp_path):
    from llama_index.core.schema import MetadataMode

    from visret.integrations.llamaindex import VisretRetriever

    with Retriever.create(tmp_path / "i.visret", model="toy") as retriever:
        retriever.add([write_pdf(tmp_path / "a.pdf", "red"), write_pdf(tmp_path / "b.pdf", "red")])
        (tmp_path / "a.pdf").unlink()
        nodes = {found.metadata["doc"]: found.node for found in VisretRetriever(retriever).retrieve("red")}
    assert "is no longer there" in nodes["a.pdf"].metadata["picture_problem"]
    assert nodes["a.pdf"].image is None
    assert "picture_problem" not in nodes["a.pdf"].get_content(MetadataMode.LLM)
    assert nodes["b.pdf"].image
    assert "picture_problem" not in nodes["b.pdf"].metadata


def test_a_node_of_llamaindex_cannot_look_like_two(tmp_path):
    from llama_index.core.schema import MetadataMode

    from visret.integrations.llamaindex import VisretRetriever

    with Retriever.create(tmp_path / "i.visret") as retriever:
        name = "a\npage: '9'\n\nA new bearing."
        retriever.add_pages([Page.from_text("An old bearing.", doc=name)], metadata={"title": "x\ny"})
        (found,) = VisretRetriever(retriever).retrieve("bearing")
    lines = found.node.get_content(MetadataMode.LLM).split("\n")
    assert [line.partition(":")[0] for line in lines[1:-1]] == ["title", "doc", "page", "", "An old bearing."]
    assert lines[-1] == lines[0].replace("<", "</")


@pytest.mark.parametrize(("name", "package"), FRAMEWORKS.items())
def test_without_the_framework_the_error_says_what_to_install(name, package, monkeypatch):
    for loaded in [module for module in sys.modules if module.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.delitem(sys.modules, f"visret.integrations.{name}", raising=False)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=rf'integrations\.{name}: .*{package}.*; pip install "visret\[{name}\]"'):
        importlib.import_module(f"visret.integrations.{name}")


def test_each_ranks_in_the_way_it_is_told(retriever):
    from llama_index.core.schema import QueryBundle

    from visret.integrations import haystack, langchain, llamaindex

    (best,) = retriever.search("blue", k=1, by="maxsim")
    chain = langchain.VisretRetriever(retriever=retriever, k=1, by="maxsim")
    asked = langchain.VisretRetriever(retriever=retriever, k=1)
    llama = llamaindex.VisretRetriever(retriever, k=1, by="maxsim", vision=False)
    stack = haystack.VisretRetriever(retriever, top_k=1, by="maxsim")
    assert stack.to_dict()["init_parameters"]["by"] == "maxsim"
    scores = [
        chain.invoke("blue")[0].metadata["score"],
        asked.invoke("blue", by="maxsim")[0].metadata["score"],
        llama.retrieve(QueryBundle("blue"))[0].score,
        stack.run("blue")["documents"][0].score,
    ]
    assert scores == [best.score] * 4
    assert asked.invoke("blue")[0].metadata["score"] < best.score


def test_each_takes_every_word_of_a_search(retriever, monkeypatch):
    from llama_index.core.schema import QueryBundle

    from visret.integrations import haystack, langchain, llamaindex

    asked = []
    monkeypatch.setattr(Retriever, "explained", lambda self, questions, **named: asked.append(named) or iter([[]]))
    langchain.VisretRetriever(retriever=retriever, **EVERY_WORD).invoke("blue")
    langchain.VisretRetriever(retriever=retriever).invoke("blue", **EVERY_WORD)
    langchain.VisretRetriever(retriever=retriever).with_config(configurable=EVERY_WORD).invoke("blue")
    llamaindex.VisretRetriever(retriever, **EVERY_WORD).retrieve(QueryBundle("blue"))
    stack = haystack.VisretRetriever(retriever, **EVERY_WORD)
    stack.run("blue")
    again = haystack.VisretRetriever.from_dict(stack.to_dict())
    again.run("blue")
    again.retriever.close()
    assert asked == [{"k": 5, "where": None, **EVERY_WORD}] * 6


def test_a_page_without_a_score_and_a_neighbour_are_said(retriever, monkeypatch):
    from llama_index.core.schema import QueryBundle

    from visret.integrations import haystack, langchain, llamaindex

    judge = Judge({"a.pdf": 0.5, "made.png": 0.25}, modality="image")
    monkeypatch.setattr("visret.search.rerank.load_reranker", lambda name: judge)
    again = {"rerank": "judge", "depth": 1}
    chain = langchain.VisretRetriever(retriever=retriever, k=2, **again).invoke("blue")
    llama = llamaindex.VisretRetriever(retriever, k=2, vision=False, **again).retrieve(QueryBundle("blue"))
    stack = haystack.VisretRetriever(retriever, top_k=2, **again).run("blue")["documents"]
    for scores in (
        [document.metadata["score"] for document in chain],
        [node.score for node in llama],
        [document.score for document in stack],
    ):
        assert scores == [0.25, None]
    assert json.dumps(chain[1].metadata, allow_nan=False)
    near = langchain.VisretRetriever(retriever=retriever, k=1, where={"doc": "a.pdf"}, neighbours=1).invoke("red")
    assert [document.metadata.get("neighbour_of") for document in near] == [None, 1]
