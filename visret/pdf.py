"""The old place of `visret.documents`; it goes with the next version."""

import warnings
from typing import Any

from visret import documents as _moved


def __getattr__(name: str) -> Any:
    found = getattr(_moved, name)
    warnings.warn(f"visret.pdf.{name} has moved: import it from visret.documents", DeprecationWarning, stacklevel=2)
    return found
