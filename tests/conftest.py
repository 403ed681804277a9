"""Settings and documents for all tests."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # one core each, before anything imports torch
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from sheets import write_pdf

# Machines are shared: a slow example is no failure.
settings.register_profile("visret", deadline=None)
settings.load_profile("visret")


@pytest.fixture
def papers(tmp_path):
    """A folder of two PDFs: red and blue, yellow."""
    write_pdf(tmp_path / "papers" / "one.pdf", "red", "blue")
    write_pdf(tmp_path / "papers" / "two.pdf", "yellow")
    return tmp_path / "papers"
