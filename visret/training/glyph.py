"""Train `glyph` (visret/encoders/glyph.py) from scratch, on any machine.

python -m visret.training.glyph prepare DATA PDFS    --never names.txt   # lines and pages out of real PDFs
python -m visret.training.glyph sheets DATA FONTS                        # and out of made-up pages in other fonts
python -m visret.training.glyph office DATA [FONTS]                      # documents; needs LibreOffice
python -m visret.training.glyph screens DATA [FONTS]                     # screenshots; needs playwright and Chromium
python -m visret.training.glyph train DATA RUN reader                    # goes on from RUN/reader.pt if it is there
python -m visret.training.glyph train DATA RUN finder
python -m visret.training.glyph export RUN FOLDER                        # model.safetensors for the package
python -m visret.training.glyph figures DATA FOLDER                      # how they do on each kind of kept-out data
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import random
import tempfile
from concurrent.futures import ProcessPoolExecutor
from html import escape
from itertools import repeat
from pathlib import Path
from typing import Any

from visret.training import _glyph_data as data

_FILES_A_SHARD = 60


def prepare(folder: Path, source: Path, *, never: Path | None, whole_pages: int, processes: int) -> None:
    """Make shards of the PDFs below a folder, with held-out documents in shards of their own; goes on where it stopped.

    never: a list of paths; files of these names are not used.
    """
    unwanted = {Path(line).name for line in never.read_text().split()} if never else set()
    paths = sorted(path for path in source.rglob("*.pdf") if path.name not in unwanted)
    random.Random(0).shuffle(paths)
    by_use = {
        "train": [path for path in paths if not data.held_out(path)],
        "test": [path for path in paths if data.held_out(path)],
    }
    shards = {
        folder / f"{use}-{source.name}-{start // _FILES_A_SHARD:04}": mine[start : start + _FILES_A_SHARD]
        for use, mine in sorted(by_use.items())
        for start in range(0, len(mine), _FILES_A_SHARD)
    }
    missing = [shard for shard in shards if not shard.exists()]
    with ProcessPoolExecutor(processes) as pool:
        list(pool.map(data.write_files, missing, [shards[shard] for shard in missing], repeat(whole_pages)))


def prepare_made(folder: Path, kind: str, fonts: Path, count: int, processes: int) -> None:
    """Make shards of made-up pages in the fonts below a folder; goes on where it stopped.

    Their words come from the shards that are there. One font in twenty is kept for evaluation. kind: sheets, office or
    screens.
    """
    from visret.training import _glyph_documents as documents
    from visret.training import _glyph_sheets as sheets

    writers = {"sheets": sheets.write_sheets, "office": documents.write_office, "screens": documents.write_screens}
    write: Any = writers[kind]
    files = sheets.fonts_in(fonts)
    found: list[Any] = files if kind == "sheets" else documents.families(files)
    texts = [json.loads(file.read_text("utf-8")) for file in sorted(folder.glob("train-*/texts.json"))[:20]]
    words = [word for shard in texts for text, *_ in shard for word in text.split()]
    shards = [folder / f"{'train' if number else 'test'}-{kind}-{number:04}" for number in range(count)]
    missing = [shard for shard in shards if not shard.exists()]
    uses = {"test": found[::20], "train": [font for i, font in enumerate(found) if i % 20]}
    mine = [uses[shard.name.partition("-")[0]] for shard in missing]
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as settings, ProcessPoolExecutor(processes) as pool:
        system = '<include ignore_missing="yes">/etc/fonts/fonts.conf</include>'
        settings.write(f"<fontconfig>{system}<dir>{escape(str(fonts.absolute()))}</dir></fontconfig>")
        settings.flush()
        os.environ["FONTCONFIG_FILE"] = settings.name  # by which LibreOffice and Chromium find fonts
        list(pool.map(write, missing, mine, repeat(words)))


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    prepares = commands.add_parser("prepare")
    prepares.add_argument("folder", type=Path)
    prepares.add_argument("source", type=Path, help="a folder with PDFs")
    prepares.add_argument("--never", type=Path, help="a list of paths; files of these names are not used")
    prepares.add_argument("--whole-pages", type=int, default=2, metavar="N", help="a whole page of every Nth file")
    prepares.add_argument("--processes", type=int, default=1)
    for kind in ("sheets", "office", "screens"):
        makes = commands.add_parser(kind)
        makes.add_argument("folder", type=Path)
        makes.add_argument("fonts", type=Path, nargs="?", default=Path("/usr/share/fonts"))
        makes.add_argument("--shards", type=int, dest="count", default=20)
        makes.add_argument("--processes", type=int, default=1)
        makes.set_defaults(kind=kind)
    exports = commands.add_parser("export")
    exports.add_argument("run", type=Path)
    exports.add_argument("folder", type=Path)
    judges = commands.add_parser("figures")
    judges.add_argument("data", type=Path)
    judges.add_argument("folder", type=Path)
    trains = commands.add_parser("train")
    trains.add_argument("data", type=Path)
    trains.add_argument("folder", type=Path, metavar="run")
    trains.add_argument("part", choices=["reader", "finder"])
    trains.add_argument("--minutes", type=float, default=float("inf"))
    trains.add_argument("--batch", type=int, default=24, help="of each thread")
    trains.add_argument("--threads", type=int, default=2)
    trains.add_argument("--rate", type=float, default=1.5e-3, help="of learning, at its highest")
    trains.add_argument("--last-minutes", type=float, default=0, help="the rate falls to nothing over the last minutes")
    chosen = vars(parser.parse_args())
    task = chosen.pop("command")
    logging.basicConfig(level=logging.ERROR)
    if task == "prepare":
        prepare(**chosen)
    elif "kind" in chosen:
        prepare_made(**chosen)
    else:
        from visret.training import _glyph_train as training  # loads torch

        getattr(training, task)(**chosen)


if __name__ == "__main__":
    main()
