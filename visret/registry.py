"""models.yaml as data: which models there are, and where their weights lie.

An entry is checked completely before it is used, and names a family, never code. What models.yaml does not know,
a local folder or a hub repository that is on this machine, is recognised by its configuration files, never by its name.
Nothing here loads a model or touches the network.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from visret.errors import InvalidModelSpec, UnknownModel, WeightsError
from visret.types import ModelSpec

__all__ = [
    "DEFAULT_MODEL",
    "Location",
    "base_folder",
    "cache_folder",
    "families",
    "folder_sha256",
    "get",
    "location",
    "names",
    "resolve",
    "sha256",
    "specs",
]

DEFAULT_MODEL = "all-minilm-l6-v2"

_PACKAGE = Path(__file__).resolve().parent
_OPTIONAL = {"options", "aliases"}
_KEYS = [f.name for f in fields(ModelSpec) if f.name != "name"]
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a model's weights come from, and whether they are on this machine.

    kind: "package", "hub", "folder", or "none" (a model without weights).
    path: the folder that holds them; None where they are not on this machine, or there are none.
    """

    kind: str
    path: Path | None

    @property
    def here(self) -> bool:
        """Whether the model can be loaded without the network."""
        return self.kind == "none" or self.path is not None


def specs() -> list[ModelSpec]:
    """Every entry, in the order of the file, then those of VISRET_MODELS. InvalidModelSpec on the first wrong one."""
    found = _read(_models_yaml())
    private = os.environ.get("VISRET_MODELS")
    if private:
        found += _read(Path(private).expanduser())
    taken: dict[str, str] = {}
    for spec in found:
        for name in (spec.name, *spec.aliases):
            if name in taken:
                raise InvalidModelSpec(f"models.yaml, {spec.name}: the name {name!r} is already taken by {taken[name]}")
            taken[name] = spec.name
    return found


def names() -> list[str]:
    """The names of all entries, without aliases."""
    return [spec.name for spec in specs()]


def families() -> list[str]:
    """The names a family can have: the files in visret/encoders/."""
    return sorted(file.stem for file in (_PACKAGE / "encoders").glob("[a-z]*.py"))


def get(name: str) -> ModelSpec:
    """The entry of that name or alias; UnknownModel, with close matches, where there is none."""
    known = {n: spec for spec in specs() for n in (spec.name, *spec.aliases)}
    if name in known:
        return known[name]
    folded = {n.casefold(): n for n in known}
    asked = name.casefold()
    close = difflib.get_close_matches(asked, folded, n=3) or [n for n in folded if asked and asked in n]
    meant = f"; did you mean {' or '.join(folded[n] for n in close)}?" if close else "."
    raise UnknownModel(
        f"there is no model {name!r}{meant} `visret models` lists them; a folder with a checkpoint works too"
    )


def resolve(name_or_path: str | Path) -> ModelSpec:
    """The entry of that name; else what lies in that folder; else what the hub cache of this machine has of that id.

    A folder is named by its absolute path, and gets its revision (`folder_sha256`) when it is loaded.
    UnknownModel where nothing is found or the family is not supported, WeightsError for a hub id that is not here.
    """
    name = str(name_or_path)
    if isinstance(name_or_path, str) and any(name in (s.name, *s.aliases) for s in specs()):
        return get(name)
    folder = Path(name_or_path).expanduser()
    if name and folder.is_dir():
        folder = folder.resolve()
        return _from_folder(folder, name=str(folder), source=str(folder), revision="")
    if isinstance(name_or_path, str) and _HUB_ID.fullmatch(name):
        snapshot = _hub_snapshot(name, "")
        if snapshot is None:
            raise WeightsError(
                f"{name} is neither an entry of models.yaml, nor a folder, nor in this machine's Hugging Face cache; "
                f"`hf download {name}` fetches it"
            )
        return _from_folder(snapshot, name=name, source=name, revision=snapshot.name)
    if len(folder.parts) > 1:
        raise UnknownModel(f"there is no folder {folder}")
    return get(name)


def location(spec: ModelSpec) -> Location:
    """Where the weights come from, and their folder if they are on this machine, of an adapter with its base.

    Never asks the network.
    """
    if not spec.source:
        return Location("none", None)
    if spec.source.startswith("package:"):
        return Location("package", _package_weights(spec.source.removeprefix("package:")))
    if _is_folder(spec.source):
        folder = Path(spec.source).expanduser()
        return Location("folder", folder if folder.is_dir() else None)
    snapshot = _hub_snapshot(spec.source, spec.revision)
    return Location("hub", snapshot if snapshot and base_folder(snapshot) else None)


def base_folder(folder: Path) -> Path | None:
    """The folder with a checkpoint's full weights: itself, unless it is an adapter; None for a base that is not here.

    A base is named by a path, which counts from the adapter's folder, or by a hub id.
    """
    adapter = _json(folder / "adapter_config.json")
    if not adapter or (folder / "config.json").is_file():
        return folder
    named = str(adapter.get("base_model_name_or_path"))
    if (folder / named).is_dir():
        return (folder / named).resolve()
    return _hub_snapshot(named, "") if _HUB_ID.fullmatch(named) else None


def cache_folder() -> Path:
    """Where visret keeps what it can make again: VISRET_CACHE, or `visret` in the user's cache folder."""
    import platformdirs

    chosen = os.environ.get("VISRET_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("visret", appauthor=False))


def sha256(path: Path) -> str:
    """The sha256 of a file. Remembered in `cache_folder` until its size or time of change is another."""
    status = path.stat()
    key, stamp = str(path.resolve()), f"{status.st_size} {status.st_mtime_ns} "
    store = cache_folder() / "sha256.json"
    known = {}
    with contextlib.suppress(OSError, ValueError):  # none yet, or damaged: it is only a cache
        found = json.loads(store.read_text("utf-8"))
        known = found if isinstance(found, dict) else {}
    if str(known.get(key)).startswith(stamp):
        return str(known[key]).removeprefix(stamp)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError):  # a read-only home: hashed again next time
        store.parent.mkdir(parents=True, exist_ok=True)
        draft = store.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({**known, key: stamp + digest}), "utf-8")
        draft.replace(store)
    return digest


def folder_sha256(*folders: Path) -> str:
    """One sha256 over the names and contents of the files that decide what a checkpoint computes."""
    kinds = {".json", ".safetensors", ".model", ".txt", ".jinja", ".metadata"}
    digest = hashlib.sha256()
    for folder in folders:
        for file in sorted(file for file in folder.rglob("*") if file.suffix in kinds and file.is_file()):
            digest.update(f"{sha256(file)}  {file.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


# -- models.yaml ------------------------------------------------------------------------------------------------------


def _models_yaml() -> Path:
    """The file of the checkout this package is imported from, else the copy inside the installed package.

    The checkout goes first: a build may leave a copy beside the package, and that must not win over the original.
    """
    root = _PACKAGE.parent
    with contextlib.suppress(OSError, tomllib.TOMLDecodeError):  # not a checkout
        project = tomllib.loads((root / "pyproject.toml").read_text("utf-8")).get("project", {})
        if project.get("name") == "visret" and (root / "models.yaml").is_file():
            return root / "models.yaml"
    return _PACKAGE / "models.yaml"


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, where YAML silently takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.YAMLError(f"{', '.join(sorted(twice))} is there twice, line {node.start_mark.line + 1}")
        return super().construct_mapping(node, deep)


def _read(path: Path) -> list[ModelSpec]:
    try:
        entries = yaml.load(path.read_text("utf-8"), _Loader)
    except OSError as error:
        raise InvalidModelSpec(
            f"{path}: cannot be read ({error.strerror}); VISRET_MODELS must name a YAML file"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidModelSpec(f"{path}: not valid YAML: {error}") from error
    if not isinstance(entries, dict):
        raise InvalidModelSpec(f"{path}: expected entries by name, got {type(entries).__name__}")
    return [_checked(path, name, entry) for name, entry in entries.items()]


def _checked(path: Path, name: Any, entry: Any) -> ModelSpec:
    def wrong(key: str, must: str) -> InvalidModelSpec:
        return InvalidModelSpec(f"{path.name}, {name}, {key}: {must}, got {entry.get(key)!r}")

    if not isinstance(name, str) or not name.strip():
        raise InvalidModelSpec(f"{path.name}: a name must be a text, got {name!r}")
    if not isinstance(entry, dict):
        raise InvalidModelSpec(f"{path.name}, {name}: expected keys and values, got {entry!r}")
    for key in entry:
        if key not in _KEYS:
            raise InvalidModelSpec(f"{path.name}, {name}, {key}: no such key; the keys are {', '.join(_KEYS)}")
    for key in _KEYS:
        if key not in entry and key not in _OPTIONAL:
            raise InvalidModelSpec(f"{path.name}, {name}, {key}: is missing")
    for key in ("family", "source", "revision", "modality", "license"):
        if not isinstance(entry[key], str):
            raise wrong(key, "must be a text (quote it)")
    if entry["family"] not in families():
        raise wrong("family", f"must be one of {', '.join(families())}")
    if entry["modality"] not in ("text", "image"):
        raise wrong("modality", "must be text or image")
    if not isinstance(entry["dim"], int) or isinstance(entry["dim"], bool) or entry["dim"] < 1:
        raise wrong("dim", "must be a whole number from 1")
    if not isinstance(entry["size_gb"], int | float) or isinstance(entry["size_gb"], bool) or not entry["size_gb"] >= 0:
        raise wrong("size_gb", "must be a number from 0")
    if not entry["license"]:
        raise wrong("license", "must be said")
    if not _source_is_valid(entry["source"]):
        raise wrong("source", 'must be owner/name, package:NAME, a folder (/, ./, ../ or ~ first) or ""')
    if entry["source"].startswith("package:") and not re.fullmatch(r"[0-9a-f]{64}", entry["revision"]):
        raise wrong("revision", "must be the sha256 of the package's model.safetensors, 64 hexadecimal digits")
    if not re.fullmatch(r"[\w.-]*", entry["revision"]):
        raise wrong("revision", "must be a commit or a tag")
    options = entry.get("options", {})
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        raise wrong("options", "must be keys and values")
    languages, weak = options.get("languages", []), options.get("weak_below")
    if not isinstance(languages, list) or not all(re.fullmatch(r"[a-z]{2,3}", str(code)) for code in languages):
        raise wrong("options", "languages must be a list of ISO 639 codes")
    if weak is not None and (not isinstance(weak, int | float) or isinstance(weak, bool)):
        raise wrong("options", "weak_below must be a number or null")
    aliases = entry.get("aliases", [])
    if not isinstance(aliases, list) or not all(isinstance(alias, str) and alias for alias in aliases):
        raise wrong("aliases", "must be a list of texts")
    source = entry["source"]
    if _is_folder(source):
        source = str((path.parent / Path(source).expanduser()).resolve())
    return ModelSpec(
        name=name,
        family=entry["family"],
        source=source,
        revision=entry["revision"],
        modality=entry["modality"],
        dim=entry["dim"],
        license=entry["license"],
        size_gb=float(entry["size_gb"]),
        options=options,
        aliases=tuple(aliases),
    )


def _is_folder(source: str) -> bool:
    return source.startswith((".", "~")) or Path(source).is_absolute()


def _source_is_valid(source: str) -> bool:
    return (
        not source or _is_folder(source) or bool(_HUB_ID.fullmatch(source) or re.fullmatch(r"package:[\w.-]+", source))
    )


# -- folders ----------------------------------------------------------------------------------------------------------


class _Known(NamedTuple):
    family: str
    modality: str
    options: Mapping[str, Any] = {}


# `architectures` of config.json, or the base class an adapter was trained on.
_ARCHITECTURES = {
    "HF_ColBERT": _Known("colbert", "text"),
    "ColQwen2": _Known("colqwen", "image"),
}
# `model_type` of config_sentence_transformers.json; a plain sentence model is used token by token.
_SENTENCE_TRANSFORMERS = {
    "ColBERT": _Known("colbert", "text"),
    "MultiVectorEncoder": _Known("colbert", "text"),
    "SentenceTransformer": _Known("colbert", "text", {"token_by_token": True}),
}


def _from_folder(folder: Path, *, name: str, source: str, revision: str) -> ModelSpec:
    base = base_folder(folder)
    config, adapter = _json((base or folder) / "config.json"), _json(folder / "adapter_config.json")
    architectures = list(config.get("architectures") or [])
    if adapter:
        architectures.append(str((adapter.get("auto_mapping") or {}).get("base_model_class")))
    known = next((_ARCHITECTURES[a] for a in architectures if a in _ARCHITECTURES), None)
    if (folder / "modules.json").is_file():
        kind = _json(folder / "config_sentence_transformers.json").get("model_type", "SentenceTransformer")
        known = _SENTENCE_TRANSFORMERS.get(kind)
    if known is None:
        said = (
            f"architectures {architectures}, model_type {config.get('model_type')!r}" if config or adapter else "none"
        )
        raise UnknownModel(
            f"{folder}: no late-interaction model that visret can load (its configuration: {said}); "
            f"supported are {', '.join([*_ARCHITECTURES, 'sentence-transformers folders with modules.json'])}"
        )
    if not any((folder / weights).is_file() for weights in _WEIGHTS):
        raise WeightsError(f"{folder}: no weights here; expected one of {', '.join(_WEIGHTS)}")
    return ModelSpec(
        name=name,
        family=known.family,
        source=source,
        revision=revision,
        modality=known.modality,
        dim=_dim(folder, config, known),
        license="unknown",
        size_gb=round(sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e9, 3),
        options=known.options,
    )


def _dim(folder: Path, config: Mapping[str, Any], known: _Known) -> int:
    """Dimensions of a vector, from the configuration: the last projection's, else the hidden size."""
    if known.family == "colqwen":
        return int(config.get("dim") or 128)
    stanford = _json(folder / "artifact.metadata").get("dim")
    modules = _json(folder / "modules.json", [])
    dense = [_json(folder / m["path"] / "config.json") for m in modules if str(m.get("type", "")).endswith("Dense")]
    return int(stanford or (dense[-1].get("out_features") if dense else None) or config.get("hidden_size") or 128)


def _json(path: Path, missing: Any = None) -> Any:
    """What a JSON file holds; `missing`, or nothing, where there is no file."""
    if not path.is_file():
        return {} if missing is None else missing
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise WeightsError(f"{path}: damaged: {error}") from error


# -- packages and hub -------------------------------------------------------------------------------------------------


def _package_weights(package: str) -> Path | None:
    """The folder of model.safetensors inside an installed package, found without importing the package."""
    try:
        files: Iterable[metadata.PackagePath] = metadata.files(package) or ()
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == "model.safetensors":
            path = Path(str(file.locate()))
            return path.parent if path.is_file() else None
    return None


def _hub_snapshot(repository: str, revision: str) -> Path | None:
    """A repository's folder in this machine's Hugging Face cache; None unless configuration and weights are there."""
    from huggingface_hub import try_to_load_from_cache

    for config in ("config.json", "adapter_config.json"):
        file = try_to_load_from_cache(repository, config, revision=revision or None)
        if isinstance(file, str):
            folder = Path(file).parent
            return folder if any((folder / weights).exists() for weights in _WEIGHTS) else None
    return None
