"""A ColBERT checkpoint in sentence-transformers' MultiVectorEncoder, which knows every format and its conventions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from tokenizers import Tokenizer

from visret.encoders import _onnx, _torch
from visret.errors import InvalidModelSpec, WeightsError


class Scored(NamedTuple):
    """A sequence of n ids as vectors. vectors: (n, d) float32 unit rows. counts: (n,) bool, whether a row is scored."""

    vectors: np.ndarray
    counts: np.ndarray


class MultiVector:
    """The checkpoint in a folder: Stanford's, PyLate's or sentence-transformers' own.

    tokenizer: neither truncates nor pads. unknown: the id of what it does not know, None where there is none. prompts,
    longest: by task, "query" and "document"; longest is the most ids of a sequence: what `lengths` says, or else the
    checkpoint. cuts_questions: whether a question has one window only. filling: the name of what questions are filled
    up with. dim, dtype: of the vectors, of the computation.
    """

    cuts_questions = True

    def __init__(
        self, folder: Path, *, device: torch.device, dtype: torch.dtype, lengths: Mapping[str, int | None], onnx: bool
    ) -> None:
        with _torch.quiet():
            from sentence_transformers import MultiVectorEncoder

            self._model = MultiVectorEncoder(str(folder), device=str(device), local_files_only=True)
            _check_modules(self._model, folder)
            _check_weights(self._model, folder)
            self._model.to(dtype).eval()
            self._network = _onnx.network(_Vectors(self._model), folder) if onnx else None
        if onnx:
            self._model.to("meta")  # its weights are in the network
        transformer = self._model[0]
        self.tokenizer = Tokenizer.from_str(transformer.tokenizer.backend_tokenizer.to_str())
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.unknown: int | None = transformer.tokenizer.unk_token_id
        self.prompts = {task: self._model.prompts.get(task) or "" for task in ("query", "document")}
        expansion = transformer.query_expansion or {}
        fixed = expansion.get("length") if expansion.get("strategy") == "fixed" else None
        most = int(getattr(transformer.config, "max_position_embeddings", None) or 512)
        usual = min(int(transformer.tokenizer.model_max_length), most)
        for task, length in lengths.items():
            if length is not None and length > most:
                raise InvalidModelSpec(f"{folder}: it reads at most {most} ids, not the {length} asked for a {task}")
        asked = {"query": fixed or transformer.query_length, "document": transformer.document_length}
        self.longest = {task: min(lengths[task] or length or usual, most) for task, length in asked.items()}
        self.dim = int(self._model.get_embedding_dimension())
        self.dtype = dtype
        self._padding = int(transformer.tokenizer.pad_token_id or 0)
        # what questions are filled up with, to how many ids, and whether their own words see it
        self._width = self.longest["query"] if fixed else min(expansion.get("length", 0), self.longest["query"])
        self._filler = _filler(transformer.tokenizer, expansion.get("token"))
        self._attends = bool(expansion.get("attend"))
        self.filling = self.tokenizer.id_to_token(self._filler) or ""

    def encode(self, sequences: list[list[int]], task: str) -> list[Scored]:
        """Of each sequence, with the filling of a question behind it; one does not depend on the others."""
        width = self._width if task == "query" else 0
        filled = [max(len(sequence), width) for sequence in sequences]
        ids = torch.full((len(sequences), max(filled)), self._padding)
        mask, expansion = torch.zeros_like(ids), torch.zeros(ids.shape, dtype=torch.bool)
        for row, sequence in enumerate(sequences):
            own, filling = slice(0, len(sequence)), slice(len(sequence), filled[row])
            ids[row, own], mask[row, own] = torch.tensor(sequence), 1
            ids[row, filling], mask[row, filling], expansion[row, filling] = self._filler, self._attends, True
        features = {"input_ids": ids, "attention_mask": mask, "query_expansion_positions": expansion}
        vectors, counts = self._call({**features, "modality": "text"}, task)
        return [Scored(vectors[row, :length], counts[row, :length]) for row, length in enumerate(filled)]

    def _call(self, features: dict[str, Any], task: str) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            if self._network:
                features["token_embeddings"] = self._network(features["input_ids"], features["attention_mask"])
                features = _masked(self._model, features, task)
            else:
                device = self._model.device
                on_device = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
                features = self._model(on_device, task=task)
        return _torch.to_numpy(features["token_embeddings"]), features["attention_mask"].bool().cpu().numpy()


class _Vectors(torch.nn.Module):  # type: ignore[misc]  # torch is not typed
    """A checkpoint from ids and mask to vectors, to export."""

    def __init__(self, model: Any) -> None:
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        super().__init__()
        self.steps = torch.nn.ModuleList(step for step in model if not isinstance(step, MultiVectorMask))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        features: dict[str, Any] = {"input_ids": ids, "attention_mask": mask, "modality": "text"}
        for step in self.steps:
            features = step(features)
        return features["token_embeddings"]


def _masked(model: Any, features: dict[str, Any], task: str) -> dict[str, Any]:
    """The features without the rows that are not scored: the one step that `_Vectors` leaves out."""
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    for step in model:
        if isinstance(step, MultiVectorMask):
            features = step(features, task=task)
    return features


def _filler(tokenizer: Any, token: str | None) -> int:
    """The id that questions are filled up with: of this token, or of [MASK], or of what the tokenizer has instead."""
    if token is not None:
        return int(tokenizer.convert_tokens_to_ids(token))
    found = [i for i in (tokenizer.mask_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) if i is not None]
    return int(found[0]) if found else 0


def _check_modules(model: Any, folder: Path) -> None:
    from sentence_transformers.multi_vector_encoder.modules.token_pooling import BaseTokenPooling

    if any(isinstance(step, BaseTokenPooling) for step in model):
        raise WeightsError(
            f"{folder}: it pools its vectors, which then stand for no word; remove its pooling from modules.json, "
            "and let the index pool"
        )


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
