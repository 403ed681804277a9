"""Text that a PDF gives in other letters than it is in: Cyrillic as Korean, Polish as French; and what is right."""

import numpy as np
import pytest

from visret.documents.misread import mended, repaired, with_ligatures


def codes(text):
    return np.array([ord(c) for c in text], np.uint32)


def read(text):
    return "".join(map(chr, repaired(codes(text)).tolist()))


def broken(text):
    """Each letter beyond ASCII as its two bytes of UTF-8 in one character."""
    return "".join(c if c.isascii() else chr(int.from_bytes(c.encode(), "big")) for c in text)


@pytest.mark.parametrize(
    "text", ["Лист 56: Масштаб 1:1, Копировал", "Η βάρκα φεύγει στις πέντε", "été à Genève, où l'hôtel déçoit ñ"]
)
def test_letters_come_back(text):
    assert broken(text) != text
    assert read(broken(text)) == text


@pytest.mark.parametrize(
    "text", ["바람이 강하면 나룻배는 운항하지 않습니다", "plain", "", "Паром не ходит", "渡し船は風が強いとき", "😀 ok"]
)
def test_what_is_right_stays(text):
    assert read(text) == text


def test_bytes_in_the_wrong_order():
    text = "Multicolor Black (K = 1)"
    swapped = text.encode("utf-16-be").decode("utf-16-le")
    assert swapped[0] == "\u4d00"
    assert read(swapped) == text
    assert read(swapped + "渡し船") == swapped + "渡し船"


def test_a_few_letters_are_left_alone():
    assert read(broken("Лист")) == broken("Лист")


def test_a_page_with_korean_on_it_is_left_alone():
    text = broken("Лист и масштаб") + " 바람이 강하면"
    assert read(text) == text


FOREIGN = {
    "Polish": (
        "cp1250",
        "Prom nie pływa, gdy wiatr jest zbyt silny. Ostatni odpływa o wpół do szóstej, a później łodzie",
    ),
    "Polish, Unix": ("iso8859-2", "Rowery przewozi się bezpłatnie, a wozy płacą później tak jak łodzie; zażółć gęślą"),
    "Czech": ("cp1250", "Přívoz nepluje, když je vítr příliš silný. Jízdní kola se převážejí zdarma"),
    "Hungarian": ("cp1250", "Az elveszett tárgyakat egy hónapig őrzik a kikötő irodájában, azután a mentőké"),
    "Romanian": ("cp1250", "Bacul nu circulă când vântul e puternic. Ultima cursă pleacă la cinci şi jumătate"),
    "Croatian": ("cp1250", "Posljednja vožnja kreće u pola šest, čamci ćete naći; prejak vjetar, trajekt kreće šest"),
    "Turkish": ("cp1254", "Kayıp eşyalar bir ay boyunca liman müdürlüğünde saklanır, yağmurda ışıklar yakılır"),
    "Lithuanian": ("cp1257", "Keltas neplaukia, kai pučia stiprus vėjas. Reisas išvyksta pusę šešių iš krantinės"),
}
WESTERN = {
    "French": "L'hôtel était fermé; à l'été, le château rouvre où ça plaît. Très bien, déjà vu, Noël.",
    "German": "Größe, Maße und Übungen: fünf Äpfel über 30 m³ (2 €) für Müller & Söhne, 5 m³ für Ärzte",
    "Icelandic": "Ferjan siglir ekki þegar vindur er of mikill. Síðasta ferðin fer frá norðurbryggju; það.",
    "Faroese": "Ferjan siglir ikki tá ið vindurin er ov sterkur. Seinasta ferðin fer úr norðurhavnini, sí.",
    "Portuguese": "A balsa não navega quando há vento. A última travessia é às cinco; não há exceções.",
    "Italian": "Il traghetto non parte perché c'è vento; però più tardi sì, così è la città. Sarà lì.",
    "Albanian": "Trageti nuk lundron kur era është shumë e fortë. Udhëtimi niset në orën pesë; çdo ditë.",
    "Irish": "Ní sheolann an bád farantóireachta nuair atá an ghaoth ró-láidir. Fágann sé ag a cúig.",
    "Estonian": "Praam ei sõida, kui tuul on liiga tugev. Viimane reis väljub põhjakailt, hüüa tööpäeval.",
    "notes": "This is¹ a page² with³ notes¹ and² more³ of them¹ ² ³, 10 m³/s ±0,5 and ¼ of a yard",
    "mathematics": "x² + y³ ≤ 5 µm ± 3° at 20 °C; ½ × ¾ = ⅜; Ångström å, ¶ §12 ©1999 ®",
}


@pytest.mark.parametrize("head", ["", "Harbour authority of the lower estuary, office of the ferry master\n"])
@pytest.mark.parametrize("language", FOREIGN)
def test_accents_of_other_languages_come_back(language, head):
    encoding, right = FOREIGN[language]
    wrong = right.encode(encoding).decode("cp1252")
    assert wrong != right
    assert mended(head + wrong) == head + right
    assert mended(head + right) == head + right


@pytest.mark.parametrize("language", WESTERN)
def test_accents_of_western_europe_stay(language):
    assert mended(WESTERN[language]) == WESTERN[language]


@pytest.mark.parametrize(
    ("encoding", "right"),
    [
        ("cp1251", "Паром не ходит при сильном ветре и высокой волне."),
        ("koi8-r", "Паром не ходит при сильном ветре и высокой волне."),
        ("cp1253", "Το πλοίο δεν ταξιδεύει όταν ο άνεμος είναι δυνατός."),
    ],
)
def test_another_alphabet_under_a_long_heading_comes_back(encoding, right):
    head = "Harbour authority of the lower estuary, office of the ferry master, north quay, open on weekdays\n"
    assert mended(head + right.encode(encoding).decode("cp1252")) == head + right


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        ("de\x1cned, \x1cles di\x1ber", "de\ufb01ned, \ufb01les di\ufb00er"),
        ("a sta\x1b of su\x1ecient \x1dow", "a sta\ufb00 of su\ufb03cient \ufb02ow"),
        ("\x10\x1cne\x11 \x15 ra\x1fe", "“\ufb01ne” – ra\ufb04e"),
        ("speci\x1bc e\x1cect \x1eow", "speci\ufb01c e\ufb03ect \ufb02ow"),  # in Linux Libertine
        ("\x1bgure", "\ufb01gure"),
        ("prede\x1bned", "prede\ufb01ned"),
        ("di\x1derent e\x1dort", "di\ufb00erent e\ufb00ort"),  # fl is rarer inside words
        ("Art. 5 \x1d. SubPre\x1bx", "Art. 5 \ufb00. SubPre\ufb01x"),
        ("speci\x1bed", "speci\ufb00ed"),  # it could be either; from the second on, fi is likelier than ff
        ("speci\x1bed, modi\x1bed", "speci\ufb01ed, modi\ufb01ed"),
        ("\xf6\x1bnen, di\x1berent, o\x1b, \x1cnd", "\xf6\ufb00nen, di\ufb00erent, o\ufb00, \ufb01nd"),
        ("\x1dgegen\x1c von", None),  # quotation marks
        ("x \x1c= y", None),
        ("\x10quoted\x11", None),
        ("", None),
    ],
)
def test_ligatures_of_tex_are_told_from_other_signs(raw, meant):
    assert "".join(map(chr, with_ligatures(codes(raw)).tolist())) == (raw if meant is None else meant)
