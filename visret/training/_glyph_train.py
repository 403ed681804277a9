"""The training of `glyph`'s networks, on a laptop's CPU as on a GPU; it can be stopped and continued."""

from __future__ import annotations

import io
import json
import math
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (as everywhere)

from visret.models import registry
from visret.ocr.glyph.networks import (
    BLANK,
    CELL_COLUMNS,
    CELL_ROWS,
    FINDER_DPI,
    FRAME,
    LETTERS,
    STRIP,
    FinderNetwork,
    ReaderNetwork,
    inked,
    numbers,
    said,
)
from visret.ocr.glyph.reading import PageReader
from visret.training._glyph_curves import draw
from visret.training._glyph_data import COLUMNS, LETTER_ROWS, PAGE_DPI, ROWS

_WIDTHS = (96, 160, 224, 288, 384)  # columns of the lines of a batch, as they are read
_WARM = 300  # steps until the learning rate is at its highest
_LED = 2000  # steps over which the reader is told roughly where a character stands


class Strips:
    """The lines of all shards of a use, "train" or "test"."""

    def __init__(self, folder: Path, use: str) -> None:
        self.folders = sorted(folder.glob(f"{use}-*"))
        self._pixels = [np.load(shard / "strips.npy", mmap_mode="r") for shard in self.folders]
        self._texts = [json.loads((shard / "texts.json").read_text("utf-8")) for shard in self.folders]
        zoom = LETTERS / LETTER_ROWS
        widths = [
            (s, i, width * zoom)
            for s, texts in enumerate(self._texts)
            for i, (text, width, words) in enumerate(texts)
            if text.count(" ") + 1 == len(words)
        ]
        edges = (0, *(width / 1.06 - 4 for width in _WIDTHS[:-1]), float("inf"))
        self.classes = [
            [(s, i) for s, i, width in widths if edges[c] <= width < edges[c + 1]] for c in range(len(_WIDTHS))
        ]
        self._weights = [len(some) * width for some, width in zip(self.classes, _WIDTHS, strict=True)]

    def __len__(self) -> int:
        return sum(map(len, self.classes))

    def batch(self, rng: random.Random, lines: int) -> Batch:
        """Sample a batch with about as many columns as `lines` of the widest lines have."""
        kind = rng.choices(range(len(_WIDTHS)), self._weights)[0]
        chosen = rng.choices(self.classes[kind], k=lines * _WIDTHS[-1] // _WIDTHS[kind])
        return self._of(chosen, _WIDTHS[kind])

    def all(self, lines: int, most: int) -> Iterator[Batch]:
        """Yield `most` lines in batches, always the same ones."""
        for kind, width in enumerate(_WIDTHS):
            some = random.Random(0).sample(self.classes[kind], min(len(self.classes[kind]), most // len(_WIDTHS)))
            for start in range(0, len(some), lines):
                yield self._of(some[start : start + lines], width)

    def _of(self, chosen: list[tuple[int, int]], width: int) -> Batch:
        pixels = np.stack([self._pixels[s][i] for s, i in chosen])
        texts = [self._texts[s][i] for s, i in chosen]
        return Batch(
            torch.from_numpy(pixels), width, [t[0] for t in texts], [t[1] for t in texts], [t[2] for t in texts]
        )


@dataclass
class Batch:
    """Strips (b, ROWS, COLUMNS) uint8 to be read in `width` columns; the text, columns and columns of words of each."""

    pixels: Tensor
    width: int
    texts: list[str]
    columns: list[int]
    words: list[list[tuple[int, int]]]


def drawn(
    batch: Batch, rng: np.random.Generator, device: torch.device, *, rough: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Return strips as the reader gets them, (b, 1, STRIP, width), and for each the columns before it and a zoom.

    rough: whether as scanners, cameras and screens show them.
    """
    count = len(batch.texts)

    def uniform(low: float, high: float) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, count).astype(np.float32)).to(device)

    zoom = uniform(0.85, 1.15) if rough else torch.ones(count, device=device)
    tall = zoom * LETTERS / LETTER_ROWS
    fits = (batch.width - 2) / torch.tensor(batch.columns, device=device)
    wide = torch.minimum(tall * (uniform(0.88, 1.12) if rough else 1), fits)
    before = uniform(0, 1) * (batch.width - wide * torch.tensor(batch.columns, device=device)).clamp(0, 6)
    down, slope, slant = (uniform(-2, 2), uniform(-0.012, 0.012), uniform(-0.05, 0.05)) if rough else (0 * zoom,) * 3
    j = torch.arange(batch.width, device=device) + 0.5
    i = torch.arange(STRIP, device=device)[:, None] + 0.5
    per_line = [value[:, None, None] for value in (down, slope, tall, before, slant, wide)]
    y = ROWS / 2 + (i - STRIP / 2 - per_line[0] + per_line[1] * (j - batch.width / 2)) / per_line[2]
    x = (j - per_line[3] + per_line[4] * (i - STRIP / 2)) / per_line[5]
    grid = torch.stack([x.expand_as(y) * 2 / COLUMNS - 1, y * 2 / ROWS - 1], dim=-1)
    pixels = batch.pixels.to(device, non_blocking=True).float()[:, None] / 255
    lines = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)[:, 0]
    if rough:
        lines = _worn(lines, rng)
    return inked(lines), before, wide


def _worn(lines: Tensor, rng: np.random.Generator) -> Tensor:
    """Wear lines: low resolution, blur, faint ink, uneven light, noise, JPEG, light on dark, each for some of them."""
    count, height, width = lines.shape
    lines = lines.clone()

    def some(share: float) -> Tensor:
        return torch.from_numpy(np.flatnonzero(rng.random(count) < share)).to(lines.device)

    for factor in (0.5, 0.6, 0.75):
        which = some(0.1)
        if len(which):
            size = (round(height * factor), round(width * factor))
            small = F.interpolate(lines[which][:, None], size, mode="area")
            lines[which] = F.interpolate(small, (height, width), mode="bilinear")[:, 0]
    which = some(0.25)
    if len(which):
        spread = float(rng.uniform(0.4, 0.9))
        taps = torch.exp(-(torch.arange(-2, 3, device=lines.device) ** 2) / (2 * spread**2))
        taps = taps / taps.sum()
        soft = F.conv2d(F.pad(lines[which][:, None], (2, 2, 2, 2), mode="replicate"), taps.view(1, 1, 1, 5))
        lines[which] = F.conv2d(soft, taps.view(1, 1, 5, 1))[:, 0]
    which = some(0.3)
    if len(which):  # thicker or thinner strokes
        power = torch.from_numpy(rng.uniform(0.5, 2.0, (len(which), 1, 1)).astype(np.float32)).to(lines.device)
        lines[which] = lines[which].clamp(0, 1) ** power
    which = some(0.3)
    if len(which):
        low = torch.from_numpy(rng.uniform(0, 0.5, (len(which), 1, 1)).astype(np.float32)).to(lines.device)
        light = torch.from_numpy(rng.uniform(-0.15, 0.15, (len(which), 1, 1)).astype(np.float32)).to(lines.device)
        lines[which] = low + (1 - low) * lines[which] + light * torch.linspace(-1, 1, width, device=lines.device)
    which = some(0.1)
    lines[which] = 1 - lines[which]
    which = some(0.15)
    if len(which):
        lines[which] = _compressed(lines[which], int(rng.integers(15, 70)))
    which = some(0.35)
    if len(which):
        strength = torch.from_numpy(rng.uniform(0.01, 0.1, (len(which), 1, 1)).astype(np.float32)).to(lines.device)
        lines[which] += strength * torch.randn(len(which), height, width, device=lines.device)
    return lines


def _compressed(lines: Tensor, quality: int) -> Tensor:
    flat = (lines.reshape(-1, lines.shape[2]).clamp(0, 1) * 255).byte().cpu().numpy()
    file = io.BytesIO()
    Image.fromarray(flat).save(file, "jpeg", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(file)).copy()).to(lines.device).reshape(lines.shape).float() / 255


def reader_loss(model: nn.Module, batch: Batch, rng: np.random.Generator, device: torch.device, step: int) -> Tensor:
    """Return the loss of a batch, for each character."""
    lines, before, wide = drawn(batch, rng, device, rough=True)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        logits = model(lines.contiguous(memory_format=torch.channels_last))
    chances = logits.float().log_softmax(-1)
    targets = [numbers(text) for text in batch.texts]
    lengths = torch.tensor([len(target) for target in targets])
    frames = torch.full((len(targets),), chances.shape[1])
    flat = torch.tensor([number for target in targets for number in target], device=device)
    loss = F.ctc_loss(chances.transpose(0, 1), flat, frames, lengths, blank=BLANK, reduction="sum", zero_infinity=True)
    loss = loss / lengths.sum()
    if step < _LED:
        centres = torch.tensor([c for i in range(len(targets)) for c in _centres(batch, i)], device=device)
        line = torch.repeat_interleave(torch.arange(len(targets)), lengths).to(device)
        frame = ((centres * wide[line] + before[line]) / FRAME).long().clamp(0, chances.shape[1] - 1)
        loss = loss - (1 - step / _LED) * chances[line, frame, flat].mean()
    return loss


_NARROW, _WIDE = set("iljtfrI.,:;'|!()[]{} "), set("mwMWQGO@%&")


def _centres(batch: Batch, number: int) -> list[float]:
    """Estimate the column of each character of a text from the columns of its words."""
    out: list[float] = []
    for word, (start, end) in zip(batch.texts[number].split(" "), batch.words[number], strict=True):
        if out:
            out.append(start - 3.0)  # the space before it
        sizes = np.array([0.55 if c in _NARROW else 1.5 if c in _WIDE else 1.0 for c in word])
        ends = np.cumsum(sizes)
        out += list(start + (end - start) * (ends - sizes / 2) / ends[-1])
    return out


@torch.inference_mode()  # type: ignore[untyped-decorator]
def reader_figures(model: nn.Module, strips: Strips, device: torch.device) -> dict[str, float]:
    """Return errors a character, and the share of words read without error, on held-out lines: clean, and worn."""
    out: dict[str, float] = {}
    for name, rough in (("clean", False), ("worn", True)):
        wrong = characters = right = words = 0
        rng = np.random.default_rng(0)
        torch.manual_seed(0)
        for batch in strips.all(64, 640):
            lines, *_ = drawn(batch, rng, device, rough=rough)
            for line, truth in zip(said(model(lines)), batch.texts, strict=True):
                wrong += distance(line.text.lower(), truth.lower())
                characters += len(truth)
                have = line.text.lower().split()
                right += sum(word in have for word in truth.lower().split())
                words += len(truth.split())
        out |= {f"{name}_errors": wrong / characters, f"{name}_words": right / words}
    return out


def distance(a: str, b: str) -> int:
    """Count the characters to change, drop or add to turn a into b (Levenshtein)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        last, row[0] = row[0], i + 1
        for j, y in enumerate(b):
            last, row[j + 1] = row[j + 1], min(last + (x != y), row[j] + 1, row[j + 1] + 1)
    return row[-1]


class Pages:
    """The whole pages of all shards of a use."""

    def __init__(self, folder: Path, use: str) -> None:
        self._pages: list[tuple[np.ndarray, np.ndarray]] = []
        for shard in sorted(folder.glob(f"{use}-*/pages.json")):
            pixels, start = np.load(shard.with_name("pages.npy"), mmap_mode="r"), 0
            for rows, columns, lines in json.loads(shard.read_text("utf-8")):
                page = pixels[start : start + rows * columns].reshape(rows, columns)
                self._pages.append((page, np.array(lines, np.float32)))
                start += rows * columns

    def batch(self, rng: random.Random, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Sample grey pages at PAGE_DPI, and (n, 4) boxes of their lines in pixels."""
        return rng.choices(self._pages, k=count)

    def all(self, count: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the first pages."""
        return self._pages[:count]


_CROP = (288, 416)  # pixels at FINDER_DPI


class Cut(NamedTuple):
    """A part of a page as the finder gets it, with what it should find.

    pixels: (1, h, w). cells: (3, rows, columns), whether a line passes, the logarithm of its height, and how far below
    the cell its middle is. counts: (rows, columns), whether a cell counts.
    """

    pixels: Tensor
    cells: Tensor
    counts: Tensor


def cut(page: np.ndarray, lines: np.ndarray, rng: np.random.Generator, size: tuple[int, int], *, rough: bool) -> Cut:
    """Cut a part anywhere out of a page; rough: turned by up to two degrees, of any size, and worn."""
    zoom = FINDER_DPI / PAGE_DPI * (math.exp(rng.uniform(math.log(0.7), math.log(1.5))) if rough else 1.0)
    turn = math.radians(float(np.clip(rng.normal(0, 1), -2.5, 2.5))) if rough and rng.random() < 0.5 else 0.0
    height, width = size[0] / zoom, size[1] / zoom
    middle_y = rng.uniform(height / 2, max(height / 2, page.shape[0] - height / 2))
    middle_x = rng.uniform(width / 2, max(width / 2, page.shape[1] - width / 2))
    cos, sin = math.cos(turn) / zoom, math.sin(turn) / zoom

    def source(x: Any, y: Any) -> tuple[Any, Any]:
        x, y = x - size[1] / 2, y - size[0] / 2
        return middle_x + cos * x - sin * y, middle_y + sin * x + cos * y

    corner_x, corner_y = source(0, 0)
    reach = math.hypot(*size) / zoom / 2 + 4
    x0, y0 = max(0, int(middle_x - reach)), max(0, int(middle_y - reach))
    part = Image.fromarray(page[y0 : int(middle_y + reach), x0 : int(middle_x + reach)])
    affine = (cos, -sin, corner_x - x0, sin, cos, corner_y - y0)
    if zoom < 0.8:
        part = part.filter(ImageFilter.GaussianBlur(0.35 / zoom))
    drawn = part.transform(
        size[::-1], Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR, fillcolor=int(page[0, 0])
    )
    pixels = torch.from_numpy(np.asarray(drawn, dtype=np.float32) / 255)
    if rough:
        pixels = _worn(pixels[None], rng)[0]
    rows, columns = size[0] // CELL_ROWS, size[1] // CELL_COLUMNS
    xs, ys = source((np.arange(columns)[None] + 0.5) * CELL_COLUMNS, (np.arange(rows)[:, None] + 0.5) * CELL_ROWS)
    cells = np.zeros((3, rows, columns), np.float32)
    counts = np.ones((rows, columns), np.float32)
    for left, top, right, foot in lines:
        tall = foot - top
        below = ((top + foot) / 2 - ys) / tall
        inside = (xs > left - 0.2 * tall) & (xs < right + 0.2 * tall)
        near = inside & (abs(below) < 0.25)
        counts[inside & (abs(below) < 0.45) & ~near] = 0
        cells[0][near], cells[1][near], cells[2][near] = 1, math.log(tall * zoom), below[near]
    counts[cells[0] > 0] = 1
    return Cut(inked(pixels[None])[0], torch.from_numpy(cells), torch.from_numpy(counts))


def finder_loss(model: nn.Module, batch: Any, rng: np.random.Generator, device: torch.device, step: int) -> Tensor:  # noqa: ARG001
    """Return the loss of a batch, for each cell."""
    cuts = [cut(page, lines, rng, _CROP, rough=True) for page, lines in batch]
    pixels, cells, counts = (torch.stack(parts).to(device) for parts in zip(*cuts, strict=True))
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
        found = model(pixels.contiguous(memory_format=torch.channels_last))
    found = found.float()
    line = F.binary_cross_entropy_with_logits(found[:, 0], cells[:, 0], counts, reduction="sum") / counts.sum()
    on = cells[:, 0]
    wrong = (found[:, 1:] - cells[:, 1:]).abs().sum(1)
    return line + 0.3 * (wrong * on).sum() / on.sum().clamp(min=1)


@torch.inference_mode()  # type: ignore[untyped-decorator]
def finder_figures(model: nn.Module, pages: Pages, device: torch.device) -> dict[str, float]:
    """Return, for held-out pages, clean and worn: cells found, cells found rightly, and the mean error in height."""
    out: dict[str, float] = {}
    for name, rough in (("clean", False), ("worn", True)):
        rng = np.random.default_rng(0)
        torch.manual_seed(0)
        hit = found = there = wrong = 0.0
        for page, lines in pages.all(40):
            part = cut(page, lines, rng, (576, 576), rough=rough)
            cells = model(part.pixels[None].to(device))[0].cpu()
            yes, is_line = (cells[0] > 0) & (part.counts > 0), part.cells[0] > 0
            hit += float((yes & is_line).sum())
            found += float(yes.sum())
            there += float(is_line.sum())
            wrong += float((cells[1] - part.cells[1])[yes & is_line].abs().sum())
        out |= {f"{name}_recall": hit / there, f"{name}_precision": hit / max(1.0, found)}
        out |= {f"{name}_height": wrong / max(1.0, hit)}
    return out


class Run:
    """A network in training, with all that is needed to continue from a checkpoint."""

    def __init__(self, model: nn.Module, file: Path, device: torch.device, rate: float) -> None:
        self.file = file
        self.model = model.to(device, memory_format=torch.channels_last)
        self.mean = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.02)
        self.step, self.seconds = 0, 0.0
        if file.exists():
            saved = torch.load(file, map_location=device, weights_only=True)
            self.model.load_state_dict(saved["model"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.mean, self.step, self.seconds = saved["mean"], saved["step"], saved["seconds"]

    def save(self) -> None:
        """Save a checkpoint, whole or not at all."""
        part = self.file.with_suffix(".part")
        state = {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(), "mean": self.mean}
        torch.save(state | {"step": self.step, "seconds": self.seconds}, part)
        part.replace(self.file)

    def learn(self, gradients: list[tuple[Tensor, ...]], rate: float) -> None:
        """Take one step along the mean of the gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for parameter, *some in zip(self.model.parameters(), *gradients, strict=True):
            parameter.grad = torch.stack(some).mean(0)
        nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimizer.step()
        self.step += 1
        keep = min(0.9995, (1 + self.step) / (20 + self.step))
        for name, value in self.model.state_dict().items():
            if value.dtype.is_floating_point:
                self.mean[name].lerp_(value, 1 - keep)

    def averaged(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the network with the mean of its weights over the last steps, to be judged."""
        model.load_state_dict(self.mean)
        return model.to(device).eval()


def train(
    part: str, data: Path, folder: Path, *, minutes: float, batch: int, rate: float, last_minutes: float, threads: int
) -> None:
    """Train until the minutes are over, or for ever; save a checkpoint every three minutes, figures every twenty.

    threads: each takes a batch of its own and one core, so that on a busy machine none waits for another after every
    product; on a GPU they prepare batches in turn.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.benchmark = True
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    build, loss_of, source, figures_of = PARTS[part]
    run = Run(build(), folder / f"{part}.pt", device, rate)
    examples, held = source(data, "train"), source(data, "test")
    start = saved = noted = time.monotonic()
    judged, losses = -math.inf, []

    def slope(_: int) -> tuple[float, tuple[Tensor, ...]]:
        loss = loss_of(run.model, examples.batch(random.Random(), batch), np.random.default_rng(), device, run.step)
        return loss.item(), torch.autograd.grad(loss, list(run.model.parameters()))

    def judge() -> None:
        found = figures_of(run.averaged(build(), device), held, device)
        _note(folder / f"{part}.jsonl", {"step": run.step, "hours": run.seconds / 3600, **found})
        draw(folder / f"{part}.jsonl", folder / f"{part}.svg")

    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while (now := time.monotonic()) - start < minutes * 60:
            if now - judged > 1200:
                judged = now
                judge()
                examples = source(data, "train")  # including what has been prepared since
            left = (minutes * 60 - (now - start)) / (last_minutes * 60) if last_minutes else 1.0
            run.model.train()
            found = [f for f in pool.map(slope, range(threads)) if math.isfinite(f[0])]
            if found:
                run.learn([gradient for _, gradient in found], rate * min(1.0, (run.step + 1) / _WARM, left))
                losses += [loss for loss, _ in found]
            after = time.monotonic()
            run.seconds += min(after - now, 60)
            if after - noted > 60 and losses:
                facts: dict[str, Any] = {
                    "step": run.step,
                    "hours": run.seconds / 3600,
                    "loss": sum(losses) / len(losses),
                }
                pace = 60 * len(losses) / threads / (after - noted)
                _note(folder / f"{part}.jsonl", facts | {"steps_a_minute": pace})
                noted, losses = after, []
            if after - saved > 180:
                run.save()
                saved = after
    run.save()
    judge()


def export(run: Path, folder: Path) -> None:
    """Write the mean weights of both networks as one model.safetensors, in half precision."""
    tensors: dict[str, Tensor] = {}
    for part in PARTS:
        mean = torch.load(run / f"{part}.pt", map_location="cpu", weights_only=True)["mean"]
        kept = {name: value for name, value in mean.items() if value.dtype.is_floating_point}
        tensors |= {f"{part}.{name}": value.half().contiguous() for name, value in kept.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    registry.write_card(folder, replace(registry.get("glyph"), source=".", revision=""))


def figures(data: Path, folder: Path) -> None:
    """Print how the weights of a folder do on each kind of kept-out shard."""
    networks = PageReader(folder, device=torch.device("cpu"))
    kinds = sorted({shard.name.split("-")[1] for shard in data.glob("test-*")})
    names = [f"{how}_{what}" for what in ("errors", "words", "recall", "precision") for how in ("clean", "worn")]
    print(f"| kept out | {' | '.join(name.replace('_', ' ') for name in names)} |\n{'|---' * (len(names) + 1)}|")
    for kind in kinds:
        strips, pages = Strips(data, f"test-{kind}"), Pages(data, f"test-{kind}")
        found = reader_figures(networks.reader, strips, networks.device)
        if pages.all(1):
            found |= finder_figures(networks.finder, pages, networks.device)
        print(f"| {kind} | {' | '.join(f'{found[name]:.1%}' if name in found else '' for name in names)} |", flush=True)


def _note(file: Path, facts: dict[str, Any]) -> None:
    line = json.dumps({key: round(value, 4) for key, value in facts.items()})
    with file.open("a", encoding="utf-8") as out:
        out.write(line + "\n")
    print(line, flush=True)


PARTS: dict[str, tuple[Any, Any, Any, Any]] = {  # network, loss, examples, figures
    "reader": (ReaderNetwork, reader_loss, Strips, reader_figures),
    "finder": (FinderNetwork, finder_loss, Pages, finder_figures),
}
