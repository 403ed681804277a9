"""The registry: models.yaml as data, with the models and what is known of each.

An entry is checked completely before it is used, and names a family, never code. A local folder, or a hub repository
on this machine, that has no entry in models.yaml is recognised by its configuration (`folders`), unless it carries an
entry of its own (`CARD`). Nothing here loads a model or touches the network.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

from visret.choices import DEFAULT_MODEL, NO_MODEL
from visret.errors import InvalidModelSpec, UnknownModel, WeightsError
from visret.folders import expanded
from visret.models import architectures
from visret.models.folders import recognise
from visret.models.weights import hub_snapshot, is_hub_id, is_path
from visret.types import ModelSpec

__all__ = [
    "CARD",
    "DEFAULT_MODEL",
    "NONE",
    "TASKS",
    "as_entry",
    "check_code",
    "families",
    "find",
    "get",
    "names",
    "non_commercial",
    "resolve",
    "specs",
    "write_card",
]

CARD = "visret.yaml"  # the entry in a checkpoint's folder, which takes precedence over its configuration
TASKS: Mapping[str, str] = {"encode": "encoders", "embed": "embedders", "sparse": "embedders", "rerank": "rerankers"}
"""The tasks of models, and the folder under visret/ that has the families for each."""

NONE = ModelSpec(NO_MODEL, NO_MODEL, "", "", "text", 0, "", 0.0)
"""What stands in the place of a model in an index without vectors."""

_PACKAGE = Path(__file__).resolve().parent.parent
_DEFAULTS: Mapping[str, Any] = {
    f.name: f.default if f.default is not MISSING else {}
    for f in fields(ModelSpec)
    if f.default is not MISSING or f.default_factory is not MISSING
}
_KEYS = [f.name for f in fields(ModelSpec) if f.name != "name"]
_NON_COMMERCIAL = {"qwen-research"}  # besides those that say nc

logger = logging.getLogger("visret")


def specs() -> list[ModelSpec]:
    """Return every entry of models.yaml, in its order, and then those of VISRET_MODELS.

    Raises InvalidModelSpec, which names the first entry that is wrong.
    """
    found = _read(_models_yaml())
    private = os.environ.get("VISRET_MODELS")
    if private:
        found += _read(expanded(private))
    taken: dict[str, str] = {}
    for spec in found:
        for name in (spec.name, *spec.aliases):
            if name in taken:
                raise InvalidModelSpec(f"models.yaml, {spec.name}: the name {name!r} is already taken by {taken[name]}")
            taken[name] = spec.name
    return found


def names() -> list[str]:
    """Return the names of all entries, without aliases."""
    return [spec.name for spec in specs()]


def families(task: str = "encode") -> list[str]:
    """Return the names of all families for a task, which are the files in the task's folder."""
    return sorted(file.stem for file in (_PACKAGE / TASKS[task]).glob("[a-z]*.py"))


def find(name: str) -> ModelSpec | None:
    """Return the entry of that name or alias; None if there is none."""
    return _by_name().get(name)


def get(name: str) -> ModelSpec:
    """Return the entry of that name or alias. Raises UnknownModel, with close matches, if there is none."""
    known = _by_name()
    if name in known:
        return known[name]
    meant = _meant(name, known)
    raise UnknownModel(
        f"there is no model {name!r}{meant or '.'} `visret models` lists them; a folder with a checkpoint works too"
    )


def _meant(name: str, known: Iterable[str]) -> str:
    folded = {n.casefold(): n for n in known}
    asked = name.casefold()
    close = [n for n in folded if asked and asked in n][:5] or difflib.get_close_matches(asked, folded, n=3)
    return f"; did you mean {' or '.join(folded[n] for n in close)}?" if close else ""


def resolve(name_or_path: str | Path) -> ModelSpec:
    """Return the entry of that name, or else of the model in that folder, or else of that id in the hub's cache.

    "none" is NONE.

    A model in a folder is named by its absolute path, and gets its revision (`weights.pinned`) when it is loaded. What
    an entry leaves unconfirmed is logged once.

    Raises UnknownModel if nothing is found or the family is not supported, and WeightsError for a hub id that is not
    on this machine.
    """
    name = str(name_or_path)
    if name_or_path == NO_MODEL:
        return NONE
    if isinstance(name_or_path, str) and (spec := find(name)):
        _say_unconfirmed(spec.name, spec.unconfirmed)
        return spec
    folder = expanded(name_or_path)
    if name and folder.is_dir():
        folder = folder.resolve()
        return _in_folder(folder, name=str(folder), source=str(folder), revision="")
    if isinstance(name_or_path, str) and is_hub_id(name):
        snapshot = hub_snapshot(name, "")
        if snapshot is None:
            raise WeightsError(
                f"{name} is neither an entry of models.yaml, nor a folder, nor in this machine's Hugging Face cache"
                f"{_meant(name, _by_name()) or ';'} `hf download {name}` fetches it"
            )
        return _in_folder(snapshot, name=name, source=name, revision=snapshot.name)
    if len(folder.parts) > 1:
        raise UnknownModel(f"there is no folder {folder}")
    return get(name)


def _in_folder(folder: Path, *, name: str, source: str, revision: str) -> ModelSpec:
    """Return the entry that a folder carries, or else the one that its configuration gives."""
    if not (folder / CARD).is_file():
        return recognise(folder, name=name, source=source, revision=revision)
    entries = _read(folder / CARD)
    if len(entries) != 1:
        raise InvalidModelSpec(f"{folder / CARD}: must hold one entry, that of this folder, got {len(entries)}")
    return replace(entries[0], name=name, source=source, revision=revision, aliases=())


@functools.cache
def _say_unconfirmed(name: str, keys: tuple[str, ...]) -> None:
    if keys:
        logger.info("%s: no source confirms what models.yaml says of its %s", name, ", ".join(keys))


def non_commercial(spec: ModelSpec) -> bool:
    """Return whether the licence of a model forbids commercial use."""
    return spec.license in _NON_COMMERCIAL or "nc" in spec.license.split("-")


def check_code(spec: ModelSpec) -> None:
    """Raise WeightsError for a checkpoint that only the code in its repository can run."""
    if spec.remote_code:
        raise WeightsError(f"{spec.name}: only code in its repository can run it, and visret does not run such code")


def as_entry(spec: ModelSpec) -> dict[str, Any]:
    """Return the keys and values of an entry of models.yaml, without those that have their default."""
    values = {key: getattr(spec, key) for key in _KEYS}
    kept = {key: value for key, value in values.items() if key not in _DEFAULTS or value != _DEFAULTS[key]}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in kept.items()}


def write_card(folder: Path, spec: ModelSpec) -> None:
    """Write the entry of the checkpoint in a folder into it, as `CARD`."""
    import yaml

    card = yaml.safe_dump({spec.name: as_entry(spec)}, sort_keys=False, allow_unicode=True)
    (folder / CARD).write_text(card, "utf-8")


# -- models.yaml ------------------------------------------------------------------------------------------------------


def _models_yaml() -> Path:
    """Return the file of the checkout that this package is imported from, or else the copy in the installed package.

    The checkout goes first: a build may leave a copy beside the package, which must not win over the original.
    """
    import tomllib

    root = _PACKAGE.parent
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError):  # not a checkout
        project = tomllib.loads((root / "pyproject.toml").read_text("utf-8")).get("project", {})
        if project.get("name") == "visret" and (root / "models.yaml").is_file():
            return root / "models.yaml"
    return _PACKAGE / "models.yaml"


@functools.cache
def _loader() -> Any:
    """Return a YAML loader that refuses a key that is there twice; by default the last one wins silently."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]  # in C where it is built
        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            keys = [key.value for key, _ in node.value]
            twice = {key for key in keys if keys.count(key) > 1}
            if twice:
                raise yaml.YAMLError(f"{', '.join(sorted(twice))} is there twice, line {node.start_mark.line + 1}")
            return dict(super().construct_mapping(node, deep))

    return Loader


def _read(path: Path) -> list[ModelSpec]:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise InvalidModelSpec(
            f"{path}: cannot be read ({error.strerror}); VISRET_MODELS must name a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidModelSpec(f"{path}: not valid YAML: {error}") from error
    return list(_parsed(path.absolute(), text))


@functools.lru_cache(maxsize=4)
def _parsed(path: Path, text: str) -> tuple[ModelSpec, ...]:
    """Return the entries of a text. They are cached, since opening a model needs them, and parsing takes 20 ms."""
    import yaml

    try:
        entries = yaml.load(text, _loader())
    except yaml.YAMLError as error:
        raise InvalidModelSpec(f"{path}: not valid YAML: {error}") from error
    if not isinstance(entries, dict):
        raise InvalidModelSpec(f"{path}: expected entries by name, got {type(entries).__name__}")
    return tuple(_checked(path, name, entry) for name, entry in entries.items())


def _checked(path: Path, name: Any, entry: Any) -> ModelSpec:
    """Check an entry of a file and return it. Raises InvalidModelSpec, which names the key and what it must be."""

    def wrong(key: str, must: str) -> InvalidModelSpec:
        return InvalidModelSpec(f"{path.name}, {name}, {key}: {must}, got {entry.get(key)!r}")

    if not isinstance(name, str) or not name.strip():
        raise InvalidModelSpec(f"{path.name}: a name must be a text, got {name!r}")
    if not isinstance(entry, dict):
        raise InvalidModelSpec(f"{path.name}, {name}: expected keys and values, got {entry!r}")
    for key in entry:
        if key not in _KEYS:
            raise InvalidModelSpec(f"{path.name}, {name}, {key}: no such key; the keys are {', '.join(_KEYS)}")
    if entry.get("task") == "rerank":  # a reranker makes no vectors
        entry = {"dim": 0, **entry}
    for key in _KEYS:
        if key not in entry and key not in _DEFAULTS:
            raise InvalidModelSpec(f"{path.name}, {name}, {key}: is missing")
    for key in (
        "family",
        "source",
        "revision",
        "modality",
        "license",
        "architecture",
        "purpose",
        "task",
        "sha256",
        "questions_for",
        "beside",
    ):
        if not isinstance(entry.get(key, ""), str):
            raise wrong(key, "must be a text (quote it)")
    for key in ("dim", "page_tokens", "longest_query", "longest_page"):
        least = 1 if key == "dim" and entry.get("task") != "rerank" else 0
        if type(entry.get(key, least)) is not int or entry.get(key, least) < least:
            raise wrong(key, f"must be a whole number from {least}")
    for key in ("size_gb", "parameters"):
        if type(entry.get(key, 0)) not in (int, float) or not entry.get(key, 0) >= 0:
            raise wrong(key, "must be a number from 0")
    for key in ("aliases", "languages", "unconfirmed", "packages"):
        values = entry.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            raise wrong(key, "must be a list of texts")
    if not isinstance(entry.get("remote_code", False), bool):
        raise wrong("remote_code", "must be true or false")
    task = entry.get("task", _DEFAULTS["task"])
    if task not in TASKS:
        raise wrong("task", f"must be one of {', '.join(TASKS)}")
    if task == "rerank" and entry["dim"]:
        raise wrong("dim", "must be left out, since a reranker makes no vectors")
    if entry["family"] not in families(task):
        raise wrong("family", f"must be one of {', '.join(families(task))}")
    if entry["modality"] not in ("text", "image"):
        raise wrong("modality", "must be text or image")
    known = architectures.of(entry["family"])
    if entry.get("architecture") and entry["architecture"] not in known:
        raise wrong("architecture", f"must be one of {', '.join(known) or 'none'}, which {entry['family']} loads")
    if not entry["license"]:
        raise wrong("license", "must be given")
    if not _source_is_valid(entry["source"]):
        raise wrong("source", 'must be owner/name, package:NAME[/FILE], a folder (/, ./, ../ or ~ first) or ""')
    if entry["source"].startswith("package:") and not re.fullmatch(r"[0-9a-f]{64}", entry["revision"]):
        raise wrong("revision", "must be the sha256 of the weights in the package, 64 hexadecimal digits")
    if not re.fullmatch(r"[\w.-]*", entry["revision"]):
        raise wrong("revision", "must be a commit or a tag")
    if not all(re.fullmatch(r"[a-z]{2,3}", code) for code in entry.get("languages", [])):
        raise wrong("languages", "must be a list of ISO 639 codes")
    if not all(re.fullmatch(r"[\w.-]+==[\w.]+", package) for package in entry.get("packages", [])):
        raise wrong("packages", "must be a list of NAME==VERSION")
    if entry.get("packages") and not is_hub_id(entry["source"]):
        raise wrong("packages", "stand in for a repository of the hub, which must be the source")
    if not re.fullmatch(r"[0-9a-f]{64}" if entry.get("packages") else "", entry.get("sha256", "")):
        raise wrong("sha256", "must be that of model.safetensors in the packages, 64 hexadecimal digits")
    options = entry.get("options", {})
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        raise wrong("options", "must be keys and values")
    weak = options.get("weak_below")
    if weak is not None and type(weak) not in (int, float):
        raise wrong("options", "weak_below must be a number or null")
    if not {*entry, *options}.issuperset(entry.get("unconfirmed", [])):
        raise wrong("unconfirmed", "must name keys of this entry or of its options")
    source = entry["source"]
    if is_path(source):
        source = str((path.parent / expanded(source)).resolve())
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return ModelSpec(**{**values, "name": name, "source": source, "size_gb": float(entry["size_gb"])})


def _by_name() -> dict[str, ModelSpec]:
    return {name: spec for spec in specs() for name in (spec.name, *spec.aliases)}


def _source_is_valid(source: str) -> bool:
    return (
        not source or is_path(source) or is_hub_id(source) or bool(re.fullmatch(r"package:[\w.-]+(/[\w.-]+)?", source))
    )
