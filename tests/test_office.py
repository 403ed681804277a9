"""Office documents: through the real LibreOffice where it is installed, and a stand-in that fails as it does."""

import os
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer

import pypdfium2
import pytest
from sheets import write_pdf

from visret.documents import kinds, office
from visret.errors import DocumentError, PasswordRequired

needs_libreoffice = pytest.mark.skipif(office.program() is None, reason="LibreOffice is not installed")
posix = pytest.mark.skipif(os.name != "posix", reason="the stand-in is a script with a #! line")

CONTENT = (
    '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:text>'
    "<text:p>Quarterly minutes</text:p></office:text></office:body></office:document-content>"
)
MANIFEST = (
    '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
    '<manifest:file-entry manifest:full-path="/" manifest:media-type="application/vnd.oasis.opendocument.text"/>'
    '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml">{}</manifest:file-entry>'
    "</manifest:manifest>"
)


def write_odt(path, content=CONTENT, encryption=""):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text")
        archive.writestr("content.xml", content)
        archive.writestr("META-INF/manifest.xml", MANIFEST.format(encryption))
    return path


def empty(tmp_path):
    """An empty folder for a conversion."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder


def text(path):
    pdf = pypdfium2.PdfDocument(path)
    try:
        return "\n".join(page.get_textpage().get_text_bounded() for page in pdf)
    finally:
        pdf.close()


@needs_libreoffice
def test_a_document_becomes_a_pdf(tmp_path):
    source = write_odt(tmp_path / "my %41 minütes.odt")
    before = source.read_bytes()
    assert text(office.convert(source, empty(tmp_path)).pdf).strip() == "Quarterly minutes"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", source.name]
    assert source.read_bytes() == before


@needs_libreoffice
def test_what_libreoffice_cannot_read_is_an_error(tmp_path):
    source = write_odt(tmp_path / "cut.odt", CONTENT[:250])
    with pytest.raises(DocumentError, match="LibreOffice cannot convert it"):
        office.convert(source, empty(tmp_path))


@needs_libreoffice
def test_nothing_is_fetched(tmp_path):
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_OPTIONS = do_PROPFIND = do_GET  # noqa: N815

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        page = tmp_path / "page.html"
        page.write_text(f'<link rel="stylesheet" href="{address}/s.css"><h1>Hello</h1><img src="{address}/x.png">')
        assert "Hello" in text(office.convert(page, empty(tmp_path)).pdf)
        server.shutdown()
    assert asked == []


@posix
def test_how_libreoffice_is_called(tmp_path, soffice, monkeypatch):
    pdf = write_pdf(tmp_path / "made.pdf", "red")
    soffice(
        f"(out / 'document.pdf').write_bytes(pathlib.Path({str(pdf)!r}).read_bytes())\n"
        f"profile = next(a for a in sys.argv if 'UserInstallation' in a).partition('file://')[2]\n"
        f"settings = pathlib.Path(profile, 'user', 'registrymodifications.xcu').read_text()\n"
        f"pathlib.Path({str(tmp_path / 'seen.txt')!r}).write_text(source.name + settings)"
    )
    name = os.fsdecode(b"caf\xe9 .ODT")  # not UTF-8
    try:
        source = write_odt(tmp_path / name)
    except OSError:
        pytest.skip("this file system has names in UTF-8 only")
    assert office.convert(source, empty(tmp_path)).pdf.read_bytes() == pdf.read_bytes()
    seen = (tmp_path / "seen.txt").read_text()
    assert seen.startswith("document.odt")
    assert "DisableMacrosExecution" in seen


@posix
@pytest.mark.parametrize("code", ["sys.exit('no printer')", "(out / 'document.pdf').touch(); sys.exit('no printer')"])
def test_a_failing_libreoffice_is_quoted(tmp_path, soffice, code):
    soffice(code)
    with pytest.raises(DocumentError, match=r"a\.odt: LibreOffice cannot convert it \(no printer\)"):
        office.convert(write_odt(tmp_path / "a.odt"), empty(tmp_path))


@posix
def test_a_folder_that_is_not_there_is_named(tmp_path, soffice):
    soffice("(out / 'document.pdf').write_text('%PDF-')")
    with pytest.raises(DocumentError, match=r"a\.odt: cannot be converted: No such file"):
        office.convert(write_odt(tmp_path / "a.odt"), tmp_path / "missing")


def test_without_libreoffice_it_says_where_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(office, "program", lambda: None)
    with pytest.raises(DocumentError, match="apt install libreoffice, brew install --cask libreoffice, or https"):
        office.convert(write_odt(tmp_path / "a.odt"), tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="LibreOffice may be installed there")
def test_libreoffice_is_found_where_windows_puts_it(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("PROGRAMFILES", str(tmp_path))
    program = tmp_path / "LibreOffice" / "program" / "soffice.com"
    program.parent.mkdir(parents=True)
    program.touch()
    assert office.program() in {str(program), "/Applications/LibreOffice.app/Contents/MacOS/soffice"}


@pytest.mark.parametrize(
    ("name", "data", "error", "said"),
    [
        ("a.docx", b"", DocumentError, "empty"),
        ("a.docx", b"some text", DocumentError, "damaged DOCX"),
        ("a.docx", kinds.OLE + "EncryptedPackage".encode("utf-16-le"), PasswordRequired, "without a password"),
        ("a.rtf", b"PK\3\4", DocumentError, "not an RTF"),
        ("a.exe", b"MZ", DocumentError, "not a document"),
    ],
)
def test_what_is_refused_before_it_is_opened(tmp_path, monkeypatch, name, data, error, said):
    monkeypatch.setattr(office, "program", None)
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(error, match=said):
        office.convert(path, tmp_path)


def test_other_zip_files_encrypted_ones_and_bombs_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(office, "program", None)
    with pytest.raises(PasswordRequired, match="is encrypted"):
        office.convert(write_odt(tmp_path / "locked.odt", encryption="<manifest:encryption-data/>"), tmp_path)
    with zipfile.ZipFile(tmp_path / "other.docx", "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(DocumentError, match="no DOCX document"):
        office.convert(tmp_path / "other.docx", tmp_path)
    monkeypatch.setattr(kinds, "MAX_BYTES", 100)
    with pytest.raises(DocumentError, match="more than 100 are not read"):
        office.convert(write_odt(tmp_path / "bomb.odt"), tmp_path)
    with pytest.raises(DocumentError, match="cannot be opened"):
        office.convert(tmp_path / "missing.odt", tmp_path)


def test_html_as_text():
    page = b"""<!doctype html><html><head><title>Annual  report</title><style>p { color: red }</style></head>
      <body><h1>Sales &amp; costs</h1><p>Up by\n  <b>ten</b>th<br>this year.</p><ul><li>North<li>South</ul>
      <table><tr><th>Year</th><th>Sum</th></tr><tr><td>2024</td><td>17</td></tr></table>
      <script>document.write("<p>no</p>")</script><svg><text>no</text></svg><pre>a\n  b</pre>the end"""
    assert office.text_of_html(page) == (
        "Annual report\n\nSales & costs\n\nUp by tenth\nthis year.\n\nNorth\nSouth\n\nYear\tSum\n2024\t17\n\n"
        "a\nb\n\nthe end"
    )


@pytest.mark.parametrize(
    "data",
    [
        "<p>Über</p>".encode(),
        "<p>Über</p>".encode("cp1252"),
        "<p>Über</p>".encode("utf-16"),
        b"<meta charset='iso-8859-2'><p>\xdcber</p>",
        b"<meta http-equiv=Content-Type content='text/html; charset=no-such'><p>\xdcber</p>",
    ],
)
def test_html_in_any_encoding(data):
    assert office.text_of_html(data) == "Über"
