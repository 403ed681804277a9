"""Single and sparse vectors are those of sentence-transformers, for every page and every part of it, and so are the
scores of a search."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from support import tiny, tiny_sentence
from support.tiny import TEXTS

from visret import Page, Retriever
from visret.embedders import load_embedder
from visret.encoders import _torch
from visret.errors import InvalidArgument, InvalidModelSpec, ModelMismatch, ShapeError, UnknownModel, WeightsError
from visret.search.plans import Plan

QUESTIONS = ["where is the red box", "a table of sales", "green"]
PAGES = [Page.from_text(text, doc=f"{number}") for number, text in enumerate(TEXTS)]
LONG = " ".join(f"{tiny.WORDS[number % len(tiny.WORDS)]} {number}" for number in range(60))
KINDS = {
    "single": "dense",
    "static": "dense",
    "prompts": "dense",
    "dot": "dense",
    "splade": "sparse",
    "inference-free": "sparse",
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("embedders")
    with _torch.quiet():
        return {
            "single": tiny_sentence.single(root / "single"),
            "static": tiny_sentence.static(root / "static"),
            "prompts": tiny_sentence.single(root / "prompts", prompts={"query": "where ", "document": "page "}),
            "dot": tiny_sentence.single(root / "dot", similarity="dot"),
            "splade": tiny_sentence.splade(root / "splade"),
            "inference-free": tiny_sentence.inference_free(root / "free"),
        }


@pytest.fixture(scope="session")
def originals(folders):
    """The same checkpoints, loaded by the library."""
    from sentence_transformers import SentenceTransformer, SparseEncoder

    with _torch.quiet():
        return {
            name: (SparseEncoder if KINDS[name] == "sparse" else SentenceTransformer)(str(folder), device="cpu")
            for name, folder in folders.items()
        }


def loaded(folder, **more):
    return load_embedder(folder, device="cpu", dtype="float32", **more)


def dense(made):
    """What the library or an embedder made, as (n, d)."""
    if hasattr(made, "to_dense"):
        return made.to_dense().numpy() if made.is_sparse else made.numpy()
    return np.asarray(made)


def filled(vector, dim):
    out = np.zeros(dim, np.float32)
    out[vector.ids] = vector.weights
    return out


@pytest.mark.parametrize("name", ["single", "static", "prompts", "dot"])
def test_single_vectors_are_those_of_the_library_whatever_the_batch(folders, originals, name):
    library = originals[name]
    pages, questions = dense(library.encode_document(TEXTS)), dense(library.encode_query(QUESTIONS))
    if name != "dot":
        pages, questions = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (pages, questions))
    for batch in (2, 32):
        embedder = loaded(folders[name], batch=batch)
        np.testing.assert_allclose(np.concatenate(embedder.embed_pages(PAGES)), pages, atol=1e-5)
        np.testing.assert_allclose(np.concatenate(embedder.embed_queries(QUESTIONS)), questions, atol=1e-5)
    assert embedder.spec.dim == 32


@pytest.mark.parametrize("name", ["splade", "inference-free"])
def test_sparse_vectors_are_those_of_the_library_whatever_the_batch(folders, originals, name):
    library = originals[name]
    for batch in (2, 32):
        embedder = loaded(folders[name], batch=batch)
        pages = [filled(one, embedder.spec.dim) for one in embedder.embed_pages(PAGES)]
        questions = [filled(one, embedder.spec.dim) for one in embedder.embed_queries(QUESTIONS)]
        np.testing.assert_allclose(pages, dense(library.encode_document(TEXTS)), atol=1e-5)
        np.testing.assert_allclose(questions, dense(library.encode_query(QUESTIONS)), atol=1e-5)
    assert np.count_nonzero(questions) < np.size(questions)


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support")  # of torch, in the library's own product
@pytest.mark.parametrize("name", list(KINDS))
def test_the_scores_of_a_search_are_those_of_the_library(folders, originals, tmp_path, name):
    library, kind = originals[name], KINDS[name]
    expected = dense(library.similarity(library.encode_query(QUESTIONS), library.encode_document(TEXTS)))
    with Retriever.create(tmp_path / "i", model="none") as retriever:
        retriever.add_pages(PAGES)
        assert retriever.add_model(loaded(folders[name])).pages == len(PAGES)
        found = retriever.search_many(QUESTIONS, k=9, by=kind)
        for hits, scores in zip(found, expected, strict=True):
            got = {hit.doc: hit.score for hit in hits}
            wanted = {str(row): float(score) for row, score in enumerate(scores) if score != 0 or kind == "dense"}
            # Postings keep float32, in which scores of 70 have steps of 8e-6; rows keep 8 bits of a component.
            assert got == pytest.approx(
                wanted, rel=1e-6, abs=1e-5 if kind == "sparse" else 0.02 * max(1, float(np.abs(scores).max()))
            )
            assert list(got) == sorted(got, key=lambda doc: -got[doc])


def test_a_long_page_has_a_vector_for_each_window_and_all_of_its_words_count(folders):
    page = Page.from_text(LONG, doc="long")
    (rows,) = loaded(folders["single"]).embed_pages([page])
    assert len(rows) > 5
    embedder = loaded(folders["splade"])
    (whole,) = embedder.embed_pages([page])
    from visret.encoders._windows import windows

    parts = windows(LONG, embedder._input.tokenizer, embedder._room())
    assert "59" in parts[-1]
    each = embedder.embed_pages([Page.from_text(part, doc="part") for part in parts])
    dim = embedder.spec.dim
    np.testing.assert_allclose(filled(whole, dim), np.max([filled(one, dim) for one in each], axis=0), atol=1e-5)
    assert len(loaded(folders["single"], options={"longest": 16}).embed_pages([page])[0]) > len(rows)
    assert len(loaded(folders["static"], options={"longest": 16}).embed_pages([page])[0]) > len(rows)


def test_a_folder_is_added_by_its_path_and_found_again(folders, tmp_path):
    folder = shutil.copytree(folders["splade"], tmp_path / "model")
    with Retriever.create(tmp_path / "i", model="none") as retriever:
        retriever.add_pages(PAGES[:2])
        assert retriever.add_model(folder).kind == "sparse"
        first = retriever.search(QUESTIONS[0], by="sparse")
    with Retriever.open(tmp_path / "i") as retriever:
        assert retriever.search(QUESTIONS[0], by="sparse") == first
        retriever.add_pages(PAGES[2:])
        assert retriever.info()["added_models"] == [f"sparse: {folder}, 5 of 5 pages"]
        assert retriever.add_model(folder).pages == 0
    (folder / "config_sentence_transformers.json").write_text(
        '{"model_type": "SparseEncoder", "similarity_fn_name": "dot", "prompts": {"query": "a "}}'
    )
    with (
        Retriever.open(tmp_path / "i") as retriever,
        pytest.raises(ModelMismatch, match="the sparse vectors were made by"),
    ):
        retriever.search(QUESTIONS[0], by="sparse")
    shutil.rmtree(folder)
    with Retriever.open(tmp_path / "i") as retriever, pytest.raises(UnknownModel, match="there is no folder"):
        retriever.search(QUESTIONS[0], by="sparse")


def test_a_model_that_is_loaded_already_has_a_name_and_is_given_again(originals, tmp_path):
    with Retriever.create(tmp_path / "i", model="none") as retriever:
        retriever.add_pages(PAGES)
        with pytest.raises(InvalidArgument, match="give the model a name"):
            retriever.add_model(originals["single"])
        retriever.add_model(originals["single"], name="mine")
        before = retriever.search(QUESTIONS[0], by="dense")
    with Retriever.open(tmp_path / "i") as retriever:
        with pytest.raises(UnknownModel, match="give it again with add_model"):
            retriever.search(QUESTIONS[0], by="dense")
        with pytest.raises(ModelMismatch, match="use that model, or remove it"):
            retriever.add_model(originals["dot"], name="mine")
        retriever.add_model(originals["single"], name="mine")
        assert retriever.search(QUESTIONS[0], by="dense") == before


def test_both_kinds_count_in_a_plan_and_each_reads_a_question_once(folders, tmp_path, monkeypatch):
    with Retriever.create(tmp_path / "i", model="none") as retriever:
        retriever.add_pages(PAGES)
        retriever.add_model(loaded(folders["single"]))
        retriever.add_model(loaded(folders["splade"]))
        asked = []
        for _, embedder in retriever._added.values():
            read = embedder.embed_queries
            monkeypatch.setattr(embedder, "embed_queries", lambda texts, read=read: asked.append(texts) or read(texts))
        plan = Plan({"bm25": 1, "dense": 1, "sparse": 1}, depth=2)
        hits = retriever.search(QUESTIONS[0], by=plan)
        assert {"dense", "sparse"} <= hits[0].scores.keys()
        assert asked == [[QUESTIONS[0]]] * 2


def test_what_is_no_such_model_is_refused_with_what_is(folders, tmp_path):
    with pytest.raises(InvalidModelSpec, match="is a reranker; what is added to an index"):
        load_embedder("cross-encoder/ms-marco-MiniLM-L6-v2")
    with pytest.raises(InvalidModelSpec, match="is a late-interaction model, which makes an index"):
        load_embedder("lightonai/LateOn")
    with pytest.raises(InvalidModelSpec, match="it reads at most 32 tokens, got 64"):
        loaded(folders["single"], options={"longest": 64})
    with pytest.raises(ShapeError, match="finds nothing to read"):
        loaded(folders["single"]).embed_pages([Page.from_text(" ", doc="a")])
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folders["splade"], tmp_path / "partial")
    kept = dict(list(load_file(folder / "model.safetensors").items())[1:])
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match="not in the checkpoint's weights"):
        loaded(folder)
    with pytest.raises(InvalidModelSpec, match="makes single or sparse vectors, which are added to an index"):
        Retriever.create(tmp_path / "i", model=str(folders["splade"]))


@pytest.mark.parametrize("kind", ["CLIP", "Siglip"])
def test_pictures_and_questions_are_those_of_transformers(tmp_path, kind):
    import transformers
    from PIL import Image

    with _torch.quiet():
        folder = tiny_sentence.pictures(tmp_path / kind, kind)
        model = getattr(transformers, f"{kind}Model").from_pretrained(folder).eval()
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        processor = getattr(transformers, f"{kind}ImageProcessor").from_pretrained(folder)
    colours = [Image.new("RGB", (64, 48), "red"), Image.new("RGB", (40, 90), "blue")]
    filling = {"padding": "max_length", "max_length": 32} if kind == "Siglip" else {"padding": True}
    with torch.inference_mode():
        text = tokenizer(QUESTIONS, return_tensors="pt", **filling)
        used = text if kind == "CLIP" else {"input_ids": text["input_ids"]}
        questions = model.get_text_features(**used).pooler_output.numpy()
        pages = model.get_image_features(**processor(colours, return_tensors="pt")).pooler_output.numpy()
    embedder = loaded(folder)
    assert (embedder.spec.modality, embedder.spec.task) == ("image", "embed")
    made = embedder.embed_pages([Page.from_image(image, doc=f"{n}") for n, image in enumerate(colours)])
    for got, expected in ((made, pages), (embedder.embed_queries(QUESTIONS), questions)):
        unit = expected / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(np.concatenate(got), unit, atol=1e-5)
