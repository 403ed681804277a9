"""Cyrillic and Greek that a PDF gives as Korean, and Korean that is Korean."""

import numpy as np
import pytest

from visret.documents.misread import repaired


def codes(text):
    return np.array([ord(c) for c in text], np.uint32)


def read(text):
    return "".join(map(chr, repaired(codes(text)).tolist()))


def broken(text):
    """Each letter beyond ASCII as its two bytes of UTF-8 in one character."""
    return "".join(c if c.isascii() else chr(int.from_bytes(c.encode(), "big")) for c in text)


@pytest.mark.parametrize(
    "text", ["Лист 56: Масштаб 1:1, Копировал", "Η βάρκα φεύγει στις πέντε", "été à Genève, où l'hôtel déçoit ñ"]
)
def test_letters_come_back(text):
    assert broken(text) != text
    assert read(broken(text)) == text


@pytest.mark.parametrize(
    "text", ["바람이 강하면 나룻배는 운항하지 않습니다", "plain", "", "Паром не ходит", "渡し船は風が強いとき", "😀 ok"]
)
def test_what_is_right_stays(text):
    assert read(text) == text


def test_bytes_in_the_wrong_order():
    text = "Multicolor Black (K = 1)"
    swapped = text.encode("utf-16-be").decode("utf-16-le")
    assert swapped[0] == "\u4d00"
    assert read(swapped) == text
    assert read(swapped + "渡し船") == swapped + "渡し船"


def test_a_few_letters_are_left_alone():
    assert read(broken("Лист")) == broken("Лист")


def test_a_page_with_korean_on_it_is_left_alone():
    text = broken("Лист и масштаб") + " 바람이 강하면"
    assert read(text) == text
