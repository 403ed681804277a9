"""What stands on a layer that is switched off is neither drawn nor a word; all other text is."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.raw_pdf import FONT, RawPdf, page, shape, text

from visret import documents
from visret.documents import pdf

INVISIBLE = "BT 3 Tr /F 12 Tf 20 20 Td (invisible) Tj ET\n"


def made(path: Path, *, config: str, marked: str, forms: int = 0, more: str = "") -> Path:
    """Text on two layers, A and B, of one name. marked: how B's is marked. forms: in how many forms each of both is."""
    out = RawPdf()
    a, b = (out.add("<< /Type /OCG /Name (notes) >>") for _ in range(2))
    oc = {"group": b, "any": out.add(f"<< /Type /OCMD /OCGs [{b}] /P /AnyOn >>")}
    oc["none"] = out.add(f"<< /Type /OCMD /OCGs [{a}] /P /AllOff >>")
    oc["expression"] = out.add(f"<< /Type /OCMD /VE [/Not [/Or {a} {b}]] >>")
    box = (0, 0, 300, 200)
    if forms:
        shown = [
            shape(out, box, text(20, y, words), f"/OC {mark}")
            for y, words, mark in ((100, "english", a), (100, "deutsch", oc[marked]))
        ]
        for _ in range(forms - 1):
            head = "<< /Type /XObject /Subtype /Form /BBox [0 0 300 200] /Resources << /XObject << {} >> >> >>"
            both = " ".join(f"/{name} {one}" for name, one in zip("XY", shown, strict=True))
            shown = [out.add(head.format(both), b"/X Do /Y Do"), out.add(head.format(""), b"")]
        content = "/X Do /Y Do "
    else:
        shown = []
        content = f"/OC /A BDC {text(20, 100, 'english')} EMC /OC /B BDC {text(20, 100, 'deutsch')} EMC "
    objects = f"/XObject << {' '.join(f'/{n} {s}' for n, s in zip('XY', shown, strict=False))} >>"
    resources = f"/Resources << /Font << /F {FONT} >> /Properties << /A {a} /B {oc[marked]} >> {objects} >>"
    only = page(out, text(20, 180, "always") + content + INVISIBLE, own=f"/MediaBox [0 0 300 200] {resources} {more}")
    return out.save(path, [only], root=f"/OCProperties << /OCGs [{a} {b}] /D << {config.format(a=a, b=b)} >> >>")


def words(path: Path) -> list[str]:
    with documents.open_document(path) as document:
        first, second = document.page(1), document.page(1, image=False)
    assert first.words == second.words
    return sorted(word.text for word in first.words)


@pytest.mark.parametrize("forms", [0, 1, 2, 4])
@pytest.mark.parametrize(
    ("config", "marked", "shown"),
    [
        ("/OFF [{b}]", "group", "english"),
        ("/OFF [{a}]", "group", "deutsch"),
        ("/BaseState /OFF /ON [{a}]", "group", "english"),
        ("", "group", "english deutsch"),
        ("/OFF [{b}]", "any", "english"),
        ("/OFF [{b}]", "none", "english"),
        ("/OFF [{a}]", "none", "deutsch"),
        ("/OFF [{b}]", "expression", "english"),
    ],
)
def test_words_are_those_of_the_layers_that_are_on(tmp_path, forms, config, marked, shown):
    path = made(tmp_path / "layers.pdf", config=config, marked=marked, forms=forms)
    assert words(path) == sorted(["always", "invisible", *shown.split()])


def test_looking_for_layers_does_not_change_the_picture(tmp_path):
    path = made(tmp_path / "layers.pdf", config="/OFF [{b}]", marked="group", forms=1)
    with documents.open_document(path) as document:
        read = document.page(1).image.tobytes()
        assert document.page(1, words=False).image.tobytes() == read


def test_a_document_without_layers_is_not_looked_through(tmp_path, monkeypatch):
    out = RawPdf()
    path = out.save(tmp_path / "plain.pdf", [page(out, text(20, 180, "always"))])
    monkeypatch.setattr(pdf.layers, "hide", None)
    assert words(path) == ["always"]
