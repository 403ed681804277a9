"""What the README says is so: its lines, its snippet, its commands."""

import re
import runpy
import shutil
from pathlib import Path

import pytest
from samples import FOLDER

from visret import Retriever, cli

README = (Path(__file__).parent.parent / "README.md").read_text("utf8")


def block(heading: str, language: str) -> str:
    """The first code block under a heading."""
    section = README[README.index(f"## {heading}\n") :]
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1]


def test_the_two_lines_are_one_line_each():
    for heading in ("Quick start", "Tests"):
        assert block(heading, "sh").count("\n") == 1
    assert "visret find" in block("Quick start", "sh")
    assert "pytest" in block("Tests", "sh")


@pytest.mark.heavy
def test_the_python_snippet_runs_as_a_script(tmp_path, monkeypatch, capsys):
    shutil.copytree(FOLDER, tmp_path / "examples" / "documents")
    (tmp_path / "snippet.py").write_text(block("In Python", "python"), "utf8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("snippet.py", run_name="__main__")
    assert capsys.readouterr().out.startswith("13 pages, 0 failed, 0 with something missing\n1 report.pdf 8 ")
    assert (tmp_path / "why.png").exists()


@pytest.mark.heavy
def test_the_snippet_of_answers_runs_with_the_real_client(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from stand_in import serving

    monkeypatch.chdir(tmp_path)
    with Retriever.create("papers.visret") as retriever:
        retriever.add(FOLDER / "report.pdf")
    with serving() as url:
        exec(block("Answers, with their places", "python").replace("http://localhost:11434/v1", url), {})
    answer, citation = capsys.readouterr().out.splitlines()
    assert answer.endswith("[1].")
    assert re.match(r"1 Hit\(ref=PageRef\(doc='report\.pdf', page=3\).* \[Region\(x0=0\.", citation)


def test_every_command_is_named_and_every_named_command_is_there():
    section = README[README.index("## Command line") : README.index("## Models")]
    named = set(re.findall(r"visret ([a-z]+)(?= \[?[A-Z]| +visret|$|\n)", section))
    assert named == {verb.__name__ for verb in cli.VERBS}
    for verb, arguments in cli.VERBS.items():
        for flag in re.findall(rf"visret {verb.__name__} [^\n]*", section)[:1]:
            for option in re.findall(r"--[a-z-]+", flag):
                assert any(option in flags for flags, _ in arguments), f"{verb.__name__} {option}"


def test_pictures_in_it_are_there():
    for target in re.findall(r"!\[[^]]*\]\(([^)]+)\)", README):
        assert (Path(__file__).parent.parent / target).exists(), target
