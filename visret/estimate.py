"""The old place of `visret.ingest.estimate`; it goes with the next version."""

import warnings
from typing import Any

from visret.ingest import estimate as _moved


def __getattr__(name: str) -> Any:
    found = getattr(_moved, name)
    warnings.warn(
        f"visret.estimate.{name} has moved: import it from visret.ingest.estimate", DeprecationWarning, stacklevel=2
    )
    return found
