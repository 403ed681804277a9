"""The trust in a page's text layer: whether its words are what stands on the page, or must be read from its picture.

Every page is checked for what costs nothing to know (`doubtful`): how many words there are, what share of the page lies
under pictures, whether shapes on it may be letters, what share of the characters have no meaning, and whether the
letters are those of a language. Only a page in doubt is drawn. Its picture then tells whether print stands where no
words are (`printed`), and a few of its lines are read and compared (`is_wrong`, `is_poor`), because strange text may be
a list of parts, or a cipher.
"""

from __future__ import annotations

import difflib
import math
import unicodedata
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from visret.ocr import letters, printed
from visret.ocr.lines import Reading
from visret.types import Page, Word

if TYPE_CHECKING:
    from PIL.Image import Image

FEW = 30  # words; a page with fewer is looked at before its text layer is believed
PICTURED = 0.1  # of a page's area; a page with more under pictures is looked at
UNREAD = 0.01  # of a page's characters; a page with more that have no meaning is looked at

# Page widths that lines of print without words must have in all to be read: a short line, or half as much if some
# characters are known to have no meaning. Photographs have .0 to .1, pages of print 1 to 20.
_MUCH, _SOME = 0.5, 0.25
_STRANGE, _STRANGE_TRIPLES = 0.65, 4  # a line is strange with a smaller share of usual triples, of at least so many
_ALIKE = 0.6  # share of letters, in order, that a line of the layer that is right has in common with its reading
_BETWEEN = 10  # pixels from one strip to the next
BROKEN = 0.1  # of a page's characters; if more have no meaning, the others may have a wrong one
_SAMPLE = 4  # lines that are read to see whether the layer says the same
_SURELY = 0.85  # `worth` of words that are certainly of a language
_GOOD, LITTLE = 0.9, 0.05  # `worth` of words that need no new reading; and how much better others must be
# Share of the words of some lines that are read as others, and how much better those must be; in a language of which no
# words are known, only the letters can tell, and half of the words have to be others
_CHANGED, BETTER, _MOSTLY = 0.12, 0.2, 0.45
# A line that was read is nonsense if it has less confidence than this, no larger a share of known words, and no larger
# share of usual triples or a larger one of letters other than Latin. On 16 pages of Russian, .44 of the length of lines
# was nonsense as glyph reads them (.30 on one); on 106 pages in nine languages, 71 of them worn, .25, and .35 on one
# that is no longer legible.
_SURE, _KNOWN, _USUAL, _OTHER = 0.9, 0.2, 0.96, 0.03
_CERTAIN = 0.97, 0.93  # beside nonsense: for a line without a longer word, such as a page number; without a known one
_MIN_NONSENSE, _NONSENSE_SHARE = 0.3, 0.36  # in page widths, and as a share of all that was read
_MIN_UNREAD, _UNREAD_SHARE = 0.5, 0.3  # in page widths, and as a share of all its print
_RIGHT = 0.92  # share of a page's triples that are usual, so that too few of its lines can be strange
_ODD, _ODD_KNOWN = 0.85, 0.1  # a page with fewer usual triples and fewer known words may be a cipher of other letters
_ACCENTED = 0.6  # share of the Latin letters, more than any language has (Vietnamese: .3)
_VARIETY = 0.15  # the share of different signs in a text in Chinese
_STRANGE_SHARE, _MIN_STRANGE = 0.3, 40  # share and number of a page's triples on strange lines: it may be a cipher


def doubtful(page: Page) -> bool:
    """Return whether the page's image is needed to know if its words are what stands on it."""
    words = page.words or ()
    return (
        len(words) < FEW
        or page.pictured > PICTURED
        or page.drawn
        or page.torn
        or page.unread > UNREAD
        or garbage(words)
        or bool(strange_lines(words))
    )


def garbage(words: Sequence[Word]) -> bool:
    """Return whether a third of the characters have no meaning, or most different words have no letter or digit."""
    characters = "".join(word.text for word in words)
    senseless = sum(characters.count(character) for character in set(characters) if _is_senseless(character))
    return 3 * senseless > len(characters) or _signs_only(words)


def sensible(words: Sequence[Word]) -> tuple[Word, ...]:
    """Return the words of whose characters two thirds have a meaning; if most words are signs, without these."""
    signs = _signs_only(words)
    return tuple(
        word
        for word in words
        if 3 * sum(map(_is_senseless, word.text)) <= len(word.text) and not (signs and _is_sign(word.text))
    )


def _signs_only(words: Sequence[Word]) -> bool:
    different = {word.text for word in words}
    return 2 * sum(map(_is_sign, different)) > len(different)


def _is_sign(text: str) -> bool:
    return not any(character.isalnum() for character in text)


def _is_senseless(character: str) -> bool:
    return character == "\ufffd" or unicodedata.category(character) in {"Cc", "Cn", "Co", "Cs"}


def strange_lines(words: Sequence[Word]) -> frozenset[int]:
    """Return the lines whose letters belong to no language, if they are a good part of the page's text; else none.

    Text in a font whose codes are not its characters is like that, and so are some code, formulas and lists of parts.
    """
    texts = [word.text for word in words]
    if letters.looks_right(texts, _RIGHT):
        return frozenset()
    triples = letters.look(texts)
    of_line, of = np.unique([word.line for word in words], return_inverse=True)
    if triples.all.sum() < _MIN_STRANGE:
        return frozenset(of_line.tolist() if _is_strange_script("".join(texts)) else ())
    usual, total = (np.bincount(of, count) for count in (triples.usual, triples.all))
    strange = (total >= _STRANGE_TRIPLES) & (usual < _STRANGE * total)
    if total[strange].sum() < max(_MIN_STRANGE, _STRANGE_SHARE * total.sum()):
        strange[:] = _is_other_alphabet(texts, triples.share)
    return frozenset(of_line[strange].tolist())


def _is_other_alphabet(texts: Sequence[str], usual: float) -> bool:
    """Return whether text in Latin letters is of no language: its letters stand for others, or most have accents."""
    text = "".join(texts)
    if letters.share_accented(text) > _ACCENTED:
        return True
    return usual < _ODD and letters.share_other(text) < _OTHER and float(letters.known(texts).mean()) < _ODD_KNOWN


def _is_strange_script(text: str) -> bool:
    """Return whether text in a script other than Latin repeats a few signs, as Chinese never does."""
    return len(text) > _MIN_STRANGE and text[len(text) // 2] >= "\u2e80" and len(set(text)) < _VARIETY * len(text)


# ------------------------------------------------------------------------------------------- with the page's image


class Doubt(NamedTuple):
    """The gain in `worth` that is needed for what was read to take the place of a line of the layer.

    least: if the two are different. alike: if they differ in a few letters; those of the layer are right, unless the
    layer is a reading itself.
    """

    least: float
    alike: float = math.inf


NONE = Doubt(math.inf)  # the words of the layer are right, but some are missing
WRONG = Doubt(0)  # the words are not what stands there
POOR = Doubt(0, LITTLE)  # the words are a reading themselves
TORN = Doubt(0, 0)  # the words lack letters, and what is read in the place of a line has more words
ANY = Doubt(-BETTER)  # nothing is known of the words


def doubt(page: Page, words: Sequence[Word], image: Image, read: Callable[[Image], Reading]) -> Doubt | None:
    """Return what is wrong with a page's words; None if its image need not be read."""
    if is_poor(page, words, image, read):
        return POOR
    if is_wrong(page, words, image, read):
        return WRONG
    if page.torn:
        return TORN
    return NONE if is_missing(page, words, image) else None


def is_missing(page: Page, words: Sequence[Word], image: Image) -> bool:
    """Return whether print stands on the page that is in none of the words."""
    if not words:
        return True
    if len(words) < FEW and printed.covered(words, image) < 0.5:
        return True
    least = _SOME if page.unread > UNREAD else _MUCH
    if printed.lines(words, image, page.size_pt).beside > least:
        return True
    return page.drawn and printed.lines(words, image, _halved(page.size_pt)).beside > least  # letters of a heading


def _halved(size_pt: tuple[float, float] | None) -> tuple[float, float] | None:
    return None if size_pt is None else (size_pt[0] / 2, size_pt[1] / 2)


# --------------------------------------------------------------------------------------------- with all of it read


def without_nonsense(reading: Reading, *, unread: bool = False) -> Reading:
    """Return a reading without lines that are no words: print in an unknown script, read as letters that look alike.

    Such lines go only if they are a good part of the page, since a line of code or of names may look like one of them.
    If a good part of the print is `unread`, all lines go that have no word that is known or certain.
    """
    if not reading.words:
        return reading
    of, line = _by_line(reading)
    unsure = line["sure"] < _SURE * line["words"]
    unlike = (line["usual"] <= _USUAL * line["total"]) | (line["other"] > _OTHER * (line["other"] + line["latin"]))
    odd = unsure & unlike & (line["known"] <= _KNOWN * line["long"])
    if not unread and line["wide"][odd].sum() < max(_MIN_NONSENSE, _NONSENSE_SHARE * line["wide"].sum()):
        return reading
    least = np.where(line["long"] > 0, np.where(line["known"] > 0, 0, _CERTAIN[1]), _CERTAIN[0])
    odd |= (line["sure"] < least * line["words"]) | (line["signs"] == line["words"])
    kept = [i for i, number in enumerate(of) if not odd[number]]
    words = tuple(reading.words[i] for i in kept)
    return reading._replace(words=words, confidences=tuple(reading.confidences[i] for i in kept))


def _by_line(reading: Reading) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the index of each word's line, and for each line sums over its words, by name."""
    texts = [word.text for word in reading.words]
    of_line, of = np.unique([word.line for word in reading.words], return_inverse=True)
    triples = letters.look(texts)
    each: dict[str, Sequence[float] | np.ndarray] = {
        "words": np.ones(len(texts)),
        "sure": reading.confidences,
        "wide": [word.box[2] - word.box[0] for word in reading.words],
        "long": [letters.length(text) > 2 for text in texts],
        "known": letters.known(texts),
        "usual": triples.usual,
        "total": triples.all,
        "signs": [_is_sign(text) for text in texts],
        "latin": triples.latin,
        "other": triples.other,
    }
    return of, {name: np.bincount(of, some, len(of_line)) for name, some in each.items()}


def is_unread(words: Sequence[Word], page: Page, image: Image) -> bool:
    """Return whether a good part of the print on a page is in none of its words, though it was read."""
    words = [word for word in words if not _is_sign(word.text)]
    if printed.covered(words, image) > 1 - _UNREAD_SHARE / 2:
        return False
    beside, everything = printed.lines(words, image, page.size_pt)
    return beside > max(_MIN_UNREAD, _UNREAD_SHARE * everything)


# ---------------------------------------------------------------------------------------- with some of its lines read


def is_wrong(page: Page, words: Sequence[Word], image: Image, read: Callable[[Image], Reading]) -> bool:
    """Return whether the layer says something other than what stands there, as a cipher does."""
    lines = _sample(words, strange_lines(words) or (_unsure_lines(words) if page.unread > BROKEN else ()))
    return sum(map(_vote, map(text_of, lines), _said(lines, image, read))) < 0


def _unsure_lines(words: Sequence[Word]) -> set[int]:
    """Return the lines that are not clearly of a language; a page in broken letters may have a heading in others."""
    of: dict[int, list[str]] = {}
    for word in words:
        of.setdefault(word.line, []).append(word.text)
    return {number for number, texts in of.items() if worth(texts) <= _SURELY} or set(of)


def is_poor(page: Page, words: Sequence[Word], image: Image, read: Callable[[Image], Reading]) -> bool:
    """Return whether the layer is an old reading of a page that is one picture, and a new one is clearly better."""
    if not page.hidden or len(words) < FEW or worth([word.text for word in words]) > _GOOD:
        return False
    lines = _sample(words, {word.line for word in words})
    said = _said(lines, image, read)
    pairs = [_changed([word.text for word in line], text.split()) for line, text in zip(lines, said, strict=True)]
    old, new = ([word for pair in pairs for word in pair[side]] for side in (0, 1))
    count = sum(map(len, lines))
    gain = worth(new) - worth(old)
    return len(old) > _CHANGED * count and (gain > BETTER or (len(old) > _MOSTLY * count and gain > LITTLE))


def _changed(own: Sequence[str], said: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the words of `own` that `said` has as other words, and those others."""
    old: list[str] = []
    new: list[str] = []
    for what, i, j, k, m in difflib.SequenceMatcher(None, own, said, autojunk=False).get_opcodes():
        if what == "replace":
            old += own[i:j]
            new += said[k:m]
    return old, new


def _sample(words: Sequence[Word], lines: Collection[int]) -> list[list[Word]]:
    """Return a few lines that are not turned, from all over the page, none of the shorter half."""
    of: dict[int, list[Word]] = {number: [] for number in lines}
    for word in words:
        if word.line in of and not word.rest:
            of[word.line].append(word)
    found = [
        line
        for line in of.values()
        if line and line[-1].box[2] - line[0].box[0] > 2 * (line[0].box[3] - line[0].box[1])
    ]
    middle = sorted(len(text_of(line)) for line in found)[len(found) // 2] if found else 0
    long = [line for line in found if len(text_of(line)) >= middle]
    return [long[round(i * (len(long) - 1) / _SAMPLE)] for i in range(1, _SAMPLE + 1)] if len(long) > _SAMPLE else long


def _vote(own: str, said: str) -> int:
    """Return 1 if a line was read as the layer has it, -1 if as something else in better words, else 0."""
    return 1 if alike(own, said) else -is_better(said, own, Doubt(BETTER))


def is_better(said: str, own: str, doubt: Doubt) -> bool:
    """Return whether what was read in the place of a line is better words than the layer has there.

    Letters of a script other than Latin give way only to words that are known.
    """
    if len(said) < 0.5 * len(own):
        return False
    if letters.share_other(own) > 0.5:
        return worth(said.split()) > _SURELY
    return worth(said.split()) - worth(own.split()) > (doubt.alike if alike(own, said) else doubt.least)


def worth(words: Sequence[str]) -> float:
    """Return the mean of the words' share of usual letters and of their share of known words; 1 without letters."""
    long = [word for word in words if letters.length(word) > 2]
    usual = letters.look(words).share
    return (usual + float(letters.known(long).mean())) / 2 if long else usual


def alike(own: str, said: str) -> bool:
    """Return whether one text is the other, read with a few letters wrong."""
    one, other = (text.replace(" ", "").casefold() for text in (own, said))
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() >= _ALIKE


def text_of(words: Sequence[Word]) -> str:
    """Return the words with a space between them."""
    return " ".join(word.text for word in words)


def _said(lines: Sequence[Sequence[Word]], image: Image, read: Callable[[Image], Reading]) -> list[str]:
    """Read lines from a sheet on which their strips of the page stand one below the other."""
    from PIL import Image as Pictures

    if not lines:
        return []
    strips = [image.crop(_strip(line, image.size)) for line in lines]
    tops = np.cumsum([0, *(strip.height + _BETWEEN for strip in strips)])
    sheet = Pictures.new("RGB", (max(strip.width for strip in strips), int(tops[-1])), "white")
    for strip, top in zip(strips, tops.tolist(), strict=False):
        sheet.paste(strip, (0, top))
    found: list[list[Word]] = [[] for _ in lines]
    for word in read(sheet).words:
        middle = (word.box[1] + word.box[3]) / 2 * sheet.height
        found[min(int(np.searchsorted(tops, middle, "right")) - 1, len(lines) - 1)].append(word)
    return [text_of(words) for words in found]


def _strip(line: Sequence[Word], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the place of a line in an image, with a quarter of its height around it: left, top, right, bottom."""
    corners = np.array([word.box for word in line])
    x0, y0 = corners[:, :2].min(axis=0) * size
    x1, y1 = corners[:, 2:].max(axis=0) * size
    margin = (y1 - y0) / 4 + 2
    left, top, right, bottom = x0 - margin, y0 - margin, x1 + margin, y1 + margin
    return max(0, int(left)), max(0, int(top)), min(size[0], int(right) + 1), min(size[1], int(bottom) + 1)
