import json

import pytest
import yaml


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
def caches(own_cache, tmp_path, monkeypatch):
    """Its own caches, and no network whatever happens."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def cached(tmp_path):
    """Writes a repository as huggingface_hub keeps it; weights are any bytes."""

    def write(repository, commit, **files):
        root = tmp_path / "hub" / f"models--{repository.replace('/', '--')}"
        folder = root / "snapshots" / commit
        folder.mkdir(parents=True)
        (root / "refs").mkdir()
        (root / "refs" / "main").write_text(commit)
        for name, content in files.items():
            (folder / name.replace("_json", ".json")).write_text(json.dumps(content))
        (folder / "model.safetensors").write_bytes(b"weights")
        return folder

    return write
