from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import numpy as np
import pypdfium2 as pdfium
import pytest
from support.samples import FOLDER, QUESTIONS, Question

NAMES = ("report.pdf", "two_column.pdf", "scan.pdf")
A4 = (595, 842)
ACROSS = (842, 595)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The documents as another process makes them, with its own hash seed and time zone."""
    folder = tmp_path_factory.mktemp("documents")
    env = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Pacific/Auckland"}
    subprocess.run([sys.executable, str(FOLDER.parent / "make_documents.py"), str(folder)], check=True, env=env)
    return folder


@pytest.fixture(scope="module")
def make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_documents", FOLDER.parent / "make_documents.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def page_texts(path: Path) -> list[str]:
    """The text of each page, words over line ends joined (PDFium marks their hyphen with U+FFFE)."""
    with pdfium.PdfDocument(path) as document:
        return [page.get_textpage().get_text_range().replace("\ufffe", "") for page in document]


@pytest.mark.parametrize("name", NAMES)
def test_making_them_again_gives_the_same_bytes(name: str, made: Path, make: ModuleType, tmp_path: Path) -> None:
    getattr(make, name.removesuffix(".pdf"))(tmp_path / name)
    assert (tmp_path / name).read_bytes() == (made / name).read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_files_are_those_of_the_script(name: str, made: Path) -> None:
    with pdfium.PdfDocument(FOLDER / name) as committed, pdfium.PdfDocument(made / name) as fresh:
        if committed.get_metadata_value("Producer") == fresh.get_metadata_value("Producer"):
            assert (FOLDER / name).read_bytes() == (made / name).read_bytes()
        assert len(committed) == len(fresh)
        for old, new in zip(committed, fresh, strict=True):  # other versions of the packages give other bytes
            assert old.get_textpage().get_text_range() == new.get_textpage().get_text_range()
            a, b = (page.render(scale=0.4, grayscale=True).to_numpy().astype(int) for page in (old, new))
            assert np.abs(a - b).mean() < 2


def test_the_folder_holds_nothing_else() -> None:
    names = {path.name for path in FOLDER.iterdir()} - {"__pycache__"}
    assert names == set(NAMES)
    assert all((FOLDER / name).stat().st_size < 300_000 for name in NAMES)


@pytest.mark.parametrize(
    ("name", "sizes", "rotations"),
    [
        ("report.pdf", [A4] * 5 + [ACROSS, ACROSS, A4], [0, 0, 0, 0, 0, 0, 90, 0]),
        ("two_column.pdf", [A4] * 3, [0] * 3),
        ("scan.pdf", [A4] * 2, [0] * 2),
    ],
)
def test_sizes_and_rotations(name: str, sizes: list[tuple[int, int]], rotations: list[int]) -> None:
    with pdfium.PdfDocument(FOLDER / name) as document:
        assert [tuple(round(side) for side in page.get_size()) for page in document] == sizes
        assert [page.get_rotation() for page in document] == rotations


def test_the_turned_page_is_stored_upright_and_read_from_left_to_right() -> None:
    with pdfium.PdfDocument(FOLDER / "report.pdf") as document:
        page = document[6]
        assert tuple(round(side) for side in page.get_mediabox()) == (0, 0, *A4)
        text = page.get_textpage()
        start, count = text.search("Site plan").get_next()
        first, last = text.get_charbox(start), text.get_charbox(start + count - 1)
        assert last[1] > first[1]  # along the y axis of the file, which /Rotate 90 shows from left to right
        assert abs(last[0] - first[0]) < 20


def test_the_scan_has_pictures_and_no_text() -> None:
    assert page_texts(FOLDER / "scan.pdf") == ["", ""]
    with pdfium.PdfDocument(FOLDER / "scan.pdf") as document:
        for page in document:
            (image,) = page.get_objects()
            assert image.get_filters() == ["DCTDecode"]
            ink = 255 - page.render(scale=1, grayscale=True).to_numpy()
            assert 0.02 < (ink > 100).mean() < 0.2


def test_words_of_the_columns_are_those_of_the_file(make: ModuleType) -> None:
    pages = make.two_column_words()
    assert len(pages) == 3
    for words, text in zip(pages, page_texts(FOLDER / "two_column.pdf"), strict=True):
        assert Counter(words) == Counter(text.split())


def test_columns_are_read_one_after_the_other(make: ModuleType) -> None:
    first, second, third = (" ".join(words) for words in make.two_column_words())
    assert first.startswith("Field notes Air and bark How lichens measure the air of a city They have no roots,")
    assert "by this principle, and the north side five squares of 10 cm 1 m above the ground Figure 1." in first
    assert "every square it reaches. centres of many towns" in first
    assert second.startswith("Field notes Air and bark Market square: 11 Ring road: 24 Bus depot: 13")
    assert "from the centre to the woods. edge is one metre" in second
    assert "minutes before they leave. The return, and a new guest" in second
    assert third.startswith("Field notes Air and bark Species on a tree 10 5 0 1981 1991 2001 2011 2021 Figure 3.")
    assert third.endswith("lichens in general is true. 3")


def test_columns_have_broken_words_and_ligatures(make: ModuleType) -> None:
    lines = make.body()
    assert sum(line.text.endswith("-") for line in lines) >= 12
    assert all(make.width_of(line.text, line.font, line.size) < 1.06 * make.COLUMN_WIDTH for line in lines)
    assert "ﬁ" in make.with_ligatures("five flat crusts")
    with pdfium.PdfDocument(FOLDER / "two_column.pdf") as document:
        text = document[0].get_textpage()
        start, _ = text.search("five squares").get_next()
        assert text.get_charbox(start) == text.get_charbox(start + 1)  # one glyph stands for f and i


@pytest.mark.parametrize("question", [q for q in QUESTIONS if q.passage], ids=lambda question: question.text)
def test_the_passage_stands_on_the_page_of_the_question(question: Question, make: ModuleType) -> None:
    if question.doc == "two_column.pdf":
        words = make.two_column_words()[question.page - 1]
    else:
        words = page_texts(FOLDER / question.doc)[question.page - 1].split()
    assert f" {question.passage} " in f" {' '.join(words)} "


def test_the_questions_cover_all_documents_and_kinds() -> None:
    assert {question.doc for question in QUESTIONS} == set(NAMES)
    assert {question.doc for question in QUESTIONS if not question.passage} == {"scan.pdf"}
    assert Counter(question.kind for question in QUESTIONS) == {"paraphrase": 7, "lexical": 4, "visual": 4}
