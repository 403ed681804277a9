"""Connections that nobody asks anything on, over real sockets."""

import asyncio
import socket
import threading

import pytest
import uvicorn

from visret.server import app, protocol


async def slow_echo(scope, receive, send):
    """Answers after longer than a client may take for its head."""
    assert scope["type"] == "http"
    await asyncio.sleep(0.6)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def port(monkeypatch):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    monkeypatch.setattr(protocol, "MAX_OF_ONE", 5)
    configuration = app.configuration(slow_echo)
    configuration.lifespan = "off"
    server = uvicorn.Server(configuration)
    with app.listen("127.0.0.1", 0) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield listener.getsockname()[1]
        server.should_exit = True
        thread.join()


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=60)


def test_half_a_head_is_not_waited_for(port):
    for begun in (b"", b"POST / HTTP/1.1\r\nHost: loc"):
        with connect(port) as connection:
            connection.sendall(begun)
            assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")
            assert connection.recv(1) == b""


def test_a_request_under_way_has_its_time_and_the_next_is_waited_for(port):
    with connect(port) as connection:
        for _ in range(2):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = b""
            while not answer.endswith(b"ok"):
                answer += connection.recv(4096)
            assert answer.startswith(b"HTTP/1.1 200 ")
        connection.sendall(b"GET")
        assert connection.recv(4096).startswith(b"HTTP/1.1 408 ")


def test_one_address_does_not_take_every_connection(port):
    held = [connect(port) for _ in range(6)]
    assert held[-1].recv(4096).startswith(b"HTTP/1.1 503 ")
    for connection in held:
        connection.close()
