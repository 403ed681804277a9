"""A ColBERT checkpoint as questions need it: what its own library does around the network, and where its weights lie.

sentence-transformers knows every format of such checkpoints, but takes seconds to load. What it makes of one is noted
the first time (`Conventions`), and kept in the cache folder under the checkpoint's sha256 and the library's version. A
question is then encoded in NumPy from the checkpoint's own files. The note holds the network only if that is a BERT
whose float32 vectors came out the same in NumPy and in torch; other checkpoints encode questions with torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from visret import forks
from visret.encoders import _base
from visret.encoders._conventions import Conventions, Questions, Scored, Stored, StoredNetwork, StoredProjection
from visret.encoders._layout import Layout
from visret.errors import InvalidModelSpec
from visret.folders import cache_folder, unwritable
from visret.models.weights import folder_sha256

_FORMAT = 1  # of the notes; another number makes them again
_LIBRARIES = ("sentence-transformers", "transformers", "tokenizers")


class Checkpoint:
    """A checkpoint in a folder: Stanford's, PyLate's or sentence-transformers' own. It loads torch for pages.

    tokenizer, unknown, prompts, dim: as in `Conventions`. longest: the most ids of a sequence for each task, as
    `lengths` says, or else the checkpoint. cuts_questions: whether a question has one window only. filling: the token
    that questions are filled up with.

    unit: whether rows are made unit rows. Otherwise torch computes questions too, as the checkpoint says.
    """

    cuts_questions = True

    def __init__(
        self, folder: Path, *, place: _base.Place, lengths: Mapping[str, int | None], onnx: bool, unit: bool = True
    ) -> None:
        self._folder = folder
        self._place = place
        self._onnx = onnx
        self._unit = unit
        self._loading = forks.Lock()
        self._loaded: Any = None
        known = _noted(folder)
        if known is None:
            known = self._model(describe=True).conventions
            _note(folder, known)
        elif onnx:
            self._model()  # exports the network now
        for task, length in lengths.items():
            if length is not None and length > known.most:
                raise InvalidModelSpec(
                    f"{folder}: it reads at most {known.most} ids, not the {length} asked for a {task}"
                )
        self.tokenizer = Tokenizer.from_str(known.tokenizer)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.unknown = known.unknown
        self.prompts = known.prompts
        self.longest = {
            task: min(lengths[task] or length or known.usual, known.most) for task, length in known.asked.items()
        }
        self.dim = known.dim
        self.filling = self.tokenizer.id_to_token(known.filler) or ""
        self._width = self.longest["query"] if known.fixed else min(known.filled, self.longest["query"])
        self._questions = None if known.network is None or onnx or not unit else Questions(folder, known)

    def encode(self, sequences: list[list[int]], task: str) -> list[Scored]:
        """Encode each sequence independently of the others; a question is filled up first."""
        if task == "document":
            return list(self._model().encode(sequences, task, width=0))
        if self._questions is not None:
            return [self._questions(ids, width=self._width) for ids in sequences]
        from visret.encoders import _torch

        with _torch.on_one_thread():
            return list(self._model().encode(sequences, task, width=self._width))

    def _model(self, *, describe: bool = False) -> Any:
        with self._loading:
            if self._loaded is None:
                from visret.encoders._multivector import MultiVector

                device, dtype = self._place.found
                self._loaded = MultiVector(
                    self._folder, device=device, dtype=dtype, onnx=self._onnx, describe=describe, unit=self._unit
                )
            return self._loaded


# ---- notes --------------------------------------------------------------------------------------------------------


def _noted(folder: Path) -> Conventions | None:
    """Read the note about the checkpoint in a folder; None if there is none, or it cannot be read."""
    try:
        found = json.loads(_file(folder).read_text("utf-8"))
        network = found["network"]
        if network is not None:
            network = StoredNetwork(
                Layout(**network["layout"]),
                {name: _stored(one) for name, one in network["tensors"].items()},
                [StoredProjection(**{**one, **_stored_of(one)}) for one in network["projections"]],
            )
        return Conventions(**{**found, "network": network})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _stored(pair: Any) -> Stored:
    file, name = pair
    return str(file), str(name)


def _stored_of(projection: Mapping[str, Any]) -> dict[str, Stored | None]:
    """Return the tensors of a projection, which JSON has as lists."""
    return {key: projection[key] and _stored(projection[key]) for key in ("weight", "bias", "residual")}


def _note(folder: Path, conventions: Conventions) -> None:
    """Keep the conventions of a checkpoint. If they cannot be written, they are found out again each time."""
    file = _file(folder)
    with contextlib.suppress(OSError):
        if unwritable(file.parent):
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}-{uuid.uuid4().hex}")
        try:
            draft.write_text(json.dumps(asdict(conventions)), "utf-8")
            draft.replace(file)
        finally:
            draft.unlink(missing_ok=True)


def _file(folder: Path) -> Path:
    versions = "-".join(version(library) for library in _LIBRARIES)
    return cache_folder() / "questions" / f"{folder_sha256(folder)}-{versions}-{_FORMAT}.json"
