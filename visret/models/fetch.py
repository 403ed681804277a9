"""A model's files in one folder, for machines without network: what `visret models fetch` does.

The folder holds configuration, tokenizer and safetensors, never pickles or code; of an adapter its base too, in
`base/`, which adapter_config.json then names; and visret.yaml, the model's entry. It may be moved and copied.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visret._folders import expanded, unwritable
from visret.errors import WeightsError, cannot_lock
from visret.models import registry

__all__ = ["fetch"]

_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.metadata", "README*", "LICENSE*", "NOTICE*"]
_BASE = "base"
_OTHERS = ["checkpoint*/*", "onnx/*", "openvino/*"]  # the same weights once more, or older ones
_NOTES = ".cache/huggingface"  # what huggingface_hub keeps beside the files to go on after an interruption


def fetch(model: str, folder: str | Path) -> Path:
    """Put a model of the Hugging Face hub, a name of models.yaml or an owner/name, into a folder; returns it.

    The folder must be new, empty, or begun by an earlier try; the same model again fetches only what is missing.
    UnknownModel; WeightsError where it cannot be fetched, has no safetensors, or needs no fetching.
    """
    entry = registry.find(model)
    source = entry.source if entry else model
    if not registry.is_hub_id(source):
        entry = entry or registry.get(model)
        comes = {"package": "comes with a package", "none": "has no weights"}.get(registry.location(entry).kind)
        raise WeightsError(f"{entry.name} {comes or 'is in a folder'}: there is nothing to fetch from the hub")
    if entry:
        registry.check_code(entry)
    folder = expanded(folder)
    begun = folder / _NOTES / "visret"
    new = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not new and not (begun.is_file() and begun.read_text("utf-8") == source):
        raise WeightsError(f"{folder} holds something already; name a new folder")
    if reason := unwritable(folder):
        raise WeightsError(f"{folder}: nothing can be written there ({reason}); name another folder")
    commit = _commit(source, entry.revision if entry else "")
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.write_text(source, "utf-8")
    _download(source, commit, folder)
    _fetch_base(source, folder)
    spec = dataclasses.replace(entry or registry.resolve(folder), name=source, source=".", revision=commit, aliases=())
    registry.write_card(folder, spec)
    for notes in (folder / _NOTES, folder / _BASE / _NOTES):
        shutil.rmtree(notes.parent, ignore_errors=True)
    return folder


def _fetch_base(source: str, folder: Path) -> None:
    """Of an adapter: what it adapts, into a folder inside its own, which its configuration then names."""
    adapter = folder / "adapter_config.json"
    if not adapter.is_file() or (folder / "config.json").is_file():
        return
    config = json.loads(adapter.read_text("utf-8"))
    named = str(config.get("base_model_name_or_path"))
    if named == _BASE:  # by an earlier try
        return
    if not registry.is_hub_id(named):
        raise WeightsError(f"{source} adapts {named}, which is no repository of the hub")
    _download(named, _commit(named, config.get("revision") or ""), folder / _BASE)
    adapter.write_text(json.dumps({**config, "base_model_name_or_path": _BASE, "revision": None}, indent=2), "utf-8")


def _commit(repository: str, revision: str) -> str:
    """Of the hub; asked before files are, for without an answer snapshot_download takes what a folder holds for all."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise WeightsError(f"{repository} cannot be fetched while HF_HUB_OFFLINE is set")
    with _asking(repository):
        return HfApi().model_info(repository, revision=revision or None).sha or revision


def _download(repository: str, commit: str, folder: Path) -> None:
    from huggingface_hub import snapshot_download

    with _asking(repository):
        snapshot_download(repository, revision=commit, local_dir=folder, allow_patterns=_FILES, ignore_patterns=_OTHERS)
    if not registry.has_weights(folder):
        raise WeightsError(f"{repository} has no safetensors, and visret reads no other weights")


@contextmanager
def _asking(repository: str) -> Iterator[None]:
    """Turns what goes wrong between here and the hub into WeightsError."""
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]  # its HTTP library's

    try:
        yield
    except (HTTPError, HFValidationError, OSError, NotImplementedError) as error:
        hint = "; that folder's file system has no locks: fetch to a local disk" if cannot_lock(error) else ""
        raise WeightsError(f"{repository} could not be fetched: {error}{hint}") from error
