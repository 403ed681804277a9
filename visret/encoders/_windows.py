"""The windows of a text that is longer than a model reads at once; each repeats the end of the one before it."""

from __future__ import annotations

from typing import Any

OVERLAP = 8
"""The part of a window that the next one repeats, as a divisor."""


def windows(text: str, tokenizer: Any, room: int) -> list[str]:
    """Return the parts of a text, each of at most `room` tokens without markers; [text] if it fits."""
    if len(text.encode("utf8", "replace")) <= room:  # a token is at least a byte
        return [text]
    spans = _spans(text, tokenizer)
    if len(spans) <= room:
        return [text]
    starts = range(0, max(len(spans) - room // OVERLAP, 1), room - room // OVERLAP)
    return [text[spans[at][0] : spans[min(at + room, len(spans)) - 1][1]] for at in starts]


def count(text: str, tokenizer: Any) -> int:
    """Return how many tokens a text has, markers included."""
    return len(tokenizer(text, verbose=False)["input_ids"] if callable(tokenizer) else tokenizer.encode(text).ids)


def _spans(text: str, tokenizer: Any) -> list[tuple[int, int]]:
    """Return the characters that each token of a text stands for. tokenizer: of transformers, or of tokenizers."""
    if not callable(tokenizer):
        return list(tokenizer.encode(text, add_special_tokens=False).offsets)
    made = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    return list(made["offset_mapping"])
