"""What stands on a page beside its content is drawn and read: fields, notes, stamps, comments; and pages stay whole."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from support import raw_pdf, sheets
from support.raw_pdf import FONT, RawPdf, annotation, page, text

from visret import Page, documents

BOX = (60, 90, 260, 110)
CONTENT = text(20, 180, "Lease of the boat house")
HELV = f"/DR << /Font << /Helv {FONT} >> >> /DA (/Helv 11 Tf 0 g)"
RESOURCES = f"/Resources << /Font << /F {FONT} >> >>"
read = partial(raw_pdf.read, dpi=144)
ink = partial(sheets.ink, dark=160)


def box_of(page: Page, word: str):
    return next(w.box for w in page.words if w.text == word)


def one_page(tmp_path, notes, *, content=CONTENT, root="", more="", **options) -> Path:
    """A document of one page with these annotations: functions of the document, or (kind, box, more, shown)."""
    pdf = RawPdf()
    made = [note(pdf) if callable(note) else annotation(pdf, *note) for note in notes]
    only = page(pdf, content, f"/Annots [{' '.join(made)}] {more}", own=options.pop("own", None))
    fields = [ref for ref, note in zip(made, notes, strict=True) if not callable(note) and note[0] == "Widget"]
    return pdf.save(
        tmp_path / "one.pdf", [only], root=root.replace("FIELDS", f"/Fields [{' '.join(fields)}]"), **options
    )


def form(tmp_path, *notes, need=False, **options) -> Path:
    root = f"/AcroForm << FIELDS {HELV} {'/NeedAppearances true' if need else ''} >>"
    return one_page(tmp_path, notes, root=root, **options)


def field(value: str, shown: str | None = None, more: str = "", box=BOX):
    return "Widget", box, f"/FT /Tx /T (tenant) /V {value} /DA (/Helv 11 Tf 0 g) {more}", shown


# ---- forms


@pytest.mark.parametrize(
    ("own", "tree"),
    [
        ("/MediaBox [0 0 300 400]", RESOURCES),
        (RESOURCES, "/MediaBox [0 0 300 400]"),
        ("", f"/MediaBox [0 0 300 400] {RESOURCES}"),
        ("", f"/MediaBox [0 0 300 400] {RESOURCES} /CropBox [10 20 290 390]"),
        (RESOURCES, "/MediaBox [0 0 300 400] /Rotate 90"),
        ("", f"/MediaBox [0 0 300 400] {RESOURCES} /CropBox [10 20 290 390] /Rotate 270"),
    ],
)
def test_a_form_keeps_what_its_page_inherits(tmp_path, own, tree):
    path = form(tmp_path, field("(Lovelace)", "Lovelace"), content=text(20, 380, "Lease"), own=own, tree=tree)
    for _ in range(2):
        found = read(path)
        width, height = (280, 370) if "CropBox" in tree else (300, 400)
        assert found.size_pt == ((height, width) if "Rotate" in tree else (width, height))
        assert sorted(word.text for word in found.words) == ["Lease", "Lovelace"]
        for word in found.words:
            assert ink(found, word.box) > 0.05


@pytest.mark.parametrize("need", [False, True])
@pytest.mark.parametrize("value", ["(Ottilie)", "<FEFF004F007400740069006C00690065>"])
def test_a_value_without_an_appearance_is_drawn_and_read(tmp_path, need, value):
    found = read(form(tmp_path, field(value), need=need))
    assert found.text.split()[-1] == "Ottilie"
    x0, y0, x1, y1 = box_of(found, "Ottilie")
    assert 60 / 300 <= x0 < x1 <= 260 / 300
    assert 1 - 110 / 200 <= y0 + 0.01 < y1 <= 1 - 90 / 200 + 0.01
    assert ink(found, (x0, y0, x1, y1)) > 0.05


def test_a_value_in_letters_that_the_form_has_no_font_for_is_read(tmp_path):
    found = read(form(tmp_path, field("<FEFF6E218239>")))
    assert found.text.split()[-1] == "渡船"


def test_a_value_of_which_the_appearance_lacks_letters_is_read_whole(tmp_path):
    """As PDFium makes one of Turkish, with a font that has some of its letters."""
    found = read(form(tmp_path, field("<FEFF015E0061011F006C0061006D>", "alam")))
    assert found.text.split()[-1] == "Şağlam"


def test_a_value_under_a_stamp_is_read(tmp_path):
    stamp = "Stamp", (100, 90, 180, 110), "/Name /Paid", "PAID"
    found = read(form(tmp_path, field("(Ottilie Brandhuber)", ""), stamp))
    assert sorted(found.text.split()[5:]) == ["Brandhuber", "Ottilie", "PAID"]


def test_an_appearance_that_is_right_is_not_doubled(tmp_path):
    found = read(form(tmp_path, field("(Ada Lovelace)", "Ada Lovelace")))
    assert found.text.split("\n")[-1] == "Ada Lovelace"
    assert len(found.words) == 7


def test_an_appearance_that_shows_a_value_otherwise_is_what_stands_there(tmp_path):
    assert read(form(tmp_path, field("(2024-05-03)", "3 May 2024"))).text.split("\n")[-1] == "3 May 2024"


def test_a_value_that_is_cut_in_its_box_is_read_whole(tmp_path):
    found = read(form(tmp_path, field("(A text longer than its box shows)", "A text longer")))
    assert found.text.split("\n")[-1] == "A text longer than its box shows"


def test_a_value_of_several_lines_has_its_lines(tmp_path):
    box = (60, 40, 260, 110)
    found = read(form(tmp_path, field("(first line\\rsecond line)", None, "/Ff 4096", box)))
    assert found.text.split("\n")[-2:] == ["first line", "second line"]
    assert ink(found, box_of(found, "second")) > 0.05


def test_a_comb_is_one_word(tmp_path):
    found = read(form(tmp_path, field("(48151623)", None, "/Ff 16777216 /MaxLen 8")))
    assert found.text.split()[-1] == "48151623"
    x0, _, x1, _ = box_of(found, "48151623")
    assert x1 - x0 > 0.5 * 200 / 300


def test_a_choice_is_read_by_its_label(tmp_path):
    more = "/FT /Ch /T (t) /Opt [[(1) (one ferry)] [(2) (two ferries)]] /V (2) /Ff 131072 /DA (/Helv 11 Tf 0 g)"
    found = read(form(tmp_path, ("Widget", BOX, more)))
    assert found.text.split("\n")[-1] == "two ferries"


def test_passwords_ticks_and_hidden_fields_give_no_words(tmp_path):
    hidden = [field("(secret)", "secret", f"/F {flag}") for flag in (2, 32, 6, 36)]
    ticks = ("Widget", (20, 20, 30, 30), "/FT /Btn /T (b) /V /Yes /AS /Yes")
    found = read(form(tmp_path, field("(pass)", None, "/Ff 8192"), *hidden, ticks))
    assert "secret" not in found.text
    assert "pass" not in found.text
    assert "Yes" not in found.text
    assert ink(read(form(tmp_path, *hidden)), (60 / 300, 0.45, 260 / 300, 0.55)) == 0


def test_fields_of_a_document_without_a_form_are_drawn_and_read(tmp_path):
    found = read(one_page(tmp_path, [field("(Lovelace)", "Lovelace")]))
    assert found.text.split()[-1] == "Lovelace"
    assert ink(found, box_of(found, "Lovelace")) > 0.05


def test_a_choice_of_a_document_without_a_form_is_read(tmp_path):
    found = read(one_page(tmp_path, [("Widget", BOX, "/FT /Ch /T (t) /V (ferry)")]))
    assert found.text.split()[-1] == "ferry"


def test_a_picture_alone_shows_the_fields_too(tmp_path):
    path = form(tmp_path, field("(Ottilie)"))
    assert ink(read(path, words=False), box_of(read(path), "Ottilie")) > 0.05
    assert read(path, image=False).text == read(path).text


# ---- notes, stamps, comments


@pytest.mark.parametrize("shown", ["Deposit returned", None])
@pytest.mark.parametrize("turn", [0, 90, 180, 270])
def test_a_typed_note_is_where_it_is_drawn(tmp_path, shown, turn):
    note = "FreeText", BOX, "/Contents (Deposit returned) /DA (/Helv 12 Tf 0 g)", shown
    found = read(one_page(tmp_path, [note], more=f"/Rotate {turn}"))
    assert sorted(found.text.split()) == sorted(["Lease", "of", "the", "boat", "house", "Deposit", "returned"])
    assert ink(found, box_of(found, "Deposit")) > 0.03


def test_a_stamp_is_read(tmp_path):
    found = read(one_page(tmp_path, [("Stamp", BOX, "/Name /Approved", "APPROVED")]))
    assert found.text.split()[-1] == "APPROVED"
    assert ink(found, box_of(found, "APPROVED")) > 0.05


def test_a_watermark_that_is_an_annotation_is_read(tmp_path):
    found = read(one_page(tmp_path, [("Watermark", BOX, "/Contents (description)", "PROVISIONAL")]))
    assert found.text.split()[5:] == ["PROVISIONAL"]


@pytest.mark.parametrize("deep", [0, 1, 4])
def test_a_stamp_that_is_a_picture_is_looked_at(tmp_path, deep):
    """There may be words in it."""

    def stamp(pdf):
        head = "<< /Type /XObject /Subtype /Image /Width 8 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 1 >>"
        inside = pdf.add(head, b"\x55")
        for _ in range(deep + 1):
            form = "<< /Type /XObject /Subtype /Form /BBox [0 0 200 20] /Resources << /XObject << /X {} >> >> >>"
            drawing = b"/X Do" if "Form" in pdf.objects[-1].decode("latin-1") else b"200 0 0 20 0 0 cm /X Do"
            inside = pdf.add(form.format(inside), drawing)
        return pdf.add(f"<< /Type /Annot /Subtype /Stamp /Rect [60 90 260 110] /F 4 /AP << /N {inside} >> >>")

    assert read(one_page(tmp_path, [stamp])).drawn
    assert not read(one_page(tmp_path, [("Stamp", BOX, "/Name /Approved", "APPROVED")])).drawn


def test_a_note_longer_than_its_box_is_read_whole_and_once(tmp_path):
    words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    found = read(one_page(tmp_path, [("FreeText", BOX, f"/Contents ({words}) /DA (/Helv 12 Tf 0 g)")]))
    assert " ".join(found.text.split()[5:]) == words


def test_rich_text_alone_is_read(tmp_path):
    rich = "(<body><p>kept <b>dry</b></p><p>salt &amp; silt</p></body>)"
    found = read(one_page(tmp_path, [("FreeText", BOX, f"/RC {rich}")]))
    assert found.text.split("\n")[1:] == ["kept dry", "salt & silt"]


def test_a_stamp_that_only_old_readers_do_not_show_is_read(tmp_path):
    assert read(one_page(tmp_path, [("Stamp", BOX, "/F 5", "APPROVED")])).words[-1].text == "APPROVED"


def test_the_value_of_a_field_with_several_places_is_read_at_each(tmp_path):
    pdf = RawPdf()
    field = pdf.add("<< /FT /Tx /T (p) /V (Ottilie) /DA (/Helv 11 Tf 0 g) /Kids [5 0 R 6 0 R] >>")
    kids = [annotation(pdf, "Widget", box, f"/Parent {field}") for box in (BOX, (60, 40, 260, 60))]
    only = page(pdf, CONTENT, f"/Annots [{' '.join(kids)}]")
    found = read(pdf.save(tmp_path / "a.pdf", [only], root=f"/AcroForm << /Fields [{field}] {HELV} >>"))
    assert [word.text for word in found.words[5:]] == ["Ottilie", "Ottilie"]
    for word in found.words:
        assert ink(found, word.box) > 0.05


def test_a_note_painted_as_outlines_is_read_by_its_content(tmp_path):
    found = read(one_page(tmp_path, [("FreeText", BOX, "/Contents (Deposit)", "")]))
    assert found.text.split()[-1] == "Deposit"


@pytest.mark.parametrize("kind", ["Text", "Highlight", "Underline", "StrikeOut", "Square", "Ink", "Caret", "Stamp"])
def test_a_comment_is_read_at_its_place(tmp_path, kind):
    more = "/Contents (Ask about the winch\\rand the tin roof) /QuadPoints [60 110 260 110 60 90 260 90]"
    found = read(one_page(tmp_path, [(kind, BOX, more)]))
    assert found.text.split("\n")[-2:] == ["Ask about the winch", "and the tin roof"]
    x0, y0, x1, y1 = box_of(found, "winch")
    assert (x0, y0, y1) == pytest.approx((60 / 300, 90 / 200, 110 / 200))
    assert x1 == pytest.approx(260 / 300) or kind == "Text"  # its icon is as wide as PDFium draws it


def test_what_says_nothing_new_adds_no_words(tmp_path):
    words = ["Lease", "of", "the", "boat", "house"]
    marked = (15, 175, 200, 195)
    notes = [
        ("Link", BOX, "/Contents (a link) /A << /S /URI /URI (https://example.org) >>"),
        ("Popup", BOX, "/Contents (a comment)"),
        ("Highlight", marked, "/Contents (Lease of the boat house) /QuadPoints [15 195 200 195 15 175 200 175]"),
        ("Text", BOX, "/Contents (Accepted set by Ada) /State (Accepted) /StateModel (Review) /IRT 3 0 R"),
        ("Text", BOX, "/Contents (hidden) /F 2"),
    ]
    assert [word.text for word in read(one_page(tmp_path, notes)).words] == words
    assert [word.text for word in read(one_page(tmp_path, notes[:1])).words] == words


def test_an_answer_to_a_comment_is_read_though_its_icon_is_hidden(tmp_path):
    notes = [("Text", BOX, "/Contents (the roof?)"), ("Text", BOX, "/Contents (mended in May) /IRT 3 0 R /F 30")]
    assert read(one_page(tmp_path, notes)).text.split("\n")[-2:] == ["the roof?", "mended in May"]


def test_a_comment_beside_the_page_is_read(tmp_path):
    found = read(one_page(tmp_path, [("Text", (400, 400, 400, 400), "/Contents (far)")]))
    assert found.words[-1].text == "far"


def test_reading_notes_does_not_change_the_page(tmp_path):
    path = one_page(tmp_path, [("FreeText", BOX, "/Contents (Deposit)"), ("Text", BOX, "/Contents (roof)")])
    with documents.open_document(path) as document:
        first, second = document.page(1), document.page(1)
    assert first.words == second.words
    assert first.image.tobytes() == second.image.tobytes()


def test_notes_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(documents.pdf.raw, "FPDF_ImportPagesByIndex", lambda *_: 0)
    found = read(one_page(tmp_path, [("FreeText", BOX, "/Contents (Deposit)")]))
    assert found.text == "Lease of the boat house"
    assert [loss.what for loss in found.lost] == ["the fields and notes of a page"]


def test_notes_beyond_those_that_are_read_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(documents.pdf.notes, "MAX_NOTES", 2)
    found = read(one_page(tmp_path, [("Text", BOX, f"/Contents (note {n})") for n in "abcd"]))
    assert found.text.split("\n")[1:] == ["note a", "note b"]
    assert [loss.what for loss in found.lost] == ["2 of the fields and notes of a page"]
