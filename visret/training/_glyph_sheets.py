"""Made-up pages for `glyph`, in fonts and layouts that the PDFs at hand lack, with the places of their words."""

from __future__ import annotations

import random
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from visret.ocr.glyph.networks import ALPHABET, UNKNOWN, spelled
from visret.training._glyph_data import DPI, DrawnLine, Piece, Shard, add

_SHEETS_A_SHARD = 120
_SIZES_PT = ((595, 842), (595, 842), (612, 792), (720, 540), (960, 540), (842, 595), (800, 600))
_SIGNS = ALPHABET[1:95]
_ACCENTED = ALPHABET[95:200]
_DRAWINGS = {
    "D050000L",
    "Linux Biolinum Keyboard O",
    "Standard Symbols PS",
}  # with other signs for letters


class Ink(NamedTuple):
    """The grey values of a page: of its ground and of its text."""

    ground: int
    text: int


def fonts_in(folder: Path) -> list[Path]:
    """Return the fonts in a folder that have Latin letters and figures."""
    found = []
    for path in sorted([*folder.rglob("*.ttf"), *folder.rglob("*.otf")]):
        try:
            font = ImageFont.truetype(path, 20)
            masks = {bytes(font.getmask(letter)) for letter in "aegmRQ48"}
        except OSError:
            continue
        if len(masks) == 8 and font.getname()[0] not in _DRAWINGS:
            found.append(path)
    return found


class Words:
    """The words of made-up pages."""

    def __init__(self, rng: random.Random, words: list[str]) -> None:
        self._rng, self._words = rng, words

    def some(self, count: int) -> list[str]:
        """Return words as they follow each other somewhere, some of them made up."""
        rng = self._rng
        start = rng.randrange(max(1, len(self._words) - count))
        return [self._made_up() if rng.random() < 0.12 else word for word in self._words[start : start + count]]

    def _made_up(self) -> str:
        rng = self._rng
        kind = rng.random()
        if kind < 0.35:
            return (
                rng.choice(("", "$", "-", "€", "#", "("))
                + f"{rng.uniform(0, 10 ** rng.randint(1, 6)):,.{rng.randint(0, 3)}f}"
            )
        if kind < 0.55:
            end = rng.choice(("", "/2019", ".98", ":07"))
            return f"{rng.randint(1, 31)}{rng.choice('./-:')}{rng.randint(1, 59):02}{end}"
        if kind < 0.75:
            return "".join(rng.choice(_SIGNS) for _ in range(rng.randint(1, 9)))
        if kind < 0.85:
            return "".join(rng.choice(_ACCENTED + "aeiounrst" * 8) for _ in range(rng.randint(2, 9)))
        parts = [rng.choice(self._words) for _ in range(rng.randint(2, 3))]
        return rng.choice(("_", "", "-", ".", "/")).join(part.strip(".,;:()") for part in parts)[:24] or "x"


class Sheet:
    """A page that is being filled."""

    def __init__(self, rng: random.Random, fonts: list[Path], words: list[str]) -> None:
        self.rng, self._fonts, self.text = rng, fonts, Words(rng, words).some
        width, height = (round(side * DPI / 72) for side in rng.choice(_SIZES_PT))
        dark = rng.random() < 0.2
        ground = rng.randint(0, 90) if dark else rng.choice((255, 255, 255, rng.randint(200, 254)))
        text = rng.randint(190, 255) if dark else rng.choice((0, 0, 0, rng.randint(10, 110)))
        self.ink = Ink(ground, text)
        self.image = Image.new("L", (width, height), ground)
        self.lines: list[DrawnLine] = []
        self._draw = ImageDraw.Draw(self.image)
        self._body = rng.choice(fonts)
        self._head = rng.choice(fonts)

    def line(
        self, x: float, baseline: float, words: list[str], font: ImageFont.FreeTypeFont, ink: int, right: float
    ) -> int:
        """Draw as many words as fit before `right`, except those the font has no letters for; return how many."""
        words = [word for word in words if UNKNOWN not in word]
        top, foot = font.getbbox("l", anchor="ls")[1], font.getbbox("p", anchor="ls")[3]
        if foot - top < 4:
            return len(words)
        space = font.getlength(" ") * self.rng.choice((1.0, 1.0, 1.0, 1.25, 1.6))
        pieces = []
        lacking = bytes(font.getmask("\uffff"))
        for word in words:
            if any(bytes(font.getmask(letter)) == lacking for letter in word if letter > "~"):
                continue
            length = font.getlength(word)
            if x + length > right:
                break
            self._draw.text((x, baseline), word, fill=ink, font=font, anchor="ls")
            pieces.append(Piece(spelled(word), (x, baseline + top, x + length, baseline + foot)))
            x += length + space
        if pieces:
            self.lines.append(DrawnLine(pieces, baseline + top, baseline + foot))
        return len(pieces)

    def block(self, x0: float, y0: float, x1: float, y1: float) -> float:
        """Draw something with text between those sides; return where it ends."""
        rng = self.rng
        kind = rng.choice(("paragraph", "paragraph", "paragraph", "list", "table", "code", "box", "heading", "chart"))
        size = rng.uniform(6.5, 13) * DPI / 72
        ink = self.ink
        face = self._head if kind == "heading" or rng.random() < 0.2 else self._body
        if kind == "heading":
            size *= rng.uniform(1.3, 3)
        if kind in {"code", "box"}:
            shift = rng.choice((-25, 20, -90)) if ink.ground > 128 else rng.choice((25, 60))
            ink = Ink(max(0, min(255, ink.ground + shift)), ink.text)
            if kind == "box" and rng.random() < 0.5:
                ink = Ink(255 - self.ink.ground, 255 - self.ink.text)
        font = ImageFont.truetype(face, round(size))
        pitch = size * rng.uniform(1.12, 1.7)
        if kind == "table":
            return self._table(x0, y0, x1, min(y1, y0 + pitch * rng.randint(3, 14)), font, pitch)
        if kind == "chart":
            return self._chart(x0, y0, x1, min(y1, y0 + rng.uniform(80, 350)), font)
        rows = rng.randint(1, 2) if kind == "heading" else rng.randint(1, 12)
        end = min(y1, y0 + pitch * (rows + 0.6))
        if ink.ground != self.ink.ground:
            self._draw.rectangle((x0 - 6, y0, x1 + 6, end), fill=ink.ground, outline=rng.choice((None, ink.text)))
        y = y0 + pitch
        indent = size * rng.uniform(1, 2.5) if kind == "list" else 0
        while y < end:
            if indent and rng.random() < 0.5:
                self.line(x0, y, [rng.choice(("•", "-", "–", "1.", "2)", "(a)", "*"))], font, ink.text, x1)
            if not self.line(x0 + indent, y, self.text(30), font, ink.text, x1):
                break
            if rng.random() < 0.04:
                self._draw.line((x0, y + 3, x1, y + 3), fill=ink.text)
            y += pitch
        return end + pitch * rng.uniform(0.2, 1)

    def _table(self, x0: float, y0: float, x1: float, y1: float, font: ImageFont.FreeTypeFont, pitch: float) -> float:
        rng = self.rng
        columns = rng.randint(2, 7)
        step = (x1 - x0) / columns
        ruled = rng.random()
        y = y0 + pitch
        while y < y1:
            if ruled < 0.6:
                self._draw.line(
                    (x0, y - pitch * 0.75, x1, y - pitch * 0.75), fill=self.ink.text, width=rng.randint(1, 2)
                )
            for column in range(columns):
                self.line(
                    x0 + column * step + 5,
                    y,
                    self.text(rng.randint(1, 3)),
                    font,
                    self.ink.text,
                    x0 + (column + 1) * step - 4,
                )
                if ruled < 0.3:
                    side = x0 + column * step
                    self._draw.line((side, y - pitch, side, y), fill=self.ink.text)
            y += pitch
        return y + pitch

    def _chart(self, x0: float, y0: float, x1: float, y1: float, font: ImageFont.FreeTypeFont) -> float:
        rng, ink = self.rng, self.ink
        if y1 - y0 < 70:
            return y1
        self._draw.line((x0 + 60, y0, x0 + 60, y1 - 40, x1, y1 - 40), fill=ink.text, width=2, joint="curve")
        bars = rng.randint(3, 9)
        step = (x1 - x0 - 70) / bars
        points = []
        for bar in range(bars):
            x, top = x0 + 64 + bar * step, rng.uniform(y0, y1 - 45)
            points += [x + step / 2, top]
            if rng.random() < 0.6:
                self._draw.rectangle((x, top, x + step * 0.7, y1 - 40), fill=rng.randint(60, 200))
            self.line(x, y1 - 12, self.text(1), font, ink.text, x + step)
            self.line(x0, y0 + (y1 - 45 - y0) * bar / bars + 12, [str(rng.randint(0, 2000))], font, ink.text, x0 + 58)
        self._draw.line(points, fill=ink.text, width=2)
        return y1 + 20


def sheet(rng: random.Random, fonts: list[Path], words: list[str]) -> Sheet:
    """Make a page with one to three columns of blocks."""
    made = Sheet(rng, fonts, words)
    width, height = made.image.size
    margin = rng.uniform(30, 150)
    columns = rng.choice((1, 1, 1, 2, 2, 3)) if width > 900 else 1
    step = (width - 2 * margin + 30) / columns
    for column in range(columns):
        y = margin + rng.uniform(0, 40)
        while y < height - margin:
            y = made.block(margin + column * step, y, margin + (column + 1) * step - 30, height - margin)
            y += rng.uniform(0, 30)
    return made


def write_sheets(folder: Path, fonts: list[Path], words: list[str]) -> None:
    """Write a shard of made-up pages, always the same for a folder's name."""
    made, rng = Shard(), random.Random(folder.name)
    for number in range(_SHEETS_A_SHARD):
        drawn = sheet(rng, fonts, words)
        add(made, drawn.image, drawn.lines, rng, whole=number % 3 == 0)
    made.write(folder)
