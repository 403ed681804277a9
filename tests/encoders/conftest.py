import sys
from pathlib import Path

import pytest

from visret.encoders import _torch

sys.path.insert(0, str(Path(__file__).parent.parent))
import tiny


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Path:
    """A folder with the tiny checkpoints `bert`, `colbert` and `colqwen2`."""
    folder = tmp_path_factory.mktemp("checkpoints")
    with _torch.quiet():
        for make in (tiny.bert, tiny.colbert, tiny.colqwen2):
            make(folder / make.__name__)
    return folder
