"""A disk that is full: python tests/soak/full_disk.py (as root on Linux: it mounts a small disk in memory)

`visret index` runs on it until there is no room, with more of it each time, then with enough. It must stop with one
line, lose nothing that was committed, and end as on a large disk.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from soak.kill import look, write_papers  # noqa: E402


def index(papers: Path, folder: Path) -> tuple[int, str]:
    """Exit status, and what was said."""
    command = [
        sys.executable,
        "-m",
        "visret",
        "index",
        papers,
        "--index",
        folder,
        "--model",
        "toy",
        "--codec",
        "float32",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, check=False)
    return done.returncode, done.stderr


def main() -> None:
    """As the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--kib", type=int, nargs="+", default=[150, 300, 450, 600])
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        papers, disk, whole = (Path(scratch, name) for name in ("papers", "disk", "whole"))
        write_papers(papers, given.documents, random.Random(0))
        status, said = index(papers, whole)
        assert status == 0, said
        expected = look(whole)
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={given.kib[0]}k", "tmpfs", disk], check=True)
        try:
            known: dict[object, bytes] = {}
            for kib in given.kib:
                subprocess.run(["mount", "-o", f"remount,size={kib}k", disk], check=True)
                status, said = index(papers, disk / "index")
                now = look(disk / "index")
                print(f"{kib:6} KiB: exit {status}, {len(now)} of {len(expected)} pages; {said.strip()}")
                assert status == 1, said
                assert "the disk is full" in said, said
                assert "Traceback" not in said, said
                assert known.items() <= now.items(), "lost what was committed"
                known = dict(now)
            subprocess.run(["mount", "-o", "remount,size=1g", disk], check=True)
            status, said = index(papers, disk / "index")
            assert status == 0, said
            assert look(disk / "index") == expected
            print("with room: all pages are there, as on a large disk")
        finally:
            subprocess.run(["umount", disk], check=True)


if __name__ == "__main__":
    main()
