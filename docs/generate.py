"""Write the parts of the documents that are made from the code: python docs/generate.py [--check]

    docs/cli.md                the commands with their arguments, from the parser
    docs/documents-and-ocr.md  the table of the kinds of files
    docs/search.md             the table of filters
    docs/http.md               the table of routes
    docs/python-api.md         the public names with their docstrings, all of it

In the first four, the text around the generated part is written by hand.

With --check nothing is written; the exit status is 1 where a document is not what it would be.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from fastapi import FastAPI

import visret
from visret import cli
from visret.documents import formats
from visret.index import filters
from visret.server import answering, api, operations, reading, reference, retrieval

DOCS = Path(__file__).parent
BEGIN, END = "<!-- made by docs/generate.py: begin -->", "<!-- made by docs/generate.py: end -->"
WIDTH = 110  # of a signature, or a command, on one line

# What `visret` does not list by itself: the names of its public modules, and the types of what its methods return.
MODULES = {
    "visret.evaluate": [
        *("run", "Evaluation", "Result", "compare", "Comparison", "Measured", "Difference"),
        *("read", "QuestionSet", "JudgedQuestion", "Target", "pages"),
        *("System", "Found", "system_of", "read_run", "write_run", "Rankings"),
        *("ndcg", "recall", "reciprocal_rank"),
    ],
    "visret.rag": [
        *("answer", "messages", "citations", "fence", "name", "searched", "recent", "Answer", "Citation"),
    ],
    "visret.maxsim": ["page_scores", "pack", "PackedPages"],
}
RETURNED = {
    "visret.types": ["Ranked", "Encoder"],
    "visret.explain.attribution": ["Region", "Span", "Table"],
    "visret.ingest.added": ["Filled"],
    "visret.ingest.report": ["Progress", "Failure", "EmptyPage", "Lost"],
    "visret.server.written": ["Written", "Cited"],
}


def commands() -> str:
    """Every command: one line of use each, then its arguments in a table."""
    listed = [(verb.__name__, verb, arguments) for verb, arguments in cli.VERBS.items()]
    for parent, below in cli.SUBVERBS.items():
        listed += [(f"{parent.__name__} {verb.__name__}", verb, arguments) for verb, arguments in below.items()]
    lines = ["```text", *(_usage(f"visret {name}", arguments) for name, _, arguments in listed), "```"]
    for name, verb, arguments in listed:
        lines += ["", f"### visret {name}", "", _escaped(_docstring(verb)), ""]
        lines += ["| argument | |", "|---|---|"]
        lines += [f"| {_shown(*argument)} | {_cell(argument[1])} |" for argument in arguments]
    return "\n".join(lines)


def _usage(name: str, arguments: Sequence[cli.Argument]) -> str:
    """A command with its arguments as they are typed, positional ones first, on as many lines as that takes."""
    lines = [name]
    for argument in sorted(arguments, key=lambda one: one[0][0].startswith("-")):
        typed = _typed(*argument)
        if len(lines[-1]) + len(typed) >= WIDTH:
            lines.append(" " * len(name))
        lines[-1] += f" {typed}"
    return "\n".join(lines)


def _typed(flags: tuple[str, ...], settings: dict[str, Any]) -> str:
    value = _value(settings, flags[0])
    many = settings.get("nargs") == "+"
    if not flags[0].startswith("-"):
        shown = value + "..." * many
        return f"[{shown}]" if settings.get("nargs") == "?" else shown
    shown = f"{flags[0]} {value}".rstrip()
    return shown if settings.get("required") else f"[{shown}]"


def _value(settings: dict[str, Any], flag: str) -> str:
    """What stands for the value of an argument; "" for a switch."""
    if settings.get("action") == "store_true":
        return ""
    if "choices" in settings:
        return "|".join(settings["choices"])
    return str(settings.get("metavar", flag.strip("-").upper()))


def _shown(flags: tuple[str, ...], settings: dict[str, Any]) -> str:
    value = _value(settings, flags[0])
    return f"`{value}`" if not flags[0].startswith("-") else f"`{f'{flags[0]} {value}'.rstrip()}`".replace("|", "\\|")


def _cell(settings: dict[str, Any]) -> str:
    notes = ["required"] * bool(settings.get("required")) + ["may be repeated"] * (settings.get("action") == "append")
    text = re.sub(r"'([^']+)'", r"`'\1'`", str(settings["help"]).replace("%%", "%"))  # what is typed in a shell
    text = _escaped(text).replace("|", "\\|")
    return text + (f" ({', '.join(notes)})" if notes else "")


def kinds() -> str:
    """The kinds of files that are read, with their endings."""
    return "\n".join(
        ["| kind | endings |", "|---|---|", *(f"| {kind} | {found} |" for kind, found in formats.kinds().items())]
    )


def filter_examples() -> str:
    """Filters, with the pages that pass them."""
    rows = [f"| `{_default(where)}` | {passes} |" for passes, where in filters.EXAMPLES.items()]
    return "\n".join(["| filter | passes pages |", "|---|---|", *rows])


def routes() -> str:
    """The routes of the HTTP API, with what they answer and take."""
    app, library = FastAPI(), SimpleNamespace(retriever=None, state=None)  # nothing is asked of it
    of_index = (part.routes(library) for part in (api, reading, retrieval))
    for router in (*of_index, answering.routes(None, None, None), operations.probe(None), operations.figures(None)):
        app.include_router(router)
    schema, rows = app.openapi(), []
    for path, operation in schema["paths"].items():
        shown = path.replace("{doc}", "DOC").replace("{page}", "N")
        for method, one in operation.items():
            takes = [f"`{name}`" for name, _ in reference.taken(schema, one) if f"{{{name}}}" not in path]
            about = " ".join(one["description"].partition("\n\n")[0].split())
            rows.append(f"| `{method.upper()} {shown}` | {_escaped(about)} | {', '.join(takes)} |")
    return "\n".join(["| route | what it does | what it takes |", "|---|---|---|", *rows])


def python_api() -> str:
    """The page of all public names."""
    lines = [
        "# Python API",
        "",
        "`python docs/generate.py` makes this page from the docstrings. [search.md](search.md) and [rag.md](rag.md)",
        "say how the names work together.",
        "",
        "Letters in shapes: P pages, N vectors in all, n vectors of one page, m vectors of a question, d dimensions,",
        "w words. Boxes are x0, y0, x1, y1 in fractions of the page, from its top left corner. Pages count from 1.",
        "",
        "## visret",
    ]
    for name in sorted(visret.__all__, key=lambda name: (name != "Retriever", name.lower())):
        lines += _documented(name, getattr(visret, name))
    lines += ["", "### Errors", "", "All of them are in `visret.errors`.", "", "```text"]
    tree = re.search(r"(    VisretError\n(?:    .*\n)+)", _docstring(importlib.import_module("visret.errors")) + "\n")
    assert tree, "the docstring of visret.errors has the tree of all errors"
    lines += [line.removeprefix("    ") for line in tree[1].splitlines()] + ["```"]
    for module, names in MODULES.items():
        lines += ["", f"## {module}", "", _about(importlib.import_module(module))]
        for name in names:
            lines += _documented(name, getattr(importlib.import_module(module), name))
    lines += ["", "## What methods return and take"]
    for module, names in RETURNED.items():
        for name in names:
            lines += _documented(name, getattr(importlib.import_module(module), name))
    return "\n".join(lines) + "\n"


def _about(module: ModuleType) -> str:
    """The docstring of a module, without the list of the modules in it; indented lines are code."""
    text = _docstring(module).partition("\n\nImporting this package")[0]
    return "\n".join(line if line.startswith("    ") else _escaped(line) for line in text.splitlines())


def _documented(name: str, thing: Any) -> Iterator[str]:
    """A heading, the signature and the docstring of a class or function; of a class, its members too."""
    yield from ["", f"### {name}", ""]
    if inspect.isclass(thing):
        is_made = dataclasses.is_dataclass(thing) or (issubclass(thing, tuple) and hasattr(thing, "_fields"))
        if is_made:  # others are made by their class methods
            yield from ["```python", _signature(name, thing), "```", ""]
        yield _prose(thing)
        for member, value in vars(thing).items():
            if not member.startswith("_") and (text := _member(member, value)):
                yield from text
    else:
        yield from ["```python", _signature(name, thing), "```", "", _prose(thing)]


def _member(name: str, value: Any) -> list[str]:
    """A method or property that has a docstring."""
    if isinstance(value, property | functools.cached_property):
        function = value.fget if isinstance(value, property) else value.func
        kind = inspect.get_annotations(function).get("return", "")
        return ["", f"**`{name}`**" + (f": `{kind}`" if kind else ""), "", _prose(function)]
    function = value.__func__ if isinstance(value, classmethod | staticmethod) else value
    if not inspect.isfunction(function) or not function.__doc__:
        return []
    return ["", f"**`{name}`**", "", "```python", _signature(name, function), "```", "", _prose(function)]


def _signature(name: str, thing: Callable[..., Any]) -> str:
    """Return the call as it is written in Python, without `self`, on one line or with a line for each parameter."""
    signature = inspect.signature(thing)
    shown, star = [], False
    for parameter in signature.parameters.values():
        if parameter.name in {"self", "cls"} or parameter.name.startswith("_"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            shown.append("*")
            star = True
        text = parameter.name
        if parameter.annotation is not parameter.empty:
            text += f": {_annotation(parameter.annotation)}"
        if parameter.default is not parameter.empty:
            text += f" = {_default(parameter.default)}"
        shown.append(text)
    end = ""
    if not inspect.isclass(thing) and signature.return_annotation is not signature.empty:
        end = f" -> {_annotation(signature.return_annotation)}"
    line = f"{name}({', '.join(shown)}){end}"
    if len(line) <= WIDTH:
        return line
    return "\n".join([f"{name}(", *(f"    {one}," for one in shown), f"){end}"])


def _annotation(given: Any) -> str:
    given = getattr(given, "__forward_arg__", given)  # what NamedTuple makes of its annotations
    return given if isinstance(given, str) else inspect.formatannotation(given)


def _default(given: Any) -> str:
    """A default as it is written; of dataclasses' factories, that there is one."""
    text = repr(given)
    return "..." if text.startswith("<") else text.replace("'", '"')


def _docstring(thing: Any) -> str:
    found = inspect.getdoc(thing)
    if not found:
        raise SystemExit(f"{thing!r} is public and has no docstring")
    return found


def _prose(thing: Any) -> str:
    """A docstring as Markdown: `name: what it is` begins an item of a list, what stands below belongs to it."""
    known = "|".join(name for name in inspect.get_annotations(thing) if name != "return") or "-"
    text = re.sub(rf"(?<=[.;]) ((?:{known})(?:, (?:{known}))*: )", r"\n\1", _docstring(thing))
    out: list[str] = []
    is_item = False
    for line in text.splitlines():
        named = re.match(rf"((?:{known})(?:, (?:{known}))*): (?=\S)(.*)", line)
        if named:
            if out and out[-1] and not is_item:
                out.append("")
            out.append(f"- {_as_code(named[1])}: {_escaped(named[2])}")
            is_item = True
        elif is_item and line:
            out.append(f"  {_escaped(line.strip())}")
        else:
            is_item = False
            out.append(_escaped(line))
    return "\n".join(out)


def _as_code(names: str) -> str:
    return ", ".join(f"`{name}`" for name in names.split(", "))


def _escaped(text: str) -> str:
    """Text as Markdown shows it: outside of backticks no character means anything."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*<\[\]])", r"\\\1", part) for part in parts)


def documents() -> dict[Path, str]:
    """What each generated document is to hold."""
    parts = {"cli.md": commands(), "documents-and-ocr.md": kinds(), "search.md": filter_examples(), "http.md": routes()}
    return {DOCS / name: _with(DOCS / name, part) for name, part in parts.items()} | {
        DOCS / "python-api.md": python_api()
    }


def _with(page: Path, part: str) -> str:
    """The text of a document with a new generated part."""
    before, _, rest = page.read_text("utf8").partition(BEGIN)
    return f"{before}{BEGIN}\n\n{part}\n\n{END}{rest.partition(END)[2]}"


def main() -> int:
    """Write or check; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, and say what is not current")
    check = parser.parse_args().check
    stale = []
    for path, text in documents().items():
        if path.exists() and path.read_text("utf8") == text:
            continue
        stale.append(path.name)
        if not check:
            path.write_text(text, "utf8", newline="\n")
    if check and stale:
        print(f"not current: {', '.join(stale)}; run python docs/generate.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
