"""What a collection of 10^4 to 10^9 pages takes: bytes, machines, hours of encoding, milliseconds, money.

    python tests/benchmarks/scaling.py                          # the table of docs/scaling.md
    python tests/benchmarks/scaling.py --gpu-hour 1.5 --copies 3

Every number is one of three kinds. MEASURED ones are figures of docs/benchmarks.md and docs/scaling.md, of two cores.
PUBLISHED ones name their source. The others are assumed, and are options, prices above all; nobody was asked for one.
The rest is multiplication, and counts neither network nor the work of operating machines.

Pages are those of a model of pictures: 1,030 vectors of 128 dimensions. A text model of 384 dimensions stores twice as
much (555 vectors a page), and one that is projected to 128 dimensions half as much.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass, fields

PAGES = tuple(10**n for n in range(4, 10))
VECTORS, DIM = 1_030, 128
BYTES_A_VECTOR = {
    "int8": DIM + 4,
    "four bits": DIM / 2,
    "residual2": DIM / 4 + 4,
    "residual1": DIM / 8 + 4,
    "binary": DIM / 8,
}

# MEASURED. What a page has beside its vectors: text and places of words, postings (1.2 KB), means.
BESIDE = 16_000  # bytes; 237,814 of int8 in all, less 215,000 of vectors and 6,700 of summaries (30 November 2026)
SUMMARY = 32  # vectors that share a row of the summary
SCANNED = 388e6 / 0.091  # bytes a second and core: 1,000,000 single vectors in 91 CPU ms (30 November 2026)
MULTIPLIED = 1_000 * 1_030 * 128 * 32 / 0.0137 / 2  # of MaxSim, a second and core: `engines.py`, VNNI, 28 November 2026
CPU_PAGES = 7.3 / 2  # a second and core, by the default text model: 6.7 to 8.0 on two (AVX2, 21 November 2026)
# PUBLISHED. ColPali on an NVIDIA L4 takes .39 s a page (Faysse et al. 2024, arXiv 2407.01449).
GPU_PAGES = 1 / 0.39
# The limit of a first stage that scans summaries. Beyond it, 64 bytes of every page are looked at: the signs of four
# centroids (few_bytes.py).
SUMMARIES_UP_TO = 10**7
FEW_BYTES = 64
TOKENS = 20  # of a question


@dataclass(frozen=True)
class Assumed:
    """What is not measured, as options. Money is in US dollars.

    cores, memory, disk: of a machine, with gigabytes; reads: gigabytes a second from its disk.
    questions: a second, in all. busy: the share of the cores that may be in use. candidates: pages that are scored
    exactly, beyond SUMMARIES_UP_TO. machine_hour, gpu_hour: prices. copies: of every page.
    """

    cores: int = 32
    memory: float = 256
    disk: float = 7_600
    reads: float = 5
    questions: float = 1
    busy: float = 0.5
    candidates: int = 10_000
    machine_hour: float = 2.0
    gpu_hour: float = 0.8
    copies: int = 2


@dataclass(frozen=True)
class Plan:
    """What so many pages take. Bytes are of one copy; hours are of one GPU and one core; money is in US dollars."""

    stored: float
    first: float
    machines: int
    gpu_hours: float
    core_hours: float
    milliseconds: float
    month: float
    encoding: float


def plan(pages: int, codec: str, given: Assumed) -> Plan:
    """Work out what a collection takes."""
    page = VECTORS * BYTES_A_VECTOR[codec]
    summary = math.ceil(VECTORS / SUMMARY) * (DIM + 4)
    is_small = pages <= SUMMARIES_UP_TO
    first = pages * (summary if is_small else FEW_BYTES)
    stored = pages * (page + summary + BESIDE + (0 if is_small else FEW_BYTES))
    # A page of the shortlist is read from disk, and multiplied with every token of the question.
    scored = min(pages, 900 if is_small else given.candidates)
    looked_at = math.ceil(VECTORS / SUMMARY) * DIM if is_small else 8 * FEW_BYTES  # dimensions of a page; signs
    choosing = max(first / SCANNED, pages * looked_at * TOKENS / MULTIPLIED)
    core_seconds = choosing + scored * VECTORS * DIM * TOKENS / MULTIPLIED
    needs = (
        stored * given.copies / (given.disk * 1e9),
        first * given.copies / (given.memory * 1e9 / 2),
        given.questions * core_seconds / (given.cores * given.busy),
    )
    machines = max(given.copies if pages > 10**6 else 1, *map(math.ceil, needs))
    answering = machines / given.copies if machines >= given.copies else machines
    seconds = core_seconds / (answering * given.cores) + scored * page / (answering * given.reads * 1e9)
    gpu_hours = pages / GPU_PAGES / 3600
    return Plan(
        stored=stored,
        first=first,
        machines=machines,
        gpu_hours=gpu_hours,
        core_hours=pages / CPU_PAGES / 3600,
        milliseconds=1000 * seconds,
        month=machines * given.machine_hour * 730,
        encoding=gpu_hours * given.gpu_hour,
    )


def size(number: float) -> str:
    """Bytes in words."""
    for unit, scale in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if number >= scale:
            return f"{number / scale:,.{0 if number >= 100 * scale else 1}f} {unit}"
    return f"{number / 1e3:,.0f} KB"


def count(number: float) -> str:
    """A number with two digits that count."""
    if number <= 0:
        return "0"
    digits = max(0, 1 - math.floor(math.log10(number)))
    rounded = round(number, 1 - math.floor(math.log10(number)))
    return f"{rounded:,.{digits}f}" if rounded < 10 else f"{rounded:,.0f}"


def row(pages: int, codec: str, given: Assumed) -> str:
    """A line of the table."""
    made = plan(pages, codec, given)
    cells = [
        f"10^{round(math.log10(pages))}",
        codec,
        size(made.stored),
        size(made.first),
        f"{made.machines:,}",
        count(made.gpu_hours),
        count(made.core_hours),
        count(made.milliseconds),
        f"{count(made.month)}",
        f"{count(made.encoding)}",
    ]
    return "| " + " | ".join(cells) + " |"


HEADER = (
    "| pages | codec | one copy | first stage | machines | GPU hours | core hours | ms a question | $ a month | "
    "$ to encode |\n" + "|---" * 10 + "|"
)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for one in fields(Assumed):
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=type(one.default), default=one.default)
    parser.add_argument("--codec", nargs="+", choices=list(BYTES_A_VECTOR), default=["int8", "residual2", "binary"])
    arguments = vars(parser.parse_args())
    codecs = arguments.pop("codec")
    given = Assumed(**arguments)
    print(", ".join(f"{one.name.replace('_', ' ')} {getattr(given, one.name):,}" for one in fields(Assumed)) + "\n")
    print(HEADER)
    for pages in PAGES:
        for codec in codecs:
            print(row(pages, codec, given))


if __name__ == "__main__":
    main()
