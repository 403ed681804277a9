"""Whether the words of a page's text layer are what stands on the page, or have to be read from its picture.

What it costs nothing to know is asked of every page (`doubtful`): how many words there are, what share of the page lies
under pictures, what share of the characters have no meaning, and whether the letters are those of a language. Only a
page that is in doubt is drawn. Its picture then says whether print stands where no words are (`beside`), and a few of
its lines are read and compared (`is_wrong`, `is_poor`): what is strange may be a list of parts, or a cipher.
"""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Callable, Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from visret import _letters
from visret._lines import Reading
from visret.types import Box, Page, Word

if TYPE_CHECKING:
    from PIL.Image import Image

DPI = 100  # of the pictures that lines of print are looked for in
FEW = 30  # words; with fewer, a page is looked at before its text layer is believed
PICTURED = 0.2  # of a page's area; with more under pictures, it is looked at
UNREAD = 0.01  # of a page's characters; with more that have no meaning, it is looked at

# Widths of the page that lines of print without words must have in all, to be read: a short line, or half as much where
# some characters are known to have no meaning. Photographs have .0 to .1, pages of print 1 to 20.
_MUCH, _SOME = 0.5, 0.25
_STEP = 48  # levels of grey from a pixel to the next that count as an edge
_GAP = 9  # pixels between the letters and words of a line, at DPI
_STRANGE, _STRANGE_TRIPLES = 0.65, 4  # a line with fewer usual triples than this share, of no fewer triples
_ALIKE = 0.6  # of the letters of a line, in order: what is read of a line of the layer that is right
_SAMPLE = 4  # lines that are read to see whether the layer says the same
_FILLED = 0.8  # of a page's area under pictures: its words may be a reading of them
_GOOD, _LITTLE = 0.9, 0.05  # `worth` of words that need no new reading; by how much others are better
_CHANGED, _BETTER = 0.12, 0.2  # of the words of some lines, those read as others; by how much those are better
# A line that was read is nonsense with less confidence, no larger a share of known words and of usual triples; and so
# many triples on such lines, and such a share of the page's, are a script that is not known. Of 14 pages of Russian
# .45 of the triples and more were on such lines as glyph reads them, of 105 worn ones in nine languages .31 at most.
_SURE, _KNOWN, _USUAL = 0.88, 0.2, 0.97
_NONSENSE_LEAST, _NONSENSE_SHARE = 20, 0.38
_UNREAD_LEAST, _UNREAD_SHARE = 0.5, 0.3  # in widths of the page, and of all its print
_STRANGE_SHARE, _STRANGE_LEAST = 0.3, 40  # of a page's triples, and so many, on strange lines: it may be a cipher


def doubtful(page: Page) -> bool:
    """Whether it takes the page's image to say if its words are what stands on it."""
    words = page.words or ()
    return (
        len(words) < FEW
        or page.pictured > PICTURED
        or page.unread > UNREAD
        or garbage(words)
        or bool(strange_lines(words))
    )


def garbage(words: Sequence[Word]) -> bool:
    """Whether a third of the characters have no meaning, or most of the different words have no letter or digit."""
    characters = "".join(word.text for word in words)
    different = {word.text for word in words}
    readable = sum(any(c.isalnum() for c in text) for text in different)
    return 3 * sum(map(_is_senseless, characters)) > len(characters) or 2 * readable < len(different)


def sensible(words: Sequence[Word]) -> tuple[Word, ...]:
    """Those of which at least two thirds of the characters have a meaning."""
    return tuple(word for word in words if 3 * sum(map(_is_senseless, word.text)) <= len(word.text))


def _is_senseless(character: str) -> bool:
    return character == "\ufffd" or unicodedata.category(character) in {"Cc", "Cn", "Co", "Cs"}


def strange_lines(words: Sequence[Word]) -> frozenset[int]:
    """The lines whose letters are those of no language, if they are a good part of the page's text; else none.

    So is text in a font whose codes are not its characters, and so are some code, formulas and lists of parts.
    """
    triples = _letters.look([word.text for word in words])
    if not triples.all.any():
        return frozenset()
    lines = np.array([word.line for word in words])
    of_line, of = np.unique(lines, return_inverse=True)
    usual, total = (np.bincount(of, count) for count in (triples.usual, triples.all))
    strange = (total >= _STRANGE_TRIPLES) & (usual < _STRANGE * total)
    if total[strange].sum() < max(_STRANGE_LEAST, _STRANGE_SHARE * total.sum()):
        return frozenset()
    return frozenset(of_line[strange].tolist())


# ------------------------------------------------------------------------------------------- with the page's image


def is_missing(page: Page, words: Sequence[Word], image: Image) -> bool:
    """Whether print stands on the page that is in none of the words."""
    if not words:
        return True
    image = _small(image, page.size_pt)
    if len(words) < FEW and covered(words, image) < 0.5:
        return True
    return beside(words, image) > (_SOME if page.unread > UNREAD else _MUCH)


def covered(words: Sequence[Word], image: Image) -> float:
    """The share of a page's sharp edges that lies in the boxes of words; 1 on a page without any.

    Print has many edges, paper, plain colours and most photographs have few.
    """
    grey = np.asarray(image.convert("L").reduce(2), np.int16)
    edges = np.abs(np.diff(grey, axis=1, append=grey[:, -1:])) > 64
    inside = _inside(words, edges.shape)
    return float(edges[inside].sum() / edges.sum()) if edges.any() else 1.0


def beside(words: Sequence[Word], image: Image) -> float:
    """The length of the lines of print that lie outside the boxes of words, in widths of the page.

    Upright print and such as is turned by a quarter. image: at DPI.
    """
    grey = np.asarray(image.convert("L"), np.int16)
    inside = _inside(words, grey.shape)
    upright = _print(grey, inside) / grey.shape[1]
    return upright if upright > _MUCH else max(upright, _print(grey.T, inside.T) / grey.shape[1])


def _small(image: Image, size_pt: tuple[float, float] | None) -> Image:
    """At no more than DPI."""
    width, height = (round(side * DPI / 72) for side in size_pt or image.size)
    return image.resize((width, height), reducing_gap=2.0) if size_pt and image.width > 1.1 * width > 0 else image


def _inside(words: Sequence[Word], shape: tuple[int, ...]) -> np.ndarray:
    height, width = shape
    inside = np.zeros(shape, bool)
    for word in words:
        for x0, y0, x1, y1 in boxes(word):
            inside[int(y0 * height) : int(y1 * height) + 1, int(x0 * width) : int(x1 * width) + 1] = True
    return inside


def boxes(word: Word) -> list[Box]:
    """Of all its parts."""
    return [word.box, *(box for _, box in word.rest)]


def _print(grey: np.ndarray, inside: np.ndarray) -> int:
    """The pixels that lines of print are long which lie mostly outside.

    A line is a long, low piece of the page full of edges, with none around it: photographs have few of those.
    """
    from scipy import ndimage

    edges = np.zeros(grey.shape, bool)
    edges[:, 1:] = np.abs(np.diff(grey, axis=1)) > _STEP
    labels, count = ndimage.label(_closed(edges), np.ones((3, 3)))
    places = ndimage.find_objects(labels)
    heights, widths = np.array([[side.stop - side.start for side in place] for place in places]).reshape(-1, 2).T
    area, sharp, known = (
        np.bincount(of, minlength=count + 1)[1:]
        for of in (labels[labels > 0], labels[edges], labels[edges & inside])
    )
    high = area / np.maximum(widths, 1)
    straight = (area > 0.5 * heights * widths) | (heights < 0.12 * widths)  # a long line may be a little skewed
    sized = (high >= 4) & (high <= 40) & (widths >= 2.5 * high)
    is_line = straight & sized & (sharp > 0.2 * area) & (sharp < 0.7 * area)
    return int(widths[is_line & (known < 0.5 * sharp)].sum())


def _closed(edges: np.ndarray) -> np.ndarray:
    """Where an edge lies, or less than _GAP pixels between two of a row."""
    reach = _GAP // 2
    wide = np.pad(edges, ((0, 0), (2 * reach, 2 * reach)))
    for mend in (np.logical_or, np.logical_and):
        wide = mend.reduce([wide[:, k : wide.shape[1] - 2 * reach + k] for k in range(2 * reach + 1)])
    return np.asarray(wide)


# --------------------------------------------------------------------------------------------- with all of it read


def without_nonsense(reading: Reading, *, unread: bool = False) -> Reading:
    """What was read without the lines that are no words: print in a script that is not known, read as what looks alike.

    Only where they are a good part of the page, since a line of code or of names may look like one of them; or where a
    good part of the print is `unread`, all lines without a word that is known or certain.
    """
    if not reading.words:
        return reading
    texts = [word.text for word in reading.words]
    of_line, of = np.unique([word.line for word in reading.words], return_inverse=True)
    triples, long = _letters.look(texts), [len(_letters.plain_word(text)) > 2 for text in texts]
    each = np.ones(len(texts)), reading.confidences, list(map(len, texts)), long, _letters.known(texts), *triples
    words, sure, size, longs, known, usual, total = (np.bincount(of, some, len(of_line)) for some in each)
    unsure = sure < _SURE * words
    odd = unsure & (known <= _KNOWN * longs) & (usual <= _USUAL * total)
    if size[odd].sum() >= max(_NONSENSE_LEAST, _NONSENSE_SHARE * size.sum()):
        unread = True
    if not unread:
        return reading
    kept = [i for i, line in enumerate(of) if not odd[line] and not (unsure[line] and not known[line])]
    return Reading(tuple(reading.words[i] for i in kept), tuple(reading.confidences[i] for i in kept))


def is_unread(words: Sequence[Word], page: Page, image: Image) -> bool:
    """Whether a good part of the print on a page is in none of its words, though it was read."""
    image = _small(image, page.size_pt)
    left = beside(words, image)
    return left > _UNREAD_LEAST and left > _UNREAD_SHARE * beside((), image)


# ---------------------------------------------------------------------------------------- with some of its lines read


def is_wrong(page: Page, words: Sequence[Word], image: Image, read: Callable[[Image], Reading]) -> bool:
    """Whether the layer says something else than what stands there: text in a cipher, read as it stands."""
    strange = strange_lines(words)
    if not strange:
        return False
    lines = _sample(words, strange)
    return sum(map(_vote, map(text_of, lines), _said(lines, image, read))) < 0


def is_poor(page: Page, words: Sequence[Word], image: Image, read: Callable[[Image], Reading]) -> bool:
    """Whether the layer is an old reading of a picture that fills the page, and a new one clearly gives better words."""
    if page.pictured < _FILLED or len(words) < FEW or worth([word.text for word in words]) > _GOOD:
        return False
    lines = _sample(words, {word.line for word in words})
    own = [word.text for line in lines for word in line]
    old, new = _changed(own, " ".join(_said(lines, image, read)).split())
    return len(old) > _CHANGED * len(own) and worth(new) > worth(old) + _BETTER


def _changed(own: Sequence[str], said: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of the one that stand as others in the other."""
    old, new = [], []
    for what, i, j, k, m in difflib.SequenceMatcher(None, own, said, autojunk=False).get_opcodes():
        if what == "replace":
            old += own[i:j]
            new += said[k:m]
    return old, new


def _sample(words: Sequence[Word], lines: Collection[int]) -> list[list[Word]]:
    """The longest of some lines."""
    of: dict[int, list[Word]] = {number: [] for number in lines}
    for word in words:
        if word.line in of and not word.rest:
            of[word.line].append(word)
    return sorted(filter(None, of.values()), key=lambda line: -len(text_of(line)))[:_SAMPLE]


def _vote(own: str, said: str) -> int:
    """1 where a line was read as the layer has it, -1 where as something else in better words, 0 where neither."""
    return 1 if alike(own, said) else -is_better(said, own, alike_too=False)


def is_better(said: str, own: str, *, alike_too: bool) -> bool:
    """Whether what was read in the place of a line is better words than what the layer has there.

    Where the two are alike, the layer's letters are the right ones, unless it is a reading itself (alike_too). Letters
    of another script than Latin are not judged.
    """
    if len(said) < 0.5 * len(own) or _letters.is_other(own):
        return False
    gain = worth(said.split()) - worth(own.split())
    return gain > _LITTLE if alike(own, said) and alike_too else gain > -_LITTLE and not alike(own, said)


def worth(words: Sequence[str]) -> float:
    """Of words: the mean of their share of usual letters and of known words; 1 where they have no letters."""
    long = [word for word in words if len(_letters.plain_word(word)) > 2]
    usual = _letters.look(words).share
    return (usual + float(_letters.known(long).mean())) / 2 if long else usual


def alike(own: str, said: str) -> bool:
    """Whether one is what was read of the other, with a few letters wrong."""
    one, other = (text.replace(" ", "").casefold() for text in (own, said))
    return difflib.SequenceMatcher(None, one, other, autojunk=False).ratio() >= _ALIKE


def text_of(words: Sequence[Word]) -> str:
    """With a space between words."""
    return " ".join(word.text for word in words)


def _said(lines: Sequence[Sequence[Word]], image: Image, read: Callable[[Image], Reading]) -> list[str]:
    """What is read of lines when their strips of the page stand one below the other on a sheet."""
    from PIL import Image as Pictures

    strips = [image.crop(_strip(line, image.size)) for line in lines]
    tops = np.cumsum([0, *(strip.height + _GAP for strip in strips)])
    sheet = Pictures.new("RGB", (max(strip.width for strip in strips), int(tops[-1])), "white")
    for strip, top in zip(strips, tops.tolist(), strict=False):
        sheet.paste(strip, (0, top))
    found: list[list[Word]] = [[] for _ in lines]
    for word in read(sheet).words:
        middle = (word.box[1] + word.box[3]) / 2 * sheet.height
        found[min(int(np.searchsorted(tops, middle, "right")) - 1, len(lines) - 1)].append(word)
    return [text_of(words) for words in found]


def _strip(line: Sequence[Word], size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Where a line lies in an image, with a quarter of its height around it."""
    corners = np.array([word.box for word in line])
    x0, y0 = corners[:, :2].min(axis=0) * size
    x1, y1 = corners[:, 2:].max(axis=0) * size
    margin = (y1 - y0) / 4 + 2
    left, top, right, bottom = x0 - margin, y0 - margin, x1 + margin, y1 + margin
    return max(0, int(left)), max(0, int(top)), min(size[0], int(right) + 1), min(size[1], int(bottom) + 1)
