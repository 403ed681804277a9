"""LibreOffice as a program: finding it, and converting one file into another with it.

Every document gets a LibreOffice with settings of its own: one that is already open is not disturbed, macros do not
run, nothing is fetched, and what a document only links to stays out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from visret.errors import DocumentError

MISSING = "needs LibreOffice: apt install libreoffice, brew install --cask libreoffice, or https://www.libreoffice.org"
_SETTINGS = (  # node, property, value
    ("Office.Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("Office.Common/Security/Scripting", "MacroSecurityLevel", "3"),
    ("Office.Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("Office.Writer/Content/Update", "Link", "2"),  # never
    ("Office.Calc/Content/Update", "Link", "2"),
    ("Inet/Settings", "ooInetProxyType", "2"),  # manual: the discard port, where nothing answers
    ("Inet/Settings", "ooInetHTTPProxyName", "127.0.0.1"),
    ("Inet/Settings", "ooInetHTTPProxyPort", "9"),
    ("Inet/Settings", "ooInetHTTPSProxyName", "127.0.0.1"),
    ("Inet/Settings", "ooInetHTTPSProxyPort", "9"),
    ("Inet/Settings", "ooInetNoProxy", ""),
    ("Setup/Product", "ooSetupLastVersion", "99.9"),  # a new version tests how it draws, which takes half its start
    ("Office.Common/Filter/PDF/Export", "ExportNotes", "true"),  # comments, as annotations of the page
    ("Office.Common/Filter/PDF/Export", "ExportHiddenSlides", "true"),
)


def program() -> str | None:
    """Return the path of LibreOffice's soffice, on PATH or where its installers put it; None where it is missing."""
    for name in ("soffice", "libreoffice"):
        if found := shutil.which(name):
            return found
    folders = filter(None, map(os.environ.get, ("PROGRAMFILES", "PROGRAMFILES(X86)")))
    usual = [
        Path("/Applications/LibreOffice.app/Contents/MacOS/soffice"),
        *(Path(folder, "LibreOffice", "program", "soffice.com") for folder in folders),
    ]
    return next((str(path) for path in usual if path.is_file()), None)


class LibreOffice:
    """LibreOffice with a profile of its own in `folder`, where the files that it makes lie too.

    path: the document being read, which errors name.
    """

    def __init__(self, program: str, folder: Path, path: Path) -> None:
        self.folder = folder
        self.path = path
        profile = folder / "profile"
        _write_settings(profile)
        self._command = [
            *(program, f"-env:UserInstallation={profile.absolute().as_uri()}"),
            *("--headless", "--norestore", "--nolockcheck"),
        ]

    def convert(self, source: Path, kind: str, *options: str) -> Path:
        """Convert the file to another kind, "pdf" or "ods", in `folder`. Raises DocumentError where that fails."""
        said = self._run(*options, "--convert-to", kind, "--outdir", str(self.folder), str(source))
        made = self.folder / f"{source.stem}.{kind}"
        if not made.is_file() or not made.stat().st_size:
            raise DocumentError(self.path, f"LibreOffice cannot convert it ({said}); open it there and save it again")
        return made

    def _run(self, *arguments: str) -> str:
        """Run LibreOffice, and return the last line that it wrote."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}  # it has its own
        try:
            done = subprocess.run(
                [*self._command, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=outside,
                check=False,
            )
        except OSError as error:
            said = f"LibreOffice cannot be started ({self._command[0]}: {error.strerror})"
            raise DocumentError(self.path, said) from error
        said = done.stdout.decode("utf8", "replace")
        lines = [line for line in said.splitlines() if line.strip() and "javaldx" not in line]
        return lines[-1].strip() if lines else f"exit status {done.returncode}"


def _write_settings(profile: Path) -> None:
    items = "".join(
        f'<item oor:path="/org.openoffice.{node}"><prop oor:name="{name}" oor:op="fuse"><value>{value}</value></prop>'
        "</item>"
        for node, name, value in _SETTINGS
    )
    file = profile / "user" / "registrymodifications.xcu"
    file.parent.mkdir(parents=True)
    file.write_text(
        '<?xml version="1.0" encoding="UTF-8"?><oor:items xmlns:oor="http://openoffice.org/2001/registry">'
        f"{items}</oor:items>",
        "utf8",
    )
