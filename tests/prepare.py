"""Install what the tests need beside Python packages, where that is allowed; otherwise say what is missing.

pdf2image draws with poppler's programs, and the tests compare its pages with PDFium's; chromium opens the page of
visret's server; LibreOffice makes PDFs of office files; QEMU runs the machine code for ARM, where there is a package
for it. What is missing, tests skip and say so.
"""

import compileall
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Of each the programs that will do, and how to get one: Debian's packages, and two others.
NEEDED = {
    ("pdftoppm",): ("poppler-utils", "brew install poppler", "conda install -c conda-forge poppler"),
    ("chromium", "chromium-browser", "google-chrome"): ("chromium", "brew install --cask chromium", ""),
    ("soffice", "libreoffice"): (
        "libreoffice-writer-nogui libreoffice-calc-nogui libreoffice-impress-nogui",
        "brew install --cask libreoffice",
        "",
    ),
}
if sys.platform == "linux":
    NEEDED |= {
        ("qemu-aarch64",): ("qemu-user", "", ""),
        ("aarch64-linux-gnu-gcc",): ("gcc-aarch64-linux-gnu", "", ""),
    }


def main() -> int:
    compileall.compile_dir(ROOT / "visret", quiet=1)  # once, rather than in every process that tests start
    missing = [how for programs, how in NEEDED.items() if not any(map(shutil.which, programs))]
    if not missing:
        return 0
    packages = [package for together, *_ in missing for package in together.split()]
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], check=True, env=quiet)
        return 0
    for package, *others in missing:
        print("  |  ".join(["Tests need: apt install " + package, *filter(None, others)]), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
