"""Texts and questions that are hard for tokenizers, and the questions of the benchmark."""

import json
from pathlib import Path

ODD = [
    "red",
    "?",
    "Größe der ÉCLAIRS, naïve façade",
    "THE RED CIRCLE",
    "[SEP] [MASK] [unused0]",
    "red\u200bgreen \ufb01gure",
    "co-efficient of (thermal) expansion",
    "图 red 表",
    "a/" * 90,
]
LONG = "where is the sales figure, of the report? " * 120  # several windows


def benchmark_questions() -> list[str]:
    """Those of tests/benchmarks/quality.py."""
    lines = Path(__file__).parents[1].joinpath("benchmarks", "questions.jsonl").read_text("utf8").splitlines()
    return [json.loads(line)["query"] for line in lines]
