"""The record of the model that makes an index, and the check whether another encoder may search it."""

from __future__ import annotations

from pathlib import Path

from visret.errors import ModelMismatch
from visret.index.catalogue import IndexModel
from visret.types import Encoder, ModelSpec


def record(encoder: Encoder) -> IndexModel:
    """Return what an index keeps of the model that makes it."""
    spec: ModelSpec = encoder.spec
    return IndexModel(
        name=spec.name,
        identity=spec.revision,
        dim=spec.dim,
        modality=spec.modality,
        preprocessing=dict(encoder.preprocessing),
    )


def check_same(path: Path, here: IndexModel, encoder: Encoder) -> None:
    """Refuse an encoder whose vectors would not meet those of the index."""
    there = record(encoder)
    for what in ("name", "identity", "dim", "modality"):
        if getattr(here, what) != getattr(there, what):
            wanted, given = (f"{model.name} ({what} {getattr(model, what)})" for model in (here, there))
            raise ModelMismatch(
                path,
                f"was made with {wanted}, not {given}; use that model, or index the documents again: visret reindex",
            )
    for key in sorted({*here.preprocessing, *there.preprocessing}):
        before, now = here.preprocessing.get(key), there.preprocessing.get(key)
        if before != now:
            hint = f"load it with dtype={before!r}, or " if key == "dtype" and before else ""
            raise ModelMismatch(
                path,
                f"was made with {key} = {before!r}, this {here.name} has {now!r}; "
                f"{hint}index the documents again: visret reindex",
            )
