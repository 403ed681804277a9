"""One of several processes that answer at one address (`workers.py` starts it): python -m visret.server.worker

It reads a line of JSON, what to serve and where, and answers until that pipe is closed. It writes nothing to the index.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
import threading

from visret.errors import VisretError
from visret.server import offline, workers


def main() -> int:
    """Serve, and return the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    given = json.loads(sys.stdin.buffer.readline())
    offline.stay(*((host, port) for host, port in given["reached"]), originals=given["originals"])
    from visret.server import app, records
    from visret.server.guard import Rules
    from visret.server.keys import Key

    class Server(app.Server):
        """The server, which says when it answers."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            sys.stdout.buffer.write(workers.READY)
            sys.stdout.flush()

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)  # comes back at the end of the pipe; not locked, as sys.stdin would be
        server.should_exit = True

    records.configure(**given["logs"])
    named = [Key(**{**key, "rights": tuple(key["rights"])}) for key in given["rules"]["keys"]]
    rules = Rules(**{**given["rules"], "hosts": set(given["rules"]["hosts"]), "keys": named})
    try:
        built = app.build(
            given["index"],
            rules,
            ui=False,
            rerank=given["rerank"],
            question_model=given["question_model"],
            fuse=given["fuse"],
            read_only=True,
        )
    except VisretError as error:
        print(f"visret: {error}", file=sys.stderr)  # noqa: T201 - its parent shows it
        return 1
    server = Server(app.configuration(built))
    threading.Thread(target=watch, daemon=True).start()
    with socket.socket(fileno=given["listener"]) as listener:
        server.run(sockets=[listener])
    return 0


if __name__ == "__main__":
    sys.exit(main())
