"""Sentence models of BERT's kin in a pack: one file with 8-bit integers (`_pack`) or 4-bit ones (`_blocks`).

The single vector of a text is that of its first token, or the mean of all, as the pack says.

A page has a vector for each window: windows are those that a sentence model is read in token by token, 150 words and
400 pieces without overlap. A question has one vector; one that is longer than a window has the mean of its windows.
NumPy computes questions, in float32 whatever the dtype of the pages, so that a search loads no torch.

Options:

- beside_late (false): an index to which the model was added ranks by "late+dense" where no way of ranking is asked for
  (`search.plans`). It is for models whose cosines, beside those of the default model, were measured to find more.
- eight_bit (false): the dtype "auto" may be int8, on a CPU that is fastest at it.
- leads (false): questions of which the model of the index knows little are ranked by this model and BM25
  (`search.leading`). It is for models that read many languages.
"""

from __future__ import annotations

import contextlib
from collections import ChainMap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from visret.embedders import _blocks
from visret.embedders._base import PageEmbedder, normalised
from visret.embedders._pack import Pack, PackFile
from visret.encoders import _base, _numpy
from visret.encoders._layout import TABLES
from visret.encoders._reading import SENTENCE_WINDOW, Reading, in_batches, read, uncut, windows
from visret.errors import WeightsError
from visret.models import fetch, weights
from visret.types import ModelSpec, Page

if TYPE_CHECKING:
    import torch

    from visret.encoders._bert import Bert

_OPTIONS: Mapping[str, Any] = {"beside_late": False, "eight_bit": False, "leads": False}
_POOLINGS = ("cls", "mean")
_PREFIXES = {"query": "query_prefix", "document": "passage_prefix"}


class PackedEmbedder(PageEmbedder):
    """A model in a pack; the module's docstring describes it."""

    def __init__(self, spec: ModelSpec, pack: PackFile, *, place: _base.Place, says: Mapping[str, bool]) -> None:
        self._pack = pack
        self._place = place
        self._loaded: Bert | None = None
        self._questions = _numpy.Bert(
            pack.layout,
            cast(Mapping[str, np.ndarray], ChainMap({TABLES[0]: _Words(pack)}, pack)),  # type: ignore[arg-type]
        )
        self._tokenizer = uncut(pack.tokenizer)
        self._mean = pack.meta["pooling"] == "mean"
        self._prompts = {task: str(pack.meta.get(key, "")) for task, key in _PREFIXES.items()}
        made = {
            "similarity": "cosine",
            **SENTENCE_WINDOW,
            "prompts": self._prompts,
            "dtype": place.dtype,
        }
        super().__init__(spec, made | {name: True for name, holds in says.items() if holds})

    def _pages(self, pages: Sequence[Page]) -> list[np.ndarray]:
        import torch

        from visret.encoders import _torch

        readings = [self._read(page.text, "document") for page in pages]
        cuts = [self._windows(reading) for reading in readings]
        sequences = [reading.framed(cut) for reading, mine in zip(readings, cuts, strict=True) for cut in mine]
        bert = self._bert()

        def encode(batch: list[list[int]]) -> list[np.ndarray]:
            if self._mean:
                return [_torch.to_numpy(vectors.mean(0, dtype=torch.float32)) for vectors in bert(batch)]
            return list(_torch.to_numpy(bert.first_tokens(batch)))

        rows = normalised(np.stack(in_batches(encode, sequences, self._place.threads(None))))
        ends = np.cumsum([len(mine) for mine in cuts])
        return np.split(rows, ends[:-1])

    def _queries(self, texts: list[str]) -> list[np.ndarray]:
        return [self._query(text) for text in texts]

    def _query(self, text: str) -> np.ndarray:
        reading = self._read(text, "query")
        made = [self._questions(reading.framed(cut)) for cut in self._windows(reading)]
        pooled = [tokens.mean(axis=1) if self._mean else tokens[:, 0] for tokens in made]
        return normalised(normalised(np.stack(pooled)).mean(axis=0, keepdims=True))

    def _read(self, text: str, task: str) -> Reading:
        return read(self._tokenizer, text, prompt=self._prompts[task], unknown=self._tokenizer.token_to_id("<unk>"))

    def _windows(self, reading: Reading) -> list[slice]:
        room = self._pack.layout.longest - len(reading.head) - len(reading.tail)
        most_pieces = min(SENTENCE_WINDOW["window_pieces"], room)
        return windows(reading, most_words=SENTENCE_WINDOW["window_words"], most_pieces=most_pieces)

    def _bert(self) -> Bert:
        """Return the network for pages, loaded with the first of them."""
        if self._loaded is None:
            import torch

            from visret.encoders._bert import Bert

            device, dtype = self._place.found
            stored: dict[str, torch.Tensor] = {
                name: torch.from_numpy(np.array(array)) for name, array in self._pack.items()
            }
            self._loaded = Bert(self._pack.layout, stored, device=device, dtype=dtype)
        return self._loaded


def load(spec: ModelSpec, *, dtype: str, device: str, batch: int | None) -> PackedEmbedder:  # noqa: ARG001 - see below
    """Load the model. batch makes no difference: batches are of as many tokens as the caches hold.

    Raises WeightsError for missing weights, a pack that is not complete, or one of another kind of model.
    """
    options = dict(_base.options(spec, _OPTIONS))
    eight_bit = options.pop("eight_bit")
    file = weights.file_in(spec, fetch.weights_folder(spec))
    pack = _opened(file)
    pooling = pack.meta.get("pooling")
    if pooling not in _POOLINGS:
        raise WeightsError(f"{file}: its pooling is {pooling!r}, expected {' or '.join(_POOLINGS)}")
    if pack.layout.dim != spec.dim:
        raise WeightsError(f"{spec.name}: its vectors have {pack.layout.dim} dimensions, but its entry says {spec.dim}")
    place = _base.Place(device, dtype, eight_bit=eight_bit)
    return PackedEmbedder(spec, pack, place=place, says=options)


class _Words:
    """The table of words of a pack, of which rows are computed as they are asked for by their ids, (n,)."""

    def __init__(self, pack: PackFile) -> None:
        self._pack = pack

    def __getitem__(self, ids: np.ndarray) -> np.ndarray:
        return self._pack.words(ids)


def _opened(file: Path) -> PackFile:
    """Open a pack of either kind."""
    begin = b""
    with contextlib.suppress(OSError), file.open("rb") as opened:
        begin = opened.read(len(_blocks.MAGIC))
    return _blocks.BlockPack(file) if begin == _blocks.MAGIC else Pack(file)
