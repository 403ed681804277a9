"""Packages of Debian as folders, for benchmarks on their documents. Needs apt-get and dpkg for the first run."""

import subprocess
from pathlib import Path


def unpacked(package: str, folder: Path, *, called: str | None = None) -> Path:
    """The folder with a package's files, under `folder`; it is fetched once. called: its name, if not the package's."""
    target = folder / (called or package)
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "-q", package], cwd=folder, check=True)
        (deb,) = folder.glob(f"{package}_*.deb")
        subprocess.run(["dpkg", "-x", deb, target], check=True)
        deb.unlink()
    return target
