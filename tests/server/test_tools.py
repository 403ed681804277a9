"""The tools of language models: what hosts are told of them, passages with links, and pictures of places."""

import asyncio
import re
from io import BytesIO

import pytest
from PIL import Image, ImageDraw

from visret import Page, Retriever, Word, __version__
from visret.server import api

pytest.importorskip("mcp", reason="needs mcp: pip install 'visret[mcp]'")
from mcp import Client

from visret.server import tools

LINES = ["The report of the year.", "Unpaid loans are called after ninety days.", "The weather and the birds."]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    (folder / "a b.txt").write_text("Loans of books end in June.")
    picture, words = Image.new("RGB", (400, 400), "white"), []
    for number, line in enumerate(LINES):
        top = 0.1 + 0.3 * number
        ImageDraw.Draw(picture).rectangle(
            (40, int(400 * top), 360, int(400 * top) + 40), ["red", "lime", "blue"][number]
        )
        boxes = [(0.1 + 0.1 * at, top, 0.18 + 0.1 * at, top + 0.1) for at in range(len(line.split()))]
        words += [Word(word, box, line=number) for word, box in zip(line.split(), boxes, strict=True)]
    with Retriever.create(folder / "i.visret", model="none") as made:
        made.add(folder / "a b.txt")
        made.add_pages([Page.from_image(picture, doc="scan", words=words)], ocr="never")
        opened = api.Library(made, most_pages=1)
        yield opened
        opened.close()


def call(library, name, **arguments):
    async def talk():
        async with Client(tools.server(library)) as client:
            return await client.call_tool(name, arguments)

    return asyncio.run(talk())


def test_hosts_are_told_that_all_tools_only_read(library):
    async def talk():
        async with Client(tools.server(library)) as client:
            return (await client.list_tools()).tools, client.server_info

    listed, info = asyncio.run(talk())
    assert (info.name, info.version) == ("visret", __version__)
    for tool in listed:
        hints = tool.annotations
        assert (hints.read_only_hint, hints.destructive_hint, hints.open_world_hint) == (True, False, False), tool.name


def test_no_word_is_explained_twice(library):
    async def talk():
        async with Client(tools.server(library)) as client:
            return {tool.name: tool.description for tool in (await client.list_tools()).tools}

    described = asyncio.run(talk())["search_pages"]
    explained = re.findall(r"(?:^|[.\n] *)(\w+): ", described)
    assert len(set(explained)) == len(explained) > 5


def test_passages_lead_to_their_pages(library):
    found = call(library, "find_passages", question="loans days", k=2).structured_content["passages"]
    assert [(one["doc"], one["page"]) for one in found] == [("scan", 1), ("a b.txt", 1)]
    assert found[0]["passage"]["text"] == LINES[1]
    assert found[0]["link"] == "/page/scan/1.png"  # it has no file
    assert found[1]["link"] == "/document/a%20b.txt#page=1"
    assert call(library, "find_passages", question="loans", of_pages=2).is_error


def test_a_place_is_shown_alone(library):
    text, picture = call(library, "show_place", question="unpaid loans", doc="scan", page=1).content
    assert LINES[1] in text.text
    assert LINES[2] not in text.text
    import base64

    with Image.open(BytesIO(base64.b64decode(picture.data))) as shown:
        colours = {colour for _, colour in shown.convert("RGB").getcolors(1 << 20)}
        assert shown.size[1] < 200
    assert (0, 255, 0) in colours
    assert not {(255, 0, 0), (0, 0, 255)} & colours


def test_a_place_without_a_picture_is_text(library):
    text, said = call(library, "show_place", question="books", doc="a b.txt", page=1).content
    assert "Loans of books end in June." in text.text
    assert "cannot be shown" in said.text
    (nothing,) = call(library, "show_place", question="xylophone", doc="scan", page=1).content
    assert nothing.text.startswith("No place on")
    assert call(library, "show_place", question="books", doc="none", page=1).is_error
