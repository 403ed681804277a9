"""Qwen3-VL-Reranker: a Qwen3-VL that is asked whether a page answers a question, and answers yes or no.

The score is the probability of yes, given yes or no. Prompt, sizes of pictures, lengths and score are those of
scripts/qwen3_vl_reranker.py in Qwen/Qwen3-VL-Reranker-2B. A page without a picture is read as text.

Options: instruction, what the model is told to look for; max_patches, the largest number of cells of 32 x 32 pixels for
a page (1280 by default).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from visret.rerankers import _language
from visret.rerankers._language import Answers, Loaded
from visret.types import ModelSpec, Page

_OPTIONS: Mapping[str, Any] = {"instruction": str, "max_patches": None}
_INSTRUCTION = "Given a search query, retrieve relevant candidates that answer the query."
_SYSTEM = (
    "Judge whether the Document meets the requirements based on the Query and the Instruct provided. "
    'Note that the answer can only be "yes" or "no".'
)
_CELL = 32  # pixels
_MIN_CELLS, _MAX_CELLS = 4, 1280  # cells of a picture
_MAX_TOKENS = 8192  # tokens
_END = 5  # tokens that begin the answer, and are kept when a long page is cut


class Qwen3VLReranker(Answers):
    """Qwen3-VL-Reranker; the module's docstring describes it."""

    def __init__(self, loaded: Loaded, *, batch: int | None) -> None:
        super().__init__(loaded, batch=batch, yes="yes", no="no")
        self._instruction = loaded.options["instruction"] or _INSTRUCTION
        self._most = (loaded.options["max_patches"] or _MAX_CELLS) * _CELL**2

    def _features(self, question: str, pages: Sequence[Page]) -> Mapping[str, Any]:
        texts = [self._prompt(self._messages(question, page)) for page in pages]
        pictures = [page.image for page in pages if page.image is not None]
        sized = [_language.resized(one, cell=_CELL, least=_MIN_CELLS * _CELL**2, most=self._most) for one in pictures]
        made = dict(self._processor(text=texts, images=sized or None, do_resize=False))
        rows = {name: made.pop(name) for name in ("input_ids", "mm_token_type_ids") if name in made}
        kept = [self._kept(ids) for ids in rows["input_ids"]]
        ids = [[row[place] for place in places] for row, places in zip(rows["input_ids"], kept, strict=True)]
        padded = self._tokenizer.pad({"input_ids": ids}, padding=True, return_tensors="pt")
        made["attention_mask"], made["input_ids"] = padded["attention_mask"], padded["input_ids"]
        if "mm_token_type_ids" in rows:
            kinds = torch.zeros_like(made["input_ids"])
            for line, row, places in zip(kinds, rows["mm_token_type_ids"], kept, strict=True):
                line[len(line) - len(places) :] = torch.tensor([int(row[place]) for place in places])
            made["mm_token_type_ids"] = kinds
        return {name: torch.as_tensor(value) for name, value in made.items()}

    def _messages(self, question: str, page: Page) -> list[dict[str, Any]]:
        shown = {"type": "text", "text": self._plain(page.text)} if page.image is None else {"type": "image"}
        said = [f"<Instruct>: {self._instruction}", "<Query>:", question, "\n<Document>:"]
        content = [*({"type": "text", "text": text} for text in said), shown]
        return [
            {"role": "system", "content": [{"type": "text", "text": _SYSTEM}]},
            {"role": "user", "content": content},
        ]

    def _kept(self, ids: Sequence[int]) -> list[int]:
        """Return the places of the tokens that are kept of a long sequence: control tokens, and the first others."""
        special = set(self._tokenizer.all_special_ids)
        last = len(ids) - _END
        if last <= _MAX_TOKENS:
            return list(range(len(ids)))
        room = _MAX_TOKENS - sum(number in special for number in ids[:last])
        others = [place for place in range(last) if ids[place] not in special][: max(room, 0)]
        controls = [place for place in range(last) if ids[place] in special]
        return sorted([*controls, *others, *range(last, len(ids))])


def load(spec: ModelSpec, *, dtype: str, device: str, batch: int | None) -> Qwen3VLReranker:
    """Load the reranker. Raises WeightsError for missing, unexpected or misshapen weights."""
    loaded = _language.load(spec, _OPTIONS, kind="Qwen3VLForConditionalGeneration", dtype=dtype, device=device)
    return Qwen3VLReranker(loaded, batch=batch)
