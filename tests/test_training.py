"""The recipe of glyph at a size of seconds: data out of PDFs and of fonts, training that goes on, what it leaves."""

import itertools
import json
import random
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import reportlab
import torch
from support.samples import FOLDER

from visret import Page, load_encoder
from visret.ocr.glyph.reading import bundled
from visret.training import _glyph_data, _glyph_sheets, _glyph_train, glyph

SVG = "{http://www.w3.org/2000/svg}"
FONTS = Path(reportlab.__file__).parent / "fonts"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Shards of the report, once to learn from and once kept out, and of made-up pages."""
    folder = tmp_path_factory.mktemp("training")
    pdfs = folder / "papers"
    pdfs.mkdir()
    names = (f"report-{number}.pdf" for number in itertools.count())
    shutil.copy(FOLDER / "report.pdf", pdfs / next(name for name in names if _glyph_data.held_out(Path(name))))
    for name in ("report.pdf", "two_column.pdf"):
        assert not _glyph_data.held_out(pdfs / name)
        shutil.copy(FOLDER / name, pdfs)
    (folder / "never.txt").write_text("elsewhere/two_column.pdf\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_glyph_sheets, "_SHEETS_A_SHARD", 3)
        glyph.prepare(folder / "data", pdfs, never=folder / "never.txt", whole_pages=1, processes=1)
        words = ["Of", "each", "line", "the", "words", "that", "stand", "on", "it"]
        _glyph_sheets.write_sheets(folder / "data" / "train-sheets-0001", _glyph_sheets.fonts_in(FONTS), words * 9)
    return folder / "data"


def test_shards_are_of_the_files_that_may_be_used(data):
    assert sorted(shard.name for shard in data.iterdir()) == [
        "test-papers-0000",
        "train-papers-0000",
        "train-sheets-0001",
    ]
    texts = [text for text, *_ in json.loads((data / "train-papers-0000" / "texts.json").read_text("utf-8"))]
    assert any("Bittern" in text for text in texts)  # the report


@pytest.mark.parametrize("shard", ["test-papers-0000", "train-sheets-0001"])
def test_strips_show_their_text_and_pages_their_lines(data, shard, tmp_path):
    shutil.copytree(data / shard, tmp_path / "test-one")
    cpu = torch.device("cpu")
    read = _glyph_train.reader_figures(bundled().reader, _glyph_train.Strips(tmp_path, "test"), cpu)
    assert read["clean_errors"] < (0.03 if "papers" in shard else 0.3), read  # invented words are hard
    found = _glyph_train.finder_figures(bundled().finder, _glyph_train.Pages(tmp_path, "test"), cpu)
    assert min(found["clean_recall"], found["clean_precision"]) > 0.9, found


def test_training_goes_on_and_its_weights_load(data, tmp_path, capsys):
    run = tmp_path / "run"
    asked = {"minutes": 0.001, "batch": 4, "rate": 1e-3, "last_minutes": 0, "threads": 1}
    steps = []
    for part in ("finder", "reader", "reader"):
        _glyph_train.train(part, data, run, **asked)
        lines = (run / f"{part}.jsonl").read_text("utf-8").splitlines()
        steps.append(json.loads(lines[-1])["step"])
        ElementTree.parse(run / f"{part}.svg")
    assert 0 < steps[1] < steps[2]
    _glyph_train.export(run, tmp_path / "model")
    capsys.readouterr()
    _glyph_train.figures(data, tmp_path / "model")
    assert [line.split(" | ")[0] for line in capsys.readouterr().out.splitlines()[2:]] == ["| papers"]
    drawn = _glyph_sheets.sheet(random.Random(0), _glyph_sheets.fonts_in(FONTS), ["word"] * 99).image
    page = Page.from_image(drawn, doc="drawn")
    (embedding,) = load_encoder(tmp_path / "model").encode_pages([page])
    assert np.isfinite(embedding.vectors).all()


def test_curves_end_where_the_figures_do(tmp_path):
    rows = [{"step": s, "hours": s / 2, "clean_errors": e, "clean_words": w} for s, e, w in ((0, 1, 0), (2, 0.01, 0.9))]
    rows.insert(1, {"step": 1, "hours": 0.5, "loss": 3.0, "steps_a_minute": 1.0})
    (tmp_path / "reader.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _glyph_train.draw(tmp_path / "reader.jsonl", tmp_path / "reader.svg")
    picture = ElementTree.parse(tmp_path / "reader.svg")
    ends = [line.get("points").split()[-1].split(",") for line in picture.iter(f"{SVG}polyline")]
    assert {end[0] for end in ends} == {"470.0"}  # where the axis of hours ends
    assert float(ends[0][1]) < float(ends[1][1])  # 10 % of the words above 1 % of the characters
    words = [text.text for text in picture.iter(f"{SVG}text")]
    assert words[-2:] == ["clean words 10.0%", "clean characters 1.0%"]
