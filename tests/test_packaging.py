"""models.yaml stands at the top of the repository, and is found by the installed package too."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ASK = """
import json, sys
import visret
from visret.models import registry
print(json.dumps([visret.__file__, str(registry._models_yaml()), registry.names()]))
"""

pytest.importorskip("hatchling")
pytest.importorskip("pip")


def run(*command, **more):
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def ask(prelude):
    """Of the visret found on that path: its file, its models.yaml, the models."""
    return json.loads(run("-c", prelude + ASK, cwd="/"))


def install(target, *what):
    options = ("--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check", "--quiet")
    run("-m", "pip", "install", *options, "--target", target, *what)


def test_a_wheel_has_the_models_and_the_weights(tmp_path):
    run("-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=ROOT)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("visret/models.yaml") == (ROOT / "models.yaml").read_bytes()
        assert {"visret/py.typed", "visret/ocr/letters.bin"} <= set(archive.namelist())
        weights = "visret/ocr/glyph/model.safetensors"
        assert archive.read(weights) == (ROOT / weights).read_bytes()
    install(tmp_path / "site", wheel)
    package, models, names = ask(f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r})")
    assert Path(package).parent == Path(models).parent == tmp_path / "site" / "visret"
    assert "all-minilm-l6-v2" in names


def test_an_editable_install_reads_the_repository(tmp_path):
    """Its copy of models.yaml beside the path file, stale from the next edit on, is read by nobody."""
    install(tmp_path / "site", "--editable", ROOT)
    (tmp_path / "site" / "visret").mkdir(exist_ok=True)
    (tmp_path / "site" / "visret" / "models.yaml").write_text("stale: {}")
    site = str(tmp_path / "site")
    package, models, names = ask(f"import site, sys; sys.path.insert(0, {site!r}); site.addsitedir({site!r})")
    assert Path(package).parent == ROOT / "visret"
    assert Path(models) == ROOT / "models.yaml"
    assert "all-minilm-l6-v2" in names
