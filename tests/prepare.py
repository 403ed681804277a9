"""Install what the tests need beside Python packages, where that is allowed; otherwise say what is missing.

pdf2image draws with poppler's programs, and the tests compare its pages with PDFium's; chromium opens the page of
visret's server.
"""

import os
import shutil
import subprocess
import sys

# Of each the programs that will do, and how to get one: Debian's package, and two others.
NEEDED = {
    ("pdftoppm",): ("poppler-utils", "brew install poppler", "conda install -c conda-forge poppler"),
    ("chromium", "chromium-browser", "google-chrome"): ("chromium", "brew install --cask chromium", ""),
}


def main() -> int:
    missing = [how for programs, how in NEEDED.items() if not any(map(shutil.which, programs))]
    if not missing:
        return 0
    packages = [package for package, *_ in missing]
    if shutil.which("apt-get") and hasattr(os, "geteuid") and os.geteuid() == 0:
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet)
        subprocess.run(["apt-get", "install", "-y", "-qq", *packages], check=True, env=quiet)
        return 0
    for package, *others in missing:
        print("  |  ".join(["Tests need: apt install " + package, *filter(None, others)]), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
