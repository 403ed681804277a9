"""What people have in their folders: logs, tables, mail, notebooks, books, GIF, HEIC, and what only claims it."""

import binascii
import io
import json
import re
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from PIL import Image

from visret import documents
from visret.documents import books, formats, mail, pictures, text
from visret.errors import DocumentError
from visret.ingest import messages, process
from visret.types import Page

ROOT = Path(__file__).parent.parent


def read(path: Path, data: bytes | str):
    """The texts of the pages, and the losses."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with documents.open_document(path) as document:
        return [document.page(n).plain for n in range(1, len(document) + 1)], [loss.what for loss in document.lost]


# ---- what is read


def test_the_documents_list_every_ending():
    page = (ROOT / "docs" / "documents-and-ocr.md").read_text("utf8")
    section = page.split("## What is read")[1].split("\n## ")[0]
    assert set(re.findall(r"`(\.\w+)`", section)) == set(formats.FORMATS)


@pytest.mark.parametrize("name", ["notes.rst", "server.log", "NOTES.LOG"])
def test_other_plain_text(name, tmp_path):
    assert read(tmp_path / name, "Title\r\n=====\r\n\r\nBody.\r\n") == (["Title\n=====\n\nBody.\n"], [])


def test_the_colours_of_a_terminal_are_no_words(tmp_path):
    assert read(tmp_path / "a.log", "\x1b[1;31mERROR\x1b[0m pump\x1b[K 3\n") == (["ERROR pump 3\n"], [])


def test_a_long_log_is_read_in_pieces_and_its_pages_kept_on_the_disk(tmp_path, monkeypatch):
    lines = "".join(f"{n} Größe of the drum: {n * n}\r\n" for n in range(3_000))
    (whole, _) = read(tmp_path / "a.log", lines.encode("cp1252"))
    for name, value in (("WHOLE", 10_000), ("PIECE", 4_000), ("HELD", 20_000)):
        monkeypatch.setattr(text, name, value)
    pages, lost = read(tmp_path / "a.log", lines.encode("cp1252") + b"\x81")
    assert "".join(pages) == lines.replace("\r\n", "\n") + "\ufffd"
    assert "".join(whole) == lines.replace("\r\n", "\n")
    assert max(map(len, pages)) <= text.TEXT_PAGE
    assert lost == ["one byte that is not windows-1252"]
    pages, lost = read(tmp_path / "a.log", lines.encode("utf-16"))
    assert "".join(pages) == lines.replace("\r\n", "\n")
    assert not lost


@pytest.mark.parametrize("data", [b"MZ\0\1\2\3", bytes(range(1, 32)) * 40, b"words\n" * 9 + bytes(900)])
@pytest.mark.parametrize("name", ["a.txt", "a.log", "a.csv"])
def test_what_is_no_text_says_so(name, data, tmp_path):
    with pytest.raises(DocumentError, match="is not plain text"):
        read(tmp_path / name, data)


# ---- tables


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        ("Route,Fare\nNorth quay,4\n", ["Route | Fare", "North quay | 4"]),
        ("Ort;Preis\nMünchen;4,50\nKöln;3,20\n", ["Ort | Preis", "München | 4,50", "Köln | 3,20"]),
        ("a\tb\tc\n1\t\t3\n", ["a | b | c", "1 |  | 3"]),
        ('name,note\nA,"says ""no"", then\ngoes"\nB,x\n', ["name | note", 'A | says "no", then goes', "B | x"]),
        ("sep=;\na;b\n1;2\n", ["a | b", "1 | 2"]),
        ("one column\nonly words\n", ["one column", "only words"]),
        ('a,b\n1,"never closed\n2,x\n', ["a,b", '1,"never closed', "2,x"]),
        ('pipe,size\nnarrow,5"\nwide,7"\n', ["pipe | size", 'narrow | 5"', 'wide | 7"']),
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_a_row_of_a_table_is_a_line(ending, data, rows, tmp_path):
    for given in (data, data.replace("\n", "\r\n")):
        assert read(tmp_path / f"a{ending}", given) == (["\n".join(rows) + "\n"], [])


def test_a_table_in_an_old_encoding_and_of_many_pages(tmp_path):
    rows = [f"Gebühr {n};Größe {n * n}" for n in range(2_000)]
    pages, lost = read(tmp_path / "a.csv", "\n".join(rows).encode("cp1252"))
    assert "".join(pages) == "\n".join(rows).replace(";", " | ") + "\n"
    assert len(pages) > 5
    assert not lost


def test_a_cell_that_is_longer_than_the_csv_module_reads(tmp_path):
    pages, _ = read(tmp_path / "a.csv", "a,b\n1," + "word " * 50_000 + "\n")
    assert "".join(pages).count("word") == 50_000


# ---- mail


def message(**headers) -> EmailMessage:
    made = EmailMessage()
    for name, value in headers.items():
        made[name] = value
    return made


def members_of(path: Path, folder: Path) -> dict[str, bytes]:
    folder.mkdir()
    with documents.open_document(path) as document:
        return {member.name: member.file.read_bytes() for member in document.members(folder)}


def test_a_message_with_attachments(tmp_path):
    sent = message(From="Jürgen Müller <j@example.org>", To="a@example.org", Subject="Fähre – Störung " + "x" * 90)
    sent.set_content("Die Fähre fährt nicht.\n")
    sent.add_alternative("<p>Die <b>Fähre</b> fährt nicht.</p>", subtype="html")
    sent.add_attachment(b"%PDF-1.4 ...", maintype="application", subtype="pdf", filename="Rechnung für März.pdf")
    inner = message(From="b@example.org", Subject="Re: the winch / ../x")
    inner.set_content("It is repaired.")
    sent.add_attachment(inner)
    path = tmp_path / "a.eml"
    (page,), lost = read(path, sent.as_bytes())
    assert page == (
        "From: Jürgen Müller <j@example.org>\nTo: a@example.org\nSubject: Fähre – Störung "
        + "x" * 90
        + "\n\nDie Fähre fährt nicht.\n"
    )
    assert not lost
    found = members_of(path, tmp_path / "members")
    assert found["Rechnung für März.pdf"] == b"%PDF-1.4 ..."
    (name,) = found.keys() - {"Rechnung für März.pdf"}
    assert name.startswith("Re: the winch".replace(":", "_"))
    assert name.endswith(".eml")
    assert "/" not in name
    assert read(tmp_path / "inner.eml", found[name])[0][0].endswith("It is repaired.\n")


def test_a_file_in_the_text_of_an_old_message_is_an_attachment(tmp_path):
    path = tmp_path / "a.eml"
    packed = b"begin 644 rent.txt\n%s`\nend\n" % binascii.b2a_uu(b"Ninety guineas")
    (page,), lost = read(path, b"From: a\n\nSee below.\n" + packed + b"Yours, Ada\n")
    assert page.split() == ["From:", "a", "See", "below.", "Yours,", "Ada"]
    assert not lost
    assert members_of(path, tmp_path / "members") == {"rent.txt": b"Ninety guineas"}


HEADER = b"From: a@example.org\nSubject: s\nMIME-Version: 1.0\n"
NESTED = b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n"
PARTS = HEADER + b'Content-Type: multipart/%s; boundary="B"\n\n'


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"From: a\nSubject: =?koi8-r?B?8MHSz80=?=\n\nwords\n", "From: a\nSubject: Паром\n\nwords\n"),
        (b"Subject: =?gb2312?B?tsnC1g==?= =?bogus?Q?=E4?=\n\nwords\n", "Subject: 渡轮ä\n\nwords\n"),
        ("From: Jürgen\nSubject: Größe\n\nGröße\n".encode("cp1252"), "From: Jürgen\nSubject: Größe\n\nGröße\n"),
        ("From: Jürgen\nSubject: Größe – 5\n\nGröße\n".encode(), "From: Jürgen\nSubject: Größe – 5\n\nGröße\n"),
        (b"From: a\nContent-Transfer-Encoding: base64\n\nR3LDtsOfZQ==\n", "From: a\n\nGröße\n"),
        (
            b"From: a\nContent-Type: text/html; charset=windows-1251\nContent-Transfer-Encoding: quoted-printable\n\n"
            b"<p>=CF=E0=F0=EE=EC</p><script>x</script>",
            "From: a\n\nПаром\n",
        ),
        (b"From: a\nContent-Transfer-Encoding: base64\n\nR3LDtsOfZSBHcsO2w\n", "From: a\n\nGröße Grö\n"),
        (b"From: a\nContent-Type: text/plain; charset=x-nothing\n\nwords\n", "From: a\n\nwords\n"),
        (b"From: a\n\nbegin 644 a life\nof ease\nend\n", "From: a\n\nbegin 644 a life\nof ease\nend\n"),
        (HEADER + b"Content-Type: multipart/mixed\n\nnothing divides it\n", "nothing divides it\n"),
        (PARTS % b"mixed" + b"--B\nContent-Type: text/plain\n\ncut off in the mid", "cut off in the mid\n"),
        (
            PARTS % b"alternative" + b"--B\n\nSee the HTML.\n--B\nContent-Type: text/html\n\n"
            b"<p>The last crossing leaves at half past five.</p>\n--B--\n",
            "s\n\nThe last crossing leaves at half past five.\n",
        ),
        (
            PARTS % b"report" + b"--B\n\nNot delivered.\n--B\nContent-Type: message/delivery-status\n\n"
            b"Reporting-MTA: dns; example.org\n\nStatus: 5.0.0\n--B--\n",
            "Not delivered.\n\nReporting-MTA: dns; example.org\nStatus: 5.0.0\n",
        ),
        (b"From a@b Mon Jan  1 2026\nFrom: a\n\nas an mbox has it\n", "From: a\n\nas an mbox has it\n"),
    ],
)
def test_mail_in_many_ways(data, said, tmp_path):
    (page,), lost = read(tmp_path / "a.eml", data)
    assert page.endswith(said)
    assert not lost


def test_mail_that_is_encrypted_says_so(tmp_path):
    sealed = b"Content-Type: application/pkcs7-mime; smime-type=enveloped-data\n\nAAAA\n"
    (page,), (lost,) = read(tmp_path / "a.eml", HEADER + sealed)
    assert page == "From: a@example.org\nSubject: s\n"
    assert lost == "the text of the message, which is encrypted or sealed"


def test_the_names_of_attachments_lead_nowhere(tmp_path):
    names = [b'"../../etc/passwd.pdf"', b'"..\\..\\y.pdf"', b'"=?utf-8?B?w7YucGRm?="', b'"/a.pdf"']
    part = b"--B\nContent-Type: application/pdf\nContent-Disposition: attachment; filename=%s\n\nx\n"
    path = tmp_path / "a.eml"
    path.write_bytes(PARTS % b"mixed" + b"".join(part % name for name in names) + b"--B--\n")
    assert set(members_of(path, tmp_path / "members")) == {"etc/passwd.pdf", "y.pdf", "ö.pdf", "a.pdf"}


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"just some words\nand more\n", "is not an e-mail"),
        (bytes(range(256)) * 10, "is not an e-mail"),
        (HEADER + b"".join(NESTED % (n, n) for n in range(3000)), "too deep"),
        (HEADER + b"Content-Type: message/rfc822\n\nFrom: x\n" * 3000, "too deep"),
    ],
)
def test_mail_that_cannot_be_read_says_why(data, said, tmp_path):
    with pytest.raises(DocumentError, match=said):
        read(tmp_path / "a.eml", data)


def test_an_odd_attachment_does_not_end_the_others(tmp_path, monkeypatch):
    def fails_first(part, content=mail._content):
        if part.get_filename() == "a.txt":
            raise LookupError("unknown encoding")
        return content(part)

    monkeypatch.setattr(mail, "_content", fails_first)
    sent = message(From="a", Subject="s")
    for name in ("a.txt", "b.txt"):
        sent.add_attachment(b"words", maintype="application", subtype="x", filename=name)
    path = tmp_path / "a.eml"
    path.write_bytes(sent.as_bytes())
    (tmp_path / "m").mkdir()
    with documents.open_document(path) as document:
        assert [member.name for member in document.members(tmp_path / "m")] == ["b.txt"]
        assert [loss.what for loss in document.lost] == ["the attachment 'a.txt' (unknown encoding)"]


# ---- notebooks


def notebook(*cells: dict) -> str:
    return json.dumps({"nbformat": 4, "cells": cells})


def test_the_cells_of_a_notebook_in_order(tmp_path):
    picture = {"output_type": "display_data", "data": {"image/png": "AAAA", "text/plain": "<Figure>"}}
    printed = {"output_type": "stream", "text": ["42\n", "\x1b[31mred\x1b[0m\n"]}
    error = {
        "output_type": "error",
        "ename": "ZeroDivisionError",
        "evalue": "by zero",
        "traceback": ["\x1b[0;31mLine 3\x1b[0m"],
    }
    shown = {"output_type": "execute_result", "data": {"text/html": ["<b>bold", "</b>"]}}
    cells = [
        {"cell_type": "markdown", "source": ["# Winches\n", "Größe\n"], "attachments": {"a": {"image/png": "AAAA"}}},
        {"cell_type": "code", "source": "print(6 * 7)", "outputs": [printed, picture, error, shown]},
        {"cell_type": "raw", "source": "the end \ud800"},
    ]
    (page,), lost = read(tmp_path / "a.ipynb", notebook(*cells))
    wanted = ["# Winches\nGröße", "print(6 * 7)", "42\nred", "<Figure>", "Line 3", "bold", "the end ?"]
    assert page == "\n\n".join(wanted) + "\n"
    assert lost == ["2 pictures in its cells"]


def test_a_notebook_of_the_old_format(tmp_path):
    old = {"nbformat": 3, "worksheets": [{"cells": [{"input": "1 + 1", "outputs": [{"text": ["2"]}]}]}]}
    assert read(tmp_path / "a.ipynb", json.dumps(old)) == (["1 + 1\n\n2\n"], [])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{"cells": [', "not a notebook, or a damaged one"),
        ("[" * 100_000, "not a notebook, or a damaged one"),
        ("[1, 2]", "has no cells"),
        ('{"a": 1}', "has no cells"),
    ],
)
def test_a_damaged_notebook_says_so(data, said, tmp_path):
    with pytest.raises(DocumentError, match=said):
        read(tmp_path / "a.ipynb", data)


@pytest.mark.parametrize("cells", [[1, None, "x"], [{"source": 5, "outputs": {"a": 1}}], [{"outputs": [{"data": []}]}]])
def test_odd_cells_do_no_harm(cells, tmp_path):
    read(tmp_path / "a.ipynb", json.dumps({"cells": cells}))


# ---- books

OASIS = "urn:oasis:names:tc:opendocument:xmlns:container"
CONTAINER = f'<container xmlns="{OASIS}"><rootfiles><rootfile full-path="{{}}"/></rootfiles></container>'
PACKAGE = '<package xmlns="http://www.idpf.org/2007/opf"><manifest>{}</manifest><spine>{}</spine></package>'
CHAPTER = '<?xml version="1.0" encoding="{}"?><html xmlns="http://www.w3.org/1999/xhtml"><body>{}</body></html>'


def book(chapters: dict[str, bytes | str | None], opf: str = "OEBPS/content.opf", **more: str) -> bytes:
    """An EPUB with these chapters, by the addresses they have in its package; None: one that is not in the file."""
    items = "".join(f'<item id="i{n}" href="{href}"/>' for n, href in enumerate(chapters))
    refs = "".join(f'<itemref idref="i{n}"/>' for n in range(len(chapters)))
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("mimetype", "application/epub+zip")
        archive.writestr("META-INF/container.xml", CONTAINER.format(opf))
        archive.writestr(opf, PACKAGE.format(items, refs))
        for href, content in chapters.items():
            if content is not None:
                archive.writestr(f"{opf.rpartition('/')[0]}/{href}".lstrip("/").replace("%20", " "), content)
        for name, content in more.items():
            archive.writestr(f"META-INF/{name}.xml", content)
    return data.getvalue()


def test_an_item_of_the_spine_is_a_page(tmp_path):
    chapters = {
        "two.xhtml": CHAPTER.format("utf-8", "<h1>Two</h1><p>Größe</p><img src='a.png' alt='A winch, drawn'/>"),
        "text/one%20b.xhtml": CHAPTER.format("windows-1251", "<p>Паром</p>").encode("cp1251"),
        "long.xhtml": CHAPTER.format("utf-8", "<p>" + "word " * 5_000 + "</p>"),
    }
    pages, lost = read(tmp_path / "a.epub", book(chapters))
    assert pages[:2] == ["Two\n\nGröße\n\nA winch, drawn", "Паром"]
    assert len(pages[2].split()) == 5_000
    assert len(pages) == 3
    assert not lost


def test_a_chapter_that_is_longer_than_any_is_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(books, "MAX_CHARACTERS", 10)
    pages, _ = read(tmp_path / "a.epub", book({"a.xhtml": "<p>" + "x" * 25 + "</p>"}))
    assert [len(page) for page in pages] == [10, 10, 5]


def test_what_is_missing_from_a_book_is_named(tmp_path):
    chapters = {"cover.xhtml": "<img/>", "a.xhtml": "<p>words</p>", "b.xhtml": None, "c.xhtml": "<svg><image/></svg>"}
    pages, lost = read(tmp_path / "a.epub", book(chapters, opf="content.opf"))
    assert pages == ["", "words", "", ""]
    assert lost == [
        "one of its chapters, which cannot be read ('b.xhtml')",
        "what is on one page that is only a picture",
    ]


FONTS = '<e><EncryptionMethod Algorithm="http://www.idpf.org/2008/embedding"/></e>'
SEALED = '<e><EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/></e>'


def test_a_book_whose_fonts_are_disguised_is_read(tmp_path):
    assert read(tmp_path / "a.epub", book({"a.xhtml": "<p>words</p>"}, encryption=FONTS)) == (["words"], [])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"no book", "is not a valid EPUB file"),
        (book({"a.xhtml": "words"})[:-40], "damaged or incomplete EPUB file"),
        (book({"a.xhtml": "words"}, encryption=SEALED), "is protected"),
        (book({"a.xhtml": "words"}, encryption=FONTS, rights="<rights/>"), "is protected"),
        (book({"a.xhtml": "words"}).replace(b"META-INF/container", b"META-INF/something"), "no META-INF/container.xml"),
        (book({}), "is a book without any text"),
        (book({"a.xhtml": "words"}, opf='x"/><a b="'), r"\(no x\); copy"),
    ],
)
def test_a_book_that_cannot_be_read_says_why(data, said, tmp_path):
    with pytest.raises(DocumentError, match=said):
        read(tmp_path / "a.epub", data)


def test_a_book_is_bounded_and_its_entities_are_not_expanded(tmp_path, monkeypatch):
    bomb = '<!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'
    monkeypatch.setattr("test_formats.CONTAINER", bomb + CONTAINER)
    with pytest.raises(DocumentError, match="defines entities"):
        read(tmp_path / "a.epub", book({"a.xhtml": "words"}))
    monkeypatch.undo()
    monkeypatch.setattr(books, "MAX_BYTES", 100_000)
    with pytest.raises(DocumentError, match="of text; divide it"):
        read(tmp_path / "a.epub", book({f"{n}.xhtml": " " * 60_000 for n in range(3)}))


# ---- pictures


def test_the_first_picture_of_an_animation_and_that_there_are_more(tmp_path):
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "still.gif")
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    for name, lost in (("still.gif", []), ("moving.gif", ["the pictures of the animation after the first"])):
        with documents.open_document(tmp_path / name) as document:
            assert len(document) == 1
            assert document.page(1).image.getpixel((30, 20))[0] > 200
            assert [loss.what for loss in document.lost] == lost


def heic(path: Path) -> Path:
    register = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
    register.register_heif_opener()
    Image.new("RGB", (64, 48), "red").save(path, format="HEIF", quality=95)
    return path


def test_a_photograph_of_an_iphone_under_another_name(tmp_path):
    (page,) = [documents.open_document(heic(tmp_path / "IMG_0001.jpg")).page(1)]
    assert page.image.size == (64, 48)
    assert page.image.getpixel((30, 20))[0] > 200


def test_a_damaged_photograph_costs_itself(tmp_path):
    path = heic(tmp_path / "a.heic")
    whole = path.read_bytes()
    for end in (40, len(whole) // 2, len(whole) - 20):
        path.write_bytes(whole[:end])
        with (
            pytest.raises(DocumentError, match=r"damaged picture|not a picture"),
            documents.open_document(path) as found,
        ):
            found.page(1)


def test_without_pillow_heif_the_extra_is_named(tmp_path, monkeypatch):
    path = heic(tmp_path / "a.heic")
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    with pytest.raises(DocumentError, match=r"pip install 'visret\[heic\]'") as caught:
        documents.open_document(path)
    assert caught.value.reason == pictures.NO_HEIF


@pytest.mark.parametrize("kind", ["EPS", "PCX", "SGI", "TGA", "PPM", "ICO"])
@pytest.mark.parametrize("ending", [".gif", ".png"])
def test_no_other_reader_of_pillow_is_reached(kind, ending, tmp_path):
    path = tmp_path / f"a{ending}"
    Image.new("RGB", (20, 20), "red").save(path, format=kind)
    with pytest.raises(DocumentError, match="is not a picture that can be read"):
        documents.open_document(path)


# ---- a folder of files that are not what they are called

TEXT = b"From: a@example.org\nSubject: ferry\n\nThe last crossing leaves at half past five.\n"
NOT_THAT = {
    "IMG_0001.HEIC": "is not a picture .*; rename it",
    "scan.gif": "is not a picture .*; rename it",
    "photo.jfif": "is not a picture .*; rename it",
    "book.epub": "is not a valid EPUB file .*; copy",
    "archive.zip": "is not a valid ZIP file .*; copy",
    "a.ipynb": "is not a notebook.*; save",
}


@pytest.mark.parametrize("ending", formats.endings(["text", "table", "mail"]))
def test_one_text_under_every_ending_of_texts(ending, tmp_path):
    (page,), lost = read(tmp_path / f"a{ending}", TEXT)
    assert "half past five" in page
    assert not lost


@pytest.mark.parametrize("name", NOT_THAT)
def test_what_is_not_what_it_is_called_fails_by_name(name, tmp_path):
    with pytest.raises(DocumentError, match=NOT_THAT[name]):
        read(tmp_path / name, TEXT)


def test_a_pdf_inside_another_file_does_not_make_it_one(tmp_path):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:  # stored: its bytes begin within the first thousand
        archive.writestr("a.pdf", b"%PDF-1.4 ...")
    (tmp_path / "a.zip").write_bytes(data.getvalue())
    with documents.open_document(tmp_path / "a.zip") as archive:
        assert len(archive) == 0


def test_the_worker_reads_them_and_says_what_is_lost(tmp_path):
    files = {
        "a.eml": HEADER + b"\nwords \xff\n",
        "a.csv": b"a,b\n1,2\n",
        "a.ipynb": notebook({"source": "words", "outputs": [{"data": {"image/png": ""}}]}).encode(),
        "a.epub": book({"a.xhtml": "<p>words</p>", "b.xhtml": None}),
    }
    worker = process.Worker()
    try:
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            answers = list(worker.read(messages.Request(str(tmp_path / name)), doc=name))
            assert any(isinstance(answer, Page) and answer.plain.strip() for answer in answers), name
            assert any(isinstance(answer, messages.Lacking) for answer in answers) == (name != "a.csv"), name
    finally:
        worker.close()
