"""Text models, which read the words of a page and give one vector for each word piece.

There are two kinds of checkpoint:

- ColBERT checkpoints in Stanford's, PyLate's or sentence-transformers' format, through sentence-transformers'
  MultiVectorEncoder. Their markers, expansion, skiplist and lengths are kept; a page's markers are vectors that lie
  nowhere.
- Sentence models of any architecture that sentence-transformers loads (BERT, XLM-RoBERTa, MPNet, ModernBERT ...), used
  token by token: the vectors are those of the last layer, normalised. Markers such as [CLS] and [SEP], and the prompts
  that the checkpoint names, are read but have no vectors, in a page or in a question; punctuation is kept.

A page is read in windows without overlap, cut between words. Every word has at least one vector, unless the checkpoint
skips it: a word that the tokenizer drops is read as an unknown one, and a word longer than a window is split.

torch computes pages, and is loaded with the first of them. If the checkpoint is a BERT, or a sentence model that is a
RoBERTa, an XLM-RoBERTa, a CamemBERT or an MPNet, NumPy computes questions, in float32 whatever the dtype of the pages;
otherwise questions need torch too.

Options:

- token_by_token (false).
- window_words, window_pieces: the most words and pieces of a window. Token by token they are 150 and 400. A ColBERT
  checkpoint is limited by its length alone, unless they are given.
- query_length, page_length: the most ids of a question and of a window, markers included (those of the checkpoint). A
  question that is filled up is filled up to query_length.
- backend ("torch"): "onnx" runs the network by onnxruntime on the CPU, in float32, and gives the same vectors. The
  first time the network is exported, which takes some seconds. It needs the extra `onnx`.
- normalised (true): vectors are made unit rows. false leaves those of a ColBERT checkpoint as long as they are; torch
  then computes questions too, and an index of them refuses what would lose the lengths.
- eight_bit (false): the dtype "auto" may be int8, on a CPU that is fastest at it, for the pages of a sentence model
  whose questions NumPy computes. It makes no difference to the backend "onnx".
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tokenizers import Tokenizer

from visret import arguments, forks
from visret.encoders import _base, _languages, _layout, _numpy
from visret.encoders._checkpoint import Checkpoint
from visret.encoders._conventions import Scored
from visret.encoders._reading import SENTENCE_WINDOW, WORD, Reading, in_batches, read, uncut, windows
from visret.errors import InvalidModelSpec, ShapeError, WeightsError
from visret.models import fetch, weights
from visret.types import ModelSpec, Page, PageEmbedding, QueryEmbedding

if TYPE_CHECKING:
    import torch

    from visret.encoders._bert import Bert
    from visret.encoders._sentence import Sentence

_OPTIONS = {
    "token_by_token": False,
    "window_words": None,
    "window_pieces": None,
    "query_length": None,
    "page_length": None,
    "backend": "torch",
    "normalised": True,
    "eight_bit": False,
}
_PROMPTS = {"query": ("query",), "document": ("document", "passage", "corpus")}


class SentenceModel:
    """A sentence model in a folder, read token by token. Its attributes and methods are those of `Checkpoint`.

    visret's own code computes BERT and its kin; sentence-transformers computes the others, questions too. Raises
    WeightsError unless the weights are those of the configuration.
    """

    cuts_questions = False

    def __init__(self, folder: Path, *, place: _base.Place, onnx: bool) -> None:
        self._folder = folder
        self._place = place
        self._loading = forks.Lock()
        self._loaded: Callable[[list[list[int]]], list[torch.Tensor]] | None = None
        self._questions: _numpy.Bert | None = None
        self._ours = _layout.known(weights.read_json(folder / "config.json"))
        if self._ours:
            layout = _layout.read(folder)
            stored = weights.Tensors(folder / "model.safetensors")
            names = _layout.canonical(stored)
            _layout.check(layout, names, folder)
            self.dim, longest = layout.dim, layout.longest
            if not onnx:
                self._questions = _numpy.Bert(layout, {name: stored[names[name]] for name in layout.names()})
        if onnx or not self._ours:
            model = self._model()
            self.dim, longest = model.dim, model.longest
            self._loaded = model
        if onnx:
            from visret.encoders._onnx import sentence_network

            self._loaded = sentence_network(model, folder)
        self.tokenizer = uncut(Tokenizer.from_str((folder / "tokenizer.json").read_text("utf-8")))
        named = [self.tokenizer.token_to_id(name) for name in ("[UNK]", "<unk>")]
        self.unknown = next((number for number in named if number is not None), None)
        self.prompts = _prompts(folder)
        self.longest = {"query": longest, "document": longest}
        self.filling = ""

    def encode(self, sequences: list[list[int]], task: str) -> list[Scored]:
        """Encode each sequence independently of the others."""
        if task == "query" and self._questions is not None:
            made = [_numpy.unit_rows(self._questions(ids)) for ids in sequences]
        else:
            made = self._by_torch(sequences, task)
        return [Scored(vectors, np.ones(len(vectors), bool)) for vectors in made]

    def _by_torch(self, sequences: list[list[int]], task: str) -> list[np.ndarray]:
        from visret.encoders import _torch

        with self._loading:
            if self._loaded is None:
                self._loaded = self._model()
        with _torch.on_one_thread() if task == "query" else contextlib.nullcontext():
            return [_torch.to_numpy(vectors) for vectors in self._loaded(sequences)]

    def _model(self) -> Bert | Sentence:
        device, dtype = self._place.found
        if self._ours:
            from visret.encoders._bert import Bert

            return Bert.of(self._folder, device=device, dtype=dtype)
        from visret.encoders._sentence import Sentence

        return Sentence(self._folder, device=device, dtype=dtype)


class ColbertEncoder:
    """The encoder of text models; the module's docstring describes it."""

    def __init__(
        self,
        spec: ModelSpec,
        model: Checkpoint | SentenceModel,
        *,
        chosen: Mapping[str, Any],
        place: _base.Place,
        threads: int | None,
    ) -> None:
        self.spec = spec
        self._model = model
        self._place = place
        self._threads = threads
        self._window_words = chosen["window_words"]
        self._window_pieces = chosen["window_pieces"]
        self._keeps_markers = not chosen["token_by_token"]
        self._normalised = chosen["normalised"]

    @functools.cached_property
    def preprocessing(self) -> Mapping[str, Any]:
        """Everything besides the weights that decides the vectors. Its dtype is that of pages; torch decides "auto"."""
        model = self._model
        lengths = {"query_length": model.longest["query"], "page_length": model.longest["document"]}
        return {
            "window_words": self._window_words,
            "window_pieces": self._window_pieces,
            "markers": "kept" if self._keeps_markers else "dropped",
            "prompts": dict(model.prompts),
            "dtype": self._place.dtype,
            **(lengths if isinstance(model, Checkpoint) else {}),
            **({} if self._normalised else _base.AS_MADE),
        }

    def can_read(self, page: Page) -> bool:
        """Return whether the page has words."""
        return bool(page.text.strip())

    def encode_pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        """Return one embedding for each page, with one vector for each word piece.

        `where` has the box of the piece's word; for plain text, the characters of the piece. Raises ShapeError for a
        page without words.
        """
        texts = [page.text for page in pages]
        for page, text in zip(pages, texts, strict=True):
            if not text.strip():
                raise ShapeError(f"{page.ref}: {self.spec.name} reads words, and this page has none")
        readings = [self.read(text, "document") for text in texts]
        cuts = [self._windows(reading, "document", most_words=self._window_words) for reading in readings]
        framed = [reading.framed(cut) for reading, mine in zip(readings, cuts, strict=True) for cut in mine]
        encoded = iter(self._encode(framed, "document", threads=self._place.threads(self._threads)))
        made = [
            self._embedding(page, text, reading, [(cut, next(encoded)) for cut in mine])
            for page, text, reading, mine in zip(pages, texts, readings, cuts, strict=True)
        ]
        _languages.warn_of_pages(self.spec, pages)
        return made

    def encode_queries(self, texts: Sequence[str]) -> list[QueryEmbedding]:
        """Return one embedding for each question: the vectors of its word pieces, and of markers and expansion.

        A sentence model reads a question that is too long for it in windows. A ColBERT checkpoint cuts it, as its own
        library does, and a warning is logged. Words that the model does not know have no vectors, and a warning names
        them; a question of nothing else has the vectors of its markers. Raises InvalidArgument for a question without
        words.
        """
        arguments.questions(texts)
        _languages.warn_of_questions(self.spec, texts)
        made = [self._question(text) for text in texts]
        for warning in dict.fromkeys(warning for question in made for warning in question.warnings):
            _base.logger.warning("%s", warning)
        return made

    def read(self, text: str, task: str) -> Reading:
        """Return the pieces of a text; token by token, its vectors stand for them in their order.

        task: "query" or "document". Those of a question are the pieces that the model knows; there may be none.
        """
        reading = read(self._model.tokenizer, text, prompt=self._model.prompts[task], unknown=self._model.unknown)
        return reading.without_unknown(text) if task == "query" else reading

    def windows(self, text: str) -> list[str]:
        """Return the parts of a page's text that the model reads at once; none of a text without words."""
        if not text.strip():
            return []
        reading = self.read(text, "document")
        cuts = self._windows(reading, "document", most_words=self._window_words)
        return [text[reading.starts[cut.start] : reading.ends[cut.stop - 1]] for cut in cuts]

    def _room(self, reading: Reading, task: str) -> int:
        """Return how many pieces fit beside head and tail."""
        room = self._model.longest[task] - len(reading.head) - len(reading.tail)
        if room < 1:
            raise WeightsError(
                f"{self.spec.name}: its longest {task} ({self._model.longest[task]}) has no room for words"
            )
        return room

    def _windows(self, reading: Reading, task: str, *, most_words: int | None = None) -> list[slice]:
        room = self._room(reading, task)
        return windows(
            reading,
            most_words=most_words or len(reading.spans),
            most_pieces=min(self._window_pieces or room, room),
        )

    def _encode(self, sequences: list[list[int]], task: str, *, threads: int = 0) -> list[Scored]:
        """Encode sequences. threads: as in `in_batches`."""
        return in_batches(functools.partial(self._model.encode, task=task), sequences, threads)

    def _embedding(self, page: Page, text: str, reading: Reading, encoded: list[tuple[slice, Scored]]) -> PageEmbedding:
        """Join the windows of a page. encoded: each window, and the vectors of its ids with head and tail."""
        places = np.stack([reading.starts, reading.ends], axis=1) if page.plain is not None else _boxes(page, reading)
        vectors, where = [], []
        for cut, scored in encoded:
            content = slice(len(reading.head), len(scored.counts) - len(reading.tail))
            place = np.full((len(scored.counts), places.shape[1]), np.nan, np.float32)
            place[content] = places[cut]
            kept = scored.counts & (self._keeps_markers | _named(content, len(scored.counts)))
            vectors.append(scored.vectors[kept])
            where.append(place[kept])
        return PageEmbedding(
            page.ref,
            page.size_pt,
            np.concatenate(vectors),
            np.concatenate(where),
            text,
            _base.word_boxes(page),
            page.metadata,
        )

    def _question(self, text: str) -> QueryEmbedding:
        reading = self.read(text, "query")
        if self._model.cuts_questions:
            room = self._room(reading, "query")
            if len(reading.ids) > room:
                _base.logger.warning(
                    "%s reads the first %d of the %d word pieces of this question",
                    self.spec.name, room, len(reading.ids),
                )  # fmt: skip
            cuts = [slice(0, min(room, len(reading.ids)))]
        else:
            cuts = self._windows(reading, "query")
        encoded = self._encode([reading.framed(cut) for cut in cuts], "query")
        vectors, tokens, content = [], [], []
        for cut, scored in zip(cuts, encoded, strict=True):
            labels = [*self._markers(reading.head), *_pieces(text, reading, cut), *self._markers(reading.tail)]
            named = _named(slice(len(reading.head), len(labels) - len(reading.tail)), len(scored.counts))
            labels += [self._model.filling] * (len(scored.counts) - len(labels))
            kept = scored.counts & (self._keeps_markers | named | (not len(reading.ids)))
            vectors.append(scored.vectors[kept])
            tokens += [labels[i] for i in np.flatnonzero(kept)]
            content.append(named[kept])
        warnings = _base.unknown_words(self.spec, reading, text)
        return QueryEmbedding(text, np.concatenate(vectors), tuple(tokens), np.concatenate(content), warnings)

    def _markers(self, ids: list[int]) -> list[str]:
        return [self._model.tokenizer.id_to_token(i) or "" for i in ids]


def load(spec: ModelSpec, *, dtype: str, device: str, threads: int | None) -> ColbertEncoder:
    """Load the encoder. Raises WeightsError if the folder's weights are not exactly those of the model."""
    chosen = _base.options(spec, _OPTIONS)
    folder = fetch.weights_folder(spec)
    lengths = {"query": chosen["query_length"], "document": chosen["page_length"]}
    if chosen["token_by_token"]:
        if any(lengths.values()):
            raise InvalidModelSpec(
                f"{spec.name}, options: query_length and page_length are for ColBERT checkpoints; "
                "token by token the options window_words and window_pieces limit what is read at once"
            )
        if not chosen["normalised"]:
            raise InvalidModelSpec(f"{spec.name}, options, normalised: token by token vectors are always normalised")
        chosen |= {key: most for key, most in SENTENCE_WINDOW.items() if chosen[key] is None}
    onnx = chosen["backend"] == "onnx"
    if chosen["backend"] not in ("torch", "onnx"):
        raise InvalidModelSpec(f"{spec.name}, options, backend: must be torch or onnx, got {chosen['backend']!r}")
    if onnx and (device not in ("auto", "cpu") or dtype not in ("auto", "float32")):
        raise InvalidModelSpec(f"{spec.name}: backend onnx computes float32 on the CPU, not {dtype} on {device}")
    eight_bit = chosen["eight_bit"] if _multiplies_integers(folder, chosen) else None
    if chosen["eight_bit"] and eight_bit is None and not onnx:
        raise InvalidModelSpec(f"{spec.name}, options, eight_bit: only for BERT and its kin token by token, by torch")
    place = _base.Place("cpu", "float32") if onnx else _base.Place(device, dtype, eight_bit=eight_bit)
    if device not in ("auto", "cpu"):
        place.found  # noqa: B018 - raises an error if torch has no such device
    model: Checkpoint | SentenceModel
    with weights.reading(folder, tokenizer=folder):
        if chosen["token_by_token"]:
            model = SentenceModel(folder, place=place, onnx=onnx)
        else:
            model = Checkpoint(folder, place=place, lengths=lengths, onnx=onnx, unit=chosen["normalised"])
    _base.check_dim(spec, model.dim)
    return ColbertEncoder(weights.pinned(spec, folder), model, chosen=chosen, place=place, threads=threads)


def _multiplies_integers(folder: Path, chosen: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint can be computed in int8."""
    by_torch = chosen["token_by_token"] and chosen["backend"] == "torch"
    return by_torch and _layout.known(weights.read_json(folder / "config.json"))


def _prompts(folder: Path) -> dict[str, str]:
    """Return the prompts that a sentence model reads before a question and a page, by the names its library uses."""
    prompts = weights.read_json(folder / "config_sentence_transformers.json").get("prompts") or {}
    found = (next((prompts[name] for name in names if prompts.get(name)), "") for names in _PROMPTS.values())
    return dict(zip(_PROMPTS, found, strict=True))


def _named(content: slice, length: int) -> np.ndarray:
    """Return (length,) bool: True for the pieces of the text, False for what stands around them."""
    out = np.zeros(length, bool)
    out[content] = True
    return out


def _pieces(text: str, reading: Reading, cut: slice) -> list[str]:
    return [text[start:end].strip() for start, end in zip(reading.starts[cut], reading.ends[cut], strict=True)]


def _boxes(page: Page, reading: Reading) -> np.ndarray:
    """Return the box of each piece's word, or of the part of a hyphenated word in which it begins: (n, 4) float32."""
    words = [(word, match.start()) for word in page.words or () for match in WORD.finditer(word.text)]
    out = []
    for number, start in zip(reading.words.tolist(), reading.starts.tolist(), strict=True):
        word, offset = words[number]
        out.append(word.box_at(offset + max(0, start - reading.spans[number][0])))
    return np.array(out, np.float32)
