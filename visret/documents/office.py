"""Office documents to PDF through LibreOffice, where it is installed; HTML to plain text without it.

    with tempfile.TemporaryDirectory() as folder:
        pdf = office.convert("minutes.docx", folder)

The PDF is what is drawn and indexed, so it has to be kept: another LibreOffice, or another machine's fonts, break pages
elsewhere. A document is converted from a copy and with settings of its own: an open LibreOffice is not disturbed,
macros do not run, nothing is fetched, and what a document only links to, pictures beside an HTML file too, stays out.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import zipfile
from html.parser import HTMLParser
from pathlib import Path

from visret.documents import formats
from visret.errors import DocumentError, PasswordRequired

SECONDS = 120.0  # more than a document takes that LibreOffice does not hang on
MAX_BYTES = 1 << 30  # of a document's parts, unpacked

_OLE = bytes.fromhex("d0cf11e0a1b11ae1")  # the container of encrypted OOXML, and of Office before 2007
MISSING = "needs LibreOffice: apt install libreoffice, brew install --cask libreoffice, or https://www.libreoffice.org"
_SETTINGS = (  # node, property, value
    ("Office.Common/Security/Scripting", "DisableMacrosExecution", "true"),
    ("Office.Common/Security/Scripting", "MacroSecurityLevel", "3"),
    ("Office.Common/Security/Scripting", "BlockUntrustedRefererLinks", "true"),
    ("Office.Writer/Content/Update", "Link", "2"),  # never
    ("Office.Calc/Content/Update", "Link", "2"),
    ("Inet/Settings", "ooInetProxyType", "2"),  # by hand: the discard port, where nothing answers
    ("Inet/Settings", "ooInetHTTPProxyName", "127.0.0.1"),
    ("Inet/Settings", "ooInetHTTPProxyPort", "9"),
    ("Inet/Settings", "ooInetHTTPSProxyName", "127.0.0.1"),
    ("Inet/Settings", "ooInetHTTPSProxyPort", "9"),
    ("Inet/Settings", "ooInetNoProxy", ""),
    ("Setup/Product", "ooSetupLastVersion", "99.9"),  # a new version tests how it draws, which takes half of a start
)


def program() -> str | None:
    """LibreOffice's soffice on this machine: on the path, or where its installers put it."""
    for name in ("soffice", "libreoffice"):
        if found := shutil.which(name):
            return found
    folders = filter(None, map(os.environ.get, ("PROGRAMFILES", "PROGRAMFILES(X86)")))
    usual = [
        Path("/Applications/LibreOffice.app/Contents/MacOS/soffice"),
        *(Path(folder, "LibreOffice", "program", "soffice.com") for folder in folders),
    ]
    return next((str(path) for path in usual if path.is_file()), None)


def convert(path: str | Path, folder: str | Path) -> Path:
    """The document as a PDF in `folder`, an empty one, in which other things are left too.

    There is no limit of time: call it in a process of its own, and end that with what it started.
    DocumentError where LibreOffice is not installed, or the document is empty, damaged or of another kind;
    PasswordRequired where it is encrypted.
    """
    path, folder = Path(path), Path(folder)
    _check(path)
    soffice = program()
    if soffice is None:
        raise DocumentError(path, MISSING)
    copy = (folder / "document").with_suffix(path.suffix.lower())  # any name, and no lock file beside it
    profile = folder / "profile"
    try:
        shutil.copyfile(path, copy)
        _write_settings(profile)
    except OSError as error:
        raise DocumentError(path, f"cannot be converted: {error.strerror} ({error.filename})") from error
    options = [f"-env:UserInstallation={profile.absolute().as_uri()}", "--headless", "--norestore", "--nolockcheck"]
    if _is_html(path):
        options.append("--writer")  # its web mode loses headings and begins with an empty page (7.4)
    said = _run([soffice, *options, "--convert-to", "pdf", "--outdir", str(folder), str(copy)], path)
    made = copy.with_suffix(".pdf")
    if not made.is_file() or not made.stat().st_size:
        raise DocumentError(path, f"LibreOffice cannot convert it ({said}); open it there and save it again")
    return made


def _check(path: Path) -> None:
    """Raise DocumentError for what LibreOffice would hang on, ask for, or take for plain text."""
    suffix = path.suffix.lower()
    if not formats.converts(path):
        known = " ".join(suffix for suffix in formats.FORMATS if formats.converts(f"x{suffix}"))
        raise DocumentError(path, f"is not a document LibreOffice converts; {known} are")
    try:
        with path.open("rb") as file:
            head = file.read(8)
            if head == _OLE and "EncryptedPackage".encode("utf-16-le") in file.read():
                raise PasswordRequired(path, "is encrypted; save a copy without a password")
    except OSError as error:
        raise DocumentError(path, f"cannot be opened: {error.strerror}") from error
    if not head:
        raise DocumentError(path, "is empty (0 bytes); copy or download it again")
    if _is_html(path) or head == _OLE:
        return
    if suffix == ".rtf":
        if not head.startswith(b"{\\rtf"):
            raise DocumentError(path, "is not an RTF file: it does not begin with {\\rtf")
        return
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(part.file_size for part in archive.infolist())
            if size > MAX_BYTES:
                raise DocumentError(path, f"unpacks to {size:,} bytes; more than {MAX_BYTES:,} are not read")
            names = set(archive.namelist())
            manifest = archive.read("META-INF/manifest.xml") if "META-INF/manifest.xml" in names else b""
    except (zipfile.BadZipFile, OSError, RuntimeError, NotImplementedError, ValueError) as error:
        raise DocumentError(path, f"is a damaged {suffix[1:].upper()} file ({error}); copy it again") from error
    if b"encryption-data" in manifest:
        raise PasswordRequired(path, "is encrypted; save a copy without a password")
    if not names & {"[Content_Types].xml", "content.xml"}:
        raise DocumentError(path, f"is a ZIP file, but no {suffix[1:].upper()} document")


def _is_html(path: Path) -> bool:
    found = formats.format_of(path)
    return found is not None and found.reader == "html"


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


def _run(command: list[str], path: Path) -> str:
    """What the command said, in a line."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}  # it has its own
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=outside,
            check=False,
        )
    except OSError as error:
        raise DocumentError(path, f"LibreOffice cannot be started ({command[0]}: {error.strerror})") from error
    said = done.stdout.decode("utf8", "replace").splitlines()
    lines = [line for line in said if line.strip() and "javaldx" not in line]
    return lines[-1].strip() if lines else f"exit status {done.returncode}"


# --------------------------------------------------------------------------------------------------- HTML


def text_of_html(data: bytes) -> str:
    """The text of an HTML page: a line for a list item or a row (tabs between cells), blank lines around the rest.

    Without scripts and styles. The encoding is the one it states, UTF-8, or windows-1252.
    """
    stated = re.search(rb"<meta[^>]+charset\s*=\s*[\"']?([\w.:-]+)", data[:2048], re.IGNORECASE)
    names = ("utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig", stated and stated[1].decode("ascii"))
    reader = _Text()
    reader.feed(next(filter(None, (_decoded(data, name) for name in names)), None) or data.decode("cp1252", "replace"))
    reader.close()
    text = re.sub(r" *\t *", "\t", re.sub(r"[ \r\xa0]+", " ", "".join(reader.parts)))
    return re.sub(r"[\s\v]*[\n\v][\s\v]*", lambda gap: "\n\n" if "\v" in gap[0] else "\n", text).strip()


def _decoded(data: bytes, encoding: str | None) -> str | None:
    try:
        return data.decode(encoding) if encoding else None
    except (UnicodeDecodeError, LookupError):
        return None


_HIDDEN = {"script", "style", "svg", "template"}
_LINES = {  # elements that stand on a line of their own
    "address", "article", "aside", "br", "dd", "div", "dt", "figcaption", "footer", "header", "hr", "li", "nav",
    "section", "tr",
}  # fmt: skip
_BLOCKS = {"blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "table", "title", "ul"}


class _Text(HTMLParser):
    """Collects text; a line feed where a line ends, a vertical tab where a blank line follows."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.depth = {"hidden": 0, "pre": 0}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.parts.append("\t" if tag in {"td", "th"} else _mark(tag))
        self.enter(tag, 1)

    def handle_endtag(self, tag: str) -> None:  # also of <br/>
        self.parts.append(_mark(tag))
        self.enter(tag, -1)

    def enter(self, tag: str, step: int) -> None:
        kind = "hidden" if tag in _HIDDEN else tag
        if kind in self.depth:
            self.depth[kind] = max(0, self.depth[kind] + step)

    def handle_data(self, data: str) -> None:
        if not self.depth["hidden"]:
            self.parts.append(data if self.depth["pre"] else re.sub(r"\s+", " ", data))


def _mark(tag: str) -> str:
    return "\v" if tag in _BLOCKS else "\n" if tag in _LINES else ""
