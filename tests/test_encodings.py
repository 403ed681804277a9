"""Text in encodings older than Unicode, with bad bytes, and in UTF-16 that does not say so."""

import codecs
import random

import pytest

from visret.documents import languages
from visret.documents.encodings import decode

# language: encodings it was written in, and sentences
SENTENCES = {
    "German": (
        "cp1252 mac_roman cp850",
        "Die Fähre fährt nicht bei Sturm.|Für Fahrräder wird keine Gebühr erhoben.|"
        "Der letzte Kahn legt um halb sechs am Nordufer ab.|Größere Gepäckstücke müssen vorher angemeldet werden.",
    ),
    "English": (
        "cp1252",
        "The landlord’s “notice period” is three months – the rent is €850.|It’s closed.|"
        "Prices rose by 12 ½ % – “too much”, said the mayor.|The café’s owner paid £40 for the naïve drawing.",
    ),
    "French": (
        "cp1252 mac_roman cp850",
        "Le bac ne circule pas par grand vent.|La dernière traversée part à dix-sept heures trente.|"
        "Les vélos sont gratuits, même l'été.|Où était le garçon qui reçut la clé du château ?",
    ),
    "Spanish": (
        "cp1252 mac_roman",
        "El transbordador no sale cuando hay tormenta.|La última travesía sale a las cinco y media.|"
        "¿Cuánto cuesta llevar una bicicleta pequeña?|El niño volvió mañana por la tarde.",
    ),
    "Portuguese": (
        "cp1252",
        "A balsa não navega com vento forte.|As bicicletas são grátis.|A última travessia é às cinco e meia.|"
        "O cão não está à porta da estação.",
    ),
    "Italian": (
        "cp1252",
        "Il traghetto non è in servizio.|La città è più lontana di così.|Perché non c’è nessuno?|Lunedì sarà chiuso.",
    ),
    "Swedish": (
        "cp1252",
        "Färjan går inte när det blåser.|Sista turen går klockan halv sex.|Cyklar åker gratis på båten.|Hon är på ön.",
    ),
    "Polish": (
        "cp1250 iso8859-2",
        "Prom nie kursuje podczas burzy, gdyż wieje silny wiatr.|Ostatni rejs odpływa o wpół do szóstej.|"
        "Rowery przewozimy bezpłatnie.|Opłata wzrosła o pięć złotych, a dzieci płacą połowę.",
    ),
    "Czech": (
        "cp1250 iso8859-2",
        "Přívoz za bouře nejezdí.|Poslední plavba odjíždí v půl šesté.|Kola se převážejí zdarma.|"
        "Žluťoučký kůň úpěl ďábelské ódy.",
    ),
    "Hungarian": (
        "cp1250 iso8859-2",
        "A komp viharban nem közlekedik.|Az utolsó járat fél hatkor indul.|A kerékpárok szállítása ingyenes.|"
        "Az idő jó, de a víz még hűvös.",
    ),
    "Turkish": (
        "cp1254",
        "Feribot fırtınada çalışmıyor.|Son sefer beş buçukta kalkıyor.|Bisikletler için ücret alınmaz.|Ağaç güzeldi.",
    ),
    "Russian": (
        "cp1251 koi8-r cp866 iso8859-5 mac_cyrillic",
        "Паром не ходит при сильном ветре.|Последний рейс в половине шестого.|Велосипеды перевозятся бесплатно.|"
        "Ещё не поздно, сказал капитан, и дал сигнал.",
    ),
    "Ukrainian": (
        "cp1251 koi8-u",
        "Пором не ходить під час сильного вітру.|Останній рейс о пів на шосту.|Їжа є на борту.|Велосипеди безкоштовно.",
    ),
    "Greek": (
        "cp1253 iso8859-7",
        "Το φέρι δεν εκτελεί δρομολόγια με ισχυρό άνεμο.|Το τελευταίο δρομολόγιο φεύγει στις πέντε και μισή.|"
        "Τα ποδήλατα μεταφέρονται δωρεάν.|Η θάλασσα είναι ήρεμη.",
    ),
    "Hebrew": (
        "cp1255",
        "המעבורת אינה פועלת ברוח חזקה.|ההפלגה האחרונה יוצאת בחמש וחצי.|אופניים ללא תשלום.|הים שקט היום.",
    ),
    "Arabic": (
        "cp1256",
        "العبارة لا تعمل عند هبوب رياح قوية.|الرحلة الأخيرة تغادر في الخامسة والنصف.|الدراجات مجانية.|البحر هادئ.",
    ),
    "Japanese": (
        "cp932 euc_jp iso2022_jp",
        "強風のため渡し船は運休します。|最終便は五時半に出ます。|自転車は無料です。|フェリーの時刻表を確認してください。",
    ),
    "Chinese": (
        "gb18030",
        "渡轮在风力超过七级时停止航行。|末班船五点半离开北码头。|自行车免费，马车按汽车收费。|请查看时刻表。",
    ),
    "Chinese, traditional": (
        "big5",
        "渡輪在風力超過七級時停止航行。|末班船五點半離開北碼頭。|自行車免費，馬車按汽車收費。|請查看時刻表。",
    ),
    "Korean": (
        "cp949",
        "강풍이 불면 나룻배는 운항하지 않습니다.|마지막 배는 떠났습니다.|자전거는 무료입니다.|시간표를 보십시오.",
    ),
}
CASES = [(language, one) for language, (encodings, _) in SENTENCES.items() for one in encodings.split()]


@pytest.mark.parametrize(("language", "encoding"), CASES)
def test_a_few_sentences_are_read_in_the_encoding_they_are_in(language, encoding):
    text = SENTENCES[language][1].replace("|", "\n")
    assert decode(text.encode(encoding)).text == text
    assert decode(text.encode(encoding) * 20).text == text * 20


def test_one_sentence_is_enough_nearly_always():
    wrong = []
    for language, encoding in CASES:
        for sentence in SENTENCES[language][1].split("|"):
            if decode(sentence.encode(encoding)).text != sentence:
                wrong.append((language, encoding, sentence))
    assert len(wrong) <= 0.04 * 4 * len(CASES), wrong


@pytest.mark.parametrize("language", SENTENCES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_unicode_needs_no_mark(language, encoding):
    for text in (*SENTENCES[language][1].split("|"), SENTENCES[language][1].replace("|", "\r\n")):
        found = decode(text.encode(encoding))
        assert found == (text, encoding, ())


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_is_believed(encoding):
    text = SENTENCES["Czech"][1]
    assert decode(text.encode(encoding)).text == text
    assert decode(codecs.BOM_UTF16_BE + "ÿ\n".encode("utf-16-be")) == ("ÿ\n", "utf-16-be", ())


@pytest.mark.parametrize(
    ("before", "bad", "after", "said"),
    [
        ("Die Fähre fährt nicht. " * 20, b"\xff", " hier", "one byte that is not UTF-8"),
        ("Die Fähre ", b"\xe2\x82", " hier", "one byte that is not UTF-8"),
        ("Паром " * 9, b"\xd0", "", "one byte that is not UTF-8"),
        ("plain words and ", b"\xff", " more", "one byte that is not UTF-8"),
        ("渡轮停航 " * 9, b"\xff\xfe a \xf8", "", "3 bytes that are not UTF-8"),
    ],
)
def test_a_bad_byte_costs_only_itself(before, bad, after, said):
    text, encoding, (loss,) = decode(before.encode() + bad + after.encode())
    assert encoding == "utf-8"
    assert text.startswith(before)
    assert text.endswith(after)
    assert "\ufffd" in text
    assert loss == (said, "save the file as UTF-8")


def test_a_bad_byte_in_an_old_encoding_is_named_too():
    data = "Die Fähre fährt nicht bei Sturm, für Räder gibt es keine Gebühr.\n".encode("cp1252") * 5 + b"\x81"
    text, encoding, (loss,) = decode(data)
    assert (encoding, loss.what) == ("cp1252", "one byte that is not windows-1252")
    assert text.endswith("\ufffd")


def test_half_a_character_at_the_end_of_utf16_is_named():
    text, encoding, (loss,) = decode("The ferry stops.".encode("utf-16-le") + b"x")
    assert (text[:-1], encoding, loss.what) == ("The ferry stops.", "utf-16-le", "one byte that is not UTF-16")


@pytest.mark.parametrize(
    ("data", "declared", "text"),
    [
        ("łódź".encode("iso8859-2"), "iso-8859-2", "łódź"),
        ("“€”".encode("cp1252"), "ISO-8859-1", "“€”"),  # as browsers do: what is meant is windows-1252
        (b"paro" + "м".encode("koi8-r"), "KOI8-R", "paroм"),
        ("渡轮".encode("gbk"), "gb2312", "渡轮"),
        ("Größe".encode(), "iso-8859-1", "Größe"),  # valid UTF-8 is no accident
        ("Die Fähre".encode("cp1252"), "utf-8", "Die Fähre"),
        *(
            ("Die Fähre".encode("cp1252"), name, "Die Fähre")
            for name in ("x-unknown", "zip", "unicode_escape", "idna", "a\0b", "", "../utf_8", "hex")
        ),
    ],
)
def test_what_is_declared_is_believed_unless_it_cannot_be(data, declared, text):
    assert decode(data, declared=declared).text == text


def test_old_text_is_rarely_like_utf8():
    """That what is mostly UTF-8 is UTF-8 holds: of other encodings there is nothing that is."""
    for language, encoding in CASES:
        if not encoding.startswith("iso2022"):
            assert decode(SENTENCES[language][1].encode(encoding)).encoding != "utf-8", (language, encoding)


def test_what_no_language_fits_is_asked_of_charset_normalizer():
    text = "Հայերենը հնդեվրոպական լեզու է, որով խոսում են հայերը ամբողջ աշխարհում։ " * 5
    data = text.encode("utf-16-le")
    assert decode(data).text == text
    noise = random.Random(1).randbytes(4000).replace(b"\0", b"")
    assert isinstance(languages.encoding_of(noise), str | None)


def test_a_long_text_is_judged_by_a_part_of_it():
    text = "Nothing but ASCII stands here.\n" * 20_000 + "Die Fähre fährt nicht für alle.\n" * 1_000
    assert decode(text.encode("cp1252")).text == text


def test_one_line_of_ascii_and_a_word_at_its_end_take_no_time():
    assert decode(b"x" * 5_000_000 + "Größe".encode("cp1252")).text.endswith("xGröße")
    assert decode(b"x " * 2_500_000 + "Größe".encode("cp1252")).text.endswith("x Größe")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Die Daten werden von dem Rechner gelesen und in das Archiv gelegt. Das ist nicht zu sehen. " * 3, "German"),
        ("Les pages que le lecteur ouvre sont dans une archive, et le texte est lu pour la recherche. " * 3, "French"),
        ("El texto de la página se lee, y los resultados que no son de un archivo se pierden. " * 3, "Spanish"),
        ("The pages of the archive are read, and the text is kept with them; de la is no word here. " * 3, None),
        ("Die Daten.", None),  # too short to tell
        ("a v a v na 12 34 a v a v na 5 6 a v a v " * 5, None),  # a table
        ("", None),
    ],
)
def test_the_language_of_a_text_is_told_by_its_small_words(text, language):
    assert languages.other_than_english(text) == language
