"""The architecture holds itself: layers look down, the import is free, names are listed, the tree is as described."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import visret

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "visret"

DOCUMENT = (ROOT / "docs" / "architecture.md").read_text("utf8")
# The rooms, from the bottom up: a module may import what stands above it in the document's list, and its own folder.
ROOMS = re.findall(r"^  (\w+)(?:\.py|/) ", DOCUMENT[DOCUMENT.index("\nvisret/\n") :], re.MULTILINE)
ORDER = [*ROOMS, "__init__", "__main__"]
HEAVY = {"torch", "transformers", "sentence_transformers", "colpali_engine", "gradio", "llvmlite", "pypdfium2", "PIL"}
HEAVY |= {
    "langchain_core",
    "llama_index",
    "haystack",
    "fastapi",
    "uvicorn",
    "mcp",
    "scipy",
    "onnxruntime",
    "ir_measures",
    "pyarrow",
}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def unit(path: Path) -> str:
    """The file or folder directly under visret/."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text("utf8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield node.module
            yield from (
                f"{node.module}.{alias.name}"
                for alias in node.names
                if node.module in {"visret", "visret.evaluate", "visret.explain", "visret.ingest", "visret.ocr"}
            )


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_lower_layers_only(path):
    own = unit(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] == "visret" and parts[1:2] not in ([], [own]) and parts[1] in ORDER:
            assert parts[1] in ORDER[: ORDER.index(own)], f"{own} imports {parts[1]}"


@pytest.mark.parametrize("package", ["evaluate", "explain", "ingest", "ocr"])
def test_a_module_imports_those_above_it_in_the_list_of_its_package(package):
    folder = PACKAGE / package
    about = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf8")), clean=False)
    listed = re.findall(r"^    (\w+)/? {2,}", about, re.MULTILINE)
    own = {path: path.relative_to(folder).parts[0].removesuffix(".py") for path in folder.rglob("*.py")}
    assert sorted(listed) == sorted({*own.values()} - {"__init__"})
    for path, name in own.items():
        for imported in imports(path):
            parts = imported.split(".")
            if parts[:2] == ["visret", package] and parts[2:3] not in ([], [name]) and name != "__init__":
                assert parts[2] in listed[: listed.index(name)], f"{package}/{name} imports {parts[2]}"


def test_no_modules_import_each_other_in_a_circle():
    """Imports inside functions and for types count too; a package's `__init__`, which hands names on, does not."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules()}
    graph = {}
    for name, path in files.items():
        nodes = [node for node in ast.walk(ast.parse(path.read_text("utf8"))) if isinstance(node, ast.ImportFrom)]
        named = {node.module for node in nodes} | {f"{node.module}.{one.name}" for node in nodes for one in node.names}
        graph[name] = sorted(named & files.keys())
    assert sum(map(len, graph.values())) > 500
    tuple(graphlib.TopologicalSorter(graph).static_order())  # raises CycleError, which names the modules


def test_import_is_free():
    assert (
        loaded_by("import visret, visret.cli, visret.evaluate, visret.explain.attribution, visret.ingest.options") == []
    )


def test_help_needs_no_numpy():
    code = "import sys, visret.cli; visret.cli._parser().format_help(); assert 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def loaded_by(code: str) -> list[str]:
    """Which of the heavy packages a new process has loaded after it ran this."""
    code = f"import sys; {code}; print([m for m in {sorted(HEAVY)!r} if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stderr.splitlines()[-1])


def command(*arguments: str) -> str:
    return f"from visret import cli; assert cli.main({list(arguments)!r}) == 0"


def test_what_an_index_holds_is_said_without_a_compiler(papers, retriever):
    retriever.add(papers)
    index = str(retriever._index.path)
    assert loaded_by(command("info", index)) == []
    assert set(loaded_by(command("search", index, "red"))) == {"PIL", "llvmlite"}  # pictures are what `toy` reads


@pytest.mark.weights
def test_a_search_loads_nothing_that_reads_files_or_pages(tmp_path):
    with visret.Retriever.create(tmp_path / "i.visret") as made:
        made.add_pages([visret.Page.from_text("the red circle", doc="a")])
    assert loaded_by(command("search", str(tmp_path / "i.visret"), "where is the circle", "--json")) == ["llvmlite"]


def test_public_names_are_listed_and_there():
    assert visret.__all__ == sorted(visret.__all__)
    for name in visret.__all__:
        assert getattr(visret, name) is not None
    assert set(visret.__all__) <= set(dir(visret))


def test_top_level_holds_what_is_expected_there():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT, check=False).stdout.split()
    if not tracked:
        pytest.skip("not a git checkout (an sdist): there is no list of tracked files")
    allowed = {"pyproject.toml", "models.yaml", "Makefile", ".gitignore", ".pre-commit-config.yaml"}
    allowed |= {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
    allowed |= {"Dockerfile", "compose.yaml", ".dockerignore"}
    folders = {"visret", "tests", "apps", "docs", "examples", ".ci", ".github"}
    for name in tracked:
        top, _, rest = name.partition("/")
        assert (top in folders) if rest else (top in allowed), name


def test_the_tree_in_the_documents_is_the_tree():
    tree = DOCUMENT[DOCUMENT.index("## Layout") :].split("```")[1]
    named = set(re.findall(r"^  ([\w.]+)", tree, re.MULTILINE))
    there = {p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or any(p.glob("*.py"))}
    assert named == there - {"__init__.py", "__main__.py"}
    old = re.findall(r"^  (\w+)[.]py +the old place of", tree, re.MULTILINE)  # these go with the next version
    assert len(ROOMS) - len(old) <= 30
