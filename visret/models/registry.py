"""models.yaml as data: which models there are, and where their weights lie.

An entry is checked completely before it is used, and names a family, never code. What models.yaml does not know,
a local folder or a hub repository that is on this machine, is recognised by its configuration files, never by its name,
unless it carries an entry of its own (`CARD`).
Nothing here loads a model or touches the network.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from visret._choices import DEFAULT_MODEL
from visret._folders import expanded
from visret.errors import InvalidModelSpec, UnknownModel, WeightsError
from visret.types import ModelSpec

__all__ = [
    "CARD",
    "DEFAULT_MODEL",
    "Location",
    "as_entry",
    "base_folder",
    "cache_folder",
    "check_code",
    "families",
    "find",
    "folder_sha256",
    "get",
    "has_weights",
    "is_hub_id",
    "location",
    "names",
    "non_commercial",
    "resolve",
    "sha256",
    "specs",
]

CARD = "visret.yaml"  # in a folder with a checkpoint: its entry, which goes before what its configuration says

_PACKAGE = Path(__file__).resolve().parent.parent
BUNDLED = _PACKAGE / "glyph"  # the folder of the model that comes with this package
_DEFAULTS: Mapping[str, Any] = {
    f.name: f.default if f.default is not MISSING else {}
    for f in fields(ModelSpec)
    if f.default is not MISSING or f.default_factory is not MISSING
}
_KEYS = [f.name for f in fields(ModelSpec) if f.name != "name"]
_NON_COMMERCIAL = {"qwen-research"}  # besides those that say nc
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")

logger = logging.getLogger("visret")


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
        found += _read(expanded(private))
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


def find(name: str) -> ModelSpec | None:
    """The entry of that name or alias, if there is one."""
    return _by_name().get(name)


def get(name: str) -> ModelSpec:
    """The entry of that name or alias; UnknownModel, with close matches, where there is none."""
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
    close = difflib.get_close_matches(asked, folded, n=3) or [n for n in folded if asked and asked in n]
    return f"; did you mean {' or '.join(folded[n] for n in close)}?" if close else ""


def resolve(name_or_path: str | Path) -> ModelSpec:
    """The entry of that name; else what lies in that folder; else what the hub cache of this machine has of that id.

    A folder is named by its absolute path, and gets its revision (`folder_sha256`) when it is loaded. What an entry
    leaves unconfirmed is said in the log, once.
    UnknownModel where nothing is found or the family is not supported, WeightsError for a hub id that is not here.
    """
    name = str(name_or_path)
    if isinstance(name_or_path, str) and (spec := find(name)):
        _say_unconfirmed(spec.name, spec.unconfirmed)
        return spec
    folder = expanded(name_or_path)
    if name and folder.is_dir():
        folder = folder.resolve()
        return _from_folder(folder, name=str(folder), source=str(folder), revision="")
    if isinstance(name_or_path, str) and is_hub_id(name):
        snapshot = _hub_snapshot(name, "")
        if snapshot is None:
            raise WeightsError(
                f"{name} is neither an entry of models.yaml, nor a folder, nor in this machine's Hugging Face cache"
                f"{_meant(name, _by_name()) or ';'} `hf download {name}` fetches it"
            )
        return _from_folder(snapshot, name=name, source=name, revision=snapshot.name)
    if len(folder.parts) > 1:
        raise UnknownModel(f"there is no folder {folder}")
    return get(name)


def is_hub_id(text: str) -> bool:
    """Whether it has the form of a hub repository's name, owner/name."""
    return bool(_HUB_ID.fullmatch(text))


def has_weights(folder: Path) -> bool:
    """Whether a folder holds safetensors under a name that a checkpoint has."""
    return any((folder / weights).exists() for weights in _WEIGHTS)


@functools.cache
def _say_unconfirmed(name: str, keys: tuple[str, ...]) -> None:
    if keys:
        logger.info("%s: no source confirms what models.yaml says of its %s", name, ", ".join(keys))


def location(spec: ModelSpec) -> Location:
    """Where the weights come from, and their folder if they are on this machine, of an adapter with its base.

    Never asks the network.
    """
    if not spec.source:
        return Location("none", None)
    if spec.source.startswith("package:"):
        return Location("package", _package_weights(spec.source.removeprefix("package:")))
    if _is_folder(spec.source):
        folder = expanded(spec.source)
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
    return _hub_snapshot(named, "") if is_hub_id(named) else None


def non_commercial(spec: ModelSpec) -> bool:
    """Whether its licence forbids commercial use."""
    return spec.license in _NON_COMMERCIAL or "nc" in spec.license.split("-")


def check_code(spec: ModelSpec) -> None:
    """WeightsError for a checkpoint that only the code in its repository can run."""
    if spec.remote_code:
        raise WeightsError(f"{spec.name}: only code in its repository can run it, and visret does not run such code")


def as_entry(spec: ModelSpec) -> dict[str, Any]:
    """The keys and values of an entry of models.yaml, without those that have their default."""
    values = {key: getattr(spec, key) for key in _KEYS}
    kept = {key: value for key, value in values.items() if key not in _DEFAULTS or value != _DEFAULTS[key]}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in kept.items()}


def write_card(folder: Path, spec: ModelSpec) -> None:
    """The entry of the checkpoint in a folder, as `CARD` in it."""
    import yaml

    card = yaml.safe_dump({spec.name: as_entry(spec)}, sort_keys=False, allow_unicode=True)
    (folder / CARD).write_text(card, "utf-8")


def cache_folder() -> Path:
    """Where visret keeps what it can make again: VISRET_CACHE, or `visret` in the user's cache folder.

    Whoever writes there goes on without where that fails, as it does for a user who has no home folder.
    """
    import platformdirs

    if chosen := os.environ.get("VISRET_CACHE"):
        return expanded(chosen)
    try:
        folder = Path(platformdirs.user_cache_dir("visret", appauthor=False))
    except RuntimeError:  # no home folder; an earlier platformdirs gives a relative path, to a folder called ~
        folder = Path("~")
    return folder if folder.is_absolute() else Path(os.devnull, "visret")


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
    """One sha256 over the names and contents of the files that decide what a checkpoint computes (no hidden ones)."""
    kinds = {".json", ".safetensors", ".model", ".txt", ".jinja", ".metadata"}
    digest = hashlib.sha256()
    for folder in folders:
        files = [file for file in folder.rglob("*") if file.suffix in kinds and file.is_file()]
        for file in sorted(file for file in files if "/." not in f"/{file.relative_to(folder).as_posix()}"):
            digest.update(f"{sha256(file)}  {file.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


# -- models.yaml ------------------------------------------------------------------------------------------------------


def _models_yaml() -> Path:
    """The file of the checkout this package is imported from, else the copy inside the installed package.

    The checkout goes first: a build may leave a copy beside the package, and that must not win over the original.
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
    """The loader of YAML that refuses a key that is there twice, where YAML silently takes the last."""
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
    """Kept, since every model that is opened asks for it, and it takes 20 ms."""
    import yaml

    try:
        entries = yaml.load(text, _loader())
    except yaml.YAMLError as error:
        raise InvalidModelSpec(f"{path}: not valid YAML: {error}") from error
    if not isinstance(entries, dict):
        raise InvalidModelSpec(f"{path}: expected entries by name, got {type(entries).__name__}")
    return tuple(_checked(path, name, entry) for name, entry in entries.items())


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
        if key not in entry and key not in _DEFAULTS:
            raise InvalidModelSpec(f"{path.name}, {name}, {key}: is missing")
    for key in ("family", "source", "revision", "modality", "license", "architecture", "purpose"):
        if not isinstance(entry.get(key, ""), str):
            raise wrong(key, "must be a text (quote it)")
    for key in ("dim", "page_tokens", "longest_query", "longest_page"):
        least = 1 if key == "dim" else 0
        if type(entry.get(key, least)) is not int or entry.get(key, least) < least:
            raise wrong(key, f"must be a whole number from {least}")
    for key in ("size_gb", "parameters"):
        if type(entry.get(key, 0)) not in (int, float) or not entry.get(key, 0) >= 0:
            raise wrong(key, "must be a number from 0")
    for key in ("aliases", "languages", "unconfirmed"):
        values = entry.get(key, [])
        if not isinstance(values, list) or not all(isinstance(value, str) and value for value in values):
            raise wrong(key, "must be a list of texts")
    if not isinstance(entry.get("remote_code", False), bool):
        raise wrong("remote_code", "must be true or false")
    if entry["family"] not in families():
        raise wrong("family", f"must be one of {', '.join(families())}")
    if entry["modality"] not in ("text", "image"):
        raise wrong("modality", "must be text or image")
    architectures = [key for key, known in _CLASSES.items() if known.family == entry["family"]]
    if entry.get("architecture") and entry["architecture"] not in architectures:
        raise wrong(
            "architecture", f"must be one of {', '.join(architectures) or 'none'}, which {entry['family']} loads"
        )
    if not entry["license"]:
        raise wrong("license", "must be said")
    if not _source_is_valid(entry["source"]):
        raise wrong("source", 'must be owner/name, package:NAME, a folder (/, ./, ../ or ~ first) or ""')
    if entry["source"].startswith("package:") and not re.fullmatch(r"[0-9a-f]{64}", entry["revision"]):
        raise wrong("revision", "must be the sha256 of the package's model.safetensors, 64 hexadecimal digits")
    if not re.fullmatch(r"[\w.-]*", entry["revision"]):
        raise wrong("revision", "must be a commit or a tag")
    if not all(re.fullmatch(r"[a-z]{2,3}", code) for code in entry.get("languages", [])):
        raise wrong("languages", "must be a list of ISO 639 codes")
    options = entry.get("options", {})
    if not isinstance(options, dict) or not all(isinstance(key, str) for key in options):
        raise wrong("options", "must be keys and values")
    weak = options.get("weak_below")
    if weak is not None and type(weak) not in (int, float):
        raise wrong("options", "weak_below must be a number or null")
    if not {*entry, *options}.issuperset(entry.get("unconfirmed", [])):
        raise wrong("unconfirmed", "must name keys of this entry or of its options")
    source = entry["source"]
    if _is_folder(source):
        source = str((path.parent / expanded(source)).resolve())
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return ModelSpec(**{**values, "name": name, "source": source, "size_gb": float(entry["size_gb"])})


def _by_name() -> dict[str, ModelSpec]:
    return {name: spec for spec in specs() for name in (spec.name, *spec.aliases)}


def _is_folder(source: str) -> bool:
    return source.startswith((".", "~")) or Path(source).is_absolute()


def _source_is_valid(source: str) -> bool:
    return not source or _is_folder(source) or is_hub_id(source) or bool(re.fullmatch(r"package:[\w.-]+", source))


# -- folders ----------------------------------------------------------------------------------------------------------


class _Known(NamedTuple):
    """dim: of its vectors, unless the configuration has `dim_key`."""

    family: str
    modality: str
    dim: int = 128
    dim_key: str = ""
    options: Mapping[str, Any] = {}


# `architectures` of config.json, or the base class an adapter was trained on. colpali-engine has the dimensions in its
# code, but for ColQwen3.5; a ColQwen3 of another length says so in `dim`.
_ARCHITECTURES = {
    "HF_ColBERT": _Known("colbert", "text"),
    "ColPali": _Known("colpali", "image"),
    "ColPaliForRetrieval": _Known("colpali", "image", dim_key="embedding_dim"),
    "ColQwen2": _Known("colqwen", "image"),
    "ColQwen2ForRetrieval": _Known("colqwen", "image", dim_key="embedding_dim"),
    "ColQwen2_5": _Known("colqwen", "image"),
    "ColQwen2_5Omni": _Known("colqwen", "image"),
    "ColQwen3": _Known("colqwen", "image", 320, "dim"),
    "ColQwen3_5": _Known("colqwen", "image", dim_key="dim"),
    "ColIdefics3": _Known("colidefics", "image"),
    "ColModernVBert": _Known("colidefics", "image"),
    "ColModernVBertForRetrieval": _Known("colidefics", "image", dim_key="embedding_dim"),
    "ColGemma3": _Known("colgemma", "image"),
}
# `model_type` of config_sentence_transformers.json; a plain sentence model is used token by token.
_SENTENCE_TRANSFORMERS = {
    "ColBERT": _Known("colbert", "text"),
    "MultiVectorEncoder": _Known("colbert", "text"),
    "SentenceTransformer": _Known("colbert", "text", options={"token_by_token": True}),
}
_CLASSES = {**_ARCHITECTURES, **_SENTENCE_TRANSFORMERS}


def _from_folder(folder: Path, *, name: str, source: str, revision: str) -> ModelSpec:
    if (folder / CARD).is_file():
        entries = _read(folder / CARD)
        if len(entries) != 1:
            raise InvalidModelSpec(f"{folder / CARD}: must hold one entry, that of this folder, got {len(entries)}")
        return replace(entries[0], name=name, source=source, revision=revision, aliases=())
    base = base_folder(folder)
    config, adapter = _json((base or folder) / "config.json"), _json(folder / "adapter_config.json")
    architecture = _architecture(folder, config, adapter)
    if not has_weights(folder):
        raise WeightsError(f"{folder}: no weights here; expected one of {', '.join(_WEIGHTS)}")
    known = _CLASSES[architecture]
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
        architecture=architecture,
    )


def _architecture(folder: Path, config: Mapping[str, Any], adapter: Mapping[str, Any]) -> str:
    """The class of a checkpoint, from its configuration. UnknownModel where no family loads it."""
    said = [(adapter.get("auto_mapping") or {}).get("base_model_class"), *(config.get("architectures") or [])]
    for architecture in said:
        if architecture in _ARCHITECTURES:
            return str(architecture)
    # visual checkpoints have a modules.json too, so it decides only what looks like a text model
    if (folder / "modules.json").is_file() and not adapter and "vision_config" not in config:
        kind = _json(folder / "config_sentence_transformers.json").get("model_type", "SentenceTransformer")
        if kind in _SENTENCE_TRANSFORMERS:
            return str(kind)
    found = [str(architecture) for architecture in said if architecture]
    what = f"architectures {found}, model_type {config.get('model_type')!r}" if config or adapter else "none"
    writes = any(re.search("ForConditionalGeneration|ForCausalLM|ImageTextToText", name) for name in found)
    hint = "; it writes text, and only a checkpoint trained from it for retrieval can find pages" if writes else ""
    raise UnknownModel(
        f"{folder}: no late-interaction model that visret can load (its configuration: {what}){hint}; "
        f"supported are {', '.join([*_ARCHITECTURES, 'sentence-transformers folders with modules.json'])}"
    )


def _dim(folder: Path, config: Mapping[str, Any], known: _Known) -> int:
    """Dimensions of a vector; of a text model the last projection's, else the hidden size."""
    if known.modality == "image":
        return int(config.get(known.dim_key) or known.dim)
    stanford = _json(folder / "artifact.metadata").get("dim")
    modules = _json(folder / "modules.json", [])
    dense = [_json(folder / m["path"] / "config.json") for m in modules if str(m.get("type", "")).endswith("Dense")]
    return int(stanford or (dense[-1].get("out_features") if dense else None) or config.get("hidden_size") or known.dim)


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
    if package == "visret":  # whichever way it is installed
        return BUNDLED if (BUNDLED / "model.safetensors").is_file() else None
    from importlib import metadata

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
            return folder if has_weights(folder) else None
    return None
