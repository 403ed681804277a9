import shutil
import zipfile
from pathlib import Path

import pytest
from support.pages import FLOATS, MODEL

from visret.index import PageIndex


@pytest.fixture
def index(tmp_path):
    with PageIndex.create(tmp_path / "papers.visret", model=MODEL, storage=FLOATS) as made:
        yield made


@pytest.fixture
def path(template, tmp_path):
    """A copy of the file's own `template`, an index, to be changed and damaged at will."""
    return shutil.copytree(template, tmp_path / "i")


@pytest.fixture
def made_by(tmp_path):
    """made_by(N): the folder of an index that a visret of format N made."""

    def unpacked(number):
        with zipfile.ZipFile(Path(__file__).with_name(f"format-{number}.zip")) as archive:
            archive.extractall(tmp_path / "old.visret")
        return tmp_path / "old.visret"

    return unpacked
