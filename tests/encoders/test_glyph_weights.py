"""glyph with the weights of the package: what it sees is found, and marked where it stands."""

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps
from safetensors.numpy import load_file, save_file
from support.sheets import draw

from visret import Page, Retriever, load_encoder
from visret.errors import ShapeError, WeightsError
from visret.models import weights

LINES = ["The lighthouse keeper repaired", "a broken lantern before the storm", "Invoice number 40172"]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("glyph")


def sheet(lines=LINES):
    return draw(*((line, (40, 30 + 50 * i)) for i, line in enumerate(lines)), size=(620, 200))


def page_of(image, doc="x", page=1):
    return Page.from_image(image, doc=doc, page=page)


def text_of(encoder, image):
    return encoder.encode_pages([page_of(image)])[0].text


def right(read, expected):
    """How many of the expected words were read."""
    return sum(word in " ".join(read).split() for word in " ".join(expected).split())


def test_it_reads_what_it_sees_and_nothing_else(encoder):
    image, _ = sheet()
    page = Page.from_image(image, doc="x", words=[("elsewhere", (0.1, 0.1, 0.2, 0.2))])
    lines = encoder.encode_pages([page])[0].text.split("\n")
    assert len(lines) == len(LINES)
    assert right(lines, LINES) >= len(" ".join(LINES).split()) - 1


@pytest.mark.parametrize(
    "change",
    [
        ImageOps.invert,
        lambda image: image.rotate(1.5, Image.Resampling.BICUBIC, fillcolor="white"),
        lambda image: image.rotate(-1.5, Image.Resampling.BICUBIC, fillcolor="white"),
        lambda image: ImageOps.colorize(image.convert("L"), "navy", "lightyellow"),
    ],
    ids=["light on dark", "turned left", "turned right", "coloured"],
)
def test_it_reads_it_in_other_shapes(encoder, change):
    assert right([text_of(encoder, change(sheet()[0]))], LINES) >= len(" ".join(LINES).split()) - 2


def test_the_best_vector_of_a_word_lies_on_it(encoder):
    image, inked = sheet()
    (made,) = encoder.encode_pages([page_of(image)])
    for word, (x0, y0, x1, y1) in zip(" ".join(LINES).split(), inked, strict=True):
        if len(word) < 4:
            continue
        (question,) = encoder.encode_queries([word])
        a, b, c, d = made.where[int((made.vectors @ question.vectors.T).max(axis=1).argmax())]
        assert a < (x0 + x1) / 2 < c, word
        assert b < (y0 + y1) / 2 < d, word


def test_a_mistake_of_a_letter_still_finds_the_word(encoder):
    (made,) = encoder.encode_pages([page_of(sheet()[0])])
    (question,) = encoder.encode_queries(["lighthuose"])
    best = made.where[int((made.vectors @ question.vectors.T).max(axis=1).argmax())]
    assert best[1] < 0.3  # the first line


def read_alone_and_together(encoder):
    pages = [page_of(sheet(LINES[i:] + LINES[:i])[0], page=i + 1) for i in range(3)]
    pages.insert(1, page_of(Image.new("RGB", (100, 100), "white"), page=4))
    for page, made in zip(pages, encoder.encode_pages(pages), strict=True):
        (alone,) = encoder.encode_pages([page])
        assert made.text == alone.text
        np.testing.assert_array_equal(made.where, alone.where)
        yield made.vectors, alone.vectors


def test_a_batch_changes_nothing():
    for together, alone in read_alone_and_together(load_encoder("glyph", dtype="float32")):
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_batch_changes_no_more_than_the_rounding_of_the_text_model(encoder):
    """On CPUs that multiply bfloat16 (8 bits of mantissa) the text model uses it. With AMX, oneDNN sums a product in
    another order for another number of rows, so a batch rounds a value to its neighbour: 1.3e-3 of a component that is
    0.2. With AVX-512, and in float32, the order is the same."""
    for together, alone in read_alone_and_together(encoder):
        assert (together * alone).sum(axis=1).min() > 1 - 1e-4


def test_a_page_without_words_has_vectors_that_lie_nowhere(encoder):
    for image in (Image.new("RGB", (300, 400), "white"), Image.new("RGB", (1, 1)), Image.new("RGB", (3000, 2))):
        (made,) = encoder.encode_pages([page_of(image)])
        assert made.text == ""
        assert np.isnan(made.where).all()
        np.testing.assert_allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)


def test_vectors_are_as_the_entry_says(encoder):
    (made,) = encoder.encode_pages([page_of(sheet()[0])])
    (question,) = encoder.encode_queries(["Who mended the lamp?"])
    assert made.vectors.shape[1] == question.vectors.shape[1] == encoder.spec.dim == 512
    for vectors in (made.vectors, question.vectors):
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_a_page_without_an_image_is_refused(encoder):
    with pytest.raises(ShapeError, match="no image"):
        encoder.encode_pages([Page.from_text("words", doc="a.txt")])


def test_a_paraphrase_finds_the_page_and_the_mark_lies_on_its_word(tmp_path):
    others = ["Quarterly sales of garden furniture", "Replace the filter of the pump every year"]
    pages = [page_of(sheet([line])[0], "notes", i) for i, line in enumerate([*others, LINES[1]], 1)]
    with Retriever.create(tmp_path / "i.visret", model="glyph") as retriever:
        retriever.add_pages(pages)
        question = "damaged lamp"
        hit = retriever.search(question, k=1)[0]
        assert hit.page == 3
        best = retriever.heatmap(question, hit).boxes[0]
    _, inked = sheet([LINES[1]])
    centres = [(x0 + x1) / 2 for x0, _, x1, _ in inked]
    marked = {word for word, x in zip(LINES[1].split(), centres, strict=True) if best.x0 < x < best.x1}
    assert marked & {"broken", "lantern"}
    assert best.y0 < (inked[1][1] + inked[1][3]) / 2 < best.y1


def test_other_weights_are_refused(tmp_path):
    stored = load_file(weights.BUNDLED / "model.safetensors")
    (tmp_path / "visret.yaml").write_text(
        "mine: {family: glyph, source: ./, revision: '', modality: image, dim: 512, license: mit, size_gb: 0.002}"
    )
    for change in ("missing", "extra", "shape"):
        tensors = dict(stored)
        name = "reader.name.bias"
        if change == "missing":
            del tensors[name]
        elif change == "extra":
            tensors["reader.more"] = tensors[name]
        else:
            tensors[name] = tensors[name][:-1].copy()
        save_file(tensors, tmp_path / "model.safetensors")
        with pytest.raises(WeightsError, match=r"glyph|missing or unexpected"):
            load_encoder(tmp_path)


def test_small_print_and_headings_are_read(encoder):
    image = Image.new("RGB", (800, 240), "white")
    pen = ImageDraw.Draw(image)
    pen.text((20, 20), "Annual report", "black", ImageFont.load_default(64))
    pen.text((20, 140), "printed on recycled paper", "black", ImageFont.load_default(13))
    assert text_of(encoder, image).split("\n") == ["Annual report", "printed on recycled paper"]
