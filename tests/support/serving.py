"""A real server, `visret serve` in a process of its own, and a client of it."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from support.waiting import free_port

KEY = "sixteen-letters-and-more"
BEARER = {"Authorization": f"Bearer {KEY}"}


class Server:
    """A process that serves, and a client of it that sends what it is given as it is."""

    def __init__(self, *arguments, **environment):
        command = [sys.executable, "-m", "visret", "serve", *map(str, arguments), "--port", str(free_port())]
        self.port = int(command[-1])
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self.said = self.process.stdout.readline()
        if not self.said:
            pytest.fail(self.process.communicate()[1])

    def ask(self, path, method="GET", body=None, headers=BEARER, **more):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        if isinstance(body, dict):
            body, more = json.dumps(body), {"Content-Type": "application/json", **more}
        with contextlib.closing(connection):
            connection.putrequest(method, path, skip_accept_encoding=True)
            headers = {**headers, **more}
            if body is not None:
                body = body.encode() if isinstance(body, str) else body
                headers.setdefault("Content-Length", str(len(body)))
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            answer.content = answer.read()
        return answer

    def search(self, question, **more):
        return json.loads(self.ask("/search", "POST", {"question": question, **more}).content)

    def upload(self, *files, metadata=""):
        """files: (name, content); a name stands in the request as it is."""
        parts = [
            b'--XX\r\nContent-Disposition: form-data; name="files"; filename="%s"\r\n\r\n%s\r\n'
            % (name.encode().replace(b'"', b"%22"), content)
            for name, content in files
        ]
        parts.append(b'--XX\r\nContent-Disposition: form-data; name="metadata"\r\n\r\n%s\r\n' % metadata.encode())
        return self.ask(
            "/documents",
            "POST",
            b"".join(parts) + b"--XX--\r\n",
            **{"Content-Type": "multipart/form-data; boundary=XX"},
        )

    def raw(self, data, *, wait=60.0):
        """The first bytes that come back, b"" where the connection is closed instead."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            connection.sendall(data)
            return connection.recv(4096)

    def stop(self, number=signal.SIGINT):
        self.process.send_signal(number)
        said, complaints = self.process.communicate(timeout=60)
        return self.process.returncode, self.said + said, complaints
