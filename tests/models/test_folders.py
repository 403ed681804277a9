import dataclasses

import pytest

from visret.errors import UnknownModel, WeightsError
from visret.models import registry, weights
from visret.models.architectures import ARCHITECTURES

VISUAL = [
    ({"architectures": ["ColPali"]}, "colpali", 128),
    ({"architectures": ["ColPaliForRetrieval"], "embedding_dim": 64}, "colpali", 64),
    ({"architectures": ["ColQwen2"]}, "colqwen", 128),
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
]


def test_a_folder_is_known_by_its_configuration_not_its_name(checkpoint):
    folder = checkpoint("colbert-or-so", config_json={"architectures": ["ColQwen2"], "model_type": "qwen2_vl"})
    spec = registry.resolve(folder)
    assert (spec.family, spec.modality, spec.dim, spec.source) == ("colqwen", "image", 128, str(folder))
    assert weights.location(spec).path == folder


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
    VISUAL,
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


def test_an_adapter_is_what_its_base_is(checkpoint):
    base = checkpoint("base", config_json={"architectures": ["ColQwen2"]})
    for named in ("../base", str(base)):
        adapter = checkpoint(
            "adapter", weights="adapter_model.safetensors", adapter_config_json={"base_model_name_or_path": named}
        )
        assert registry.resolve(adapter).family == "colqwen"
        assert weights.base_folder(adapter) == base
    lost = checkpoint(
        "lost",
        weights="adapter_model.safetensors",
        adapter_config_json={"base_model_name_or_path": "x/y", "auto_mapping": {"base_model_class": "ColQwen2"}},
    )
    assert registry.resolve(lost).family == "colqwen"
    assert weights.base_folder(lost) is None
    assert weights.base_folder(base) == base


def test_other_folders_are_refused(checkpoint, tmp_path):
    other = checkpoint("colqwen2", config_json={"architectures": ["Qwen2VLForConditionalGeneration"]})
    with pytest.raises(
        UnknownModel,
        match=r"Qwen2VLForConditional.*it writes text.*with task: rerank\) must say.*supported are HF_ColBERT",
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
    with pytest.raises(WeightsError, match=r"not a complete checkpoint \(config\.json: "):
        registry.resolve(bare)
    with pytest.raises(UnknownModel, match="there is no folder /no/such"):
        registry.resolve("/no/such")


def test_every_class_that_a_configuration_names_is_recognised():
    visual = {config["architectures"][0] for config, _, _ in VISUAL}
    encoders = {name: row for name, row in ARCHITECTURES.items() if row.task == "encode"}
    assert visual == {name for name, row in encoders.items() if row.modality == "image"}


@pytest.mark.parametrize(
    ("files", "family"),
    [
        ({"config_json": {"architectures": ["BertForSequenceClassification"]}}, "cross_encoder"),
        (
            {
                "config_json": {"architectures": ["ModernBertModel"]},
                "modules_json": [{"path": "", "type": "x"}],
                "config_sentence_transformers_json": {"model_type": "CrossEncoder"},
            },
            "cross_encoder",
        ),
        ({"config_json": {"architectures": ["JinaVLForRanking"], "vision_config": {}}}, "jina_vl"),
    ],
)
def test_rerankers_are_recognised(checkpoint, files, family):
    spec = registry.resolve(checkpoint(**files))
    assert (spec.task, spec.family, spec.dim) == ("rerank", family, 0)


def test_an_adapter_may_have_the_configuration_of_its_base_beside_it(checkpoint):
    base = checkpoint("base", config_json={"architectures": ["Qwen2VLForConditionalGeneration"]})
    adapter = checkpoint(
        "adapter",
        weights="adapter_model.safetensors",
        config_json={"architectures": ["Qwen2VLForConditionalGeneration"]},
        adapter_config_json={"base_model_name_or_path": str(base)},
    )
    assert weights.base_folder(adapter) == base
    (adapter / "model.safetensors").write_bytes(b"weights")  # merged: the adapter is only a rest
    assert weights.base_folder(adapter) == adapter
