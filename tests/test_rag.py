"""Pages as chat messages: the right page behind each id, as text and as a picture, and no other page in its place."""

import base64
import io
import shutil

import numpy as np
import pytest
from PIL import Image
from samples import FOLDER
from sheets import write_pdf

from visret import Page, Retriever, pdf, rag
from visret.errors import DocumentError


@pytest.fixture
def retriever(tmp_path):
    with Retriever.create(tmp_path / "i.visret", model="toy") as made:
        yield made


@pytest.fixture
def report(retriever, tmp_path):
    """The sample report, in a folder where it may be changed."""
    path = tmp_path / "report.pdf"
    shutil.copy(FOLDER / "report.pdf", path)
    retriever.add(path)
    return path


def parts(messages):
    """-> the texts and pictures of the question's message, in order."""
    system, user = messages
    assert (system["role"], user["role"]) == ("system", "user")
    out = []
    for part in user["content"]:
        if part["type"] == "text":
            out.append(part["text"])
        else:
            kind, _, data = part["image_url"]["url"].partition(",")
            assert kind == "data:image/png;base64"
            out.append(Image.open(io.BytesIO(base64.b64decode(data))))
    return out


def small(picture):
    return np.asarray(picture.convert("L").resize((60, 80)), float)


def test_each_id_stands_before_the_text_and_the_picture_of_its_page(retriever, report):
    hits = retriever.search("white green", k=8)
    assert [hit.page for hit in hits] != sorted(hit.page for hit in hits)  # else the ids prove nothing
    *pages, question = parts(rag.messages("How much?", hits))
    assert question == "Question: How much?"
    assert len(pages) == 2 * len(hits)
    with pdf.open_document(report) as document:
        there = [document.page(number) for number in range(1, len(document) + 1)]
    for number, (hit, text, picture) in enumerate(zip(hits, pages[::2], pages[1::2], strict=True), 1):
        assert text == f"[{number}] report.pdf, page {hit.page}\n{there[hit.page - 1].text}".rstrip()
        unlike = [np.abs(small(picture) - small(page.image)).mean() for page in there]
        assert int(np.argmin(unlike)) == hit.page - 1


@pytest.mark.parametrize("max_pixels", [1, 1000, 123_457, 1_000_000, 9_000_000])
def test_pictures_keep_their_shape_and_stay_below_max_pixels(retriever, report, max_pixels):
    hits = retriever.search("white", k=8)  # some of them landscape
    pictures = [part for part in parts(rag.messages("?", hits, max_pixels=max_pixels)) if not isinstance(part, str)]
    assert len(pictures) == len(hits)
    for hit, picture in zip(hits, pictures, strict=True):
        assert picture.width * picture.height <= max_pixels
        if max_pixels >= 1000:
            width, height = retriever.page(hit).size_pt
            assert picture.width / picture.height == pytest.approx(width / height, rel=0.05)


def test_without_vision_all_is_text(retriever, report, tmp_path):
    retriever.add(write_pdf(tmp_path / "red.pdf", "red"))
    hits = retriever.search("red", k=3)
    messages = rag.messages("How much?", hits, vision=False)
    assert all(isinstance(message["content"], str) for message in messages)
    said = messages[1]["content"]
    assert said.startswith("[1] red.pdf, page 1\n(no text)\n\n[2] report.pdf, page ")
    assert all(hit.text in said for hit in hits)
    assert said.endswith("\n\nQuestion: How much?")


def test_no_hits_leave_the_question(retriever):
    assert parts(rag.messages("How much?", [])) == ["Question: How much?"]


def test_pages_made_in_memory_need_their_retriever(retriever):
    retriever.add_pages(
        Page.from_image(Image.new("RGB", (64, 96), colour), doc=colour, words=[(f"{colour}!", (0, 0, 1, 1))])
        for colour in ("red", "green", "blue")
    )
    hits = retriever.search("blue", k=3)
    with pytest.raises(DocumentError, match=r"blue, page 1: .*pages=retriever\.page"):
        rag.messages("?", hits)
    *pages, _ = parts(rag.messages("?", hits, pages=retriever.page))
    assert pages[0] == "[1] blue, page 1\nblue!"
    assert pages[1].getpixel((5, 5)) == (0, 0, 255)


def test_a_file_of_other_content_is_refused(retriever, report):
    hits = [hit for hit in retriever.search("green", k=8) if hit.text]
    shutil.copy(FOLDER / "two_column.pdf", report)
    assert {hit.page > 3 for hit in hits} == {True, False}  # it has three pages
    for hit in hits:
        for pages in (None, retriever.page):
            with pytest.raises(DocumentError, match=r"report.pdf.*(changed|no page)"):
                rag.messages("?", [hit], pages=pages)
    report.unlink()
    for pages in (None, retriever.page):
        with pytest.raises(DocumentError, match=r"report.pdf.*(does not exist|no longer there)"):
            rag.messages("?", hits, pages=pages)


def test_a_changed_picture_is_refused_by_the_retriever(retriever, tmp_path):
    path = write_pdf(tmp_path / "red.pdf", "red")
    retriever.add(path)
    hits = retriever.search("red")
    write_pdf(path, "blue")
    with pytest.raises(DocumentError, match="changed"):
        rag.messages("?", hits, pages=retriever.page)
