"""Install what the tests need beside Python packages, where that is allowed; otherwise say what is missing.

pdf2image draws with poppler's programs, and the tests compare its pages with PDFium's.
"""

import os
import shutil
import subprocess
import sys

APT = {"pdftoppm": "poppler-utils"}


def main() -> int:
    missing = [program for program in APT if not shutil.which(program)]
    if not missing:
        return 0
    packages = [APT[program] for program in missing]
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", *packages], check=True, env=quiet)
        return 0
    print(
        f"The tests need {', '.join(missing)}. Install it first: apt install {' '.join(packages)}  |  "
        "brew install poppler  |  conda install -c conda-forge poppler",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
