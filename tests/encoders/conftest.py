from functools import cache
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> Path:
    """A folder with the tiny checkpoints `bert`, `colbert` and `ColQwen2`."""
    from support import tiny
    from support.tiny_vision import CHECKPOINTS

    from visret.encoders import _torch

    folder = tmp_path_factory.mktemp("checkpoints")
    with _torch.quiet():
        for make in (tiny.bert, tiny.colbert):
            make(folder / make.__name__)
        CHECKPOINTS["ColQwen2"](folder / "ColQwen2")
    return folder


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """published(name): a ColBERT checkpoint in that layout, made once. Nobody writes into it."""
    from support import tiny_text

    from visret.encoders import _torch

    folder = tmp_path_factory.mktemp("published")

    @cache
    def made(name):
        with _torch.quiet():
            return getattr(tiny_text, name)(folder / name)

    return made


@pytest.fixture(scope="module")
def sentences(checkpoints):
    """A sentence model, token by token."""
    from visret import load_encoder

    return load_encoder(checkpoints / "bert", dtype="float32")


@pytest.fixture(scope="module")
def minilm():
    """The default model."""
    from visret import load_encoder

    return load_encoder("all-minilm-l6-v2", dtype="float32")
