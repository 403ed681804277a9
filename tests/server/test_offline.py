"""A process that stays on its machine."""

import socket
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from visret import stores
from visret.server import offline

CODE = """
import asyncio, socket, urllib.request
from visret.server import offline
offline.stay()
listener = socket.create_server(("127.0.0.1", 0))
socket.create_connection(listener.getsockname()).close()
left, right = socket.socketpair()

def refused(work):
    try:
        work()
    except OSError as error:
        assert "asks no other machine" in str(error), error
    else:
        raise SystemExit(f"{work} went through")

refused(lambda: socket.create_connection(("192.0.2.1", 80), timeout=1))
refused(lambda: socket.getaddrinfo("example.com", 80))
refused(lambda: socket.gethostbyname("example.com"))
refused(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("192.0.2.1", 53)))
refused(lambda: urllib.request.urlopen("http://192.0.2.1/", timeout=1))
refused(lambda: asyncio.run(asyncio.open_connection("192.0.2.1", 80)))
"""


def test_nothing_leaves_the_machine_whoever_asks():
    subprocess.run([sys.executable, "-c", CODE], check=True, timeout=120)


OPENED = """
import socket, sys, urllib.request
from visret.server import offline
given, port, other = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
number = socket.gethostbyname(given)
offline.stay((given, port))

def refused(work, *asked):
    try:
        work(*asked)
    except PermissionError as error:
        assert "that its command does not name" in str(error), error
    else:
        raise SystemExit(f"{work} {asked} went through")

for name in (given, given.upper(), number):
    socket.create_connection((name, port), timeout=60).close()
    assert socket.getaddrinfo(given, port)
    refused(socket.create_connection, (name, other))
    udp = socket.socket(type=socket.SOCK_DGRAM)
    refused(udp.connect, (name, port))
    refused(udp.sendto, b"x", (name, port))
assert urllib.request.urlopen(f"http://{given}:{port}/").read() == b"here"
refused(socket.create_connection, ("192.0.2.1", port))
refused(socket.getaddrinfo, "example.com", port)
refused(socket.getaddrinfo, f"x.{given}", port)
"""


def own_address():
    """The number of this machine in its network, which is no loopback address; skips where it has none."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but its loopback")
        return probe.getsockname()[0]


def names():
    """What this machine goes by in its network: its number, and its name where that leads to the number."""
    number = own_address()
    try:
        found = socket.gethostbyname(socket.gethostname())
    except OSError:
        found = None
    return [number, *([socket.gethostname()] if found == number else [])]


def test_the_addresses_that_the_command_names_are_reached_and_no_other_of_the_same_machine():
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"here")

        def log_message(self, *arguments):
            pass

    number = own_address()
    with ThreadingHTTPServer((number, 0), Handler) as allowed, ThreadingHTTPServer((number, 0), Handler) as other:
        for server in (allowed, other):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        for name in names():
            asked = [name, str(allowed.server_port), str(other.server_port)]
            subprocess.run([sys.executable, "-c", OPENED, *asked], check=True, timeout=120)
        for server in (allowed, other):
            server.shutdown()


def test_a_name_opens_the_numbers_that_it_has_now(monkeypatch):
    numbers = ["198.51.100.7", "2001:db8::7"]

    def found(host, port, **how):
        if host != "store.example":
            raise OSError
        return [(None, None, None, "", (number, 0)) for number in numbers]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    reached = [("store.example", 6333), ("elsewhere.example", 6333)]
    with socket.socket() as asking:
        for number in ("198.51.100.7", "2001:db8:0::7"):
            assert offline._is_reached(reached, asking, (number, 6333))
            assert not offline._is_reached(reached, asking, (number, 6334))
        assert not offline._is_reached(reached, asking, ("198.51.100.8", 6333))
        numbers[:] = ["198.51.100.8"]
        assert offline._is_reached(reached, asking, ("198.51.100.8", 6333))
        assert not offline._is_reached(reached, asking, ("198.51.100.7", 6333))


def test_a_store_is_the_only_machine_that_its_address_opens():
    assert stores.addresses("qdrant://store.example:7000/pages") == [("store.example", 7000)]
    assert stores.addresses("qdrant+https://[2001:db8::1]/pages") == [("2001:db8::1", stores.PORT)]
    assert stores.addresses("qdrant+edge:///data/pages") == []
    assert stores.addresses("papers.visret") == []
