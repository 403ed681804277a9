"""The types of what travels through visret: plain, frozen, and without torch.

Letters in shapes, everywhere: P pages, N vectors in all, n vectors of one page, m query vectors, d dimensions,
w words. Boxes are x0, y0, x1, y1 in page fractions, origin top left. Pages count from 1. Sizes of pages are
width, height in points (1/72 inch), as the page is displayed (after its rotation).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from visret import arguments
from visret.errors import InvalidArgument, ShapeError

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
_ABOVE = 18.0  # points of the page that a link shows above its place
Item = TypeVar("Item")


class PageRef(NamedTuple):
    """A page of a document, by name: the only name a page has, from the file to the hit.

    doc: the name of the document; for files, the path relative to the indexed folder, with "/".
    page: the number of the page, from 1.
    """

    doc: str
    page: int


def page_ref(given: Hit | tuple[str, int]) -> PageRef:
    """Return the page that a hit, a PageRef or a pair of document and page number names.

    Raises InvalidArgument for anything else.
    """
    if isinstance(given, Hit):
        return given.ref
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InvalidArgument(f"a page is a hit, a PageRef or a pair such as ('a.pdf', 1), got {given!r}")
    doc, page = given
    return PageRef(arguments.name(doc), arguments.whole("a page number", page))


class Loss(NamedTuple):
    """Content of a document that is known to be missing from what was read of it.

    what: what is missing, such as "a page of vertical text".
    help: what would bring it, such as "install a font for Chinese".
    """

    what: str
    help: str


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a page. It unpacks as `text, box`.

    text: the word, without white space. A word that is hyphenated at the end of a line is one word, without the hyphen.
    box: where the word stands; where its first part stands, if it is split between lines.
    rest: (index of the first character, box) of each further part.
    line: the number of the line that its first part stands on, in reading order, from 0.
    """

    text: str
    box: Box
    rest: tuple[tuple[int, Box], ...] = ()
    line: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise ShapeError(f"a word is text with a box, got {self.text!r}")
        box = self.box  # hundreds a page: what is right already is only compared
        right = type(box) is tuple and len(box) == 4 and 0 <= box[0] <= box[2] <= 1 and 0 <= box[1] <= box[3] <= 1
        if not right:
            object.__setattr__(self, "box", arguments.box(box))
        if self.rest:
            object.__setattr__(self, "rest", tuple((start, arguments.box(part)) for start, part in self.rest))

    def __iter__(self) -> Iterator[Any]:
        yield self.text
        yield self.box

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The boxes of all its parts."""
        return (self.box, *(box for _, box in self.rest))

    def box_at(self, character: int) -> Box:
        """Return the box of the part that holds this character."""
        box = self.box
        for start, part in self.rest:
            if character >= start:
                box = part
        return box


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """A page before it is encoded: what it looks like, what is printed on it, or both.

    ref: its document and its number. A document name that is a number is taken as text.
    size_pt: width and height in points; None for plain text, which has no geometry.
    image: the RGB picture, or None if the model reads words only.
    words: its words in reading order; None if nobody looked, () if the page has none.
    plain: the text of a page of plain text; None for all other pages.
    lost: content of the page that could not be read.
    unread: the share, from 0 to 1, of the characters of its text layer that have no meaning, such as those of a font
        without a table of characters. They are in no word.
    pictured: the share of its area, from 0 to 1, that lies under pictures.
    hidden: whether a picture fills the page and its text is painted invisibly over it, as scanners do.
    drawn: whether it may bear print that is neither text nor under pictures: letters drawn as shapes, a stamp, lines of
        blanks.
    torn: whether some of its words lack letters because a font has no characters for them.
    """

    ref: PageRef
    size_pt: tuple[float, float] | None
    image: Image | None = None
    words: tuple[Word, ...] | None = None
    plain: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    lost: tuple[Loss, ...] = ()
    unread: float = 0.0
    pictured: float = 0.0
    hidden: bool = False
    drawn: bool = False
    torn: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "ref", page_ref(self.ref))
        if self.size_pt is not None:
            object.__setattr__(self, "size_pt", arguments.size(self.size_pt))
        if self.words is not None and not all(isinstance(word, Word) for word in self.words):
            raise ShapeError(f"the words of a page are visret.Word(text, box), got {list(self.words)[:2]!r}")

    @classmethod
    def from_image(
        cls,
        image: Image,
        *,
        doc: str,
        page: int = 1,
        words: Sequence[tuple[str, Box]] | None = None,
        size_pt: tuple[float, float] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Page:
        """Make a page in memory from its picture.

        words: (text, box in page fractions) in reading order, or None. Words of white space alone, which OCR returns
            for empty boxes, are left out.
        size_pt: width and height in points; None takes the size of the image at 100 dpi.

        Raises ShapeError for a box that is not in page fractions, such as one in pixels.
        """
        width, height = image.size
        if not width or not height:
            raise ShapeError(f"a page image needs at least one pixel, got {width} x {height}")
        made = None if words is None else tuple(_words(words))
        size = (width * 0.72, height * 0.72) if size_pt is None else size_pt
        return cls(PageRef(doc, page), size, image.convert("RGB"), made, None, dict(metadata or {}))

    @classmethod
    def from_text(cls, text: str, *, doc: str, page: int = 1, metadata: Mapping[str, Any] | None = None) -> Page:
        """Make a page of plain text. It has no geometry: places on it are character spans of `text`."""
        if not isinstance(text, str):
            raise ShapeError(f"a page of plain text needs text, got {text!r}")
        return cls(PageRef(doc, page), None, None, None, text, dict(metadata or {}))

    @property
    def text(self) -> str:
        """The words with a space between words and a line feed between lines; for plain text, the text itself."""
        if self.plain is not None:
            return self.plain
        out: list[str] = []
        for i, word in enumerate(self.words or ()):
            if i:
                out.append("\n" if word.line != self.words[i - 1].line else " ")  # type: ignore[index]
            out.append(word.text)
        return "".join(out)


def _words(given: Sequence[tuple[str, Box] | Word]) -> Iterator[Word]:
    """Yield words made from (text, box), without those that OCR returns for empty boxes."""
    for one in given:
        if isinstance(one, Word):
            yield one
            continue
        try:
            text, box = one
        except (TypeError, ValueError):
            raise ShapeError(f"a word is (text, box), got {one!r}") from None
        if not isinstance(text, str) or text.strip():
            yield Word(text, box)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """The places of a page's patch vectors: rows x cols equal cells that cover the whole page, row by row.

    cells: None if vector r * cols + c is the patch of cell (r, c). Otherwise, for vectors that were pooled, pruned or
        dropped for lack of ink, (rows, cols) int32: the vector that stands for each cell, -1 for none.
    """

    rows: int
    cols: int
    cells: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.rows < 1 or self.cols < 1:
            raise ShapeError(f"a grid needs at least one cell, got {self.rows} rows x {self.cols} cols")
        if self.cells is not None and self.cells.shape != (self.rows, self.cols):
            raise ShapeError(f"cells: expected {(self.rows, self.cols)}, got {self.cells.shape}")

    def cell_box(self, row: int, col: int) -> Box:
        """Return the box of a cell: x0, y0, x1, y1 in page fractions."""
        return col / self.cols, row / self.rows, (col + 1) / self.cols, (row + 1) / self.rows

    def vector_of_cell(self) -> np.ndarray:
        """Return the vector that stands for each cell: (rows, cols) int32, -1 for none."""
        if self.cells is not None:
            return self.cells
        return np.arange(self.rows * self.cols, dtype=np.int32).reshape(self.rows, self.cols)


@dataclass(frozen=True, slots=True, eq=False)
class PageEmbedding:
    """A page as vectors, with the place of each vector on the page.

    vectors: (n, d) float32, n > 0; patches first, in reading order. They are unit rows, unless `Encoder.preprocessing`
        says otherwise. (0, 0) if no model made any.
    where: a Grid; or boxes, (n, 4) float32 in page fractions; or character spans of plain text, (n, 2) float32.
        Rows that lie nowhere (markers, prompt text) have NaN; rows beyond the cells of a grid lie nowhere.
    rows: None if vector i lies at place i. Otherwise, for vectors that were pooled or pruned, (places,) int32: the
        vector that stands for each box or span in `where`. A Grid has `cells` for this.
    text, word_boxes: the text of the page and the boxes of its words (`text.split()`), (w, 4) float32, so that a hit
        can be quoted; "" and None if unknown.
    made: how many vectors the model made, where some were pruned or pooled; 0 if `vectors` are all of them.
    """

    ref: PageRef
    size_pt: tuple[float, float] | None
    vectors: np.ndarray
    where: Grid | np.ndarray
    text: str = ""
    word_boxes: np.ndarray | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    rows: np.ndarray | None = None
    made: int = 0

    def __post_init__(self) -> None:
        v, where, rows = self.vectors, self.where, self.rows
        if self.word_boxes is not None and self.word_boxes.shape[1:] == (4,):
            object.__setattr__(self, "word_boxes", arguments.boxes(self.word_boxes))
        if v.ndim != 2 or (not len(v) and v.shape[1]) or v.dtype != np.float32:
            raise ShapeError(f"{self.ref}: vectors must be (n, d) float32 with n > 0, got {v.shape} {v.dtype}")
        if isinstance(where, Grid):
            if rows is not None:
                raise ShapeError(f"{self.ref}: a Grid says in its cells which vector stands for a place, not in rows")
            return
        places = len(v) if rows is None else len(rows)
        if where.shape not in {(places, 4), (places, 2)}:
            raise ShapeError(f"{self.ref}: where must be a Grid, ({places}, 4) or ({places}, 2), got {where.shape}")
        if rows is not None and (rows.shape != (places,) or rows.dtype != np.int32):
            raise ShapeError(f"{self.ref}: rows must be ({places},) int32, got {rows.shape} {rows.dtype}")
        if rows is not None and places and not 0 <= rows.min() <= rows.max() < len(v):
            raise ShapeError(f"{self.ref}: rows name vectors {rows.min()} to {rows.max()} of {len(v)}")
        if where.shape[1] == 4:
            object.__setattr__(self, "where", arguments.boxes(where))

    @property
    def edges(self) -> None:
        """The edges of its lines, which only an index stores (`visret.explain.layout`): None."""

    def vector_of_place(self) -> np.ndarray:
        """Return the vector that stands for each cell (row by row), box or span: (places,) int32, -1 for none."""
        return vector_of_place(self.where, self.rows, len(self.vectors))


def vector_of_place(where: Grid | np.ndarray, rows: np.ndarray | None, count: int) -> np.ndarray:
    """Return (places,) int32, as `PageEmbedding.vector_of_place` does, for a page with `count` vectors."""
    if isinstance(where, Grid):
        return where.vector_of_cell().ravel()
    return np.arange(count, dtype=np.int32) if rows is None else rows


@dataclass(frozen=True, slots=True, eq=False)
class QueryEmbedding:
    """A question as vectors.

    vectors: (m, d) float32, unit rows as those of a page.
    tokens: m labels, one for each vector.
    content: (m,) bool; False for markers and expansion tokens, which count in the score but name nothing.
    warnings: sentences that say what in the question the model does not understand.
    """

    text: str
    vectors: np.ndarray
    tokens: tuple[str, ...]
    content: np.ndarray
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        m = len(self.vectors)
        if self.vectors.ndim != 2 or not m or self.vectors.dtype != np.float32:
            raise ShapeError(f"query vectors must be (m, d) float32 with m > 0, got {self.vectors.shape}")
        if len(self.tokens) != m or self.content.shape != (m,):
            raise ShapeError(f"{m} query vectors need {m} tokens, got {len(self.tokens)} and {self.content.shape}")


class SparseVector(NamedTuple):
    """A learned sparse vector, as SPLADE makes them: the dimensions that are not 0, and their weights.

    ids: (n,) uint32, rising: the numbers of the dimensions, which for most models are the pieces of a vocabulary.
    weights: (n,) float32. n may be 0.
    """

    ids: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model, as an entry of models.yaml describes it.

    family: the file in visret/encoders/ that loads it, or in the folder of another task (`registry.TASKS`).
    source: a hub repository, "package:NAME" for weights in an installed package ("package:NAME/FILE" for those in one
        of its files), a local folder, or "" (no weights).
    revision: the pinned commit of a hub repository, or the sha256 of the weights inside a package.
    modality: "text" reads the words of a page, "image" looks at its picture.
    dim: the number of dimensions of a vector, for a sparse one the size of the vocabulary; 0 for a reranker, which
        makes none.
    size_gb: the size of the weights; for an adapter, including its base.
    options: settings that the family's file documents; no others are allowed.
    architecture: the class of the checkpoint, which decides what loads it; "" if the family needs none.
    parameters: the number of parameters in millions; 0 if unknown.
    page_tokens: the largest number of patch vectors a page can have; 0 if unknown or not bounded.
    longest_query, longest_page: the limits in tokens; 0 if unknown or without limit.
    languages: the languages it was trained on, as ISO 639-1 codes; () if unknown.
    purpose: what it was made for, if not for pages of any kind: "code", "biomedicine".
    questions_for: the model whose indexes it encodes questions for, if it reads no pages; "" for all others.
    unconfirmed: the fields whose value no source confirms.
    remote_code: whether only the code in its repository can run it, which visret never does.
    task: what it does. "encode" turns pages and questions into many vectors; "embed" into single vectors and "sparse"
        into sparse ones, beside those of an index; "rerank" scores pairs of a question and a page.
    packages: the packages, NAME==VERSION, that can be installed if the hub cannot be reached. Each holds a piece of one
        zip file with the model, in this order.
    sha256: that of the weights in these pieces.
    beside: the model of single vectors that is added to each index that this one makes; "" for none.
    """

    name: str
    family: str
    source: str
    revision: str
    modality: str
    dim: int
    license: str
    size_gb: float
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    aliases: tuple[str, ...] = ()
    architecture: str = ""
    parameters: float = 0
    page_tokens: int = 0
    longest_query: int = 0
    longest_page: int = 0
    languages: tuple[str, ...] = ()
    purpose: str = ""
    unconfirmed: tuple[str, ...] = ()
    remote_code: bool = False
    task: str = "encode"
    packages: tuple[str, ...] = ()
    sha256: str = ""
    questions_for: str = ""
    beside: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """The place on a page that answers a question: consecutive lines, a table, a figure with its caption.

    text: the lines, divided by line feeds. boxes: their boxes in page fractions, in reading order; () on plain text.
    span: the first character in the text of the page, and the one behind the last; None for a region of a picture.
    size_pt: the size of the page in points; None for plain text.
    score: how well the question's tokens are matched in it, in the mean; comparable within one question. Passages are
        equal if all else is, since its last digits depend on the order in which numbers are added.
    """

    text: str
    boxes: tuple[Box, ...]
    span: tuple[int, int] | None
    size_pt: tuple[float, float] | None
    score: float = field(compare=False)

    @property
    def boxes_pt(self) -> tuple[Box, ...]:
        """The boxes in points (1/72 inch) of the page as it is displayed: origin top left, y downwards."""
        width, height = self.size_pt or (0.0, 0.0)
        return tuple((x0 * width, y0 * height, x1 * width, y1 * height) for x0, y0, x1, y1 in self.boxes)

    @property
    def box(self) -> Box | None:
        """The smallest box around all boxes, in page fractions; None on plain text."""
        if not self.boxes:
            return None
        x0, y0, x1, y1 = zip(*self.boxes, strict=True)
        return min(x0), min(y0), max(x1), max(y1)


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that answers a question. Hits are equal if all fields are; they can be keys of dictionaries and in sets.

    score: what the page is ranked by; by default its exact late-interaction score, less what is taken off for its
        length (`visret.search.late_interaction`); or its BM25 score, if it was found by words. After
        `search(..., rerank=...)` it is the score of the reranker, and -inf for a page that was not scored.
    rank: the place in the ranking, from 1; 0 for a page that was not ranked (`neighbour_of`).
    text: the line that explains most of the score; "" if the page has no words or the search did not explain.
    source: the absolute path of the file; None for pages made in memory.
    member: the place of the document inside that file, if it is an archive, for example; "" for the file itself.
    weak: whether the page hardly answers: the model knows no word of the question, or the page's matches are poor, or
        the first pages match no better than those that other questions find in this index, or there is a much better
        page (`visret.search.weakness`; never for models without `weak_below` in models.yaml); if it was found by words,
        the page lacks most of them, rare ones counting more. A reranker with `weak_below` decides by its score. It is
        False if the search did not explain, since the page was not examined.
    scores: what is known of the page, by name: "late" is the exact late-interaction score of the question with the
        stored page, the sum of its tokens' best matches; "bm25" that of its words; "dense" the best cosine (or
        dot product) of single vectors; "sparse" the dot product of sparse vectors; "rerank" that of a reranker.
    neighbour_of: None for a page that was found. A page that `search(..., neighbours=1)` adds has the rank of its hit
        here. It was not ranked or examined: its own rank and score are 0, and it has no text.
    relevance: how well the page answers, from 0 to 1, on a scale that means the same in every index: .5 is the line
        below which a page is weak by itself, whatever the best hit is like, and 1 a match of everything in the
        question. None if the search did not explain, and for models without that line. `min_score` compares it.
    passage: the place on the page that answers; None if the search did not explain, or the page shows none.
    """

    ref: PageRef
    score: float
    rank: int
    text: str
    source: str | None
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    weak: bool = False
    member: str = ""
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)
    neighbour_of: int | None = None
    relevance: float | None = None
    passage: Passage | None = None

    @property
    def doc(self) -> str:
        """The name of the document."""
        return self.ref.doc

    @property
    def page(self) -> int:
        """The number of the page, from 1."""
        return self.ref.page

    @property
    def link(self) -> str:
        """The end of a link to the place, such as "#page=3&box=0.1,0.22,0.9,0.31&view=FitH,208&zoom=auto,0,636".

        box: the place in page fractions, if it is known. view, zoom: what makes viewers of PDFs scroll there; Chromium
        counts view in pixels (1/96 inch) from the top, and Firefox counts zoom in points from the foot.
        """
        box, size_pt = (self.passage.box, self.passage.size_pt) if self.passage else (None, None)
        link = f"#page={self.page}"
        if box is None:
            return link
        link += "&box=" + ",".join(f"{side:.4g}" for side in box)
        if size_pt is None:
            return link
        top = max(0.0, box[1] * size_pt[1] - _ABOVE)
        return f"{link}&view=FitH,{top * 4 / 3:.0f}&zoom=auto,0,{size_pt[1] - top:.0f}"


class Ranked(list[Item]):
    """A list of what was found for one question, best first, with `warnings`.

    warnings: sentences that say what in the question the model did not understand, such as unknown words.
    """

    def __init__(self, found: Iterable[Item] = (), warnings: Sequence[str] = ()) -> None:
        super().__init__(found)
        self.warnings = tuple(warnings)


class Ranking(NamedTuple):
    """Pages that were found for a question, best first.

    keys: (n,) int64, `document << 32 | page` with the number of the document in the index. A page keeps its key when
        segments are merged. scores: (n,) floats; they can be compared within one ranking only.
    parts: what the scores are made of, by the names of scorers, (n,) floats each; NaN for a page that one has not
        ranked.
    """

    keys: np.ndarray
    scores: np.ndarray
    parts: Mapping[str, np.ndarray] = MappingProxyType({})

    def first(self, k: int) -> Ranking:
        """Return the ranking of the k best of these pages."""
        return Ranking(self.keys[:k], self.scores[:k], {name: part[:k] for name, part in self.parts.items()})


class Selection(NamedTuple):
    """The pages that a question may find.

    rows: for each segment number, the rows of that segment that may be found: (L,) int64, sorted and never empty.
    filter: the tree of the filter that chose the pages (`visret.index.filters`), for stores that select pages
        themselves; None without a filter. is_all: whether nothing was filtered, so that every page may be found.
    """

    rows: Mapping[int, np.ndarray]
    filter: object | None
    is_all: bool


class Matches(NamedTuple):
    """The matches that the score of a page comes from, one for each token of the question.

    best: (m,) int64, the vector of the page that is most like each token. values: (m,) float32, how alike they are;
    their sum is the score. similar: (n, m) float32, how alike each vector of the page is to each token.
    """

    best: np.ndarray
    values: np.ndarray
    similar: np.ndarray


class Quote(NamedTuple):
    """The answer of a scorer of words why it found a page.

    line: the line that answers the question best; "" where there is none. weak: whether the page hardly answers.
    relevance: as in `Hit`.
    passage: the place that answers best; None where there is none.
    """

    line: str
    weak: bool
    relevance: float
    passage: Passage | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A question on its way through a search. Every model reads it once, and every scorer takes it from here.

    text: the question as it was asked. encoded: what the model of each scorer made of the text, by the scorer's name:
    for "late" a QueryEmbedding, in the dimensions of the stored vectors; for "dense" (1, d) float32, if a model was
    added that makes single vectors; for "sparse" a SparseVector. warnings: sentences that say what of it was
    not understood, and what was done about that. is_foreign: whether the model knows little of it and no page that was
    searched has any of its words, so that nothing found can answer it.
    """

    text: str
    encoded: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    is_foreign: bool = False


class Scorer(Protocol):
    """The protocol of what ranks the pages of one committed state of an index.

    name: "late" for late interaction; the others are "bm25", "sparse" and "dense".
    """

    @property
    def name(self) -> str:
        """The name of the scorer."""

    def rank(self, questions: Sequence[Question], k: int, among: Selection, *, exact: bool = False) -> list[Ranking]:
        """Return the k best pages for each question, in order; fewer if fewer may be found.

        exact: score every page that may be found, even where an approximation could choose which ones are scored.
        """

    def explain(self, question: Question, key: int) -> Matches | Quote | None:
        """Return what the score of a page comes from: matches of vectors, or a line; None if the scorer cannot say.

        Callers that want an Explanation, which draws pages, make one from them.
        """


Job = TypeVar("Job", contravariant=True)
Done = TypeVar("Done", covariant=True)


class Executor(Protocol[Job, Done]):
    """The protocol of what reads the files of a run and encodes their pages: this process, or other machines.

    It writes nothing: the process that called it holds the index, and records what comes.
    """

    def carry_out(self, job: Job) -> Iterator[Done]:
        """Yield what comes of the files, a batch at a time, and in the end of all of them.

        It gets a `visret.ingest.execution.Job`, and yields `visret.ingest.execution.Encoded`.
        """

    def embedding(self, embedder: Embedder) -> AbstractContextManager[Embedder]:
        """Return a context in which an added model makes the vectors of pages; by default it makes them here."""
        return nullcontext(embedder)


class Encoder(Protocol):
    """The protocol of a loaded model. visret/encoders/_base.py has what the families share."""

    @property
    def spec(self) -> ModelSpec:
        """The entry of models.yaml that the model was loaded from."""

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Everything besides the weights that decides the vectors, as JSON: prompts, windows, image budget, dtype.

        It has the key "lengths" if the vectors are not unit rows: an index then refuses what would lose their lengths.
        """

    def can_read(self, page: Page) -> bool:
        """Return whether the page holds what this model reads: words for a text model, an image for an image model."""

    def encode_pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        """Return one embedding for each page, in order, whatever else is in the list."""

    def encode_queries(self, texts: Sequence[str]) -> list[QueryEmbedding]:
        """Return one embedding for each question, in order, whatever else is in the list."""


class Embedder(Protocol):
    """The protocol of a loaded model that is added to an index: it makes single vectors or sparse ones of pages.

    visret/embedders/_base.py has what the families share.
    """

    @property
    def spec(self) -> ModelSpec:
        """The entry of models.yaml that the model was loaded from; its task is "embed" or "sparse"."""

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Everything besides the weights that decides the vectors, as JSON: prompts, windows, similarity, dtype.

        For "embed", the key "similarity" is "cosine" or "dot".
        """

    def can_read(self, page: Page) -> bool:
        """Return whether the page holds what this model reads: text for a text model, a picture for an image model."""

    def embed_pages(self, pages: Sequence[Page]) -> list[np.ndarray] | list[SparseVector]:
        """Return what the model makes of each page, in order, whatever else is in the list.

        For "embed" (n, d) float32, a row for each part of a page that the model reads at once; for "sparse" one
        SparseVector a page.
        """

    def embed_queries(self, texts: Sequence[str]) -> list[np.ndarray] | list[SparseVector]:
        """Return what the model makes of each question, in order: (1, d) float32, or a SparseVector."""


class Reranker(Protocol):
    """The protocol of a loaded model that reads a question and a page together, and says how well the page answers.

    It is too slow for every page of an index, and is asked about the first pages of a ranking.
    visret/rerankers/_base.py has what the families share.
    """

    @property
    def spec(self) -> ModelSpec:
        """The entry of models.yaml that the model was loaded from."""

    @property
    def batch(self) -> int:
        """The number of pages that are best scored in one call."""

    def can_read(self, page: Page) -> bool:
        """Return whether the page holds what this model reads: text for a text model, a picture for an image model."""

    def scores(self, question: str, pages: Sequence[Page]) -> np.ndarray:
        """Return how well each page answers the question, in order: (P,) float32, larger is better.

        The score of a page does not depend on the pages beside it. Scores of two models cannot be compared.
        """
