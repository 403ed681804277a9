"""Qwen3-Reranker: a Qwen3 that is asked whether the text of a page answers a question, and answers yes or no.

The score is the probability of yes, given yes or no. Prompt, length and score are those of the card of
Qwen/Qwen3-Reranker-0.6B, and of `Qwen3RerankerWrapper` in mteb. A pair of more than 8,192 tokens is cut.

Options: instruction, what the model is told to look for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from visret.rerankers import _language
from visret.rerankers._language import Answers, Loaded
from visret.types import ModelSpec, Page

_OPTIONS: Mapping[str, Any] = {"instruction": str}
_INSTRUCTION = "Given a web search query, retrieve relevant passages that answer the query"
_PREFIX = (
    "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
    'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
)
_SUFFIX = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
_MAX_TOKENS = 8192
_BATCH = 8  # pages


class Qwen3Reranker(Answers):
    """Qwen3-Reranker; the module's docstring describes it."""

    def __init__(self, loaded: Loaded, *, batch: int | None) -> None:
        super().__init__(loaded, batch=batch or _BATCH, yes="yes", no="no")
        self._instruction = loaded.options["instruction"] or _INSTRUCTION
        self._prefix, self._suffix = (
            self._tokenizer(text, add_special_tokens=False)["input_ids"] for text in (_PREFIX, _SUFFIX)
        )

    def _features(self, question: str, pages: Sequence[Page]) -> Mapping[str, Any]:
        asked = f"<Instruct>: {self._instruction}\n<Query>: {question}\n<Document>: "
        room = _MAX_TOKENS - len(self._prefix) - len(self._suffix)
        texts = [f"{asked}{self._plain(page.text)}" for page in pages]
        rows = self._tokenizer(texts, truncation=True, max_length=room)["input_ids"]
        ids = [[*self._prefix, *row, *self._suffix] for row in rows]
        features: Mapping[str, Any] = self._tokenizer.pad({"input_ids": ids}, padding=True, return_tensors="pt")
        return features


def load(spec: ModelSpec, *, dtype: str, device: str, batch: int | None) -> Qwen3Reranker:
    """Load the reranker. Raises WeightsError for missing, unexpected or misshapen weights."""
    loaded = _language.load(spec, _OPTIONS, kind="Qwen3ForCausalLM", dtype=dtype, device=device)
    return Qwen3Reranker(loaded, batch=batch)
