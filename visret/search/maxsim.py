"""The Scorer "maxsim": late interaction without a correction for the length of pages, as papers define it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from visret.index import Snapshot
from visret.search.late_interaction import LateInteraction
from visret.types import Scorer


class MaxSim(LateInteraction):
    """The scorer "maxsim" of one committed state; a score is the sum of the best matches."""

    name = "maxsim"
    slope = 0.0


def opened(snapshot: Snapshot, *, device: str | None, before: Scorer | None) -> MaxSim:
    """Open the scorer of a committed state, as `scorers.Scorers` does."""
    return MaxSim(snapshot, device=device, before=before if isinstance(before, MaxSim) else None)


if TYPE_CHECKING:  # holds the class to the protocol
    _SCORER: type[Scorer] = MaxSim
