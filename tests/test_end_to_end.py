"""The main job on the sample documents: the right page first, and the marks where they belong."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageDraw
from support.samples import FOLDER, QUESTIONS
from support.tiny_vision import CHECKPOINTS

from visret import Page, QueryEmbedding, Retriever, evaluate, load_encoder
from visret.encoders import _torch
from visret.explain.attribution import explain

ANSWERED = [question for question in QUESTIONS if question.passage]


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """The sample documents under the default model."""
    with Retriever.create(tmp_path_factory.mktemp("samples") / "samples.visret") as retriever:
        report = retriever.add(FOLDER)
        assert (report.pages, report.empty, report.failed) == (13, [], [])
        yield retriever


@pytest.mark.parametrize("question", ANSWERED, ids=lambda question: question.text[:30])
def test_the_right_page_is_first(samples, question):
    hit = samples.search(question.text, k=1)[0]
    assert (hit.doc, hit.page) == (question.doc, question.page)
    assert not hit.weak


@pytest.mark.parametrize("question", [q for q in ANSWERED if q.kind == "lexical"], ids=lambda q: q.text[:30])
def test_the_marks_lie_on_the_words_of_the_answer(samples, question):
    """Most of the score is found inside the passage, as pdfium places its words."""
    page = samples.page((question.doc, question.page))
    texts = [word.text for word in page.words]
    wanted = question.words
    start = next(i for i in range(len(texts)) if tuple(texts[i : i + len(wanted)]) == wanted)
    boxes = [box for word in page.words[start : start + len(wanted)] for box in (word.box, *(b for _, b in word.rest))]
    why = samples.heatmap(question.text, (question.doc, question.page))
    inside = 0.0
    for box, share in zip(why.places, why.by_place, strict=True):
        x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
        inside += share * any(x0 <= x <= x1 and y0 <= y <= y1 for x0, y0, x1, y1 in boxes)
    assert inside > 0.5
    assert why.line.split()[0] in texts
    assert set(why.line.split()) & set(wanted)


def test_quality_on_the_samples(samples):
    values = [evaluate.ndcg([h.ref for h in samples.search(q.text, k=5)], {(q.doc, q.page)}) for q in ANSWERED]
    assert np.mean(values) > 0.95


def test_a_question_about_something_else_is_weak(samples):
    hits = samples.search("recipe for chocolate cake with raspberries", k=3)
    assert all(hit.weak for hit in hits)


def test_plain_text_is_found_and_quoted(samples, tmp_path):
    text = "The harbour master keeps the key.\n\nVisitors sign the red book at the gate."
    (tmp_path / "rules.txt").write_text(text)
    samples.add(tmp_path / "rules.txt")
    hit = samples.search("who has the key of the harbour?", k=1)[0]
    assert (hit.doc, hit.text) == ("rules.txt", "The harbour master keeps the key.")
    why = samples.heatmap("who has the key of the harbour?", hit)
    assert why.boxes == []
    assert all(0 <= span.start < span.end <= 33 for span in why.spans[:3])
    assert "key" in {text[span.start : span.end] for span in why.spans}
    samples.remove("rules.txt")


def test_a_sample_as_colours(tmp_path):
    """The patch road, exactly predictable: `blue` scores b - (r + g) / 2, so the peak is the bluest cell of all."""
    with Retriever.create(tmp_path / "toy.visret", model="toy") as retriever:
        retriever.add(FOLDER / "report.pdf")
        hit = retriever.search("blue", k=1)[0]
        why = retriever.heatmap("blue", hit)
        row, col = np.unravel_index(np.nanargmax(why.maps[0]), why.maps[0].shape)
        cells = retriever.picture(hit).resize(why.maps[0].shape[::-1], Image.Resampling.BOX)
        red, green, blue = np.moveaxis(np.asarray(cells) / 255, -1, 0)
        bluest = blue - (red + green) / 2
        assert bluest[row, col] == pytest.approx(bluest.max(), abs=0.02)
        assert hit.scores["late"] == pytest.approx(bluest.max(), abs=0.05)
        x0, y0, x1, y1 = why.places.cell_box(row, col)
        assert any(box.x0 <= x0 and box.y0 <= y0 and x1 <= box.x1 and y1 <= box.y1 for box in why.boxes)


@pytest.mark.parametrize("architecture", ["ColQwen2", "ColIdefics3", "ColPali"])
def test_a_sample_under_a_patch_encoder_peaks_in_the_painted_cell(tmp_path, architecture):
    """Tiny checkpoints with random weights: one cell of a sample page is painted, and the map's peak is that cell."""
    with _torch.quiet():  # makes torchvision importable, which transformers needs to build the checkpoint
        folder = CHECKPOINTS[architecture](tmp_path / "model")
    with Retriever.create(tmp_path / "p.visret", model=str(folder)) as retriever:
        report = retriever.add(FOLDER / "two_column.pdf")
        assert (report.pages, report.failed) == (3, [])
        plain = retriever.picture(("two_column.pdf", 3), dpi=60)
        before = load_encoder(folder).encode_pages([Page.from_image(plain, doc="x")])[0]
        rows, cols = before.where.rows, before.where.cols
        row, col = rows - 3, 2
        painted = plain.copy()
        x0, y0, x1, y1 = before.where.cell_box(row, col)
        size = np.array(plain.size * 2)
        ImageDraw.Draw(painted).rectangle(tuple(np.round(np.array([x0, y0, x1, y1]) * size)), fill="black")
        retriever.add_pages([Page.from_image(painted, doc="painted.png")])
        after = retriever._index.embedding(("painted.png", 1))
        moved = np.linalg.norm(after.vectors - before.vectors, axis=1)[: rows * cols]
        assert np.unravel_index(moved.argmax(), (rows, cols)) == (row, col)
        asked = after.vectors[[moved.argmax()]]
        why = explain(
            QueryEmbedding("the painted cell", asked, ("cell",), np.ones(1, bool)),
            after,
            render=lambda dpi: retriever.picture(("painted.png", 1), dpi=dpi),
        )
        assert np.unravel_index(np.nanargmax(why.maps[0]), (rows, cols)) == (row, col)
        best = why.boxes[0]
        assert (best.x0, best.y0, best.x1, best.y1) == pytest.approx((x0, y0, x1, y1))
        assert why.table.places == (f"{row},{col}",)
        bare = np.asarray(retriever.picture(("painted.png", 1), dpi=60)).astype(int)
        drawn = np.asarray(why.image([0], dpi=60)).astype(int)
        ys, xs = np.nonzero((drawn != bare).any(axis=2))  # the pen goes round the cell
        assert (ys.mean() / len(bare) * rows, xs.mean() / bare.shape[1] * cols) == pytest.approx(
            (row + 0.5, col + 0.5), abs=0.2
        )
        hits = retriever.search("where is the table?", k=4)
        assert len(hits) == 4
        shown = retriever.heatmap("where is the table?", hits[0])
        assert shown.score == pytest.approx(hits[0].score, abs=1e-4)
        assert shown.table.values.max(axis=1).sum() == pytest.approx(hits[0].scores["late"], abs=1e-4)


def test_the_main_job_needs_no_network_and_prints_one_page_a_line(tmp_path):
    """The README's line, without its set-up, in a new home without a hub."""
    environment = {**os.environ, "HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "visret", "find", ANSWERED[0].text, str(FOLDER), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["hits"][0]["doc"], found["hits"][0]["page"]) == (ANSWERED[0].doc, ANSWERED[0].page)
    assert (found["failed"], found["empty"]) == ([], [])
    said = done.stderr.strip().splitlines()
    assert said.pop().startswith("--model quality finds more of the right pages"), said
    assert all("pages, " in line and " of 3 files" in line for line in said), said  # how far it is, and nothing else
