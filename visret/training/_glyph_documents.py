"""Made-up documents and screens for `glyph`, in the installed fonts: LibreOffice draws the former, Chromium the latter.

The places of words come from the PDF's text layer, and from the browser.
"""

from __future__ import annotations

import io
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageFont

from visret.documents import office
from visret.errors import DocumentError
from visret.ocr.glyph.networks import UNKNOWN, spelled
from visret.training import _glyph_data as data
from visret.training._glyph_sheets import Words

_DOCUMENTS_A_SHARD, _SCREENS_A_SHARD = 40, 64
_MAX_WORD = 22  # characters, because it has to fit in a column
_NAMES = {
    **{name: name for name in ("office", "style", "text", "table")},
    **{"fo": "xsl-fo-compatible", "svg": "svg-compatible", "draw": "drawing"},
}
_NAMESPACES = " ".join(f'xmlns:{a}="urn:oasis:names:tc:opendocument:xmlns:{b}:1.0"' for a, b in _NAMES.items())
_BOXES = """() => {
  const pen = document.createElement('canvas').getContext('2d')
  return [...document.querySelectorAll('w')].map(word => {
    const box = word.getBoundingClientRect()
    pen.font = getComputedStyle(word).font
    const letters = pen.measureText('lp'), baseline = box.top + letters.fontBoundingBoxAscent
    const top = baseline - letters.actualBoundingBoxAscent, foot = baseline + letters.actualBoundingBoxDescent
    return [word.textContent, [box.left, top, box.right, foot]]
  })
}"""


class TextStyle(NamedTuple):
    """The look of a text. size: in points, or in pixels of a screen. ground: its colour; "" for that of the page."""

    font: str
    size: float
    ink: str
    ground: str
    bold: bool
    italic: bool
    dark: bool


class Author:
    """The fonts, colours and words of a document or screen."""

    def __init__(self, rng: random.Random, fonts: list[str], words: list[str]) -> None:
        self.rng, self._say = rng, Words(rng, words).some
        self._all, self._fonts = fonts, rng.sample(fonts, min(2, len(fonts)))
        self._dark = rng.random() < 0.25
        self.ground = self._colour(light=not self._dark)

    def _colour(self, *, light: bool) -> str:
        low, high = (rng := self.rng).choice(((205, 255), (255, 255)) if light else ((0, 100), (0, 0)))
        return "#" + "".join(f"{rng.randint(low, high):02x}" for _ in "rgb")

    def look(self, low: float, high: float, *, pane: float = 0.1) -> TextStyle:
        """Choose a look. pane: the chance of a ground of its own, light or dark."""
        rng = self.rng
        own = rng.random() < pane
        dark = rng.random() < 0.5 if own else self._dark
        ground = self._colour(light=not dark) if own else ""
        size = round(rng.uniform(low, high) * 2) / 2
        bold, italic = rng.random() < 0.15, rng.random() < 0.1
        return TextStyle(rng.choice(self._fonts), size, self._colour(light=dark), ground, bold, italic, dark)

    def words(self, low: int, high: int) -> list[str]:
        """Return some words that can be written."""
        said = self._say(self.rng.randint(low, high))
        return [escape(word) for word in said if UNKNOWN not in word and len(word) <= _MAX_WORD] or ["x"]


class Office(Author):
    """A document of LibreOffice, as flat XML; lengths in centimetres."""

    def document(self, kind: str) -> str:
        """Return a document as flat XML. kind: text, spreadsheet or presentation."""
        rng = self.rng
        if kind == "spreadsheet":
            self._dark = False
        self._styles: list[str] = []
        self._size = rng.uniform(7, 12.5)
        slides = kind == "presentation"
        width, height = (28, rng.choice((15.75, 21))) if slides else rng.choice(((21, 29.7), (29.7, 21)))
        margin = 0 if slides else rng.uniform(1, 2.5)
        if kind == "text":
            body = "".join(self._block() for _ in range(rng.randint(12, 30)))
        else:
            body = self._slides(width, height) if slides else self._cells()
        edges = "".join(
            f"<style:{edge}>{self._paragraph(self._style(self.look(7, 9)), 2, 8)}</style:{edge}>"
            for edge in ("header", "footer")
            if kind == "text" and rng.random() < 0.6
        )
        page = f'fo:page-width="{width}cm" fo:page-height="{height}cm" fo:margin="{margin}cm"'
        ground = f'fo:background-color="{self.ground}"' if kind == "text" else ""
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><office:document {_NAMESPACES} office:version="1.3" '
            f'office:mimetype="application/vnd.oasis.opendocument.{kind}"><office:automatic-styles>'
            f'<style:page-layout style:name="page"><style:page-layout-properties {page} {ground}/></style:page-layout>'
            f"{''.join(self._styles)}</office:automatic-styles><office:master-styles><style:master-page "
            f'style:name="Standard" style:page-layout-name="page">{edges}</style:master-page></office:master-styles>'
            f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document>"
        )

    def _named(self, family: str, inside: str) -> str:
        name = f"s{len(self._styles)}"
        self._styles.append(f'<style:style style:name="{name}" style:family="{family}">{inside}</style:style>')
        return name

    def _style(self, look: TextStyle, family: str = "paragraph", properties: str = "") -> str:
        ground = f'fo:background-color="{look.ground}"' if look.ground else ""
        return self._named(
            family,
            f"<style:{family}-properties {ground} {properties}/><style:text-properties "
            f'fo:font-family="{escape(look.font)}" fo:font-size="{look.size}pt" fo:color="{look.ink}" '
            f'fo:font-weight="{"bold" if look.bold else "normal"}" '
            f'fo:font-style="{"italic" if look.italic else "normal"}"/>',
        )

    def _paragraph(self, style: str, low: int, high: int, tag: str = "p") -> str:
        return f'<text:{tag} text:style-name="{style}">{" ".join(self.words(low, high))}</text:{tag}>'

    def _block(self) -> str:
        rng, size = self.rng, self._size
        kind = rng.choice(("heading", "text", "text", "text", "list", "table", "columns"))
        if kind == "heading":
            return self._paragraph(self._style(self.look(size * 1.3, size * 2.5, pane=0.2)), 1, 7, "h")
        align = rng.choice(("start", "start", "justify", "center", "end"))
        lines = f'fo:line-height="{rng.randint(100, 150)}%" fo:margin-bottom="0.2cm" fo:padding="0.1cm"'
        style = self._style(self.look(size, size), properties=f'fo:text-align="{align}" {lines}')
        if kind == "text":
            return self._paragraph(style, 10, 110)
        if kind == "list":
            mark = rng.choice(("•", "–", "*", "→", ""))
            level = f'bullet text:bullet-char="{mark}"' if mark else 'number style:num-format="1" style:num-suffix="."'
            name = f"l{len(self._styles)}"
            self._styles.append(
                f'<text:list-style style:name="{name}"><text:list-level-style-{level} text:level="1">'
                '<style:list-level-properties text:space-before="0.5cm" text:min-label-width="0.6cm"/>'
                f'<style:text-properties fo:font-family="DejaVu Sans"/></text:list-level-style-{level.split()[0]}>'
                "</text:list-style>"
            )
            items = (
                f"<text:list-item>{self._paragraph(style, 2, 25)}</text:list-item>" for _ in range(rng.randint(2, 9))
            )
            return f'<text:list text:style-name="{name}">{"".join(items)}</text:list>'
        if kind == "columns":
            columns = f'<style:columns fo:column-count="{rng.randint(2, 3)}" fo:column-gap="0.7cm"/>'
            section = self._named("section", f"<style:section-properties>{columns}</style:section-properties>")
            inside = "".join(self._paragraph(style, 30, 120) for _ in range(rng.randint(1, 3)))
            return f'<text:section text:style-name="{section}" text:name="{section}">{inside}</text:section>'
        return self._table(rng.randint(2, 5), rng.randint(2, 12))

    def _table(self, columns: int, rows: int, column: str = "") -> str:
        rng, size = self.rng, self._size
        line = rng.choice(("none", f"0.5pt solid {self._colour(light=self._dark)}"))
        styles = []
        for pane in (0.6, 0, 0.3):  # the head, and alternating rows
            look = self.look(size, size, pane=pane)
            cell = self._style(look, "table-cell", f'fo:border="{line}" fo:padding="0.1cm" fo:wrap-option="wrap"')
            styles.append((self._style(look._replace(ground="")), cell))
        out = f'<table:table table:name="t{len(self._styles)}">'
        out += f'<table:table-column {column} table:number-columns-repeated="{columns}"/>'
        for row in range(rows):
            text, cell = styles[row and 1 + row % 2]
            inside = "".join(
                f'<table:table-cell table:style-name="{cell}">{self._paragraph(text, 1, 4)}</table:table-cell>'
                for _ in range(columns)
            )
            out += f"<table:table-row>{inside}</table:table-row>"
        return out + "</table:table>"

    def _cells(self) -> str:
        rng = self.rng
        properties = f'style:column-width="{rng.uniform(3, 6):.1f}cm"'
        column = self._named("table-column", f"<style:table-column-properties {properties}/>")
        return self._table(rng.randint(3, 6), rng.randint(15, 60), f'table:style-name="{column}"')

    def _slides(self, width: float, height: float) -> str:
        rng = self.rng
        out = ""
        for number in range(5):
            fill = f'draw:fill="solid" draw:fill-color="{self.ground}"'
            page = self._named("drawing-page", f"<style:drawing-page-properties {fill}/>")
            frames = self._frame((1, 0.8, width - 2), self.look(24, 36, pane=0.3), 1, ("",))
            count = rng.randint(1, 3)
            step = (width - 1) / count
            for column in range(count):
                size = rng.uniform(12, 24)
                rows = int((height - 5) * 28.35 / (size * 1.6) * rng.uniform(0.3, 0.9))
                look = self.look(size, size, pane=0.3)
                frames += self._frame((1 + column * step, 4.2, step - 1), look, rows, ("", "• ", "- "))
            place = f'draw:name="{number}" draw:style-name="{page}" draw:master-page-name="Standard"'
            out += f"<draw:page {place}>{frames}</draw:page>"
        return out

    def _frame(self, place: tuple[float, float, float], look: TextStyle, rows: int, marks: Sequence[str]) -> str:
        """Return a frame with as many rows of words as are to fit."""
        fill = f'draw:fill="solid" draw:fill-color="{look.ground}"' if look.ground else 'draw:fill="none"'
        graphic = self._named("graphic", f'<style:graphic-properties draw:stroke="none" {fill}/>')
        text = self._style(look._replace(ground=""))
        x, y, width = place
        room = int(width * 28.35 / (look.size * 0.62))
        inside = ""
        while rows > 0:
            line = " ".join(self.words(2, 12))[: room * min(rows, 2)].rpartition(" ")[0] or "x"
            rows -= 1 + len(line) // room
            inside += f'<text:p text:style-name="{text}">{self.rng.choice(marks)}{line}</text:p>'
        where = f'svg:x="{x}cm" svg:y="{y}cm" svg:width="{width}cm" svg:height="2cm"'
        return f'<draw:frame draw:style-name="{graphic}" {where}><draw:text-box>{inside}</draw:text-box></draw:frame>'


class Screen(Author):
    """A page of a browser."""

    def document(self) -> str:
        """Return a page as HTML, each of its words a <w>."""
        rng = self.rng
        self._size = rng.uniform(11, 18)
        columns = ["".join(self._block() for _ in range(rng.randint(2, 8))) for _ in range(rng.choice((1, 1, 2, 3)))]
        body = self.look(self._size, self._size, pane=0)
        pitch = rng.choice(("normal", "normal", f"{rng.uniform(1.3, 1.8):.2f}"))
        gap = rng.randint(14, 40)
        side = f"<div style='width:{rng.randint(120, 220)}px'>{self._rows('', 4, 20)}</div>"
        return (
            f"<style>w{{white-space:nowrap}}body{{margin:0;line-height:{pitch};{_css(body)};background:{self.ground}}}"
            "td{padding:3px 8px}table{border-collapse:collapse}a{text-decoration:underline}</style>"
            + self._pane(lambda: self._row(3, 9), "padding:10px;")
            + f"<div style='display:flex;gap:{gap}px;padding:{gap}px'>{rng.choice((side, ''))}"
            + "".join(f"<div style='flex:{rng.uniform(1, 2):.1f}'>{column}</div>" for column in columns)
            + "</div>"
            + self._pane(lambda: self._row(2, 9), "padding:10px;")
        )

    def _pane(
        self, inside: Callable[[], str], style: str, tag: str = "div", *, chance: float = 0.6, scale: float = 1
    ) -> str:
        """Return a pane; its content is written once it is known whether the pane is dark. scale: that of its type."""
        size = max(11, self._size * scale)
        look = self.look(size, size, pane=chance)
        before, self._dark = self._dark, look.dark
        out = f"<{tag} style='{style}{_css(look)}'>{inside()}</{tag}>"
        self._dark = before
        return out

    def _said(self, low: int, high: int) -> str:
        """Return words, some of them links or otherwise marked."""
        rng = self.rng
        words = [f"<w>{word}</w>" for word in self.words(low, high)]
        if len(words) > 6 and rng.random() < 0.5:
            start = rng.randrange(len(words) - 3)
            mark = rng.choice(("a", "b", "i", "u", "code"))
            words[start] = f"<{mark}>{words[start]}"
            words[start + 2] += f"</{mark}>"
        return " ".join(words)

    def _row(self, least: int, most: int) -> str:
        """Return links or buttons side by side."""
        rng = self.rng
        gap, edge = rng.randint(18, 40), rng.choice((0, 0, 1))
        style = f"padding:2px 8px;border:{edge}px solid;"
        parts = (
            self._pane(lambda: self._said(1, 2), style, "span", chance=0.2, scale=rng.uniform(0.85, 1.1))
            for _ in range(rng.randint(least, most))
        )
        return f"<div style='display:flex;flex-wrap:wrap;gap:{gap}px'>{''.join(parts)}</div>"

    def _rows(self, mark: str, least: int, most: int) -> str:
        """Return a list, each item with the mark before it."""
        rng = self.rng
        before = f"<w>{mark}</w>" if mark else ""
        parts = (
            f"<div style='display:flex;gap:8px;margin:4px 0'>{before}<span>{self._said(1, 12)}</span></div>"
            for _ in range(rng.randint(least, most))
        )
        return "".join(parts)

    def _block(self) -> str:
        rng = self.rng
        kind = rng.choice(("heading", "text", "text", "text", "list", "table", "code", "form", "dialog", "buttons"))
        style = f"margin:{rng.randint(6, 20)}px 0;border-radius:4px;"
        if kind == "heading":
            return self._pane(lambda: self._said(1, 7), style, chance=0.1, scale=rng.uniform(1.2, 2.2))
        if kind == "text":
            return self._pane(lambda: self._said(10, 90), style, chance=0.1)
        if kind == "list":
            mark = rng.choice("•-–*→")
            return self._pane(lambda: self._rows(mark, 2, 9), style, chance=0.1)
        if kind == "buttons":
            return self._pane(lambda: self._row(1, 5), style, chance=0)
        if kind == "dialog":
            style += "border:1px solid;padding:8px;"
            return self._pane(self._dialog, style, chance=0.7)
        if kind == "code":
            font = rng.choice([font for font in self._all if "Mono" in font or "Typewriter" in font] or ["monospace"])
            return self._pane(lambda: self._code(font), style + "padding:8px;", chance=0.8, scale=0.9)
        form = kind == "form"
        columns, line = (2, 0) if form else (rng.randint(2, 5), rng.choice((0, 1)))
        box = " style='border:1px solid;min-width:120px'" if form else ""

        def cells() -> str:
            return "".join(f"<td{box if column else ''}>{self._said(1, 3)}</td>" for column in range(columns))

        rows = (self._pane(cells, f"border:{line}px solid;", "tr", chance=0.15) for _ in range(rng.randint(2, 10)))
        return f"<table style='{style}border:{line}px solid'>{''.join(rows)}</table>"

    def _dialog(self) -> str:
        title = self._pane(lambda: self._said(1, 5), "padding:6px;", chance=0.8)
        return f"{title}<p>{self._said(5, 40)}</p>{self._row(1, 3)}"

    def _code(self, font: str) -> str:
        rng = self.rng
        rows = ("  " * rng.randint(0, 4) + self._said(1, 9) for _ in range(rng.randint(2, 16)))
        return f"<pre style='margin:0;font-family:\"{escape(font)}\"'>" + "\n".join(rows) + "</pre>"


def _css(look: TextStyle) -> str:
    ground = f";background:{look.ground}" if look.ground else ""
    weight = ("italic " if look.italic else "") + ("bold " if look.bold else "")
    return f'font:{weight}{look.size:.1f}px "{escape(look.font)}";line-height:inherit;color:{look.ink}{ground}'


def families(fonts: list[Path]) -> list[str]:
    """Return the names of the fonts' families."""
    return sorted({str(ImageFont.truetype(font).getname()[0]) for font in fonts})


def browser() -> str | None:
    """Return the installed Chromium; None where playwright's own is to be used."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def write_office(folder: Path, fonts: list[str], words: list[str]) -> None:
    """Write a shard of documents that LibreOffice converts to PDF. fonts: names of families."""
    soffice, rng = office.program(), random.Random(folder.name)
    if soffice is None:
        raise DocumentError(folder, office.MISSING)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        for number in range(_DOCUMENTS_A_SHARD):
            kind = ("text", "text", "spreadsheet", "presentation")[number % 4]
            (place / f"{number:02}.fod{kind[0]}").write_text(Office(rng, fonts, words).document(kind), "utf-8")
        options = [f"-env:UserInstallation={(place / 'profile').as_uri()}", "--headless", "--convert-to", "pdf"]
        subprocess.run(
            [soffice, *options, "--outdir", name, *map(str, sorted(place.glob("*.fod?")))],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        data.write_files(folder, sorted(place.glob("*.pdf")), 1)


def write_screens(folder: Path, fonts: list[str], words: list[str]) -> None:
    """Write a shard of pages as Chromium shows them. fonts: names of families."""
    from playwright.sync_api import sync_playwright

    made, rng = data.Shard(), random.Random(folder.name)
    with sync_playwright() as playwright:
        shown = playwright.chromium.launch(executable_path=browser(), args=["--no-sandbox"])
        pages = [(scale, shown.new_page(device_scale_factor=scale)) for scale in (1, 1.25, 1.5)]
        for number in range(_SCREENS_A_SHARD):
            scale, page = rng.choices(pages, (3, 1, 1))[0]
            page.set_viewport_size({"width": rng.randint(700, 1400), "height": 500})
            page.set_content(Screen(rng, fonts, words).document())
            grey = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("L")
            sized = []
            for text, box in page.evaluate(_BOXES):
                x0, y0, x1, y1 = (side * scale for side in box)
                size = (y1 - y0) / (data.ABOVE + data.BELOW)
                sized.append((data.Piece(spelled(text), (x0, y0, x1, y1)), size, y1 - data.BELOW * size))
            if all(piece.box[2] <= grey.width for piece, *_ in sized) and max(grey.size) <= 3000:
                data.add(made, grey, data.cut(sized), rng, whole=number % 2 == 0, dpi=data.PAGE_DPI)
    made.write(folder)
