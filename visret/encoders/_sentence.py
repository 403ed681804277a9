"""The token states of a sentence model of any architecture that sentence-transformers knows.

BERT and its kin are computed by `_bert` and `_numpy` instead: importing these libraries takes seconds.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from visret.encoders import _torch
from visret.encoders._stored import check_weights

_UNBOUNDED = 1 << 20  # ids, if neither the network nor the tokenizer names a limit


class Sentence:
    """The network of a sentence-transformers folder, up to its pooling.

    dim: the dimensions of its vectors. longest: the largest number of ids in a sequence. Raises WeightsError for a
    tensor that is not in the folder's files.
    """

    def __init__(self, folder: Path, *, device: torch.device, dtype: torch.dtype) -> None:
        with _torch.quiet():
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(str(folder), device=str(device), local_files_only=True)
            check_weights([model[0]], folder)
            self._network = model[0].eval().to(dtype)
        self._device = device
        self._padding = int(self._network.tokenizer.pad_token_id or 0)
        self.dim = int(self._network.get_embedding_dimension())
        positions = getattr(self._network.auto_model.config, "max_position_embeddings", None)
        self.longest = int(positions or min(self._network.tokenizer.model_max_length, _UNBOUNDED))

    def __call__(self, sequences: list[list[int]]) -> list[Tensor]:
        """Return the last layer's vectors of each sequence of n ids: (n, dim), not normalised."""
        ids = torch.full((len(sequences), max(map(len, sequences))), self._padding)
        mask = torch.zeros_like(ids)
        for row, sequence in enumerate(sequences):
            ids[row, : len(sequence)], mask[row, : len(sequence)] = torch.tensor(sequence), 1
        with torch.inference_mode():
            vectors = self.padded(ids.to(self._device), mask.to(self._device))
        return [row[: len(sequence)] for row, sequence in zip(vectors, sequences, strict=True)]

    def padded(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Return the vectors of a batch padded at its end, (b, n, dim). ids, mask: (b, n), mask 0 for padding."""
        made: Tensor = self._network({"input_ids": ids, "attention_mask": mask, "modality": "text"})["token_embeddings"]
        return made
