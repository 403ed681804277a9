"""Fine-tuning a model that looks at pages, at a size of seconds: it learns from pictures, goes on, and refuses."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from support import tiny, tiny_vision
from support.vectors import assert_same

from visret import Page, Retriever, load_encoder
from visret.encoders import _torch
from visret.errors import InvalidArgument
from visret.models import registry
from visret.training import trained as results
from visret.training import tuning
from visret.training.examples import examples_of, loaded_teacher
from visret.training.settings import Settings
from visret.training.tuning import train
from visret.types import Word

_torch.import_torchvision()

from visret.training import _picture_trainer  # noqa: E402

SMALL = {"steps": 12, "batch": 4, "negatives": 2, "rank": 4, "rate": 1e-2}
COLOURS = {"red": "red", "green": "green", "line": "blue", "box": "yellow", "sales": "black", "table": "white"}
COLOURS |= {"figure": "magenta", "circle": "cyan"}
REST = "on the page of the report in a column on the page"


def page(number, words):
    """A page with a square for each word, in its colour, and a text layer with a heading of these words."""
    image = Image.new("RGB", (112, 112), "grey")
    for at, word in enumerate(words):
        left, top = 56 * (at % 2), 56 * (at // 2)
        image.paste(COLOURS[word], (left, top, left + 56, top + 56))
    lines = [(words, 0.2), (REST.split(), 0.05)]
    said = tuple(
        Word(word, (0.05 * at, 0.3 * line, 0.05 * at + 0.04, 0.3 * line + height), (), line)
        for line, (some, height) in enumerate(lines)
        for at, word in enumerate(some)
    )
    return dataclasses.replace(Page.from_image(image, doc=f"{number}.png"), words=said)


def pages(colours=8):
    return [page(number, words) for number, words in enumerate(itertools.combinations(list(COLOURS)[:colours], 4))]


def checkpoint(architecture, folder, **given):
    small = {"longest_edge": 512} if "Idefics" in architecture or "ModernVBert" in architecture else {}
    with _torch.quiet():
        return tiny_vision.CHECKPOINTS[architecture](folder, **small, **given)


@pytest.fixture(scope="module")
def colqwen(tmp_path_factory):
    return checkpoint("ColQwen2", tmp_path_factory.mktemp("model") / "colqwen")


@pytest.fixture
def retriever(colqwen, tmp_path):
    with indexed(tmp_path / "index", colqwen) as made:
        yield made


@pytest.fixture(scope="module")
def learned(colqwen, tmp_path_factory):
    """What a short run gave."""
    folder = tmp_path_factory.mktemp("learned")
    with indexed(folder / "index", colqwen) as made:
        return train(made, folder / "made", Settings(**{**SMALL, "steps": 40}))


def indexed(folder, model):
    made = Retriever.create(folder, model=str(model))
    made.add_pages(pages())
    return made


def examples(retriever, **given):
    return [example for some in examples_of(retriever, seed=0, **given) for example in some]


def test_a_pair_has_the_page_it_was_made_of_and_pages_that_rank_high(retriever):
    made = examples(retriever, most=1000, negatives=3)
    assert (len(made), sum(example.held_out for example in made)) == (70, 7)
    for example in made:
        assert len(set(example.refs)) == 4
        assert example.texts == ()
        right, *others = (retriever.read(ref)[0].text.split("\n")[0] for ref in example.refs)
        assert right == example.question
        ranked = [hit.ref for hit in retriever.search(example.question, k=4)]
        assert set(example.refs[1:]) == set([ref for ref in ranked if ref != example.refs[0]][:3])
        assert example.question not in others


def test_a_text_model_teaches_by_the_words_of_a_page_and_another_by_its_picture(retriever, colqwen, tmp_path):
    text = load_encoder(str(tiny.bert(tmp_path / "bert")))
    looking = load_encoder(str(checkpoint("ColQwen2", tmp_path / "other", seed=3)))
    for teacher in (text, looking):
        example, *_ = examples(retriever, most=5, negatives=3, teacher=loaded_teacher(teacher.spec.source, retriever))
        (asked,) = teacher.encode_queries([example.question])
        made = teacher.encode_pages([retriever.page(ref) for ref in example.refs])
        expected = [(one.vectors @ asked.vectors.T).max(axis=0).mean() for one in made]
        assert np.allclose(example.scores, expected, atol=1e-5)
        assert len(set(example.scores)) == 4


@pytest.mark.parametrize("taught", [False, True])
def test_a_short_run_finds_more_of_what_was_held_out(retriever, colqwen, learned, tmp_path, taught):
    trained = learned
    if taught:  # by a model that has learned already
        settings = Settings(**{**SMALL, "steps": 40, "teacher": learned.folder})
        trained = train(retriever, tmp_path / "made", settings)
    folder, scores = Path(trained.folder), dict(trained.curve)
    assert (trained.held_out, trained.pairs) == (7, {"heading": 63})
    assert scores[trained.kept] > scores[0] + 0.2, trained.curve
    assert not (folder / ".training").exists()
    assert f"| {trained.kept} |" in (folder / "README.md").read_text("utf8")
    asked = [example for example in examples(retriever, most=1000, negatives=1) if example.held_out]
    # A teacher scores the few pages of a pair, so what is learned tells less of all 70.
    assert found(asked, folder, tmp_path) > found(asked, colqwen, tmp_path) + (0 if taught else 0.2)


def found(asked, folder, tmp_path):
    """How high the right pages rank, by visret itself, with the model in a folder."""
    with indexed(tmp_path / f"by-{folder.name}", folder) as made:
        ranked = made.search_many([one.question for one in asked], k=70)
    places = [[hit.ref for hit in hits].index(one.refs[0]) for one, hits in zip(asked, ranked, strict=True)]
    return np.mean([1 / (place + 1) for place in places])


@pytest.mark.parametrize("architecture", tiny_vision.CHECKPOINTS)
def test_the_folder_gives_the_vectors_of_the_network_that_was_trained(architecture, tmp_path, monkeypatch):
    used = in_training(monkeypatch)
    folder = trained_on(checkpoint(architecture, tmp_path / "base"), tmp_path)
    assert_as_trained(folder, tmp_path / "base", used)


def test_an_adapter_is_merged_with_what_was_learned(colqwen, tmp_path, monkeypatch):
    used = in_training(monkeypatch)
    tiny_vision.lora(tmp_path / "adapter", colqwen)
    folder = trained_on(tmp_path / "adapter", tmp_path)
    assert not list(folder.glob("adapter*"))
    assert_as_trained(folder, tmp_path / "adapter", used)


def test_weights_in_several_files_under_published_names_stay_there(tmp_path, monkeypatch):
    used = in_training(monkeypatch)
    base = checkpoint("ColQwen2", tmp_path / "base")
    weights = load_file(base / "model.safetensors")
    weights = {name.replace("language_model.", "model.", 1): value for name, value in weights.items()}
    (base / "model.safetensors").unlink()
    names = sorted(weights)
    shards = {"model-1.safetensors": names[:20], "model-2.safetensors": names[20:]}
    for file, some in shards.items():
        save_file({name: weights[name] for name in some}, base / file, metadata={"format": "pt"})
    where = {name: file for file, some in shards.items() for name in some}
    tiny.write_json(base / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    folder = trained_on(base, tmp_path)
    assert {file: sorted(load_file(folder / file)) for file in shards} == shards
    assert_as_trained(folder, base, used)


def in_training(monkeypatch):
    """The encoder whose network is trained, once it is. What it has learned last counts as best."""
    used, better = [], itertools.count(0.1, 0.1)
    monkeypatch.setattr(_picture_trainer, "ndcg", lambda ranked, right, k: next(better))

    def load(*given, **named):
        used.append(load_encoder(*given, **named))
        return used[-1]

    monkeypatch.setattr(_picture_trainer, "load_encoder", load)
    return used


def trained_on(base, tmp_path):
    with Retriever.create(tmp_path / "index", model=str(base)) as made:
        made.add_pages(pages(5))
        train(made, tmp_path / "made", Settings(**{**SMALL, "steps": 2, "batch": 2, "negatives": 1}))
    return tmp_path / "made"


def assert_as_trained(folder, base, used):
    asked, read = "a red box", page(0, ("red", "box", "sales", "line"))
    vectors = []
    for encoder in (used[-1], load_encoder(str(folder)), load_encoder(str(base))):
        (question,), (shown,) = encoder.encode_queries([asked]), encoder.encode_pages([read])
        vectors.append(np.concatenate([question.vectors, shown.vectors]))
    in_training, after, before = vectors
    assert_same(after, in_training)
    assert np.abs(after - before).max() > 0.005


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(retriever, tmp_path):
    def stop(line):
        if line.startswith("step 20") and "nDCG" in line:
            raise KeyboardInterrupt

    settings = Settings(**{**SMALL, "steps": 22})  # an epoch has 15
    whole = train(retriever, tmp_path / "whole", settings)
    with pytest.raises(KeyboardInterrupt):
        train(retriever, tmp_path / "parts", settings, progress=stop)
    parts = train(retriever, tmp_path / "parts", settings)
    assert (parts.curve, parts.kept) == (whole.curve, whole.kept)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(np.array_equal(one[name], two[name]) for name in one)


def test_only_some_questions_are_measured(retriever, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "_MEASURED", 3)
    assert train(retriever, tmp_path / "made", Settings(**{**SMALL, "steps": 1})).held_out == 3


def test_what_cannot_be_trained_is_refused(colqwen, tmp_path):
    refused = pytest.raises(InvalidArgument, match="colqwen cannot teach")
    with Retriever.create(tmp_path / "index", model=str(tiny.bert(tmp_path / "bert"))) as made, refused:
        loaded_teacher(str(colqwen), made)
    spec = registry.resolve(str(colqwen))
    with pytest.raises(InvalidArgument, match="without four_bit"):
        results.weight_files(dataclasses.replace(spec, options={"four_bit": True}))
