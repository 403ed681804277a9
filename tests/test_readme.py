"""What the documents say is so: their links, snippets, commands, paths and variables, and what is made from code."""

import contextlib
import importlib.util
import io
import re
import runpy
import shlex
import shutil
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
import yaml
from support.samples import FOLDER

from visret import Retriever, cli

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf8")
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("visret/**/README.md")])
HISTORY = {"CHANGELOG.md", "log.md"}  # they speak of what was; only their links are checked
CURRENT = [page for page in PAGES if page.name not in HISTORY]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
each_current_page = pytest.mark.parametrize("page", CURRENT, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def text_of(page: Path) -> str:
    return page.read_text("utf8")


def block(page: str, heading: str, language: str) -> str:
    """The first code block under a heading."""
    text = text_of(ROOT / page)
    section = text[text.index(f"## {heading}\n") :]
    return re.search(rf"```{language}\n(.*?)```", section, re.DOTALL)[1]


# ---- the README


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_the_two_lines_are_one_line_each():
    for heading in ("Quick start", "Tests"):
        assert block("README.md", heading, "sh").count("\n") == 1
    assert "visret find" in block("README.md", "Quick start", "sh")
    assert "pytest" in block("README.md", "Tests", "sh")


@pytest.mark.long
@pytest.mark.heavy
def test_the_python_snippet_runs_as_a_script(tmp_path, monkeypatch, capsys):
    shutil.copytree(FOLDER, tmp_path / "examples" / "documents")
    (tmp_path / "snippet.py").write_text(block("README.md", "In Python", "python"), "utf8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("snippet.py", run_name="__main__")
    assert capsys.readouterr().out.startswith("13 pages, 0 failed, 0 with something missing\n1 report.pdf 8 ")
    assert (tmp_path / "why.png").exists()


def test_its_figures_are_those_of_the_benchmarks():
    """A figure is moved by one hand in both places."""
    tables = README[README.index("## How good it is") : README.index("## When not")]
    benchmarks = text_of(ROOT / "docs" / "benchmarks.md")
    figures = re.findall(r"(?<![\w.])(?:\d{2,3}\.\d|\.\d{3})(?!\d)", tables)
    assert len(figures) > 12
    assert not [figure for figure in figures if figure not in benchmarks]


# ---- other pages


@pytest.mark.long
@pytest.mark.heavy
def test_the_snippets_of_searching_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    shutil.copytree(FOLDER, tmp_path / "examples" / "documents")
    monkeypatch.chdir(tmp_path)
    with Retriever.create("pictures.visret", model="none") as other:  # stands for the index of a picture model
        other.add("examples/documents")
    names = {}
    for snippet in re.findall(r"```python\n(.*?)```", text_of(ROOT / "docs" / "search.md"), re.DOTALL):
        exec(snippet, names)
    assert capsys.readouterr().out.startswith("1 report.pdf 8 ")
    assert (tmp_path / "why.png").exists()


def test_the_snippet_of_the_scoring_engine_finds_the_page_that_its_question_is_from():
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(block("docs/search.md", "Use the scoring engine alone", "python"), names)
    assert names["pages"].tolist() == [0]  # its vectors are the first of page 0
    assert names["scores"] == pytest.approx([5], abs=0.05)
    assert np.argmax(names["maxsim"].page_scores(names["question"], names["vectors"], names["offsets"])) == 0


@pytest.mark.long
@pytest.mark.heavy
def test_the_snippet_of_answers_runs_with_the_real_client(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(FOLDER.parent)
    from stand_in import serving

    monkeypatch.chdir(tmp_path)
    with Retriever.create("papers.visret") as retriever:
        retriever.add(FOLDER / "report.pdf")
    with serving() as url:
        snippet = block("docs/rag.md", "With a function of your own", "python")
        exec(snippet.replace("http://localhost:11434/v1", url), {})
    answer, citation = capsys.readouterr().out.splitlines()
    assert answer.endswith("[1].")
    assert re.match(r"1 Hit\(ref=PageRef\(doc='report\.pdf', page=3\).* \[Region\(x0=0\.", citation)


@pytest.mark.heavy
def test_the_snippet_of_evaluation_prints_its_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with Retriever.create("papers.visret") as retriever:
        retriever.add(FOLDER / "two_column.pdf")
    snippet = block("docs/evaluation.md", "From Python", "python")
    exec(snippet, {})
    assert re.search(r"nDCG@5 +recall@5 +MRR@5", capsys.readouterr().out)


def test_the_published_figures_are_of_the_models_of_the_registry():
    """A checkpoint has its row, with "not found" where no source has a figure, and each source is used."""
    section = text_of(ROOT / "docs" / "evaluation.md").split("## Published figures\n")[1].split("\n## ")[0]
    rows = [
        line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ") and "|---" not in line
    ]
    rows = [row for row in rows if row[0] != "model"]
    entries = yaml.safe_load(text_of(ROOT / "models.yaml"))
    # Others are measured behind another model, or are no models of late interaction.
    known = [name for name, entry in entries.items() if entry.get("task", "encode") == "encode"]
    named = [row[0] for row in rows]
    assert len(named) == len(set(named))
    assert set(named) <= set(known)
    assert {name for name in known if "/" in name} <= set(named)
    sources = {number for row in rows for number in re.findall(r"\b\d+\b", row[-1]) if "found" not in row[-1]}
    assert sources == set(re.findall(r"^(\d+)\. ", section, re.MULTILINE))
    for row in rows:
        figures = [cell for cell in row[1:] if re.match(r"\d+\.\d", cell)]
        assert bool(figures) == bool(re.fullmatch(r"\d+(, \d+)*", row[-1])), row


@pytest.mark.heavy
def test_the_snippet_of_comparing_prints_its_table(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FOLDER.parent, "examples")
    with Retriever.create("papers.visret") as retriever:
        retriever.add(FOLDER, ocr="never")
    exec(re.findall(r"```python\n(.*?)```", text_of(ROOT / "docs" / "evaluation.md"), re.DOTALL)[-1], {})
    said = capsys.readouterr().out
    assert re.search(r"^first pages +0\.000", said, re.MULTILINE)
    assert "papers: cannot find 1 right page, on which its model had nothing to read: counted as 0" in said


def test_what_is_made_from_the_code_is_current():
    """If this fails, run `make docs` (or `python docs/generate.py`)."""
    path = ROOT / "docs" / "generate.py"
    spec = importlib.util.spec_from_file_location("generate", path)
    generate = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generate)
    made = generate.documents()
    assert {page.name for page in made} == {"cli.md", "documents-and-ocr.md", "search.md", "http.md", "python-api.md"}
    stale = [page.name for page, text in made.items() if page.read_text("utf8") != text]
    assert not stale, "run python docs/generate.py"


def test_every_figure_has_its_command_machine_and_date():
    """Of each chapter of the benchmarks, before the first table or figure."""
    chapters = text_of(ROOT / "docs" / "benchmarks.md").split("\n## ")[1:]
    assert len(chapters) > 8
    for chapter in chapters:
        heading, _, rest = chapter.partition("\n\n")
        first = rest.partition("\n\n")[0]
        if heading == "Indexing that does not break":
            first = first.replace("Commands in `tests/soak/`", "`python tests/soak/`")
        assert re.match(r"`python tests/[^`]+`.* · .*(AVX2|VNNI|Zen 5).* · \d+ \w+ 20\d\d", first), heading


# ---- links


@cache
def anchors(page: Path) -> set[str]:
    """Of its headings, as GitHub makes them."""
    found: dict[str, int] = {}
    for line in re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE).splitlines():
        if heading := re.match(r"#+ +(.*)", line):
            plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading[1]).lower()).replace(
                " ", "-"
            )
            found[plain] = found.get(plain, -1) + 1
    return {name if not number else f"{name}-{number}" for name, last in found.items() for number in range(last + 1)}


@each_page
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"(?<!\\)\]\(([^)\s]+)\)", re.sub(r"`[^`\n]*`", "", text)):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = unquote(target).partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert there.is_relative_to(ROOT), target
        if anchor:
            assert anchor in anchors(there), target


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", README))
    assert linked == {str(page.relative_to(ROOT).as_posix()) for page in PAGES if page.parent == ROOT / "docs"}


# ---- paths, variables, commands


def code(page: Path) -> tuple[list[str], list[str]]:
    """The lines of its blocks for a shell, and what stands between backticks elsewhere."""
    text = text_of(page)
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for language, body in blocks if language == "sh" for line in body.splitlines()]
    rest = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += re.findall(r"^    ((?:python|visret|curl|pip) .*)", rest, re.MULTILINE)
    return lines, re.findall(r"`([^`]+)`", rest)


@cache
def files() -> tuple[Path, ...]:
    folders = ("visret", "tests", "apps", "docs", "examples", ".ci", ".github")
    there = [path for folder in folders for path in (ROOT / folder, *(ROOT / folder).rglob("*"))]
    return tuple(path for path in there if "__pycache__" not in path.parts)


@each_current_page
def test_paths_are_there(page):
    """`visret/a.py`, `a.py:name` and so on: a file whose path ends so, and the name occurs in it."""
    for span in code(page)[1]:
        named = re.fullmatch(r"((?:[\w.-]+/)*[\w-]+\.(?:py|yaml|md|toml|png|ipynb)|(?:[\w.-]+/)+)(?::(\S+))?", span)
        if not named or named[1].split("/")[0] == "INDEX":
            continue
        path, name = named[1].rstrip("/"), (named[2] or "").rstrip(".").rpartition(".")[2]
        found = [one for one in files() if f"/{one.relative_to(ROOT).as_posix()}".endswith(f"/{path}")]
        found += [ROOT / path] if (ROOT / path).is_file() else []
        assert found, span
        assert not name or any(name in one.read_text("utf8") for one in found), span


@each_current_page
def test_variables_are_read_somewhere(page):
    read = "".join(path.read_text("utf8") for path in (ROOT / "visret").rglob("*.py"))
    for variable in re.findall(r"VISRET_[A-Z_]+", text_of(page)):
        assert re.search(rf"\b{variable}\b", read), variable


@each_current_page
def test_commands_can_be_given(page):
    lines, spans = code(page)
    for line in lines:
        for part in line.split(" && "):
            check(shlex.split(part, comments=True), whole=True)
    for span in spans:
        with contextlib.suppress(ValueError):  # not for a shell
            check(shlex.split(span), whole=False)


def check(words: list[str], *, whole: bool) -> None:
    """Fail where the program would refuse these arguments. whole: nothing that it needs is left out."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if not words:
        return
    program, arguments = re.sub(r"^(\.venv/bin/)?(python)3?$", r"\2", words[0]), words[1:]
    program = program.removeprefix(".venv/bin/")
    if program == "visret":
        check_visret(arguments, whole=whole)
    elif program == "make":
        for target in (word for word in arguments if "=" not in word):
            assert re.search(rf"^{target}:", text_of(ROOT / "Makefile"), re.MULTILINE), target
    elif program == "pip" and arguments[:1] == ["install"]:
        check_extras(arguments[1:])
    elif program == "python" and arguments:
        check_python(arguments)
    elif program == "pytest":
        check_options(arguments, ROOT / "tests" / "conftest.py")
    elif program == "curl":
        route = re.match(r"localhost:7860(/\w+)", arguments[0])[1]
        assert f'"{route}' in text_of(ROOT / "visret" / "server" / "api.py"), route
    elif whole:
        assert program in {"pre-commit", "ray", ".ci/run", "chmod", "docker", "systemctl"}, words


def check_visret(arguments: list[str], *, whole: bool) -> None:
    if whole:
        cli._parser().parse_args(arguments)  # SystemExit where it is refused
        return
    if not arguments or not re.fullmatch(r"[a-z][a-z-]*", arguments[0]):
        assert not arguments or arguments[0] in {"--version", "--help"}, arguments
        return
    tables = {verb.__name__: table for verb, table in cli.VERBS.items()}
    if arguments[:2] == ["models", "fetch"]:
        tables, arguments = {verb.__name__: table for verb, table in cli.SUBVERBS[cli.models].items()}, arguments[1:]
    assert arguments[0] in tables, arguments
    known = {flag for flags, _ in tables[arguments[0]] for flag in flags}
    assert {word.strip("[]").split("=")[0] for word in arguments if word.strip("[]").startswith("-")} <= known, (
        arguments
    )


def check_python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        module = arguments[1]
        if module.startswith("visret"):
            assert (ROOT / f"{module.replace('.', '/')}.py").exists() or (ROOT / module.replace(".", "/")).is_dir(), (
                module
            )
        if module == "pytest":
            for path in (word for word in arguments[2:] if word.startswith("tests/")):
                assert (ROOT / path).exists(), path
            check_options(arguments[2:], ROOT / "tests" / "conftest.py")
        return
    if arguments[0] == "-c":
        compile(arguments[1], "-c", "exec")
        return
    assert (ROOT / arguments[0]).is_file(), arguments[0]
    own = ROOT / ("visret/cli.py" if arguments[0].startswith("apps/") else arguments[0])
    check_options(arguments[1:], own)


def check_options(arguments: list[str], script: Path) -> None:
    """Every long option is one that the script knows."""
    of_pytest = {"--dist"}
    for option in (word.split("=")[0] for word in arguments if word.startswith("--")):
        assert f'"{option}"' in text_of(script) or option in of_pytest, option


def check_extras(arguments: list[str]) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]["optional-dependencies"]
    for word in arguments:
        if named := re.fullmatch(r"(?:visret|\.)\[([\w,]+)\]", word):
            assert set(named[1].split(",")) <= set(extras), word


def test_make_runs_the_lines_of_the_readme_and_of_ci():
    """So that nobody learns two ways of testing."""
    recipes = text_of(ROOT / "Makefile").replace("$(RUN)", "$(BIN)/python").replace("$(BIN)", ".venv/bin")
    *_, prepare, tests = block("README.md", "Tests", "sh").strip().split(" && ")
    for line in (prepare, tests):
        assert f"\t{line}\n" in recipes, line
    for line in re.findall(r"^\.venv/bin/(?:ruff|mypy).*$", text_of(ROOT / ".ci" / "run"), re.MULTILINE):
        assert f"\t{line}\n" in recipes, line


def test_the_workflow_runs_the_nine_promised_systems():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    promised = {c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: Python :: 3\.\d+$", c)}
    jobs = yaml.safe_load(text_of(ROOT / ".github" / "workflows" / "tests.yml"))["jobs"]
    matrix = jobs["light"]["strategy"]["matrix"]
    assert set(matrix["python"]) == promised
    assert {system.partition("-")[0] for system in matrix["system"]} == {"ubuntu", "macos", "windows"}
    for step in (step["run"] for job in jobs.values() for step in job["steps"] if "run" in step):
        program = step.removeprefix("sudo ").removeprefix("python ").removeprefix("python3 ").split()[0]
        assert (ROOT / program).is_file(), step
