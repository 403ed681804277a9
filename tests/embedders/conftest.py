import pytest


@pytest.fixture(autouse=True)
def offline(own_cache, monkeypatch):
    """Its own cache folder, and no network whatever happens."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
