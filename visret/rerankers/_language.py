"""The parts that rerankers based on language models share: loading, texts that cannot break a prompt, last states."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from visret.encoders import _base, _patches, _torch
from visret.errors import WeightsError
from visret.models import fetch, weights
from visret.rerankers._base import PageReranker, pictures
from visret.types import ModelSpec, Page

if TYPE_CHECKING:
    from PIL.Image import Image

_TOKENIZERS = ("tokenizer.json", "vocab.json")


class Loaded(NamedTuple):
    """A loaded checkpoint. options: those of the family, with the values of the entry."""

    spec: ModelSpec
    model: Any
    processor: Any
    options: Mapping[str, Any]


class LanguageReranker(PageReranker):
    """A reranker based on a language model, which may look at pages. Its last state is turned into a score.

    Each family implements the input for a page, and the meaning of the last state.
    """

    def __init__(self, loaded: Loaded, *, batch: int | None) -> None:
        super().__init__(loaded.spec, batch=batch or pictures(loaded.model.device))
        self._model = loaded.model
        self._processor = loaded.processor
        self._tokenizer = getattr(loaded.processor, "tokenizer", loaded.processor)  # a text model has no other
        controls = [str(token) for token in self._tokenizer.added_tokens_decoder.values() if token.special]
        self._controls = re.compile("|".join(map(re.escape, sorted(controls, key=len, reverse=True))) or "(?!)")

    def _batch_scores(self, question: str, pages: Sequence[Page]) -> np.ndarray:
        # Pages with a picture and pages without one go into batches of their own, since features differ.
        out = np.empty(len(pages), np.float32)
        asked = self._plain(question)
        for pictured in (True, False):
            rows = [row for row, page in enumerate(pages) if (page.image is not None) == pictured]
            if rows:
                out[rows] = self._scores_of(self._features(asked, [pages[row] for row in rows]))
        return out

    def _features(self, question: str, pages: Sequence[Page]) -> Mapping[str, Any]:
        """Return the input of the model for pages, all with pictures or all without; it is padded on the left."""
        raise NotImplementedError

    def _scores_of(self, features: Mapping[str, Any]) -> np.ndarray:
        """Return the scores of a batch: (batch,)."""
        raise NotImplementedError

    def _last_states(self, features: Mapping[str, Any]) -> torch.Tensor:
        """Return the last layer's state of the last token of each sequence: (batch, d), in the model's dtype."""
        moved = {
            name: value.to(self._model.device, self._model.dtype if value.is_floating_point() else None)
            for name, value in features.items()
        }
        states: torch.Tensor = self._model.model(**moved, use_cache=False).last_hidden_state
        return states[:, -1]

    def _plain(self, text: str) -> str:
        """Split strings in a text that look like control tokens, since an image token would need an image."""
        return self._controls.sub(lambda found: f"{found[0][0]} {found[0][1:]}", text)


class Answers(LanguageReranker):
    """A model that answers whether a page is relevant; the score is the probability of yes, given yes or no.

    That is the sigmoid of the difference of the two logits, which is one product of the last state.
    """

    def __init__(self, loaded: Loaded, *, batch: int | None, yes: str, no: str) -> None:
        super().__init__(loaded, batch=batch)
        head = loaded.model.get_output_embeddings().weight
        rows = [head[self._answer(word)].detach().to(torch.float32) for word in (yes, no)]
        self._difference = rows[0] - rows[1]

    def _answer(self, word: str) -> int:
        """Return the id of an answer. Raises WeightsError if it is not a single token."""
        number = self._tokenizer.get_vocab().get(word)
        if number is None:
            raise WeightsError(f"{self.spec.name}: {word!r}, with which it answers, is no token of this checkpoint")
        return int(number)

    def _scores_of(self, features: Mapping[str, Any]) -> np.ndarray:
        states = self._last_states(features).to(torch.float32)
        return np.asarray(torch.sigmoid(states @ self._difference).cpu().numpy())

    def _prompt(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Return a conversation in the checkpoint's own template, up to where the answer begins."""
        said = self._processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return str(said)


def load(spec: ModelSpec, options: Mapping[str, Any], *, kind: Any, dtype: str, device: str, **more: Any) -> Loaded:
    """Load a checkpoint, full or an adapter with its base.

    kind: the class of transformers, by name, or the class itself. more: other arguments of from_pretrained. Raises
    WeightsError for a checkpoint of another class, and for missing, unexpected or misshapen weights.
    """
    chosen = _base.options(spec, options)
    folder = fetch.weights_folder(spec)
    where, number = _base.Place(device, dtype).found
    base = fetch.base_folder(spec, folder)
    of_tokenizer = folder if any((folder / name).is_file() for name in _TOKENIZERS) else base
    name = kind if isinstance(kind, str) else kind.__name__
    with _torch.quiet(), weights.reading(base, tokenizer=of_tokenizer):
        _check_class(spec, base, name)
        import transformers

        loaded = getattr(transformers, kind) if isinstance(kind, str) else kind
        model = _patches.pretrained(loaded, spec, folder, base, dtype=number, **more)
        processor = transformers.AutoProcessor.from_pretrained(of_tokenizer, local_files_only=True)
    tokenizer = getattr(processor, "tokenizer", processor)
    tokenizer.padding_side = "left"  # the last token of each sequence is then the last one of its row
    return Loaded(weights.pinned(spec, folder, base), model.to(where).eval(), processor, chosen)


def resized(image: Image, *, cell: int, least: int, most: int) -> Image:
    """Resize a picture to whole cells of `cell` pixels along each edge, and to `least` to `most` pixels in all.

    This is what qwen-vl-utils does with its smart_resize. Raises ValueError for a picture that is 200 times as long as
    wide.
    """
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize

    width, height = image.size
    # A side that is less than half a cell would be rounded to none.
    rows, cols = smart_resize(max(height, cell), max(width, cell), factor=cell, min_pixels=least, max_pixels=most)
    return image.resize((cols, rows))


def _check_class(spec: ModelSpec, base: Path, name: str) -> None:
    """Raise WeightsError if the configuration of a checkpoint names another class."""
    named = [str(one) for one in weights.read_json(base / "config.json").get("architectures") or []]
    if name not in named:
        raise WeightsError(
            f"{base}: its configuration names {', '.join(named) or 'no class'}; {spec.name}, of the family "
            f"{spec.family}, is a {name}"
        )
