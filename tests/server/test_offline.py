"""A process that stays on its machine."""

import subprocess
import sys

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
