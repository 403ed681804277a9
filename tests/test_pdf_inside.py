"""What is inside a PDF and not on its pages: attached files, forms that only Adobe's programs show."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from support.raw_pdf import RawPdf, annotation, page, text

from visret import documents
from visret.documents import embedded, members, packed, pdf

WAIT = text(20, 100, "Please wait...")
XDP = 'xmlns:xdp="http://ns.adobe.com/xdp/"'
TEMPLATE = """<template xmlns="http://www.xfa.org/schema/xfa-template/3.3/"><subform name="f">
<draw><value><text>Lease of the boat house</text></value></draw>
<field name="owner"><caption><value><text>Owner</text></value></caption><items><text>Nobody</text></items>
<event><script>app.alert("secret")</script></event></field>
<draw presence="hidden"><value><text>unseen</text></value></draw>
<draw><value><exData contentType="text/html"><body xmlns="http://www.w3.org/1999/xhtml"><p>kept <b>dry</b></p></body>
</exData></value></draw></subform></template>"""
DATA = """<xfa:datasets xmlns:xfa="http://www.xfa.org/schema/xfa-data/1.0/"><xfa:data><f>
<owner>Ottilie Brandhuber</owner><rent>ninety &amp; one</rent></f></xfa:data></xfa:datasets>"""


def attachment(out: RawPdf, name: str, data: bytes) -> str:
    stream = out.add("<< /Type /EmbeddedFile >>", data)
    return out.add(f"<< /Type /Filespec /F ({name}) /UF ({name}) /EF << /F {stream} >> >>")


def with_files(path: Path, files: list[tuple[str, bytes]], hanging: list[tuple[str, bytes]] = ()) -> Path:
    out = RawPdf()
    names = " ".join(f"({i:04}) {attachment(out, *one)}" for i, one in enumerate(files))
    notes = [
        annotation(out, "FileAttachment", (10, 10, 30, 30), f"/FS {attachment(out, *one)} /Contents (see)")
        for one in hanging
    ]
    pages = [page(out, text(20, 100, "cover")), page(out, text(20, 100, "more"), f"/Annots [{' '.join(notes)}]")]
    return out.save(path, pages, root=f"/Names << /EmbeddedFiles << /Names [{names}] >> >>")


def unpacked(path: Path, folder: Path, *, read: bool = False):
    """Name -> content of what is inside, and what is lost. read: the pages were, before."""
    folder.mkdir()
    with documents.open_document(path) as document:
        if read:
            _ = [document.page(number) for number in (1, 2)]
        return {member.name: member.file.read_bytes() for member in document.members(folder)}, document.lost


@pytest.mark.parametrize("read", [False, True])
def test_files_of_a_document_and_of_its_pages_are_members(tmp_path, read):
    files = [("lease.pdf", b"%PDF-1"), ("../annex.txt", b""), ("lease.pdf", b"another")]
    hanging = [("map.png", b"\x89PNG\0"), ("lease.pdf", b"%PDF-1")]  # the last is there already
    found, lost = unpacked(with_files(tmp_path / "a.pdf", files, hanging), tmp_path / "out", read=read)
    assert found == {
        "lease.pdf": b"%PDF-1", "annex.txt": b"", "lease (2).pdf": b"another", "map.png": b"\x89PNG\0"
    }  # fmt: skip
    assert lost == []


def test_a_document_without_files_has_no_members_and_its_pages_are_not_read_for_them(tmp_path, monkeypatch):
    path = with_files(tmp_path / "a.pdf", [])
    monkeypatch.setattr(pdf.Pdf, "_page", None)
    assert unpacked(path, tmp_path / "out") == ({}, [])


def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    path = with_files(tmp_path / "a.pdf", [("a.txt", b"x"), ("b.txt", b"yy")])
    monkeypatch.setattr(embedded, "MAX_MEMBER_BYTES", 1)
    found, lost = unpacked(path, tmp_path / "out")
    assert list(found) == ["a.txt"]
    assert [loss.what for loss in lost] == ["the file 'b.txt' inside it"]


def test_too_many_files_are_named(tmp_path, monkeypatch):
    path = with_files(tmp_path / "a.pdf", [(f"{i}.txt", b"%d" % i) for i in range(5)])
    monkeypatch.setattr(members, "MAX_MEMBERS", 3)
    found, lost = unpacked(path, tmp_path / "out")
    assert list(found) == ["0.txt", "1.txt", "2.txt"]
    assert lost[0].what.startswith("2 of the files inside it ('3.txt', '4.txt')")


# ---- XFA


def form(path: Path, *parts: str, content: str = WAIT, renders: bool = True) -> Path:
    out = RawPdf()
    if len(parts) == 1:
        stored = out.add("<< >>", parts[0].encode())
    else:
        stored = f"[{' '.join(f'(part{i}) ' + out.add('<< >>', one.encode()) for i, one in enumerate(parts))}]"
    needs = "/NeedsRendering true" if renders else ""
    return out.save(path, [page(out, content)], root=f"/AcroForm << /Fields [] /XFA {stored} >> {needs}")


@pytest.mark.parametrize("renders", [True, False])
@pytest.mark.parametrize(
    "parts",
    [
        (f"<xdp:xdp {XDP}>{TEMPLATE}{DATA}</xdp:xdp>",),
        (f"<xdp:xdp {XDP}>", TEMPLATE, DATA, "</xdp:xdp>"),
    ],
)
def test_a_form_that_only_adobe_shows_is_named_and_its_texts_are_read(tmp_path, parts, renders):
    path = form(tmp_path / "a.pdf", *parts, renders=renders)
    with documents.open_document(path) as document:
        for _ in range(2):
            assert document.page(1).text.split("\n") == [
                "Please wait...", "Lease of the boat house", "Owner", "kept dry", "Ottilie Brandhuber", "ninety & one"
            ]  # fmt: skip
        ((what, help_),) = document.lost
    assert what.startswith("the pages of an XFA form (its texts are read")
    assert "Adobe" in help_


@pytest.mark.parametrize(
    "part",
    [
        "<xdp",
        "",
        '<!DOCTYPE a [<!ENTITY b "c"><!ENTITY d "&b;&b;">]><template><text>&d;</text></template>',
        "<template/>",
    ],
)
def test_a_form_that_cannot_be_read_is_named(tmp_path, part):
    with documents.open_document(form(tmp_path / "a.pdf", part)) as document:
        assert document.page(1).text == "Please wait..."
        assert [loss.what for loss in document.lost] == ["the pages of an XFA form"]


def test_a_form_that_has_its_pages_too_loses_nothing(tmp_path):
    part = f"<xdp:xdp {XDP}>{TEMPLATE}{DATA}</xdp:xdp>"
    content = text(20, 100, "Lease of the boat house") + text(20, 80, "Owner: Ottilie Brandhuber")
    path = form(tmp_path / "a.pdf", part, content=content, renders=False)
    with documents.open_document(path) as document:
        assert document.page(1).text == "Lease of the boat house\nOwner: Ottilie Brandhuber"
        assert document.lost == []


def test_a_page_that_asks_for_patience_in_another_language_is_no_form(tmp_path):
    part = f"<xdp:xdp {XDP}>{TEMPLATE}{DATA}</xdp:xdp>"
    path = form(tmp_path / "a.pdf", part, content=text(20, 100, "Bitte warten..."), renders=False)
    with documents.open_document(path) as document:
        assert document.page(1).text.split("\n")[1:3] == ["Lease of the boat house", "Owner"]
        assert [loss.what[:26] for loss in document.lost] == ["the pages of an XFA form ("]


# ---- what is only found without reading it


@pytest.mark.parametrize("tied", ["root", "page"])
def test_files_that_are_in_no_list_are_named(tmp_path, tied):
    out = RawPdf()
    tie = f"/AF [{attachment(out, 'data.txt', b'bollards')}]"
    path = out.save(
        tmp_path / "a.pdf",
        [page(out, text(20, 100, "cover"), tie if tied == "page" else "")],
        root=tie if tied == "root" else "",
    )
    found, lost = unpacked(path, tmp_path / "out")
    assert found == {}
    assert [loss.what for loss in lost] == ["a file inside it that its list of files lacks"]


@pytest.mark.parametrize("where", ["plain", "packed", "elsewhere", "broken", "encrypted"])
def test_a_key_is_found_in_the_catalogue(tmp_path, where):
    """Also where it is packed with other objects."""
    catalogue = b"<< /Type /Catalog /Pages 2 0 R /OCProperties 9 0 R >>"
    if where == "plain":
        data = b"1 0 obj\n" + catalogue + b"\nendobj\ntrailer << /Root 1 0 R >>"
    else:
        objects = b"7 0 1 6 " + b"<< >> " + catalogue
        stream = zlib.compress(objects)
        stream = stream[:4] + b"????" + stream[8:] if where == "broken" else stream
        root = b"8" if where == "elsewhere" else b"1"
        data = b"5 0 obj\n<< /Type /ObjStm /N 2 /First 8 /Filter /FlateDecode >>\nstream\r\n" + stream
        data += b"\nendstream\nendobj\ntrailer << /Root " + root + b" 0 R %s>>"
        data = data.replace(b"%s", b"/Encrypt 3 0 R " if where == "encrypted" else b"")
    path = tmp_path / "a.pdf"
    path.write_bytes(b"%PDF-1.5\n" + data)
    assert packed.catalogue_may_hold(path, b"/OCProperties") == (where in {"plain", "packed", "encrypted"})
    assert packed.may_hold(path, b"/OCProperties") == (where in {"plain", "packed", "encrypted", "elsewhere"})
    assert (b"/OCProperties" in data) == (where == "plain")


def test_streams_that_grow_without_end_are_not_looked_through(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "_MAX_BYTES", 100_000)
    stream = zlib.compress(b"1 0 " + b" " * 1_000_000 + b"/Key", 9)
    data = b"5 0 obj\n<< /Type /ObjStm /First 4 >>\nstream\n" + stream + b"\nendstream\nendobj\n"
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.5\n" + 3 * data + b"trailer << /Root 1 0 R >>")
    assert not packed.may_hold(tmp_path / "a.pdf", b"/Key")
    monkeypatch.setattr(packed, "_MAX_BYTES", 1 << 28)
    assert packed.may_hold(tmp_path / "a.pdf", b"/Key")
