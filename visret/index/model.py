"""The record of the model that makes an index, and the check whether another encoder may search it."""

from __future__ import annotations

from pathlib import Path

from visret.errors import InvalidModelSpec, ModelMismatch
from visret.index.catalogue import IndexModel
from visret.types import Encoder, ModelSpec


def record(encoder: Encoder) -> IndexModel:
    """Return what an index keeps of the model that makes it."""
    spec: ModelSpec = encoder.spec
    if spec.questions_for:
        raise InvalidModelSpec(
            f"{spec.name} encodes questions only: make the index with {spec.questions_for}, and open it with "
            f"question_model={spec.name!r}"
        )
    return IndexModel(
        name=spec.name,
        identity=spec.revision,
        dim=spec.dim,
        modality=spec.modality,
        preprocessing=dict(encoder.preprocessing),
    )


def check_questions(path: Path, here: IndexModel, encoder: Encoder) -> None:
    """Refuse a model whose questions cannot be compared with the pages of the index.

    If it does not say for which model it is, only its dimensions can tell.
    """
    spec: ModelSpec = encoder.spec
    if spec.questions_for and spec.questions_for != here.name:
        raise ModelMismatch(
            path, f"was made with {here.name}, and {spec.name} encodes questions for {spec.questions_for}"
        )
    if spec.dim != here.dim:
        raise ModelMismatch(
            path, f"has vectors of {here.dim} dimensions ({here.name}), and {spec.name} encodes questions in {spec.dim}"
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
