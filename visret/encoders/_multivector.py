"""A ColBERT checkpoint in sentence-transformers' MultiVectorEncoder, which knows every format and its conventions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer

from visret.encoders import _torch
from visret.errors import WeightsError


class Scored(NamedTuple):
    """A sequence of n ids as vectors. vectors: (n, d) float32 unit rows. counts: (n,) bool, whether a row is scored."""

    vectors: np.ndarray
    counts: np.ndarray


class MultiVector:
    """The checkpoint in a folder: Stanford's, PyLate's or sentence-transformers' own.

    tokenizer: neither truncates nor pads. unknown: the id of what it does not know. prompts, longest: by task, "query"
    and "document"; longest is the most ids of a sequence. expands: whether questions are filled up to a fixed length.
    dim, dtype: of the vectors, of the computation.
    """

    def __init__(self, folder: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        with _torch.quiet():
            from sentence_transformers import MultiVectorEncoder

            self._model = MultiVectorEncoder(str(folder), device=str(device), local_files_only=True)
            _check_weights(self._model, folder)
            self._model.to(dtype).eval()
        transformer = self._model[0]
        self.tokenizer = Tokenizer.from_str(transformer.tokenizer.backend_tokenizer.to_str())
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.unknown = int(transformer.tokenizer.unk_token_id or 0)
        self.prompts = {task: self._model.prompts.get(task) or "" for task in ("query", "document")}
        most = int(getattr(transformer.config, "max_position_embeddings", None) or 512)
        asked = {"query": transformer.query_length, "document": transformer.document_length}
        self.longest = {task: min(length or most, most) for task, length in asked.items()}
        self.expands = transformer.query_expansion is not None
        self.dim = int(self._model.get_embedding_dimension())
        self.dtype = dtype
        self._padding = int(transformer.tokenizer.pad_token_id or 0)

    def encode(self, sequences: list[list[int]], task: str) -> list[Scored]:
        """Of each sequence; one does not depend on the others."""
        longest = max(map(len, sequences))
        ids = torch.full((len(sequences), longest), self._padding)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)] = torch.tensor(sequence)
            mask[row, : len(sequence)] = 1
        vectors, counts = self._call({"input_ids": ids, "attention_mask": mask, "modality": "text"}, task)
        return [Scored(vectors[row, : len(ids)], counts[row, : len(ids)]) for row, ids in enumerate(sequences)]

    def expanded(self, text: str) -> tuple[list[int], Scored]:
        """A question with its expansion: all ids, and their vectors."""
        features = self._model.preprocess([text], prompt=self.prompts["query"] or None, task="query")
        ids = features["input_ids"][0].tolist()
        (vectors,), (counts,) = self._call(features, "query")
        return ids, Scored(vectors, counts)

    def _call(self, features: dict[str, Any], task: str) -> tuple[np.ndarray, np.ndarray]:
        device = self._model.device
        features = {
            key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in features.items()
        }
        with torch.inference_mode():
            features = self._model(features, task=task)
        return _torch.to_numpy(features["token_embeddings"]), features["attention_mask"].bool().cpu().numpy()


def _check_weights(model: Any, folder: Path) -> None:
    """Every tensor of the model must come from the folder's files: the library fills what is missing at random."""
    from safetensors import safe_open

    stored: dict[str, list[tuple[Any, str]]] = {}
    for path in sorted(folder.rglob("*.safetensors")):
        file = safe_open(path, framework="pt")
        for name in file.keys():  # type: ignore[no-untyped-call] # noqa: SIM118 (not a mapping)
            stored.setdefault(_ending(name), []).append((file, name))
    missing = []
    for module in model:
        for key, value in module.state_dict().items():
            name = key.removeprefix("model.")
            if name.startswith("pooler."):  # not used: vectors are taken before it
                continue
            if not any(
                f".{stored_name}".endswith(f".{name}") and torch.equal(file.get_tensor(stored_name).to(value), value)
                for file, stored_name in stored.get(_ending(name), [])
            ):
                missing.append(name)
    if missing:
        raise WeightsError(
            f"{folder}: not in the checkpoint's weights: {', '.join(missing[:3])} ({len(missing)} tensors)"
        )


def _ending(name: str) -> str:
    return ".".join(name.split(".")[-2:])
