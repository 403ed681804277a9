"""Questions may be encoded by a model that is not that of the pages, whose vectors have lengths of their own."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from visret import Page, Retriever, load_encoder
from visret.encoders.toy import ToyEncoder
from visret.errors import InvalidModelSpec, ModelMismatch
from visret.types import QueryEmbedding


class Asking:
    """Encodes questions in the space of `toy`, weighs their words, and reads no pages."""

    def __init__(self, dim=4, questions_for="toy"):
        toy = load_encoder("toy")
        self.preprocessing = {"lengths": "weights"}
        self.spec = replace(toy.spec, name="asking", dim=dim, questions_for=questions_for)
        self._toy = toy

    def encode_queries(self, texts):
        return [self._weighed(query) for query in self._toy.encode_queries(texts)]

    def _weighed(self, query):
        weights = np.linspace(2, 0.25, len(query.vectors), dtype=np.float32)[:, None]
        return QueryEmbedding(query.text, query.vectors * weights, query.tokens, query.content)


@pytest.fixture
def path(tmp_path):
    with Retriever.create(tmp_path / "i", model="toy") as made:
        for name in ("red", "blue", "orange", "white"):
            made.add_pages([Page.from_image(Image.new("RGB", (80, 80), name), doc=name)])
    return tmp_path / "i"


def test_scores_are_maxsim_of_its_vectors_and_the_model_of_the_pages_is_not_asked(path, monkeypatch):
    asking = Asking()
    with Retriever.open(path) as usual:
        pages = {doc: usual._index.snapshot.embedding((doc, 1)).vectors for doc in ("red", "blue", "orange", "white")}
    monkeypatch.setattr(ToyEncoder, "encode_pages", None)
    with Retriever.open(path, question_model=asking) as retriever:
        (query,) = asking.encode_queries(["blue red"])
        wanted = {doc: float((vectors @ query.vectors.T).max(axis=0).sum()) for doc, vectors in pages.items()}
        hits = retriever.search("blue red", by="maxsim")
        assert {hit.doc: hit.score for hit in hits} == pytest.approx(wanted, abs=1e-5)
        assert [hit.doc for hit in hits] == sorted(wanted, key=wanted.get, reverse=True)
        why = retriever.heatmap("blue red", hits[0])
        assert why.values.sum() == pytest.approx(hits[0].score, abs=1e-5)


def test_a_name_is_loaded_with_the_first_question_and_pages_are_encoded_by_the_model_of_the_index(path, monkeypatch):
    loaded = []
    monkeypatch.setattr("visret.retriever.load_encoder", lambda name, **_: loaded.append(name) or Asking())
    with Retriever.open(path, model=load_encoder("toy"), question_model="small") as retriever:
        assert not loaded
        retriever.add_pages([Page.from_image(Image.new("RGB", (80, 80), "lime"), doc="lime")])
        assert retriever.search("green")[0].doc == "lime"
        retriever.search("red")
        assert loaded == ["small"]


@pytest.mark.parametrize(
    ("asking", "says"),
    [
        ({"questions_for": "colpali"}, "was made with toy, and asking encodes questions for colpali"),
        ({"dim": 5}, "has vectors of 4 dimensions .toy., and asking encodes questions in 5"),
    ],
)
def test_questions_that_do_not_meet_the_pages_are_refused(path, asking, says):
    with Retriever.open(path, question_model=Asking(**asking)) as retriever, pytest.raises(ModelMismatch, match=says):
        retriever.search("red")


def test_no_index_is_made_with_it(tmp_path):
    with pytest.raises(InvalidModelSpec, match="make the index with toy, and open it with question_model='asking'"):
        Retriever.create(tmp_path / "i", model=Asking())
    assert not (tmp_path / "i").exists()
