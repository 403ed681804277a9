"""From the shell's prompt to the answer, each time in a new process: how long, and how much memory.

    python tests/benchmarks/starting.py FOLDER              # of PDFs, indexed once beside it; or an index

Seconds are the median of ten runs after one that fills the file cache, on the wall clock. MiB are anonymous memory at
its peak, which is what a process takes from the others: files that are mapped are shared, and can be dropped. It is
read a thousand times a second, since the system keeps no peak of it (Linux only). Ends with a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from visret import Retriever
from visret.index.layout import CATALOGUE

HERE = Path(__file__).parent
RUNS = 10
PERIOD = 0.001  # seconds between two looks at the memory
MOST_SECONDS, MOST_MIB, SHARE = 0.7, 200, 0.6  # of a search; the share of the time that importing torch takes


def anonymous_memory(process: int) -> int:
    """The anonymous memory of a process in bytes, 0 where it is gone."""
    try:
        status = Path(f"/proc/{process}/status").read_text("utf8")
    except OSError:
        return 0
    line = next((line for line in status.splitlines() if line.startswith("RssAnon:")), "RssAnon: 0")
    return int(line.split()[1]) << 10


def run(command: list[str]) -> tuple[float, int]:
    """Wall seconds of a new process, and the most anonymous memory it was seen to have, in bytes."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    peak = 0
    while process.poll() is None:
        peak = max(peak, anonymous_memory(process.pid))
        time.sleep(PERIOD)
    seconds = time.perf_counter() - start
    assert process.stderr is not None
    if process.returncode:
        raise SystemExit(f"{' '.join(command)}: {process.stderr.read().decode()}")
    process.stderr.close()
    return seconds, peak


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
    whole = made["import torch"][0]
    print(f"\n{'':16}{'seconds':>9}{'of torch':>10}{'MiB':>7}")
    for name, (seconds, peak) in made.items():
        print(f"{name:16}{seconds:9.2f}{seconds / whole:10.2f}{peak / (1 << 20):7.0f}")
    seconds, peak = made["visret search"]
    missed = seconds > min(MOST_SECONDS, SHARE * whole) or peak > MOST_MIB << 20
    print(json.dumps({name: [round(seconds, 3), peak] for name, (seconds, peak) in made.items()}))
    return int(missed)


def _measured(commands: dict[str, list[str]], runs: int) -> dict[str, tuple[float, int]]:
    """The median seconds and the most bytes of each command. In turns: what else the machine does hits all alike."""
    for command in commands.values():
        run(command)
    taken = [{name: run(command) for name, command in commands.items()} for _ in range(runs)]
    return {
        name: (statistics.median(once[name][0] for once in taken), max(once[name][1] for once in taken))
        for name in commands
    }


if __name__ == "__main__":
    sys.exit(main())
