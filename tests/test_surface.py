"""What people may rely on: names and arguments in Python, commands and options, HTTP routes, keys of JSON.

`surface.txt` lists it, a promise a line. What goes from it breaks somebody's program; what is added will be kept. After
a change that is meant: `python tests/test_surface.py`, which writes the list anew.
"""

import argparse
import dataclasses
import importlib
import inspect
import io
import json
import warnings
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

import visret
from visret import cli

SURFACE = Path(__file__).with_name("surface.txt")
FREE = {"measures", "metadata", "options", "preprocessing"}  # whose keys are not ours


def in_python():
    for name in visret.__all__:
        yield from of("visret", name, getattr(visret, name))
    for module in sorted(visret._MODULES - {"pdf"}):
        found = importlib.import_module(f"visret.{module}")
        for name, value in sorted(vars(found).items()):
            if not name.startswith("_") and getattr(value, "__module__", "").startswith(found.__name__):
                yield from of(found.__name__, name, value)


def of(where, name, value):
    if inspect.isclass(value):
        yield f"{where}.{name}"
        for field in dataclasses.fields(value) if dataclasses.is_dataclass(value) else ():
            if not field.name.startswith("_"):
                yield f"{where}.{name}.{field.name}"
        for attribute in dir(value):
            if not attribute.startswith("_") and not hasattr(tuple, attribute) and not hasattr(Exception, attribute):
                found = inspect.getattr_static(value, attribute)
                found = getattr(value, attribute) if isinstance(found, classmethod | staticmethod) else found
                yield f"{where}.{name}.{attribute}{arguments(found) if callable(found) else ''}"
    elif inspect.isroutine(value):
        yield f"{where}.{name}{arguments(value)}"


def arguments(function):
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    return f"({', '.join(names)})"


def on_the_command_line():
    def options(parser, name):
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for verb, inner in action.choices.items():
                    yield f"{name} {verb}"
                    yield from options(inner, f"{name} {verb}")
            elif not isinstance(action, argparse._HelpAction):
                yield from (f"{name} {flag}" for flag in action.option_strings or [action.metavar or action.dest])

    yield from options(cli._parser(), "visret")


def keys(value, name):
    """Each key of JSON, with the way to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield f"{name}.{key}"
            yield from keys(inner, f"{name}.{key}") if key not in FREE else ()
    for inner in value if isinstance(value, list) else ():
        yield from keys(inner, f"{name}[]")


def in_json(folder):
    """Of every command that prints it, run on a folder in which something of every sort goes wrong."""
    (folder / "files").mkdir()
    for name in ("report.pdf", "empty.pdf"):
        canvas = Canvas(str(folder / "files" / name))
        canvas.drawString(72, 720, "the cracked roller" if name == "report.pdf" else "")
        canvas.save()
    (folder / "files" / "broken.pdf").write_bytes(b"%PDF-1.7 and no more")
    (folder / "files" / "one-bad-byte.txt").write_bytes("Straße und Schlüssel ".encode() * 20 + b"\xff")
    (folder / "files" / "song.mp3").write_bytes(b"ID3")
    index, files = str(folder / "index"), str(folder / "files")
    (folder / "questions.csv").write_text("question,doc,page,kind\nred,report.pdf,1,warm\nblue,report.pdf,1,cold\n")
    (folder / "a.run").write_text("1 Q0 report.pdf#1 1 1.0 a\n")
    for name, command in {
        "index": ["index", files, "--index", index, "--model", "toy", "--ocr", "never"],
        "estimate": ["index", files, "--index", str(folder / "other"), "--model", "toy", "--estimate"],
        "search": ["search", index, "red"],
        "info": ["info", index],
        "evaluate": ["evaluate", index, str(folder / "a.run"), str(folder / "questions.csv")],
        "set": ["set", index, "report.pdf", "year=2020"],
        "models": ["models"],
        "doctor": ["doctor", index],
        "reindex": ["reindex", index, "--codec", "float16"],
    }.items():
        out = io.StringIO()
        with redirect_stdout(out):
            cli.main([*command, "--json"])
        yield from keys(json.loads(out.getvalue()), f"visret {name} --json: ")


def over_http(folder):
    """Routes, arguments and answers, as /openapi.json has them."""
    from fastapi.testclient import TestClient

    from visret import Retriever
    from visret.server import app
    from visret.server.guard import Rules

    Retriever.create(folder / "served", model="toy").close()
    with TestClient(app.build(folder / "served", Rules(rate=0), ui=False), base_url="http://localhost") as client:
        schema = client.get("/openapi.json").json()
    for path, methods in schema["paths"].items():
        for method, about in methods.items():
            yield f"{method.upper()} {path}"
            yield from (f"{method.upper()} {path} {one['name']}" for one in about.get("parameters", ()))
    for name, about in schema["components"]["schemas"].items():
        yield from (f"{name}.{key}" for key in about.get("properties", ()))


def lines(found):
    return sorted(set(found))


def promised(*, http):
    every = SURFACE.read_text("utf8").splitlines()
    cut = every.index("# HTTP")
    return every[cut + 1 :] if http else every[:cut]


ADVICE = "is it meant? then `python tests/test_surface.py`, and a line in CHANGELOG.md; an old name stays for a version"


def test_names_options_and_keys_are_those_that_were_promised(tmp_path):
    assert [*lines(in_python()), *lines(on_the_command_line()), *lines(in_json(tmp_path))] == promised(http=False), (
        ADVICE
    )


@pytest.mark.heavy
def test_routes_are_those_that_were_promised(tmp_path):
    assert lines(over_http(tmp_path)) == promised(http=True), ADVICE


def test_old_names_warn():
    with pytest.warns(DeprecationWarning, match=r"visret\.documents"):
        from visret.pdf import open_document
    assert open_document is visret.documents.open_document
    with pytest.warns(DeprecationWarning, match=r"visret\.evaluate"):
        from visret.metrics import ndcg
    assert ndcg is visret.evaluate.ndcg
    with pytest.warns(DeprecationWarning, match="is called InvalidArgument"):
        assert visret.errors.InvalidQuery is visret.errors.InvalidArgument


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        first = [*lines(in_python()), *lines(on_the_command_line()), *lines(in_json(Path(scratch)))]
        SURFACE.write_text("\n".join([*first, "# HTTP", *lines(over_http(Path(scratch)))]) + "\n", "utf8")
