import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from visret import registry
from visret.errors import InvalidModelSpec, UnknownModel, WeightsError

ENTRY = {
    "family": "toy",
    "source": "",
    "revision": "",
    "modality": "image",
    "dim": 4,
    "license": "mit",
    "size_gb": 0,
}
HUB = {**ENTRY, "family": "colqwen", "source": "nobody/nothing"}


@pytest.fixture
def private(tmp_path, monkeypatch):
    """Writes a private models.yaml and puts it in force."""

    def write(content):
        path = tmp_path / "private.yaml"
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False))
        monkeypatch.setenv("VISRET_MODELS", str(path))
        return path

    return write


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a folder with these files; weights are any bytes."""

    def write(name="model", *, weights="model.safetensors", **files):
        folder = tmp_path / name
        for file, content in files.items():
            path = folder / file.replace("__", "/").replace("_json", ".json").replace("_metadata", ".metadata")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
        (folder / weights).write_bytes(b"weights")
        return folder

    return write


@pytest.fixture(autouse=True)
def caches(tmp_path, monkeypatch):
    """Its own caches, and no network whatever happens."""
    from huggingface_hub import constants

    monkeypatch.setenv("VISRET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def test_every_entry_is_valid_and_resolves_by_all_its_names():
    assert registry.names()[0] == "all-minilm-l6-v2"
    for spec in registry.specs():
        for name in (spec.name, *spec.aliases):
            assert registry.resolve(name) == spec


def test_the_default_is_in_its_package():
    spec = registry.get("all-minilm-l6-v2")
    where = registry.location(spec)
    assert (where.kind, where.here) == ("package", True)
    assert registry.sha256(where.path / "model.safetensors") == spec.revision


def test_toy_has_no_weights():
    assert registry.location(registry.get("toy")) == registry.Location("none", None)
    assert registry.location(registry.get("toy")).here


def test_the_file_of_a_checkout_wins_over_a_copy_beside_the_package(tmp_path, monkeypatch):
    package = tmp_path / "visret"
    package.mkdir()
    (package / "models.yaml").write_text("packaged: 1")
    (tmp_path / "models.yaml").write_text("of the folder above: 1")
    monkeypatch.setattr(registry, "_PACKAGE", package)
    for pyproject, read in (
        (None, package),  # installed; the folder above has a models.yaml of somebody else
        ('[project]\nname = "other"', package),
        ("[project", package),
        ('[project]\nname = "visret"', tmp_path),
    ):
        if pyproject:
            (tmp_path / "pyproject.toml").write_text(pyproject)
        assert registry._models_yaml() == read / "models.yaml"


def test_private_entries(private, tmp_path):
    private({"mine": {**ENTRY, "source": "./weights", "options": {"languages": ["en"]}, "aliases": ["ours"]}})
    spec = registry.get("ours")
    assert (spec.name, spec.options["languages"]) == ("mine", ["en"])
    assert registry.names()[-1] == "mine"
    assert spec.source == str(tmp_path / "weights")  # relative to the file
    assert registry.location(spec) == registry.Location("folder", None)
    (tmp_path / "weights").mkdir()
    assert registry.location(spec) == registry.Location("folder", tmp_path / "weights")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"family": None}, "family: is missing"),
        ({"dims": 4}, "dims: no such key; the keys are family, source"),
        ({"family": "os"}, "family: must be one of colbert, "),
        ({"family": "_base"}, "family: must be one of"),
        ({"family": "toy.py"}, "family: must be one of"),
        ({"family": 3}, "family: must be a text"),
        ({"revision": 123}, r"revision: must be a text \(quote it\), got 123"),
        ({"revision": "a b"}, "revision: must be a commit"),
        ({"source": "package:x"}, "revision: must be the sha256"),
        ({"source": "a/b/c"}, "source: must be owner/name"),
        ({"source": "name"}, "source: must be owner/name"),
        ({"modality": "audio"}, "modality: must be text or image, got 'audio'"),
        ({"dim": 0}, "dim: must be a whole number from 1, got 0"),
        ({"dim": True}, "dim: must be"),
        ({"dim": "4"}, "dim: must be"),
        ({"size_gb": -1}, "size_gb: must be"),
        ({"size_gb": float("nan")}, "size_gb: must be"),
        ({"license": ""}, "license: must be said"),
        ({"options": [1]}, "options: must be keys and values"),
        ({"options": {"languages": "en"}}, "languages must be a list"),
        ({"options": {"weak_below": "low"}}, "weak_below must be a number or null"),
        ({"aliases": "x"}, "aliases: must be a list of texts"),
        ({"aliases": ["toy"]}, "the name 'toy' is already taken by toy"),
    ],
)
def test_wrong_entries_name_entry_and_key(private, change, says):
    private({"mine": {key: value for key, value in {**ENTRY, **change}.items() if value is not None}})
    with pytest.raises(InvalidModelSpec, match=f"mine.*{says}"):
        registry.specs()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("mine: [", "private.yaml: not valid YAML"),
        ("- mine", "private.yaml: expected entries by name, got list"),
        ("mine: 3", "private.yaml, mine: expected keys and values, got 3"),
        ("3: {}", "a name must be a text, got 3"),
        ("mine: {dim: 3, dim: 4}", "dim is there twice, line 1"),
        ("mine: {}\nmine: {}", "mine is there twice"),
        ("mine: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_wrong_files(private, content, says):
    private(content)
    with pytest.raises(InvalidModelSpec, match=says):
        registry.specs()


def test_a_private_file_must_be_there(monkeypatch):
    monkeypatch.setenv("VISRET_MODELS", "/no/such/file.yaml")
    with pytest.raises(InvalidModelSpec, match="cannot be read"):
        registry.specs()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("all-minilm-l6", "did you mean all-minilm-l6-v2"),
        ("ALL-MINILM-L6-V2", "did you mean all-minilm-l6-v2"),
        ("minilm", "did you mean all-minilm-l6-v2"),
        ("tpy", "did you mean toy"),
        ("qqqqqq", r"no model 'qqqqqq'\. `visret models`"),
        ("", "no model ''"),
    ],
)
def test_unknown_names_get_close_matches(name, says):
    for ask in (registry.get, registry.resolve):
        with pytest.raises(UnknownModel, match=says):
            ask(name)


def test_a_folder_is_known_by_its_configuration_not_its_name(checkpoint):
    folder = checkpoint("colbert-or-so", config_json={"architectures": ["ColQwen2"], "model_type": "qwen2_vl"})
    spec = registry.resolve(folder)
    assert (spec.family, spec.modality, spec.dim, spec.source) == ("colqwen", "image", 128, str(folder))
    assert registry.location(spec).path == folder


def test_text_folders(checkpoint):
    stanford = checkpoint("a", config_json={"architectures": ["HF_ColBERT"]}, artifact_metadata={"dim": 96})
    assert dataclasses.astuple(registry.resolve(stanford))[1:6:4] == ("colbert", 96)
    modules = [{"type": "x.Transformer", "path": ""}, {"type": "pylate.models.Dense.Dense", "path": "1_Dense"}]
    pylate = checkpoint(
        "b",
        config_json={"architectures": ["BertModel"], "hidden_size": 32},
        modules_json=modules,
        config_sentence_transformers_json={"model_type": "ColBERT"},
        **{"1_Dense__config_json": {"out_features": 48}},
    )
    assert (registry.resolve(pylate).dim, dict(registry.resolve(pylate).options)) == (48, {})
    plain = checkpoint("c", config_json={"architectures": ["BertModel"], "hidden_size": 32}, modules_json=modules[:1])
    assert (registry.resolve(plain).dim, registry.resolve(plain).options) == (32, {"token_by_token": True})


def test_an_adapter_is_what_its_base_is(checkpoint):
    base = checkpoint("base", config_json={"architectures": ["ColQwen2"]})
    for named in ("../base", str(base)):
        adapter = checkpoint(
            "adapter", weights="adapter_model.safetensors", adapter_config_json={"base_model_name_or_path": named}
        )
        assert registry.resolve(adapter).family == "colqwen"
        assert registry.base_folder(adapter) == base
    lost = checkpoint(
        "lost",
        weights="adapter_model.safetensors",
        adapter_config_json={"base_model_name_or_path": "x/y", "auto_mapping": {"base_model_class": "ColQwen2"}},
    )
    assert registry.resolve(lost).family == "colqwen"
    assert registry.base_folder(lost) is None
    assert registry.base_folder(base) == base


def test_other_folders_are_refused(checkpoint, tmp_path):
    other = checkpoint("colqwen2", config_json={"architectures": ["Qwen2VLForConditionalGeneration"]})
    with pytest.raises(UnknownModel, match=r"Qwen2VLForConditionalGeneration.*supported are HF_ColBERT, ColQwen2"):
        registry.resolve(other)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnknownModel, match="its configuration: none"):
        registry.resolve(tmp_path / "empty")
    bare = checkpoint("bare", weights="README.md", config_json={"architectures": ["ColQwen2"]})
    with pytest.raises(WeightsError, match=r"no weights here; expected one of model\.safetensors"):
        registry.resolve(bare)
    (bare / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config\.json: damaged"):
        registry.resolve(bare)
    with pytest.raises(UnknownModel, match="there is no folder /no/such"):
        registry.resolve("/no/such")


def test_a_name_wins_over_a_folder_here(checkpoint, tmp_path, monkeypatch):
    checkpoint("toy", config_json={"architectures": ["ColQwen2"]})
    monkeypatch.chdir(tmp_path)
    assert registry.resolve("toy").family == "toy"
    assert registry.resolve(Path("toy")).family == "colqwen"
    assert registry.resolve("./toy").family == "colqwen"


def test_a_folder_has_another_checksum_when_its_content_changes(checkpoint):
    folder = checkpoint(config_json={"architectures": ["ColQwen2"]})
    first = registry.folder_sha256(folder)
    assert registry.folder_sha256(folder) == first
    (folder / "README.md").write_text("no part of the model")
    assert registry.folder_sha256(folder) == first
    (folder / "model.safetensors").write_bytes(b"other weights")
    second = registry.folder_sha256(folder)
    (folder / "preprocessor_config.json").write_text("{}")
    assert len({first, second, registry.folder_sha256(folder)}) == 3


def cached(tmp_path, repository, commit, **files):
    """A repository as huggingface_hub keeps it."""
    root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
    folder = root / "snapshots" / commit
    folder.mkdir(parents=True)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text(commit)
    for name, content in files.items():
        (folder / name.replace("_json", ".json")).write_text(json.dumps(content))
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


def test_hub_models_of_this_machine(private, tmp_path):
    commit = "a" * 40
    folder = cached(tmp_path, "someone/something", commit, config_json={"architectures": ["ColQwen2"]})
    spec = registry.resolve("someone/something")
    assert (spec.family, spec.source, spec.revision) == ("colqwen", "someone/something", commit)
    private(
        {
            "mine": {**HUB, "source": "someone/something"},
            "old": {**HUB, "source": "someone/something", "revision": "b" * 40},
        }
    )
    assert registry.location(registry.get("mine")) == registry.Location("hub", folder)
    assert not registry.location(registry.get("old")).here
    (folder / "model.safetensors").unlink()
    assert not registry.location(registry.get("mine")).here


def test_a_hub_adapter_is_here_with_its_base_only(private, tmp_path):
    private({"mine": {**HUB, "source": "someone/adapter"}})
    folder = cached(
        tmp_path, "someone/adapter", "a" * 40, adapter_config_json={"base_model_name_or_path": "someone/base"}
    )
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    assert not registry.location(registry.get("mine")).here
    cached(tmp_path, "someone/base", "b" * 40, config_json={"architectures": ["ColQwen2"]})
    assert registry.location(registry.get("mine")) == registry.Location("hub", folder)


def test_hub_models_that_are_not_here_say_how_to_get_them():
    with pytest.raises(WeightsError, match="`hf download nobody/nothing` fetches it"):
        registry.resolve("nobody/nothing")


def test_a_checksum_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    import hashlib

    file = tmp_path / "file"
    file.write_bytes(b"one")
    one = registry.sha256(file)
    assert one == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", None)  # not called again
        assert registry.sha256(file) == one
    file.write_bytes(b"three")
    assert registry.sha256(file) == hashlib.sha256(b"three").hexdigest()


@pytest.mark.parametrize("damage", ["{", "[]", '{"x": 3}'])
def test_a_damaged_or_lost_cache_does_no_harm(tmp_path, damage, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"one")
    one = registry.sha256(file)
    (tmp_path / "cache" / "sha256.json").write_text(damage)
    assert registry.sha256(file) == one
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    monkeypatch.setenv("VISRET_CACHE", str(blocked))
    assert registry.sha256(file) == one
