"""Explanations in colour: marks on the picture of a page, legends, and tables as HTML.

Nothing here knows what an explanation is: values come as arrays of numbers, and places as page fractions.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from visret import arguments
from visret.types import Box

# White, then ColorBrewer's YlOrBr (colorbrewer2.org: safe for the colour-blind, and in grey), without its darkest
# colours: text stays legible under these.
SCALE = ("#ffffff", "#ffffe5", "#fff7bc", "#fee391", "#fec44f", "#fe9929", "#ec7014")
PEN = "#993404"  # YlOrBr too
MARK = SCALE[2 * len(SCALE) // 3]  # of text, which stays legible on it, as a light outline on dark ground
PALE = SCALE[len(SCALE) // 2]  # behind words in the browser
FRAME, FRAME_ON_DARK = "#0b5cad", "#7cc4ff"  # stand out from the marks, also for the colour-blind
LIT = 80  # per cent of the colours, so that white text on dark ground stays legible
DARK = 110  # of 255: ground that is darker is coloured as by light
ROOM = (0.01, 0.005)  # between a passage and its frame, across and down, in page fractions; less where words are near
FAINTEST = 0.35  # of the scale: the colour of the least share of a score


@dataclass(frozen=True, slots=True)
class Legend:
    """The meaning of colours, and of the first and the last of them; colours are CSS colours, evenly spaced."""

    what: str
    low: str
    high: str
    colours: tuple[str, ...]


def legend_of_shares(largest: float) -> Legend:
    """Return the legend of `overlay` where the strongest colour stands for this share of a score."""
    return Legend("share of the score", "0%", f"{largest:.0%}", _colours(FAINTEST))


def legend_of_words(scale: tuple[float, float]) -> Legend:
    """Return the legend of marks on words that tell. scale: the similarities at its two ends."""
    return Legend("match of a word", f"{scale[0]:.2f}", f"{scale[1]:.2f}", _colours(FAINTEST))


def legend_of_similarities(scale: tuple[float, float]) -> Legend:
    """Return the legend of `overlay_similarities`. scale: the similarities at its two ends."""
    return Legend("similarity", f"{scale[0]:.2f} or less", f"{scale[1]:.2f}", _colours(0.0))


def overlay(
    image: Image.Image, boxes: np.ndarray, levels: Sequence[float] | np.ndarray, *, opacity: float = 0.75
) -> Image.Image:
    """Return a page with boxes (k, 4), in page fractions, marked as with a highlighter pen.

    levels: (k,) from 0 to 1, how strong each mark is. Raises ShapeError for a box that does not lie on the page.
    """
    inside, outline, dark = (Image.new("L", image.size) for _ in range(3))
    pen, grey = max(1, round(image.height / 700)), image.convert("L")
    for box, level in sorted(zip(map(arguments.box, boxes), levels, strict=True), key=lambda pair: pair[1]):
        corners = _pixels(box, image.size)
        strength = round(255 * (FAINTEST + (1 - FAINTEST) * float(level)))
        ImageDraw.Draw(inside).rectangle(corners, fill=strength)
        ImageDraw.Draw(outline).rectangle(corners, outline=round(strength * opacity), width=pen)
        if _ground(grey, corners) < DARK:
            ImageDraw.Draw(dark).rectangle(corners, fill=255)
    pens = Image.composite(Image.new("RGB", image.size, MARK), Image.new("RGB", image.size, PEN), dark)
    return Image.composite(pens, _blend(image, inside, opacity, dark), outline)


def framed(image: Image.Image, boxes: Sequence[Box], words: np.ndarray | None = None) -> Image.Image:
    """Return a page with a frame around each group of boxes that follow each other down the page.

    words: the boxes (w, 4) of the words of the page, in page fractions, through which no frame goes.
    """
    pen = max(2, round(image.height / 500))
    out, grey = image.copy(), image.convert("L")
    for box in frames(boxes):
        corners = _pixels(with_room(box, np.empty((0, 4)) if words is None else words), image.size)
        colour = FRAME if _ground(grey, corners) >= DARK else FRAME_ON_DARK
        ImageDraw.Draw(out).rectangle(corners, outline=colour, width=pen)
    return out


def with_room(frame: Box, words: np.ndarray) -> Box:
    """Return a frame with some room within it, which ends half-way to the nearest word outside (words: (w, 4)).

    It is widened first to hold whole words: a passage may end within a line that others fill. Where the box of a word
    above or below reaches into the frame, as with tight lines, its edge is half-way in too.
    """
    x0, y0, x1, y1 = frame
    left, top, right, bottom = words.T
    middle = (top + bottom) / 2
    level = (middle >= y0) & (middle <= y1)
    while (through := level & (left < x1) & (right > x1)).any():
        x1 = right[through].max()
    while (through := level & (left < x0) & (right > x0)).any():
        x0 = left[through].min()
    over = (left < x1) & (right > x0)
    y0, y1 = (
        max(0.0, y0 - _half_way(y0 - bottom[over & (middle < y0)], ROOM[1])),
        min(1.0, y1 + _half_way(top[over & (middle > y1)] - y1, ROOM[1])),
    )
    beside = (top < y1) & (bottom > y0)
    x0 -= _half_way(x0 - right[beside & (right <= x0)], ROOM[0])
    x1 += _half_way(left[beside & (left >= x1)] - x1, ROOM[0])
    return max(0.0, float(x0)), y0, min(1.0, float(x1)), y1


def _half_way(gaps: np.ndarray, most: float) -> float:
    return float(min(most, gaps.min(initial=2 * most) / 2))


def _share(start: float, end: float, other_start: float, other_end: float) -> bool:
    """Return whether two stretches have a part in common."""
    return start < other_end and other_start < end


def frames(boxes: Sequence[Box]) -> list[Box]:
    """Return the boxes around lines that follow each other down the page: one for each column of a passage."""
    found: list[Box] = []
    for x0, y0, x1, y1 in boxes:
        last = found[-1] if found else None
        if last is not None and y1 > last[1] and (_share(x0, x1, last[0], last[2]) or y0 < last[3]):
            found[-1] = (min(last[0], x0), min(last[1], y0), max(last[2], x1), max(last[3], y1))
        else:
            found.append((x0, y0, x1, y1))
    return found


def overlay_similarities(
    image: Image.Image,
    similarities: np.ndarray,
    scale: tuple[float, float],
    boxes: np.ndarray | None = None,
    *,
    opacity: float = 0.75,
) -> Image.Image:
    """Return a page coloured by the similarity of its places, NaN where there is none.

    similarities: (rows, cols) of cells that cover the page, or (w,) of boxes (w, 4) in page fractions, where the more
    similar one lies on top. scale: the similarities at the two ends of the colours.
    """
    levels = np.round(255 * _levels(similarities, scale)).astype(np.uint8)
    if boxes is None:  # bilinear never exceeds the cells, as bicubic and Lanczos do
        return _blend(image, Image.fromarray(levels).resize(image.size, Image.Resampling.BILINEAR), opacity)
    field = Image.new("L", image.size)
    draw = ImageDraw.Draw(field)
    for place in np.argsort(levels, kind="stable"):
        draw.rectangle(_pixels(boxes[place], image.size), fill=int(levels[place]))
    return _blend(image, field, opacity)


def with_legend(page: Image.Image, tokens: str, legend: Legend) -> Image.Image:
    """Return the page with a strip beneath it: the tokens that are shown and what the colours mean."""
    size = max(11, page.width // 60)
    font, pad = ImageFont.load_default(size), size // 2
    sheet = Image.new("RGB", (page.width, page.height + 2 * size + 4 * pad), "white")
    sheet.paste(page)
    draw, x, y = ImageDraw.Draw(sheet), pad, page.height + pad
    draw.line((0, page.height, page.width, page.height), fill="#888")
    draw.text((x, y), tokens, fill="black", font=font)
    y += size + pad
    before = f"{legend.what}: {legend.low}"
    draw.text((x, y), before, fill="black", font=font)
    x += round(draw.textlength(before, font=font)) + pad
    step = page.width // (4 * len(legend.colours))
    for number, colour in enumerate(legend.colours):
        draw.rectangle((x + number * step, y, x + (number + 1) * step - 1, y + size), fill=colour)
    draw.text((x + len(legend.colours) * step + pad, y), legend.high, fill="black", font=font)
    return sheet


def table_html(
    tokens: Iterable[str],
    content: Iterable[bool],
    places: Iterable[str],
    values: np.ndarray,
    best: np.ndarray,
    scale: tuple[float, float],
    length: float = 0.0,
) -> str:
    """Return an explanation's table as HTML, its cells coloured and each token's maximum in bold with a star.

    tokens: m labels, dimmed where content is False. places: p labels. values: (m, p) similarities. best: (m,) columns
    of the maxima. scale: the similarities at the two ends of the colours. length: what the page loses for its length,
    in a row of its own; 0 for none.
    """
    head = "".join(f'<th scope="col">{html.escape(place)}</th>' for place in places)
    rows = []
    levels = _levels(values, scale)
    for row, (token, named) in enumerate(zip(tokens, content, strict=True)):
        cells = "".join(
            f'<td style="color:#000;background:{_colour(levels[row, column])}'
            + (f';font-weight:bold">{value:.2f}*</td>' if column == best[row] else f'">{value:.2f}</td>')
            for column, value in enumerate(values[row])
        )
        dim = "" if named else ' style="opacity:.6;font-weight:normal"'
        rows.append(f'<tr><th scope="row"{dim}>{html.escape(token)}</th>{cells}</tr>')
    if length:
        rows.append(f'<tr><th scope="row">length of the page</th><td colspan="{len(values[0])}">{length:.2f}</td></tr>')
    return f"<table><tr><td></td>{head}</tr>{''.join(rows)}</table>"


def _colours(first: float) -> tuple[str, ...]:
    """Return the colours from this level up, dense enough to be drawn with straight lines between them."""
    return tuple(_colour(level) for level in np.linspace(first, 1, 13))


def _colour(level: float) -> str:
    return "#{:02x}{:02x}{:02x}".format(*_ramp()[round(255 * float(level))])


def _ramp() -> np.ndarray:
    """Return SCALE in 256 steps, (256, 3) uint8."""
    stops = np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in SCALE])
    at = np.linspace(0, len(stops) - 1, 256)
    channels = [np.interp(at, np.arange(len(stops)), channel) for channel in stops.T]
    return np.stack(channels, axis=1).round().astype(np.uint8)


def _levels(similarities: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Return the positions of similarities on the scale, from 0 to 1; 0 where there is none."""
    low, high = scale
    return np.nan_to_num(np.clip((similarities - low) / (high - low or 1), 0, 1))


def _blend(image: Image.Image, levels: Image.Image, opacity: float, dark: Image.Image | None = None) -> Image.Image:
    """Colour a page: paper as by ink, so that black stays black, and an area that is dark all over as by light.

    levels: "L", from 0 to 255, of the size of the page. dark: "L", where the ground is dark; None looks for it.
    """
    ramp = _ramp()
    ink, light = (
        Image.merge("RGB", [levels.point(channel.tolist()) for channel in colours.T])
        for colours in (ramp, ramp * np.arange(256)[:, None] // 255 * LIT // 100)
    )
    inked, lit = ImageChops.multiply(image, ink), ImageChops.screen(image, light)
    if dark is None:
        grey = image.convert("L").filter(ImageFilter.BoxBlur(image.height / 50))
        dark = grey.point([min(255, max(0, 6 * (DARK - value))) for value in range(256)])
    return Image.blend(image, Image.composite(lit, inked, dark), opacity)


def _ground(grey: Image.Image, corners: list[int]) -> int:
    """Return the brightness of most pixels of a box, from 0 to 255: of what its text stands on."""
    x0, y0, x1, y1 = corners
    counts = np.cumsum(grey.crop((x0, y0, x1 + 1, y1 + 1)).histogram())
    return int(np.searchsorted(counts, counts[-1] / 2))


def _pixels(box: Box, size: tuple[int, int]) -> list[int]:
    """Return the first and the last pixel of a box in page fractions: x and y of each."""
    width, height = size
    x0, y0 = int(box[0] * width), int(box[1] * height)
    return [x0, y0, max(x0, math.ceil(box[2] * width) - 1), max(y0, math.ceil(box[3] * height) - 1)]
