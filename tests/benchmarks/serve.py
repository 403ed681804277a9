"""Many people at once: `visret serve` and 50 clients, each asking every five seconds for a minute; then faster.

    python tests/benchmarks/serve.py FOLDER                 # of PDFs, indexed once beside it; or an index
    python tests/benchmarks/serve.py FOLDER --workers 1 2   # one process beside two, which only read the index

The server is a process of its own, the clients are threads of this one, each with a connection that it keeps. Questions
are those of questions.jsonl, each client's in an order of its own; ten hits with boxes. After the minute the rate is
raised, with 50 clients still, until p95 exceeds a second or a client gets an error. Memory is the server's own
(anonymous), of all its processes, in MiB; mapped index files are not counted. Ends with a line of JSON.

If several numbers of processes are given, there is a server for each, and they take turns: 16 clients ask one after
another for some seconds, so that whatever else the machine does disturbs all of them. CPU time is that of the server.
"""

from __future__ import annotations

import argparse
import http.client
import json
import math
import os
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
CLOSED, TURN_SECONDS, TURNS = 16, 6.0, 8


class Client(threading.Thread):
    """Asks at its own times, `offset` and every `period` seconds after; one that is late does not wait again.

    period 0: as soon as the last answer is there.
    """

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
            self.due = self.due + self.period if self.period else time.monotonic()
            number += 1
        connection.close()


def ask(
    address: tuple[str, int], questions: list[str], *, rate: float, seconds: float, clients: int = CLIENTS
) -> dict[str, float]:
    """Clients that ask so many questions a second together: what came of it."""
    period = clients / rate
    start = time.monotonic()
    end = start + seconds
    crowd = [
        Client(
            address,
            random.Random(number).sample(questions, len(questions)),
            offset=period * number / clients,
            period=period,
            end=end,
        )
        for number in range(clients)
    ]
    for client in crowd:
        client.start()
    for client in crowd:
        client.join()
    took = np.array([one for client in crowd for one in client.took])
    errors = [error for client in crowd for error in client.errors]
    for error in errors[:3]:
        print("error:", error, file=sys.stderr)
    p50, p95 = np.percentile(took, [50, 95])
    spent = time.monotonic() - start
    return {"asked": len(took), "errors": len(errors), "p50": p50, "p95": p95, "max": took.max(), "took": spent}


def memory(process: int) -> float:
    """MiB of a process and of those that it started that no file stands behind."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    own = next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))
    started = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return own + sum(memory(int(one)) for one in started)


def cpu(process: int) -> float:
    """CPU seconds of a process and of those that it started."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    started = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK") + sum(cpu(int(one)) for one in started)


def take_turns(servers: dict[int, Server], questions: list[str]) -> None:
    """Print what each server answers while the others rest."""
    rates: dict[int, list[float]] = {count: [] for count in servers}
    costs: dict[int, list[float]] = {count: [] for count in servers}
    for turn in range(TURNS + 1):
        for count, server in servers.items():
            before = cpu(server.process.pid)
            found = ask(server.address, questions, rate=math.inf, seconds=TURN_SECONDS, clients=CLOSED)
            if turn:  # the first loads the models, and touches the files
                rates[count].append(found["asked"] / found["took"])
                costs[count].append(1000 * (cpu(server.process.pid) - before) / found["asked"])
    first = np.array(rates[min(rates)])
    print("processes  answers/s  ratio (lowest, highest)  CPU ms a question     MiB")
    for count, server in servers.items():
        ratios = np.array(rates[count]) / first
        low, middle, high = np.percentile(ratios, [0, 50, 100])
        said = f"{count:9}{np.median(rates[count]):11.1f}{middle:7.2f} ({low:.2f}, {high:.2f})"
        print(f"{said}{np.median(costs[count]):19.1f}{memory(server.process.pid):14.0f}")


class Server:
    """A server of an index, in processes of its own. address: its host and port."""

    def __init__(self, index: Path, port: int, options: list[str]) -> None:
        command = [
            sys.executable,
            "-m",
            "visret",
            "serve",
            str(index),
            "--port",
            str(port),
            "--rate",
            "100000",
            *options,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.address = "127.0.0.1", port
        assert self.process.stdout is not None
        self.process.stdout.readline()

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        self.process.wait()


def row(rate: float, found: dict[str, float], used: float) -> str:
    """A line of the table."""
    times = "".join(f"{1000 * found[name]:8.0f}" for name in ("p50", "p95", "max"))
    return f"{rate:8.1f}{found['asked']:8.0f}{found['errors']:8.0f}{times}{used:8.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ui", action="store_true", help="with the page in the browser too")
    parser.add_argument("--workers", type=int, nargs="+", default=[1], help="processes of the server (1)")
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
    counts = sorted(set(arguments.workers))
    servers = {
        count: Server(index, 7861 + number, [*alone, "--workers", str(count)]) for number, count in enumerate(counts)
    }
    try:
        if len(servers) > 1:
            take_turns(servers, questions)
        else:
            alone_with(servers[counts[0]], questions)
    finally:
        for server in servers.values():
            server.stop()


def alone_with(server: Server, questions: list[str]) -> None:
    """Print the table of one server."""
    ask(server.address, questions, rate=4, seconds=len(questions) / 4)  # the model is loaded, every file was touched
    before = memory(server.process.pid)
    print("  rate/s   asked  errors  p50 ms  p95 ms  max ms     MiB", flush=True)
    found = ask(server.address, questions, rate=CLIENTS / PERIOD, seconds=SECONDS)
    after = memory(server.process.pid)
    print(row(CLIENTS / PERIOD, found, after), flush=True)
    held, rate = 0.0, CLIENTS / PERIOD
    step = found
    while not step["errors"] and step["p95"] <= BAR:
        held, rate = rate, rate * GROWTH
        step = ask(server.address, questions, rate=rate, seconds=STEP_SECONDS)
        print(row(rate, step, memory(server.process.pid)), flush=True)
    summary = {"clients": CLIENTS, "seconds": SECONDS, **{name: round(float(x), 3) for name, x in found.items()}}
    print(json.dumps({**summary, "mib_before": round(before), "mib_after": round(after), "held": round(held, 1)}))


if __name__ == "__main__":
    main()
