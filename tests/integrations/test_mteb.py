"""mteb evaluates models and whole systems on tasks made here, and comes to the figures of visret's own metrics."""

import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont
from support import tiny_text
from support.tiny_vision import CHECKPOINTS

mteb = pytest.importorskip("mteb", reason='needs mteb: pip install "visret[mteb]"')

import torch  # noqa: E402
from datasets import Dataset  # noqa: E402
from mteb.abstasks import AbsTaskRetrieval  # noqa: E402
from mteb.abstasks.task_metadata import TaskMetadata  # noqa: E402
from mteb.cache import ResultCache  # noqa: E402
from mteb.models import EncoderProtocol, SearchProtocol  # noqa: E402

from visret import Page, Retriever, evaluate, load_encoder  # noqa: E402
from visret.errors import InvalidArgument  # noqa: E402
from visret.integrations.mteb import VisretEncoder, VisretRetriever  # noqa: E402
from visret.maxsim import reference  # noqa: E402

TEXTS = {
    "d1": ("Bearings", "The main bearing of the turbine has a cracked roller and must be replaced before the summer."),
    "d2": ("Cats", "A cat sleeps for most of the day and hunts mice at night."),
    "d3": ("", "Invoices are paid within thirty days of their date, or interest is due."),
    "d4": ("Bread", "Knead the dough for ten minutes, let it rise, and bake it at 220 degrees."),
    "d5": ("", "The river flooded the lower town in March, and the bridge was closed for a week."),
    "d6": ("Dogs", "Dogs need a walk twice a day, in any weather."),
    "d7": ("", "The glacier has lost a third of its ice since measurements began."),
    "d8": ("Tax", "Companies with fewer than ten employees report their tax once a year."),
}
QUESTIONS = {
    "q1": ("Which part of the turbine is broken?", {"d1": 1}),
    "q2": ("What do pets need?", {"d6": 1, "d2": 1}),
    "q3": ("When does a customer have to pay?", {"d3": 1, "d8": 1}),
    "q4": ("How hot must the oven be?", {"d4": 1}),
    "q5": ("What does the weather do to towns and mountains?", {"d5": 1, "d7": 1, "d6": 0}),
}
COLOURS = {"i1": "red", "i2": "green", "i3": "blue", "i4": "yellow", "i5": "white"}
ASKED = {
    "q1": ("red", {"i1": 1, "i4": 1}),
    "q2": ("blue cyan", {"i3": 1}),
    "q3": ("orange red", {"i1": 1, "i5": 1}),
    "q4": ("green", {"i5": 1}),
}


def task_of(corpus, questions, category="t2t", *, top_ranked=None, name="Local"):
    """A retrieval task as mteb has them after loading. corpus: {id: columns}. questions: {id: (text, relevance)}."""
    kinds = ["text"] if category == "t2t" else ["text", "image"]

    class Local(AbsTaskRetrieval):
        metadata = TaskMetadata(
            name=name,
            description="made here",
            dataset={"path": "visret/nowhere", "revision": "1"},
            type="Retrieval" if top_ranked is None else "Reranking",
            category=category,
            modalities=kinds,
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_5",
        )

        def load_data(self, num_proc=None, **kwargs):
            asked = [{"id": one, "text": text} for one, (text, _) in questions.items()]
            pages = [{"id": one, **columns} for one, columns in corpus.items()]
            split = {
                "corpus": Dataset.from_list(pages),
                "queries": Dataset.from_list(asked),
                "relevant_docs": {one: dict(relevant) for one, (_, relevant) in questions.items()},
                "top_ranked": top_ranked,
            }
            self.dataset = {"default": {"test": split}}
            self.data_loaded = True

    return Local()


def texts(**more):
    corpus = {one: {"title": title, "text": text} for one, (title, text) in TEXTS.items()}
    return task_of(corpus, QUESTIONS, **more)


def pictures(**more):
    corpus = {one: {"image": Image.new("RGB", (90, 120), colour)} for one, colour in COLOURS.items()}
    return task_of(corpus, ASKED, "t2i", **more)


def run(model, task, cache=None):
    """The scores of mteb for one task."""
    (made,) = mteb.evaluate(model, [task], cache=cache, show_progress_bar=False, co2_tracker=False).task_results
    (scores,) = made.scores["test"]
    return scores


def own(folder, model, pages, questions, k=5, **storage):
    """The same measures from an index of visret's own."""
    with Retriever.create(folder / "own.visret", model=model, **storage) as retriever:
        retriever.add_pages(pages)
        right = {text: [(one, 1) for one, grade in answers.items() if grade] for text, answers in questions.values()}
        made = evaluate.run(retriever, right, k=k)
    return {"ndcg_at_5": made.ndcg, "recall_at_5": made.recall, "mrr_at_5": made.mrr}


def assert_agrees(scores, figures):
    assert {name: scores[name] for name in figures} == pytest.approx(figures, abs=1e-5)
    assert 0.3 < figures["ndcg_at_5"] < 1  # so that it tells something


@pytest.fixture(scope="module")
def colbert(tmp_path_factory):
    return load_encoder(tiny_text.pylate(tmp_path_factory.mktemp("checkpoint") / "colbert"))


@pytest.fixture(params=["reads_words", "colbert"])
def text_model(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def system(tmp_path):
    """Makes a system with a folder of its own, and closes it."""
    made = []

    def make(model, **settings):
        made.append(VisretRetriever(model, **{"folder": tmp_path / "kept", **settings}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def text_pages():
    return [Page.from_text(f"{title} {text}".strip(), doc=one) for one, (title, text) in TEXTS.items()]


def test_text(text_model, system, tmp_path):
    figures = own(tmp_path, text_model, text_pages(), QUESTIONS, codec="float32")
    encoder, whole = VisretEncoder(text_model), system(text_model)
    assert isinstance(encoder, EncoderProtocol)
    assert not isinstance(encoder, SearchProtocol)
    assert isinstance(whole, SearchProtocol)
    assert not isinstance(whole, EncoderProtocol)
    assert_agrees(run(encoder, texts()), figures)
    assert_agrees(run(whole, texts()), figures)


def test_pictures(toy, system, tmp_path):
    pages = [Page.from_image(Image.new("RGB", (90, 120), colour), doc=one) for one, colour in COLOURS.items()]
    figures = own(tmp_path, toy, pages, ASKED)
    assert_agrees(run(VisretEncoder("toy"), pictures()), figures)
    assert_agrees(run(system("toy"), pictures()), figures)


def test_a_checkpoint_that_looks_at_pages(system, tmp_path):
    CHECKPOINTS["ColQwen2"](tmp_path / "ColQwen2")
    encoder = load_encoder(tmp_path / "ColQwen2")
    draws = np.random.default_rng(0)
    drawn = {f"p{i}": Image.fromarray(draws.integers(0, 255, (80, 60, 3), np.uint8)) for i in range(6)}
    questions = {f"q{i}": (f"question number {i}", {f"p{i}": 1, f"p{i + 1}": 1}) for i in range(3)}
    task = task_of({one: {"image": image} for one, image in drawn.items()}, questions, "t2i")
    pages = [Page.from_image(image, doc=one) for one, image in drawn.items()]
    figures = own(tmp_path, encoder, pages, questions, codec="float32")
    assert_agrees(run(VisretEncoder(encoder), task), figures)
    assert_agrees(run(system(encoder, codec="float32"), task), figures)


def test_a_model_that_reads_text_is_given_the_words_of_pictures(reads_words, system, glyph):
    font = ImageFont.load_default(28)
    corpus = {}
    for one, line in {"a": "turbine bearing", "b": "cats and dogs", "c": "river and flood"}.items():
        image = Image.new("RGB", (500, 120), "white")
        ImageDraw.Draw(image).text((30, 40), line, "black", font)
        corpus[one] = {"image": image}
    questions = {"q1": ("machine part", {"a": 1}), "q2": ("pets", {"b": 1}), "q3": ("high water", {"c": 1})}
    task = task_of(corpus, questions, "t2i")
    assert run(system(reads_words), task)["ndcg_at_5"] == 1
    texts = {"a": "turbine bearing", "b": " ", "c": "river and flood"}  # one of them is on the picture alone
    both = task_of({one: {**corpus[one], "text": texts[one]} for one in corpus}, questions, "t2it", name="Both")
    assert run(system(reads_words), both)["ndcg_at_5"] == 1
    with pytest.raises(InvalidArgument, match="finds nothing to read in the corpus of Local"):
        run(system(reads_words, ocr="never"), task)


def test_of_picture_and_text_each_model_takes_its_own(toy, reads_words, system):
    words = dict(zip(COLOURS, ["a red rose", "green grass", "the sea", "a lemon", "white snow"], strict=True))
    corpus = {one: {"image": Image.new("RGB", (90, 120), COLOURS[one]), "text": words[one]} for one in COLOURS}
    answers = {"q1": ("red", {"i1": 1}), "q2": ("white", {"i5": 1})}
    for model in (toy, reads_words):
        for made in (VisretEncoder(model), system(model)):
            assert run(made, task_of(corpus, answers, "t2it"))["ndcg_at_5"] == 1


def test_similarity_is_maxsim(toy, monkeypatch):
    draws = np.random.default_rng(1)
    questions = [draws.normal(size=(n, 8)).astype(np.float32) for n in (3, 1, 7)]
    pages = [draws.normal(size=(n, 8)).astype(np.float32) for n in (5, 2, 9, 1)]
    offsets = np.cumsum([0, 5, 2, 9, 1])
    right = np.stack([reference.page_scores(question, np.concatenate(pages), offsets) for question in questions])
    encoder = VisretEncoder(toy)
    for block in (1, 60, 1 << 26):
        monkeypatch.setattr("visret.integrations.mteb.BLOCK_VALUES", block)
        given = [torch.from_numpy(one) for one in questions]
        assert encoder.similarity(given, pages).numpy() == pytest.approx(right, abs=1e-5)
    assert encoder.similarity(questions[0], pages[0]).numpy() == pytest.approx(right[:1, :1], abs=1e-5)
    assert encoder.similarity(given[0][None], pages).numpy() == pytest.approx(right[:1], abs=1e-5)
    assert encoder.similarity_pairwise(given, pages[:3]).numpy() == pytest.approx(np.diag(right), abs=1e-5)


def test_scores_are_those_of_a_search_and_no_more_than_asked_for(system, toy):
    whole, task = system("toy", codec="float32", by="maxsim"), pictures()
    task.load_data()
    split = task.dataset["default"]["test"]
    how = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default", "encode_kwargs": {}}
    whole.index(split["corpus"], **how)
    found = whole.search(split["queries"], top_k=2, **how)
    assert list(found) == list(ASKED)
    assert all(len(scores) == 2 for scores in found.values())
    assert found["q1"] == {"i1": pytest.approx(1), "i4": pytest.approx(0.5)}
    for scores in found.values():
        assert all(better >= worse for better, worse in pairwise(scores.values()))


def test_ranking_again(reads_words, system):
    top = {"q1": ["d2", "d1", "d4"], "q2": ["d6", "d3"], "q3": ["d2", "d8"], "q4": ["d4"]}
    asked = {one: QUESTIONS[one] for one in top}
    found = {}
    for model in (VisretEncoder(reads_words), system(reads_words, codec="float32")):
        task = task_of({one: {"title": t, "text": text} for one, (t, text) in TEXTS.items()}, asked, top_ranked=top)
        found[model] = run(model, task)
        assert found[model]["ndcg_at_5"] > 0.5
    first, second = found.values()
    assert first["ndcg_at_5"] == pytest.approx(second["ndcg_at_5"])
    task.load_data()
    split = task.dataset["default"]["test"]
    how = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default", "encode_kwargs": {}}
    model.index(split["corpus"], **how)
    some = {"q1": top["q1"], "q2": []}
    scores = model.search(split["queries"], top_k=2, top_ranked=some, **how)
    assert [set(one) for one in scores.values()] == [{"d1", *scores["q1"]}, set(), set(), set()]
    assert len(scores["q1"]) == 2


def test_what_an_index_holds_is_not_read_again(toy, system, monkeypatch):
    read = []
    encode = type(toy).encode_pages

    def note(self, pages):
        read.extend(page.ref.doc.split()[0] for page in pages)
        return encode(self, pages)

    monkeypatch.setattr(type(toy), "encode_pages", note)
    corpus = {one: {"image": Image.new("RGB", (90, 120), colour)} for one, colour in COLOURS.items()}
    whole = system("toy")
    first = run(whole, task_of(corpus, ASKED, "t2i"))
    assert sorted(read) == sorted(COLOURS)
    read.clear()
    assert run(whole, task_of(corpus, ASKED, "t2i")) == first
    assert not read
    changed = {**corpus, "i2": {"image": Image.new("RGB", (90, 120), "cyan")}}
    del changed["i3"]
    run(whole, task_of(changed, {"q1": ASKED["q1"]}, "t2i"))
    assert read == ["i2"]
    assert {name.split()[0] for name in whole._retriever.documents()} == set(changed)
    read.clear()
    run(system("toy", codec="float32"), task_of(corpus, ASKED, "t2i"))  # another way of storing, another index
    assert sorted(read) == sorted(COLOURS)


def test_a_run_that_was_interrupted_goes_on(toy, system, monkeypatch):
    corpus = {f"i{n}": {"image": Image.new("RGB", (90, 120), (n * 9, 0, 0))} for n in range(20)}
    asked = {"q1": ("red", {"i19": 1})}
    encode = type(toy).encode_pages
    monkeypatch.setattr("visret.ingest.recorder.COMMIT_BYTES", 1)

    def stop(self, pages):
        if any(page.ref.doc.startswith("i12 ") for page in pages):
            raise KeyboardInterrupt
        return encode(self, pages)

    with monkeypatch.context() as patch:
        patch.setattr(type(toy), "encode_pages", stop)
        with pytest.raises(KeyboardInterrupt):
            run(system("toy"), task_of(corpus, asked, "t2i"))
    read = []
    with monkeypatch.context() as patch:
        patch.setattr(type(toy), "encode_pages", lambda self, pages: read.extend(pages) or encode(self, pages))
        whole = system("toy")
        assert run(whole, task_of(corpus, asked, "t2i"))["ndcg_at_5"] == 1
    assert len(read) == 8
    assert whole._retriever.info()["pages"] == 20


def test_pages_that_hold_nothing(reads_words, system, caplog):
    corpus = {"a": {"text": "a cat"}, "b": {"text": " "}, "c": {"text": "a dog"}}
    asked = {"q1": ("a kitten", {"a": 1}), "q2": ("a puppy", {"c": 1})}
    for model in (VisretEncoder(reads_words), system(reads_words)):
        assert run(model, task_of(corpus, asked))["ndcg_at_5"] == 1
    assert "Local: 1 of 3 pages hold nothing for the model" in caplog.text


def test_two_pages_of_one_id_are_found_by_the_better(reads_words, system):
    whole, task = system(reads_words), texts()
    how = {"task_metadata": task.metadata, "hf_split": "test", "hf_subset": "default", "encode_kwargs": {}}
    both = [{"id": "a", "text": "a cat"}, {"id": "a", "text": "the tax of a company"}, {"id": "a", "text": "a cat"}]
    whole.index(Dataset.from_list(both), **how)
    found = whole.search(Dataset.from_list([{"id": "q", "text": "a cat"}]), top_k=5, **how)
    assert len(found["q"]) == 1
    assert found["q"]["a"] == pytest.approx(whole._retriever.search("a cat")[0].score)


def test_results_are_kept_apart_by_what_decides_them(toy, reads_words, colbert, system, tmp_path, monkeypatch):
    metas = [one(model).mteb_model_meta for model in (toy, reads_words, colbert) for one in (VisretEncoder, system)]
    metas += [system("toy", codec="binary").mteb_model_meta, system("toy", exact=True).mteb_model_meta]
    assert len({(meta.name, meta.revision, meta.experiment_name) for meta in metas}) == len(metas)
    assert metas[0].name == "visret/toy"
    assert all(re.fullmatch(r"visret/[\w.-]+", meta.name) for meta in metas)
    assert metas[2].n_parameters == 22_700_000
    cache = ResultCache(tmp_path / "results")
    first = run(system("toy"), pictures(), cache)
    monkeypatch.setattr(VisretRetriever, "index", None)
    assert run(system("toy"), pictures(), cache)["main_score"] == first["main_score"]
    with pytest.raises(TypeError):
        run(system("toy", exact=True), pictures(), cache)
    monkeypatch.undo()
    run(system("toy", codec="binary"), pictures(), cache)
    assert len([*(tmp_path / "results").rglob("Local.json")]) == 2


def test_temporary_indexes_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    whole = VisretRetriever("toy")
    run(whole, pictures())
    run(whole, pictures(name="Other"))
    (folder,) = tmp_path.glob("visret-mteb-*")
    assert len([*folder.iterdir()]) == 1
    whole.close()
    assert not [*folder.iterdir()]
    del whole
    assert not folder.exists()


def test_a_model_that_looks_at_pages_needs_pictures(system):
    written = {one: {"text": colour} for one, colour in COLOURS.items()}
    with pytest.raises(InvalidArgument, match="toy reads pages as images, and Local has none"):
        run(VisretEncoder("toy"), task_of(written, ASKED))
    with pytest.raises(InvalidArgument, match="toy finds nothing to read in the corpus of Local"):
        run(system("toy"), task_of(written, ASKED))


def test_a_model_that_reads_text_cannot_encode_pictures(reads_words):
    encoder = VisretEncoder(reads_words)
    with pytest.raises(ValueError, match="none overlap"):  # mteb says it first
        run(encoder, task_of({"a": {"image": Image.new("RGB", (9, 9))}}, ASKED, "i2i"))
    encoder.mteb_model_meta = VisretEncoder("toy").mteb_model_meta
    with pytest.raises(InvalidArgument, match=r"reads pages as texts.*VisretRetriever reads the words of pictures"):
        run(encoder, pictures())


def test_wrong_arguments(toy, system):
    with pytest.raises(InvalidArgument, match=r"toy, revision: models\.yaml names '', got 'main'"):
        VisretEncoder("toy", "main")
    with pytest.raises(InvalidArgument, match="toy is loaded already, so device cannot be chosen"):
        VisretEncoder(toy, device="cpu")
    how = {"task_metadata": texts().metadata, "hf_split": "test", "hf_subset": "default"}
    with pytest.raises(InvalidArgument, match="there is no index to search; call index first"):
        system(toy).search(Dataset.from_list([]), top_k=1, encode_kwargs={}, **how)
    with pytest.raises(InvalidArgument, match="precision: vectors are float32, got 'int8'"):
        system(toy).index(Dataset.from_list([]), encode_kwargs={"precision": "int8"}, **how)
    whole, shown = system(toy), Dataset.from_list([{"id": "q", "image": Image.new("RGB", (9, 9))}])
    how["task_metadata"] = task_of({"a": {"image": Image.new("RGB", (9, 9))}}, ASKED, "i2i").metadata
    whole.index(shown, encode_kwargs={}, **how)
    with pytest.raises(InvalidArgument, match="takes questions as text alone, and those of Local are not"):
        whole.search(shown, top_k=1, encode_kwargs={}, **how)


def test_the_snippet_of_the_documents_runs(tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text("utf8")
    (snippet,) = re.findall(r"```py\n(.*?)```", text, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(mteb, "get_benchmark", lambda name: [pictures(name=name)])
    monkeypatch.setattr("mteb.evaluate.__kwdefaults__", {**mteb.evaluate.__kwdefaults__, "cache": None})
    names = {}
    exec(snippet.replace("vidore/colqwen2.5-v0.2", "toy"), names)
    assert "ViDoRe(v2)" in capsys.readouterr().out
    names["system"].close()
    assert [*(tmp_path / "mteb-indexes").glob("ViDoRe*.visret")]
