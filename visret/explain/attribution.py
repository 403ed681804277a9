"""The places of a page that a score comes from: where each query token found its match, as shares, boxes and a line.

The explanation of a late-interaction score is exact: the score is a sum over query tokens, each token contributes its
maximum, and the maximum stands at one vector, which lies at one place. (A sum of similarity maps over tokens is not
exact: it lights up places that no maximum came from.) Colours and pictures are made by `drawing`, which is loaded when
a picture is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING, Literal

import numpy as np

from visret.choices import BM25, DENSE, LATE, RERANK
from visret.errors import InvalidArgument, ShapeError
from visret.explain import passages, words
from visret.explain.layout import Quotable
from visret.explain.words import AskedWord
from visret.products import product
from visret.types import Grid, Matches, PageEmbedding, Passage, QueryEmbedding

if TYPE_CHECKING:
    from PIL.Image import Image

    from visret.explain.drawing import Legend

MAX_BOXES = 20  # as well as spans
_ALIKE = 1e-6  # similarities that differ by less are equal

Mode = Literal["passage", "attribution", "similarity"]

PLACES = {LATE: "the best matches of late interaction", BM25: "the words of the question"}
"""The places of an explanation in words, by the scorer whose score is taken apart."""

_OF_WHOLE_PAGES = {DENSE, "poly"}  # scorers that compare single vectors


@dataclass(frozen=True, slots=True)
class Region:
    """A box in page fractions (origin top left), and the share of the score found inside it."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A place where words of the question that tell are matched best: a box in page fractions, origin top left.

    level: how well the best of them is matched, from 0 to 1. words: those words, as they stand in the question.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    level: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Span:
    """Characters start:end of a page of plain text, and the share of the score found there."""

    start: int
    end: int
    score: float


@dataclass(frozen=True, eq=False)
class Table:
    """Query tokens x the places where their maxima stand; shows itself in a terminal (`print`) and in a notebook.

    tokens: m labels; content: (m,) bool, False for markers and expansion, which are shown in grey or in brackets.
    length: what the page loses for its length, beside the maxima; 0 for nothing.
    places: p labels in reading order: the words, or "row,col" of the cells, from 0; "nowhere", which comes first,
        stands for all vectors that lie nowhere on the page.
    values: (m, p) float32 similarities; best: (m,) int64, the column of each token's maximum. The maxima and `length`
        sum to the score.
    scale: the two ends of the colours.
    """

    tokens: tuple[str, ...]
    content: np.ndarray
    places: tuple[str, ...]
    values: np.ndarray
    best: np.ndarray
    scale: tuple[float, float]
    length: float = 0.0

    def __str__(self) -> str:
        names = [token if named else f"[{token}]" for token, named in zip(self.tokens, self.content, strict=True)]
        rows = [["", *self.places]]
        for name, values, best in zip(names, self.values, self.best, strict=True):
            rows.append([name, *(f"{value:.2f}{'*' if i == best else ' '}" for i, value in enumerate(values))])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join([row[0].ljust(widths[0]), *(x.rjust(w) for x, w in zip(row[1:], widths[1:], strict=True))])
            for row in rows
        ]
        if self.length:
            lines.append(f"[length of the page]  {self.length:.2f}")
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self) -> str:
        from visret.explain.drawing import table_html

        return table_html(self.tokens, self.content, self.places, self.values, self.best, self.scale, self.length)


@dataclass(frozen=True, eq=False)
class Explanation:
    """An explanation of a score: the places of a page that it comes from.

    best: (m,) int64, the page's vector that each token matched. values: (m,) float32, how well it matched. length:
    what the page loses for its length, at most 0. It and the values sum to `score`.
    scorer: whose score that is: "late", or "bm25" if the page was found by its words. scores: what the page was ranked
    by, as in `Hit.scores`; empty if nobody ranked it. words: what each word of the question adds to the BM25 score, if
    that is a part of them. `about` says it in a sentence, and after that the `note`.
    """

    embedding: PageEmbedding
    query: QueryEmbedding
    best: np.ndarray
    values: np.ndarray
    length: float = 0.0
    _render: Callable[[int], Image] | None = field(default=None, repr=False)
    scorer: str = LATE
    scores: Mapping[str, float] = field(default_factory=dict)
    words: Mapping[str, float] = field(default_factory=dict)
    _passages: Callable[[int], list[Passage]] | None = field(default=None, repr=False)
    note: str = ""
    _similar: np.ndarray | None = field(default=None, repr=False)

    @property
    def about(self) -> str:
        """A sentence that says what is explained: what the page was ranked by, and what the places come from."""
        return f"{self._about} {self.note}".strip()

    @property
    def _about(self) -> str:
        places = PLACES[self.scorer]
        parts = [f"{name} {score:.2f}" for name, score in self.scores.items()]
        if not set(self.scores) - {self.scorer}:
            return f"The places are {places}."
        ranked = f"Ranked by {' and '.join(parts)}"
        if RERANK in self.scores:
            ranked = f"Ranked by a reranker, which names no place ({', '.join(parts)})"
        elif self.scores.keys() <= _OF_WHOLE_PAGES:
            ranked = f"Ranked by {' and '.join(parts)}, which has no place on the page"
        added = ", ".join(f"{word} {value:.2f}" for word, value in self.words.items())
        return f"{ranked}; the places are {places}." + (f" Of the words: {added}." if added else "")

    @property
    def places(self) -> Grid | np.ndarray:
        """The Grid of an image model; else the words' boxes (w, 4) in page fractions, or character spans (w, 2)."""
        return self.embedding.where if isinstance(self.embedding.where, Grid) else self._distinct[0]

    @cached_property
    def _distinct(self) -> tuple[np.ndarray, np.ndarray]:
        """The distinct places of a text, in reading order, and for each place of the page the number of its own."""
        assert not isinstance(self.embedding.where, Grid)
        return _distinct(self.embedding.where)

    @cached_property
    def _similarity(self) -> np.ndarray:
        """The similarity of each query token with each vector of the page, (m, n) float32."""
        if self._similar is not None:
            return self._similar.T
        return product(self.embedding.vectors, self.query.vectors.T).T

    @cached_property
    def maps(self) -> np.ndarray:
        """The similarities of every token, (m, rows, cols) or (m, w) float32; NaN where a place has no vector.

        All tokens share one scale. A word has the similarity of its best piece.
        """
        if isinstance(self.places, Grid):
            cells = self.places.vector_of_cell()
            return np.where(cells >= 0, self._similarity[:, cells], np.float32(np.nan))
        word_of = self._distinct[1]
        placed = np.flatnonzero(word_of >= 0)
        if not len(placed):
            return np.empty((len(self.tokens), 0), np.float32)
        by_word = placed[np.argsort(word_of[placed], kind="stable")]
        first = np.searchsorted(word_of[by_word], np.arange(len(self.places)))
        return np.maximum.reduceat(self._similarity[:, self.embedding.vector_of_place()[by_word]], first, axis=1)

    @cached_property
    def scale(self) -> tuple[float, float]:
        """The similarities at the two ends of the colours, the same for every token: the median and the largest."""
        known = self.maps[~np.isnan(self.maps)]
        return (float(np.median(known)), float(known.max())) if known.size else (0.0, 0.0)

    @property
    def tokens(self) -> tuple[str, ...]:
        """A label for each query vector."""
        return self.query.tokens

    @cached_property
    def question_words(self) -> tuple[AskedWord, ...]:
        """The words of the question, put together from its tokens, and whether each tells what is asked."""
        return words.words_of(self.query.text, self.tokens, self.content)

    @property
    def content(self) -> np.ndarray:
        """The tokens that are content: (m,) bool, False for markers and expansion."""
        return self.query.content

    @property
    def score(self) -> float:
        """The page's exact score."""
        return float(self.values.sum()) + self.length

    @cached_property
    def shares(self) -> np.ndarray:
        """The shares of the matches, (m,) float32, which sum to 1; a token whose best match is negative has none."""
        return shares(self.values)

    @cached_property
    def by_place(self) -> np.ndarray:
        """The share of the score found at each place: (rows, cols) or (w,) float32.

        Places that share a vector (pooled) also share what was found there: the page no longer tells them apart.
        """
        return self._found(np.arange(len(self.tokens)))

    def _found(self, tokens: np.ndarray) -> np.ndarray:
        """Return `by_place` as far as it comes from some tokens, by their numbers."""
        worth = _worth(self.embedding, self.best[tokens], self.shares[tokens])
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
        """At most 20 regions that the score comes from, best first.

        Neighbouring words of a line, or neighbouring cells, are one region.
        """
        if isinstance(self.places, Grid):
            merged = _merge_cells(self.by_place, self.places)
        elif self.places.shape[1] == 4:
            merged = _merge_words(self.by_place, self.places, self.embedding.size_pt or (1.0, 1.0))
        else:
            return []
        return sorted(merged, key=lambda region: -region.score)[:MAX_BOXES]

    @property
    def boxes_pt(self) -> list[Region]:
        """The `boxes` in points (1/72 inch) of the page as it is displayed: origin top left, y downwards."""
        width, height = self.embedding.size_pt or (0.0, 0.0)
        return [Region(b.x0 * width, b.y0 * height, b.x1 * width, b.y1 * height, b.score) for b in self.boxes]

    @cached_property
    def spans(self) -> list[Span]:
        """The character spans of a page of plain text, at most 20, best first; empty for pages with a geometry."""
        if isinstance(self.places, Grid) or self.places.shape[1] == 4:
            return []
        found = [
            Span(int(start), int(end), float(share))
            for (start, end), share in zip(self.places, self.by_place, strict=True)
            if share > 0
        ]
        return sorted(found, key=lambda span: -span.score)[:MAX_BOXES]

    @property
    def telling_spans(self) -> list[Span]:
        """The `spans` as whole words, without function words and punctuation; all of them if there is nothing else."""
        text = self.embedding.text
        found: dict[tuple[int, int], float] = {}
        for span in self.spans:
            start, end = span.start, span.end
            while start > 0 and text[start - 1 : start + 1].isalnum():  # a piece of a word
                start -= 1
            while text[end - 1 : end + 1].isalnum() and end < len(text):
                end += 1
            found[start, end] = found.get((start, end), 0.0) + span.score
        whole = [Span(start, end, score) for (start, end), score in found.items() if words.tells(text[start:end])]
        return sorted(whole, key=lambda span: -span.score) or self.spans

    @property
    def line(self) -> str:
        """The line of the page that explains most of the score; "" where the page has no words."""
        return best_line(self.embedding, self.best, self.shares)

    @cached_property
    def passage(self) -> Passage | None:
        """The place on the page that answers best; None where the page shows none."""
        found = self.passages(1)
        return found[0] if found else None

    def passages(self, count: int) -> list[Passage]:
        """Return the places on the page that answer best, best first: at most `count`, none of which overlap."""
        if self._passages is not None:
            return self._passages(count)
        page, content, question = self.embedding, self.query.content, self.query.text
        return passages.best(page, self._similarity.T, page.size_pt, content=content, question=question, count=count)

    @cached_property
    def table(self) -> Table:
        """The similarity of every token with every place where a maximum stands; all similarities are in `maps`."""
        rows = self.embedding.vector_of_place()
        place_of = np.arange(len(rows)) if isinstance(self.places, Grid) else self._distinct[1]
        first = np.full(len(self.embedding.vectors), -1)
        known = np.flatnonzero((rows >= 0) & (place_of >= 0))[::-1]
        first[rows[known]] = place_of[known]  # of several places of a vector, the first
        columns, best = np.unique(first[self.best], return_inverse=True)
        maps = self.maps.reshape(len(self.tokens), self.by_place.size)
        values = [maps[:, c] if c >= 0 else self._similarity[:, first < 0].max(axis=1) for c in columns]
        labels = tuple(self._label(int(c)) if c >= 0 else "nowhere" for c in columns)
        return Table(self._names, self.content, labels, np.stack(values, axis=1), best, self.scale, self.length)

    @property
    def _names(self) -> tuple[str, ...]:
        """The tokens, each piece of a word behind its word: "histogram (gram)"."""
        names = list(self.tokens)
        for word in self.question_words:
            if len(word.tokens) > 1:
                for position in word.tokens:
                    names[position] = f"{word.text} ({self.tokens[position]})"
        return tuple(names)

    def _label(self, place: int) -> str:
        """Return a name for a place: its word, its row and column, or where its middle lies on the page."""
        where, embedding = self.places, self.embedding
        if isinstance(where, Grid):
            return f"{place // where.cols},{place % where.cols}"
        if where.shape[1] == 2:
            start, end = where[place].astype(int)
            return embedding.text[start:end].strip()
        x, y = (where[place, :2] + where[place, 2:]) / 2
        boxes = np.empty((0, 4)) if embedding.word_boxes is None else embedding.word_boxes
        inside = np.flatnonzero(((boxes[:, :2] <= (x, y)) & (boxes[:, 2:] >= (x, y))).all(axis=1))
        return embedding.text.split()[inside[0]] if len(inside) else f"{x:.0%},{y:.0%}"

    def image(
        self,
        tokens: Sequence[int] | None = None,
        *,
        mode: Mode = "passage",
        dpi: int = 100,
        opacity: float = 0.75,
        legend: bool = False,
    ) -> Image:
        """Return the page with marks on it, as an RGB picture; its colours have one scale, whatever tokens are shown.

        tokens: positions in `tokens`; None for all.
        mode: "passage" frames the passage that answers, and marks the words that tell: where the words of the question
            are matched best, on the page and in the passage, stronger where they are matched better; function words
            and punctuation are not marked. "attribution" is the exact map, token by token: it marks the places where
            the score comes from, stronger where more of it is. "similarity" shows how similar each place is to the
            token it is most similar to, whether or not the score comes from there; between the cells of a grid it is
            interpolated, so that the peak stays in the middle of its cell.
        opacity: from 0 to 1. legend: whether to add a strip beneath the page that says what is shown.

        Raises ShapeError for plain text, which has no picture, and InvalidArgument for a token that is not there.
        """
        from visret.explain import drawing

        if self._render is None:
            raise ShapeError(f"{self.embedding.ref.doc} is plain text: it has no picture; use .spans and .line")
        count = len(self.tokens)
        chosen = np.arange(count) if tokens is None else np.array(sorted(set(tokens)), int)
        if len(chosen) and not 0 <= chosen[0] <= chosen[-1] < count:
            raise InvalidArgument(f"the tokens of this question are 0 to {count - 1}, got {list(tokens or ())}")
        page = self._render(dpi)
        if mode == "passage":
            boxes, levels = self._telling_marks(chosen)
            marked = drawing.overlay(page, boxes, levels, opacity=opacity)
            if self.passage:
                marked = drawing.framed(marked, self.passage.boxes, self.embedding.word_boxes)
        elif mode == "attribution":
            boxes, shares = self._marks(chosen)
            marked = drawing.overlay(page, boxes, shares / (self.by_place.max(initial=0) or 1), opacity=opacity)
        elif mode == "similarity":
            most = self.maps[chosen].max(axis=0) if len(chosen) else np.full_like(self.maps[0], np.nan)
            boxes_of_words = None if isinstance(self.places, Grid) else self.places
            marked = drawing.overlay_similarities(page, most, self.scale, boxes_of_words, opacity=opacity)
        else:
            raise InvalidArgument(f"mode: expected passage, attribution or similarity, got {mode!r}")
        if not legend:
            return marked
        wanted = set(chosen.tolist())
        shown = " ".join(word.text for word in self.question_words if wanted.intersection(word.tokens))
        return drawing.with_legend(marked, shown, self.legend(mode))

    def legend(self, mode: Mode = "passage") -> Legend:
        """Return the legend that says what the colours of `image` mean."""
        from visret.explain import drawing

        if mode == "passage":
            return drawing.legend_of_words(self.scale)
        if mode == "attribution":
            return drawing.legend_of_shares(float(self.by_place.max(initial=0)))
        return drawing.legend_of_similarities(self.scale)

    def _marks(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes (k, 4) where these tokens have their maxima, and the share of the score in each, (k,)."""
        found = self._found(tokens).ravel()
        marked = np.flatnonzero(found > 0)
        return _boxes(self.places, marked), found[marked]

    def _telling_marks(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the boxes (k, 4) where words of the question that tell are matched best, and how well, from 0 to 1.

        Those are the places on the page, and in its passage; tokens: of the words that are shown.
        """
        levels, _ = self._telling(tokens)
        marked = np.flatnonzero(levels > 0)
        return _boxes(self.places, marked), np.minimum(levels[marked], 1)

    def _telling(self, tokens: np.ndarray) -> tuple[np.ndarray, dict[int, list[int]]]:
        """Return how well each place is matched by these tokens, as far as they tell, and by which of them."""
        levels, matched = np.zeros(self.by_place.size), dict[int, list[int]]()
        if not levels.size:
            return levels, matched
        told = [position for word in self.question_words if word.tells for position in word.tokens]
        maps, (low, high) = self.maps.reshape(len(self.tokens), -1), self.scale
        inside = np.flatnonzero(self._is_in_passage)
        for token in np.intersect1d(tokens, told or np.flatnonzero(self.content)).tolist():
            found = [int(np.nanargmax(maps[token]))] if np.isfinite(maps[token]).any() else []
            if len(inside) and np.isfinite(maps[token, inside]).any():
                found.append(int(inside[np.nanargmax(maps[token, inside])]))
            for place in dict.fromkeys(found):
                if self._place_tells(place):
                    matched.setdefault(place, []).append(token)
                    levels[place] = max(levels[place], (maps[token, place] - low + _ALIKE) / (high - low + _ALIKE))
        return levels, matched

    @cached_property
    def _told(self) -> tuple[np.ndarray, dict[int, list[int]]]:
        """The places where the words that tell are matched, of all tokens."""
        return self._telling(np.arange(len(self.tokens)))

    @cached_property
    def marks(self) -> list[Mark]:
        """The places that `image` marks, in reading order, and which words of the question each answers.

        They are empty for plain text, whose places are `telling_spans`.
        """
        if not isinstance(self.places, Grid) and self.places.shape[1] == 2:
            return []
        levels, matched = self._told
        places = np.flatnonzero(levels > 0)
        found = zip(places.tolist(), _boxes(self.places, places).tolist(), strict=True)
        return [
            Mark(x0, y0, x1, y1, min(1.0, float(levels[place])), self._words_of(matched[place]))
            for place, (x0, y0, x1, y1) in found
        ]

    def _words_of(self, tokens: Sequence[int]) -> tuple[str, ...]:
        wanted = set(tokens)
        return tuple(word.text for word in self.question_words if wanted.intersection(word.tokens))

    @cached_property
    def marked_in_passage(self) -> list[tuple[int, int]]:
        """The words of `passage.text` that are marked: the first character of each, and the one behind its last."""
        passage = self.passage
        if passage is None or passage.span is None:
            return []
        first, end = passage.span
        text = self.embedding.text
        words_at = [found.span() for found in re.finditer(r"\S+", text)]
        if not isinstance(self.places, Grid) and self.places.shape[1] == 2:
            held = [any(a < span.end and span.start < b for span in self.telling_spans) for a, b in words_at]
        else:
            boxes = self.embedding.word_boxes
            if boxes is None or len(boxes) != len(words_at):
                return []
            x, y = (boxes[:, :2] + boxes[:, 2:]).T / 2
            inside = np.zeros(len(boxes), bool)
            for mark in self.marks:
                inside |= (mark.x0 <= x) & (x <= mark.x1) & (mark.y0 <= y) & (y <= mark.y1)
            held = inside.tolist()
        return [
            (start - first, stop - first)
            for (start, stop), is_marked in zip(words_at, held, strict=True)
            if is_marked and first <= start and stop <= end and words.tells(text[start:stop])
        ]

    @property
    def _is_in_passage(self) -> np.ndarray:
        """The places in the passage whose words tell, by their middles: (places,) bool."""
        count = self.by_place.size
        boxes = _boxes(self.places, np.arange(count))
        held = np.zeros(count, bool)
        x, y = (boxes[:, :2] + boxes[:, 2:]).T / 2
        for x0, y0, x1, y1 in self.passage.boxes if self.passage else ():
            held |= (x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1)
        for place in np.flatnonzero(held).tolist():
            held[place] = self._place_tells(place)
        return held

    def _place_tells(self, place: int) -> bool:
        """Return whether a place holds a word that tells; the cell of a grid always does."""
        return isinstance(self.places, Grid) or words.tells(self._label(place))

    def _repr_png_(self) -> bytes | None:
        """Return the PNG that a notebook shows; None for plain text."""
        if self._render is None:
            return None
        out = BytesIO()
        self.image().save(out, "png")
        return out.getvalue()


def explain(
    query: QueryEmbedding,
    embedding: PageEmbedding,
    *,
    length: float = 0.0,
    render: Callable[[int], Image] | None = None,
    matches: Matches | None = None,
    found: Callable[[int], list[Passage]] | None = None,
) -> Explanation:
    """Explain a page's score.

    length: what it loses for its length. render: draws the page at some dpi, for `image`. matches: those of the query
    on this page, if they are known already. found: returns the passages that answer best, if an index knows more of
    the page than its embedding says.
    """
    if matches is None:
        similar = product(embedding.vectors, query.vectors.T)  # (n, m)
        best = similar.argmax(axis=0)
        matches = Matches(best, similar[best, np.arange(len(best))], similar)
    best, values, similar = matches
    return Explanation(embedding, query, best, values, length, render, _passages=found, _similar=similar)


def shares(values: np.ndarray) -> np.ndarray:
    """Return the share of the score that each token's best match (m,) has, (m,) float32; a negative one has none."""
    positive: np.ndarray = np.maximum(values, 0)
    return np.asarray(positive / (positive.sum() or 1))


def best_line(page: Quotable, best: np.ndarray, shares: np.ndarray) -> str:
    """Return the line of the page's text whose words hold the largest part of `shares`; "" where it has no words.

    best: (m,) the page's vector that each query token matched; shares: (m,) the share of the score of each token.
    """
    lines = page.text.split("\n")
    of_line = np.zeros(len(lines))
    marked, worth = _marked(page, best, shares)
    where = page.where
    if not isinstance(where, Grid) and where.shape[1] == 2:
        ends = np.cumsum([len(line) + 1 for line in lines])
        np.add.at(of_line, np.searchsorted(ends, where[marked, 0], side="right"), worth)
    elif page.word_boxes is not None and len(page.word_boxes):
        line_of = np.repeat(np.arange(len(lines)), [len(line.split()) for line in lines])
        x, y = (page.word_boxes.T[:2] + page.word_boxes.T[2:]) / 2
        x0, y0, x1, y1 = _boxes(where, marked).T[:, :, None]
        box, word = np.nonzero((x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1))
        held = np.bincount(box, minlength=len(marked))  # a patch may hold words of several lines
        np.add.at(of_line, line_of[word], worth[box] / held[box])
    return lines[int(of_line.argmax())].strip() if of_line.any() else ""


def _distinct(where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct places of (n, 4) or (n, 2), in order of appearance, and which of them each is, (n,) int64.

    A place of NaN lies nowhere: it is -1, and not among the distinct ones.
    """
    place_of = np.full(len(where), -1)
    known = np.flatnonzero(~np.isnan(where[:, 0]))
    raw, size = where[known].tobytes(), where.shape[1] * where.itemsize
    number: dict[bytes, int] = {}  # a third of the time of np.unique
    place_of[known] = [number.setdefault(raw[at : at + size], len(number)) for at in range(0, len(raw), size)]
    return np.frombuffer(b"".join(number), where.dtype).reshape(-1, where.shape[1]), place_of


def _marked(page: Quotable, best: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the places where a share of the score was found, some of them twice, and the shares."""
    if isinstance(page.where, Grid) or page.rows is not None:
        of_place = _worth(page, best, shares)
        places = np.flatnonzero(of_place)
        return places, of_place[places]
    found = (shares > 0) & ~np.isnan(page.where[best, 0])  # each vector lies at the place of its own number
    return best[found], shares[found]


def _worth(page: Quotable, best: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the share of each cell, box or span, (places,) float32; those of one vector share equally."""
    rows = page.vector_of_place()
    placed = rows >= 0
    if not isinstance(page.where, Grid):
        placed = placed & ~np.isnan(page.where[:, 0])
    # the vectors after these have no share, and no place
    n = 1 + max(int(best.max(initial=0)), int(rows.max(initial=0)))
    each = np.bincount(best, shares, n) / np.maximum(np.bincount(rows[placed], minlength=n), 1)
    return np.where(placed, each[rows], 0).astype(np.float32)


def _boxes(where: Grid | np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the boxes (k, 4) of some cells, by their numbers row by row, or of some words, by theirs."""
    if not isinstance(where, Grid):
        return np.asarray(where[places])
    return np.array([where.cell_box(*divmod(place, where.cols)) for place in places.tolist()]).reshape(-1, 4)


def _merge_cells(shares: np.ndarray, grid: Grid) -> list[Region]:
    """Return a region for each group of cells that have a share of the score and are joined by their sides."""
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
    """Return a region for each run of words with a share on a line, at most about two characters apart."""
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
    """Return the smallest region that holds the boxes (k, 4)."""
    x0, y0 = (float(x) for x in boxes[:, :2].min(axis=0))
    x1, y1 = (float(x) for x in boxes[:, 2:].max(axis=0))
    return Region(x0, y0, x1, y1, score)
