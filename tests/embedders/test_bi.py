"""Bi-encoders of colpali-engine give what its own classes and processors give."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from support import tiny_vision

from visret import Page, Retriever
from visret.embedders import load_embedder
from visret.encoders import _torch
from visret.errors import InvalidModelSpec, UnknownModel

QUESTIONS = ["where is the red box", "sales"]
MAKERS = {
    "BiQwen2": tiny_vision.colqwen,
    "BiQwen2_5": tiny_vision.colqwen,
    "BiModernVBert": partial(tiny_vision.colidefics, longest_edge=1024),
    "BiPali": tiny_vision.colpali,
}


@pytest.fixture(scope="session", params=list(MAKERS))
def folder(request, tmp_path_factory):
    with _torch.quiet():
        return MAKERS[request.param](tmp_path_factory.mktemp("bi") / request.param, request.param)


@pytest.fixture(scope="session")
def embedder(folder):
    return load_embedder(folder, device="cpu", dtype="float32")


def pictures():
    """A portrait page, and a landscape page of another colour."""
    sizes = ((300, 400), (400, 220))
    made = [Image.new("RGB", size, colour) for size, colour in zip(sizes, ("white", "red"), strict=True)]
    made[0].paste((0, 0, 0), (20, 30, 200, 90))
    return made


def test_vectors_are_those_of_the_library(folder, embedder):
    with _torch.quiet():
        model, processor = tiny_vision.load_original(folder)
    pages = [Page.from_image(picture, doc=f"{n}") for n, picture in enumerate(pictures())]
    with torch.inference_mode():
        of_pages = [model(**processor.process_images([picture])).numpy() for picture in pictures()]
        of_questions = [model(**processor.process_queries([text])).numpy() for text in QUESTIONS]
    np.testing.assert_allclose(embedder.embed_pages(pages), of_pages, atol=1e-5)
    np.testing.assert_allclose(embedder.embed_queries(QUESTIONS), of_questions, atol=1e-5)
    assert embedder.spec.dim == of_pages[0].shape[1]
    assert np.ptp([one[0] @ of_questions[0][0] for one in of_pages]) > 1e-4


@pytest.mark.parametrize("folder", ["BiPali"], indirect=True)
def test_pictures_of_an_index_are_drawn_for_it(embedder, tmp_path):
    pages = [Page.from_image(picture, doc=f"{n}") for n, picture in enumerate(pictures())]
    with Retriever.create(tmp_path / "i", model="toy") as retriever:
        retriever.add_pages(pages)
        filled = retriever.add_model(embedder)
        assert (filled.kind, filled.pages, filled.failed) == ("dense", 2, [])
        (asked,) = embedder.embed_queries(["red"])
        expected = {
            page.ref.doc: float((one @ asked[0]).max())
            for page, one in zip(pages, embedder.embed_pages(pages), strict=True)
        }
        got = {hit.doc: hit.score for hit in retriever.search("red", by="dense", explain=False)}
        assert {doc: got[doc] for doc in expected} == pytest.approx(expected, abs=0.02)
    with Retriever.create(tmp_path / "t", model="none") as retriever:
        retriever.add_pages([Page.from_text("words alone", doc="text")])
        assert retriever.add_model(embedder).empty == 1


@pytest.mark.parametrize("folder", ["BiQwen2", "BiPali"], indirect=True)
def test_what_a_checkpoint_is_not_is_refused(folder):
    with pytest.raises(InvalidModelSpec, match="is no token of this checkpoint"):
        load_embedder(folder, device="cpu", options={"query_suffix": "<nonsense>"})
    if "Qwen" not in folder.name:
        with pytest.raises(InvalidModelSpec, match="has no such limit"):
            load_embedder(folder, device="cpu", options={"max_patches": 8})
    else:
        assert load_embedder(folder, device="cpu", options={"max_patches": 8}).preprocessing["max_patches"] == 8
    (folder / "config.json").rename(folder / "aside.json")
    try:
        with pytest.raises(UnknownModel, match="no late-interaction model or reranker"):
            load_embedder(folder, device="cpu")
    finally:
        (folder / "aside.json").rename(folder / "config.json")
