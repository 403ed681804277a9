"""jina-reranker-m0: a Qwen2-VL with two layers that turn the last state of a page and a question into a score.

visret builds the class that modeling.py of jinaai/jina-reranker-m0 defines, and runs none of the repository's code.
Prompt, score token, sizes of pictures and the bias of the sigmoid are those of that file. A page without a picture is
read as text.

Options: max_patches, the largest number of cells of 28 x 28 pixels for a page (768 by default).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from visret.encoders import _torch
from visret.rerankers import _language
from visret.rerankers._language import LanguageReranker, Loaded
from visret.types import ModelSpec, Page

_OPTIONS: Mapping[str, Any] = {"max_patches": None}
_BIAS = 2.65  # the logit that stands for a score of 0.5
_SCORE_TOKEN = 100  # its state is the one that is scored
_CELL = 28  # pixels
_MIN_CELLS, _MAX_CELLS = 4, 768  # cells of a picture
_MAX_TOKENS = 10_240  # tokens of a pair
_MAX_TEXT = _MAX_TOKENS - 512  # of a page that is read as text
# transformers 5 gives the tensors of Qwen2-VL other names than checkpoints of 2024 have, and knows it of its own class.
_NAMES = {r"^visual": "model.visual", r"^model(?!\.(language_model|visual))": "model.language_model"}
_PICTURE = "<|vision_start|><|image_pad|><|vision_end|>"


class JinaVLReranker(LanguageReranker):
    """jina-reranker-m0; the module's docstring describes it."""

    def __init__(self, loaded: Loaded, *, batch: int | None) -> None:
        super().__init__(loaded, batch=batch)
        most = (loaded.options["max_patches"] or _MAX_CELLS) * _CELL**2
        loaded.processor.image_processor.size = {"shortest_edge": _MIN_CELLS * _CELL**2, "longest_edge": most}

    def _features(self, question: str, pages: Sequence[Page]) -> Mapping[str, Any]:
        texts = [f"**Document**:\n{self._shown(page)}\n**Query**:\n{question}" for page in pages]
        pictures = [page.image for page in pages if page.image is not None]
        made = dict(
            self._processor(
                text=texts,
                images=pictures or None,
                padding=True,
                truncation=True,
                max_length=_MAX_TOKENS - 1,
                return_tensors="pt",
            )
        )
        for name, value in (("input_ids", _SCORE_TOKEN), ("attention_mask", 1), ("mm_token_type_ids", 0)):
            if name in made:
                made[name] = torch.nn.functional.pad(made[name], (0, 1), value=value)
        return made

    def _shown(self, page: Page) -> str:
        """Return the page as it appears in the prompt; a long text is cut."""
        if page.image is not None:
            return _PICTURE
        text, tokenizer = self._plain(page.text), self._tokenizer
        ids = tokenizer(text, truncation=True, max_length=_MAX_TEXT)["input_ids"]
        return text if len(ids) < _MAX_TEXT else str(tokenizer.decode(ids))

    def _scores_of(self, features: Mapping[str, Any]) -> np.ndarray:
        logits = self._model.score(self._last_states(features)).squeeze(-1).to(torch.float32)
        return np.asarray(torch.sigmoid(logits - _BIAS).cpu().numpy())


@functools.cache
def network() -> Any:
    """Return the class of the checkpoint, a Qwen2-VL whose head is two layers that give one number."""
    with _torch.quiet():
        from transformers import Qwen2VLForConditionalGeneration

    class JinaVLForRanking(Qwen2VLForConditionalGeneration):  # type: ignore[misc]  # transformers has no types here
        _tied_weights_keys = None
        _keys_to_ignore_on_load_unexpected = (r"lm_head\.weight",)  # it is not used, and some revisions have it

        def __init__(self, config: Any) -> None:
            config.tie_word_embeddings = False
            super().__init__(config)
            self.lm_head = torch.nn.Identity()
            width = config.text_config.hidden_size
            self.score = torch.nn.Sequential(torch.nn.Linear(width, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))
            self.post_init()

    return JinaVLForRanking


def load(spec: ModelSpec, *, dtype: str, device: str, batch: int | None) -> JinaVLReranker:
    """Load the reranker. Raises WeightsError for missing, unexpected or misshapen weights."""
    loaded = _language.load(spec, _OPTIONS, kind=network(), dtype=dtype, device=device, key_mapping=_NAMES)
    return JinaVLReranker(loaded, batch=batch)
