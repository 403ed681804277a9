"""A process that asks no other machine for anything, whatever its libraries would like to know."""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

SETTINGS = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# The position of the other machine's name among the arguments of an event.
_ASKS = {
    "socket.connect": 1,
    "socket.sendto": 1,
    "socket.getaddrinfo": 0,
    "socket.gethostbyname": 0,
}


def stay() -> None:
    """Make every connection from this process to another machine raise PermissionError, from now on and for good.

    Call it before the libraries are imported, since they read their settings once.
    """
    os.environ.update(SETTINGS)
    sys.addaudithook(_refuse)


def _refuse(event: str, given: tuple[Any, ...]) -> None:
    if event not in _ASKS:
        return
    address = given[_ASKS[event]]
    if not event.startswith("socket.get"):
        if not isinstance(address, tuple):
            return  # a socket of the file system
        address = address[0]
    if not _is_here(address):
        raise PermissionError(f"visret asks no other machine for anything, but something in it asked {address!r}")


def _is_here(host: str | bytes | None) -> bool:
    name = host.decode("latin-1") if isinstance(host, bytes) else host
    if not name or name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        return False
