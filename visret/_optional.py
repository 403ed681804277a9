"""Optional packages, imported where they are used."""

from __future__ import annotations

import importlib
from types import ModuleType

from visret.errors import MissingExtra


def need(module: str, *, extra: str) -> ModuleType:
    """Import `module`, or say which extra brings it: `onnxruntime = need("onnxruntime", extra="onnx")`."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == module.partition(".")[0]:
            raise MissingExtra(f"{module} is not installed; install it with: pip install 'visret[{extra}]'") from error
        raise
