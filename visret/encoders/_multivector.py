"""A ColBERT checkpoint in sentence-transformers' MultiVectorEncoder, which knows every format and its conventions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer

from visret.encoders import _onnx, _torch
from visret.encoders._conventions import Conventions, Questions, Scored, Stored, StoredNetwork, StoredProjection
from visret.encoders._layout import Layout
from visret.encoders._numpy import ACTIVATIONS
from visret.encoders._stored import check_weights
from visret.errors import WeightsError

SAME = 1e-4  # by which a value of a unit vector may differ between NumPy and torch, both in float32

_ACTIVATIONS = {"Identity": None, "GELU": "gelu", "ReLU": "relu", "SiLU": "silu", "Tanh": "tanh"}  # of a projection
_TOKENS = "token_embeddings"  # the name under which sentence-transformers passes on one vector for each token


class MultiVector:
    """A checkpoint in a folder: Stanford's, PyLate's or sentence-transformers' own.

    describe: whether to find out its `conventions`, which are None otherwise. unit: whether rows are made unit rows.
    """

    def __init__(
        self, folder: Path, *, device: torch.device, dtype: torch.dtype, onnx: bool, describe: bool, unit: bool = True
    ) -> None:
        with _torch.quiet():
            from sentence_transformers import MultiVectorEncoder

            self._model = MultiVectorEncoder(str(folder), device=str(device), local_files_only=True)
            _check_modules(self._model, folder)
            stored = check_weights(self._model, folder)
            self._network: _onnx.Network | None = None
            self._model.eval()
            self._unit = True  # what NumPy computes is compared as unit rows
            transformer = self._model[0]
            self._padding = int(transformer.tokenizer.pad_token_id or 0)
            expansion = transformer.query_expansion or {}
            self._filler = _filler(transformer.tokenizer, expansion.get("token"))
            self._attends = bool(expansion.get("attend"))
            self.conventions = self._described(folder, stored) if describe else None
            self._unit = unit
            self._model.to(dtype)
            self._network = _onnx.network(_Vectors(self._model), folder) if onnx else None
        if onnx:
            self._model.to("meta")  # its weights are in the network

    def encode(self, sequences: list[list[int]], task: str, *, width: int) -> list[Scored]:
        """Encode each sequence, filled up to `width` ids, independently of the others."""
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
        vectors = _torch.to_numpy(features["token_embeddings"], unit=self._unit)
        return vectors, features["attention_mask"].bool().cpu().numpy()

    def _described(self, folder: Path, stored: Sequence[Mapping[str, Stored]]) -> Conventions:
        """Return what the library made of the checkpoint, with its network if NumPy computes the same vectors."""
        transformer = self._model[0]
        tokenizer = Tokenizer.from_str(transformer.tokenizer.backend_tokenizer.to_str())
        tokenizer.no_truncation()
        tokenizer.no_padding()
        expansion = transformer.query_expansion or {}
        fixed = expansion.get("length") if expansion.get("strategy") == "fixed" else None
        most = int(getattr(transformer.config.get_text_config(), "max_position_embeddings", None) or 512)
        conventions = Conventions(
            tokenizer=tokenizer.to_str(),
            unknown=transformer.tokenizer.unk_token_id,
            prompts={task: self._model.prompts.get(task) or "" for task in ("query", "document")},
            asked={"query": fixed or transformer.query_length, "document": transformer.document_length},
            usual=min(int(transformer.tokenizer.model_max_length), most),
            most=most,
            dim=int(self._model.get_embedding_dimension()),
            filler=self._filler,
            filled=int(expansion.get("length") or 0),
            fixed=bool(fixed),
            attends=self._attends,
            skipped=_skipped(self._model),
            network=_network(self._model, stored),
        )
        if conventions.network is not None:
            self._model.to(torch.float32)
            if not self._same(Questions(folder, conventions), conventions):
                return replace(conventions, network=None)
        return conventions

    def _same(self, questions: Questions, conventions: Conventions) -> bool:
        """Return whether NumPy computes torch's vectors for short and long sequences, filled up and not."""
        known = self._model[0].tokenizer.backend_tokenizer.get_vocab_size()
        longest = min(64, conventions.most)
        for length, width in ((1, 0), (3, 8), (9, 32), (longest, 0)):
            ids = [(17 + 7919 * i) % known for i in range(length)]
            (expected,), found = (
                self.encode([ids], "query", width=min(width, longest)),
                questions(ids, width=min(width, longest)),
            )
            same = np.array_equal(expected.counts, found.counts)
            if not same or not np.abs(expected.vectors - found.vectors).max() <= SAME:
                return False
        return True


class _Vectors(torch.nn.Module):  # type: ignore[misc]  # torch is not typed
    """A checkpoint that turns ids and mask into vectors, in the form that torch exports."""

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
    """Mask the rows that are not scored, the one step that `_Vectors` leaves out."""
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    for step in model:
        if isinstance(step, MultiVectorMask):
            features = step(features, task=task)
    return features


def _filler(tokenizer: Any, token: str | None) -> int:
    """Return the id that questions are filled up with: that of this token, or of [MASK], or of the next best."""
    if token is not None:
        return int(tokenizer.convert_tokens_to_ids(token))
    found = [i for i in (tokenizer.mask_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) if i is not None]
    return int(found[0]) if found else 0


def _network(model: Any, stored: Sequence[Mapping[str, Stored]]) -> StoredNetwork | None:
    """Return the checkpoint's network as its modules describe it; None if NumPy has no code for it."""
    encoder, projections = None, []
    for module, places in zip(model, stored, strict=True):
        kind = type(module).__name__
        if kind == "Transformer":
            config = module.model.config.to_dict()
            if type(module.model).__name__ != "BertModel" or config["hidden_act"] not in ACTIVATIONS:
                return None
            layout = Layout.of(config)
            if not set(layout.names()) <= set(places):
                return None
            encoder = layout, {name: places[name] for name in layout.names()}
        elif kind == "Dense":
            activation = type(module.activation_function).__name__
            if activation not in _ACTIVATIONS or {module.module_input_name, module.module_output_name} != {_TOKENS}:
                return None
            residual = places.get("residual.weight")
            projections.append(
                StoredProjection(
                    weight=places["linear.weight"],
                    bias=places.get("linear.bias"),
                    activation=_ACTIVATIONS[activation],
                    residual=residual,
                    adds_input=bool(getattr(module, "use_residual", False)) and residual is None,
                )
            )
        elif kind not in ("Normalize", "MultiVectorMask"):  # rows are made unit in the end, and scored by `_skipped`
            return None
    return None if encoder is None else StoredNetwork(*encoder, projections)


def _skipped(model: Any) -> list[int]:
    """Return the ids that are not scored in a question."""
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

    return [
        int(number)
        for step in model
        if isinstance(step, MultiVectorMask) and "query" in step.skiplist_tasks and step._skiplist_ids is not None
        for number in step._skiplist_ids
    ]


def _check_modules(model: Any, folder: Path) -> None:
    from sentence_transformers.multi_vector_encoder.modules.token_pooling import BaseTokenPooling

    if any(isinstance(step, BaseTokenPooling) for step in model):
        raise WeightsError(
            f"{folder}: it pools its vectors, which then stand for no word; remove its pooling from modules.json, "
            "and let the index pool"
        )
