"""The old place of `visret.evaluate.ndcg`, `recall` and `reciprocal_rank`; it goes with the next version."""

import warnings
from typing import Any

from visret.evaluate import lists as _moved


def __getattr__(name: str) -> Any:
    found = getattr(_moved, name)
    warnings.warn(f"visret.metrics.{name} has moved: import it from visret.evaluate", DeprecationWarning, stacklevel=2)
    return found
