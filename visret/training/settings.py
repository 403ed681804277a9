"""The settings of a run of `visret train`."""

from __future__ import annotations

from dataclasses import dataclass

from visret.errors import InvalidArgument

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """The settings that decide a run, besides the index.

    steps: of the optimiser. batch: questions of a step. negatives: hard negatives of a question. rank: of the changes.
    rate: of learning, at its highest. pairs: the most questions. seed: of all that is drawn. teacher: a model, or None.
    written: the most questions that a language model is asked for, where one is given.
    """

    steps: int = 300
    batch: int = 16
    negatives: int = 4
    rank: int = 16
    rate: float = 1e-4
    pairs: int = 20_000
    seed: int = 0
    teacher: str | None = None
    written: int = 500

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "negatives", "rank", "pairs", "written"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.rate < 1:
            raise InvalidArgument(f"rate must be between 0 and 1, such as 1e-4, got {self.rate}")
