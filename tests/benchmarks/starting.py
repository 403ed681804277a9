"""From the shell's prompt to the answer, each time in a new process: how long, and how much memory.

    python tests/benchmarks/starting.py FOLDER              # of PDFs, indexed once beside it; or an index

Seconds are the median of ten runs after one that fills the file cache: on the wall clock, and those of all cores
together, which tell more where other processes keep the machine busy. MiB are anonymous memory at its peak, which is
what a process takes from the others: files that are mapped are shared, and can be dropped. It is read a thousand times
a second, since the system keeps no peak of it (Linux only). Processes may keep Python's bytecode, as those of an
installed package have it. Ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from visret import Retriever
from visret.index.layout import CATALOGUE

HERE = Path(__file__).parent
RUNS = 10
PERIOD = 0.001  # seconds between two looks at the memory
MAX_SECONDS, MAX_MIB, SHARE = 0.7, 200, 0.6  # of a search; the share of the time that importing torch takes


def anonymous_memory(process: int) -> int:
    """The anonymous memory of a process in bytes, 0 where it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text("utf8")
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("RssAnon:")), "RssAnon: 0")
    return int(line.split()[1]) << 10


class Run(NamedTuple):
    """A process from its start to its end. seconds: on the wall clock. work: seconds of all cores. peak: in bytes."""

    seconds: float
    work: float
    peak: int


def run(command: list[str]) -> Run:
    """Run a command in a new process."""
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=kept)
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous_memory(process.pid))
        time.sleep(PERIOD)
    seconds = time.perf_counter() - start
    assert process.stderr is not None
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {process.stderr.read().decode()}")
    process.stderr.close()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Run(seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak)


def main() -> int:
    """Print the table; 1 where a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=int, default=RUNS)
    arguments = parser.parse_args()
    index = arguments.folder
    if not (index / CATALOGUE).is_file():
        index = index.with_name(f"{index.name}.visret")
        if not (index / CATALOGUE).is_file():
            with Retriever.create(index) as retriever:
                retriever.add(arguments.folder)
    with Retriever.open(index) as retriever:
        facts = retriever.info()
    with (HERE / "questions.jsonl").open(encoding="utf8") as lines:
        question = json.loads(next(lines))["query"]
    visret = [sys.executable, "-m", "visret"]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import numpy": [sys.executable, "-c", "import numpy"],
        "import torch": [sys.executable, "-c", "import torch"],
        "visret --help": [*visret, "--help"],
        "visret info": [*visret, "info", str(index)],
        "visret search": [*visret, "search", str(index), question],
    }
    print(f"{facts['pages']:,} pages, {facts['model']}, {facts['codec']}, {os.cpu_count()} cores")
    made = _measured(commands, arguments.runs)
    whole, search = made["import torch"].seconds, made["visret search"]
    print(f"\n{'':16}{'seconds':>9}{'of torch':>10}{'cores':>7}{'MiB':>7}")
    for name, one in made.items():
        print(f"{name:16}{one.seconds:9.2f}{one.seconds / whole:10.2f}{one.work:7.2f}{one.peak / (1 << 20):7.0f}")
    print(json.dumps({name: one._asdict() for name, one in made.items()}))
    return int(search.seconds > min(MAX_SECONDS, SHARE * whole) or search.peak > MAX_MIB << 20)


def _measured(commands: dict[str, list[str]], runs: int) -> dict[str, Run]:
    """The medians of each command, and its highest peak. In turns: what else the machine does hits all alike."""
    for command in commands.values():
        run(command)
    taken = [{name: run(command) for name, command in commands.items()} for _ in range(runs)]

    def together(name: str) -> Run:
        seconds, work, peaks = zip(*(once[name] for once in taken), strict=True)
        return Run(statistics.median(seconds), statistics.median(work), max(peaks))

    return {name: together(name) for name in commands}


if __name__ == "__main__":
    sys.exit(main())
