"""Settings and documents for all tests."""

import gc
import json
import os
import signal
import sqlite3
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # one core each, before anything imports torch
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
from hypothesis import settings
from support import workers
from support.sheets import write_pdf

from visret import Retriever, load_encoder, ocr
from visret.encoders.toy import ToyEncoder
from visret.ingest import process

# Of no use without torch, gradio or a framework: `pytest --light` leaves out these files, and tests that are marked
# heavy. What it still runs needs only packages that are installed within seconds.
HEAVY = {
    "embedders": "bi blocks packed sentence_models",
    "encoders": "base bert checkpoint colbert dtypes entries glyph glyph_weights golden_colbert numpy onnx patches "
    "reading sentence torch",
    "integrations": "frameworks mteb",
    "maxsim": "device",
    "rerankers": "cross_encoder qwen3 vision",
    "server": "answering app browser page page_reading ui",
    "": "claims end_to_end examples ingest_scans ocr rag training training_documents training_pictures training_text",
}
# What fails or dies at one step after another, what is done again for each architecture, turn and size of letters, and
# what needs LibreOffice, Gradio's page or a process for each example: `pytest --long` runs these files, and tests that
# are marked long, and nothing else does but a command that names them. `.ci/run` has it run them.
LONG = {
    "encoders": "checkpoint golden_colbert onnx patches",
    "index": "faults",
    "integrations": "mteb",
    "server": "answering browser page ui workers",
    "": "benchmarks examples following ingest_office ingest_scans office orientation render scale sheets training "
    "training_documents training_pictures training_text",
}
TESTS = Path(__file__).parent
HEAVY_FILES, LONG_FILES = (
    {TESTS / folder / f"test_{name}.py" for folder, names in table.items() for name in names.split()}
    for table in (HEAVY, LONG)
)


def pytest_addoption(parser):
    parser.addoption("--light", action="store_true", help="only what needs no torch, weights, gradio or framework")
    parser.addoption("--long", action="store_true", help="only what takes long, which is left out otherwise")


def pytest_configure(config):
    if config.getoption("light"):
        settings.load_profile("light")


def pytest_collection_finish():
    gc.freeze()  # what collecting imported stays, so nobody need look through it again


def pytest_ignore_collect(collection_path, config):
    if collection_path.suffix != ".py" or is_named(collection_path, config):
        return None
    if config.getoption("long"):
        has_some = collection_path in LONG_FILES or "mark.long" in collection_path.read_text("utf8")
        return None if has_some else True
    left_out = LONG_FILES | HEAVY_FILES if config.getoption("light") else LONG_FILES
    return True if collection_path in left_out else None


def is_named(path, config):
    """Whether the command names a file of tests, so that all of it is wanted."""
    return any(Path(argument.partition("::")[0]).resolve() == path for argument in config.args)


def pytest_collection_modifyitems(config, items):
    left, out = [], []
    for item in items:
        (left if is_wanted(item, config) else out).append(item)
    config.hook.pytest_deselected(items=out)
    items[:] = left


def is_wanted(item, config):
    """Whether the marks of a test are those of this run."""
    if config.getoption("light") and any(map(item.get_closest_marker, ("heavy", "weights", "long"))):
        return False
    is_long = item.get_closest_marker("long") is not None or item.path in LONG_FILES
    return is_long == config.getoption("long") or is_named(item.path, config)


# Machines are shared: a slow example is no failure. `--hypothesis-profile=thorough` looks at many more; `--light` looks
# for what another Python does otherwise, for which a few will do.
settings.register_profile("thorough", deadline=None, max_examples=1000)
settings.register_profile("visret", deadline=None, max_examples=50)
settings.register_profile("light", deadline=None, max_examples=10)
settings.load_profile("visret")


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
    """What visret remembers: not what it did before, and a scan that was read in one test is read in all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VISRET_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


class Unsynced(sqlite3.Connection):
    """A connection that leaves it to the system when a commit reaches the disk."""

    def execute(self, statement, *values):
        return super().execute("PRAGMA synchronous = OFF" if "synchronous" in statement else statement, *values)


@pytest.fixture(scope="session", autouse=True)
def nothing_is_durable():
    """No test cuts the power, so none waits for the disk; what is synced, and when, tests/soak/faults.py sees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
        patch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Unsynced))
        yield


@pytest.fixture(scope="session", autouse=True)
def reused_workers():
    """Most tests do not look at the processes that read documents."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "Worker", workers.Reused)
        yield
    for _, known in workers.Reused.waiting:
        workers.end(known)


@pytest.fixture
def fresh_workers(monkeypatch):
    """As outside tests: a process is started for each run, and ended with it."""
    monkeypatch.setattr(process, "Worker", workers.Fresh)


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    """The cache folder of this test alone, which is not there yet."""
    monkeypatch.setenv("VISRET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def toy():
    return load_encoder("toy")


@pytest.fixture(scope="session")
def reads_words():
    """The default model."""
    return load_encoder("all-minilm-l6-v2")


@pytest.fixture
def papers(tmp_path):
    """A folder of two PDFs: red and blue, yellow."""
    write_pdf(tmp_path / "papers" / "one.pdf", "red", "blue")
    write_pdf(tmp_path / "papers" / "two.pdf", "yellow")
    return tmp_path / "papers"


@pytest.fixture
def retriever(tmp_path):
    """An empty index of `toy`."""
    with Retriever.create(tmp_path / "i.visret", model="toy") as made:
        yield made


@pytest.fixture
def breaks(tmp_path, monkeypatch):
    """breaks({"a.pdf": {2: "crash"}}): from now on workers break there."""
    (tmp_path / "wrapper.py").write_text(workers.BREAKING)

    def use(plan):
        command = (sys.executable, "-P", str(tmp_path / "wrapper.py"), json.dumps(plan))
        monkeypatch.setattr(process, "COMMAND", command)

    return use


@pytest.fixture
def stopping_at_page_2(monkeypatch):
    """A context in which Ctrl-C comes when `toy` is given a page 2."""
    encode = ToyEncoder.encode_pages

    def stop(self, pages):
        if pages[0].ref.page == 2:
            raise KeyboardInterrupt
        return encode(self, pages)

    @contextmanager
    def stopping():
        with monkeypatch.context() as patch:
            patch.setattr(ToyEncoder, "encode_pages", stop)
            yield

    return stopping


@pytest.fixture
def soffice(tmp_path, monkeypatch):
    """Puts a program of that Python code in LibreOffice's place; `out` and `source` are its arguments."""

    def install(code):
        script = tmp_path / "bin" / "soffice"
        script.parent.mkdir()
        prelude = "import pathlib, sys\nout = pathlib.Path(sys.argv[sys.argv.index('--outdir') + 1])\n"
        script.write_text(f"#!{sys.executable}\n{prelude}source = pathlib.Path(sys.argv[-1])\n{code}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(script.parent))

    return install


@pytest.fixture(params=ocr.ENGINES)
def engine(request, monkeypatch):
    """Each of those that read pictures of pages, in turn."""
    monkeypatch.setenv("VISRET_OCR", request.param)
    return request.param


@pytest.fixture
def glyph(monkeypatch):
    """Pictures of pages are read by `glyph`, whatever is installed."""
    monkeypatch.setenv("VISRET_OCR", "glyph")


def pytest_terminal_summary(terminalreporter):
    """Which ways of multiplying were run as machine code, for a machine has only some of them."""
    from visret.maxsim import _check, _paths

    here = [path.name for path in _paths.available()]
    others = [name for name in _paths.PATHS if name not in here]
    terminalreporter.write_line(
        f"MaxSim on {_check.cpu()}: machine code of {', '.join(here)}; only interpreted: {', '.join(others) or 'none'}"
    )
