"""The parts that the families of page images share: strict loading, prompts, batches, patches in reading order."""

from __future__ import annotations

import importlib
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch

from visret import arguments
from visret.encoders import _base, _torch
from visret.errors import InvalidModelSpec, MissingExtra, ShapeError, VisretError, WeightsError
from visret.models import architectures, fetch, weights
from visret.types import Grid, ModelSpec, Page, PageEmbedding, PageRef, QueryEmbedding

# Every family has these options. Without an entry for one, the checkpoint's own library decides.
OPTIONS: Mapping[str, Any] = {
    "query_prefix": str,
    "query_suffix": str,  # one token, repeated query_suffix_count times after a question
    "query_suffix_count": None,
    "page_prompt": str,
    "page_text": True,  # keep the vectors of the prompt around a page's patches, as published
    "normalised": True,  # make vectors unit rows; false leaves them as long as the checkpoint makes them
    "four_bit": False,  # weights in 4 bits (bitsandbytes), on a CUDA GPU
}
_SUFFIX_COUNT = 10  # of colpali-engine and of transformers
_MAX_PAGES = 16  # in a batch


class Loaded(NamedTuple):
    """A loaded checkpoint, as `load` returns it to a family."""

    spec: ModelSpec
    architecture: str
    model: Any
    processor: Any
    options: Mapping[str, Any]


class Places(NamedTuple):
    """The grid of a page. tokens: (rows * cols,) int, the position of each cell in the sequence, in reading order."""

    grid: Grid
    tokens: np.ndarray


class PatchEncoder(ABC):
    """An encoder of pages as pictures. A family says where its patches are, and how its questions begin and end."""

    _query_prefix: str | None = None  # for processors that have none
    _query_suffix: str | None = None

    def __init__(self, loaded: Loaded, *, threads: int | None) -> None:
        self.spec = loaded.spec
        self.architecture = loaded.architecture
        self._model = loaded.model
        self._processor = loaded.processor
        self._threads = threads or _torch.threads()
        self._keeps_text = bool(loaded.options["page_text"])
        self._normalised = bool(loaded.options["normalised"])
        self._image_token = _image_token(loaded.model.config)
        self._grows = loaded.model.device.type != "cpu"
        self._batch = 4 if self._grows else 1  # pages; on a CPU one keeps all cores busy
        self._suffix = set_prompts(loaded, self._query_prefix, self._query_suffix)
        controls = [str(token) for token in loaded.processor.tokenizer.added_tokens_decoder.values() if token.special]
        self._controls = re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or "(?!)")
        self.preprocessing: Mapping[str, Any] = {
            "architecture": self.architecture,
            **self._budget(),
            "page_prompt": getattr(loaded.processor, "visual_prompt_prefix", ""),
            "page_text": "kept" if self._keeps_text else "dropped",
            "query_prefix": loaded.processor.query_prefix,
            "query_suffix": self._suffix,
            "dtype": str(loaded.model.dtype).removeprefix("torch."),
            **({} if self._normalised else _base.AS_MADE),
        }

    # ---- what a family says

    @abstractmethod
    def _places(self, features: Mapping[str, Any], row: int) -> Places:
        """Return the places of the patches of a page of a batch. row: the place of the page in the batch."""

    def _budget(self) -> Mapping[str, Any]:
        """Return the options that limit the size of a page, for `preprocessing`."""
        return {}

    def _page_features(self, images: list[Any]) -> Any:
        return self._processor.process_images(images)

    def _query_features(self, text: str) -> Any:
        return self._processor.process_queries([text], suffix=self._suffix)

    # ---- what training needs

    @property
    def network(self) -> Any:
        """The network itself, whose weights training changes."""
        return self._model

    def page_features(self, page: Page) -> Mapping[str, Any]:
        """Return what the network reads of a page, on the CPU. Raises ShapeError for a page without an image."""
        _base.check_images(self.spec, [page])
        features: Mapping[str, Any] = self._page_features([page.image])
        return features

    def question_features(self, text: str) -> Mapping[str, Any]:
        """Return what the network reads of a question, on the CPU."""
        # What looks like a control token in a question is split into text: an image token needs an image.
        said = self._controls.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)
        features: Mapping[str, Any] = self._query_features(said)
        return features

    def page_tensor(self, features: Mapping[str, Any], ref: PageRef) -> torch.Tensor:
        """Return the vectors of a page's embedding, from its features: (n, d) float32, through which gradients pass."""
        _, kept = self._kept(features, 0, ref)
        return self._rows(features)[torch.from_numpy(kept)]

    def question_tensor(self, features: Mapping[str, Any]) -> torch.Tensor:
        """Return the vectors of a question, from its features: (n, d) float32, through which gradients pass."""
        return self._rows(features)

    def _rows(self, features: Mapping[str, Any]) -> torch.Tensor:
        rows = self._computed(features)[0].float()
        return torch.nn.functional.normalize(rows, dim=-1) if self._normalised else rows

    # ---- what they share

    def can_read(self, page: Page) -> bool:
        """Return whether the page has an image."""
        return page.image is not None

    def encode_pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        """Return one embedding for each page: a vector for each cell in reading order, then those of the prompt.

        Raises ShapeError for a page without an image.
        """
        _base.check_images(self.spec, pages)
        out: list[PageEmbedding] = []
        with _torch.on_threads(self._threads):
            while len(out) < len(pages):
                some = pages[len(out) : len(out) + self._batch]
                try:
                    out += self._pages(some)
                except RuntimeError as error:
                    if len(some) == 1 or "out of memory" not in str(error):
                        raise
                    self._batch, self._grows = len(some) // 2, False
                    continue
                if self._grows and len(some) == self._batch:
                    self._batch = min(2 * self._batch, _MAX_PAGES)
        return out

    def encode_queries(self, texts: Sequence[str]) -> list[QueryEmbedding]:
        """Return one embedding for each question, with one vector for each token.

        Raises InvalidArgument for a question without words.
        """
        arguments.questions(texts)
        with _torch.on_one_thread():
            return [self._query(text) for text in texts]

    def _pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        features = self._page_features([page.image for page in pages])
        out = []
        for row, (page, vectors) in enumerate(zip(pages, self._forward(features), strict=True)):
            grid, kept = self._kept(features, row, page.ref)
            out.append(
                PageEmbedding(
                    page.ref, page.size_pt, vectors[kept], grid, page.text, _base.word_boxes(page), page.metadata
                )
            )
        return out

    def _query(self, text: str) -> QueryEmbedding:
        features = self.question_features(text)
        (vectors,) = self._forward(features)
        ids = features["input_ids"][0].tolist()
        tail = _alike(self._frame[::-1], ids[::-1])
        head = min(_alike(self._frame, ids), len(self._frame) - tail)
        content = np.ones(len(ids), bool)
        content[:head] = content[len(ids) - tail :] = False
        tokens = tuple(self._processor.tokenizer.decode([i]).strip() for i in ids)
        return QueryEmbedding(text, vectors, tokens, content)

    @cached_property
    def _frame(self) -> list[int]:
        """The ids around every question."""
        ids: list[int] = self._query_features("")["input_ids"][0].tolist()
        return ids

    def _forward(self, features: Mapping[str, Any]) -> np.ndarray:
        """Return the vectors of a batch, padding included: (batch, length, d) float32."""
        with torch.inference_mode():
            return np.asarray(_torch.to_numpy(self._computed(features), unit=self._normalised))

    def _computed(self, features: Mapping[str, Any]) -> torch.Tensor:
        """Return what the network makes of a batch: (batch, length, d), in its dtype."""
        moved = {
            name: value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)
            for name, value in features.items()
            if name != "labels"
        }
        made = self._model(**moved)
        return made if isinstance(made, torch.Tensor) else made.embeddings

    def _kept(self, features: Mapping[str, Any], row: int, ref: PageRef) -> tuple[Grid, np.ndarray]:
        """Return the grid of a page of a batch, and where its vectors are in the sequence: cells first, then the rest.

        Raises ShapeError for patches that do not fill the grid.
        """
        grid, tokens = self._places(features, row)
        if len(tokens) != grid.rows * grid.cols:
            raise ShapeError(f"{ref}: {len(tokens)} patches for {grid.rows} rows x {grid.cols} cols")
        rest = features["attention_mask"][row].bool().numpy() & self._keeps_text
        rest[tokens] = False
        return grid, np.concatenate([tokens, np.flatnonzero(rest)])

    def _image_tokens(self, features: Mapping[str, Any], row: int) -> np.ndarray:
        return np.asarray(np.flatnonzero(features["input_ids"][row].numpy() == self._image_token))

    def _square(self, features: Mapping[str, Any], row: int) -> Places:
        """Return the places of a model that sees every page as a square, its patches row by row."""
        tokens = self._image_tokens(features, row)
        side = math.isqrt(len(tokens))
        return Places(Grid(side, side), tokens)


def set_prompts(loaded: Loaded, prefix: str | None = None, suffix: str | None = None) -> str:
    """Give the processor the prompts of the entry, and return the suffix that follows each question.

    prefix, suffix: those of the family, for a processor that has none.
    """
    spec, processor, options = loaded.spec, loaded.processor, loaded.options
    prefix = prefix if options["query_prefix"] is None else options["query_prefix"]
    if prefix is not None:
        processor.query_prefix = prefix
    if options["page_prompt"] is not None:
        if not hasattr(processor, "visual_prompt_prefix"):
            raise InvalidModelSpec(f"{spec.name}, options, page_prompt: that of {loaded.architecture} is fixed")
        processor.visual_prompt_prefix = options["page_prompt"]
    named = options["query_suffix"]
    if named and named not in processor.tokenizer.get_vocab():
        raise InvalidModelSpec(f"{spec.name}, options, query_suffix: {named!r} is no token of this checkpoint")
    suffix = suffix if named is None else named
    if suffix is None:
        suffix = processor.query_augmentation_token
    return str(suffix) * (options["query_suffix_count"] or _SUFFIX_COUNT)


def load(
    spec: ModelSpec,
    options: Mapping[str, Any],
    *,
    dtype: str,
    device: str,
    check: Callable[[str], None] = lambda _: None,
    reading: Mapping[str, Any] = MappingProxyType({}),
    dim: Callable[[Any], int] = lambda model: getattr(model, "dim", None) or model.config.embedding_dim,
) -> Loaded:
    """Load a checkpoint, full or an adapter with its base.

    check: gets the name of the architecture, and raises an error if it cannot be loaded. dim: returns the dimensions of
    a loaded model's vectors. reading: other arguments of from_pretrained. Raises WeightsError for
    missing, unexpected or misshapen weights.
    """
    chosen = _base.options(spec, {**OPTIONS, **options})
    known = architectures.of(spec.family)
    folder = fetch.weights_folder(spec)
    where, kind = _base.Place(device, dtype).found
    base = fetch.base_folder(spec, folder)
    more = {**reading, **(_four_bit(spec, where, kind) if chosen["four_bit"] else {})}
    with _torch.quiet(), weights.reading(base, tokenizer=folder):
        name = _architecture(spec, base, known)
        check(name)
        library = importlib.import_module(known[name].library)
        model = pretrained(getattr(library, name), spec, folder, base, dtype=kind, **more)
        processor = getattr(library, known[name].processor).from_pretrained(folder, local_files_only=True)
    _base.check_dim(spec, dim(model))
    for module in model.modules():
        if hasattr(module, "lm_head"):  # it would score the next word for every token of a page, for nothing
            module.lm_head = torch.nn.Identity()
    if not chosen["four_bit"]:
        model = model.to(where)
    return Loaded(weights.pinned(spec, folder, base), name, model.eval(), processor, chosen)


def pretrained(kind: Any, spec: ModelSpec, folder: Path, base: Path, *, dtype: torch.dtype, **more: Any) -> Any:
    """Return a model of this class with the weights in a folder, which may be an adapter of those in `base`.

    more: other arguments of from_pretrained. Raises WeightsError for missing, unexpected or misshapen weights.
    """
    adapter = None
    if base != folder:  # then the report is about the adapter alone; the base is checked first, without its data
        adapter = {"_adapter_model_path": str(folder)}
        named = {key: value for key, value in more.items() if key == "key_mapping"}
        _, report = kind.from_pretrained(
            base, device_map="meta", output_loading_info=True, local_files_only=True, **named
        )
        _check_weights(report, base, spec, given=list(weights.Tensors(folder / "adapter_model.safetensors")))
    model, report = kind.from_pretrained(
        base, dtype=dtype, adapter_kwargs=adapter, output_loading_info=True, local_files_only=True, **more
    )
    _check_weights(report, folder, spec)
    return model


def _architecture(spec: ModelSpec, base: Path, known: Collection[str]) -> str:
    """Return which of a family's architectures a checkpoint has.

    Its configuration says so, or the entry if the configuration is that of a plain language model.
    """
    named = weights.read_json(base / "config.json").get("architectures") or []
    found = [name for name in map(str, named) if name in known]
    said = spec.architecture
    if said and said not in known:
        raise InvalidModelSpec(f"{spec.name}, architecture: {spec.family} has {', '.join(known)}, got {said!r}")
    if found and said and said not in found:
        raise WeightsError(f"{base}: holds a {found[0]}, but the entry {spec.name} says {said}")
    if not found and not said:
        raise WeightsError(
            f"{base}: its configuration names none of {', '.join(known)}; give its architecture in the entry"
        )
    return said or found[0]


def _four_bit(spec: ModelSpec, where: torch.device, kind: torch.dtype) -> dict[str, Any]:
    """Return the arguments of from_pretrained for weights of 4 bits (QLoRA's NF4)."""
    if where.type != "cuda":
        raise VisretError(
            f"{spec.name}: four_bit needs a CUDA GPU, and this is {where}; leave it out, or device='cuda'"
        )
    try:
        importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise MissingExtra(f"{spec.name}: four_bit needs bitsandbytes: pip install bitsandbytes") from error
    from transformers import BitsAndBytesConfig

    whole = ["custom_text_proj", "linear", "embedding_proj_layer"]  # the last layer decides the vectors
    config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=kind, llm_int8_skip_modules=whole
    )
    return {"quantization_config": config, "device_map": {"": where}}


def _check_weights(report: Mapping[str, Any], folder: Path, spec: ModelSpec, *, given: Sequence[str] = ()) -> None:
    """Raise WeightsError unless the weights are those of the model. given: names of tensors from elsewhere."""
    wrong = {}
    for kind, names in report.items():
        names = [n for n in names or () if not any(f".{one}".endswith(f".{n}") for one in given)]
        if names:
            wrong[kind] = names
    if wrong:
        listed = "; ".join(
            f"{kind.replace('_', ' ')}: {', '.join(map(str, names[:3]))}" for kind, names in wrong.items()
        )
        raise WeightsError(f"{folder}: the weights are not those of a {spec.family} checkpoint ({listed})")


def _image_token(config: Any) -> int:
    """Return the id that stands for a patch; the configurations of these models have two names for it."""
    config = getattr(config, "vlm_config", config)
    named = [getattr(config, name, None) for name in ("image_token_id", "image_token_index")]
    return int(next(number for number in named if number is not None))


def _alike(one: Sequence[int], other: Sequence[int]) -> int:
    """Count the ids that two sequences have in common at their beginning."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
