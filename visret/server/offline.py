"""A process that asks no other machine for anything but what its command names, whatever its libraries want to know.

It sees what Python's sockets do, and what visret fetches of originals on object storage. A library that connects in
machine code of its own, as obstore does, is not seen otherwise.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

from visret.stores.objects import FETCHED, is_below

SETTINGS = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# The position of the other machine's name among the arguments of an event.
_ASKS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}
Address = tuple[str, int]  # host and port


def stay(*reached: Address, originals: Sequence[str] = ()) -> None:
    """Make every connection from this process to another machine raise PermissionError, from now on and for good.

    reached: the host and port of each machine that it may connect to nevertheless, over TCP. Such a host may be a name,
    which is looked up for every connection. originals: the addresses on object storage below which documents may be
    fetched, to draw their pages.

    Call it before the libraries are imported, since they read their settings once.
    """
    os.environ.update(SETTINGS)
    named = [one.rstrip("/") for one in originals]
    sys.addaudithook(partial(_refuse, frozenset((host.lower(), port) for host, port in reached), named))


def _refuse(reached: Collection[Address], originals: Sequence[str], event: str, given: tuple[Any, ...]) -> None:
    if event == FETCHED and not any(is_below(given[0], one) for one in originals):
        raise PermissionError("is on object storage, which this server asks only below what --originals names")
    if event not in _ASKS:
        return
    asked = given[_ASKS[event]]
    if event.startswith("socket.get"):
        may = _is_here(asked) or _name(asked) in {host for host, _ in reached}
    elif not isinstance(asked, tuple):
        return  # a socket of the file system
    else:
        may = _is_here(asked[0]) or (event == "socket.connect" and _is_reached(reached, given[0], asked))
    if not may:
        raise PermissionError(
            f"visret asks no other machine for anything that its command does not name, but something in it asked "
            f"{asked!r}"
        )


def _name(host: str | bytes | None) -> str:
    return (host.decode("latin-1") if isinstance(host, bytes) else host or "").lower()


def _is_here(host: str | bytes | None) -> bool:
    name = _name(host)
    if not name or name == "localhost":
        return True
    found = _number(name)
    return found is not None and found.is_loopback


def _is_reached(reached: Collection[Address], asking: socket.socket, asked: tuple[Any, ...]) -> bool:
    """Return whether a connection goes to one of these addresses, by its name or by a number that the name has now."""
    host, port = _name(asked[0]), asked[1]
    if asking.type != socket.SOCK_STREAM:
        return False
    number = _number(host)
    for name, opened in reached:
        if opened != port:
            continue
        if name == host or (number is not None and number in _numbers(name)):
            return True
    return False


def _numbers(name: str) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address | None]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except OSError:
        return set()
    return {_number(str(address[0])) for *_, address in found}


def _number(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
