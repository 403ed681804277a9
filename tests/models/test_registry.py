import dataclasses
import json
from pathlib import Path

import pytest
import yaml

from visret.errors import InvalidModelSpec, UnknownModel, WeightsError
from visret.models import registry

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


def test_every_entry_says_what_is_known_of_it():
    for spec in registry.specs():
        on_hub = registry.is_hub_id(spec.source)
        assert on_hub == (spec.name == spec.source), spec.name
        assert not on_hub or bool(spec.revision) != ("revision" in spec.unconfirmed), spec.name
        assert (spec.license == "unknown") <= ("license" in spec.unconfirmed), spec.name
        assert spec.parameters or spec.name == "toy"
        if spec.modality == "image" and on_hub:
            options = spec.options
            assert spec.architecture
            assert "query_prefix" in options, spec.name
            assert ("query_suffix" in options) == ("query_suffix_count" in options) == (spec.family != "colgemma")
            assert spec.page_tokens == options.get("max_patches", spec.page_tokens), spec.name


def test_facts_that_decide_vectors():
    """Prompts, lengths and budgets as the libraries have them; one row a kind of checkpoint."""
    told = {
        spec.name: (spec.family, spec.architecture, spec.dim, *spec.options.values())
        for spec in registry.specs()
        if spec.modality == "image"
    }
    qwen = ("<|endoftext|>", 10)
    assert told["vidore/colpali-v1.3"] == ("colpali", "ColPali", 128, "", "<pad>", 10)
    assert told["vidore/colpali-v1.3-hf"] == ("colpali", "ColPaliForRetrieval", 128, "Question: ", "<pad>", 10)
    assert told["vidore/colqwen2-v1.0"] == ("colqwen", "ColQwen2", 128, "", *qwen, 768)
    assert told["vidore/colqwen2-v1.0-hf"] == ("colqwen", "ColQwen2ForRetrieval", 128, "Query: ", *qwen, 768)
    assert told["vidore/colqwen2.5-v0.2"] == ("colqwen", "ColQwen2_5", 128, "", *qwen, 768)
    assert told["vidore/colqwen-omni-v0.1"] == ("colqwen", "ColQwen2_5Omni", 128, "Query: ", *qwen)
    assert told["TomoroAI/tomoro-colqwen3-embed-4b"] == ("colqwen", "ColQwen3", 320, "", *qwen, 1280)
    assert told["athrael-soju/colqwen3.5-4.5B-v3"] == ("colqwen", "ColQwen3_5", 320, "", *qwen)
    assert told["vidore/colSmol-256M"] == ("colidefics", "ColIdefics3", 128, "", "<end_of_utterance>", 10)
    assert told["ModernVBERT/colmodernvbert"] == ("colidefics", "ColModernVBert", 128, "", "<end_of_utterance>", 10)
    assert told["Cognitive-Lab/ColNetraEmbed"] == ("colgemma", "ColGemma3", 128, "Query: ")


def test_licences_that_forbid_commercial_use():
    forbidden = {spec.name for spec in registry.specs() if registry.non_commercial(spec)}
    named = {"jinaai/jina-colbert-v2", "lightonai/Reason-ModernColBERT", "vidore/colqwen2.5-v0.2"}
    assert named <= forbidden
    assert not forbidden & {"lightonai/LateOn", "vidore/colqwen2-v1.0", "vidore/colpali-v1.3"}


def test_what_is_not_confirmed_is_said_once(caplog):
    registry._say_unconfirmed.cache_clear()
    caplog.set_level("INFO", "visret")
    for name in ("colqwen2", "vidore/colqwen2-v1.0", "toy"):
        registry.resolve(name)
    assert [record.message for record in caplog.records] == [
        "vidore/colqwen2-v1.0: no source confirms what models.yaml says of its revision, size_gb"
    ]


@pytest.mark.heavy
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
    private({"mine": {**ENTRY, "source": "./weights", "languages": ["en"], "aliases": ["ours"]}})
    spec = registry.get("ours")
    assert (spec.name, spec.languages) == ("mine", ("en",))
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
        ({"languages": "en"}, "languages: must be a list of texts"),
        ({"languages": [False]}, "languages: must be a list of texts"),  # YAML's reading of no
        ({"languages": ["english"]}, "languages: must be a list of ISO 639 codes"),
        ({"architecture": "ColQwen2"}, "architecture: must be one of none, which toy loads, got 'ColQwen2'"),
        ({"family": "colqwen", "architecture": "ColPali"}, "architecture: must be one of ColQwen2, ColQwen2For"),
        ({"architecture": 3}, "architecture: must be a text"),
        ({"purpose": ["code"]}, "purpose: must be a text"),
        ({"parameters": "149M"}, "parameters: must be a number from 0"),
        ({"page_tokens": 1.5}, "page_tokens: must be a whole number from 0"),
        ({"longest_query": -1}, "longest_query: must be a whole number from 0"),
        ({"longest_page": True}, "longest_page: must be a whole number from 0"),
        ({"remote_code": "no"}, "remote_code: must be true or false"),
        ({"unconfirmed": ["size"]}, "unconfirmed: must name keys of this entry"),
        ({"unconfirmed": "dim"}, "unconfirmed: must be a list of texts"),
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
        ("colqwen2.0", "did you mean .*colqwen2"),
        ("colbert2", "did you mean colbertv2"),
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


@pytest.mark.parametrize(
    ("config", "family", "dim"),
    [
        ({"architectures": ["ColPali"]}, "colpali", 128),
        ({"architectures": ["ColPaliForRetrieval"], "embedding_dim": 64}, "colpali", 64),
        ({"architectures": ["ColQwen2ForRetrieval"]}, "colqwen", 128),
        ({"architectures": ["ColQwen2_5"], "dim": 64}, "colqwen", 128),  # the library has it in its code
        ({"architectures": ["ColQwen2_5Omni"]}, "colqwen", 128),
        ({"architectures": ["ColQwen3"]}, "colqwen", 320),
        ({"architectures": ["ColQwen3"], "dim": 128}, "colqwen", 128),
        ({"architectures": ["ColQwen3_5"]}, "colqwen", 128),
        ({"architectures": ["ColQwen3_5"], "dim": 320}, "colqwen", 320),
        ({"architectures": ["ColIdefics3"]}, "colidefics", 128),
        ({"architectures": ["ColModernVBert"]}, "colidefics", 128),
        ({"architectures": ["ColModernVBertForRetrieval"], "embedding_dim": 128}, "colidefics", 128),
        ({"architectures": ["ColGemma3"]}, "colgemma", 128),
    ],
    ids=lambda value: value["architectures"][0] if isinstance(value, dict) else None,
)
def test_visual_folders(checkpoint, config, family, dim):
    # sentence-transformers' files lie beside many visual checkpoints, and say nothing about what they see
    beside = {"modules_json": [], "config_sentence_transformers_json": {"model_type": "MultiVectorEncoder"}}
    for folder in (checkpoint("plain", config_json=config), checkpoint("st", config_json=config, **beside)):
        spec = registry.resolve(folder)
        assert (spec.family, spec.modality, spec.dim) == (family, "image", dim)
        assert [spec.architecture] == config["architectures"]
    adapter = {
        "auto_mapping": {"base_model_class": config["architectures"][0]},
        "base_model_name_or_path": "../plain",
    }
    folder = checkpoint("adapter", weights="adapter_model.safetensors", adapter_config_json=adapter, **beside)
    spec = registry.resolve(folder)
    assert (spec.family, spec.architecture, spec.dim) == (family, config["architectures"][0], dim)


def test_the_class_an_adapter_was_trained_on_goes_before_that_of_its_base(checkpoint):
    checkpoint("base", config_json={"architectures": ["Qwen2_5_VLForConditionalGeneration"]})
    adapter = {"base_model_name_or_path": "../base", "auto_mapping": {"base_model_class": "ColQwen2_5"}}
    folder = checkpoint("adapter", weights="adapter_model.safetensors", adapter_config_json=adapter)
    assert registry.resolve(folder).architecture == "ColQwen2_5"


def test_a_base_inside_an_adapter_is_found_from_anywhere(checkpoint, tmp_path, monkeypatch):
    checkpoint("adapter/base", config_json={"architectures": ["ColQwen2"]})
    checkpoint("base", config_json={"architectures": ["ColPali"]})  # what a path from the current folder would find
    folder = checkpoint(
        "adapter", weights="adapter_model.safetensors", adapter_config_json={"base_model_name_or_path": "base"}
    )
    monkeypatch.chdir(tmp_path)
    assert registry.base_folder(folder) == folder / "base"
    assert registry.resolve(folder).architecture == "ColQwen2"


def test_a_folder_may_carry_its_entry(checkpoint):
    entry = {**ENTRY, "family": "colqwen", "source": ".", "architecture": "ColQwen2", "options": {"max_patches": 9}}
    folder = checkpoint(config_json={"architectures": ["ColPali"]})
    (folder / "visret.yaml").write_text(yaml.safe_dump({"someone/something": entry}))
    spec = registry.resolve(folder)
    assert (spec.name, spec.source, spec.revision) == (str(folder), str(folder), "")
    assert (spec.family, spec.license, spec.options) == ("colqwen", "mit", {"max_patches": 9})
    (folder / "visret.yaml").write_text("{}")
    with pytest.raises(InvalidModelSpec, match=r"visret\.yaml: must hold one entry"):
        registry.resolve(folder)


def test_an_entry_survives_being_written(private):
    for name in ("all-minilm-l6-v2", "toy", "vidore/colqwen2-v1.0", "jinaai/jina-colbert-v2"):
        spec = dataclasses.replace(registry.get(name), aliases=())
        private({f"{name}-again": registry.as_entry(spec)})
        assert dataclasses.replace(registry.get(f"{name}-again"), name=name) == spec


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
    with pytest.raises(
        UnknownModel, match=r"Qwen2VLForConditionalGeneration.*it writes text.*supported are HF_ColBERT"
    ):
        registry.resolve(other)
    seeing = checkpoint(
        "seeing", config_json={"architectures": ["New"], "vision_config": {}}, modules_json=[{"path": "", "type": "x"}]
    )
    with pytest.raises(UnknownModel, match=r"architectures \['New'\]"):
        registry.resolve(seeing)
    adapter = {"auto_mapping": {"base_model_class": "New"}, "base_model_name_or_path": "x/y"}
    lost = checkpoint("lost", weights="adapter_model.safetensors", adapter_config_json=adapter, modules_json=[])
    with pytest.raises(UnknownModel, match=r"architectures \['New'\]"):
        registry.resolve(lost)
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
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "model.safetensors.metadata").write_text("when it was fetched")
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
    with pytest.raises(WeightsError, match="cache; `hf download nobody/nothing` fetches it"):
        registry.resolve("nobody/nothing")
    with pytest.raises(WeightsError, match=r"did you mean vidore/colpali-v1\.3 .*`hf download vidore/colpali_v1\.3`"):
        registry.resolve("vidore/colpali_v1.3")


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
