"""Many people at once: `visret serve` and 50 clients, each asking every five seconds for a minute; then faster.

    python tests/benchmarks/serve.py FOLDER                 # of PDFs, indexed once beside it; or an index

The server is a process of its own, the clients are threads of this one, each with a connection that it keeps. Questions
are those of questions.jsonl, each client's in an order of its own; ten hits with boxes. After the minute the rate is
raised, with 50 clients still, until p95 exceeds a second or a client gets an error. Memory is the server's own
(anonymous), in MiB; mapped index files are not counted. Ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from visret import Retriever
from visret.index.layout import CATALOGUE

HERE = Path(__file__).parent
CLIENTS, PERIOD, SECONDS = 50, 5.0, 60.0
BAR = 1.0  # second, for p95
STEP_SECONDS, GROWTH = 15.0, 1.25


class Client(threading.Thread):
    """Asks at its own times, `offset` and every `period` seconds after; one that is late does not wait again."""

    def __init__(
        self, address: tuple[str, int], questions: list[str], *, offset: float, period: float, end: float
    ) -> None:
        super().__init__()
        self.address, self.questions, self.period, self.end = address, questions, period, end
        self.due = time.monotonic() + offset
        self.took: list[float] = []
        self.errors: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        number = 0
        while self.due < self.end:
            time.sleep(max(0.0, self.due - time.monotonic()))
            body = json.dumps({"question": self.questions[number % len(self.questions)]})
            try:
                connection.request("POST", "/search", body, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                found = json.loads(answer.read())
                if answer.status != 200 or len(found["hits"]) != 10:
                    self.errors.append(f"{answer.status} {found}")
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.errors.append(repr(error))
                connection.close()
            self.took.append(time.monotonic() - self.due)  # a question that had to wait for its client counts as late
            self.due += self.period
            number += 1
        connection.close()


def ask(address: tuple[str, int], questions: list[str], *, rate: float, seconds: float) -> dict[str, float]:
    """CLIENTS clients that ask so many questions a second together: what came of it."""
    period = CLIENTS / rate
    end = time.monotonic() + seconds
    clients = [
        Client(
            address,
            random.Random(number).sample(questions, len(questions)),
            offset=period * number / CLIENTS,
            period=period,
            end=end,
        )
        for number in range(CLIENTS)
    ]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    took = np.array([one for client in clients for one in client.took])
    errors = [error for client in clients for error in client.errors]
    for error in errors[:3]:
        print("error:", error, file=sys.stderr)
    p50, p95 = np.percentile(took, [50, 95])
    return {"asked": len(took), "errors": len(errors), "p50": p50, "p95": p95, "max": took.max()}


def memory(process: int) -> float:
    """MiB of a process that no file stands behind."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


def row(rate: float, found: dict[str, float], used: float) -> str:
    """A line of the table."""
    times = "".join(f"{1000 * found[name]:8.0f}" for name in ("p50", "p95", "max"))
    return f"{rate:8.1f}{found['asked']:8.0f}{found['errors']:8.0f}{times}{used:8.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ui", action="store_true", help="with the page in the browser too")
    arguments = parser.parse_args()
    index = arguments.folder
    if not (index / CATALOGUE).exists():
        index = arguments.folder.with_name(arguments.folder.name + ".visret")
        with Retriever.open(index) if index.exists() else Retriever.create(index) as retriever:
            retriever.add(arguments.folder)
    with Retriever.open(index) as retriever:
        print(f"{retriever.info()['pages']:,} pages, {retriever.model}", file=sys.stderr)
    questions = [json.loads(line)["query"] for line in (HERE / "questions.jsonl").read_text("utf8").splitlines()]
    alone = [] if arguments.ui else ["--no-ui"]
    command = [sys.executable, "-m", "visret", "serve", str(index), "--port", "7861", "--rate", "100000", *alone]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        address = "127.0.0.1", 7861
        ask(address, questions, rate=4, seconds=len(questions) / 4)  # the model is loaded, every file was touched
        before = memory(server.pid)
        print("  rate/s   asked  errors  p50 ms  p95 ms  max ms     MiB", flush=True)
        found = ask(address, questions, rate=CLIENTS / PERIOD, seconds=SECONDS)
        after = memory(server.pid)
        print(row(CLIENTS / PERIOD, found, after), flush=True)
        held, rate = 0.0, CLIENTS / PERIOD
        step = found
        while not step["errors"] and step["p95"] <= BAR:
            held, rate = rate, rate * GROWTH
            step = ask(address, questions, rate=rate, seconds=STEP_SECONDS)
            print(row(rate, step, memory(server.pid)), flush=True)
        summary = {"clients": CLIENTS, "seconds": SECONDS, **{name: round(float(x), 3) for name, x in found.items()}}
        print(json.dumps({**summary, "mib_before": round(before), "mib_after": round(after), "held": round(held, 1)}))
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()
