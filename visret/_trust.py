"""Whether the words of a page's text layer are what stands on the page, or have to be read from its picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from visret.types import Word

if TYPE_CHECKING:
    from PIL.Image import Image

FEW = 30  # words; with fewer, a page is looked at before its text layer is believed


def doubtful(words: Sequence[Word]) -> bool:
    """Whether it takes the page's image to say if these words are `usable`: they are few, or garbage."""
    return len(words) < FEW or garbage(words)


def usable(words: Sequence[Word], image: Image | None = None) -> bool:
    """Whether a page's text layer is what stands on the page.

    It is not where it has no words; where it is garbage: a third of its characters have no meaning (fonts without
    a table of characters), or most of its different words hold neither letter nor digit; and, if the image is given,
    where it has fewer than FEW words, and they cover little of what looks like print (a stamp on a scan).
    A text layer of wrong but pronounceable words is believed.
    """
    if not words or garbage(words):
        return False
    return image is None or len(words) >= FEW or _covered(words, image) >= 0.5


def garbage(words: Sequence[Word]) -> bool:
    characters = "".join(word.text for word in words)
    senseless = sum(unicodedata.category(c) in {"Cc", "Cn", "Co", "Cs"} or c == "\ufffd" for c in characters)
    different = {word.text for word in words}
    readable = sum(any(c.isalnum() for c in text) for text in different)
    return 3 * senseless > len(characters) or 2 * readable < len(different)


def _covered(words: Sequence[Word], image: Image) -> float:
    """The share of a page's sharp edges that lies in the boxes of words; 1 on a page without any.

    Print has many edges, paper, plain colours and most photographs have few.
    """
    grey = np.asarray(image.convert("L").reduce(2), np.int16)
    edges = np.abs(np.diff(grey, axis=1, append=grey[:, -1:])) > 64
    height, width = edges.shape
    inside = np.zeros(edges.shape, bool)
    for word in words:
        for x0, y0, x1, y1 in (word.box, *(box for _, box in word.rest)):
            inside[int(y0 * height) : int(y1 * height) + 1, int(x0 * width) : int(x1 * width) + 1] = True
    return float(edges[inside].sum() / edges.sum()) if edges.any() else 1.0
