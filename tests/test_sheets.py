"""Spreadsheets: all that is in their cells stands on their pages, once, and where it can be read."""

import subprocess
import sys
import zipfile
from collections import Counter

import pytest
from support.office_files import Read, needs_libreoffice, write_workbook
from support.sheets import ink

from visret.documents import office, sheets
from visret.documents.opendocument import parsed, q
from visret.documents.sheets import cells, pages, tables
from visret.errors import DocumentError


@pytest.fixture(scope="module")
def workbook(tmp_path_factory):
    return write_workbook(tmp_path_factory.mktemp("workbook") / "fares.xlsx")


@pytest.fixture(scope="module")
def read(workbook):
    """The workbook on its pages; by sheet."""
    return Read(workbook, workbook.parent / "made")


@needs_libreoffice
def test_every_cell_is_on_a_page(read):
    words = Counter(word.text for page in read.pages for word in page.words)
    assert words["1234567.89"] == 5
    assert words["98,765,435.10"] == 1
    assert words["A-"] == 5  # of a hidden column
    assert {"Quay", "island", "remark", "edge", "x", "remote", "near"} <= words.keys()
    assert all(words[str(row * 1000 + column)] for row in range(1, 101) for column in range(30))
    assert words["word"] == 2000
    assert words["FALSE"] == 1  # of a formula, and no format says so
    assert words["###"] == 0
    assert read.lost == ()


@needs_libreoffice
def test_a_row_stands_on_one_line_with_its_label(read):
    lines = {line for page in read.pages for line in page.text.split("\n")}
    assert next(line for line in lines if line.startswith("Depot 73 ")).split()[2:] == [
        str(73000 + column) for column in range(30)
    ]
    assert "Quay 2 to island 1234567.89 98,765,434.10 A-" in lines


@needs_libreoffice
def test_what_is_hidden_is_shown_on_a_page_of_its_sheet(read):
    heads = [page.text.split("\n")[0] for page in read.pages]
    assert [head for head, before in zip(heads, ["", *heads], strict=False) if head != before] == [
        *("Fares", "Reserve", "Wide", "Far")
    ]
    assert "Hidden reserve fund Basalt account" in read.pages[1].text


@needs_libreoffice
def test_words_lie_on_their_ink(read):
    page = read.pages[0]
    for text in ("Passengers", "98,765,437.10", "Suspended", "edge"):
        x0, y0, x1, y1 = read.box(text)
        assert ink(page, (x0, y0, x1, y1)) > 0.03, text
        assert ink(page, (x0 - 0.004, y0, x0 - 0.001, y1)) == 0, text
        assert ink(page, (x1 + 0.001, y0, x1 + 0.003, y1)) == 0, text


@needs_libreoffice
def test_a_sheet_keeps_the_proportions_of_paper(read):
    for page in read.pages:
        width, height = page.size_pt
        assert width <= pages.MAX_SIDE
        assert height <= max(1.5 * width, 900)
    assert len(read.pages) <= 7  # no page of the million empty rows


@needs_libreoffice
def test_a_file_that_is_too_large_is_read_in_part_and_says_so(workbook, tmp_path, monkeypatch):
    import openpyxl

    book = openpyxl.load_workbook(workbook)
    del book["Far"]
    book.save(tmp_path / "large.xlsx")
    monkeypatch.setattr(sheets, "MAX_CELLS", 500)
    made = Read(tmp_path / "large.xlsx", tmp_path / "made")
    assert made.lost_whats() == [
        *("the last 85 rows of the sheet Wide", "pictures, charts and comments of a very large file")
    ]
    assert "Depot 15 15000" in made.text()
    assert "Depot 16" not in made.text()


def test_cells_are_shared_out_among_sheets():
    assert cells._shares([10, 2000, 30, 500], 540) == [10, 250, 30, 250]
    assert cells._shares([], 5) == []


def test_a_cell_far_away_ends_only_the_process_that_reads_cells(workbook):
    assert cells.read(str(workbook), most=1000) is None


def test_the_text_of_cells(tmp_path):
    import openpyxl

    book = openpyxl.Workbook()
    book.active.append(["Route", None, 17.5, True])
    book.create_sheet("Second").append(["two\nlines", "x"])
    book.save(tmp_path / "a.xlsx")
    text, lost = office.text_without(tmp_path / "a.xlsx")
    assert text == "Sheet\nRoute\t\t17.5\tTrue\fSecond\ntwo lines\tx"
    assert [loss.what for loss in lost] == ["the comments and pictures of a spreadsheet"]
    (tmp_path / "a.xlsx").write_bytes(b"PK\3\4")
    with pytest.raises(DocumentError, match="damaged XLSX"):
        office.text_without(tmp_path / "a.xlsx")


def test_missing_cells_are_counted_by_sheet():
    fitted = [
        sheets.SheetContent("Fares", ["1234567", "North quay", "broken-word", "12", "12"]),
        sheets.SheetContent("Other", ["12", "שלום", "3"]),
    ]
    found = ["###", "North", "quay", "broken-", "word", "12", "12", "3"]
    book = cells.Book((cells.Sheet("Other", [], ["North quay", "unknown"], 0),))
    assert [loss.what for loss in sheets.missing(fitted, book, found)] == [
        *("one cell of the sheet Fares", "2 cells of the sheet Other")
    ]
    assert sheets.missing(fitted, None, [*found, "1234567", "12"]) == []


@pytest.fixture
def fitted(tmp_path):
    """fitted(rows): the columns' widths in points, and the cells, of a sheet of these after it was fitted."""

    def fit(rows):
        path = tmp_path / "a.ods"
        sheets.write(path, cells.Book((cells.Sheet("S", rows, [], 0),)))
        sheets.fit(path)
        with zipfile.ZipFile(path) as archive:
            content = parsed(archive, "content.xml")
        styles = {one.get(q("style:name")): one for one in content.iter(q("style:style"))}

        def width(column):
            properties = styles[column.get(q("table:style-name"))][0]
            return float(properties.get(q("style:column-width")).removesuffix("pt"))

        return [width(column) for column in content.iter(q("table:table-column"))], content

    return fit


def test_columns_are_as_wide_as_what_they_show(fitted):
    (first, second, *_), _ = fitted([["x", 123456789012345], ["a text of some length that is cut by what follows", 1]])
    assert first > 250
    assert 90 < second < 140


def test_a_title_runs_over_empty_cells_and_a_long_text_over_lines(fitted):
    title = "A title of some length over empty cells"
    (first, *_), _ = fitted([[title, None, None, None, None], ["a", "b", "c", "d", "e"]])
    assert first == 64
    (first, *_), content = fitted([["long " * 200, "b"]])
    assert first == pytest.approx(tables.MAX_TEXT_WIDTH, abs=1)
    assert next(content.iter(q("style:table-cell-properties"))).get(q("fo:wrap-option")) == "wrap"
    (first, *_), _ = fitted([["long " * 5000, "b"]])
    assert first > 2 * tables.MAX_TEXT_WIDTH  # the height of a row is limited


def test_the_process_that_reads_cells_imports_nothing_of_visret():
    code = f"import sys, runpy; runpy.run_path({cells.__file__!r}); print([m for m in sys.modules if 'visret' in m])"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
