"""The keys of a server: who holds one, whether they may write, and the filter that binds all that they get."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visret.errors import InvalidArgument, VisretError
from visret.index.filters import BUILT_IN, And, AnyOf, Filter, Not, Or, parse

MIN_LENGTH = 16  # characters
RIGHTS = ("read", "write")
SETTINGS = ("name", "key", "sha256", "rights", "where")
MAKE = 'python -c "import secrets; print(secrets.token_urlsafe())"'
_SHA256 = re.compile(r"[0-9a-f]{64}")


class _All(Collection[str]):
    """The names of all keys of metadata that there could be."""

    def __contains__(self, _: object) -> bool:
        return True

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@dataclass(frozen=True, eq=False)
class Key:
    """A key that opens the server.

    name: for the log. sha256: of the key, in hexadecimal. rights: of RIGHTS. where: the filter of all that it gets;
    None for everything. Raises InvalidArgument for a key that could not be kept to.
    """

    name: str
    sha256: str
    rights: tuple[str, ...] = RIGHTS
    where: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not self.name or not set(self.rights) <= set(RIGHTS) or "read" not in self.rights:
            raise InvalidArgument(f"key {self.name!r}: a key has a name, and the rights 'read' or 'read' and 'write'")
        if self.where is None:
            return
        tree = parse(self.where, _All())
        if not tree.parts or "page" in set(_keys(tree)):
            raise InvalidArgument(f"key {self.name!r}: `where` is a filter of documents; leave it out to bind nothing")
        if self.may_write and self.equalities is None:
            raise InvalidArgument(
                f"key {self.name!r}: what it adds must get metadata that its filter lets through, so a key that may "
                'write has a filter such as {tenant = "a"}'
            )

    @property
    def may_write(self) -> bool:
        """True if the index may be changed with this key."""
        return "write" in self.rights

    @property
    def equalities(self) -> dict[str, Any] | None:
        """The metadata that passes the filter; None if the filter asks for anything but single values of keys."""
        parts = parse(self.where or {}, _All()).parts
        if not all(isinstance(one, AnyOf) and len(one.values) == 1 and one.key not in BUILT_IN for one in parts):
            return None
        return {one.key: one.values[0] for one in parts if isinstance(one, AnyOf)}

    @property
    def space(self) -> str:
        """The name of the folder of what is uploaded under this filter; keys with the same filter share it."""
        return hashlib.sha256(json.dumps(self.where, sort_keys=True).encode()).hexdigest()[:12]


CURRENT: ContextVar[Key | None] = ContextVar("visret_key", default=None)
"""The key of the request that is being answered; None on a server without keys."""


def hashed(key: str) -> str:
    """Return the SHA-256 of a key. Keys are random and long, so that nobody can try all of them."""
    return hashlib.sha256(key.encode("utf8", "replace")).hexdigest()


def found(given: str, keys: Collection[Key]) -> Key | None:
    """Return the key that was given, or None; it takes the same time for each."""
    digest, match = hashed(given), None
    for key in keys:
        if hmac.compare_digest(digest, key.sha256):
            match = key
    return match


def checked(key: str) -> str:
    """Return a key without the space around it. Raises VisretError if it is too short or has other characters."""
    key = key.strip()
    if len(key) < MIN_LENGTH or not (key.isascii() and key.isprintable()) or " " in key:
        raise VisretError(f"a key has at least {MIN_LENGTH} letters, digits and signs, and no spaces; {MAKE} makes one")
    return key


def read(file: str | Path) -> tuple[Key, ...]:
    """Read the keys of a file, TOML or (.json) JSON: a list `keys` of tables with the keys in SETTINGS.

    Raises VisretError for what is no such file.
    """
    try:
        text = Path(file).read_text("utf8")
        data = json.loads(text) if Path(file).suffix.lower() == ".json" else tomllib.loads(text)
    except (OSError, ValueError) as error:
        raise VisretError(f"{file}: the keys cannot be read: {error}") from error
    listed = data.get("keys") if isinstance(data, dict) and set(data) == {"keys"} else None
    if not isinstance(listed, list) or not listed or not all(isinstance(one, dict) for one in listed):
        raise VisretError(f"{file}: a file of keys has [[keys]] tables with {', '.join(SETTINGS)}, and nothing else")
    keys = tuple(_made(file, number, one) for number, one in enumerate(listed, 1))
    for name, values in (("name", [key.name for key in keys]), ("key", [key.sha256 for key in keys])):
        if len(set(values)) < len(values):
            raise VisretError(f"{file}: two keys have the same {name}")
    return keys


def _made(file: str | Path, number: int, given: Mapping[str, Any]) -> Key:
    name = given.get("name")
    where, rights, digest = given.get("where"), given.get("rights", ["read"]), given.get("sha256")
    if unknown := set(given) - set(SETTINGS):
        raise VisretError(
            f"{file}: key {number}: no setting is called {min(unknown)!r}; there are {', '.join(SETTINGS)}"
        )
    if not isinstance(name, str) or not isinstance(rights, list) or ("key" in given) == ("sha256" in given):
        raise VisretError(f"{file}: key {number}: give a name, a list of rights, and either the key or its sha256")
    if "where" in given and not isinstance(where, dict):
        raise VisretError(f"{file}: key {name!r}: where is a filter such as {{tenant = 'a'}}, got {where!r}")
    where = json.loads(json.dumps(where, default=str))  # a date of TOML is text in metadata
    if digest is None:
        digest = hashed(checked(str(given["key"])))
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise VisretError(f"{file}: key {name!r}: sha256 is 64 hexadecimal digits in lower case")
    try:
        return Key(name, digest, tuple(rights), where)
    except (InvalidArgument, TypeError) as error:
        raise VisretError(f"{file}: {error}") from error


def _keys(tree: Filter) -> Iterator[str]:
    """Yield the keys that a filter looks at."""
    if isinstance(tree, And | Or):
        for part in tree.parts:
            yield from _keys(part)
    elif isinstance(tree, Not):
        yield from _keys(tree.part)
    else:
        yield tree.key


def tolerant(where: Mapping[str, Any] | None, known: Collection[str]) -> dict[str, Any]:
    """Return a filter that means the same, without the keys of metadata that no page has.

    A page without a key passes nothing about it, so whoever may not know of all pages gets the same answer whether
    others have the key or not. Raises InvalidArgument for what is no filter.
    """
    parse(where or {}, _All())
    made: dict[str, Any] = {"and": []}
    for key, value in (where or {}).items():
        if key == "not":
            made["and"].append({"not": tolerant(value, known)})
        elif key in ("and", "or"):
            made["and"].append({key: [tolerant(one, known) for one in value]})
        elif key in known or key in BUILT_IN:
            made["and"].append({key: value})
        elif not isinstance(value, Mapping) or set(value) != {"!="}:
            made["and"].append({"or": []})  # no page passes
    return made
