"""The language of a text, and the encoding of one older than Unicode, told by letters and small words.

    encoding_of("Größe – 12 €".encode("cp1252"))  # "cp1252"

A text is decoded in every encoding, and rated as a text of every language that was written in it. Its score is the
mean logarithm of the probability of its characters beyond ASCII, so that one sentence is enough; charset-normalizer,
which needs about a page, is asked where the text is in none of these languages.
"""

from __future__ import annotations

import codecs
import functools
import math
import re
import unicodedata
from collections import Counter
from typing import NamedTuple

import charset_normalizer

SAMPLE = 3_000  # bytes that are looked at, from lines with characters beyond ASCII

# Letters beyond ASCII, the most frequent first (counted in the message catalogues of Debian 12), and small words.
_LATIN = {
    "German": ("üäöß", "der die und das ist nicht zu den mit von ein eine"),
    "French": ("éèàêçôîâùûëïœ", "de la le les et est des un une pas pour dans que"),
    "Spanish": ("óáíúñéü", "de la el que en los y no se un una es"),
    "Italian": ("èàòùéì", "di il la che non un per del una è le"),
    "Portuguese": ("ãçáíéóõúêâàôº", "de o a que do da para não um uma os em"),
    "Dutch": ("éïëóèêöü", "de het een van is en niet te dat op voor"),
    "Swedish": ("äöåé", "och att det som en inte är för med av ett"),
    "Danish": ("æøåé", "og at det er en ikke til på for med af"),
    "Norwegian": ("åøæéòô", "og det er en ikke til på for med av som"),
    "Finnish": ("äöå", "ja ei on se että oli tai ole"),
    "Icelandic": ("ðáþíæóúöýé", "að og er ekki sem til það um"),
    "Catalan": ("óéàíçèúòïü", "de la el que i no un una els per"),
    "Polish": ("łżąśęćóńź", "w z i na nie do jest się to o"),
    "Czech": ("íářčéýžěšůúóňťď", "a v na je se není z pro do"),
    "Slovak": ("áčíúýťéžľšôňóäĺďŕ", "a v na je sa nie z pre do"),
    "Hungarian": ("áéíóöőüúű", "a az és nem egy van hogy is"),
    "Slovene": ("čšž", "je v in na ne za se ni"),
    "Croatian": ("čšćžđ", "je u i na ne za se nije"),
    "Romanian": ("ăţșşîțâ", "de nu a la un o în este pentru"),
    "Turkish": ("ışçüğöİâî", "bir ve bu için değil olarak"),
    "Lithuanian": ("šėųįąžčūę", "ir į ne yra iš su nėra"),
    "Latvian": ("āēīšūļņķžģč", "ir un nav ar no uz vai"),
    "Estonian": ("äõüöžš", "ei on ja ole see või"),
    "several": ("éäüöèçàáíóåøñêãúôæâßîõûëïùòìœðþý", ""),
    "Vietnamese": ("đưáôàạêộ\u0323\u0301\u0300\u0309\u0303âơăéèíìóòúùý", "của và không là các cho một trong"),
}
_OTHERS = {
    "Russian": "оеаинтрслвпкдмуязьыйбчгжфцюхшщэё",
    "Ukrainian": "оаниевтріксдплумязбчйьгжцєфхюшїщґ",
    "Bulgarian": "аеноитрвсдпзклмъябучжгйфцщшхюь",
    "Belarusian": "аныркелідтвпцсямозуьўэчгбйшюфжхё",
    "Serbian": "аеионртсукдпвмзјлбгњчшљцћжхфђџ",
    "Macedonian": "аеотинрдвкспмлзујбгчњжцшфќѓџѕљ",
    "Greek": "αοετνιρσημπυκςίλδγήέόάχωθύφώβξζψϊΐϋΰ",
    "Hebrew": "יותהלמרשאנבקפעדםסחכגןצטזךץף",
    "Arabic": "الميترنةوعفدبسحكقأصهجطخذإىغشضزثءئؤظآـ",
    "Persian": "اینردهتومبشکسلپخزفگعصقجحطظچغآذضثيك",
    "Thai": "าอรกมนเงดลตแยบไวสขทพหจคปะใชำถฟผโณซญภธศษฐฎฏๆฉฆ่้ีิัุู์ื็ึ๊๋",
}
_MIXED = "several"
_WEST = "German French Spanish Italian Portuguese Dutch Swedish Danish Norwegian Finnish"
_CENTRE = "Polish Czech Slovak Hungarian Slovene Croatian Romanian German"
# Encodings, and the languages written in them. Of those that fit equally well, the first is taken. Files of systems
# other than Windows and Unix are rare, so their encodings have to fit better.
_ENCODINGS = {
    "cp1252": f"{_WEST} Icelandic Catalan Estonian {_MIXED}",
    "cp1250": _CENTRE,
    "cp1251": "Russian Ukrainian Bulgarian Belarusian Serbian Macedonian",
    "cp1253": "Greek",
    "cp1254": "Turkish",
    "cp1255": "Hebrew",
    "cp1256": "Arabic Persian",
    "cp1257": "Lithuanian Latvian Estonian",
    "cp1258": "Vietnamese",
    "cp874": "Thai",
    "koi8-r": "Russian Bulgarian",
    "koi8-u": "Ukrainian",
    "iso8859-2": _CENTRE,
    "iso8859-5": "Russian Bulgarian Serbian",
    "iso8859-7": "Greek",
    "iso8859-15": "French Finnish Estonian",
    "cp866": "Russian Bulgarian Ukrainian Belarusian",
    "mac_roman": _WEST,
    "cp850": _WEST,
    "cp852": "Polish Czech Slovak Hungarian Slovene Croatian",
    "mac_cyrillic": "Russian Ukrainian Bulgarian",
}
_NOT_KOREAN = ("cp932", "euc_jp", "gb18030", "cp950")
_RARE = {"cp866", "mac_roman", "cp850", "cp852", "mac_cyrillic"}
_BYTES = ("cp932", "euc_jp", "gb18030", "cp950", "cp949")
_EAST_ASIAN = (*_BYTES, "utf-16-le", "utf-16-be")
_BEYOND_ASCII = bytes(range(0x80, 0x100))

# Characters that are no letters, as logarithms of probabilities.
_SIGNS = dict.fromkeys("’“”–", -2.5) | dict.fromkeys("«»„‘—…\xa0°€•", -3.5)
_SIGNS |= dict.fromkeys("§©®№·¿¡ºª½²³µ×£™‰‹›¼¾±´†", -4.5)
_STRANGE_LETTER, _STRANGE_SIGN, _NONE = -8.0, -10.0, -14.0
_CAPITAL, _CAPITAL_INSIDE, _TWO_SCRIPTS, _ALONE, _BESIDE, _SIGN_INSIDE = -2.0, -5.0, -6.0, -3.0, -2.0, -6.0
_SMALL_WORDS, _FITS_BETTER, _ORDER = 4.0, 4.0, 0.002
# No words of its neighbours.
_ENGLISH = frozenset(["the", "of", "and", "to", "that", "with", "are", "this", "be", "from", "which"])
# The small words that a text in a language has: at least, of so many different ones, and as a share of its words.
_LEAST_SMALL, _DIFFERENT, _SHARE_SMALL = 8, 3, 0.06
_LETTERS = re.compile(r"[^\W\d_]+")
_UNKNOWN = -5.0  # no known language scores less
_MIN_BEYOND = 8  # bytes beyond ASCII that are enough to recognise another language
_FREQUENT = frozenset(  # Chinese characters, simplified and traditional
    "的一是不了在人有我他这这個们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种"
    "事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公"
    "此已工使情明性知全三又关点正业外将两高间由问很最重並物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特"
    "代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数"
    "這個們來為國說時會對於著過發後裡種經麼學現當沒動還進樣開從實軍無與長機關點業將兩間問並應戰頭體見產話內給門兒東聲員論"
    "處義幾認條氣題爾別變總電數請車紙單據頁設檔選單錄號線範圍確認費價幣"
)
_SYLLABLES = frozenset(  # of Korean
    "이다는에의을를가고지하은로기사어도한있시대리자정인해전부수그아서일과들원라제보스것상주나여구으니용습요할세만면계"
    "게러동신조성장않안없파비운음적오경공국문진유무선생위실방중된간연체개소"
)
_PUNCTUATION = frozenset("，。、：；？！（）「」『』《》“”‘’…—·・ー％\u3000")


class _Guess(NamedTuple):
    score: float
    encoding: str


def other_than_english(text: str) -> str | None:
    """Return the name of the language in Latin script that a text is in; None for English, and where it is not clear.

    Its small words must be at least twice as frequent as those of English.
    """
    words = Counter(word.lower() for word in _LETTERS.findall(text))
    counts = {name: sum(words[one] for one in small) for name, small in _small_words().items()}
    name = max(counts, key=lambda one: counts[one])
    least = max(_LEAST_SMALL, _SHARE_SMALL * words.total(), 2 * sum(words[one] for one in _ENGLISH))
    different = sum(one in words for one in _small_words()[name])
    return name if counts[name] >= least and different >= _DIFFERENT else None


@functools.cache
def _small_words() -> dict[str, frozenset[str]]:
    """Return the small words of each language; single letters stand in tables too."""
    return {name: frozenset(word for word in small.split() if len(word) > 1) for name, (_, small) in _LATIN.items()}


def encoding_of(data: bytes) -> str | None:
    """Return Python's name of the encoding; None where nothing fits."""
    sample = _sample(data)
    beyond = len(sample) - len(sample.translate(None, _BEYOND_ASCII))
    possible = _EAST_ASIAN if beyond > len(sample) / 10 else _BYTES  # any two ASCII letters are an ideograph
    likeliest = max(_Guess(east_asian(_text(sample, encoding), encoding), encoding) for encoding in possible)
    if likeliest.score > 0.3:
        return likeliest.encoding
    best = max((_best(sample, encoding, rank) for rank, encoding in enumerate(_ENCODINGS)), key=lambda one: one.score)
    if best.score > _UNKNOWN:
        return best.encoding
    if beyond < _MIN_BEYOND:
        return None
    found = charset_normalizer.from_bytes(sample).best()
    return codecs.lookup(found.encoding).name if found else None


def fit(sample: bytes, encoding: str) -> float:
    """Rate how well a text fits a one-byte encoding: about -1 for one in it, below _UNKNOWN for one that is not."""
    return _best(sample, encoding, 0).score


def nonsense(text: str) -> int:
    """Count the characters that no text has: unassigned, replaced, or controls other than those of lines."""
    doubtful = (sign for sign in text if (not sign.isprintable() and not sign.isspace()) or sign == "\ufffd")
    return sum(unicodedata.category(sign) != "Cf" for sign in doubtful)  # Cf: joiners and direction marks


def _text(sample: bytes, encoding: str) -> str:
    odd = len(sample) % 2 if encoding.startswith("utf-16") else 0
    return sample[: len(sample) - odd].decode(encoding, "replace")


def _sample(data: bytes) -> bytes:
    """Take the first lines with bytes beyond ASCII; only UTF-16 has line feeds inside characters."""
    if len(data) <= SAMPLE:
        return data
    taken, size = [], 0
    for line in data[: 400 * SAMPLE].splitlines(keepends=True):
        if not line.isascii():
            taken.append(line[: SAMPLE - size])
            size += len(taken[-1])
        if size >= SAMPLE:
            break
    return b"".join(taken) or data[-SAMPLE:]


# ------------------------------------------------------------------------------------- one byte a character


def _best(sample: bytes, encoding: str, rank: int) -> _Guess:
    text = sample.decode(encoding, "replace")
    beyond = sum(sign > "\x7f" for sign in text) or 1
    prior = -_ORDER * rank - (_FITS_BETTER / beyond if encoding in _RARE else 0)
    words = re.findall(r"[^\W\d_]+", text.lower())
    score = max(
        _probability(text, language) / beyond + _SMALL_WORDS * _share(words, language)
        for language in _ENCODINGS[encoding].split()
    )
    return _Guess(score + prior, encoding)


@functools.cache
def _letters(language: str) -> dict[str, float]:
    """Return the logarithms of the probabilities of letters; each probability is a fixed share of the one before."""
    letters = _LATIN[language][0] if language in _LATIN else _OTHERS[language]
    share = 0.72 if language in _LATIN and language != _MIXED else 0.9
    total = sum(share**rank for rank in range(len(letters)))
    return {letter: math.log(share**rank / total) for rank, letter in enumerate(letters)}


def _share(words: list[str], language: str) -> float:
    """Return the share of the words that are small words of this language."""
    if language not in _LATIN or not words:
        return 0.0
    small = set(_LATIN[language][1].split())
    return sum(word in small for word in words) / len(words)


def _probability(text: str, language: str) -> float:
    """Return the logarithm of the probability of the characters beyond ASCII."""
    letters, latin = _letters(language), language in _LATIN
    total, before = 0.0, " "
    for sign, after in zip(text, text[1:] + " ", strict=True):
        if sign > "\x7f":
            total += (
                _of_letter(letters, latin, before, sign, after) if sign.isalpha() else _of_sign(before, sign, after)
            )
        before = sign
    return total


def _of_letter(letters: dict[str, float], latin: bool, before: str, sign: str, after: str) -> float:
    small = sign.lower()
    found = letters.get(small, letters.get(sign, _STRANGE_LETTER))
    if sign != small:
        found += _CAPITAL + (_CAPITAL_INSIDE if before.islower() else 0)
    if latin:
        return found + (_BESIDE if before > "\x7f" and before.isalpha() else 0)
    others = [other for other in (before, after) if other.isalpha()]
    return found + _TWO_SCRIPTS * sum(other < "\x80" for other in others) + (0 if others else _ALONE)


def _of_sign(before: str, sign: str, after: str) -> float:
    if sign == "\ufffd" or not (sign.isprintable() or sign == "\xa0"):
        return _NONE
    inside = before.isalpha() and after.isalpha()
    if sign == "’" and inside:
        return _SIGNS[sign] + 0.5
    return _SIGNS.get(sign, _STRANGE_SIGN) + (_SIGN_INSIDE if inside and sign not in "’–—·" else 0)


# ------------------------------------------------------------------------------------- two bytes a character


def east_asian(text: str, encoding: str) -> float:
    """Rate a text decoded from this encoding: 1 if surely Chinese, Japanese or Korean, below 0 if none of them."""
    beyond = [sign for sign in text if sign > "\x7f"]
    if len(beyond) < 2:
        return -1.0
    together = sum(map(len, re.findall(r"[^\x00-\x7f]{2,}", text)))
    if together < len(beyond) / 2:  # each by itself among ASCII: letters with accents, or quotes
        return -1.0
    alone = len(re.findall(r"(?<=[A-Za-z])[^\x00-\x7f](?=[A-Za-z])|(?<![^\x00-\x7f])[^\x00-\x7f](?=[a-z]{2})", text))
    return (sum(_of_character(sign, encoding) for sign in beyond) - 2 * alone) / len(beyond)


def _of_character(sign: str, encoding: str) -> float:
    if sign == "\ufffd" or (not sign.isprintable() and sign != "\u3000"):
        return -4.0
    if sign in _PUNCTUATION:
        return 0.6
    if "\u3041" <= sign <= "\u30fa":
        return {"cp949": -1.0, "gb18030": -0.2, "cp950": -0.2}.get(encoding, 1.0)
    if "\uac00" <= sign <= "\ud7a3":
        usual = encoding not in _NOT_KOREAN and _leads(sign, "euc_kr", 0xB0, 0xC8)
        return (1.2 if sign in _SYLLABLES else 0.5) if usual else -0.5
    if "\u4e00" <= sign <= "\u9fff":
        return _of_ideograph(sign, encoding)
    return -1.0


def _of_ideograph(sign: str, encoding: str) -> float:
    """Rate an ideograph; those in use are in the first half of each country's table."""
    if encoding == "cp949":
        return -0.8
    if encoding in ("cp932", "euc_jp"):
        return 0.5 if _leads(sign, "euc_jp", 0xB0, 0xCF) else -0.5
    if sign in _FREQUENT:
        return 1.2
    simplified = encoding != "cp950" and _leads(sign, "gb2312", 0xB0, 0xD7)
    traditional = encoding != "gb18030" and _leads(sign, "big5", 0xA4, 0xC6)
    return 0.4 if simplified or traditional else -0.6


@functools.lru_cache(10_000)
def _leads(sign: str, encoding: str, first: int, last: int) -> bool:
    """Return whether the character has two bytes in this encoding, the first of them in this range."""
    try:
        found = sign.encode(encoding)
    except UnicodeEncodeError:
        return False
    return len(found) == 2 and first <= found[0] <= last
