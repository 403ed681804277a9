import hashlib

import pytest

from visret.errors import WeightsError
from visret.models import registry, weights

HUB = {
    "family": "colqwen",
    "source": "nobody/nothing",
    "revision": "",
    "modality": "image",
    "dim": 4,
    "license": "mit",
    "size_gb": 0,
}


@pytest.mark.heavy
def test_the_default_is_in_its_package():
    spec = registry.get("all-minilm-l6-v2")
    where = weights.location(spec)
    assert (where.kind, where.here) == ("package", True)
    assert weights.sha256(where.path / "model.safetensors") == spec.revision


def test_toy_has_no_weights():
    assert weights.location(registry.get("toy")) == weights.Location("none", None)
    assert weights.location(registry.get("toy")).here


def test_a_base_inside_an_adapter_is_found_from_anywhere(checkpoint, tmp_path, monkeypatch):
    checkpoint("adapter/base", config_json={"architectures": ["ColQwen2"]})
    checkpoint("base", config_json={"architectures": ["ColPali"]})  # what a path from the current folder would find
    folder = checkpoint(
        "adapter", weights="adapter_model.safetensors", adapter_config_json={"base_model_name_or_path": "base"}
    )
    monkeypatch.chdir(tmp_path)
    assert weights.base_folder(folder) == folder / "base"
    assert registry.resolve(folder).architecture == "ColQwen2"


def test_hub_models_of_this_machine(private, cached):
    commit = "a" * 40
    folder = cached("someone/something", commit, config_json={"architectures": ["ColQwen2"]})
    spec = registry.resolve("someone/something")
    assert (spec.family, spec.source, spec.revision) == ("colqwen", "someone/something", commit)
    private(
        {
            "mine": {**HUB, "source": "someone/something"},
            "old": {**HUB, "source": "someone/something", "revision": "b" * 40},
        }
    )
    assert weights.location(registry.get("mine")) == weights.Location("hub", folder)
    assert not weights.location(registry.get("old")).here
    (folder / "model.safetensors").unlink()
    assert not weights.location(registry.get("mine")).here


def test_a_hub_adapter_is_here_with_its_base_only(private, cached):
    private({"mine": {**HUB, "source": "someone/adapter"}})
    folder = cached("someone/adapter", "a" * 40, adapter_config_json={"base_model_name_or_path": "someone/base"})
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    assert not weights.location(registry.get("mine")).here
    cached("someone/base", "b" * 40, config_json={"architectures": ["ColQwen2"]})
    assert weights.location(registry.get("mine")) == weights.Location("hub", folder)


def test_a_folder_has_another_checksum_when_its_content_changes(checkpoint):
    folder = checkpoint(config_json={"architectures": ["ColQwen2"]})
    first = weights.folder_sha256(folder)
    assert weights.folder_sha256(folder) == first
    (folder / "README.md").write_text("no part of the model")
    (folder / ".cache" / "huggingface").mkdir(parents=True)
    (folder / ".cache" / "huggingface" / "model.safetensors.metadata").write_text("when it was fetched")
    assert weights.folder_sha256(folder) == first
    (folder / "model.safetensors").write_bytes(b"other weights")
    second = weights.folder_sha256(folder)
    (folder / "preprocessor_config.json").write_text("{}")
    assert len({first, second, weights.folder_sha256(folder)}) == 3


def test_a_checksum_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"one")
    one = weights.sha256(file)
    assert one == hashlib.sha256(b"one").hexdigest()
    with monkeypatch.context() as patched:
        patched.setattr(hashlib, "file_digest", None)  # not called again
        assert weights.sha256(file) == one
    file.write_bytes(b"three")
    assert weights.sha256(file) == hashlib.sha256(b"three").hexdigest()


@pytest.mark.parametrize("damage", ["{", "[]", '{"x": 3}'])
def test_a_damaged_or_lost_cache_does_no_harm(tmp_path, damage, monkeypatch):
    file = tmp_path / "file"
    file.write_bytes(b"one")
    one = weights.sha256(file)
    (tmp_path / "cache" / "sha256.json").write_text(damage)
    assert weights.sha256(file) == one
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    monkeypatch.setenv("VISRET_CACHE", str(blocked))
    assert weights.sha256(file) == one


@pytest.mark.parametrize("content", ["{", "[1]", "3", ""])
def test_a_damaged_configuration_is_named(checkpoint, content):
    folder = checkpoint(config_json={"architectures": ["ColQwen2"]})
    (folder / "config.json").write_text(content)
    with pytest.raises(WeightsError, match=r"model: not a complete checkpoint \(config\.json: "):
        registry.resolve(folder)
