"""The ways of ranking, by the names that a search gives; each is loaded and opened when it is first asked for."""

from __future__ import annotations

from importlib import import_module
from typing import cast

from visret.choices import SCORERS
from visret.errors import InvalidArgument
from visret.index import Snapshot
from visret.types import Scorer


class Scorers:
    """The scorers of one index, kept until there is another committed state. device: as in `Retriever.open`."""

    def __init__(self, device: str | None = None) -> None:
        self._device = device
        self._opened: dict[str, tuple[Snapshot, Scorer]] = {}

    def of(self, snapshot: Snapshot, name: str) -> Scorer:
        """Return the scorer of this name for a committed state. Raises InvalidArgument for an unknown name."""
        if name not in SCORERS:
            raise InvalidArgument(f"pages are ranked by {' or '.join(map(repr, SCORERS))}, not by {name!r}")
        if (of_store := getattr(snapshot, "scorer", None)) is not None:  # where an engine ranks the pages
            return cast(Scorer, of_store(name))
        state, scorer = self._opened.get(name, (None, None))
        if scorer is None or state is not snapshot:
            # It may take over what the scorer of an earlier state has read or computed.
            scorer = import_module(SCORERS[name]).opened(snapshot, device=self._device, before=scorer)
            self._opened[name] = snapshot, scorer
        return scorer

    def close(self) -> None:
        """Let go of all scorers, and of the files and the memory of a device that they hold."""
        self._opened.clear()
