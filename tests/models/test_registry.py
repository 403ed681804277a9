import dataclasses
from pathlib import Path

import pytest
import yaml

from visret.errors import InvalidModelSpec, UnknownModel, WeightsError
from visret.models import registry, weights

ENTRY = {
    "family": "toy",
    "source": "",
    "revision": "",
    "modality": "image",
    "dim": 4,
    "license": "mit",
    "size_gb": 0,
}


def test_every_entry_is_valid_and_resolves_by_all_its_names():
    assert registry.names()[0] == registry.DEFAULT_MODEL
    for spec in registry.specs():
        for name in (spec.name, *spec.aliases):
            assert registry.resolve(name) == spec


def test_every_entry_says_what_is_known_of_it():
    for spec in registry.specs():
        on_hub = weights.is_hub_id(spec.source)
        assert on_hub == (spec.name == spec.source or bool(spec.packages)), spec.name
        assert not on_hub or bool(spec.revision) != ("revision" in spec.unconfirmed), spec.name
        assert (spec.license == "unknown") <= ("license" in spec.unconfirmed), spec.name
        assert spec.parameters or spec.name == "toy"
        assert not (spec.remote_code and spec.task == "encode" and (spec.architecture or spec.options)), spec.name
        assert bool(spec.dim) == (spec.task != "rerank"), spec.name
        if spec.modality == "image" and on_hub and spec.task == "encode" and not spec.remote_code:
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
        if spec.modality == "image" and spec.task == "encode"
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
    assert told["tencent/EVIE-4.5B"] == ("colqwen", "ColQwen3_5", 2048, "", *qwen, True, 1024)
    assert told["vidore/colSmol-256M"] == ("colidefics", "ColIdefics3", 128, "", "<end_of_utterance>", 10)
    assert told["ModernVBERT/colmodernvbert"] == ("colidefics", "ColModernVBert", 128, "", "<end_of_utterance>", 10)
    assert told["Cognitive-Lab/ColNetraEmbed"] == ("colgemma", "ColGemma3", 128, "Query: ")


def test_licences_that_forbid_commercial_use():
    forbidden = {spec.name for spec in registry.specs() if registry.non_commercial(spec)}
    named = {"jinaai/jina-colbert-v2", "lightonai/Reason-ModernColBERT", "vidore/colqwen2.5-v0.2"}
    named |= {"webAI-Official/webAI-ColVec1.1-4b", "nanovdr/ColNanoVDR-Q-Ettin150M-ColVec4B-640-ML"}
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
    assert weights.location(spec) == weights.Location("folder", None)
    (tmp_path / "weights").mkdir()
    assert weights.location(spec) == weights.Location("folder", tmp_path / "weights")


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
        ({"license": ""}, "license: must be given"),
        ({"options": [1]}, "options: must be keys and values"),
        ({"languages": "en"}, "languages: must be a list of texts"),
        ({"languages": [False]}, "languages: must be a list of texts"),  # YAML's reading of no
        ({"languages": ["english"]}, "languages: must be a list of ISO 639 codes"),
        ({"architecture": "ColQwen2"}, "architecture: must be one of none, which toy loads, got 'ColQwen2'"),
        ({"family": "colqwen", "architecture": "ColPali"}, "architecture: must be one of ColQwen2, ColQwen2For"),
        ({"architecture": 3}, "architecture: must be a text"),
        ({"task": "guess"}, "task: must be one of encode, embed, sparse, rerank, got 'guess'"),
        ({"task": "rerank", "dim": None}, "family: must be one of cross_encoder, .*, got 'toy'"),
        ({"task": "rerank", "family": "cross_encoder"}, "dim: must be left out, since a reranker makes no vectors"),
        ({"task": 3}, "task: must be a text"),
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
        ("minilm", "did you mean minilm-granite or all-minilm-l6-v2"),
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
    for name in (
        "all-minilm-l6-v2",
        "toy",
        "vidore/colqwen2-v1.0",
        "jinaai/jina-colbert-v2",
        "jinaai/jina-reranker-m0",
    ):
        spec = dataclasses.replace(registry.get(name), aliases=())
        private({f"{name}-again": registry.as_entry(spec)})
        assert dataclasses.replace(registry.get(f"{name}-again"), name=name) == spec


def test_a_name_wins_over_a_folder_here(checkpoint, tmp_path, monkeypatch):
    checkpoint("toy", config_json={"architectures": ["ColQwen2"]})
    monkeypatch.chdir(tmp_path)
    assert registry.resolve("toy").family == "toy"
    assert registry.resolve(Path("toy")).family == "colqwen"
    assert registry.resolve("./toy").family == "colqwen"


def test_hub_models_that_are_not_here_say_how_to_get_them():
    with pytest.raises(WeightsError, match="cache; `hf download nobody/nothing` fetches it"):
        registry.resolve("nobody/nothing")
    with pytest.raises(WeightsError, match=r"did you mean vidore/colpali-v1\.3 .*`hf download vidore/colpali_v1\.3`"):
        registry.resolve("vidore/colpali_v1.3")
