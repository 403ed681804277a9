"""Files inside files are unpacked under names that cannot leave their folder, and within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visret.documents import members
from visret.documents.members import Unpacking, safe_member_name


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("plan.pdf", "plan.pdf"),
        ("a/b/plan.pdf", "a/b/plan.pdf"),
        ("../../etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("C:\\Users\\ada\\plan.pdf", "C_/Users/ada/plan.pdf"),
        ("..\\..\\plan.pdf", "plan.pdf"),
        ("a/./b//plan.pdf", "a/b/plan.pdf"),
        ("plan\0\n\x1b[31m.pdf", "plan[31m.pdf"),
        ("plan\u202efdp.exe", "planfdp.exe"),  # what turns the rest of a line around hides an ending
        ("a:b?.pdf", "a_b_.pdf"),
        ("con.txt", "_con.txt"),
        ("plan.pdf. ", "plan.pdf"),
        ("übersicht.pdf", "übersicht.pdf"),
        ("...", "unnamed"),
        ("", "unnamed"),
        ("/", "unnamed"),
    ],
)
def test_a_name_stays_below_its_folder(raw, name):
    assert safe_member_name(raw) == name


@given(st.text())
def test_whatever_a_name_is_it_is_a_path_below(raw):
    parts = safe_member_name(raw).split("/")
    assert all(part and part.strip(" .") and len(part.encode()) <= 255 for part in parts)
    assert "\\" not in "".join(parts)
    assert safe_member_name("/".join(parts)) == "/".join(parts)


def test_a_long_name_keeps_its_ending():
    name = safe_member_name("é" * 300 + ".pdf")
    assert name.endswith("é.pdf")
    assert len(name.encode()) <= 200


def test_members_of_one_name_are_numbered(tmp_path):
    unpacking = Unpacking(tmp_path, [])
    made = [unpacking.add(raw, [b"x", b"y"]) for raw in ("a/plan.pdf", "a/./plan.pdf", "a/PLAN.pdf", "plan.pdf")]
    assert [m.name for m in made] == ["a/plan.pdf", "a/plan (2).pdf", "a/PLAN (3).pdf", "plan.pdf"]
    assert {m.file.read_bytes() for m in made} == {b"xy"}
    assert {m.file.parent for m in made} == {tmp_path}
    assert len({m.file for m in made}) == 4
    assert {m.file.suffix for m in made} == {".pdf"}


def test_what_is_too_large_or_too_many_is_left_out_and_said(tmp_path, monkeypatch):
    monkeypatch.setattr(members, "MAX_MEMBER_BYTES", 10)
    monkeypatch.setattr(members, "MAX_MEMBERS", 3)
    lost = []
    unpacking = Unpacking(tmp_path, lost)
    asked = 0

    def bomb():
        nonlocal asked
        while True:
            asked += 1
            yield b"0" * 4

    assert unpacking.add("bomb", bomb()) is None
    assert asked == 3
    assert unpacking.add("small", [b"0123456789"]).file.read_bytes() == b"0123456789"
    assert unpacking.add("one more byte", [b"0"]) is None
    assert unpacking.add("a fourth", [b""]) is None
    assert len(list(tmp_path.iterdir())) == 1
    unpacking.done()
    ((what, help_),) = lost
    assert what.startswith("3 of the files inside it ('bomb', 'one more byte', 'a fourth')")
    assert "3 files" in help_


def test_where_all_fits_nothing_is_said(tmp_path):
    lost = []
    unpacking = Unpacking(tmp_path, lost)
    unpacking.add("a", [b""])
    unpacking.done()
    assert lost == []
