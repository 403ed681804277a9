"""The two networks of `glyph`: one finds the lines of a page, the other reads a line. Both see pixels, never text.

Both are plain convolutions. A line is brought to one size before it is read, so the reader knows one size of letters;
it is read by connectionist temporal classification (Graves et al. 2006): each column of pixels names a character or
none, and a run of one name is one character.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as everywhere)

STRIP = 24  # rows of a line as it is read
LETTERS = 16  # of these, from the top of an l to the foot of a p; the rest is margin
FRAME = 2  # columns of pixels that name one character or none
UNKNOWN = "\ufffd"  # stands for a sign that is not in the alphabet
ALPHABET = (
    " " + "".join(map(chr, range(33, 127)))
    + "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ"
    + "ĀāĂăĄąĆćČčĎďĐđĒēĘęĚěĞğĪīİıŁłŃńŇňŌōŐőŒœŘřŚśŞşŠšŢţŤťŪūŮůŰűŹźŻżŽž"
    + "ΓΔΘΛΞΠΣΦΨΩαβγδεζηθικλμνξπρςστυφχψω"
    + "§©®°±×÷·•→←↔⇒≤≥≠≈∞√∑∏∫∂∈∀∃∅∪∩⊂€£¥¬¶†‡¿¡«»"
    + UNKNOWN
)  # fmt: skip
BLANK = 0  # character i of ALPHABET has the number i + 1
_NUMBER = {character: i + 1 for i, character in enumerate(ALPHABET)}
_LOOKALIKES = str.maketrans({
    **dict.fromkeys("‘’‚‛′`´", "'"), **dict.fromkeys("“”„‟″", '"'), **dict.fromkeys("‐‑‒–—―−\u00ad", "-"),
    "∗": "*", "∼": "~", "∆": "Δ", "Ω": "Ω", "●": "•", "∙": "·", "⋅": "·", "ﬁ": "fi", "ﬂ": "fl",
})  # fmt: skip


def spelled(text: str) -> str:
    """Spell a text in the characters that the reader knows: compatibility forms written out, look-alikes made one."""
    known = unicodedata.normalize("NFKC", text.translate(_LOOKALIKES)).translate(_LOOKALIKES)
    return "".join(character if character in _NUMBER else UNKNOWN for character in known)


def numbers(text: str) -> list[int]:
    """Return the numbers of a spelled text's characters, for the loss."""
    return [_NUMBER[character] for character in text]


class Block(nn.Module):  # type: ignore[misc]  # torch is not typed
    """A depthwise convolution over the neighbourhood and two products over the channels, added to the input."""

    def __init__(self, channels: int, kernel: tuple[int, int], *, wider: int = 2) -> None:
        super().__init__()
        self.near = nn.Conv2d(
            channels, channels, kernel, padding=(kernel[0] // 2, kernel[1] // 2), groups=channels, bias=False
        )
        self.norm = nn.BatchNorm2d(channels)
        self.up = nn.Conv2d(channels, wider * channels, 1)
        self.down = nn.Conv2d(wider * channels, channels, 1)
        self.scale = nn.Parameter(torch.full((1, channels, 1, 1), 0.2))

    def forward(self, x: Tensor) -> Tensor:
        inner = F.relu(self.up(self.norm(self.near(x))), inplace=True)
        return torch.addcmul(x, self.scale, self.down(inner))


def _step(inside: int, out: int, kernel: tuple[int, int], stride: tuple[int, int]) -> nn.Sequential:
    pad = ((kernel[0] - 1) // 2, (kernel[1] - 1) // 2)
    return nn.Sequential(
        nn.Conv2d(inside, out, kernel, stride, pad, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)
    )


class ReaderNetwork(nn.Module):  # type: ignore[misc]
    """The reader: (b, 1, STRIP, w) as `inked` makes them, w a multiple of 4, to logits (b, w / FRAME, classes)."""

    def __init__(self, narrow: int = 48, wide: int = 160, depth: int = 5) -> None:
        super().__init__()
        self.classes = len(ALPHABET) + 1
        self.look = nn.Sequential(
            _step(1, 16, (3, 3), (2, 2)),
            _step(16, narrow, (3, 3), (2, 2)),
            Block(narrow, (3, 3)),
            Block(narrow, (3, 3)),
            nn.Conv2d(narrow, wide, (STRIP // 4, 3), padding=(0, 1), bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
        )
        self.read = nn.Sequential(*[Block(wide, (1, 9)) for _ in range(depth)])
        self.norm = nn.BatchNorm2d(wide)
        self.name = nn.Conv2d(wide, 4 // FRAME * self.classes, 1)

    def forward(self, lines: Tensor) -> Tensor:
        named = self.name(self.norm(self.read(self.look(lines))))  # (b, 2 * classes, 1, w / 4)
        return named.squeeze(2).transpose(1, 2).reshape(len(lines), -1, self.classes)


def inked(lines: Tensor) -> Tensor:
    """Bring (b, h, w) grey values of any range to (b, 1, h, w): background 0, ink about 1, dark or light."""
    sample = lines[:, ::2, ::2].flatten(1)
    ground = sample.median(1).values[:, None]
    low, high = (ground - sample).amax(1), (sample - ground).amax(1)
    reach = torch.where(low >= high, -low, high).reshape(-1, 1, 1)
    reach = torch.where(reach.abs() < 1e-3, torch.ones_like(reach), reach)
    return ((lines - ground[..., None]) / reach).clamp(-0.5, 1.5)[:, None]


class Said(NamedTuple):
    """A line that was read. frames: where each character stands. confidences: the probability of each."""

    text: str
    frames: list[int]
    confidences: list[float]


def said(logits: Tensor) -> list[Said]:
    """Decode the lines that (b, frames, classes) logits say."""
    best = logits.argmax(-1)
    named = (best != BLANK) & (best != F.pad(best, (1, 0), value=BLANK)[:, :-1])
    line, frame = named.nonzero(as_tuple=True)
    chances = logits[line, frame].float().softmax(-1).amax(-1)
    counts = named.sum(1).tolist()
    parts = (best[line, frame], frame, chances)
    return [
        Said("".join(ALPHABET[i - 1] for i in numbers), frames, confidences)
        for numbers, frames, confidences in zip(
            *([part.tolist() for part in values.cpu().split(counts)] for values in parts), strict=True
        )
    ]


FINDER_DPI = 72
CELL_ROWS, CELL_COLUMNS = 2, 8  # pixels of a page at FINDER_DPI


class FinderNetwork(nn.Module):  # type: ignore[misc]
    """The finder: pages (b, 1, h, w) as `inked` makes them, h and w multiples of 32, to (b, 3, rows, columns) of cells.

    A cell has the logit that a line of text passes through its middle, the logarithm of the height of its letters in
    pixels, and how far the middle of the line is below that of the cell, in heights.
    """

    def __init__(self, narrow: int = 20, wide: int = 40, widest: int = 80) -> None:
        super().__init__()
        self.fine = nn.Sequential(_step(1, 16, (5, 5), (2, 4)), _step(16, narrow, (3, 3), (1, 2)))
        self.coarse = nn.Sequential(_step(narrow, wide, (4, 3), (2, 1)), Block(wide, (5, 5)))
        self.around = nn.Sequential(
            _step(wide, widest, (2, 2), (2, 2)), Block(widest, (7, 7)), Block(widest, (7, 7)), Block(widest, (7, 7))
        )
        self.to_coarse = nn.Conv2d(widest, wide, 1)
        self.to_fine = nn.Conv2d(wide, narrow, 1)
        self.last = nn.Sequential(_step(narrow, narrow, (3, 3), (1, 1)), nn.Conv2d(narrow, 3, 1))

    def forward(self, pages: Tensor) -> Tensor:
        fine = self.fine(pages)
        coarse = self.coarse(fine)
        around = F.interpolate(self.to_coarse(self.around(coarse)), size=coarse.shape[2:])
        back = F.interpolate(self.to_fine(F.relu(coarse + around)), size=fine.shape[2:])
        return self.last(F.relu(fine + back))
