"""Filters of pages by metadata: a JSON object is turned once into a small tree, which whoever selects pages translates.

    {"year": {">=": 2020, "<": 2024}, "not": {"doc": ["a.pdf", "b.pdf"]}}
    And((Range("year", ((">=", 2020), ("<", 2024))), Not(AnyOf("doc", ("a.pdf", "b.pdf")))))

`Snapshot` turns a tree into masks and not into SQL: a reader sees one committed state, and the catalogue moves on from
it as soon as a writer commits. A store that keeps the pages' metadata itself translates the same tree into its own
terms.

What a tree means is the same everywhere. Values are typed: 1 is not "1", and true is not 1, but 1 is 1.0. Where the
metadata holds a list, one of its items must pass. A page without the key, or with a value of another type, does not
pass a leaf; it passes the `Not` of it. The page's own metadata count before its document's.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any

from visret import arguments
from visret.errors import InvalidArgument

# Keys of a filter that are columns of the catalogue, and those that join filters: no metadata may use them.
BUILT_IN = ("doc", "page", "source")
JOINS = ("and", "or", "not")

_RANGES: dict[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}
OPERATORS = ("==", "!=", *_RANGES)

EXAMPLES: dict[str, Mapping[str, Any]] = {
    "whose year is 2024": {"year": 2024},
    "whose year is not 2024, or that have none": {"year": {"!=": 2024}},
    "whose year is one of these": {"year": [2023, 2024]},
    "whose year lies in this range": {"year": {">=": 2020, "<": 2024}},
    "for which both hold": {"year": 2024, "draft": False},
    "for which at least one of these holds": {"or": [{"doc": "a.pdf"}, {"not": {"page": 1}}]},
}
"""Filters by the pages that pass them, for the documents."""

Test = Callable[[Any], bool]  # of one value of the metadata


@dataclass(frozen=True, slots=True)
class And:
    """A filter that a page passes if it passes all of these; without any, every page does."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """A filter that a page passes if it passes one of these; without any, no page does."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """A filter that a page passes if it does not pass this one."""

    part: Filter


@dataclass(frozen=True, slots=True)
class AnyOf:
    """A filter for pages whose key has one of these values: text, numbers, true, false or None."""

    key: str
    values: tuple[Any, ...]

    def test(self) -> Test:
        """Return a function that tells whether a value is one of these."""
        known = set(map(_typed, self.values))
        return lambda value: _typed(value) in known


@dataclass(frozen=True, slots=True)
class Range:
    """A filter for pages whose key has a value within all bounds.

    bounds: pairs of an operator, "<", "<=", ">" or ">=", and a number or text.
    """

    key: str
    bounds: tuple[tuple[str, Any], ...]

    def test(self) -> Test:
        """Return a function that tells whether a value is within the bounds."""
        tests = [(_RANGES[operator], _typed(bound)[0], bound) for operator, bound in self.bounds]
        return lambda value: all(_typed(value)[0] == kind and compare(value, bound) for compare, kind, bound in tests)


Filter = And | Or | Not | AnyOf | Range


def parse(where: Any, keys: Collection[str]) -> And:
    """Return the tree of a filter as `Retriever.search` takes it. keys: of all metadata that was ever written.

    Raises InvalidArgument for what is not a filter, an unknown key or operator, and values that are not text, numbers,
    true, false or null; RecursionError for one that is nested too deeply.
    """
    if not isinstance(where, Mapping):
        raise InvalidArgument(f"a filter is an object such as {{'doc': 'a.pdf'}}, got {where!r}")
    parts: list[Filter] = []
    for key, value in where.items():
        if key == "not":
            parts.append(Not(parse(value, keys)))
        elif key in JOINS:
            if not isinstance(value, list | tuple):
                raise InvalidArgument(f"filter {key!r} takes a list of filters, got {value!r}")
            parts.append((And if key == "and" else Or)(tuple(parse(one, keys) for one in value)))
        else:
            parts += _conditions(key, value, keys)
    return And(tuple(parts))


def _conditions(key: str, condition: Any, keys: Collection[str]) -> list[Filter]:
    """List the conditions that one key must meet."""
    if key not in BUILT_IN and key not in keys:
        known = ", ".join([*BUILT_IN, *sorted(keys)])
        raise InvalidArgument(f"no page has metadata {key!r}; filters can use: {known}")
    if not isinstance(condition, Mapping):
        return [_any_of(key, condition)]
    if not condition or not set(condition) <= set(OPERATORS):
        raise InvalidArgument(f"filter {key!r}: the operators are {', '.join(OPERATORS)}, got {condition!r}")
    bounds = tuple((name, _bound(key, name, bound)) for name, bound in condition.items() if name in _RANGES)
    found: list[Filter] = [Range(key, bounds)] if bounds else []
    if "==" in condition:
        found.append(_any_of(key, condition["=="]))
    if "!=" in condition:
        found.append(Not(_any_of(key, condition["!="])))
    return found


def _any_of(key: str, wanted: Any) -> AnyOf:
    return AnyOf(key, tuple(_scalar(key, one) for one in arguments.several(wanted)))


def _bound(key: str, name: str, bound: Any) -> Any:
    bound = _scalar(key, bound)
    if isinstance(bound, bool) or bound is None:
        raise InvalidArgument(f"filter {key!r}: {name} compares with a number or with text, got {bound!r}")
    return bound


def _scalar(key: str, value: Any) -> Any:
    """Return a value of a filter as metadata would have it; a document may be named by a number."""
    made = arguments.plain(f"filter {key!r}", value)
    if isinstance(made, list | dict):
        raise InvalidArgument(f"filter {key!r}: expected text, a number, true, false or null, got {value!r}")
    return arguments.name(made) if key == "doc" and isinstance(made, int) and not isinstance(made, bool) else made


def _typed(value: Any) -> tuple[str, Any]:
    """Return a JSON scalar with its type: equal only if both are; 1 and 1.0 are the same number."""
    if isinstance(value, bool) or value is None:
        return str(value), None
    return ("text" if isinstance(value, str) else "number"), value
