"""The figures of a training as a picture: the share that was wrong on kept-out pages, over the hours."""

from __future__ import annotations

import json
import math
from pathlib import Path

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito 2008
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _FOOT = 640, 360, 60, 170, 36, 44
_RIGHTLY = ("words", "recall", "precision")  # shares that are right; the others say what is wrong


def draw(figures: Path, picture: Path) -> None:
    """Draw the lines of a .jsonl that have figures of kept-out pages, as an SVG."""
    rows = [json.loads(line) for line in figures.read_text("utf-8").splitlines()]
    rows = [row for row in rows if "loss" not in row]
    series = {
        name: [(row["hours"], 1 - row[name] if name.endswith(_RIGHTLY) else row[name]) for row in rows if name in row]
        for name in rows[-1]
        if name not in {"step", "hours"}
    }
    last = max(row["hours"] for row in rows) or 1.0
    low = math.floor(math.log10(max(1e-4, min(y for points in series.values() for _, y in points))))

    def place(hours: float, wrong: float) -> tuple[float, float]:
        up = (math.log10(min(1.0, max(10.0**low, wrong))) - low) / -low if low else 0.0
        return _LEFT + hours / last * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _FOOT - up * (_HEIGHT - _TOP - _FOOT)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="12"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{_LEFT}" y="20">{figures.stem}: share that is wrong on kept-out pages, by hours of training</text>'
    ]
    for decade in range(low, 1):
        x, y = place(0, 10.0**decade)
        parts.append(f'<path d="M{x} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#ccc"/>')
        parts.append(f'<text x="{x - 6}" y="{y + 4:.1f}" text-anchor="end">{10.0**decade * 100:g} %</text>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = place(share * last, 0)
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _FOOT + 18}" text-anchor="middle">{share * last:.2g} h</text>')
    labels = sorted(series, key=lambda name: -series[name][-1][1])
    foot = 0.0
    for colour, name in zip(_COLOURS, labels, strict=False):
        places = [place(*point) for point in series[name]]
        foot = max(foot + 15, places[-1][1] + 4)
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        said = f"{name.replace('errors', 'characters').replace('_', ' ')} {series[name][-1][1]:.1%}"
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{_WIDTH - _RIGHT + 6}" y="{foot:.1f}" fill="{colour}">{said}</text>')
    picture.write_text("\n".join([*parts, "</svg>", ""]), "utf-8")
