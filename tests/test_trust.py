"""Which text layers are believed, what is read besides them, and how both become one text."""

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas
from support import raw_pdf

from visret import documents
from visret.documents import misread
from visret.ingest import pages
from visret.ingest.options import ReadOptions
from visret.ocr import joined, letters, printed, trust
from visret.ocr.lines import Reading
from visret.types import Page, PageRef, Word

BODY = [
    "The ferry across the estuary stops when the wind is strong.",
    "In winter the last crossing leaves the north quay at five.",
    "Bicycles travel free of charge; carts and horses pay more.",
    "Season tickets are sold by the harbour office on weekdays.",
    "Lost property is kept for a month, then given to the crew.",
    "The crew may refuse anybody who lights a fire on the deck.",
]
HEADER = "Harbour authority of the lower estuary, office of the ferry master, north quay, open on weekdays from nine to"
RIGHT = {
    "English": " ".join(BODY),
    "Czech": "Přívoz nepluje, když je vítr příliš silný. Poslední plavba odjíždí ze severního nábřeží v půl šesté.",
    "Finnish": "Lautta ei kulje, kun tuuli on yli seitsemän metriä sekunnissa. Viimeinen vuoro lähtee puoli kuudelta.",
    "Vietnamese": "Phà ngừng chạy khi gió quá mạnh vào mùa đông năm nay. Chuyến cuối cùng rời bến phía bắc.",
    "German": "Die Fähre fährt nicht bei Sturm. Die letzte Überfahrt beginnt am Nordkai um halb sechs.",
    "Russian": "Паром не ходит при сильном ветре. Последний рейс с северного причала уходит в половине шестого вечера.",
    "Chinese": "渡轮在风力超过七级时停止航行。末班船五点半离开北码头。失物保管一个月后交给救生艇。",
    "numbers": "1,234.50 12.5% (3.14) $5.00 -17 2024-05-03 10:30 1/2 99.9% 4,711 0.001 (12) 77 +41 1e5 " * 3,
}
_SHUFFLED = "qazwsxedcrfvtgbyhnujmikolp"
CIPHERS = {
    "29 lower": lambda text: "".join(chr(max(3, ord(c) - 29)) for c in text),
    "one higher": lambda text: "".join(c if c == " " else chr(ord(c) + 1) for c in text),
    "Latin Extended": lambda text: "".join(chr(ord(c) + 256) for c in text),
    "by first use": lambda text: "".join(chr(33 + list(dict.fromkeys(text)).index(c)) for c in text),
    "by rank": lambda text: "".join(chr(37 + sorted(set(text)).index(c)) for c in text),
    "few ideographs": lambda text: "".join(chr(0x4E00 + 7 * ord(c)) for c in text),
}


def layer(*lines, top=0.1, left=0.1, height=0.02, step=0.03, width=0.8):
    """Words of lines, one below the other; each as wide as its letters are many of the longest line."""
    letter = width / max(map(len, lines))
    return tuple(
        Word(
            word, (left + letter * at, top + step * i, left + letter * (at + len(word)), top + step * i + height), (), i
        )
        for i, line in enumerate(lines)
        for word, at in zip(line.split(), starts(line), strict=True)
    )


def starts(line):
    at = 0
    for word in line.split():
        yield line.index(word, at)
        at = line.index(word, at) + len(word)


def reading(words, confidence=0.99):
    return Reading(tuple(words), (confidence,) * len(words))


def page(words=(), **known):
    return Page(PageRef("x", 1), (595, 842), None, tuple(words), **known)


def sheet(lines=BODY, size=(827, 1169), height=20, step=60, font=None):
    """A picture of lines at 100 dpi."""
    image = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(image), ImageFont.truetype(font, height) if font else ImageFont.load_default(height)
    for i, line in enumerate(lines):
        pen.text((60, 120 + step * i), line, "black", font)
    return image


# ------------------------------------------------------------------------------------------------------- letters


def test_triples_of_languages_are_usual_and_those_of_ciphers_are_not():
    for language in ("English", "Czech", "Finnish", "German"):
        assert letters.look(RIGHT[language].split()).share > 0.9, language
    for name in ("29 lower", "one higher", "by rank"):
        assert letters.look(CIPHERS[name](RIGHT["English"]).split()).share < 0.65, name
    assert letters.look([]).share == 1
    assert letters.look(["Паром", "не", "ходит"]).all.sum() == 0


def test_each_text_has_its_own_triples():
    found = letters.look(["the", "xq", "17", "the"])
    assert found.all.tolist() == [3, 2, 0, 3]
    assert found.usual.tolist() == [3, 0, 0, 3]


@pytest.mark.heavy
def test_words_are_known_whole_and_by_their_longer_parts():
    words = ["Ferry,", "cafés", "DeclareInput", "well-known", "cart5", "xqz", "1987", "Ilapom"]
    assert letters.known(words).tolist() == [True, True, True, True, False, False, False, False]


# --------------------------------------------------------------------------------------------- what costs nothing


@pytest.mark.parametrize("name", RIGHT)
def test_text_of_a_language_is_not_strange(name):
    assert not trust.strange_lines(layer(*[RIGHT[name]] * 3))


@pytest.mark.parametrize("name", CIPHERS)
def test_text_in_a_cipher_is_strange(name):
    cipher = [CIPHERS[name](line) for line in ["\n".join(BODY).replace("\n", " ")] * 3]
    assert trust.strange_lines(layer(*cipher)) == {0, 1, 2}


@pytest.mark.heavy
def test_letters_that_stand_for_others_are_strange():
    table = str.maketrans("abcdefghijklmnopqrstuvwxyz", _SHUFFLED)
    assert len(trust.strange_lines(layer(*(line.lower().translate(table) for line in BODY)))) > 3


def test_only_the_strange_lines_of_a_page_are_named():
    mixed = [HEADER, *(CIPHERS["one higher"](line) for line in BODY)]
    assert {2, 3, 4, 5, 6} <= trust.strange_lines(layer(*mixed)) <= {1, 2, 3, 4, 5, 6}
    assert not trust.strange_lines(layer(*BODY, *BODY, CIPHERS["one higher"](BODY[0])))


def test_what_makes_a_page_doubtful():
    words = layer(*BODY)
    assert not trust.doubtful(page(words))
    assert not trust.doubtful(page(words, pictured=0.08))
    for known in ({"pictured": 0.5}, {"unread": 0.3}, {"drawn": True}, {"torn": True}):
        assert trust.doubtful(page(words, **known))
    assert trust.doubtful(page(words[: trust.FEW - 1]))
    assert trust.doubtful(page(layer("\ue001 " * 100)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The quick brown fox", "The quick brown fox"),
        ("Contents 1 Introduction . . . . . . . . . . . . 5", "Contents 1 Introduction . . . . . . . . . . . . 5"),
        ("\x01\x02\x03 \x04\x05 the", "the"),
        ("\ue001\ue002 \ue003\ue004\ue005", ""),
        ("the value of \ue001 is known", "the value of is known"),
        ("~ .,: ;; '' -_ |! ii .; ^", "ii"),
    ],
)
def test_words_without_a_meaning_are_left_out(text, expected):
    assert trust.text_of(trust.sensible(layer(text))) == expected


# ----------------------------------------------------------------------------------------------- print in pictures


def inked(image, lines=BODY, step=60):
    """The words of a sheet, in boxes around their ink."""
    font, out = ImageFont.load_default(20), []
    for i, line in enumerate(lines):
        for word, at in zip(line.split(), starts(line), strict=True):
            x = 60 + font.getlength(line[:at])
            box = (x / image.width, (120 + step * i) / image.height)
            out.append(Word(word, (*box, (x + font.getlength(word)) / image.width, box[1] + 24 / image.height), (), i))
    return tuple(out)


def beside(words, image):
    return printed.lines(words, image, None).beside


def test_print_is_what_lies_beside_the_words():
    image = sheet()
    words = inked(image)
    assert beside((), image) > 3
    assert beside(words, image) == 0
    third = tuple(word for word in words if word.line == 3)
    assert beside(third, image) == pytest.approx(beside((), image) * 5 / 6, rel=0.1)
    assert beside(tuple(word for word in words if word.line != 3), image) > 0.4
    assert beside((), image.rotate(90, expand=True)) > 1
    assert beside((), image.rotate(3, fillcolor="white")) > 3


def test_photographs_and_drawings_are_no_print():
    noise = np.random.default_rng(0).integers(0, 256, (130, 100, 3), dtype=np.uint8)
    photograph = Image.fromarray(noise).resize((800, 1040)).filter(ImageFilter.GaussianBlur(2))
    assert beside((), photograph) < 0.1
    drawing = Image.new("RGB", (800, 1040), "white")
    pen = ImageDraw.Draw(drawing)
    for i in range(12):
        pen.rectangle((40 + 20 * i, 40 + 30 * i, 700 - 20 * i, 900 - 30 * i), outline="black")
        pen.ellipse((100, 80 * i, 400, 80 * i + 300), outline="black")
    assert beside((), drawing) < 0.1
    assert beside((), Image.new("RGB", (1, 1))) == 0


def test_print_without_words_is_missing():
    image = sheet()
    words = inked(image)
    assert trust.is_missing(page(), (), image)
    assert not trust.is_missing(page(words), words, image)
    footer = layer(HEADER, HEADER, top=0.9)
    assert trust.is_missing(page(footer), footer, image)
    assert trust.is_missing(page(footer), footer, image.resize((1654, 2338)))  # at any resolution
    white = Image.new("RGB", (827, 1169), "white")
    assert not trust.is_missing(page(footer), footer, white)
    large = sheet(["ANNUAL MEETING"], height=60)
    footer = layer(*[HEADER] * 3, top=0.9)
    assert not trust.is_missing(page(footer), footer, large)
    assert trust.is_missing(page(footer, drawn=True), footer, large)


# --------------------------------------------------------------------------------------- a few lines of it read


def says(lines):
    """A reader of sheets of strips, on which it finds these lines one below the other."""

    def read(image):
        found = [Word(word, (0, (i + 0.4) / len(lines), 1, (i + 0.6) / len(lines)), (), i)
                 for i, line in enumerate(lines) for word in line.split()]  # fmt: skip
        return reading(found)

    return read


@pytest.mark.heavy
def test_a_cipher_is_one_where_the_lines_say_something_else():
    image, words = sheet(), layer(*map(CIPHERS["one higher"], BODY))
    sampled = [BODY[i] for i in (1, 2, 4, 5)]
    assert trust.is_wrong(page(words), words, image, says(sampled))
    right = layer(*["MPX5700 LM317T BC547B 2N3904 XC9572 74HC595 TL072"] * 4)
    assert trust.strange_lines(right)
    assert not trust.is_wrong(page(right), right, image, says([trust.text_of(right[:7])] * 4))
    assert not trust.is_wrong(page(words), words, image, lambda _: reading(()))
    assert not trust.is_wrong(page(words), words, image, says(["xq zzv kjh wwq pfft"] * 4))
    english = layer(*BODY)
    assert not trust.is_wrong(page(english), english, image, None)  # nothing is read


@pytest.mark.heavy
def test_lines_without_a_language_are_those_that_are_compared_under_a_heading_that_is_right():
    """Of a page in a font without characters, whose codes look like signs and figures."""
    garbage = ["'/, -,88> (*8599 :/, ,9:;(8> 9:569 =/,4 :/,", "$4 =04:,8 :/, 2(9: *859904. 2,(<,9 :/, 458:/ 7;(>"]
    words, image = layer(HEADER, HEADER, HEADER, *garbage), sheet()
    assert not trust.strange_lines(words)
    assert trust.is_wrong(page(words, unread=0.5), words, image, says(BODY[:2]))
    assert not trust.is_wrong(page(words, unread=0.5), words, image, says(garbage))


@pytest.mark.heavy
def test_a_layer_is_poor_where_a_new_reading_has_better_words():
    poor = [line.replace("e", "c").replace("r", "x") for line in BODY]
    words, image = layer(*poor), sheet()
    lines = trust._sample(words, range(6))
    better = says([BODY[line[0].line] for line in lines])
    assert trust.is_poor(page(words, hidden=True), words, image, better)
    assert not trust.is_poor(page(words), words, image, None)  # words that are seen are exact
    assert not trust.is_poor(page(words, hidden=True), words, image, says([poor[line[0].line] for line in lines]))
    good = layer(*BODY)
    assert not trust.is_poor(page(good, hidden=True), good, image, None)
    german = layer(*[RIGHT["German"][:60]] * 4)
    worse = RIGHT["German"][:60].replace("ä", "a").replace("e", "c")
    assert not trust.is_poor(page(german, hidden=True), german, image, says([worse] * 4))


@pytest.mark.heavy
def test_an_unknown_script_is_not_read_as_what_looks_alike():
    nonsense = ["IlapoM He xoMTt npv CMnbHOM BeTpe", "locnenHM peuc c cesepHoro npvnana", "yxonMT B nonoBvHe wectoro"]
    alike = reading(layer(*nonsense), 0.8)
    assert trust.without_nonsense(alike).words == ()
    both = Reading((*layer(*BODY), *layer(*nonsense, top=0.5)), (0.97,) * 60 + (0.8,) * 15)
    numbered = [word if i < 60 else Word(word.text, word.box, (), 6 + word.line) for i, word in enumerate(both.words)]
    assert trust.without_nonsense(Reading(tuple(numbered[-40:]), both.confidences[-40:])).words == tuple(
        numbered[-40:-15]
    )
    for language in ("English", "Czech", "Finnish", "German"):
        right = reading(layer(RIGHT[language]), 0.86)
        assert trust.without_nonsense(right) == right, language
    assert trust.without_nonsense(reading(())) == reading(())


# ------------------------------------------------------------------------------------------------------ one text


def lines_of(words):
    return Page(PageRef("x", 1), None, None, tuple(words)).text.split("\n")


def test_own_words_stay_and_missing_ones_come_where_they_stand():
    header, footer = layer(HEADER, top=0.02), layer("page 7 of 12", top=0.95, width=0.1)
    own = (*header, *(Word(w.text, w.box, (), 1) for w in footer))
    body = layer(*BODY)
    added = joined.missing(own, reading(body)).words
    words = joined.joined(own, reading(added))
    assert lines_of(words) == [HEADER, *BODY, "page 7 of 12"]
    assert [word.line for word in words] == sorted(word.line for word in words)
    assert len(added) == len(body)


def test_what_was_misread_of_own_words_is_not_added():
    own = layer("Case 11-22222 Filed 06/13/19", "Паром не ходит")
    misread = [Word(text, word.box, (), word.line) for text, word in
               zip(["Case", "11-2222Z", "Flled", "O06/13/19", "lIapom", "He", "xoAiT"], own, strict=True)]  # fmt: skip
    added = joined.missing(own, reading([*misread, *layer("Received in May", top=0.5, width=0.3)])).words
    words = joined.joined(own, reading(added))
    assert lines_of(words) == ["Case 11-22222 Filed 06/13/19", "Паром не ходит", "Received in May"]
    assert len(added) == 3
    elsewhere = layer("Case 11-22222 Filed O6/13/19", top=0.11, left=0.13)  # the same line, a little off
    assert not joined.missing(own, reading(elsewhere)).words


def test_print_under_a_watermark_is_added():
    mark = [Word("COPY", (0.1 + 0.2 * i, 0.107, 0.25 + 0.2 * i, 0.113)) for i in range(4)]
    body = layer(BODY[0])
    added = joined.missing(mark, reading(body)).words
    words = joined.joined(mark, reading(added))
    assert len(added) == len(body)
    assert [word.text for word in words if word.text != "COPY"] == BODY[0].split()


def test_what_was_typed_into_a_form_stands_behind_its_label():
    typed = [Word("Ottilie", (0.4, 0.1, 0.5, 0.12), (), 0), Word("Kittiwake", (0.4, 0.2, 0.5, 0.22), (), 1)]
    labels = [Word("Name:", (0.1, 0.1, 0.2, 0.12), (), 0), Word("Seal:", (0.8, 0.1, 0.9, 0.12), (), 0),
              Word("Boat:", (0.1, 0.2, 0.2, 0.22), (), 1)]  # fmt: skip
    assert lines_of(joined.joined(typed, reading(labels))) == ["Name:", "Ottilie", "Seal:", "Boat:", "Kittiwake"]


def test_a_picture_in_a_column_is_read_with_its_column():
    left = layer(*BODY * 2, left=0.05, width=0.4)
    right = [Word(w.text, w.box, (), 12 + w.line) for w in layer(*BODY, left=0.55, width=0.4, top=0.3)]
    picture = layer("North quay and slipway", left=0.55, width=0.3, top=0.15)
    found = lines_of(joined.joined([*left, *right], reading(picture)))
    assert found == [*BODY * 2, "North quay and slipway", *BODY]


@pytest.mark.heavy
def test_lines_in_doubt_give_way_to_better_ones_only():
    cipher = CIPHERS["one higher"](BODY[1])
    own = layer(HEADER[: len(BODY[0])], cipher, "Паром не ходит при сильном ветре", "17 041")
    read = layer(HEADER[: len(BODY[0])].replace("o", "0"), BODY[1], "IIapoM He xoAuT npu cunbHoM BeTpe", "17 041")
    kept = joined.believed(own, reading(read), trust.WRONG)
    assert lines_of(kept) == [HEADER[: len(BODY[0])], "Паром не ходит при сильном ветре", "17 041"]
    assert joined.believed(own, reading(read), trust.NONE) == own
    assert joined.believed(own, reading(()), trust.ANY) == own
    worn = layer(BODY[0].replace("e", "c"))
    assert joined.believed(worn, reading(layer(BODY[0])), trust.POOR) == ()
    assert joined.believed(worn, reading(layer(BODY[0])), trust.WRONG) == worn


# --------------------------------------------------------------------------------------------------------- files


def write(path, *draw):
    canvas = Canvas(str(path), pagesize=(595, 842))
    for each in draw:
        each(canvas)
    canvas.save()
    return path


def picture(image, box=(0, 0, 595, 842)):
    return lambda canvas: canvas.drawImage(ImageReader(image), *box)


def text(lines, y, size=8, mode=0):
    def paint(canvas):
        for i, line in enumerate(lines):
            written = canvas.beginText(20, y - 12 * i)
            written.setFont("Helvetica", size)
            written.setTextRenderMode(mode)
            written.textOut(line)
            canvas.drawText(written)

    return paint


def in_form(*draw):
    def paint(canvas):
        canvas.beginForm("f")
        for each in draw:
            each(canvas)
        canvas.endForm()
        canvas.saveState()
        canvas.scale(0.5, 0.5)
        canvas.doForm("f")
        canvas.restoreState()

    return paint


def read(path, ocr="never"):
    with documents.open_document(path) as document:
        return pages.read_page(document, 1, ReadOptions(pictures=False, ocr=ocr))


def test_how_much_of_a_page_lies_under_pictures(tmp_path):
    image = sheet(size=(100, 100))
    tiles = [picture(image, (0, 842 / 8 * i, 595, 842 / 8)) for i in range(8)]
    for drawn, expected in (
        ([text(BODY, 800)], 0),
        ([picture(image, (0, 0, 297.5, 842))], 0.5),
        ([picture(image)] * 2, 1),
        (tiles, 1),
        ([in_form(picture(image))], 0.25),
        ([picture(image, (-500, -500, 300, 300))], 0),
    ):
        assert read(write(tmp_path / "a.pdf", *drawn)).pictured == pytest.approx(expected, abs=0.02)


def test_a_layer_that_nobody_sees_is_told_from_words_on_a_picture(tmp_path):
    image = sheet(size=(100, 100))
    assert read(write(tmp_path / "layer.pdf", picture(image), text(BODY, 800, mode=3))).hidden
    assert not read(write(tmp_path / "slide.pdf", picture(image), text(BODY, 800))).hidden
    assert not read(write(tmp_path / "no-scan.pdf", text(BODY, 800, mode=3))).hidden


def cipher_pdf(path, code, lines, head=()):
    """Drawn as it reads; its table of characters says something else."""
    pdf = raw_pdf.RawPdf()
    characters = sorted(set("".join(lines)))
    pairs = " ".join(f"<{ord(c):02X}> <{code(c):04X}>" for c in characters)
    table = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def "
        f"1 begincodespacerange <00> <FF> endcodespacerange {len(characters)} beginbfchar {pairs} endbfchar endcmap"
    )
    unicode = pdf.add("<< >>", table.encode())
    font = pdf.add(
        f"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding /ToUnicode {unicode} >>"
    )
    painted = "".join(f"BT /F 9 Tf 40 {800 - 14 * i} Td ({line}) Tj ET\n" for i, line in enumerate(head))
    painted += "".join(f"BT /G 11 Tf 40 {740 - 20 * i} Td ({line}) Tj ET\n" for i, line in enumerate(lines))
    own = f"/MediaBox [0 0 595 842] /Resources << /Font << /F {raw_pdf.FONT} /G {font} >> >>"
    return pdf.save(path, [raw_pdf.page(pdf, painted, own=own)])


def share_found(page, lines=BODY):
    wanted = " ".join(lines).split()
    return sum(word in page.text.split() for word in wanted) / len(wanted)


@pytest.mark.heavy
@pytest.mark.parametrize("where", ["header", "footer", "half a page"])
def test_a_scan_under_printed_words_is_read(where, glyph, tmp_path):
    lines = [HEADER, HEADER]
    box = (60, 300, 413, 584) if where == "half a page" else (0, 0, 595, 842)
    y = {"header": 830, "footer": 30, "half a page": 280}[where]
    found = read(write(tmp_path / "a.pdf", picture(sheet(height=26, size=(827, 1169)), box), text(lines, y)), "auto")
    assert share_found(found) > 0.8
    assert found.text.count(HEADER) == 2
    assert found.metadata["ocr_confidence"] > 0.8
    assert not found.lost


@pytest.mark.heavy
@pytest.mark.parametrize("shift", [-29, 256])
def test_a_cipher_is_read_as_it_stands(shift, glyph, tmp_path):
    lines = [line.replace(";", ",") for line in BODY]
    found = read(cipher_pdf(tmp_path / "a.pdf", lambda c: max(3, ord(c) + shift), lines, [HEADER]), "auto")
    assert share_found(found, lines) > 0.85
    assert found.text.split("\n")[0] == HEADER
    assert len(found.words) < len(HEADER.split()) + 1.2 * len(" ".join(lines).split())


@pytest.mark.heavy
def test_words_that_are_right_are_not_read_again(glyph, tmp_path, monkeypatch):
    photograph = Image.fromarray(np.random.default_rng(1).integers(0, 256, (90, 60, 3), dtype=np.uint8)).resize(
        (590, 840)
    )
    photograph = photograph.filter(ImageFilter.GaussianBlur(3))
    monkeypatch.setattr("visret.ocr.read", None)
    for drawn in (
        [picture(photograph), text(BODY, 700, size=16)],
        [picture(photograph, (50, 300, 400, 400)), text([HEADER, *BODY], 200)],
        [picture(sheet(lines=[])), text(BODY, 700, size=12, mode=3)],
    ):
        found = read(write(tmp_path / "a.pdf", *drawn), "auto")
        assert found.text.split("\n")[-len(BODY) :] == BODY
        assert not found.metadata


@pytest.mark.heavy
def test_a_scan_in_another_script_is_named_and_no_nonsense_is_indexed(glyph, tmp_path):
    font = "DejaVuSans.ttf"
    try:
        image = sheet([RIGHT["Russian"][:66], RIGHT["Russian"][34:]] * 3, height=19, font=font)
    except OSError:
        pytest.skip("fonts-dejavu-core is not installed: there is no font for Russian")
    found = read(write(tmp_path / "a.pdf", picture(image), text([HEADER], 830)), "auto")
    assert found.text == HEADER
    assert "glyph cannot read" in found.lost[0].what
    assert "visret[ocr]" in found.lost[0].help
    assert not found.metadata


def test_text_without_characters_is_named_where_it_may_not_be_read(tmp_path):
    path = cipher_pdf(tmp_path / "a.pdf", lambda c: 0xE000 + ord(c), BODY, [HEADER])
    assert read(path).lost == (pages.UNREAD_TEXT,)
    assert not read(write(tmp_path / "b.pdf", text(BODY, 800))).lost


def test_words_that_lack_letters_are_read_again_or_named(tmp_path):
    """As where a font has no characters for ligatures; signs before words, as those of lists, are no part of them."""
    path = cipher_pdf(tmp_path / "a.pdf", lambda c: 0xE000 if c == "v" else ord(c), BODY * 3)
    torn = read(path)
    assert torn.torn
    assert trust.doubtful(torn)
    assert torn.lost == (pages.UNREAD_TEXT,)
    marked = [f"* {line}" for line in BODY * 3]
    assert not read(cipher_pdf(tmp_path / "b.pdf", lambda c: 0xE000 if c == "*" else ord(c), marked)).torn


@pytest.mark.weights
def test_a_line_that_lacks_letters_gives_way_to_known_words_only():
    assert trust.is_better("The ferry gives way to seven boats", "The ferry gies way to seen boats", trust.TORN)
    assert not trust.is_better("The ferry stops at five", "The ferry stops at five", trust.TORN)
    assert not trust.is_better("The fcrry stops at fivc", "The ferry stops at five", trust.TORN)


def test_lines_that_are_all_blanks_are_looked_at(tmp_path):
    """A font may say that all its letters are blanks; a blank by itself is no line of them."""
    assert read(cipher_pdf(tmp_path / "a.pdf", lambda _: ord(" "), BODY, [HEADER])).drawn
    assert not read(write(tmp_path / "b.pdf", text([*BODY, " ", " ", " ", " ", BODY[0]], 800))).drawn


def test_cyrillic_that_was_taken_for_latin_is_mended():
    russian = RIGHT["Russian"]
    wrong = russian.encode("cp1251").decode("cp1252")
    assert misread.mended(wrong) == russian
    assert misread.mended(f"{wrong}\nLATEX 2e") == f"{russian}\nLATEX 2e"
    for right in RIGHT.values():
        assert misread.mended(right) == right
    assert misread.mended("ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ") == "ÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄÄ"


def test_any_text_may_be_looked_at():
    rng = random.Random(0)
    for _ in range(50):
        texts = [
            "".join(chr(rng.choice((32, 48, 97, 233, 0x431, 0x4E00, 0xD800, 0x10FFFF))) for _ in range(9))
            for _ in range(9)
        ]
        words = [Word(text, (0, 0, 1, 1), (), i // 3) for i, text in enumerate(texts)]
        assert (letters.look(texts).usual <= letters.look(texts).all).all()
        assert set(trust.strange_lines(words)) <= {0, 1, 2}
