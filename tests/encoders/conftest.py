import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Path:
    """A folder with the tiny checkpoints `bert`, `colbert` and `ColQwen2`."""
    import tiny
    from tiny_vision import CHECKPOINTS

    from visret.encoders import _torch

    folder = tmp_path_factory.mktemp("checkpoints")
    with _torch.quiet():
        for make in (tiny.bert, tiny.colbert):
            make(folder / make.__name__)
        CHECKPOINTS["ColQwen2"](folder / "ColQwen2")
    return folder
