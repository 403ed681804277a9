"""The text layer: characters without a meaning are counted; letters of fonts that are not there are read."""

from __future__ import annotations

import ctypes
import struct
from pathlib import Path

import numpy as np
import pytest
from support.raw_pdf import FONT, RawPdf, page, read, text

from visret import documents
from visret.documents import characters, fonts, systemfonts
from visret.documents.pdf import raw
from visret.types import Loss

PROSE = "the ferry across the estuary stops when the wind is above seven"


def composite(pdf: RawPdf, name: str, ordering: str, encoding: str, meaning: dict[str, str] | None = None) -> str:
    """A font that is only named. meaning: codes in hexadecimal -> the characters its table gives them."""
    descriptor = pdf.add(
        f"<< /Type /FontDescriptor /FontName /{name} /Flags 4 /FontBBox [0 -141 1000 859] /ItalicAngle 0 /Ascent 859 "
        "/Descent -141 /CapHeight 859 /StemV 80 >>"
    )
    cid = pdf.add(
        f"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /{name} /FontDescriptor {descriptor} /DW 1000 "
        f"/CIDSystemInfo << /Registry (Adobe) /Ordering ({ordering}) /Supplement 2 >> >>"
    )
    table = "" if meaning is None else f"/ToUnicode {to_unicode(pdf, meaning)}"
    return pdf.add(
        f"<< /Type /Font /Subtype /Type0 /BaseFont /{name} /Encoding /{encoding} /DescendantFonts [{cid}] {table} >>"
    )


def to_unicode(pdf: RawPdf, meaning: dict[str, str]) -> str:
    pairs = "\n".join(f"<{code}> <{char.encode('utf-16-be').hex()}>" for code, char in meaning.items())
    head = "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def"
    spaces = f"1 begincodespacerange <0000> <FFFF> endcodespacerange {len(meaning)} beginbfchar"
    return pdf.add("<< >>", f"{head} {spaces}\n{pairs}\nendbfchar endcmap end end".encode())


def painted(codes: list[str], *, apart: bool, mode: int = 0) -> str:
    """What paints codes in font C, in one go or each by itself."""
    if not apart:
        return f"BT {mode} Tr /C 14 Tf 20 100 Td <{''.join(codes)}> Tj ET\n"
    letters = " ".join(f"1 0 0 1 {20 + 15 * k} 100 Tm <{code}> Tj" for k, code in enumerate(codes))
    return f"BT {mode} Tr /C 14 Tf {letters} ET\n"


def saved(pdf: RawPdf, path: Path, font: str, *contents: str) -> Path:
    own = f"/MediaBox [0 0 300 200] /Resources << /Font << /F {FONT} /C {font} >> >>"
    return pdf.save(path, [page(pdf, content, own=own) for content in contents])


NAMED = {
    "simplified": ("SimSun", "GB1", "GBK-EUC-H", "gbk", "渡轮停航", "Chinese"),
    "traditional": ("MingLiU", "CNS1", "ETen-B5-H", "big5", "渡輪停航", "Chinese"),
    "japanese": ("MS-Mincho", "Japan1", "90ms-RKSJ-H", "cp932", "渡し船は", "Japanese"),
    "korean": ("Batang", "Korea1", "KSCms-UHC-H", "cp949", "바람이강", "Korean"),
}


@pytest.fixture
def no_fonts(monkeypatch):
    """A machine without fonts for Chinese, Japanese and Korean."""
    monkeypatch.setattr(systemfonts._Fonts, "_of_system", lambda *_: None)
    monkeypatch.setattr(systemfonts, "_of_user", lambda: ())


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("kind", NAMED)
def test_letters_of_a_font_that_is_only_named_are_read_and_its_absence_is_said(tmp_path, no_fonts, kind, apart):
    name, ordering, encoding, codec, letters, language = NAMED[kind]
    pdf = RawPdf()
    codes = [char.encode(codec).hex() for char in letters]
    content = text(20, 150, "Ferry") + painted(codes, apart=apart)
    path = saved(pdf, tmp_path / "a.pdf", composite(pdf, name, ordering, encoding), content, content)
    with documents.open_document(path) as document:
        for number in (1, 2, 1):  # PDFium looks for a font once
            found = document.page(number, dpi=72)
            assert found.text == f"Ferry\n{letters}"
            ((what, help_),) = found.lost
            assert f"text set in {name}, which is not in the file" in what
            assert language in help_
            x0, y0, x1, y1 = found.words[1].box
            assert (x0, x1) == pytest.approx((20 / 300, 80 / 300), abs=0.02)
            assert y0 < 0.5 < y1 + 0.02


def test_a_machine_with_such_a_font_draws_with_it(tmp_path):
    name, ordering, encoding, codec, letters, _ = NAMED["simplified"]
    pdf = RawPdf()
    content = painted([char.encode(codec).hex() for char in letters], apart=True)
    found = read(saved(pdf, tmp_path / "a.pdf", composite(pdf, name, ordering, encoding), content))
    if found.lost:
        pytest.skip("no font for Chinese is installed here")
    x0, y0, x1, y1 = found.words[0].box
    assert found.text == letters
    assert (np.asarray(found.image.crop((int(x0 * 300), int(y0 * 200), int(x1 * 300), int(y1 * 200)))) < 128).any()


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("letters", ["ลมแร", "ريحق", "ветр"])
def test_letters_that_no_font_here_has_are_read(tmp_path, no_fonts, letters, apart):
    codes = [f"{0x0300 + k:04X}" for k in range(4)]
    pdf = RawPdf()
    font = composite(pdf, "Nowhere", "Identity", "Identity-H", dict(zip(codes, letters, strict=True)))
    found = read(saved(pdf, tmp_path / "a.pdf", font, text(20, 150, "Ferry") + painted(codes, apart=apart)))
    assert sorted(found.words[1].text) == sorted(letters)
    assert found.lost == (
        Loss(
            "the picture of text set in Nowhere, which is not in the file and not on this machine",
            "save the document again with its fonts embedded",
        ),
    )


def test_an_invisible_layer_in_such_a_font_is_read_and_nothing_is_missing(tmp_path, no_fonts):
    """As some OCR programs write it, letter by letter."""
    pdf = RawPdf()
    font = composite(pdf, "Nowhere", "Identity", "Identity-H", {"0300": "渡", "0301": "船"})
    found = read(saved(pdf, tmp_path / "a.pdf", font, painted(["0300", "0301"], apart=True, mode=3)))
    assert found.text == "渡船"
    assert found.lost == ()
    assert np.asarray(found.image).min() == 255  # it stays invisible


def test_blanks_painted_by_themselves_are_no_letters(tmp_path, monkeypatch):
    pdf = RawPdf()
    path = pdf.save(tmp_path / "a.pdf", [page(pdf, text(20, 100, "one") + text(60, 100, " ") + text(80, 100, "two"))])
    found = read(path)
    assert (found.text, found.lost) == ("one two", ())


def test_a_font_of_blanks_is_no_longer_suspected(tmp_path, monkeypatch):
    pdf = RawPdf()
    blanks = "".join(text(3 * k, 50, " ") for k in range(60))
    pages = [page(pdf, text(20, 100, "one") + blanks) for _ in range(2)]
    looked = []
    monkeypatch.setattr(fonts, "_said", lambda page, some, said=fonts._said: looked.append(1) or said(page, some))
    with documents.open_document(pdf.save(tmp_path / "a.pdf", pages)) as document:
        assert [document.page(n).text for n in (1, 2)] == ["one", "one"]
    assert looked == [1]


def test_pages_with_their_fonts_are_not_looked_through(tmp_path, monkeypatch):
    pdf = RawPdf()
    path = pdf.save(tmp_path / "a.pdf", [page(pdf, text(20, 100, "one two"))])
    monkeypatch.setattr(fonts, "_extend", None)
    assert read(path).text == "one two"


def test_the_fonts_of_a_user_are_looked_through(tmp_path, monkeypatch):
    def font(pages: int, version: int = 1) -> bytes:
        table = struct.pack(">H76xII", version, pages, 0)
        return (
            struct.pack(">4sHHHH", b"\0\1\0\0", 1, 16, 0, 0) + struct.pack(">4sIII", b"OS/2", 0, 28, len(table)) + table
        )

    folder = tmp_path / "fonts" / "more"
    folder.mkdir(parents=True)
    contents = {
        "a-bold.ttf": font(1 << 18), "b-regular.otf": font(1 << 18 | 1), "c.ttf": font(1), "d.ttf": font(1 << 18, 0),
        "e.ttf": b"no font", "f.ttf": b"", "g.txt": font(1 << 18), "h-korean.ttf": font(1 << 19),
    }  # fmt: skip
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    (folder / "i.ttc").write_bytes(
        b"ttcf" + struct.pack(">HHII", 1, 0, 1, 16) + font(1 << 20).replace(b"\0\0\0\x1c", b"\0\0\0\x2c")
    )
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    monkeypatch.setattr(systemfonts.sys, "platform", "linux")
    systemfonts._of_user.cache_clear()
    try:
        assert [f.path.name for f in systemfonts._of_user()] == ["b-regular.otf", "a-bold.ttf", "h-korean.ttf", "i.ttc"]
        assert systemfonts._data(1) == contents["b-regular.otf"]
    finally:
        systemfonts._of_user.cache_clear()
        systemfonts._data.cache_clear()


# ---- characters without a meaning


def untold(pdf: RawPdf) -> str:
    """A font whose codes mean nothing to anybody: glyphs that are painted here, without names or a table."""
    glyph = pdf.add("<< >>", b"600 0 0 0 500 700 d1 0 0 500 700 re f")
    names = " ".join(f"/g{code}" for code in range(1, 256))
    procedures = " ".join(f"/g{code} {glyph}" for code in range(1, 256))
    encoding = f"<< /Type /Encoding /Differences [1 {names}] >>"
    return pdf.add(
        "<< /Type /Font /Subtype /Type3 /FontBBox [0 0 500 700] /FontMatrix [.001 0 0 .001 0 0] /FirstChar 1 "
        f"/LastChar 255 /Widths [{'600 ' * 255}] /CharProcs << {procedures} >> /Encoding {encoding} >>"
    )


@pytest.mark.parametrize("shift", [-96, -36, 1, 60])
def test_codes_that_mean_nothing_are_counted(tmp_path, shift):
    """Codes of a subset of a font look like control characters, white space or wrong letters."""
    pdf = RawPdf()
    codes = [f"{max(1, ord(char) + shift if char != ' ' else 4):02X}" for char in PROSE[:30]]
    content = text(20, 150, "page 7") + painted(codes, apart=False)
    found = read(saved(pdf, tmp_path / "a.pdf", untold(pdf), content), image=False)
    assert found.unread == pytest.approx(30 / 35, abs=0.02)
    assert found.words[0].text == "page"


@pytest.mark.parametrize("letters", [PROSE.replace(" ", ""), "0714212936435057647179Depth100", "1998"])
def test_codes_that_read_like_a_language_are_believed(tmp_path, letters):
    """Bitmap fonts of TeX, and those of plots, have no table of characters either."""
    pdf = RawPdf()
    codes = [f"{ord(char):02X}" for char in letters]
    found = read(saved(pdf, tmp_path / "a.pdf", untold(pdf), painted(codes, apart=False)))
    assert (found.text, found.unread) == (letters, 0)


def test_ordinary_pages_have_nothing_unread(tmp_path):
    pdf = RawPdf()
    path = pdf.save(tmp_path / "a.pdf", [page(pdf, text(20, 100, PROSE)), page(pdf, "")])
    assert [read(path, n).unread for n in (1, 2)] == [0, 0]


def test_characters_of_several_parts_are_joined():
    one = characters.Characters(np.array([65], np.uint32), np.ones((1, 4), np.float32), np.zeros(1, np.float32))
    bad = one._replace(senseless=np.array([True]))
    assert characters.joined([]).codes.tolist() == []
    assert characters.joined([one, characters.joined([])]).senseless is None
    both = characters.joined([one, bad])
    assert both.codes.tolist() == [65, 10, 65, 10]
    assert both.senseless.tolist() == [False, False, True, False]
    assert both.share_senseless == 0.5


def test_the_calls_for_objects_are_those_that_pypdfium2_declares():
    number = ctypes.c_int
    for function, result, arguments in (
        (raw.FPDFFormObj_CountObjects, number, [raw.FPDF_PAGEOBJECT]),
        (raw.FPDFFormObj_GetObject, raw.FPDF_PAGEOBJECT, [raw.FPDF_PAGEOBJECT, ctypes.c_ulong]),
        (raw.FPDFTextObj_GetFont, raw.FPDF_FONT, [raw.FPDF_PAGEOBJECT]),
        (raw.FPDFTextObj_GetTextRenderMode, raw.FPDF_TEXT_RENDERMODE, [raw.FPDF_PAGEOBJECT]),
        (raw.FPDFFont_GetIsEmbedded, number, [raw.FPDF_FONT]),
        (raw.FPDFPageObj_GetBounds, number, [raw.FPDF_PAGEOBJECT, *[ctypes.POINTER(ctypes.c_float)] * 4]),
    ):
        assert function.restype is result
        assert list(function.argtypes) == arguments
