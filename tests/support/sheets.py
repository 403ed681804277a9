"""Small PDFs of plain colours, pictures of text, and where there is ink on a page."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from visret.types import Page


def write_pdf(path: Path, *colours: str) -> Path:
    """A PDF with a page of each colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sheets = [Image.new("RGB", (64, 96), "lime" if colour == "green" else colour) for colour in colours]
    sheets[0].save(path, save_all=True, append_images=sheets[1:])
    return path


def draw(*placed, size=(620, 160), height=28):
    """A picture of (text, (x, y)), and the (x0, y0, x1, y1) of each word's ink in page fractions."""
    image = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(height)
    inked = []
    for text, (x, y) in placed:
        pen.text((x, y), text, "black", font)
        for word in text.split():
            start = x + pen.textlength(text[: text.index(word)], font)
            alone = Image.new("L", size)
            ImageDraw.Draw(alone).text((start, y), word, "white", font)
            x0, y0, x1, y1 = alone.point(lambda v: 255 * (v > 128)).getbbox()
            inked.append((x0 / size[0], y0 / size[1], x1 / size[0], y1 / size[1]))
    return image, inked


def ink(page: Page, box, *, dark=128) -> float:
    """The share of pixels in a box of page fractions that are darker than this."""
    pixels = np.asarray(page.image.convert("L"))
    height, width = pixels.shape
    x0, y0, x1, y1 = box
    part = pixels[int(y0 * height) : int(y1 * height) + 1, int(x0 * width) : int(x1 * width) + 1]
    return float((part < dark).mean())
