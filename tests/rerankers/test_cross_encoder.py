"""Cross-encoders give what sentence-transformers' CrossEncoder gives, for every page and every part of it."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from support import tiny, tiny_rerankers
from support.tiny import TEXTS

from visret import Page, load_reranker
from visret.encoders import _torch
from visret.errors import InvalidArgument, InvalidModelSpec, ShapeError, UnknownModel, WeightsError

QUESTION = "where is the red box"
PAGES = [Page.from_text(text, doc=f"{number}") for number, text in enumerate(TEXTS)]
LONG = " ".join(f"{tiny.WORDS[number % len(tiny.WORDS)]} {number}" for number in range(300))


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("rerankers")
    with _torch.quiet():
        return {
            "logits": tiny_rerankers.cross_encoder(root / "logits", longest=64),
            "sigmoid": tiny_rerankers.cross_encoder(root / "sigmoid", activation="Sigmoid"),
            "language model": tiny_rerankers.causal(root / "causal"),
        }


def original(folder):
    from sentence_transformers import CrossEncoder

    with _torch.quiet():
        return CrossEncoder(str(folder), device="cpu")


def loaded(folder, **more):
    return load_reranker(folder, device="cpu", dtype="float32", **more)


@pytest.mark.parametrize("kind", ["logits", "sigmoid", "language model"])
def test_scores_are_those_of_the_library_whatever_the_batch(folders, kind):
    expected = original(folders[kind]).predict([(QUESTION, text) for text in TEXTS])
    assert np.ptp(expected) > 1e-3
    for batch in (2, 32):
        reranker = loaded(folders[kind], batch=batch)
        assert reranker.batch == batch
        scores = reranker.scores(QUESTION, PAGES)
        assert scores.dtype == np.float32
        assert np.allclose(scores, expected, rtol=0, atol=1e-5)
    alone = [reranker.scores(QUESTION, [page])[0] for page in PAGES]
    assert np.allclose(alone, expected, rtol=0, atol=1e-5)


def test_the_score_of_a_long_page_is_that_of_its_best_window(folders):
    library = original(folders["logits"])
    reranker = loaded(folders["logits"])
    page = Page.from_text(LONG, doc="long")
    windows = reranker._parts(LONG, reranker._room(QUESTION))
    assert len(windows) > 10
    expected = library.predict([(QUESTION, window) for window in windows])
    assert np.ptp(expected) > 1e-3
    assert reranker.scores(QUESTION, [PAGES[0], page, PAGES[1]])[1] == pytest.approx(expected.max(), abs=1e-5)


def test_windows_overlap_and_leave_nothing_out(folders):
    reranker = loaded(folders["logits"])
    room = reranker._room(QUESTION)
    tokenizer = reranker._model.tokenizer
    windows = reranker._parts(LONG, room)
    starts = [LONG.index(window) for window in windows]  # numbers make every one of them unlike the others
    ends = [start + len(window) for start, window in zip(starts, windows, strict=True)]
    assert (starts[0], ends[-1]) == (0, len(LONG))
    assert all(start < end for start, end in zip(starts[1:], ends[:-1], strict=True))
    for window in windows:
        taken = tokenizer(QUESTION, window, truncation=False)["input_ids"]
        assert len(taken) <= reranker._model.max_seq_length
    exact = " ".join(["red"] * room)
    assert reranker._parts(exact, room) == [exact]
    assert len(reranker._parts(f"{exact} red", room)) == 2


def test_one_window_is_the_beginning_that_the_library_reads(folders):
    reranker = loaded(folders["logits"], options={"windows": 1})
    expected = original(folders["logits"]).predict([(QUESTION, LONG)])
    assert reranker.scores(QUESTION, [Page.from_text(LONG, doc="long")]) == pytest.approx(expected, abs=1e-5)


def test_a_shorter_limit_can_be_asked_for(folders):
    with _torch.quiet():
        from sentence_transformers import CrossEncoder

        library = CrossEncoder(str(folders["sigmoid"]), device="cpu", max_length=60)
    reranker = loaded(folders["sigmoid"], options={"longest": 60, "windows": 1})
    expected = library.predict([(QUESTION, LONG)])
    assert reranker.scores(QUESTION, [Page.from_text(LONG, doc="long")]) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InvalidModelSpec, match="longest: it reads at most 512 tokens, got 1024"):
        loaded(folders["sigmoid"], options={"longest": 1024})


def test_a_question_that_leaves_no_room_is_refused(folders):
    reranker = loaded(folders["logits"])
    with pytest.raises(InvalidArgument, match=r"takes .* of the 64 tokens that .* reads; ask a shorter one"):
        reranker.scores("where " * 60, PAGES)
    for empty in ("", " \n"):
        with pytest.raises(InvalidArgument, match="a question needs at least one word"):
            reranker.scores(empty, PAGES)


def test_pages_without_text_are_refused(folders):
    reranker = loaded(folders["logits"])
    blank = Page.from_text(" \n", doc="blank")
    assert not reranker.can_read(blank)
    assert reranker.can_read(PAGES[0])
    with pytest.raises(ShapeError, match=r"doc='blank'.*finds nothing to read on this page"):
        reranker.scores(QUESTION, [PAGES[0], blank])
    assert reranker.scores(QUESTION, []).shape == (0,)


def test_a_page_too_many_for_the_memory_makes_smaller_batches(folders, monkeypatch):
    reranker = loaded(folders["logits"], batch=4)
    whole = reranker._batch_scores

    def scarce(question, pages):
        if len(pages) > 1:
            raise RuntimeError("CUDA out of memory")
        return whole(question, pages)

    expected = reranker.scores(QUESTION, PAGES)
    monkeypatch.setattr(reranker, "_batch_scores", scarce)
    assert np.allclose(reranker.scores(QUESTION, PAGES), expected, rtol=0, atol=1e-5)
    assert reranker.batch == 1


def test_a_head_that_is_not_in_the_file_is_refused(folders, tmp_path):
    folder = tiny_rerankers.without_weights(folders["logits"], tmp_path / "headless", "classifier")
    with pytest.raises(WeightsError, match=r"not in the checkpoint's weights: classifier\.\w+"):
        loaded(folder)


def test_a_classifier_of_three_kinds_is_no_reranker(tmp_path):
    with _torch.quiet():
        folder = tiny_rerankers.cross_encoder(tmp_path / "nli", labels=3)
    with pytest.raises(WeightsError, match="gives 3 numbers for a pair; a reranker gives one score"):
        loaded(folder)


def test_a_language_model_must_say_how_it_answers(folders, tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(folders["language model"], folder)
    (folder / "modules.json").unlink()
    with pytest.raises(WeightsError, match=r"a language model whose folder has no modules\.json"):
        load_reranker(tiny_rerankers.spec_of(folder, "cross_encoder"))


def test_code_of_a_repository_is_never_run(folders, tmp_path):
    folder = tmp_path / "remote"
    shutil.copytree(folders["logits"], folder)
    config = json.loads((folder / "config.json").read_text())
    remote = {"model_type": "new", "auto_map": {"AutoModelForSequenceClassification": "modeling.New"}}
    tiny.write_json(folder / "config.json", {**config, **remote})
    (folder / "modeling.py").write_text("raise SystemExit('ran')")
    with pytest.raises(WeightsError, match="only code in its repository can run it"):
        loaded(folder)
    with pytest.raises(WeightsError, match="only code in its repository can run it"):
        load_reranker("Alibaba-NLP/gte-multilingual-reranker-base")


def test_what_is_no_reranker_is_refused():
    with pytest.raises(InvalidModelSpec, match="toy is no reranker but a model that makes an index"):
        load_reranker("toy")
    with pytest.raises(UnknownModel, match=r"there is no model 'bge-reranker'; did you mean .*BAAI/bge-reranker-base"):
        load_reranker("bge-reranker")
    with pytest.raises(InvalidArgument, match="batch must be a whole number, at least 1, got 0"):
        load_reranker("toy", batch=0)
    with pytest.raises(WeightsError, match=r"ms-marco-MiniLM-L6-v2 is not .*on this machine"):
        load_reranker("ms-marco-minilm")
