import sys
from pathlib import Path

import pytest

from visret.encoders import _torch

sys.path.insert(0, str(Path(__file__).parent.parent))
import tiny
from tiny_vision import CHECKPOINTS


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Path:
    """A folder with the tiny checkpoints `bert`, `colbert` and `ColQwen2`."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with _torch.quiet():
        for make in (tiny.bert, tiny.colbert):
            make(folder / make.__name__)
        CHECKPOINTS["ColQwen2"](folder / "ColQwen2")
    return folder
