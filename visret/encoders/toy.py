"""A model of colours: the question `red` ranks pages by their reddest patch. It has no weights and is predictable.

A page is a grid of equal cells, 16 along its longer side; a cell's colour is the mean of its pixels (r, g, b from 0
to 1). With m = (r + g + b) / 3, a colour is the unit vector

    x = r - (g + b) / 2      how red (1) or cyan (-1)
    y = (g - b) * sqrt(3)/2  how green or blue
    z = -cos(pi * m) * s     how white or black      where s = sqrt(1 - x^2 - y^2): how grey
    t =  sin(pi * m) * s     how middle grey

so that `red` scores r - (g + b) / 2 at every cell, `green` g - (r + b) / 2, `blue` b - (r + g) / 2: 1 on the pure
colour, 0 on every grey, and -1 on the complement. A question scores the sum over its words of their best cell.

Options: none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from visret import arguments
from visret.encoders import _base
from visret.errors import InvalidArgument
from visret.types import Grid, ModelSpec, Page, PageEmbedding, QueryEmbedding

COLOURS: Mapping[str, tuple[float, float, float]] = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "yellow": (1, 1, 0),
    "cyan": (0, 1, 1),
    "magenta": (1, 0, 1),
    "orange": (1, 0.5, 0),
    "purple": (0.5, 0, 1),
    "white": (1, 1, 1),
    "grey": (0.5, 0.5, 0.5),
    "gray": (0.5, 0.5, 0.5),
    "black": (0, 0, 0),
}
CELLS = 16  # along the longer side of a page


def vectors_of(colours: np.ndarray) -> np.ndarray:
    """Turn (..., 3) colours from 0 to 1 into (..., 4) float32 unit vectors, by the formula above."""
    r, g, b = np.moveaxis(np.asarray(colours, np.float64), -1, 0)
    m = (r + g + b) / 3
    x, y = r - (g + b) / 2, (g - b) * np.sqrt(3) / 2
    s = np.sqrt(np.clip(1 - x * x - y * y, 0, 1))
    return np.stack([x, y, -np.cos(np.pi * m) * s, np.sin(np.pi * m) * s], axis=-1).astype(np.float32)


class ToyEncoder:
    """The encoder of colours; the module's docstring describes it."""

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        self.preprocessing: Mapping[str, Any] = {"cells": CELLS}

    def can_read(self, page: Page) -> bool:
        """Return whether the page has an image."""
        return page.image is not None

    def encode_pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        """Return one embedding for each page, with one vector for each cell."""
        _base.check_images(self.spec, pages)
        return [self._page(page) for page in pages]

    def encode_queries(self, texts: Sequence[str]) -> list[QueryEmbedding]:
        """Return one embedding for each question, with one vector for each word.

        Raises InvalidArgument for a word that is no colour.
        """
        arguments.questions(texts)
        return [self._query(text) for text in texts]

    def _page(self, page: Page) -> PageEmbedding:
        assert page.image is not None
        width, height = page.image.size
        longer = max(width, height)
        rows, cols = (max(1, min(side, round(CELLS * side / longer))) for side in (height, width))
        cells = page.image.convert("RGB").resize((cols, rows), Image.Resampling.BOX)  # the mean of each cell
        vectors = vectors_of(np.asarray(cells) / 255).reshape(-1, 4)
        return PageEmbedding(
            page.ref, page.size_pt, vectors, Grid(rows, cols), page.text, _base.word_boxes(page), page.metadata
        )

    def _query(self, text: str) -> QueryEmbedding:
        words = re.findall(r"\w+", text)
        unknown = [word for word in words if word.lower() not in COLOURS]
        if unknown or not words:
            what = f"not {', '.join(unknown)}" if unknown else f"got {text!r}"
            raise InvalidArgument(f"toy knows the colours {', '.join(COLOURS)} and nothing else, {what}")
        vectors = vectors_of(np.array([COLOURS[word.lower()] for word in words]))
        return QueryEmbedding(text, vectors, tuple(words), np.ones(len(words), bool))


def load(spec: ModelSpec, *, dtype: str, device: str, threads: int | None) -> ToyEncoder:  # noqa: ARG001 (numpy only)
    """Return the encoder, to which dtype, device and threads mean nothing."""
    _base.options(spec, {})
    return ToyEncoder(spec)
