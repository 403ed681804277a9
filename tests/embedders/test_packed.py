"""Sentence models in packs: their vectors are those of transformers, and what is no whole pack is refused."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import tiny_pack, word_model
from support.tiny_pack import spec
from support.words import Words

from visret import Page, Retriever
from visret.embedders import load_embedder, packed
from visret.embedders._pack import Pack
from visret.errors import InvalidArgument, ModelMismatch, WeightsError
from visret.search.plans import Plan
from visret.types import ModelSpec

TEXTS = ["the boiler valve opens at two bar", "the pump filter is cleaned weekly", "two filter"]
QUESTION = "valve of the boiler"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a pack, its tokenizer, and its network in transformers."""
    folder = tmp_path_factory.mktemp("pack")
    return folder, *tiny_pack.write(folder / "tiny.hmsemb")


def theirs(made, text):
    """The vector of the first token, by transformers."""
    _, tokenizer, network = made
    with torch.inference_mode():
        states = network(torch.tensor([tokenizer.encode(text).ids])).last_hidden_state
    return torch.nn.functional.normalize(states[:, 0], dim=1).numpy()


def pages(texts=TEXTS):
    return [Page.from_text(text, doc="book", page=number) for number, text in enumerate(texts, 1)]


def test_vectors_are_those_of_transformers(made):
    model = load_embedder(spec(made[0]), dtype="float32")
    assert model.preprocessing["dtype"] == "float32"
    for text, page, question in zip(TEXTS, model.embed_pages(pages()), model.embed_queries(TEXTS), strict=True):
        np.testing.assert_allclose(page, theirs(made, text), atol=1e-5)
        np.testing.assert_allclose(question, theirs(made, text), atol=1e-5)


def test_a_long_page_has_a_vector_for_each_window_and_a_long_question_their_mean(made):
    model = load_embedder(spec(made[0]), dtype="float32")
    text = " ".join(TEXTS * 20)
    (page,) = model.embed_pages(pages([text]))
    assert len(page) > 3
    assert model._windows(model._read(text, "document"))[-1].stop == len(model._read(text, "document").ids)
    np.testing.assert_allclose(np.linalg.norm(page, axis=1), 1, atol=1e-5)
    (question,) = model.embed_queries([text])
    mean = page.mean(axis=0, keepdims=True)
    np.testing.assert_allclose(question, mean / np.linalg.norm(mean), atol=1e-5)


def test_prefixes_go_before_pages_and_questions(made, tmp_path):
    tiny_pack.write(tmp_path / "a.hmsemb", query_prefix="two ", passage_prefix="at ")
    model = load_embedder(spec(tmp_path), dtype="float32")
    (page,), (question,) = model.embed_pages(pages(["filter"])), model.embed_queries(["filter"])
    np.testing.assert_allclose(page, theirs(made, "at filter"), atol=1e-5)
    np.testing.assert_allclose(question, theirs(made, "two filter"), atol=1e-5)


def test_a_question_loads_no_torch(made):
    code = (
        "import sys\n"
        "from visret.embedders import packed\n"
        "from visret.types import ModelSpec\n"
        f"spec = ModelSpec('t', 'packed', {str(made[0])!r}, '', 'text', {tiny_pack.DIM}, 'mit', 0.0, task='embed')\n"
        "packed.load(spec, dtype='float32', device='cpu', batch=None).embed_queries(['valve'])\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("kept", [4, 100, -1])
def test_part_of_a_pack_is_refused(made, tmp_path, kept):
    whole = (made[0] / "tiny.hmsemb").read_bytes()
    (tmp_path / "a.hmsemb").write_bytes(whole[:kept])
    with pytest.raises(WeightsError, match="not a complete pack"):
        Pack(tmp_path / "a.hmsemb")


def test_what_is_no_such_model_is_refused(made, tmp_path):
    tiny_pack.write(tmp_path / "a.hmsemb", pooling="max")
    with pytest.raises(WeightsError, match="its pooling is 'max', expected cls or mean"):
        load_embedder(spec(tmp_path))
    wrong = ModelSpec("t", "packed", str(made[0]), "", "text", 8, "mit", 0.0, task="embed")
    with pytest.raises(WeightsError, match="16 dimensions, but its entry says 8"):
        packed.load(wrong, dtype="float32", device="cpu", batch=None)


# ---- beside late interaction


@pytest.fixture
def index(tmp_path, late_words):
    with Retriever.create(tmp_path / "i", model=late_words) as retriever:
        retriever.add_pages(pages(["red green", "red red blue", "grey pink", "white black red", "green"]))
        yield retriever


@pytest.fixture
def late_words():
    return word_model.Words()


def added(made, **options):
    return load_embedder(spec(made[0], **options), dtype="float32")


def test_late_and_dense_is_the_sum_of_both_mean_cosines(made, index):
    index.add_model(added(made))
    for question in ("red green", "grey", "pink white red"):
        late, exact = {}, {}
        for hit in index.search(question, by="late"):
            late[hit.page], exact[hit.page] = hit.score, hit.scores["late"]
        dense = {hit.page: hit.score for hit in index.search(question, by="dense")}
        vectors = len(question.split()) + 1  # the model of the words has a marker
        hits = index.search(question, by="late+dense")
        assert {hit.page: hit.score for hit in hits} == pytest.approx(
            {page: late[page] / vectors + dense[page] for page in late}, abs=1e-5
        )
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert {hit.page: dict(hit.scores) for hit in hits} == {
            page: pytest.approx({"late": exact[page], "dense": dense[page]}, abs=1e-5) for page in late
        }


@pytest.mark.parametrize("beside", [False, True])
def test_a_model_that_belongs_beside_late_interaction_ranks_unasked(made, index, beside):
    index.add_model(added(made, beside_late=beside))
    hits = index.search("red green")
    assert set(hits[0].scores) == ({"late", "dense"} if beside else {"late"})
    assert hits[0].text
    alone = index.search("red green", by="late")
    assert set(alone[0].scores) == {"late"}


def test_a_page_without_a_vector_counts_as_the_others_on_average(made, index, monkeypatch):
    index.add_model(added(made, beside_late=True))
    monkeypatch.setattr(index, "_fill_added", lambda: 0.0)
    index.add_pages([Page.from_text("red green", doc="new")])
    hits = index.search("red green", k=9)
    assert any("1 of 6 pages have no dense vectors of tiny" in warning for warning in hits.warnings)
    others = [hit.scores["dense"] for hit in hits if hit.doc != "new"]
    (new,) = (hit for hit in hits if hit.doc == "new")
    assert set(new.scores) == {"late"}
    (late,) = index.search("red green", where={"doc": "new"}, by="late")
    assert new.score == pytest.approx(late.score / 3 + np.mean(others), abs=1e-5)


def test_who_waits_is_told_how_far_it_is_and_the_report_counts_the_time(made, index, monkeypatch, caplog):
    index.add_model(added(made))
    monkeypatch.setattr("visret.retriever.TOLD", 0.0)
    monkeypatch.setattr("visret.ingest.added.PAGES", 2)
    report = index.add_pages(Page.from_text("red green", doc=str(number)) for number in range(5))
    told = [line for line in caplog.messages if "have their vectors" in line]
    assert [line.partition(",")[0] for line in told] == [f"tiny: {n} of 5 pages have their vectors" for n in (2, 4)]
    monkeypatch.setattr("visret.retriever.Retriever._fill_added", lambda _: 1000.0)
    assert index.add_pages([Page.from_text("blue", doc="last")]).seconds > 1000 > report.seconds


def test_an_index_has_the_model_that_its_own_model_names(made, tmp_path, late_words, monkeypatch):
    late_words.spec = replace(late_words.spec, beside="tiny")
    monkeypatch.setattr("visret.embedders.load_embedder", lambda *_, **__: added(made, beside_late=True))
    with Retriever.create(tmp_path / "i", model=late_words) as retriever:
        retriever.add_pages(pages(["red green", "blue"]))
        assert set(retriever.search("red")[0].scores) == {"late", "dense"}
    monkeypatch.setattr("visret.embedders.load_embedder", missing)
    with pytest.raises(WeightsError, match="not installed"):
        Retriever.create(tmp_path / "j", model=late_words)
    assert not (tmp_path / "j").exists()


def missing(*_, **__):
    raise WeightsError("tiny: its weights come with a package that is not installed")


def test_reindexing_brings_the_model_that_the_new_one_names(made, index, late_words, monkeypatch):
    monkeypatch.setattr("visret.embedders.load_embedder", lambda *_, **__: added(made, beside_late=True))
    late_words.spec = replace(late_words.spec, beside="tiny")
    assert set(index.search("red")[0].scores) == {"late"}
    index.reindex(model=late_words)
    assert set(index.search("red")[0].scores) == {"late", "dense"}


def test_another_pack_of_this_name_is_refused(made, index, tmp_path):
    index.add_model(added(made))
    tiny_pack.write(tmp_path / "a.hmsemb", query_prefix="two ")
    with pytest.raises(ModelMismatch, match="tiny"):
        index.add_model(load_embedder(spec(tmp_path), dtype="float32"))


def test_several_indexes_are_not_fused_by_means(made, index, tmp_path):
    with Retriever.create(tmp_path / "j", model="toy") as other:
        other.add_pages(pages(["red green"]))
        fused = index.fused_with(pictures=other)
        with pytest.raises(InvalidArgument, match='"mean" is for one index'):
            fused.search("red", by=Plan({"late": 1, "pictures": 1}, fusion="mean"))


def test_words_of_a_question_that_only_the_added_model_knows_find_pages(made, index):
    """A page that late interaction puts last comes first if the single vectors say so clearly enough."""
    index.add_model(Words("embed", "words"))
    first = index.search("red green", by=Plan({"late": 1e-6, "dense": 1}, fusion="mean"))
    assert [hit.page for hit in first] == [hit.page for hit in index.search("red green", by="dense")]
