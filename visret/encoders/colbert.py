"""Text: a page's words, one vector a word piece, by sentence-transformers' MultiVectorEncoder.

Two kinds of checkpoint:

- ColBERT checkpoints (Stanford's, PyLate's, sentence-transformers' own): their markers, expansion, skiplist and lengths
  are kept. The markers of a page are part of its vectors and lie nowhere.
- sentence models, used token by token (`token_by_token`): the Transformer and a normalisation, nothing else. A page has
  the vectors of its word pieces, punctuation included; [CLS] and [SEP] are dropped. Of a question they are dropped too.

A page is read in windows without overlap, cut between words. Every word has at least one vector, unless the checkpoint
skips it: one the tokenizer drops is read as unknown, one longer than a window is split over several.

Options: token_by_token (false), window_words (150), window_pieces (400, and at most what the model can read).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer

from visret.encoders import _base, _torch
from visret.errors import ShapeError, WeightsError
from visret.types import ModelSpec, Page, PageEmbedding, QueryEmbedding

_OPTIONS = {"token_by_token": False, "window_words": 150, "window_pieces": 400}
_BATCH_PIECES = 4096  # padding included: enough to keep every core busy, small enough for its caches
_SURROGATES = re.compile("[\ud800-\udfff]")  # from broken text layers; no tokenizer takes them


class _Reading(NamedTuple):
    """A tokenized text of n word pieces in w words.

    ids, starts, ends, words: (n,) int; id, first character, end, and number of its word.
    spans: first character and end of each of the w words.
    head, tail: the ids around the pieces: prompt and markers.
    """

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray
    words: np.ndarray
    spans: list[tuple[int, int]]
    head: list[int]
    tail: list[int]


class ColbertEncoder:
    """See the module's docstring."""

    def __init__(self, spec: ModelSpec, model: Any, *, chosen: Mapping[str, Any], threads: int) -> None:
        transformer = model[0]
        self.spec = spec
        self._model = model
        self._threads = threads
        self._token_by_token = bool(chosen["token_by_token"])
        self._window_words = int(chosen["window_words"])
        self._window_pieces = int(chosen["window_pieces"])
        self._prompts = {task: model.prompts.get(task) or "" for task in ("query", "document")}
        self._expands = transformer.query_expansion is not None
        longest = int(getattr(transformer.config, "max_position_embeddings", None) or 512)
        self._longest = {
            "query": min(transformer.query_length or longest, longest),
            "document": min(transformer.document_length or longest, longest),
        }
        self._unknown = int(transformer.tokenizer.unk_token_id or 0)
        self._padding = int(transformer.tokenizer.pad_token_id or 0)
        # its own copy: never truncates or pads, and nobody else changes its settings
        self._tokenizer = Tokenizer.from_str(transformer.tokenizer.backend_tokenizer.to_str())
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        # "[SEP]" on a page is a word; but where markers are given as prompt text, the checkpoint reads it as its marker
        self._tokenizer.encode_special_tokens = not any(self._prompts.values())
        self.preprocessing: Mapping[str, Any] = {
            "window_words": self._window_words,
            "window_pieces": self._window_pieces,
            "markers": "dropped" if self._token_by_token else "kept",
            "prompts": self._prompts,
            "dtype": str(transformer.model.dtype).removeprefix("torch."),
        }

    def can_read(self, page: Page) -> bool:
        """Whether it has words."""
        return bool(page.text.strip())

    def encode_pages(self, pages: Sequence[Page]) -> list[PageEmbedding]:
        """One vector a word piece; `where` has the box of its word, or of plain text the characters of the piece."""
        texts = [page.text for page in pages]
        for page, text in zip(pages, texts, strict=True):
            if not text.strip():
                raise ShapeError(f"{page.ref}: {self.spec.name} reads words; this page has none")
        _base.warn_of_foreign_scripts(self.spec, texts, "pages")
        readings = [self._read(text, "document") for text in texts]
        cuts = [self._windows(reading, "document", self._window_words) for reading in readings]
        with _torch.on_threads(self._threads):
            encoded = iter(
                self._forward([_framed(r, cut) for r, mine in zip(readings, cuts, strict=True) for cut in mine], "document")
            )
        return [
            self._embedding(page, reading, [(cut, *next(encoded)) for cut in mine])
            for page, reading, mine in zip(pages, readings, cuts, strict=True)
        ]

    def encode_queries(self, texts: Sequence[str]) -> list[QueryEmbedding]:
        """One vector a word piece, and those of the checkpoint's markers and expansion.

        A question longer than the model can read is read in windows; one longer than a checkpoint's fixed expansion is
        cut there, as by the checkpoint's own library, with a warning in the log. InvalidQuery for one without words.
        """
        _base.check_questions(texts)
        _base.warn_of_foreign_scripts(self.spec, texts, "questions")
        with _torch.on_one_thread():
            return [self._expanded(text) if self._expands else self._plain(text) for text in texts]

    # -- reading ------------------------------------------------------------------------------------------------------

    def _read(self, text: str, task: str) -> _Reading:
        prompt = self._prompts[task]
        encoding = self._tokenizer.encode(prompt + _SURROGATES.sub("\ufffd", text))
        ids, special = np.array(encoding.ids), np.array(encoding.special_tokens_mask, bool)
        starts, ends = (np.array(encoding.offsets) - len(prompt)).T
        inside = np.flatnonzero(~special & (ends > 0))
        first, last = (inside[0], inside[-1] + 1) if len(inside) else (len(ids), len(ids))
        if not len(inside):  # nothing but words the tokenizer drops: the markers that follow it are the special tail
            first = last = int(np.flatnonzero(special)[-1]) if special.any() else len(ids)
        head, tail = ids[:first].tolist(), ids[last:].tolist()
        ids, starts, ends = ids[first:last], starts[first:last], ends[first:last]
        spans = [match.span() for match in re.finditer(r"\S+", text)]
        # by the last character: some tokenizers count the space before a word as part of its first piece
        words = np.searchsorted([start for start, _ in spans], np.maximum(starts, ends - 1), side="right") - 1
        dropped = np.setdiff1d(np.arange(len(spans)), words)  # control characters, private glyphs
        if len(dropped):
            at = np.searchsorted(words, dropped)
            ids = np.insert(ids, at, self._unknown)
            starts = np.insert(starts, at, [spans[word][0] for word in dropped])
            ends = np.insert(ends, at, [spans[word][1] for word in dropped])
            words = np.insert(words, at, dropped)
        return _Reading(ids, starts, ends, words, spans, head, tail)

    def _windows(self, reading: _Reading, task: str, most_words: int) -> list[slice]:
        """The pieces of each window: whole words, unless one word alone is longer than a window."""
        most = min(self._window_pieces, self._longest[task] - len(reading.head) - len(reading.tail))
        first_pieces = np.searchsorted(reading.words, np.arange(len(reading.spans) + 1)).tolist()
        windows, begin, words = [], 0, 0
        for first, end in pairwise(first_pieces):
            if first > begin and (words == most_words or end - begin > most):
                windows.append(slice(begin, first))
                begin, words = first, 0
            while end - begin > most:
                windows.append(slice(begin, begin + most))
                begin += most
            words += 1
        return [*windows, slice(begin, len(reading.ids))]

    # -- encoding -----------------------------------------------------------------------------------------------------

    def _forward(self, sequences: list[list[int]], task: str) -> list[tuple[np.ndarray, np.ndarray]]:
        """Of each sequence of n ids: (n, d) float32 unit vectors, and (n,) bool, whether the checkpoint scores it.

        Sequences of like length go together, so that little is padded; what is padded is masked.
        """
        out: list[Any] = [None] * len(sequences)
        order = sorted(range(len(sequences)), key=lambda i: -len(sequences[i]))
        while order:
            longest = len(sequences[order[0]])
            count = max(1, _BATCH_PIECES // longest)
            batch, order = order[:count], order[count:]
            ids = torch.full((len(batch), longest), self._padding)
            mask = torch.zeros_like(ids)
            for row, i in enumerate(batch):
                ids[row, : len(sequences[i])] = torch.tensor(sequences[i])
                mask[row, : len(sequences[i])] = 1
            vectors, scored = self._call({"input_ids": ids, "attention_mask": mask, "modality": "text"}, task)
            for row, i in enumerate(batch):
                out[i] = vectors[row, : len(sequences[i])], scored[row, : len(sequences[i])]
        return out

    def _call(self, features: dict[str, Any], task: str) -> tuple[np.ndarray, np.ndarray]:
        device = self._model.device
        features = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in features.items()}
        with torch.inference_mode():
            features = self._model(features, task=task)
        return _torch.to_numpy(features["token_embeddings"]), features["attention_mask"].bool().cpu().numpy()

    def _embedding(self, page: Page, reading: _Reading, parts: list[tuple[slice, np.ndarray, np.ndarray]]) -> PageEmbedding:
        """parts: of each window its pieces, and what `_forward` made of them and their frame."""
        places = _boxes(page, reading) if page.plain is None else np.stack([reading.starts, reading.ends], axis=1)
        vectors, where = [], []
        for cut, encoded, scored in parts:
            place = np.full((len(encoded), places.shape[1]), np.nan, np.float32)
            content = slice(len(reading.head), len(reading.head) + cut.stop - cut.start)
            place[content] = places[cut]
            kept = scored.copy()
            if self._token_by_token:
                kept[: content.start] = kept[content.stop :] = False
            vectors.append(encoded[kept])
            where.append(place[kept])
        return PageEmbedding(
            page.ref,
            page.size_pt,
            np.concatenate(vectors),
            np.concatenate(where),
            page.text,
            _base.word_boxes(page),
            page.metadata,
        )

    def _plain(self, text: str) -> QueryEmbedding:
        reading = self._read(text, "query")
        cuts = self._windows(reading, "query", len(reading.spans))
        labels = [text[start:end].strip() for start, end in zip(reading.starts, reading.ends, strict=True)]
        head, tail = self._labels(reading.head), self._labels(reading.tail)
        vectors, tokens, content = [], [], []
        for cut, (encoded, scored) in zip(cuts, self._forward([_framed(reading, c) for c in cuts], "query"), strict=True):
            named = np.repeat([False, True, False], [len(head), cut.stop - cut.start, len(tail)])
            kept = scored & named if self._token_by_token else scored
            vectors.append(encoded[kept])
            tokens += [label for label, keep in zip([*head, *labels[cut], *tail], kept, strict=True) if keep]
            content.append(named[kept])
        return QueryEmbedding(text, np.concatenate(vectors), tuple(tokens), np.concatenate(content))

    def _expanded(self, text: str) -> QueryEmbedding:
        reading = self._read(text, "query")
        features = self._model.preprocess([text], prompt=self._prompts["query"] or None, task="query")
        ids = features["input_ids"][0].tolist()
        room = len(ids) - len(reading.head) - len(reading.tail)
        if len(reading.ids) > room:
            _base.logger.warning(
                "%s reads the first %d of the %d word pieces of this question", self.spec.name, room, len(reading.ids)
            )
        (vectors,), (scored,) = self._call(features, "query")
        pieces = [text[start:end].strip() for start, end in zip(reading.starts, reading.ends, strict=True)][:room]
        begin, end = len(reading.head), len(reading.head) + len(pieces)
        tokens = [*self._labels(ids[:begin]), *pieces, *self._labels(ids[end:])]
        named = np.zeros(len(ids), bool)
        named[begin:end] = True
        kept = tuple(token for token, keep in zip(tokens, scored, strict=True) if keep)
        return QueryEmbedding(text, vectors[scored], kept, named[scored])

    def _labels(self, ids: list[int]) -> list[str]:
        return [self._tokenizer.id_to_token(i) or "" for i in ids]


def load(spec: ModelSpec, *, dtype: str, device: str, threads: int | None) -> ColbertEncoder:
    """The encoder. WeightsError where a part of the model is not in the checkpoint's files."""
    chosen = _base.options(spec, _OPTIONS)
    folder = _base.weights_folder(spec)
    where, kind = _torch.place(device, dtype)
    with _torch.quiet():
        from sentence_transformers import MultiVectorEncoder
        from sentence_transformers.base.modules import Normalize, Transformer

        if chosen["token_by_token"]:
            # by hand: given the folder, MultiVectorEncoder adds a random projection to 128 dimensions
            modules = [Transformer(str(folder)), Normalize(module_input_name="token_embeddings")]
            model = MultiVectorEncoder(modules=modules, device=str(where))
        else:
            model = MultiVectorEncoder(str(folder), device=str(where), local_files_only=True)
        _check_weights(model, folder, spec)
        model.to(kind)
    model.eval()
    return ColbertEncoder(spec, model, chosen=chosen, threads=threads or torch.get_num_threads())


def _check_weights(model: Any, folder: Path, spec: ModelSpec) -> None:
    """Every tensor of the model must come from the folder's files: the libraries fill what is missing at random."""
    from safetensors import safe_open

    files = [safe_open(file, framework="pt") for file in sorted(folder.rglob("*.safetensors"))]
    by_name: dict[str, list[Any]] = {}
    for file in files:
        for name in file.keys():  # noqa: SIM118 (not a mapping)
            by_name.setdefault(".".join(name.split(".")[-2:]), []).append((file, name))
    missing = []
    for module in model:
        for key, value in module.state_dict().items():
            name = key.removeprefix("model.")
            if name.startswith("pooler."):  # unused: vectors are taken before it
                continue
            candidates = by_name.get(".".join(name.split(".")[-2:]), [])
            if not any(
                f".{stored}".endswith(f".{name}") and torch.equal(file.get_tensor(stored).to(value), value)
                for file, stored in candidates
            ):
                missing.append(name)
    if missing:
        raise WeightsError(
            f"{folder}: not all of {spec.name} is in the weights; missing or different: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''} ({len(missing)} tensors)"
        )
    dim = model.get_embedding_dimension()
    if dim != spec.dim:
        raise WeightsError(f"{folder}: its vectors have {dim} dimensions, the entry {spec.name} says {spec.dim}")


def _framed(reading: _Reading, cut: slice) -> list[int]:
    return [*reading.head, *reading.ids[cut].tolist(), *reading.tail]


def _boxes(page: Page, reading: _Reading) -> np.ndarray:
    """(n, 4): of each piece the box of its word, or of the part of a hyphenated word it begins in."""
    parts = [(word, match.start()) for word in page.words or () for match in re.finditer(r"\S+", word.text)]
    out = []
    for word_number, start in zip(reading.words.tolist(), reading.starts.tolist(), strict=True):
        word, offset = parts[word_number]
        out.append(word.box_at(max(0, start - reading.spans[word_number][0]) + offset))
    return np.array(out, np.float32)
