"""The weights of models: where they lie on this machine, what identifies them, and their tensors.

Only safetensors are read, and packs (`PACK`). Nothing here loads torch or asks the network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import mmap
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from visret.errors import VisretError, WeightsError
from visret.folders import cache_folder, expanded
from visret.types import ModelSpec

__all__ = [
    "BUNDLED",
    "CONFIGURED",
    "FILES",
    "PACK",
    "Location",
    "Tensors",
    "adapted",
    "base_folder",
    "file_in",
    "folder_sha256",
    "has_weights",
    "hub_snapshot",
    "in_pieces",
    "is_hub_id",
    "is_path",
    "location",
    "package_of",
    "pieces_folder",
    "pinned",
    "read_json",
    "reading",
    "sha256",
]

_PACKAGE = Path(__file__).resolve().parent.parent
BUNDLED = _PACKAGE / "ocr" / "glyph"  # the folder of the model that comes with this package
FILES = ("model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors")
"""The names that the weights of a checkpoint can have; a complete checkpoint has one of them."""

PACK = ".hmsemb"
"""The ending of a pack, the other kind of file in which a package may carry weights (`embedders._pack`)."""

CONFIGURED = (".json", ".safetensors", ".model", ".txt", ".jinja", ".metadata")
"""The endings of the files that decide what a checkpoint computes: weights, configuration, tokenizer, prompts."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


# ---- where they lie -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Location:
    """The place that a model's weights come from.

    kind: "package", "packages" (in pieces), "hub", "folder", or "none" (a model without weights).
    path: the folder that holds them; None if they are not on this machine, if there are none, or if their pieces have
        not been put together yet.
    """

    kind: str
    path: Path | None

    @property
    def here(self) -> bool:
        """True if the model can be loaded without the network."""
        return self.kind in ("none", "packages") or self.path is not None


def location(spec: ModelSpec) -> Location:
    """Return where a model's weights come from, and their folder if they, and the base of an adapter, are here."""
    if not spec.source:
        return Location("none", None)
    if spec.source.startswith("package:"):
        return Location("package", _in_package(*package_of(spec)))
    if is_path(spec.source):
        folder = expanded(spec.source)
        return Location("folder", folder if folder.is_dir() else None)
    snapshot = hub_snapshot(spec.source, spec.revision)
    if snapshot and base_folder(snapshot):
        return Location("hub", snapshot)
    if spec.packages:
        folder = pieces_folder(spec)
        if folder.is_dir():
            return Location("packages", folder)
        if None not in in_pieces(spec):
            return Location("packages", None)
    return Location("hub", None)


def is_hub_id(text: str) -> bool:
    """Return whether a text has the form of a hub repository's name, owner/name."""
    return bool(_HUB_ID.fullmatch(text))


def is_path(source: str) -> bool:
    """Return whether a source is meant as a folder: it begins with /, ./, ../ or ~."""
    return source.startswith((".", "~")) or Path(source).is_absolute()


def has_weights(folder: Path) -> bool:
    """Return whether a folder holds safetensors under a name that a checkpoint has.

    One of sentence-transformers that does not begin with a transformer, or has several, has them in folders.
    """
    whole = any((folder / name).exists() for name in FILES)
    parted = (folder / "modules.json").is_file() and not (folder / "config.json").is_file()
    return whole or (parted and any(folder.glob(f"*/{FILES[0]}")))


def adapted(folder: Path) -> str | None:
    """Return the name of the checkpoint that the adapter in a folder adapts; None for a full checkpoint.

    An adapter may have the config.json of its base beside it, as that of MonoQwen2-VL does.
    """
    adapter = read_json(folder / "adapter_config.json")
    full = any((folder / name).exists() for name in FILES[:2])
    if not adapter or full or ((folder / "config.json").is_file() and not (folder / FILES[2]).exists()):
        return None
    return str(adapter.get("base_model_name_or_path"))


def base_folder(folder: Path) -> Path | None:
    """Return the folder with a checkpoint's full weights: its own, or that of an adapter's base; None if not here.

    A base is named by a path, relative to the adapter's folder, or by a hub id.
    """
    named = adapted(folder)
    if named is None:
        return folder
    if (folder / named).is_dir():
        return (folder / named).resolve()
    return hub_snapshot(named, "") if is_hub_id(named) else None


def hub_snapshot(repository: str, revision: str) -> Path | None:
    """Return a repository's folder in this machine's Hugging Face cache.

    It is None unless configuration and weights are there. revision: "" stands for the newest one that was fetched.
    """
    from huggingface_hub import try_to_load_from_cache

    for config in ("config.json", "adapter_config.json", "modules.json"):
        file = try_to_load_from_cache(repository, config, revision=revision or None)
        if isinstance(file, str):
            folder = Path(file).parent
            return folder if has_weights(folder) else None
    return None


def package_of(spec: ModelSpec) -> tuple[str, str]:
    """Return the package that weights come with, and the name of their file; "" where the entry names none."""
    package, _, file = spec.source.removeprefix("package:").partition("/")
    return package, file


def _in_package(package: str, named: str) -> Path | None:
    """Return the folder of the weights in an installed package, without importing the package."""
    if package == "visret":  # whichever way it is installed
        return BUNDLED if (BUNDLED / "model.safetensors").is_file() else None
    wanted = {named} if named else {"model.safetensors"}
    file = _installed(package, lambda name: name in wanted or (not named and name.endswith(PACK)))
    return file.parent if file is not None else None


def file_in(spec: ModelSpec, folder: Path) -> Path:
    """Return the file of a model's weights in this folder: the one that its entry names, a pack, or safetensors."""
    if spec.source.startswith("package:") and (named := package_of(spec)[1]):
        return folder / named
    return next(iter(sorted(folder.glob(f"*{PACK}"))), folder / "model.safetensors")


def _installed(package: str, wanted: Callable[[str], bool]) -> Path | None:
    """Return the first file of an installed package whose name is wanted; None if there is none."""
    from importlib import metadata

    try:
        files: Iterable[metadata.PackagePath] = metadata.files(package) or ()
    except metadata.PackageNotFoundError:
        return None
    for file in files:
        if wanted(file.name):
            path = Path(str(file.locate()))
            return path if path.is_file() else None
    return None


def pieces_folder(spec: ModelSpec) -> Path:
    """Return the folder in which `pieces` puts a model's weights together, whether it exists yet or not."""
    return cache_folder() / "models" / f"{spec.name.replace('/', '--')}-{spec.sha256[:16]}"


def in_pieces(spec: ModelSpec) -> list[Path | None]:
    """Return the piece of the weights in each of a model's packages; None for a package that is not installed."""
    return [_piece(package.partition("==")[0]) for package in spec.packages]


def _piece(package: str) -> Path | None:
    return _installed(package, lambda name: bool(re.search(r"[.]zip[.]\d+$", name)))


# ---- what identifies them -----------------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    """Return the sha256 of a file. It is kept in the cache folder until the file's size or time changes."""
    status = path.stat()
    key, stamp = str(path.resolve()), f"{status.st_size} {status.st_mtime_ns} "
    store = cache_folder() / "sha256.json"
    known = {}
    with contextlib.suppress(OSError, ValueError):  # there is none yet, or it is damaged; it is only a cache
        found = json.loads(store.read_text("utf-8"))
        known = found if isinstance(found, dict) else {}
    if str(known.get(key)).startswith(stamp):
        return str(known[key]).removeprefix(stamp)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    with contextlib.suppress(OSError):  # in a read-only home the file is hashed again the next time
        store.parent.mkdir(parents=True, exist_ok=True)
        draft = store.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({**known, key: stamp + digest}), "utf-8")
        draft.replace(store)
    return digest


def folder_sha256(*folders: Path) -> str:
    """Return one sha256 over the names and contents of the files that decide what a checkpoint computes.

    Hidden files do not count.
    """
    digest = hashlib.sha256()
    for folder in folders:
        files = [file for file in folder.rglob("*") if file.suffix in CONFIGURED and file.is_file()]
        for file in sorted(file for file in files if "/." not in f"/{file.relative_to(folder).as_posix()}"):
            digest.update(f"{sha256(file)}  {file.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def pinned(spec: ModelSpec, *folders: Path) -> ModelSpec:
    """Return the entry with the revision that was loaded from its folders: the hub's commit, or their sha256."""
    if spec.revision or not spec.source:
        return spec
    if location(spec).kind == "hub":
        return dataclasses.replace(spec, revision=folders[0].name)
    return dataclasses.replace(spec, revision=folder_sha256(*dict.fromkeys(folders)))


# ---- their files --------------------------------------------------------------------------------------------------


def read_json(path: Path, missing: Any = None) -> Any:
    """Return what a JSON file of a checkpoint holds; `missing`, or {}, if there is no file.

    Raises WeightsError for a file that is damaged, or holds another kind of value than `missing`.
    """
    missing = {} if missing is None else missing
    if not path.is_file():
        return missing
    try:
        found = json.loads(path.read_text("utf-8"))
        if not isinstance(found, type(missing)):
            raise ValueError(f"it holds a {type(found).__name__}, expected a {type(missing).__name__}")
        return found
    except ValueError as error:
        raise WeightsError(f"{path.parent}: not a complete checkpoint ({path.name}: {error})") from error


@contextlib.contextmanager
def reading(folder: Path, *, tokenizer: Path) -> Iterator[None]:
    """Turn what libraries raise about a damaged or incomplete checkpoint into WeightsError.

    folder, tokenizer: the folders of its weights and of its tokenizer.
    """
    # Without these, transformers would make a default model of eight billion weights, and an empty vocabulary.
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder}: not a complete checkpoint (no config.json)")
    if not any((tokenizer / name).is_file() for name in _TOKENIZERS):
        raise WeightsError(f"{tokenizer}: not a complete checkpoint (none of {', '.join(_TOKENIZERS)})")
    with loading(folder):
        yield


@contextlib.contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Turn what libraries raise about damaged files of a checkpoint into WeightsError."""
    from safetensors import SafetensorError

    try:
        yield
    except Exception as error:
        damage = isinstance(error, OSError | ValueError | KeyError | SafetensorError)
        if isinstance(error, VisretError) or not (damage or type(error) is Exception):  # tokenizers raises the latter
            raise
        raise WeightsError(f"{folder}: not a complete checkpoint ({type(error).__name__}: {error})") from error


class Tensors(Mapping[str, np.ndarray]):
    """The tensors of a safetensors file by name, float32 and read-only.

    Those stored as float32 are the file's own pages in memory, which the processes of a machine share and the system
    can drop; others are converted each time they are asked for. Raises SafetensorError for a file that is not complete,
    and WeightsError for other types.
    """

    def __init__(self, file: Path) -> None:
        from safetensors import safe_open

        with safe_open(file, framework="np"):  # checks the header, and that every tensor lies in the file
            self._file = file
        with file.open("rb") as opened:
            self._begin = 8 + int.from_bytes(opened.read(8), "little")
            self._entries: dict[str, dict[str, Any]] = json.loads(opened.read(self._begin - 8))
            self._data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self._entries.pop("__metadata__", None)

    def __getitem__(self, name: str) -> np.ndarray:
        entry = self._entries[name]
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise WeightsError(f"{self._file}: {name} is {entry['dtype']}, expected one of {', '.join(_DTYPES)}")
        shape = tuple(entry["shape"])
        first = self._begin + entry["data_offsets"][0]
        array: np.ndarray = np.ndarray(shape, dtype, self._data, first)
        if entry["dtype"] == "BF16":  # the upper half of a float32
            array = (array.astype(np.uint32) << np.uint32(16)).view(np.float32)
        return np.require(array, np.float32, ["C", "A"])

    def __iter__(self) -> Any:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
