"""Fine-tuning a text model on the pages of an index, at a size of seconds: it learns, goes on, and refuses."""

import itertools
import json
import random

import numpy as np
import pytest
from safetensors.torch import load_file
from support import tiny
from support.talker import talker

from visret import Page, Retriever, cli, load_encoder
from visret.encoders import _torch
from visret.errors import InvalidArgument
from visret.server import llm
from visret.training.examples import examples_of, loaded_teacher
from visret.training.settings import Settings
from visret.training.tuning import train
from visret.training.written import Writer

_torch.import_torchvision()

from visret.training import _text_trainer  # noqa: E402

ASKED, MEANT, OTHER = "abcdefgh", "klmnopqr", "uvwxyz"  # each word of a heading stands for another one in the text
SMALL = {"steps": 12, "batch": 8, "negatives": 2, "rank": 4, "rate": 1e-2}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return tiny.bert(tmp_path_factory.mktemp("model"))


def page(number, concepts, rng):
    below = [MEANT[at] for at in concepts] + rng.choices(OTHER, k=12)
    rng.shuffle(below)
    heading = " ".join(ASKED[at] for at in concepts)
    return Page.from_text(f"# {heading}\n{' '.join(below)}", doc=f"{number}.txt")


@pytest.fixture
def retriever(checkpoint, tmp_path):
    rng = random.Random(0)
    pages = [page(number, chosen, rng) for number, chosen in enumerate(itertools.combinations(range(8), 4))]
    with Retriever.create(tmp_path / "index", model=str(checkpoint)) as made:
        made.add_pages(pages)
        yield made


def examples(retriever, **given):
    return [example for some in examples_of(retriever, seed=0, **given) for example in some]


def test_a_pair_has_its_text_and_others_that_rank_high(retriever):
    made = examples(retriever, most=1000, negatives=3)
    assert len(made) == 70
    assert sum(example.held_out for example in made) == 7
    for example in made:
        assert len(set(example.texts)) == len(set(example.pages)) == 4
        assert example.scores is None
        wanted = {MEANT[ASKED.index(word)] for word in example.question.split()}
        assert wanted <= set(example.texts[0].split())


def test_a_teacher_scores_the_texts_of_each_pair(retriever, checkpoint):
    teacher = loaded_teacher(str(checkpoint), retriever)
    example = examples(retriever, most=5, negatives=3, teacher=teacher)[0]
    (asked,) = retriever.encoder.encode_queries([example.question])
    made = retriever.encoder.encode_pages([Page.from_text(text, doc="a") for text in example.texts])
    expected = [(one.vectors @ asked.vectors.T).max(axis=0).mean() for one in made]
    assert np.allclose(example.scores, expected, atol=1e-5)


def test_examples_that_are_made_already_are_not_made_again(retriever):
    whole = examples(retriever, most=1000, negatives=3)
    assert examples(retriever, most=1000, negatives=3, done=64) == whole[64:]


@pytest.mark.long
@pytest.mark.parametrize("taught", [False, True])
def test_a_short_run_finds_more_of_what_was_held_out(retriever, checkpoint, tmp_path, taught):
    teacher = None
    if taught:  # one that has learned already
        teacher = train(retriever, tmp_path / "teacher", Settings(**{**SMALL, "steps": 120})).folder
    trained = train(retriever, tmp_path / "made", Settings(**{**SMALL, "steps": 120, "teacher": teacher}))
    scores = dict(trained.curve)
    assert scores[trained.kept] > scores[0] + 0.1, trained.curve
    original, made = (load_file(folder / "model.safetensors") for folder in (checkpoint, tmp_path / "made"))
    assert original.keys() == made.keys()
    assert any(not np.array_equal(original[name], made[name]) for name in made)
    assert not (tmp_path / "made" / ".training").exists()
    assert f"| {trained.kept} |" in (tmp_path / "made" / "README.md").read_text("utf8")
    asked = [example for example in examples(retriever, most=1000, negatives=1) if example.held_out]
    assert found(asked, tmp_path / "made", retriever, tmp_path) > found(asked, checkpoint, retriever, tmp_path)


def found(asked, folder, retriever, tmp_path):
    """How high the right pages rank, by visret itself, with the model in a folder."""
    pages = [retriever.read((doc, 1))[0] for doc in retriever.documents()]
    with Retriever.create(tmp_path / f"by-{folder.name}", model=str(folder)) as made:
        made.add_pages(Page.from_text(page.text.split("\n")[1], doc=page.ref.doc) for page in pages)
        ranked = made.search_many([one.question for one in asked], k=70)
    right = {" ".join(page.text.split("\n")[1].split()): page.ref.doc for page in pages}
    places = [[hit.doc for hit in hits].index(right[one.texts[0]]) for one, hits in zip(asked, ranked, strict=True)]
    return np.mean([1 / (place + 1) for place in places])


@pytest.mark.long
@pytest.mark.parametrize("kind", ["bert", "colbert", "xlm-roberta"])
def test_what_is_trained_is_what_visret_computes(kind, tmp_path):
    """The network under training gives visret's own vectors, and the folder that comes of it loads."""
    folder = tmp_path / "base"
    folder.mkdir()
    getattr(tiny, kind)(folder) if hasattr(tiny, kind) else tiny.sentence(folder, kind)
    encoder = load_encoder(str(folder), dtype="float32")
    network = _text_trainer.network_of(encoder).eval()
    question, text = "where is the red circle?", "a circle of red lines in a box"
    (asked,) = network.encode_query([question], convert_to_numpy=True)
    (read,) = network.encode_document([text], convert_to_numpy=True)
    assert np.allclose(asked, encoder.encode_queries([question])[0].vectors, atol=1e-5)
    assert np.allclose(read, encoder.encode_pages([Page.from_text(text, doc="a")])[0].vectors, atol=1e-5)
    rng = random.Random(0)
    pages = [page(number, chosen, rng) for number, chosen in enumerate(itertools.combinations(range(6), 4))]
    with Retriever.create(tmp_path / "index", model=str(folder)) as made:
        made.add_pages(pages)
        train(made, tmp_path / "made", Settings(**{**SMALL, "steps": 2}))
    assert load_encoder(str(tmp_path / "made")).encode_queries(["red"])[0].vectors.shape[1] == encoder.spec.dim


@pytest.mark.long
def test_a_run_that_was_stopped_goes_on_to_the_same_weights(retriever, tmp_path):
    def stop(line):
        if line.startswith("step 10") and "nDCG" in line:
            raise KeyboardInterrupt

    whole = train(retriever, tmp_path / "whole", Settings(**SMALL))
    with pytest.raises(KeyboardInterrupt):
        train(retriever, tmp_path / "parts", Settings(**SMALL), progress=stop)
    with pytest.raises(InvalidArgument, match="another rate"):
        train(retriever, tmp_path / "parts", Settings(**{**SMALL, "rate": 1e-3}))
    parts = train(retriever, tmp_path / "parts", Settings(**SMALL))
    assert (parts.curve, parts.kept) == (whole.curve, whole.kept)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.long
def test_the_command_says_what_it_made(retriever, tmp_path, capsys):
    index, folder = str(retriever._index.path), str(tmp_path / "made")
    retriever.close()
    chosen = [f"--{name}={value}" for name, value in {**SMALL, "steps": 2}.items()]
    assert cli.main(["train", index, folder, *chosen, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["pairs"], said["held_out"]) == ({"heading": 63}, 7)
    assert cli.main(["train", index, folder, *chosen]) == 2
    assert "already holds something" in capsys.readouterr().err


def test_a_language_model_writes_questions_and_is_asked_once_for_each(retriever, tmp_path):
    file = tmp_path / "written.jsonl"
    with talker(pieces=["\n", '"which bird', ' hides?"', "\nIt is the bittern."]) as (url, asked):
        for _ in range(2):
            writer = Writer(llm.named(url, "small"), file)
            made = examples(retriever, most=1000, negatives=1, writer=writer, written=3)
            written = [example for example in made if example.kind == "written"]
            assert [example.question for example in written] == ["which bird hides?"] * 3
            file.write_text(file.read_text("utf8") + '{"text": "cut o', "utf8")
    texts = [body["messages"][0]["content"] for _, _, body in asked]
    assert len(texts) == 3
    assert all(any(example.texts[0] in text for text in texts) for example in written)


def test_what_cannot_be_trained_is_refused(checkpoint, tmp_path):
    refused = pytest.raises(InvalidArgument, match="toy cannot be trained here")
    with Retriever.create(tmp_path / "pictures", model="toy") as made, refused:
        train(made, tmp_path / "made")
    assert not (tmp_path / "made").exists()
    with (
        Retriever.create(tmp_path / "text", model=str(checkpoint)) as made,
        pytest.raises(InvalidArgument, match="toy cannot teach"),
    ):
        loaded_teacher("toy", made)
    with pytest.raises(InvalidArgument, match="steps"):
        Settings(steps=0)


def test_an_index_with_too_little_text_is_refused(checkpoint, tmp_path):
    with Retriever.create(tmp_path / "index", model=str(checkpoint)) as made:
        made.add_pages([Page.from_text("red", doc="a")])
        with pytest.raises(InvalidArgument, match="index more documents"):
            examples(made, most=5, negatives=1)
