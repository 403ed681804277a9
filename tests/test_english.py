"""Docstrings can be read alone, and limits have one name."""

import ast
import re
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "visret"
# What fragments begin with: "Of a file", "Whether it failed". Functions begin with a verb, which ruff checks (D401).
BARE = {"of", "to", "with", "for", "in", "as", "at", "by", "from"}
BARE |= {"what", "where", "how", "when", "which", "whether", "if", "why"}
NOT_MAX = {"MOST", "LONGEST", "LARGEST", "WIDEST", "DEEPEST"}


@cache
def modules():
    return [
        (path.relative_to(PACKAGE.parent).as_posix(), ast.parse(path.read_text("utf8")))
        for path in sorted(PACKAGE.rglob("*.py"))
    ]


def is_property(node):
    """Whether it is one, or is cached as one."""
    return any(ast.unparse(decorator).endswith("property") for decorator in node.decorator_list)


def named_things(tree):
    """The module itself, its classes and their properties."""
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) or (isinstance(node, ast.FunctionDef) and is_property(node)):
            yield node


def first_sentence(text):
    """The first line, up to the period that ends a sentence."""
    return re.split(r"\.(?=\s|$)", text.partition("\n")[0], maxsplit=1)[0]


def is_fragment(words):
    bare = len(words) > 1 and words[0].lower().rstrip(",:;") in BARE
    return len(words) < 2 or (bare and words[:2] not in (["At", "most"], ["At", "least"]))


def test_what_has_a_name_is_named_by_its_docstring():
    offenders = []
    for path, tree in modules():
        for node in named_things(tree):
            first = first_sentence(ast.get_docstring(node) or "")
            if first and is_fragment(first.split()):
                offenders.append(f"{path}:{node.body[0].lineno}: {first}")
    assert not offenders, "let it begin with what the thing is:\n" + "\n".join(offenders)


def test_limits_are_called_max():
    offenders = []
    for path, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id.isupper():
                offenders += [f"{path}:{node.lineno}: {node.id}"] * bool(NOT_MAX & set(node.id.split("_")))
    assert not offenders, "call it MAX_...:\n" + "\n".join(offenders)
