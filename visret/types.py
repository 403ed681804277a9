"""The types that travel through visret: plain, frozen, and without torch.

Letters in shapes, everywhere: P pages, N vectors in all, n vectors of one page, m query vectors, d dimensions,
w words. Boxes are x0, y0, x1, y1 in page fractions, origin top left. Pages count from 1. Sizes of pages are
width, height in points (1/72 inch), as the page is displayed (after its rotation).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import numpy as np

from visret import arguments
from visret.errors import InvalidArgument, ShapeError

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[float, float, float, float]
Item = TypeVar("Item")


class PageRef(NamedTuple):
    """One page of one document: the only name of a page, from the file to the hit.

    doc: the document's id; for files the path relative to the indexed folder, with "/".
    page: its number, from 1.
    """

    doc: str
    page: int


def page_ref(given: Hit | tuple[str, int]) -> PageRef:
    """The page that a hit, a PageRef or a pair of document and page number names. InvalidArgument for anything else."""
    if isinstance(given, Hit):
        return given.ref
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise InvalidArgument(f"a page is a hit, a PageRef or a pair such as ('a.pdf', 1), got {given!r}")
    doc, page = given
    return PageRef(arguments.name(doc), arguments.whole("a page number", page))


class Loss(NamedTuple):
    """Content of a document that is known to be missing from what was read of it.

    what: what is missing, as "a page of vertical text". help: what would bring it, as "install a font for Chinese".
    """

    what: str
    help: str


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a page; unpacks as `text, box`.

    text: without white space; a word hyphenated over a line end is one word, without the hyphen.
    box: where it stands; for a word over a line end, its first part.
    rest: (index of the first character, box) of each further part.
    line: the number of its line in reading order (its first part's), from 0.
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
        """Of all its parts."""
        return (self.box, *(box for _, box in self.rest))

    def box_at(self, character: int) -> Box:
        """The box of the part that holds this character."""
        box = self.box
        for start, part in self.rest:
            if character >= start:
                box = part
        return box


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """A page before it is encoded: what it looks like, what stands on it, or both.

    ref: a name that is a number is taken as text.
    size_pt: width and height in points; None for plain text, which has no geometry.
    image: RGB, or None where the model reads words only.
    words: in reading order; None where nobody looked, () where the page has none.
    plain: the text of a page of plain text; None for all others.
    lost: content of it that could not be read.
    unread: the share of the characters of its text layer that have no meaning, such as those of a font without a table
        of characters, from 0 to 1. They are in no word.
    pictured: the share of its area that lies under pictures, from 0 to 1.
    hidden: a picture fills it, and its text is painted invisibly over that, as scanners do with what they read.
    drawn: print may stand on it that is neither text nor under pictures: letters drawn as shapes, a stamp,
        lines of blanks.
    torn: some of its words lack letters, for which a font has no characters.
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
        """A page made in memory. words: (text, box in page fractions) in reading order, or None.

        size_pt defaults to the image's size at 100 dpi. ShapeError for a box that is not in page fractions, such as one
        in pixels. Words of white space alone, which OCR gives for empty boxes, are left out.
        """
        width, height = image.size
        if not width or not height:
            raise ShapeError(f"a page image needs at least one pixel, got {width} x {height}")
        made = None if words is None else tuple(_words(words))
        size = (width * 0.72, height * 0.72) if size_pt is None else size_pt
        return cls(PageRef(doc, page), size, image.convert("RGB"), made, None, dict(metadata or {}))

    @classmethod
    def from_text(cls, text: str, *, doc: str, page: int = 1, metadata: Mapping[str, Any] | None = None) -> Page:
        """A page of plain text: no geometry, its highlights are character spans of `text`."""
        if not isinstance(text, str):
            raise ShapeError(f"a page of plain text needs text, got {text!r}")
        return cls(PageRef(doc, page), None, None, None, text, dict(metadata or {}))

    @property
    def text(self) -> str:
        """Its words, a space between words and a line feed between lines; the text itself of plain text."""
        if self.plain is not None:
            return self.plain
        out: list[str] = []
        for i, word in enumerate(self.words or ()):
            if i:
                out.append("\n" if word.line != self.words[i - 1].line else " ")  # type: ignore[index]
            out.append(word.text)
        return "".join(out)


def _words(given: Sequence[tuple[str, Box] | Word]) -> Iterator[Word]:
    """Words as (text, box), without those that OCR gives for empty boxes."""
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
    """Where the patch vectors of a page lie: rows x cols equal cells that cover the whole page, row by row.

    cells: None where vector r * cols + c is the patch of cell (r, c); otherwise (rows, cols) int32, the vector
    that stands for each cell, -1 for none (pooled, pruned, or dropped for lack of ink).
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
        """x0, y0, x1, y1 in page fractions."""
        return col / self.cols, row / self.rows, (col + 1) / self.cols, (row + 1) / self.rows

    def vector_of_cell(self) -> np.ndarray:
        """(rows, cols) int32: the vector that stands for each cell, -1 for none."""
        if self.cells is not None:
            return self.cells
        return np.arange(self.rows * self.cols, dtype=np.int32).reshape(self.rows, self.cols)


@dataclass(frozen=True, slots=True, eq=False)
class PageEmbedding:
    """A page as vectors, with the place of each.

    vectors: (n, d) float32 unit rows, n > 0; patches first, in reading order.
    where: Grid; or boxes (n, 4) float32 in page fractions; or character spans (n, 2) float32 of plain text.
        Rows that lie nowhere (markers, prompt text) have NaN; rows beyond a grid's cells lie nowhere.
    rows: None where vector i lies at place i; otherwise (places,) int32, the vector that stands for each box or span,
        as many as there are in `where` (pooled, pruned). A Grid has `cells` for this.
    text, word_boxes: the page's text and (w, 4) float32 boxes of its words (`text.split()`), so that a hit can be
        quoted; "" and None where unknown.
    """

    ref: PageRef
    size_pt: tuple[float, float] | None
    vectors: np.ndarray
    where: Grid | np.ndarray
    text: str = ""
    word_boxes: np.ndarray | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    rows: np.ndarray | None = None

    def __post_init__(self) -> None:
        v, where, rows = self.vectors, self.where, self.rows
        if self.word_boxes is not None and self.word_boxes.shape[1:] == (4,):
            object.__setattr__(self, "word_boxes", arguments.boxes(self.word_boxes))
        if v.ndim != 2 or not len(v) or v.dtype != np.float32:
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

    def vector_of_place(self) -> np.ndarray:
        """(places,) int32: the vector that stands for each cell (row by row), box or span; -1 for none."""
        return vector_of_place(self.where, self.rows, len(self.vectors))


def vector_of_place(where: Grid | np.ndarray, rows: np.ndarray | None, count: int) -> np.ndarray:
    """Return (places,) int32, as `PageEmbedding.vector_of_place`, of a page with so many vectors."""
    if isinstance(where, Grid):
        return where.vector_of_cell().ravel()
    return np.arange(count, dtype=np.int32) if rows is None else rows


@dataclass(frozen=True, slots=True, eq=False)
class QueryEmbedding:
    """A question as vectors.

    vectors: (m, d) float32 unit rows.
    tokens: m labels.
    content: (m,) bool; False for markers and expansion tokens, which count in the score but name nothing.
    warnings: sentences on what the model cannot make of the question.
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


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One entry of models.yaml.

    family: a file in visret/encoders/.
    source: a hub repository, "package:NAME" for weights in an installed package, a local folder, or "" (no weights).
    revision: the pinned commit of a hub repository, or the sha256 of the weights inside a package.
    modality: "text" (reads words) or "image" (looks at the page).
    dim: dimensions of a vector. size_gb: of the weights, of an adapter with its base.
    options: what the family's file documents; nothing else is allowed there.
    architecture: the class of the checkpoint, which decides what loads it; "" where the family needs none.
    parameters: in millions, 0 unknown.
    page_tokens: the most patch vectors a page has; 0 unknown, or not bounded.
    longest_query, longest_page: in tokens; 0 unknown, or none.
    languages: it was trained on, ISO 639-1 codes; () not known.
    purpose: what it is for, where that is not any page: "code", "biomedicine".
    unconfirmed: fields whose value no source confirms.
    remote_code: only its own code can run it, which visret never does.
    task: what it is for: "encode", pages and questions to many vectors, which is all that visret has families for.
    packages: what can be installed where the hub cannot be reached, NAME==VERSION: each has a piece of one zip file, in
        this order, and the zip file has the model.
    sha256: of the weights in these pieces.
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


@dataclass(frozen=True, slots=True)
class Hit:
    """A page that answers a question. Hits are equal where all of this is; they can be keys, and members of a set.

    score: exact late interaction of the question with the stored page: the sum of its tokens' best matches.
    rank: from 1. text: the line that explains most of the score, "" where the page has no words, or where the search
        was told not to explain. source: absolute path of the file, None for pages made in memory.
    member: the place of the document in that file, where it is an archive, say; "" for the file itself.
    weak: its matches are so poor, or so much poorer than the best hit's, that it hardly answers (`weak_below` in
        models.yaml; never, for models without one), or the model knows no word of the question. False where the search
        was told not to explain: then nobody has looked.
    """

    ref: PageRef
    score: float
    rank: int
    text: str
    source: str | None
    metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    weak: bool = False
    member: str = ""

    @property
    def doc(self) -> str:
        """The document's id."""
        return self.ref.doc

    @property
    def page(self) -> int:
        """Its page, from 1."""
        return self.ref.page


class Ranked(list[Item]):
    """What was found for one question, best first: a list that also has `warnings`.

    warnings: sentences on what the model could not make of the question, such as words that it does not know.
    """

    def __init__(self, found: Iterable[Item] = (), warnings: Sequence[str] = ()) -> None:
        super().__init__(found)
        self.warnings = tuple(warnings)


class Ranking(NamedTuple):
    """Pages that were found for a question, best first.

    keys: (n,) int64, `document << 32 | page` by the document's number in the index: the name of a page that stays the
        same when segments are merged. scores: (n,) float32; they can be compared within one ranking only.
    """

    keys: np.ndarray
    scores: np.ndarray

    def first(self, k: int) -> Ranking:
        """Return the ranking of the k best of these pages."""
        return Ranking(self.keys[:k], self.scores[:k])


class Selection(NamedTuple):
    """The pages that a question may find.

    rows: number of a segment to the rows of it that may be found, (L,) int64, sorted and never empty.
    filter: the tree of the filter that chose them (`visret.index.filters`), for stores that select pages themselves;
        None where there was no filter. is_all: whether nothing was asked for, so that all pages of the index are here.
    """

    rows: Mapping[int, np.ndarray]
    filter: object | None
    is_all: bool


class Matches(NamedTuple):
    """Where the score of a page comes from, token by token of the question.

    best: (m,) int64, the page's vector that each token is most alike; values: (m,) float32, how much. They sum to the
    score.
    """

    best: np.ndarray
    values: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A question on its way through a search: every model reads it once, and all that ask for pages take it from here.

    text: as it was asked. encoded: by the name of a scorer, what its model made of the text; for "late" a
    QueryEmbedding, in the dimensions of the stored vectors.
    """

    text: str
    encoded: Mapping[str, Any]


class Scorer(Protocol):
    """What ranks the pages of one committed state of an index.

    name: "late" for late interaction; the others are "bm25", "sparse" and "dense".
    """

    @property
    def name(self) -> str:
        """What the scorer is called."""

    def rank(self, questions: Sequence[Question], k: int, among: Selection) -> list[Ranking]:
        """Return the k best pages for each question, in order; fewer where fewer may be found."""

    def explain(self, question: Question, key: int) -> Matches | None:
        """Return where on a page its score comes from; None from a scorer that cannot tell.

        Not an Explanation, which draws pages: that is made of these matches by who wants to see them.
        """


class Encoder(Protocol):
    """What a model family provides; see visret/encoders/_base.py for the pieces they share."""

    @property
    def spec(self) -> ModelSpec:
        """The entry of models.yaml it was loaded from."""

    @property
    def preprocessing(self) -> Mapping[str, Any]:
        """Everything besides the weights that decides the vectors (prompts, windows, image budget, dtype): JSON."""

    def can_read(self, page: Page) -> bool:
        """False where the page holds nothing for this model: no words for a text model, no image for an image model."""

    def encode_pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        """One embedding a page, in order, independent of what else is in the list."""

    def encode_queries(self, texts: Sequence[str]) -> list[QueryEmbedding]:
        """One embedding a question, in order, independent of what else is in the list."""
