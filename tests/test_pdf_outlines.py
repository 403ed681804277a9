"""Which pages may have print that is drawn as shapes, or as a picture that fills a shape."""

import pytest
from support.raw_pdf import RawPdf, page, text

from visret import documents


def letters(count: int, *, size: float = 8, kinds: int = 12, how: str = "f", curved: bool = True) -> str:
    """Shapes in rows, of so many kinds; each is painted by itself where `how` says how, else all at the end."""
    drawn = []
    for k in range(count):
        x, y = 10 + 10 * (k % 28), 180 - 12 * (k // 28)
        points = 3 + k % kinds
        lines = f"{x + size} {y} l {x + size} {y + size} l " * points
        curves = f"{x + size} {y} {x + size} {y + size} {x} {y + size} c " * points
        drawn.append(f"{x} {y} m {curves if curved else lines}h {how}\n")
    return "".join(drawn)


def drawn(path, content: str, more: str = "", resources: str = "") -> bool:
    pdf = RawPdf()
    own = f"/MediaBox [0 0 300 200] /Resources << /Font << /F 3 0 R >> {resources} >>"
    with documents.open_document(pdf.save(path, [page(pdf, text(20, 100, "Ferry") + content, more, own=own)])) as made:
        return made.page(1, image=False).drawn


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", False),
        (letters(200), True),
        (letters(200, how="") + "f", True),
        (f"10 20 m {'12 22 14 26 16 20 c 20 26 24 22 280 20 c ' * 80} f", True),  # a heading
        (letters(200, kinds=1), False),  # the marks of a diagram
        (letters(8), False),
        (letters(200, how="S"), False),  # lines
        (letters(200, size=90), False),
        (letters(200, how="", curved=False, kinds=1) + "f", False),  # a coast
        ("10 10 100 100 re f\n" * 300, False),
    ],
)
def test_many_shapes_as_small_as_letters_may_be_print(tmp_path, content, expected):
    assert drawn(tmp_path / "a.pdf", content) is expected


@pytest.mark.parametrize("depth", [1, 2, 9])
def test_shapes_in_forms_count_too(tmp_path, depth):
    pdf = RawPdf()
    inside = pdf.add("<< /Type /XObject /Subtype /Form /BBox [0 0 300 200] >>", letters(200).encode())
    for _ in range(depth - 1):
        head = f"<< /Type /XObject /Subtype /Form /BBox [0 0 300 200] /Resources << /XObject << /X {inside} >> >> >>"
        inside = pdf.add(head, b"/X Do")
    own = f"/MediaBox [0 0 300 200] /Resources << /XObject << /X {inside} >> >>"
    with documents.open_document(pdf.save(tmp_path / "a.pdf", [page(pdf, "/X Do", own=own)])) as made:
        assert made.page(1, image=False).drawn


@pytest.mark.parametrize(("side", "expected"), [(150, True), (20, False)])
def test_a_pattern_that_fills_a_large_shape_may_be_a_picture_of_print(tmp_path, side, expected):
    pdf = RawPdf()
    head = "<< /Type /Pattern /PatternType 1 /PaintType 1 /TilingType 1 /BBox [0 0 200 200] /XStep 200 /YStep 200"
    pattern = pdf.add(f"{head} /Resources << >> >>", b"1 0 0 rg 0 0 100 100 re f")
    own = f"/MediaBox [0 0 300 200] /Resources << /Pattern << /P {pattern} >> >>"
    content = f"/Pattern cs /P scn 20 20 {side} {side} re f"
    with documents.open_document(pdf.save(tmp_path / "a.pdf", [page(pdf, content, own=own)])) as made:
        assert made.page(1, image=False).drawn is expected
