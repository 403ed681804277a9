"""Cross-encoders that sentence-transformers loads as a `CrossEncoder`: one text model reads a question and a text.

The score of a pair is that of `CrossEncoder.predict`, with the activation that the checkpoint names: a probability, or
a logit without bounds. A page that is longer than the model reads at once is read in windows which overlap by an
eighth, and its score is that of its best window (MaxP, Dai and Callan, arXiv:1905.09217). The library would read the
beginning of such a page only.

A language model that answers "yes" or "no" is loaded if its folder says how (modules.json); sentence-transformers would
guess the prompt and the answer of others.

Options: longest, the most tokens of a question and a window (the checkpoint's own limit by default); windows, the most
windows of a page (all of them by default).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visret.encoders import _base, _torch
from visret.encoders._stored import check_weights
from visret.encoders._windows import windows
from visret.errors import InvalidArgument, InvalidModelSpec, WeightsError
from visret.models import fetch, weights
from visret.rerankers._base import PageReranker
from visret.types import ModelSpec, Page

_OPTIONS: Mapping[str, Any] = {"longest": None, "windows": None}
_BATCH = 32  # pages; that of sentence-transformers, for pairs
_MIN_ROOM = 32  # tokens of a page that must fit beside a question


class CrossEncoderReranker(PageReranker):
    """A cross-encoder; the module's docstring describes it."""

    def __init__(self, spec: ModelSpec, model: Any, *, batch: int, windows: int | None) -> None:
        super().__init__(spec, batch=batch)
        self._model = model
        self._windows = windows

    def _batch_scores(self, question: str, pages: Sequence[Page]) -> np.ndarray:
        room = self._room(question)
        parts = [self._parts(page.text, room) for page in pages]
        pairs = [(question, part) for page in parts for part in page]
        made = self._model.predict(pairs, batch_size=self.batch, show_progress_bar=False)
        starts = np.cumsum([0, *(len(page) for page in parts[:-1])])
        return np.asarray(np.maximum.reduceat(np.asarray(made, np.float32), starts))

    def _room(self, question: str) -> int:
        """Return how many tokens of a page fit beside a question. Raises InvalidArgument if they are too few."""
        longest = self._model.max_seq_length
        taken = int(self._model.preprocess([(question, "")])["attention_mask"].sum())
        if longest - taken < _MIN_ROOM:
            raise InvalidArgument(
                f"the question takes {taken} of the {longest} tokens that {self.spec.name} reads; ask a shorter one"
            )
        return int(longest - taken)

    def _parts(self, text: str, room: int) -> list[str]:
        """Return the windows of a text, each of at most `room` tokens."""
        return windows(text, self._model.tokenizer, room)[: self._windows]


def load(spec: ModelSpec, *, dtype: str, device: str, batch: int | None) -> CrossEncoderReranker:
    """Load the reranker. Raises WeightsError for missing weights, or a model that gives no single score."""
    options = _base.options(spec, _OPTIONS)
    folder = fetch.weights_folder(spec)
    where, kind = _base.Place(device, dtype).found
    _check_readable(spec, folder)
    with _torch.quiet(), weights.reading(folder, tokenizer=folder):
        from sentence_transformers import CrossEncoder

        model = CrossEncoder(
            str(folder),
            device=str(where),
            local_files_only=True,
            model_kwargs={"dtype": kind, "use_safetensors": True},
        )
        check_weights(list(model), folder)
    if model.num_labels != 1:
        raise WeightsError(f"{spec.name}: gives {model.num_labels} numbers for a pair; a reranker gives one score")
    model.to(kind)  # modules after the transformer too
    longest = options["longest"]
    if longest is not None:
        if longest > model.max_seq_length:
            raise InvalidModelSpec(
                f"{spec.name}, options, longest: it reads at most {model.max_seq_length} tokens, got {longest}"
            )
        model.max_seq_length = longest
    model.eval()
    return CrossEncoderReranker(weights.pinned(spec, folder), model, batch=batch or _BATCH, windows=options["windows"])


def _check_readable(spec: ModelSpec, folder: Path) -> None:
    """Raise WeightsError for a checkpoint that needs code of its repository, or that does not say how it answers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    config = weights.read_json(folder / "config.json")
    if config.get("auto_map") and config.get("model_type") not in CONFIG_MAPPING:
        raise WeightsError(f"{spec.name}: only code in its repository can run it, and visret does not run such code")
    writes = any(
        str(name).endswith(("ForCausalLM", "ForConditionalGeneration")) for name in config.get("architectures") or []
    )
    if writes and not (folder / "modules.json").is_file():
        raise WeightsError(
            f"{folder}: a language model whose folder has no modules.json, which would say with which prompt and which "
            "words it answers; get a revision of the repository that sentence-transformers can load"
        )
