"""MonoQwen2-VL: a Qwen2-VL that is asked whether a page's picture is relevant, and answers True or False.

The score is the probability of True, given True or False. Prompt and score are those of the card of
lightonai/MonoQwen2-VL-v0.1, an adapter of Qwen2-VL-2B-Instruct, and of `MonoVLMRanker` in rerankers. The picture is
used as it was drawn, up to the limit of the checkpoint's own processor. The model reads only pictures.

Options: none besides weak_below.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visret.rerankers import _language
from visret.rerankers._language import Answers
from visret.types import ModelSpec, Page

_PROMPT = (
    "Assert the relevance of the previous image document to the following query, answer True or False. The query is: "
)


class MonoQwenReranker(Answers):
    """The reranker MonoQwen2-VL; the module's docstring describes it."""

    def can_read(self, page: Page) -> bool:
        """Return whether the page has a picture."""
        return page.image is not None

    def _features(self, question: str, pages: Sequence[Page]) -> Mapping[str, Any]:
        content = [{"type": "image"}, {"type": "text", "text": f"{_PROMPT}{question}"}]
        said = self._prompt([{"role": "user", "content": content}])
        features: Mapping[str, Any] = self._processor(
            text=[said] * len(pages), images=[page.image for page in pages], padding=True, return_tensors="pt"
        )
        return features


def load(spec: ModelSpec, *, dtype: str, device: str, batch: int | None) -> MonoQwenReranker:
    """Load the reranker. Raises WeightsError for missing, unexpected or misshapen weights."""
    loaded = _language.load(spec, {}, kind="Qwen2VLForConditionalGeneration", dtype=dtype, device=device)
    return MonoQwenReranker(loaded, batch=batch, yes="True", no="False")
