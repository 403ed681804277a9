"""Letters that stand apart become words by the gaps between them; vertical text is read down and to the left."""

from __future__ import annotations

import numpy as np
import pytest

from visret.documents.words import words

WIDTH, HEIGHT = 600.0, 800.0
SENTENCE = "The ferry across the estuary stops when the wind is above seven."


def read(painted: list[tuple[str, list[tuple[float, float, float, float]]]]) -> list[str]:
    """The lines of a page on which these characters were painted; line ends have no extent."""
    text = "".join(part for part, _ in painted)
    boxes = np.array([box for _, some in painted for box in some], float)
    found = words(text, boxes, np.zeros(len(text), int), width=WIDTH, height=HEIGHT)
    lines: dict[int, list[str]] = {}
    for word in found:
        lines.setdefault(word.line, []).append(word.text)
    return [" ".join(line) for line in lines.values()]


def apart(
    line: str, *, y: float = 100, within: float = 0.25, between: float = 0.8, noise: float = 0, size: float = 10
) -> tuple[str, list[tuple[float, float, float, float]]]:
    """A line whose letters stand apart by `within`, and words by `between`, in its size; white space between all."""
    random = np.random.default_rng(len(line))
    x, text, boxes = 50.0, "", []
    for char in line:
        if char == " ":
            x += (between - within) * size
            continue
        boxes += [(x, y, x + size / 2, y + 1.2 * size), (x + size / 2, y, x + size / 2, y)]
        text += f"{char} "
        x += size / 2 + size * (within + noise * float(random.uniform(-1, 1)))
    return text + "\n", [*boxes, (x, y, x, y)]


@pytest.mark.parametrize("size", [6, 10, 24])
@pytest.mark.parametrize(
    ("within", "between", "noise"),
    [(0.25, 0.8, 0), (0.25, 0.55, 0), (0.1, 0.35, 0), (0.3, 1.5, 0.1), (0.15, 0.9, 0.12)],
)
def test_letters_apart_are_words(size, within, between, noise):
    options = {"within": within, "between": between, "noise": noise, "size": min(size, 8 if between > 1 else size)}
    options["size"] = min(options["size"], 500 / (len(SENTENCE) * 0.5 + 50 * within + 12 * between))
    assert read([apart(SENTENCE, **options), apart(SENTENCE, y=140, **options)]) == [SENTENCE, SENTENCE]


@pytest.mark.parametrize("heading", ["INTRODUCTION", "THE FERRY ACROSS"])
def test_a_spaced_heading_is_words(heading):
    assert read([apart(heading)]) == [heading]


def test_a_word_on_a_line_of_its_own_is_one_where_other_lines_are_like_it():
    assert read([apart(SENTENCE, size=8), apart("estuary", y=140, size=8)]) == [SENTENCE, "estuary"]
    assert read([apart("estuary", y=140, size=8)]) == ["e s t u a r y"]


def test_one_long_row_of_letters_without_wider_gaps_is_left_alone():
    row = "thequickbrownfoxjumpsoverthelazydogs"
    assert read([apart(row)]) == [" ".join(row)]


@pytest.mark.parametrize(
    "row",
    [
        "1 2 3 4 5 6 7 8 9 0 1 2",
        "a + b = c - d * e / f",
        "A B C D E F G H",
        "x y z and a b c or so",
        "I a m",
        "A - B , C : D ; E ! F",
        "日 本 語 は 漢 字 を",
    ],
)
@pytest.mark.parametrize("step", [0.25, 0.45])
def test_what_is_no_text_set_apart_stays_as_it_is(row, step):
    x, text, boxes = 50.0, "", []
    for char in row:
        width = 10 * step if char == " " else 5 if ord(char) < 0x2E80 else 10
        boxes.append((x, 100, x + width, 112))
        text += char
        x += width
    assert read([(text, boxes)]) == [row]


def test_cells_of_single_letters_stay_apart():
    boxes = [(50 + 30 * i, 100, 55 + 30 * i, 112) for i in range(10)]
    assert read([("ACBDABCDEA", boxes)]) == ["A C B D A B C D E A"]


# ---- vertical text


def column(text: str, x: float, *, y: float = 60, size: float = 14, pitch: float = 1.1, spaces: bool = False):
    """Letters below each other, and the line end PDFium puts after them."""
    out, boxes = "", []
    for i, char in enumerate(text):
        top = y + i * pitch * size
        boxes.append((x, top, x + size, top + size))
        out += char
        if spaces:
            boxes.append((x + size, top, x + size, top))
            out += " "
    return out + "\r\n", [*boxes, *[boxes[-1]] * 2]


COLUMNS = ["第一行は渡し船の時刻。", "第二行は料金のこと、", "第三行は「荷物」のきまり"]


@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("pitch", [1.0, 1.2, 1.4])
@pytest.mark.parametrize("order", [1, -1])
def test_vertical_text_is_read_from_top_to_bottom_and_right_to_left(spaces, pitch, order):
    painted = [column(text, 400 - 28 * i, pitch=pitch, spaces=spaces) for i, text in enumerate(COLUMNS)]
    assert read(painted[::order]) == COLUMNS


def test_a_figure_between_letters_does_not_end_a_column():
    lines = ["令和6年3月末日まで", "A棟とB棟の間"]
    assert read([column(text, 400 - 28 * i) for i, text in enumerate(lines)]) == lines


def test_the_box_of_a_column_is_around_its_letters():
    text, boxes = column("渡し船", 400)
    found = words(text, np.array(boxes, float), np.zeros(len(text), int), width=WIDTH, height=HEIGHT)
    assert [word.text for word in found] == ["渡し船"]
    assert found[0].box == pytest.approx((400 / WIDTH, 60 / HEIGHT, 414 / WIDTH, (60 + 2 * 15.4 + 14) / HEIGHT))


def test_vertical_text_on_a_page_on_its_side():
    """The page's characters are turned by a quarter already."""
    text, boxes = zip(*[column(line, 400 - 28 * i) for i, line in enumerate(COLUMNS)], strict=True)
    x0, y0, x1, y1 = np.array([box for some in boxes for box in some], float).T
    turned = np.stack([HEIGHT - y1, x0, HEIGHT - y0, x1], axis=1)
    joined = "".join(text)
    found = words(joined, turned, np.ones(len(joined), int), width=HEIGHT, height=WIDTH)
    assert [word.text for word in found] == COLUMNS


def test_horizontal_lines_of_the_same_script_stay_horizontal():
    lines = [
        (text + "\r\n", [(50 + 14 * k, 100 + 20 * i, 64 + 14 * k, 114 + 20 * i) for k in range(len(text) + 2)])
        for i, text in enumerate(COLUMNS)
    ]
    assert read(lines) == COLUMNS


def test_a_column_of_a_table_with_one_letter_a_row_stays_rows():
    rows = [(f"{char}\r\n", [(50, 100 + 24 * i, 62, 112 + 24 * i)] * 3) for i, char in enumerate("男女男女男")]
    assert read(rows) == list("男女男女男")
