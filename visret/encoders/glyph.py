"""Pictures of pages that are read: visret's own small networks find and read the lines, a text model the words.

Everything comes from the pixels; a text layer is ignored. A vector has two parts. The text model's part compares
questions with pages by meaning. The spelling of the word finds the same word again, even if a letter was misread. The
shorter a question, the more its spelling counts: one word is a look-up, a sentence is not. A page's vectors lie at the
boxes of its words, so a picture of text is explained like text.

Options: text_model ("all-minilm-l6-v2"), an entry of the family colbert.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from visret import forks
from visret.encoders import _base, colbert
from visret.encoders._reading import Reading
from visret.models import fetch, registry, weights
from visret.types import ModelSpec, Page, PageEmbedding, QueryEmbedding, Word

if TYPE_CHECKING:
    from visret.ocr.glyph.reading import PageReader

SPELLING = 128  # dimensions
_SPELLING_SHARE = 0.2  # of a page's vectors
# The weight of spelling relative to meaning in a question of one word, and how it falls with the number of words. A
# word alone finds itself (97.6 % of 3,200; 96.7 at a weight of .4), and nDCG@5 of 94 questions stays (.717; .716).
_SPELLING_WEIGHT, _SPELLING_FADE = 0.8, 1.3
_AROUND = re.compile(r"^\W+|\W+$")
_OPTIONS = {"text_model": "all-minilm-l6-v2"}


class GlyphEncoder:
    """The encoder of read pictures; the module's docstring describes it."""

    def __init__(
        self, spec: ModelSpec, folder: Path, text: colbert.ColbertEncoder, *, place: _base.Place, threads: int | None
    ) -> None:
        self.spec = spec
        self._folder = folder
        self._text = text
        self._place = place
        self._threads = threads
        self._loading = forks.Lock()

    @functools.cached_property
    def preprocessing(self) -> Mapping[str, Any]:
        """Everything besides the weights that decides the vectors, as JSON."""
        return {
            "text_model": self._text.spec.revision,
            "spelling": [SPELLING, _SPELLING_SHARE],
            **self._text.preprocessing,
        }

    @functools.cached_property
    def _reader(self) -> PageReader:
        """The networks that read pictures, loaded with the first page. Raises WeightsError for weights not theirs."""
        from visret.ocr.glyph.reading import PageReader

        return PageReader(self._folder, device=self._place.found[0])

    def can_read(self, page: Page) -> bool:
        """Return whether the page has an image."""
        return page.image is not None

    def encode_pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        """Return one embedding for each page, with a vector for each word piece that was read, at the box of its word.

        A page on which nothing was read has some vectors that lie nowhere. Raises ShapeError for a page without an
        image.
        """
        _base.check_images(self.spec, pages)
        from visret.encoders import _torch

        with self._loading:
            self._reader  # noqa: B018 - loads it once, and not in every thread
        words = _torch.spread(self._words, pages, self._threads or _torch.threads())
        read = [dataclasses.replace(page, words=some) for page, some in zip(pages, words, strict=True)]
        full = iter(self._text.encode_pages([page for page in read if page.words]))
        return [self._spelled(next(full)) if page.words else self._empty(page) for page in read]

    def encode_queries(self, texts: Sequence[str]) -> list[QueryEmbedding]:
        """Return one embedding for each question, with one vector for each word piece."""
        return [self._question(question) for question in self._text.encode_queries(texts)]

    def _words(self, page: Page) -> tuple[Word, ...]:
        from visret.ocr.glyph import DPI

        assert page.image is not None
        dpi = page.image.width * 72 / page.size_pt[0] if page.size_pt else DPI
        return self._reader.read(page.image, dpi=dpi).words

    def _spelled(self, embedding: PageEmbedding) -> PageEmbedding:
        spelling = _spelling(embedding.text, self._text.read(embedding.text, "document"))
        return dataclasses.replace(embedding, vectors=_joined(embedding.vectors, spelling, _SPELLING_SHARE))

    def _question(self, question: QueryEmbedding) -> QueryEmbedding:
        if not question.content.any():  # no word is known, so none has a spelling
            return dataclasses.replace(question, vectors=_joined(question.vectors, np.zeros((1, SPELLING)), 0))
        reading = self._text.read(question.text, "query")
        weight = _SPELLING_WEIGHT * len(np.unique(reading.words)) ** -_SPELLING_FADE
        odds = weight**2 * (1 - _SPELLING_SHARE) / _SPELLING_SHARE  # so that spelling counts `weight` times as much
        vectors = _joined(question.vectors, _spelling(question.text, reading), odds / (1 + odds))
        return dataclasses.replace(question, vectors=vectors)

    def _empty(self, page: Page) -> PageEmbedding:
        vectors = self.encode_queries(["."])[0].vectors
        return PageEmbedding(page.ref, page.size_pt, vectors, np.full((len(vectors), 4), np.nan, np.float32))


def _spelling(text: str, reading: Reading) -> np.ndarray:
    """Return the spelling of the word of each piece of a text: (n, SPELLING) float32 unit rows."""
    vectors = np.stack([spelling_vector(text[start:end]) for start, end in reading.spans])
    return np.asarray(vectors[reading.words])


def _joined(meaning: np.ndarray, spelling: np.ndarray, share: float) -> np.ndarray:
    """Join meaning and spelling to unit rows in which spelling has `share` of the squared length."""
    spelling = np.broadcast_to(spelling, (len(meaning), SPELLING))
    return np.concatenate([np.sqrt(1 - share) * meaning, np.sqrt(share) * spelling], axis=1, dtype=np.float32)


@functools.lru_cache(maxsize=50_000)
def spelling_vector(word: str) -> np.ndarray:
    """Return the spelling of a word as a unit vector, (SPELLING,) float32.

    It is the sum of pseudo-random signs of the word's runs of two to four letters, and twice of the word itself. Words
    that share most of their letters are near, others are about orthogonal (Bojanowski et al. 2017, untrained).
    """
    plain = _AROUND.sub("", word.lower()) or word.lower()
    framed = f"<{plain}>"
    runs = [framed, framed] + [framed[i : i + n] for n in (2, 3, 4) for i in range(len(framed) - n + 1)]
    digests = b"".join(
        hashlib.blake2b(run.encode("utf-8", "surrogatepass"), digest_size=SPELLING // 8).digest() for run in runs
    )
    signs = np.unpackbits(np.frombuffer(digests, np.uint8)).reshape(len(runs), SPELLING)
    total = 2.0 * signs.sum(axis=0) - len(runs)
    return np.asarray(total / max(1.0, float(np.linalg.norm(total))), np.float32)


def load(spec: ModelSpec, *, dtype: str, device: str, threads: int | None) -> GlyphEncoder:
    """Load the encoder. Raises WeightsError if the folder's weights are not exactly those of its networks."""
    chosen = _base.options(spec, _OPTIONS)
    folder = fetch.weights_folder(spec)
    text = colbert.load(registry.get(chosen["text_model"]), dtype=dtype, device=device, threads=threads)
    place = _base.Place(device, "float32")
    encoder = GlyphEncoder(weights.pinned(spec, folder), folder, text, place=place, threads=threads)
    if not spec.source.startswith("package:"):  # the sha256 of a package's weights was checked
        encoder._reader  # noqa: B018 - loads it, and raises WeightsError for weights that are not its own
    return encoder
