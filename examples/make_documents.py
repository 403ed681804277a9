"""Make the sample documents in documents: `python make_documents.py [FOLDER]`. Needs reportlab, Pillow and numpy.

    report.pdf       8 pages: a table, charts, a formula, a landscape page, a page with /Rotate 90
    two_column.pdf   3 pages: justified columns, hyphenated line ends, ligatures, figures
    scan.pdf         2 pages: pictures of a letter and a form, no text layer

Every undertaking, place and figure in them is invented. The same versions of the packages give the same bytes; the
PDFs name them as their producer.
"""

from __future__ import annotations

import io
import math
import sys
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import PIL
import reportlab
from PIL import Image, ImageDraw, ImageFilter, ImageFont, features
from reportlab import rl_config
from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader, simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfgen.canvas import Canvas

Point = tuple[float, float]

WIDTH, HEIGHT = A4
LEFT, RIGHT = 56.0, WIDTH - 56  # margins
INK, GREY, RULE, WHITE = "#1d2a33", "#66737c", "#c9d1d6", "#ffffff"
SEA, TEAL, AMBER, MIST, PALE = "#17405c", "#2f8f8b", "#d98a2b", "#a9c4cc", "#eef3f5"
STONE, SAND, WATER = "#8a969b", "#efe7d6", "#dce9ee"
LICHEN, BARK, LEAF, SAGE = "#c79a2b", "#7b6a58", "#5d7f5b", "#8fa58b"
BODY, BOLD, SLANTED = "Helvetica", "Helvetica-Bold", "Helvetica-Oblique"


class Paper(Canvas):
    """A reportlab canvas with the few verbs used here. Origin bottom left, points, colours as "#rrggbb"."""

    def __init__(self, target: Path | io.BytesIO, *, title: str, subject: str) -> None:
        rl_config.useA85 = 0  # binary streams, a fifth smaller
        super().__init__(str(target) if isinstance(target, Path) else target, A4, pageCompression=1, invariant=1)
        self.setTitle(title)
        self.setSubject(subject)
        self.setAuthor("visret")
        self.setCreator("examples/make_documents.py")
        versions = {
            "reportlab": reportlab.__version__,
            "Pillow": PIL.__version__,
            "FreeType": features.version("freetype2"),
            "zlib": zlib.ZLIB_RUNTIME_VERSION,
        }
        self.setProducer(", ".join(f"{name} {version}" for name, version in versions.items()))

    def put(
        self, x: float, y: float, text: str, *, font: str = BODY, size: float = 10.5, color: str = INK, align: str = "l"
    ) -> None:
        """One line; align: l, c or r of x."""
        self.setFont(font, size)
        self.setFillColor(HexColor(color))
        {"l": self.drawString, "c": self.drawCentredString, "r": self.drawRightString}[align](x, y, text)

    def paragraph(
        self, x: float, y: float, text: str, *, width: float, font: str = BODY, size: float = 10.5, leading: float = 16
    ) -> float:
        """Wrapped lines, the first baseline at y; the baseline after the last."""
        for line in simpleSplit(" ".join(text.split()), font, size, width):
            self.put(x, y, line, font=font, size=size)
            y -= leading
        return y

    def caption(self, x: float, y: float, number: str, text: str) -> None:
        self.put(x, y, number, font=BOLD, size=9, color=SEA)
        self.put(x + 42, y, text, size=9, color=GREY)

    def rule(self, x0: float, y: float, x1: float, *, color: str = RULE, width: float = 0.6) -> None:
        self.polyline([(x0, y), (x1, y)], color=color, width=width)

    def polyline(self, points: Sequence[Point], *, color: str, width: float = 1) -> None:
        self._trace(points)
        self.setStrokeColor(HexColor(color))
        self.setLineWidth(width)
        self.drawPath(self._path, fill=0, stroke=1)

    def polygon(self, points: Iterable[Point], *, fill: str) -> None:
        self._trace(points)
        self._path.close()
        self.setFillColor(HexColor(fill))
        self.drawPath(self._path, fill=1, stroke=0)

    def _trace(self, points: Iterable[Point]) -> None:
        self._path = self.beginPath()
        for i, (x, y) in enumerate(points):
            (self._path.lineTo if i else self._path.moveTo)(x, y)

    def block(self, x: float, y: float, width: float, height: float, *, fill: str, radius: float = 0) -> None:
        self.setFillColor(HexColor(fill))
        if radius:
            self.roundRect(x, y, width, height, radius, fill=1, stroke=0)
        else:
            self.rect(x, y, width, height, fill=1, stroke=0)

    def disc(self, x: float, y: float, radius: float, *, fill: str, ring: str | None = None) -> None:
        self.setFillColor(HexColor(fill))
        self.setStrokeColor(HexColor(ring or fill))
        self.setLineWidth(1.6)
        self.circle(x, y, radius, fill=1, stroke=int(ring is not None))

    def table(
        self,
        x: float,
        y: float,
        widths: Sequence[float],
        rows: Sequence[Sequence[str]],
        *,
        align: str,
        size: float,
        pad: float,
        total: bool = False,
        marked: tuple[int, int] | None = None,
    ) -> float:
        """A head row and rows of wrapped cells, the top at y; the bottom edge. align: one of l, c, r a column."""
        leading, right = 1.25 * size, x + sum(widths)
        for r, row in enumerate(rows):
            head, last = r == 0, total and r == len(rows) - 1
            font = BOLD if head or last else BODY
            cells = [simpleSplit(text, font, size, w - 10) for text, w in zip(row, widths, strict=True)]
            height = max(map(len, cells)) * leading + 2 * pad
            if head:
                self.block(x, y - height, right - x, height, fill=SEA)
            left = x
            for column, (lines, w, a) in enumerate(zip(cells, widths, align, strict=True)):
                if marked == (r, column):
                    self.block(left, y - height, w, height, fill="#f8e3c4")
                at = {"l": left + 5, "c": left + w / 2, "r": left + w - 5}[a]
                for i, line in enumerate(lines):
                    baseline = y - pad - leading * (i + 0.75)
                    self.put(at, baseline, line, font=font, size=size, color=WHITE if head else INK, align=a)
                left += w
            if last:
                self.rule(x, y, right, color=SEA, width=1)
            y -= height
            if not head:
                self.rule(x, y, right)
        return y


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]


# -- report.pdf --------------------------------------------------------------------------------------------------------

COLUMN = 186.0  # left edge of the text, right of the side headings
MEASURE = RIGHT - COLUMN
QUARTERS = {  # megawatt hours
    "Avocet": (1912, 1344, 1108, 1836),
    "Bittern": (1874, 1302, 412, 1765),
    "Curlew": (1968, 1391, 1155, 1902),
    "Dunlin": (1745, 1226, 1021, 1688),
    "Eider": (1933, 1287, 1049, 1871),
    "Fulmar": (2041, 1452, 1213, 1987),
}
TOTAL = sum(map(sum, QUARTERS.values()))
FULL_POWER = 2.3 * 8760  # megawatt hours of one turbine in a year
CAPACITY_FACTOR = TOTAL / (6 * FULL_POWER)


def report(path: Path) -> None:
    c = Paper(path, title="Harbour Wind Cooperative: annual report 2025", subject="A sample report, all of it invented")
    cover(c)
    c.showPage()
    pages = (who_we_are, energy, wind_and_output, capacity, maintenance, site_plan, finance)
    for number, draw in enumerate(pages, start=2):
        width, height = (HEIGHT, WIDTH) if draw in (maintenance, site_plan) else A4
        c.setPageSize((width, height))
        c.setPageRotation(0)
        if draw is site_plan:  # its MediaBox is portrait and /Rotate turns it clockwise: drawn turned the other way
            c.setPageRotation(90)
            c.translate(height, 0)
            c.rotate(90)
        c.put(LEFT, height - 40, "Harbour Wind Cooperative", font=BOLD, size=8, color=SEA)
        c.put(width - 56, height - 40, "Annual report 2025", size=8, color=GREY, align="r")
        c.rule(LEFT, height - 47, width - 56)
        draw(c)
        c.put(width - 56, 30, str(number), size=8, color=GREY, align="r")
        c.showPage()
    c.save()


def heading(c: Paper, text: str, *, y: float = HEIGHT - 96) -> None:
    c.put(LEFT, y, text, font=BOLD, size=22, color=SEA)


def sections(c: Paper, y: float, text: str) -> float:
    """Paragraphs, `# ` before the heading that stands left of the next one; the baseline below."""
    for block in text.strip().split("\n\n"):
        if block.startswith("# "):
            for i, line in enumerate(simpleSplit(block[2:], BOLD, 10.5, COLUMN - LEFT - 18)):
                c.put(LEFT, y - 16 * i, line, font=BOLD, color=TEAL)
        else:
            y = c.paragraph(COLUMN, y, block, width=MEASURE) - 18
    return y


def turbine(c: Paper, x: float, y: float, height: float, *, turn: float, color: str) -> None:
    """Foot at (x, y), hub at `height`; turn: angle of the first blade in degrees."""
    w, length = height / 38, 0.48 * height
    c.polygon([(x - w, y), (x + w, y), (x + 0.45 * w, y + height), (x - 0.45 * w, y + height)], fill=color)
    outline = ((0, -0.4), (0.08, -0.75), (0.25, -0.9), (1, -0.1), (1, 0.1), (0, 0.5))  # along and across a blade
    for k in range(3):
        a = math.radians(turn + 120 * k)
        blade = [
            (u * length * math.cos(a) - v * w * math.sin(a), u * length * math.sin(a) + v * w * math.cos(a))
            for u, v in outline
        ]
        c.polygon([(x + dx, y + height + dy) for dx, dy in blade], fill=color)
    c.disc(x, y + height, 0.95 * w, fill=color)


def cover(c: Paper) -> None:
    horizon = 250.0
    c.block(0, 0, WIDTH, HEIGHT, fill="#f6f3ec")
    c.disc(391, horizon + 64, 40, fill="#f3d9ad")
    hills = ((0, 0), (0, 34), (70, 46), (150, 30), (255, 0))
    c.polygon([(x, horizon + y) for x, y in hills], fill="#cfdcdc")
    c.block(0, 0, WIDTH, horizon, fill=SEA)
    for i in range(6):  # swell
        y = horizon - 48 - i * 17
        wave = [(x, y + (2.2 + 0.3 * i) * math.sin(x / (26 + 4 * i) + 1.9 * i)) for x in range(0, 601, 5)]
        c.polyline(wave, color="#2a5875" if i % 2 else "#214f6c", width=1 + 0.12 * i)
    top = horizon + 9
    c.polygon([(40, horizon - 22), (58, top), (548, top), (566, horizon - 22)], fill=STONE)
    c.polygon([(49, horizon - 6), (58, top), (548, top), (557, horizon - 6)], fill="#a5afb2")
    for i, turn in enumerate((70, 50, 78, 44, 72, 65)):
        turbine(c, 86 + i * 87, top, 128 + 6 * i, turn=turn, color="#4d6f83")
    c.block(541, top, 5, 20, fill=AMBER)  # the lamp at the end of the breakwater
    c.disc(543.5, top + 23, 4, fill=AMBER)

    c.put(LEFT, HEIGHT - 132, "Harbour Wind", font=BOLD, size=42, color=SEA)
    c.put(LEFT, HEIGHT - 178, "Cooperative", font=BOLD, size=42, color=SEA)
    c.put(LEFT, HEIGHT - 216, "Annual report 2025", size=18, color=TEAL)
    owners = "Six turbines on the breakwater of Port Ellery, owned by 3,214 members"
    c.put(LEFT, 74, owners, size=11.5, color=WHITE)
    invented = "A sample document. The cooperative, the place and all figures are invented."
    c.put(LEFT, 52, invented, size=8.5, color="#b9cad4")


WHO_WE_ARE = """
# Origins

The cooperative was founded in 2008 in the old ice house on the fish quay, by forty households who had watched an
outside developer give up the breakwater as too small a site. They thought it just the right size.

# The turbines

They carry the names of birds of the mudflats, in alphabetical order from west to east along the breakwater: Avocet,
Bittern, Curlew, Dunlin, Eider and Fulmar. Each has a hub 85 metres above the quay and a rotor 82 metres across.
Together they deliver what 10,400 homes use in a year.

# Membership

Anyone who lives in the harbour district can join. A share costs 250 euros and nobody may hold more than forty of
them. Every member has one vote, whatever the number of shares: the family with a single share counts as much as the
shipyard with forty. In 2025 we welcomed 187 new members; 52 left, most of them because they moved away.

# How we decide

The general meeting is held every March in the sail loft. It elects a board of seven for three years and an audit
group of three for one. Whatever costs more than 150,000 euros goes to a ballot of all members, by post or in person.
In 2025 there was one such ballot: 81 per cent were in favour of buying a second set of blade lifting gear.

# Open doors

The viewing room in the foot of Curlew had 1,870 visitors, among them 41 school classes. Children who come on a calm
day are allowed to climb to the first platform. Two apprentices finished their training as wind technicians in June,
and both have stayed with us.
"""


def who_we_are(c: Paper) -> None:
    heading(c, "Who we are")
    top, step = HEIGHT - 190, (RIGHT - LEFT + 12) / 4
    for i, (figure, label) in enumerate(
        (
            (f"{TOTAL:,}", "megawatt hours delivered"),
            (f"{CAPACITY_FACTOR:.1%}", "capacity factor"),
            ("3,214", "members"),
            ("6", "turbines of 2.3 megawatts"),
        )
    ):
        x = LEFT + i * step
        c.block(x, top, step - 12, 66, fill=PALE, radius=4)
        c.put(x + 11, top + 34, figure, font=BOLD, size=20, color=SEA)
        c.put(x + 11, top + 15, label, size=8, color=GREY)
    sections(c, top - 48, WHO_WE_ARE)

    foot, metre = 86.0, 0.8  # of the drawing to scale
    for x, half, height, name in (
        (220, 4.5, 31, "Lighthouse"),
        (303, 14, 48, "Grain silo"),
        (392, 4, 62, "Cannery chimney"),
        (494, 0, 126, "Turbine"),
    ):
        top = foot + height * metre
        if half:
            c.polygon([(x - half - 2, foot), (x + half + 2, foot), (x + half, top), (x - half, top)], fill=MIST)
        else:
            turbine(c, x, foot, 85 * metre, turn=90, color=SEA)
        c.put(x, foot - 13, f"{name} {height} m", size=8, color=GREY, align="c")
    c.rule(COLUMN, foot, RIGHT, color=INK, width=0.8)
    c.caption(COLUMN, foot - 36, "Figure 1.", "The tallest things in the harbour, blade tips included")


ENERGY = """
# Why Bittern fell behind

Bittern stood still for 61 days. On 14 July its sensors reported a hum that rose from day to day. The inspection found
a cracked roller in the main bearing. The spare part lay ready in our store, but the only crane vessel on this coast
was busy elsewhere, and Bittern did not turn again until 13 September. The outage cost about 690 megawatt hours.

# Why Dunlin trails its neighbours

When the wind comes from the south-west, as it does on four days out of ten, Dunlin stands in the wake of the grain
silo. The building slows the air and stirs it up, and the turbine yields about a tenth less than the others. The silo
is to be pulled down in 2027.

# Why Fulmar leads

Fulmar stands at the open end of the breakwater. Nothing shelters it in any direction, and it has had the best result
of the six in every year so far.
"""


def energy(c: Paper) -> None:
    heading(c, "Energy by turbine and quarter")
    text = f"""The six turbines delivered {TOTAL:,} megawatt hours to the grid, measured at the meter in the substation.
        The first and the last quarter brought more than 60 per cent of it: here the wind blows in winter."""
    y = c.paragraph(LEFT, HEIGHT - 128, text, width=RIGHT - LEFT)
    c.caption(LEFT, y - 16, "Table 1.", "Electricity delivered in 2025, in megawatt hours")
    rows = [["Turbine", "Jan – Mar", "Apr – Jun", "Jul – Sep", "Oct – Dec", "Year"]]
    rows += [[name, *(f"{q:,}" for q in quarters), f"{sum(quarters):,}"] for name, quarters in QUARTERS.items()]
    rows += [["All", *(f"{sum(q):,}" for q in zip(*QUARTERS.values(), strict=True)), f"{TOTAL:,}"]]
    widths = [110.0] + [(RIGHT - LEFT - 110) / 5] * 5
    y = c.table(LEFT, y - 26, widths, rows, align="lrrrrr", size=10, pad=6.5, total=True, marked=(2, 3))
    sections(c, y - 42, ENERGY)


def axes(
    c: Paper, x: float, y: float, height: float, *, ticks: Sequence[int], unit: str, labels: Sequence[str]
) -> Callable[[float, float], Point]:
    """Grid lines and labels of a chart, its lower left corner at (x, y); where the i-th value lies."""
    low, high = ticks[0], ticks[-1]

    def at(i: float, value: float) -> Point:
        return x + (i + 0.5) * (RIGHT - x) / len(labels), y + (value - low) / (high - low) * height

    for tick in ticks:
        _, level = at(0, tick)
        c.rule(x, level, RIGHT, color=RULE if tick > low else INK, width=0.4 if tick > low else 0.8)
        c.put(x - 7, level - 3, str(tick), size=8, color=GREY, align="r")
    for i, label in enumerate(labels):
        c.put(at(i, low)[0], y - 13, label, size=8, color=GREY, align="c")
    c.put(x - 24, y + height + 13, unit, size=8, color=GREY)
    return at


def wind_and_output(c: Paper) -> None:
    heading(c, "Wind and output")
    x, y = LEFT + 24, HEIGHT - 338
    output = (37.9, 39.4, 41.2, 35.1, 38.6, 40.3, 38.9, TOTAL / 1000)
    years = [str(2018 + i) for i in range(8)]
    at = axes(c, x, y, 185, ticks=(0, 10, 20, 30, 40, 50), unit="Gigawatt hours", labels=years)
    for i, value in enumerate(output):
        middle, top = at(i, value)
        c.block(middle - 17, y, 34, top - y, fill=TEAL if i == 7 else MIST)
        c.put(middle, top - 12, f"{value:.1f}", size=8.5, color=WHITE if i == 7 else INK, align="c")
    c.rule(x, y, RIGHT, color=INK, width=0.8)
    c.caption(LEFT, y - 38, "Figure 2.", "Electricity delivered by all six turbines, year by year")

    y -= 262
    months = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
    this_year = (9.4, 9.8, 8.3, 7.4, 6.9, 6.5, 5.7, 5.4, 6.3, 7.7, 8.8, 9.6)
    usual = (9.1, 8.9, 8.6, 7.6, 7.0, 6.6, 6.4, 6.5, 7.3, 8.2, 8.7, 9.2)
    at = axes(c, x, y, 165, ticks=(4, 6, 8, 10), unit="Metres per second", labels=months)
    c.setDash(4, 3)
    c.polyline([at(i, value) for i, value in enumerate(usual)], color=GREY, width=1.3)
    c.setDash()
    c.polyline([at(i, value) for i, value in enumerate(this_year)], color=TEAL, width=2)
    for i, value in enumerate(this_year):
        c.disc(*at(i, value), 2.6, fill=WHITE, ring=TEAL)
    c.put(*at(8.05, 5.55), "2025", font=BOLD, size=9, color=TEAL)
    c.put(*at(7.65, 7.2), "mean of ten years", size=9, color=GREY, align="r")
    c.caption(LEFT, y - 38, "Figure 3.", "Mean wind speed at hub height, month by month")
    text = """
# A calm summer

February and December were livelier than usual, but from July to September an area of high pressure settled over the
coast and would not move. It was the calmest summer since our measurements began.
"""
    sections(c, y - 84, text)


CAPACITY = f"""
# The letters

E is the energy delivered in the year, in megawatt hours. P is the rated power of all turbines together, in megawatts.
T is the number of hours in the year: 8,760, or 8,784 in a leap year.

# Our year

Six turbines of 2.3 megawatts make 13.8 megawatts. At full power for 8,760 hours they would deliver {
    6 * FULL_POWER:,.0f} megawatt hours. We delivered {TOTAL:,}. The quotient is {CAPACITY_FACTOR:.3f}, or {
    100 * CAPACITY_FACTOR:.1f} per cent.

# What it does not say

A low value does not mean a poor machine. It says nothing about efficiency; it mixes the weather, the place, the
outages and the size of the generator. A turbine with a small generator under a large rotor has a high capacity factor
and may still earn less.
"""


def capacity(c: Paper) -> None:
    heading(c, "What the capacity factor tells")
    text = """
# In words

Imagine that all turbines ran at full power, day and night, from the first of January to the last of December. No wind
farm on earth does so, but it makes a good yardstick. The capacity factor is the share of this imagined amount which
was really delivered.
"""
    y = sections(c, HEIGHT - 140, text)
    c.block(COLUMN, y - 88, MEASURE, 96, fill=PALE, radius=4)
    middle, line, font = (COLUMN + RIGHT) / 2, y - 40, "Times-Italic"
    c.put(middle - 66, line - 6, "C", font=font, size=24)
    c.put(middle - 50, line - 11, "f", font=font, size=14)
    c.put(middle - 28, line - 6, "=", font="Times-Roman", size=24, align="c")
    c.put(middle + 27, line + 9, "E", font=font, size=24, align="c")
    c.rule(middle - 8, line, middle + 62, color=INK, width=1)
    c.put(middle + 27, line - 25, "P × T", font=font, size=24, align="c")
    y = sections(c, y - 120, CAPACITY)

    c.caption(COLUMN, y - 4, "Figure 4.", "Capacity factor of each turbine in 2025")
    left, right = COLUMN + 62, RIGHT - 40
    for i, (name, quarters) in enumerate(QUARTERS.items()):
        value, row = sum(quarters) / FULL_POWER, y - 30 - 19 * i
        c.put(COLUMN, row, name, size=9)
        c.rule(left, row + 3, right, width=0.5)
        c.disc(left + (value - 0.2) / 0.16 * (right - left), row + 3, 4, fill=AMBER if name == "Bittern" else TEAL)
        c.put(RIGHT, row, f"{value:.1%}", size=9, align="r")


MAINTENANCE = """
Date          | Turbine | Work                       | Standstill | Team          | Access | Needs         | Weather limit
9 – 11 March  | Avocet  | Yearly service             | 22 hours | 2 technicians   | Road | Service van     | Wind 14 m/s
12 March      | Avocet  | New lift cable in the tower | 8 hours | 2 technicians   | Road | Winch, 95 m of cable | None
23 – 25 March | Bittern | Yearly service             | 22 hours | 2 technicians   | Road | Service van     | Wind 14 m/s
7 – 18 April  | Curlew  | New floor in the viewing room | None  | Carpenter       | Road | Room closed to visitors | None
20 – 22 April | Curlew  | Yearly service             | 22 hours | 2 technicians   | Road | Service van     | Wind 14 m/s
4 – 15 May    | Dunlin  | Blade edges sanded and sealed | 96 hours | 3 rope climbers | Rope | Two dry days in a row | Wind 8 m/s, rain
18 – 20 May   | Dunlin  | Yearly service             | 22 hours | 2 technicians   | Road | Service van     | Wind 14 m/s
8 – 10 June   | Eider   | Exchange of the yaw motors | 40 hours | 4 technicians   | Crane vessel | Tide above 3.2 m | Waves 0.6 m
11 – 12 June  | Eider   | Yearly service             | 22 hours | 2 technicians   | Road | Service van     | Wind 14 m/s
15 – 19 June  | Fulmar  | New transformer            | 70 hours | 5 technicians   | Crane vessel | Tide above 3.2 m | Waves 0.6 m
22 – 24 June  | Fulmar  | Yearly service             | 22 hours | 2 technicians   | Road | Service van     | Wind 14 m/s
14 September  | Bittern | Bearing check, a year after the repair | 6 hours | 1 technician | Road | Endoscope, oil samples | None
3 October     | All     | Fire drill with the harbour brigade | 2 hours | Everyone | Road | Alarm test at noon | None
5 – 9 October | All     | Lightning receptors measured | 4 hours each | 1 technician | Rope | Drone, earth tester | Thunderstorm
"""  # noqa: E501


def maintenance(c: Paper) -> None:
    heading(c, "Maintenance schedule for 2026", y=WIDTH - 92)
    text = """The crane vessel has been booked for a fortnight in June, when the days are long and the sea is quiet.
        Eider and Fulmar share it, so that the journey is paid for only once."""
    width = HEIGHT - 2 * 56
    y = c.paragraph(LEFT, WIDTH - 118, text, width=width)
    widths = (80, 54, 174, 72, 88, 74, 110, width - 652)
    c.table(LEFT, y - 2, widths, cells(MAINTENANCE), align="llllllll", size=8.8, pad=6)


SITE = """
# Cable

The cable runs inside the breakwater, collects the current of all six turbines at 20 kilovolts and comes ashore at the
Ropewalk substation. It is 2.8 kilometres long.

# Nesting ground

Terns breed on the gravel bank north of Fulmar. From 1 April to 31 July nobody may land there, and drones stay on the
ground.

# Keep clear

Boats keep 150 metres away from the breakwater while the orange lamp at its end is lit: it means that work is being
done above the water.

# In an emergency

The assembly point is in front of the pilot house. The key to the gate hangs in the red box beside its door.
"""


def site_plan(c: Paper) -> None:
    heading(c, "Site plan", y=WIDTH - 92)
    x0, y0, x1, y1 = LEFT, 56.0, 566.0, WIDTH - 112  # the map

    def at(right: float, down: float) -> Point:
        return x0 + right, y1 - down

    c.saveState()
    frame = c.beginPath()
    frame.rect(x0, y0, x1 - x0, y1 - y0)
    c.clipPath(frame, stroke=0, fill=0)
    c.block(x0, y0, x1 - x0, y1 - y0, fill=WATER)
    for down in (30, 62):  # lines of equal depth
        line = [at(right, down + 12 * math.sin(right / 90 + down) - right / 14) for right in range(70, 516, 6)]
        c.polyline(line, color="#c9dbe3", width=0.8)
    west = ((0, 0), (58, 0), (70, 60), (62, 110), (66, 160), (84, 226), (104, 268), (150, 282), (210, 276))
    quay = ((216, 186), (290, 180), (300, 276), (392, 290), (430, 334), (510, 348), (510, 440), (0, 440))
    c.polygon([at(*p) for p in (*west, *quay)], fill=SAND)
    c.polygon([at(*p) for p in ((392, 40), (436, 24), (496, 36), (482, 56), (410, 58))], fill="#e4dcc0")
    for down, row in (
        (344, ((126, 26), (158, 18), (182, 30), (218, 22), (246, 28), (280, 20))),
        (368, ((134, 20), (160, 30), (238, 18), (262, 26), (294, 22))),
    ):
        for right, width in row:
            c.block(*at(right, down - right % 3 * 3), width, 14, fill="#e0d5bd")

    root, first, last = at(60, 160), at(112, 148), at(446, 118)  # the breakwater: on land, at Avocet, at Fulmar
    c.polyline([root, first, last, at(468, 119)], color=STONE, width=9)
    places = [(first[0] + (last[0] - first[0]) * i / 5, first[1] + (last[1] - first[1]) * i / 5) for i in range(6)]
    substation = at(50, 326)
    c.setDash(5, 3)
    c.polyline([last, first, root, at(44, 214), substation], color=AMBER, width=1.8)
    c.setDash(2, 4)
    c.polyline([at(512, 214), at(440, 232), at(396, 262)], color=SEA, width=1.2)
    c.setDash()
    c.block(*at(378, 292), 9, 26, fill="#9a7b52")
    c.block(*at(122, 306), 16, 11, fill="#9a7b52")
    c.disc(*at(250, 206), 10, fill="#9a7b52")
    c.disc(*at(468, 119), 3, fill=AMBER)
    c.block(substation[0] - 6, substation[1] - 6, 12, 12, fill=AMBER)
    c.restoreState()

    for i, ((x, y), name) in enumerate(zip(places, QUARTERS, strict=True)):
        turbine(c, x, y + 3, 34, turn=90 - 14 * i, color=SEA)
        c.put(x, y - 16, name, font=BOLD, size=8.5, color=SEA, align="c")
    for right, down, label, color in (
        (50, 346, "Ropewalk", INK),
        (50, 357, "substation", INK),
        (250, 230, "Grain silo", INK),
        (166, 304, "Pilot house", INK),
        (366, 306, "Ferry pier", INK),
        (444, 45, "Gravel bank", INK),
        (452, 214, "Ferry lane", SEA),
        (28, 262, "Cable", "#a9661a"),
    ):
        c.put(*at(right, down), label, size=8.5, color=color, align="c")
    for right, down, label in ((140, 222, "Harbour basin"), (212, 43, "Open sea"), (220, 391, "Port Ellery")):
        c.put(*at(right, down), label, font=SLANTED, size=9.5, color="#5f7f90", align="c")

    x, y = x1 - 24, y0 + 36  # north; and the scale: neighbouring turbines are 340 m apart
    c.polygon([(x, y + 26), (x - 6, y), (x, y + 6), (x + 6, y)], fill=INK)
    c.put(x, y + 30, "N", font=BOLD, size=9, align="c")
    length = 500 / 340 * math.dist(places[0], places[1])
    x, y = x1 - 64 - length, y0 + 16
    c.block(x, y, length, 3, fill=INK)
    c.block(x + length / 2, y + 0.6, length / 2 - 0.6, 1.8, fill=WHITE)
    c.put(x, y + 7, "0", size=7.5, align="c")
    c.put(x + length, y + 7, "500 m", size=7.5, align="c")

    y = y1 - 8
    for block in SITE.strip().split("\n\n"):
        if block.startswith("# "):
            c.put(588, y, block[2:], font=BOLD, color=TEAL)
            y -= 15
        else:
            y = c.paragraph(588, y, block, width=HEIGHT - 56 - 588, size=9.5, leading=13.5) - 12


FINANCE = {  # thousand euros
    "Sale of electricity": 3064,
    "Certificates of origin": 73,
    "Visitors and rents": 41,
    "Maintenance and repairs": -812,
    "Wages": -395,
    "Lease of the breakwater": -210,
    "Insurance": -148,
    "Depreciation": -905,
    "Interest": -141,
    "Taxes": -113,
}
RESULT = """
# Result

We sold our electricity at the fixed price of 84 euros per megawatt hour. After taxes 454,000 euros remain. The board
proposes a dividend of 4 per cent on the shares, 156,000 euros in all, and to put the rest aside for the day when the
turbines have to be renewed.
"""
DEBT = """
# Debt

Of the loan with which the turbines were built, 4.7 million euros are still owed to the bank. The interest rate of 3
per cent is fixed, and the last instalment falls due in 2031.
"""
RISKS = """
Risk | What it would mean | What we do about it
The fixed price for our electricity ends in June 2028 | Income would follow the market and could fall by a third | Talks with the tram company about a supply contract of ten years
Two calm years in a row | No dividend, and repayments at the limit | A reserve that covers eight months of repayments
Another failed bearing | Weeks without one turbine, about 700 megawatt hours | Sensors on all main bearings, and a share in a crane vessel
Storm damage to the breakwater | The road to the turbines could be cut for months | Yearly survey by divers together with the harbour office
"""  # noqa: E501


def finance(c: Paper) -> None:
    heading(c, "Finance and risks")
    y = sections(c, HEIGHT - 134, RESULT)
    rows = [["Thousand euros", "2025"]]
    rows += [[name, f"{value:,}".replace("-", "–")] for name, value in FINANCE.items()]
    rows += [["Result after taxes", f"{sum(FINANCE.values()):,}"]]
    y = c.table(COLUMN, y + 2, (MEASURE - 90, 90), rows, align="lr", size=9, pad=3.6, total=True)
    y = sections(c, y - 34, DEBT) - 2
    c.put(LEFT, y, "What could go wrong", font=BOLD, color=TEAL)
    span = RIGHT - LEFT
    c.table(LEFT, y - 12, (0.3 * span, 0.34 * span, 0.36 * span), cells(RISKS), align="lll", size=8.8, pad=5.5)


# -- two_column.pdf ----------------------------------------------------------------------------------------------------
#
# Reading order of a page: the running head; on the first page the title and the lead; a figure that spans both columns;
# the left column, the right column; the page number. A figure is read where it stands in its column, its labels line by
# line and then its caption. A word is what stands between white space, punctuation included; a word broken over a line
# end is one word without the hyphen, and a ligature is the letters it stands for.

SERIF, SERIF_BOLD, SERIF_ITALIC = "Serif", "Serif-Bold", "Serif-Italic"  # Times in the encoding that has ligatures
SIZE, LEADING = 10.8, 14.4
GUTTER = 20.0
COLUMN_WIDTH = (RIGHT - LEFT - GUTTER) / 2
TOP, BOTTOM = HEIGHT - 72, 60.0
TITLE = "How lichens measure the air of a city"
LEAD = (
    "They have no roots, no leaves and no hurry. Whoever learns to read the crusts and rosettes on street trees "
    "has an instrument that has been running for decades on every corner."
)
ARTICLE = """
On a wet morning the lime trees along Canal Street in Tarnbridge turn from grey to green. Nothing has sprouted
overnight. The colour comes from lichens, which swell and wake when they are damp, and which cover the bark so evenly
that most people take them for the bark itself. A class of children from the nearby school knows better. They stand
around a trunk with a hand lens and a frame of wire, and they are counting.

What they count is used by the city to judge its air. Tarnbridge has three automatic stations, which measure gases and
dust every hour, and it has 312 street trees, which are visited once in ten years. The stations answer the question of
how bad the air is today. The trees answer another one: what has it been like to breathe here?

# Two partners and no roots

A lichen is not a plant but a household. A fungus builds the house, and green algae or cyanobacteria live inside it
and make sugar from sunlight. The fungus gets food, and the algae get shelter from drought and glare. Together they
settle where neither could survive alone: on bare rock, on roof tiles, on the bark of trees.

The arrangement has its price. A leaf is sealed with wax, and it opens and closes its pores as it needs. A lichen has
neither wax nor pores. It drinks rain, fog and dew with its whole surface, and whatever is dissolved in the water
comes in too. It cannot drop a poisoned leaf in autumn and start afresh in spring, and since many species grow only a
few millimetres a year, what they have taken up stays with them for a long time.

The poison that mattered most in the industrial age was sulphur dioxide from burning coal. In water it turns into
acid, and it bleaches the green partner, which then starves the other. In the eighteen-sixties a naturalist noticed
that the trees of a park in Paris still carried lichens while those in the streets around it were bare, and he
proposed to read the missing species as a measure of the purity of the air. A century later whole regions were mapped
by this principle, and the centres of many towns appeared on the maps as lichen deserts.

# A slow tenant

How slow is slow? The grey crusts on the parapet of the canal bridge were photographed in 1998 with a coin beside
them. When the picture was taken again, twenty-four years later, the largest had gained less than the breadth of the
coin. Rosettes are in more of a hurry and may add half a centimetre a year. On gravestones, where the date is written
beside the lichen, one can read off the rate and use it to find the age of walls that bear no inscription.

Many lichens travel as crumbs. Rain, snails and the feet of birds break off grains in which both partners are packed
together, and the wind does the rest. A fungus that sends out spores of its own has to meet a new alga at the place
where it lands, and mostly it does not.

# A ladder on the bark

To turn green impressions into numbers one needs a rule that gives two observers the same result. The rule used in
Tarnbridge follows the European standard. The instrument is a ladder of wire, ten centimetres wide and fifty high,
divided into five equal squares (Figure 1). It is held against the trunk so that its lower edge is one metre above the
ground, on the north, east, south and west side in turn.

In every position the observers note each species and the number of squares in which it occurs, from one to five. The
size of a patch is of no account: a speck and a carpet count the same, as long as they lie in the square. The numbers
of all species are added up for each side of the trunk, and the sums of the four sides give the value of the tree. The
mean over all trees of a district is its diversity value. The higher it is, the better the air.

Choosing the trees takes more care than counting. They must stand upright and alone, so that rain and light reach them
from everywhere, and they must be of the same kind, because the sour bark of a birch and the mild bark of an ash have
different guests. Damaged, painted or whitewashed trunks are left out. Tarnbridge settled on limes, simply because it
has so many of them.

# From the market to the mill

Figure 2 shows the result of the last survey along a line of seven kilometres, from the market square to the old mill
in the woods. In the centre a tree reaches a value of 11 and carries hardly more than grey films and a few tough
rosettes. At the ring road the number has doubled. In the allotments there are leafy species which curl up their edges
like dry paper, and at the mill, with a value of 46, the first beard lichens hang from the twigs, as long as a hand
and as fine as hair.

The line is not smooth, though. Behind the ring road there is a dip which no station had recorded, because none stands
there. The trees around the bus depot carried less than half of what was expected. The engines used to idle through
the night before the first tour; since the survey they are started by a timer, ten minutes before they leave.

# The return, and a new guest

The survey has been repeated four times since 1981, and Figure 3 tells two stories. The first is the one everybody
hoped for. When the gasworks closed and the stoves of the city changed from coal to gas, sulphur disappeared from the
air within a few years, but the lichens took their time. Their spores had to travel in from the countryside, and the
bark had to lose its acid. Only ten years after the chimneys had gone cold did the number of species begin to rise.

The second story is less cheerful. In the last decade the line has been flattening, and the list of species has
changed its colour. Bright yellow and blue-grey rosettes which love fertiliser have spread from the trees around
farmyards into the middle of the city. They live well on ammonia and on nitrogen oxides, which come from stables and
from the exhaust of cars, while species that prefer lean food are retreating. A high number is therefore no longer a
proof of clean air; one has to ask which species they are. The surveyors now keep two accounts, one for the lovers of
nitrogen and one for all others.

# Tubes and trees

The two ways of measuring were put side by side in 2019, when small glass tubes that soak up nitrogen dioxide hung for
a year beside forty of the limes. In most streets the tubes and the trees agreed: the more gas in the tube, the fewer
tufts and beards on the bark. In five places they did not. Three of these trees stood beside a fountain whose spray
kept them moist, one had been scrubbed every spring by a careful shopkeeper, and for the last one nobody has found a
reason.

# From a map to a decision

The last survey took eleven weekends and 64 volunteers. Each tree was counted twice, by pairs who did not know of each
other, and where their results differed by more than three a third pair was sent. All of it cost the city 4,800 euros,
most of which was spent on lenses, wire and soup.

The worst weather was the best. In rain the bark turns dark, the lichens turn green, and a speck which would be missed
on a dry day shines from the other side of the street.

The map now hangs in the library, and the council has used it three times: to move a bus stop away from the door of a
nursery, to choose the quieter side of a park for a playground, and to plant a hedge along the northern bypass.

# What a lichen cannot say

No living instrument is perfect. A lichen does not name the gas that troubles it, and it cannot tell a bad week from a
bad month. Drought harms it as much as dirt: after two hot summers the south sides of many trunks in Tarnbridge were
empty, although the air had not changed. The warmth of the city itself drives out species that need fog, and brings in
others from further south.

Nor is it quick. A station raises the alarm within an hour, and a tree needs years to answer. But it answers for every
street and not for three points on a map, it requires neither current nor calibration, and it adds up all that the air
has carried, including what nobody thought of measuring. Where a school or a hospital is to be built, the slow answer
is often the better one.

# Five shapes

Nobody has to know all the names. Five shapes tell most of the story (Figure 4). Films look as if the bark had been
dusted with green flour; they bear the foulest air. Crusts have grown into the bark and cannot be lifted with a
fingernail. Rosettes consist of lobes that come free at the edge. Tufts stand up like tiny bushes, and beards hang
down from the twigs. These two have so much surface for their weight that they are the first to go when the air is
bad, and the last to return.

# Try it in your own street

You need a hand lens that magnifies ten times, a ruler, a notebook, and an afternoon after rain.

1. Choose five trees of the same kind, free and upright, each as thick as a dinner plate or thicker.

2. Hold a frame of ten by fifty centimetres against the bark, one metre above the ground, on all four sides.

3. Do not try to name the species. Tell them apart by their shape: films, crusts, rosettes, tufts and beards.

4. Count for every kind the squares in which it occurs, and add up.

5. Note separately what is bright yellow. Much yellow and little else points to nitrogen.

6. Come back in five years. Leave everything as it was, and scratch nothing off.

> The children in Canal Street arrive at a value of 22, three more than their parents found in the same place. Is that
good, they want to know. It is, says the teacher; but the tree will have to be asked again.

* A sample article. The city, its survey and all its numbers are invented; what is said about lichens in general is
true.
"""

# Where words may be broken at the end of a line. A word with a hyphen of its own is never broken.
HYPHENATED = """
ac-count ac-counts af-ter-noon al-lot-ments al-though am-mo-nia an-other an-swer an-swers ap-peared ar-range-ment
au-to-mat-ic au-tumn be-cause be-fore be-hind bet-ter bleach-es burn-ing cal-i-bra-tion car-pet car-ried car-ries
centi-metre centi-metres cen-tury cheer-ful chil-dren choos-ing con-sist coun-cil count-ing coun-try-side cur-rent
cy-ano-bac-teria dam-aged dec-ade des-erts dif-fered dif-fer-ent di-ox-ide dis-ap-peared dis-solved dis-trict
di-ver-sity di-vided en-gines euro-pean every-body every-thing every-where ex-haust ex-pected farm-yards fer-til-iser
finger-nail flat-ten-ing fol-lows foun-tain fun-gus fur-ther gas-works grave-stones hos-pital house-hold im-pres-sions
in-clud-ing in-dus-trial in-scrip-tion in-stru-ment it-self kilo-metres lad-der larg-est li-brary li-chen li-chens
liv-ing mag-ni-fies mar-ket mat-tered meas-ure meas-ur-ing mid-dle milli-metres min-utes miss-ing morn-ing
nat-ural-ist near-by nei-ther ni-tro-gen north-ern note-book noth-ing no-ticed num-ber num-bers nurs-ery ob-serv-ers
over-night ox-ides paint-ed par-ents part-ner peo-ple per-fect photo-graphed play-ground poi-son poi-soned posi-tion
pre-fer prin-ciple pro-posed pur-ity ques-tion quiet-er re-corded re-gions re-peated re-quires re-sult re-treat-ing
ros-ettes sec-ond sep-ar-ately set-tled shel-ter shop-keeper sim-ply spe-cies sprout-ed stand-ard sta-tion sta-tions
stor-ies sul-phur sum-mers sun-light sur-face sur-vey sur-vey-ors sur-vive teach-er there-fore to-gether trav-el
trou-bles up-right vis-ited volun-teers week-ends what-ever white-washed with-in writ-ten yel-low
"""
HYPHENS = {word.replace("-", ""): word.split("-") for word in HYPHENATED.split()}


@dataclass(frozen=True)
class Line:
    """A line of a column, and the words that begin on it."""

    text: str
    words: tuple[str, ...]
    font: str = SERIF
    size: float = SIZE
    above: int = 0  # empty lines above it, dropped at the top of a column
    keep: int = 1  # so many lines, from this one on, stay in one column
    indent: float = 0
    mark: str = ""  # stands before the indent
    justified: bool = False


@dataclass(frozen=True)
class Figure:
    """`draw(c, label, x, y)` draws below y, and what is written in it through `label(x, y, text, align)`."""

    lines: int  # its height, caption included, in lines of text
    draw: Callable[[Paper, Callable[..., None], float, float], None]
    caption: str


def with_ligatures(text: str) -> str:
    return text.replace("fi", "\ufb01").replace("fl", "\ufb02")


def width_of(text: str, font: str, size: float) -> float:
    return pdfmetrics.stringWidth(with_ligatures(text), font, size)


def split_word(word: str) -> list[str]:
    """The parts between which it may be broken; punctuation stays with the part it touches."""
    core = word.strip("(),.;:?!")
    start, parts = word.index(core), HYPHENS.get(core.lower(), [core])
    cuts = [start + sum(map(len, parts[:i])) for i in range(1, len(parts))]
    return [word[a:b] for a, b in zip([0, *cuts], [*cuts, len(word)], strict=True)]


def break_lines(text: str, width: float, *, font: str = SERIF, size: float = SIZE, indent: float = 0) -> list[Line]:
    """The lines with the least sum of squared stretches, a broken word costing extra. indent: of the first line."""
    words = text.split()
    parts = [(part, k) for k, word in enumerate(words) for part in split_word(word)]
    ends = [i + 1 == len(parts) or parts[i + 1][1] != k for i, (_, k) in enumerate(parts)]  # a whole word ends here
    widths = [width_of(part, font, size) for part, _ in parts]
    space, hyphen = width_of(" ", font, size), width_of("-", font, size)
    cost, back = [0.0] + [math.inf] * len(parts), [0] * (len(parts) + 1)
    for end in range(1, len(parts) + 1):
        length, gaps = 0.0 if ends[end - 1] else hyphen, 0
        for start in range(end - 1, -1, -1):
            gap = start < end - 1 and ends[start]
            length += widths[start] + gap * space + (indent if start == 0 else 0)
            gaps += gap
            stretch = (width - length) / max(gaps, 1) / space
            if stretch < -0.22:
                break
            price = 0.0 if end == len(parts) and stretch >= 0 else 1 + 100 * stretch**2
            price += 0 if ends[end - 1] else 30
            if cost[start] + price < cost[end]:
                cost[end], back[end] = cost[start] + price, start
    lines: list[Line] = []
    end = len(parts)
    while end:
        start = back[end]
        shown = "".join(part + " " * ends[i] for i, (part, _) in enumerate(parts[start:end], start)).rstrip()
        begun = parts[start][1] + (start > 0 and not ends[start - 1])  # not a word that began on the line before
        lines.append(
            Line(
                shown if ends[end - 1] else shown + "-",
                tuple(words[begun : parts[end - 1][1] + 1]),
                font=font,
                size=size,
                indent=0 if start else indent,
                justified=end < len(parts) or cost[end] > cost[start],  # the last one only if it must be pressed
            )
        )
        end = start
    lines.reverse()
    for i in {0, len(lines) - 2} if len(lines) > 2 else ():  # no single line at either end of a column
        lines[i] = replace(lines[i], keep=2)
    return lines


def body() -> list[Line]:
    """The running text: `# ` before a heading, `1. ` before an item, `> ` after a space, `* ` in italics."""
    out: list[Line] = []
    indent = 0
    for block in ARTICLE.strip().split("\n\n"):
        first, rest = block.split(maxsplit=1)
        if first == "#":
            out.append(Line(rest, tuple(rest.split()), font=SERIF_BOLD, size=12.5, above=1, keep=3))
        elif first in (">", "*"):
            font, size = (SERIF, SIZE) if first == ">" else (SERIF_ITALIC, 9.5)
            head, *others = break_lines(rest, COLUMN_WIDTH, font=font, size=size)
            out += [replace(head, above=1), *others]
        elif first[0].isdigit():
            head, *others = break_lines(rest, COLUMN_WIDTH - 16)
            out += [replace(head, mark=first, words=(first, *head.words), indent=16)]
            out += [replace(line, indent=16) for line in others]
        else:
            out += break_lines(block, COLUMN_WIDTH, indent=indent)
        indent = 0 if first == "#" else 12
    return out


def rosette(c: Paper, x: float, y: float, radius: float, color: str, *, lobes: int) -> None:
    angles = [math.tau * i / 72 for i in range(72)]
    edge = [radius * (1 + 0.13 * math.cos(lobes * a) + 0.07 * math.cos(3 * a + x)) for a in angles]
    c.polygon([(x + r * math.cos(a), y + r * math.sin(a)) for a, r in zip(angles, edge, strict=True)], fill=color)


def ladder_figure(c: Paper, label: Callable[..., None], x: float, y: float) -> None:
    left, right, foot, top = x + 18, x + 110, y - 202, y
    flare = ((left, foot + 14), (left - 8, foot), (right + 8, foot), (right, foot + 14))
    c.polygon([(left, top), *flare, (right, top)], fill=BARK)
    for i in range(7):  # furrows
        furrow = [(left + 9 + 12.5 * i + 2.5 * math.sin(h / 14 + 2 * i), foot + h) for h in range(4, 202, 6)]
        c.polyline(furrow, color="#6a5a49", width=1.1)
    random = np.random.RandomState(4)
    for _ in range(46):
        at = random.uniform(left + 8, right - 8), random.uniform(foot + 24, top - 8)
        color = ("#a9b8a0", "#c9cfb4", "#d7b64c", SAGE)[random.randint(4)]
        rosette(c, *at, random.uniform(2.5, 6.5), color, lobes=random.randint(5, 9))
    x0, y0, cell = (left + right) / 2 - 11, foot + 74, 22.0
    c.setStrokeColor(HexColor(WHITE))
    c.setLineWidth(1.6)
    for i in range(5):
        c.rect(x0, y0 + i * cell, cell, cell, fill=0, stroke=1)
    c.rule(x, foot, x + COLUMN_WIDTH, color=INK, width=0.8)
    for squares, text in ((4.5, "north side"), (2.5, "five squares of 10 cm"), (0, "1 m above the ground")):
        c.rule(x0 + cell, y0 + squares * cell, x + 126, color=INK, width=0.5)
        label(x + 130, y0 + squares * cell - 3, text)


def transect_figure(c: Paper, label: Callable[..., None], x: float, y: float) -> None:
    ground, wall, roof = y - 128, "#b9bfc2", "#98a1a6"
    random = np.random.RandomState(11)
    for i in range(28):  # houses, lower towards the fields
        height = (62 - 2.1 * i) * random.uniform(0.55, 1)
        if height > 7 and i < 21:
            c.block(x + 4 + 9.4 * i, ground, 8.6, height, fill=wall if i % 2 else roof)
    c.block(x + 206, ground, 56, 17, fill=roof)  # the depot
    for i in range(4):
        c.polygon(
            [(x + 206 + 14 * i, ground + 17), (x + 220 + 14 * i, ground + 17), (x + 220 + 14 * i, ground + 24)],
            fill=roof,
        )
    for i in range(34):  # trees
        left, height = x + 292 + 5.6 * i, 9 + 0.9 * i * random.uniform(0.75, 1.1)
        c.block(left - 0.6, ground, 1.2, 0.5 * height, fill=BARK)
        c.setFillColor(HexColor(SAGE if i % 2 else LEAF))
        c.ellipse(left - 4.2, ground + 0.35 * height, left + 4.2, ground + height, fill=1, stroke=0)
    c.rule(x, ground, RIGHT, color=INK, width=0.8)
    values = {"Market square": 11, "Ring road": 24, "Bus depot": 13, "Allotments": 31, "Old mill": 46}
    points = [(x + (RIGHT - x) * (i + 0.5) / 5, ground + 34 + 1.9 * value) for i, value in enumerate(values.values())]
    c.polyline(points, color=LICHEN, width=1.8)
    for point, (name, value) in zip(points, values.items(), strict=True):
        c.disc(*point, 3.2, fill=WHITE, ring=LICHEN)
        label(point[0], ground - 12, f"{name}: {value}", "c")


def return_figure(c: Paper, label: Callable[..., None], x: float, y: float) -> None:
    left, right, foot, unit = x + 20, x + COLUMN_WIDTH - 4, y - 128, 10.4
    label(x, y - 8, "Species on a tree")
    for tick in (10, 5, 0):
        c.rule(left, foot + tick * unit, right, color=RULE if tick else INK, width=0.5)
        label(left - 5, foot + tick * unit - 3, str(tick), "r")
    species = {1981: 2.1, 1991: 2.4, 2001: 5.8, 2011: 8.6, 2021: 9.1}
    points = [(left + (right - left) * (i + 0.5) / 5, foot + n * unit) for i, n in enumerate(species.values())]
    c.polyline(points, color=LEAF, width=1.8)
    for point, year in zip(points, species, strict=True):
        c.disc(*point, 3, fill=LEAF)
        label(point[0], foot - 13, str(year), "c")


def shapes_figure(c: Paper, label: Callable[..., None], x: float, y: float) -> None:
    side = 44.0
    random = np.random.RandomState(2)
    for i, name in enumerate(("film", "crust", "rosette", "tuft", "beard")):
        left, foot = x + i * (COLUMN_WIDTH - side) / 4, y - side
        cx, cy = left + side / 2, foot + side / 2
        c.block(left, foot, side, side, fill="#d9cfc0", radius=3)
        if name == "film":
            for dx, dy in random.normal(0, 7, (260, 2)).clip(-18, 18):
                c.disc(cx + dx, cy + dy, 0.8, fill="#7f9c79")
        elif name == "crust":
            rosette(c, cx, cy, 14.5, "#a9b8a0", lobes=4)
            for dx, dy in random.uniform(-8, 8, (13, 2)):
                c.disc(cx + dx, cy + dy, 1.2, fill="#5f5140")
        elif name == "rosette":
            for ring, lobes in ((13.5, 13), (9, 9), (4.5, 6)):
                for k in range(lobes):
                    a = math.tau * (k + random.uniform(-0.2, 0.2)) / lobes
                    r = ring * random.uniform(0.9, 1.12)
                    color = (LICHEN, "#d9b356", "#b88a20")[k % 3]
                    c.disc(cx + r * math.cos(a), cy + r * math.sin(a), 3.6, fill=color)
        else:  # thin stems, upwards or downwards
            root, up, spread, length = (foot + 2, 1, 1.5, 28) if name == "tuft" else (foot + side - 2, -1, 0.7, 38)
            for k in range(-8, 9):
                reach = up * length * random.uniform(0.7, 1)
                stem = [
                    (cx + k * (0.5 + spread * t**1.4) + math.sin(6 * t + k), root + reach * t)
                    for t in (j / 8 for j in range(9))
                ]
                c.polyline(stem, color=LEAF if k % 2 else SAGE, width=1)
        label(cx, foot - 12, name, "c")


FIGURE_1 = Figure(
    17, ladder_figure, "Figure 1. The ladder on the trunk. Each kind counts once in every square it reaches."
)
FIGURE_2 = Figure(12, transect_figure, "Figure 2. Diversity value of the trees on a line from the centre to the woods.")
FIGURE_3 = Figure(12, return_figure, "Figure 3. Mean number of species, 1981 to 2021.")
FIGURE_4 = Figure(6, shapes_figure, "Figure 4. Five shapes are enough for a beginner.")
FIGURES = ((None, None, FIGURE_1), (FIGURE_2, None, None), (None, FIGURE_3, FIGURE_4))  # a page: spanning, left, right


def typeset(target: Path | io.BytesIO) -> list[list[str]]:
    """Write the article; its words in reading order, page by page."""
    for name, base in ((SERIF, "Times-Roman"), (SERIF_BOLD, "Times-Bold"), (SERIF_ITALIC, "Times-Italic")):
        pdfmetrics.registerFont(pdfmetrics.Font(name, base, "StandardEncoding"))
    c = Paper(target, title=TITLE, subject="A sample article; the city and its survey are invented")
    flow, pages = body(), []

    def say(x: float, y: float, text: str, align: str = "l", *, font: str, size: float, color: str = INK) -> None:
        c.put(x, y, with_ligatures(text), font=font, size=size, color=color, align=align)
        pages[-1].extend(text.split())

    def place(figure: Figure, x: float, y: float, width: float) -> float:
        """Draw it below y; the y below it."""
        labels: list[tuple[int, float, str]] = []

        def label(at: float, level: float, text: str, align: str = "l") -> None:
            c.put(at, level, with_ligatures(text), font=SERIF, size=9, align=align)
            labels.append((-round(level), at, text))

        figure.draw(c, label, x, y)
        pages[-1].extend(word for *_, text in sorted(labels) for word in text.split())
        lines, y = simpleSplit(figure.caption, SERIF_ITALIC, 9.5, width), y - figure.lines * LEADING
        for i, line in enumerate(lines, start=1):
            say(x, y + 0.9 * LEADING + 12 * (len(lines) - i), line, font=SERIF_ITALIC, size=9.5, color=GREY)
        return y

    def fill(x: float, y: float) -> None:
        """Put lines from y to the bottom of the column."""
        top = y
        while flow:
            below = y - LEADING * (1 + (flow[0].above if y < top else 0))
            if below - LEADING * (flow[0].keep - 1) < BOTTOM:
                break
            y, line = below, flow.pop(0)
            c.put(x, y, line.mark, font=SERIF, size=line.size)
            shown = c.beginText(x + line.indent, y)
            shown.setFont(line.font, line.size)
            shown.setFillColor(HexColor(LEAF if line.font == SERIF_BOLD else INK))
            slack = COLUMN_WIDTH - line.indent - width_of(line.text, line.font, line.size)
            shown.setWordSpace(slack / max(1, line.text.count(" ")) if line.justified else 0)
            shown.textOut(with_ligatures(line.text))
            shown.setWordSpace(0)
            c.drawText(shown)
            pages[-1].extend(line.words)
        assert not line.text.endswith("-"), f"broken over the end of a column: {line.text}"

    for number, (spanning, *in_columns) in enumerate(FIGURES, start=1):
        pages.append([])
        y = TOP
        say(LEFT, HEIGHT - 44, "Field notes", font=SERIF_ITALIC, size=9.5, color=GREY)
        say(RIGHT, HEIGHT - 44, "Air and bark", "r", font=SERIF_ITALIC, size=9.5, color=GREY)
        c.rule(LEFT, HEIGHT - 51, RIGHT)
        if number == 1:
            say(LEFT, y - 22, TITLE, font=SERIF_BOLD, size=27, color=LEAF)
            for i, line in enumerate(simpleSplit(LEAD, SERIF_ITALIC, 12.5, RIGHT - LEFT)):
                say(LEFT, y - 48 - 16 * i, line, font=SERIF_ITALIC, size=12.5)
            y -= 6 * LEADING
        if spanning:
            y = place(spanning, LEFT, y, RIGHT - LEFT)
        for x, figure in zip((LEFT, RIGHT - COLUMN_WIDTH), in_columns, strict=True):
            fill(x, place(figure, x, y, COLUMN_WIDTH) if figure else y)
        say(WIDTH / 2, 34, str(number), "c", font=SERIF, size=9.5, color=GREY)
        c.showPage()
    assert not flow, f"{len(flow)} lines do not fit"
    c.save()
    return pages


def two_column(path: Path) -> None:
    typeset(path)


def two_column_words() -> list[list[str]]:
    """The words of two_column.pdf, page by page, in the reading order stated above."""
    return typeset(io.BytesIO())


# -- scan.pdf ----------------------------------------------------------------------------------------------------------

DPI = 130
EMPTY = 246  # grey of the paper
# A hand: strokes through points of a grid four units wide and, from the line to the top of a capital, eight high.
HAND = {
    "0": ["27 06 02 11 30 42 46 37 27"],
    "1": ["06 28 20"],
    "2": ["06 18 37 35 00 40"],
    "3": ["07 28 37 36 14 33 42 30 10 01"],
    "4": ["28 03 43", "35 30"],
    "5": ["48 18 04 25 43 41 20 01"],
    "6": ["38 15 02 10 30 42 34 13"],
    "7": ["08 48 10", "14 34"],
    "8": ["37 18 06 24 42 30 10 02 24 46 37"],
    "9": ["46 28 06 14 35 46 30"],
    ".": ["10 11"],
    "-": ["03 33"],
    "A": ["00 28 40", "13 33"],
    "C": ["47 28 06 02 10 41"],
    "K": ["00 08", "48 04 40"],
    "O": ["27 06 02 20 42 46 27"],
    "S": ["47 28 06 24 42 20 01"],
    "a": ["44 24 02 10 30 43", "44 41 50"],
    "c": ["34 14 02 10 30"],
    "e": ["02 32 34 14 02 10 30"],
    "i": ["14 11 20", "16 17"],
    "k": ["08 00", "34 02 30"],
    "l": ["08 01 10"],
    "m": ["04 00", "02 14 20", "22 34 40"],
    "n": ["04 00", "02 24 33 30"],
    "o": ["24 03 10 30 42 34 14"],
    "p": ["04 0-3", "03 24 42 30 01"],
    "r": ["04 00", "02 14 34"],
    "t": ["17 11 20", "05 35"],
    "w": ["04 10 23 30 44"],
    "y": ["04 12 32", "34 31 1-2 0-2"],
}


class Sheet:
    """A page to print and write on, in points from the top left, drawn twice as fine as it is scanned."""

    scale = 2 * DPI / 72

    def __init__(self, seed: int) -> None:
        self.image = Image.new("L", (round(WIDTH * self.scale), round(HEIGHT * self.scale)), EMPTY)
        self.draw = ImageDraw.Draw(self.image)
        self.random = np.random.RandomState(seed)

    def face(self, size: float, *, bold: bool = False) -> ImageFont.FreeTypeFont:
        path = Path(reportlab.__file__).parent / "fonts" / ("VeraBd.ttf" if bold else "Vera.ttf")
        return ImageFont.truetype(str(path), size * self.scale, layout_engine=ImageFont.Layout.BASIC)

    def print(
        self, x: float, y: float, text: str, *, size: float = 10, bold: bool = False, ink: int = 45, anchor: str = "ls"
    ) -> None:
        at = (x * self.scale, y * self.scale)
        self.draw.text(at, text, fill=ink, font=self.face(size, bold=bold), anchor=anchor)

    def paragraph(self, x: float, y: float, text: str, *, width: float) -> float:
        """Wrapped lines, the first baseline at y; the baseline of the next paragraph."""
        face, lines = self.face(10), [""]
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            if face.getlength(longer) > width * self.scale:
                lines.append(word)
            else:
                lines[-1] = longer
        for i, line in enumerate(lines):
            self.print(x, y + 15.5 * i, line)
        return y + 15.5 * len(lines) + 8

    def stroke(self, points: Sequence[Point], *, width: float) -> None:
        pixels = [(x * self.scale, y * self.scale) for x, y in points]
        self.draw.line(pixels, fill=60, width=round(width * self.scale), joint="curve")

    def box(self, x: float, y: float, width: float, height: float, *, fill: int | None = None) -> None:
        corners = (x * self.scale, y * self.scale, (x + width) * self.scale, (y + height) * self.scale)
        self.draw.rectangle(corners, outline=90, fill=fill, width=2)

    def pen(self, points: Sequence[Point], *, width: float = 1.2) -> None:
        """A smooth stroke through the points (a Catmull-Rom spline), by a slightly unsteady hand."""
        p = np.array([points[0], *points, points[-1]])
        p = p + self.random.normal(0, 0.18, p.shape)
        t = np.linspace(0, 1, 8)[:, None]
        path = [
            0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
            for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True)
        ]
        dots, r = np.concatenate(path) * self.scale, width / 2 * self.scale
        self.draw.line(dots.ravel().tolist(), fill=70, width=round(2 * r))
        for x, y in dots:  # round ends and joints
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=70)

    def write(self, x: float, y: float, text: str, *, size: float = 1.55) -> None:
        """Handwriting; size: points a unit of HAND."""
        for letter in text:
            if letter == " ":
                x += 3.2 * size
                continue
            strokes = [[(int(point[0]), int(point[1:])) for point in stroke.split()] for stroke in HAND[letter]]
            lift = self.random.normal(0, 0.35)
            for stroke in strokes:
                self.pen([(x + size * (u + 0.16 * v), y - size * v + lift) for u, v in stroke])
            x += size * (1.5 + max(u for stroke in strokes for u, _ in stroke))

    def tick(self, x: float, y: float, *, ticked: bool = True) -> None:
        self.box(x, y, 12, 12)
        if ticked:
            self.pen([(x + 1, y + 4), (x + 5, y + 11), (x + 15, y - 6)], width=1.5)

    def sign(self, x: float, y: float) -> None:
        """A signature nobody can read."""
        wave = [(x + 5.2 * i + 3 * math.sin(1.7 * i), y - 7 - (16 - 0.9 * i) * math.sin(2.3 * i)) for i in range(15)]
        self.pen([*wave, (x + 96, y - 4), (x + 20, y + 4)], width=1.3)

    def stamp(self, x: float, y: float, *lines: tuple[str, float, float]) -> None:
        """A crooked stamp of 136 x 44 points; lines: text, size, baseline."""
        mark = Image.new("L", (round(136 * self.scale), round(44 * self.scale)), 0)
        draw = ImageDraw.Draw(mark)
        draw.rectangle((8, 8, mark.width - 9, mark.height - 9), outline=150, width=7)
        for text, size, down in lines:
            at = (mark.width / 2, down * self.scale)
            draw.text(at, text, fill=150, font=self.face(size, bold=True), anchor="ms")
        mark = mark.rotate(6, Image.Resampling.BICUBIC, expand=True)
        self.image.paste(70, (round(x * self.scale), round(y * self.scale)), mark)

    def scanned(self, angle: float) -> bytes:
        """JPEG of the page as a scanner sees it: turned by `angle` degrees, unevenly lit, noisy, dusty."""
        turned = self.image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=EMPTY)
        small = turned.resize((round(WIDTH * DPI / 72), round(HEIGHT * DPI / 72)), Image.Resampling.BOX)
        grey = np.asarray(small.filter(ImageFilter.GaussianBlur(0.45)), dtype=float)
        rows, cols = grey.shape
        down, across = np.linspace(0, 1, rows)[:, None], np.linspace(0, 1, cols)[None]
        shadow = 0.05 * across**2 + 0.04 * down
        shadow = shadow + 0.22 * np.maximum(0, 1 - 16 * across) ** 3 + 0.12 * np.maximum(0, 22 * down - 21) ** 3
        shadow = shadow + 0.02 * np.maximum(0, 1 - np.abs(down - 0.335) * 320)  # a fold
        noise = self.random.randint(-2, 3, (3, rows, cols)).sum(axis=0)
        grey = grey * (1 - shadow) + noise
        for _ in range(26):  # dust
            r, c = self.random.randint(rows - 2), self.random.randint(cols - 2)
            grey[r : r + 2, c : c + 2] -= self.random.randint(30, 110)
        out = io.BytesIO()
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=50)
        return out.getvalue()


LETTER = """
Dear harbour office,

We enclose the application for a winter berth for the yawl Kittiwake, from the middle of October to the middle of
April. She lay at pontoon C last winter and would like to return there.

Three things have changed since then. Her keel was rebuilt, and she now draws 1.4 metres instead of 1.2. The diesel
engine has given way to an electric one, whose batteries must be kept warm in frost; for this we need a socket of 16
amperes. And we should be glad of a place away from the fish lorries, because their cooling units hum all night and
the apprentices who sleep on board have complained.

The deposit of 120 euros was paid on 28 August. If pontoon C is full, please put us on the waiting list and let us
know by 1 October, as the crane that lifts her out has to be ordered two weeks ahead.

With kind regards
"""


def letter() -> bytes:
    sheet, left, right = Sheet(3), 76.0, WIDTH - 76
    sheet.print(left, 84, "Saltmarsh Boat Shed", size=18, bold=True)
    sheet.print(left, 101, "Slipway 3, Port Ellery", size=9)
    for line in (
        ((0, -8), (8, 0), (44, 0), (54, -10), (0, -8)),
        ((26, -9), (26, -46)),
        ((29, -44), (29, -14), (50, -14), (29, -44)),
        ((23, -38), (23, -14), (6, -14), (23, -38)),
    ):  # a boat
        sheet.stroke([(right - 54 + x, 96 + y) for x, y in line], width=1.2)
    sheet.stroke([(left, 114), (right, 114)], width=0.7)
    for i, text in enumerate(("Harbour Office", "Berths and slipways", "Customs Quay 1", "Port Ellery")):
        sheet.print(left, 156 + 15 * i, text)
    sheet.stamp(372, 146, ("RECEIVED", 15, 19), ("4 September 2025", 9, 34))
    sheet.print(right, 240, "2 September 2025", anchor="rs")
    sheet.print(left, 278, "Winter berth for the yawl Kittiwake", size=10.5, bold=True)
    y = 308.0
    for text in LETTER.strip().split("\n\n"):
        y = sheet.paragraph(left, y, text, width=right - left)
    sheet.sign(left + 6, y + 32)
    sheet.print(left, y + 58, "Saltmarsh Boat Shed")
    sheet.print(left, y + 98, "Enclosed: form W4", size=9)
    return sheet.scanned(0.7)


FEES = """
Item                       | Rate  | Quantity | Amount
Berth, per metre of length | 31.50 | 8.4      | 264.60
Electricity, flat rate     | 85.00 | 1        | 85.00
Crane, each lift           | 60.00 | 2        | 120.00
Drinking water, flat rate  | 25.00 | -        | -
Sum                        |       |          | 469.60
Deposit paid               |       |          | 120.00
Still to be paid           |       |          | 349.60
"""


def form() -> bytes:
    sheet, left, width = Sheet(5), 62.0, WIDTH - 2 * 62
    half, third = width / 2, width / 3

    def entry(x: float, y: float, width: float, name: str, value: str) -> None:
        sheet.box(x, y, width, 38)
        sheet.print(x + 6, y + 11, name, size=7, ink=80)
        sheet.write(x + 9, y + 31, value)

    sheet.print(left, 78, "Harbour Office of Port Ellery", size=9)
    sheet.print(left + width, 78, "Form W4", size=9, anchor="rs")
    sheet.print(left, 102, "Application for a winter berth", size=17, bold=True)
    entry(left, 124, half, "Name of the vessel", "Kittiwake")
    entry(left + half, 124, half, "Type", "yawl")
    entry(left, 162, third, "Length over all", "8.4 m")
    entry(left + third, 162, third, "Beam", "2.7 m")
    entry(left + 2 * third, 162, third, "Draught", "1.4 m")
    entry(left, 200, third, "Berth wanted", "pontoon C")
    entry(left + third, 200, third, "From", "15 Oct 2025")
    entry(left + 2 * third, 200, third, "To", "15 Apr 2026")

    sheet.print(left, 268, "Tick what you need", bold=True)
    for i, name in enumerate(("Electricity", "Drinking water", "Crane", "Sleeping on board")):
        x, y = left + i % 2 * half, 282.0 + 26 * (i // 2)
        sheet.tick(x, y, ticked=name != "Drinking water")
        sheet.print(x + 21, y + 10, name)

    sheet.print(left, 366, "Fees for the season, in euros", bold=True)
    widths = (0.43 * width, 0.17 * width, 0.17 * width, 0.23 * width)
    for r, row in enumerate(cells(FEES)):
        x, y = left, 378 + 29.0 * r
        for column, (text, w) in enumerate(zip(row, widths, strict=True)):
            sheet.box(x, y, w, 29, fill=222 if r == 0 else None)
            if r == 0 or column < 2:
                sheet.print(x + 7, y + 18.5, text, size=9, bold=r in (0, 5, 7))
            else:
                sheet.write(x + 12, y + 22, text, size=1.5)
            x += w

    entry(left, 640, third, "Date", "2 Sept 2025")
    entry(left + third, 640, 2 * third, "Signature of the applicant", "")
    sheet.sign(left + third + 120, 670)
    sheet.box(left, 700, width, 66, fill=236)
    sheet.print(left + 8, 716, "For the office only", size=8, bold=True)
    sheet.print(left + 8, 746, "Berth given", size=8, ink=80)
    sheet.write(left + 74, 748, "C 14", size=2)
    sheet.print(left + half, 746, "Socket 16 A", size=8, ink=80)
    sheet.tick(left + half + 62, 736)
    return sheet.scanned(-0.6)


def scan(path: Path) -> None:
    c = Paper(path, title="Application for a winter berth", subject="A sample scan without text, all of it invented")
    for picture in (letter(), form()):
        c.drawImage(ImageReader(io.BytesIO(picture)), 0, 0, WIDTH, HEIGHT)
        c.showPage()
    c.save()


def main(folder: Path) -> None:
    report(folder / "report.pdf")
    two_column(folder / "two_column.pdf")
    scan(folder / "scan.pdf")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "documents")
