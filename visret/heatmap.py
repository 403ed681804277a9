"""Why a page was found: where each query token found its match, as numbers, boxes and a picture.

The explanation of a late-interaction score is exact: the score is a sum over query tokens, each token's part is its
maximum, and the maximum stands at one vector, which lies at one place. (A sum of similarity maps over tokens is not: it
lights up places that no maximum came from.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from visret._products import product
from visret.errors import ShapeError
from visret.types import Grid, PageEmbedding, QueryEmbedding

if TYPE_CHECKING:
    from PIL.Image import Image

INK = (255, 170, 0)  # amber: told from blue and grey with every kind of colour vision, and text stays legible under it
MOST_BOXES = 20


@dataclass(frozen=True, slots=True)
class Region:
    """A box in page fractions (origin top left), and the share of the score found inside it."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float


@dataclass(frozen=True, slots=True)
class Span:
    """Characters start:end of a page of plain text, and the share of the score found there."""

    start: int
    end: int
    score: float


@dataclass(frozen=True, eq=False)
class Explanation:
    """Where a score comes from.

    best: (m,) int64, the page's vector that each token matched; values: (m,) float32, how well; they sum to `score`.
    """

    embedding: PageEmbedding
    query: QueryEmbedding
    best: np.ndarray
    values: np.ndarray
    _render: Callable[[int], Image] | None = field(default=None, repr=False)

    @property
    def places(self) -> Grid | np.ndarray:
        """The Grid of an image model; else the words' boxes (w, 4) in page fractions, or character spans (w, 2)."""
        return self.embedding.where if isinstance(self.embedding.where, Grid) else self._distinct[0]

    @cached_property
    def _distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """A text's places without repetition, in reading order; for each place of the page which of them it is."""
        assert not isinstance(self.embedding.where, Grid)
        return _distinct(self.embedding.where)

    @cached_property
    def maps(self) -> np.ndarray:
        """float32 similarities of every token, (m, rows, cols) or (m, w); NaN where a place has no vector.

        All tokens share one scale. A word has the similarity of its best piece.
        """
        similarity = product(self.embedding.vectors, self.query.vectors.T).T
        if isinstance(self.places, Grid):
            cells = self.places.vector_of_cell()
            return np.where(cells >= 0, similarity[:, cells], np.float32(np.nan))
        word_of = self._distinct[1]
        placed = np.flatnonzero(word_of >= 0)
        if not len(placed):
            return np.empty((len(similarity), 0), np.float32)
        by_word = placed[np.argsort(word_of[placed], kind="stable")]
        first = np.searchsorted(word_of[by_word], np.arange(len(self.places)))
        return np.maximum.reduceat(similarity[:, self.embedding.vector_of_place()[by_word]], first, axis=1)

    @property
    def tokens(self) -> tuple[str, ...]:
        """A label for each query vector."""
        return self.query.tokens

    @property
    def content(self) -> np.ndarray:
        """(m,) bool; False for markers and expansion."""
        return self.query.content

    @property
    def score(self) -> float:
        """The page's exact score."""
        return float(self.values.sum())

    @cached_property
    def shares(self) -> np.ndarray:
        """(m,) float32 shares of the score, summing to 1; a token whose best match is negative explains nothing."""
        positive: np.ndarray = np.maximum(self.values, 0)
        return np.asarray(positive / (positive.sum() or 1))

    @cached_property
    def by_place(self) -> np.ndarray:
        """The share of the score found at each place: (rows, cols) or (w,) float32.

        Places that share a vector (pooled) share what was found there: the page no longer tells them apart.
        """
        worth = _worth(self.embedding, self.best, self.shares)
        if isinstance(self.places, Grid):
            return worth.reshape(self.places.rows, self.places.cols)
        word_of = self._distinct[1]
        out = np.zeros(len(self.places), np.float32)
        np.add.at(out, word_of[word_of >= 0], worth[word_of >= 0])
        return out

    @property
    def unplaced(self) -> float:
        """The share of the score found at vectors that lie nowhere on the page (markers, prompt text)."""
        return float(1 - self.by_place.sum()) if self.shares.any() else 0.0

    @cached_property
    def boxes(self) -> list[Region]:
        """At most 20 regions, best first: neighbouring words of a line, or neighbouring cells, are one."""
        if isinstance(self.places, Grid):
            merged = _merge_cells(self.by_place, self.places)
        elif self.places.shape[1] == 4:
            merged = _merge_words(self.by_place, self.places, self.embedding.size_pt or (1.0, 1.0))
        else:
            return []
        return sorted(merged, key=lambda region: -region.score)[:MOST_BOXES]

    @cached_property
    def spans(self) -> list[Span]:
        """For a page of plain text: at most 20 character spans, best first. Empty for pages with a geometry."""
        if isinstance(self.places, Grid) or self.places.shape[1] == 4:
            return []
        found = [
            Span(int(start), int(end), float(share))
            for (start, end), share in zip(self.places, self.by_place, strict=True)
            if share > 0
        ]
        return sorted(found, key=lambda span: -span.score)[:MOST_BOXES]

    @property
    def line(self) -> str:
        """The line of the page that explains most of the score; "" where the page has no words."""
        return best_line(self.embedding, self.best, self.shares)

    def image(self, *, dpi: int = 100, opacity: float = 0.75) -> Image:
        """The page with the places of the score marked, as an RGB picture; stronger where more of the score is."""
        if self._render is None:
            raise ShapeError(f"{self.embedding.ref.doc} is plain text: it has no picture; use .spans and .line")
        marks = self.by_place
        if isinstance(self.places, Grid):
            cells = np.argwhere(marks > 0)
            boxes = np.array([self.places.cell_box(int(r), int(c)) for r, c in cells]).reshape(-1, 4)
            weights = marks[marks > 0]
        else:
            boxes, weights = self.places[marks > 0], marks[marks > 0]
        return overlay(self._render(dpi), boxes, weights, opacity=opacity)

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows."""
        if self._render is None:
            return None
        out = BytesIO()
        self.image().save(out, "png")
        return out.getvalue()


def explain(
    query: QueryEmbedding, embedding: PageEmbedding, *, render: Callable[[int], Image] | None = None
) -> Explanation:
    """The exact attribution of a page's score. render: draws the page at some dpi, called by `Explanation.image`."""
    similarity = product(embedding.vectors, query.vectors.T).T  # (m, n)
    best = similarity.argmax(axis=1)
    return Explanation(embedding, query, best, similarity[np.arange(len(best)), best], render)


def best_line(embedding: PageEmbedding, best: np.ndarray, shares: np.ndarray) -> str:
    """The line of the page's text whose words hold the largest part of `shares`.

    best: (m,) the page's vector that each query token matched; shares: (m,) what each is worth.
    """
    lines = embedding.text.split("\n")
    of_line = np.zeros(len(lines))
    of_place = _worth(embedding, best, shares)
    marked = np.flatnonzero(of_place)
    where = embedding.where
    if not isinstance(where, Grid) and where.shape[1] == 2:
        ends = np.cumsum([len(line) + 1 for line in lines])
        np.add.at(of_line, np.searchsorted(ends, where[marked, 0], side="right"), of_place[marked])
    elif embedding.word_boxes is not None and len(embedding.word_boxes):
        line_of = np.repeat(np.arange(len(lines)), [len(line.split()) for line in lines])
        centres = (embedding.word_boxes[:, :2] + embedding.word_boxes[:, 2:]) / 2
        for place in marked:
            box = np.array(where.cell_box(*divmod(int(place), where.cols))) if isinstance(where, Grid) else where[place]
            inside = ((centres >= box[:2]) & (centres <= box[2:])).all(axis=1)
            if inside.any():  # a patch may hold words of several lines
                np.add.at(of_line, line_of[inside], of_place[place] / inside.sum())
    return lines[int(of_line.argmax())].strip() if of_line.any() else ""


def overlay(image: Image, boxes: np.ndarray, weights: Sequence[float] | np.ndarray, *, opacity: float = 0.75) -> Image:
    """Mark boxes (w, 4), in page fractions, on a page like a highlighter pen; the largest weight gets `opacity`."""
    from PIL import Image, ImageChops, ImageDraw

    strength, outline = Image.new("L", image.size), Image.new("L", image.size)
    largest = max(weights, default=0) or 1
    width, height = image.size
    pen = max(1, round(height / 700))
    for box, weight in sorted(zip(boxes, weights, strict=True), key=lambda pair: pair[1]):
        corners = [box[0] * width, box[1] * height, max(box[2] * width, box[0] * width), max(box[3], box[1]) * height]
        level = 0.25 + 0.75 * float(weight) / float(largest)
        ImageDraw.Draw(strength).rectangle(corners, fill=round(255 * opacity * level))
        ImageDraw.Draw(outline).rectangle(corners, outline=round(255 * level), width=pen)
    ink = Image.new("RGB", image.size, INK)
    marked = Image.composite(ImageChops.multiply(image, ink), image, strength)
    return Image.composite(Image.new("RGB", image.size, (200, 90, 0)), marked, outline)


def _distinct(where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places (n, 4) or (n, 2), NaN for nowhere -> the distinct ones in order of appearance, and which each is (n,)."""
    place_of = np.full(len(where), -1)
    known = np.flatnonzero(~np.isnan(where[:, 0]))
    raw, size = where[known].tobytes(), where.shape[1] * where.itemsize
    number: dict[bytes, int] = {}  # a third of the time of np.unique
    place_of[known] = [number.setdefault(raw[at : at + size], len(number)) for at in range(0, len(raw), size)]
    return np.frombuffer(b"".join(number), where.dtype).reshape(-1, where.shape[1]), place_of


def _worth(embedding: PageEmbedding, best: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(places,) float32: the share of each cell, box or span; those of one vector have equal parts of its share."""
    rows = embedding.vector_of_place()
    placed = rows >= 0
    if not isinstance(embedding.where, Grid):
        placed = placed & ~np.isnan(embedding.where[:, 0])
    n = len(embedding.vectors)
    each = np.bincount(best, shares, n) / np.maximum(np.bincount(rows[placed], minlength=n), 1)
    return np.where(placed, each[rows], 0).astype(np.float32)


def _merge_cells(shares: np.ndarray, grid: Grid) -> list[Region]:
    """Cells that share a side are one region."""
    left = {(int(r), int(c)) for r, c in np.argwhere(shares > 0)}
    regions = []
    while left:
        group, queue = [], [left.pop()]
        while queue:
            row, col = queue.pop()
            group.append((row, col))
            for near in ((row - 1, col), (row + 1, col), (row, col - 1), (row, col + 1)):
                if near in left:
                    left.remove(near)
                    queue.append(near)
        boxes = np.array([grid.cell_box(row, col) for row, col in group])
        worth = sum(float(shares[row, col]) for row, col in group)
        regions.append(_around(boxes, worth))
    return regions


def _merge_words(shares: np.ndarray, boxes: np.ndarray, size_pt: tuple[float, float]) -> list[Region]:
    """Marked words that follow each other on a line, at most about two characters apart, are one region."""
    regions: list[Region] = []
    aspect = size_pt[0] / size_pt[1]
    for index in np.flatnonzero(shares > 0):
        x0, y0, x1, y1 = (float(x) for x in boxes[index])
        last = regions[-1] if regions else None
        if last is not None:
            overlap = min(last.y1, y1) - max(last.y0, y0)
            height = min(last.y1 - last.y0, y1 - y0)
            gap = (x0 - last.x1) * aspect  # in units of the page's height, as `height` is
            if overlap > height / 2 and -height < gap < height:
                regions[-1] = _around(
                    np.array([[last.x0, last.y0, last.x1, last.y1], boxes[index]]), last.score + float(shares[index])
                )
                continue
        regions.append(Region(x0, y0, x1, y1, float(shares[index])))
    return regions


def _around(boxes: np.ndarray, score: float) -> Region:
    x0, y0 = (float(x) for x in boxes[:, :2].min(axis=0))
    x1, y1 = (float(x) for x in boxes[:, 2:].max(axis=0))
    return Region(x0, y0, x1, y1, score)
