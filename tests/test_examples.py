"""Every example runs as a script, from another folder, and says what it is there to say."""

import contextlib
import io
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image
from support.samples import FOLDER

EXAMPLES = FOLDER.parent
SCRIPTS = sorted(path.stem for path in EXAMPLES.glob("*.py"))
TESTED = ["evaluation", "highlight", "own_model", "quickstart", "rag"]


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs an example as a script; what it prints."""

    def run(name, *arguments):
        script = EXAMPLES / f"{name}.py"
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        monkeypatch.setattr(sys, "argv", [str(script), *arguments])
        monkeypatch.syspath_prepend(EXAMPLES)
        with mock.patch.dict(os.environ):  # an example may add to it
            runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_each_is_tested():
    assert sorted([*TESTED, "stand_in", "make_documents"]) == SCRIPTS  # the last one by test_samples


def test_quickstart_in_a_process_of_its_own_without_network(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {"HF_HUB_OFFLINE": "1", "TMPDIR": str(tmp_path)}
    command = [sys.executable, EXAMPLES / "quickstart.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.match(r"13 pages of 3 documents in \d+\.\d s\n1\. report\.pdf, page \d  ", done.stdout)
    assert Path(done.stdout.split()[-1]).stat().st_size > 10_000


def test_highlight(run, tmp_path):
    said = run("highlight", "marked.png")
    assert said.startswith("How much borrowed money has not been paid back yet?\nreport.pdf, page 8: ")
    met = dict(re.findall(r"^ +(\w+)  +[\d.]+  (\S+)$", said, re.MULTILINE))
    assert {"borrowed": "loan", "paid": "repayments"}.items() <= met.items()
    values = [float(value) for value in re.findall(r"^ +\S+  +([\d.]+)  \S+$", said, re.MULTILINE)]
    total, score = re.search(r"sum  +([\d.]+)  is the score of the page, ([\d.]+)", said).groups()
    assert total == score
    (length,) = re.findall(r"length  (-[\d.]+)  for the length of the page", said)
    assert sum(values) + float(length) == pytest.approx(float(score), abs=0.05)
    shares = [int(share) for share in re.findall(r"^ +(\d+)%", said, re.MULTILINE)]
    assert len(shares) == 3
    assert shares == sorted(shares, reverse=True)
    with Image.open(tmp_path / "marked.png") as marked:
        assert marked.size == (827, 1169)


def test_rag(run):
    said = run("rag")
    question, answer, cited = said.split("\n\n")
    assert question == "What did the inspection of the main bearing of Bittern find?"
    assert answer == "The inspection found a cracked roller in the main bearing [1]."
    assert cited.startswith("[1] report.pdf, page 3: ")
    assert Path(cited.split()[-1]).stat().st_size > 10_000


def test_own_model(run):
    said = run("own_model").splitlines()
    assert said[0] == "by folder: colbert, 384 dimensions"
    assert re.fullmatch(r"  1\. report\.pdf, page 8  [\d.]+  .*fixed price of 84 euros per megawatt hour\.", said[1])
    assert said[3] == "by name: shallow, apache-2.0, a question of 10 vectors"


def test_evaluation(run):
    said = run("evaluation").splitlines()
    assert said[0] == "  nDCG@5  recall@5  MRR@5  question"
    assert re.fullmatch(r" +1\.000 +1\.000 +1\.000  cracked roller .*", said[1])
    assert re.fullmatch(r" +0\.000 +0\.000 +0\.000  letter with a RECEIVED stamp .*", said[7])
    assert re.fullmatch(r" +0\.857 +0\.857 +0\.857  mean of 7 questions", said[8])


def test_the_notebook_prints_what_it_shows(monkeypatch):
    """Its cells run in order, each printing what is saved under it, but for the decimals of another CPU."""
    monkeypatch.chdir(EXAMPLES)
    names = {"__name__": "__main__"}
    shown = 0
    for cell in json.loads((EXAMPLES / "visret.ipynb").read_text("utf8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec("".join(cell["source"]), names)
        saved = "".join("".join(out["text"]) for out in cell["outputs"] if out["output_type"] == "stream")
        assert re.sub(r"\.\d", "", printed.getvalue()) == re.sub(r"\.\d", "", saved)
        shown += len(cell["outputs"])
    assert shown == 6
    assert (EXAMPLES / "visret.ipynb").stat().st_size < 100_000
