"""PDFs written object by object, for what no library writes."""

from __future__ import annotations

from pathlib import Path

from visret import Page, documents

FONT = "3 0 R"  # PDFium makes no appearance of notes where a page's font is not an object of its own


class RawPdf:
    """`add` gives an object its number, so that others can name it as f"{number} 0 R"; 1 is the catalogue, 3 a font."""

    def __init__(self) -> None:
        self.objects: list[bytes] = [b"", b""]  # catalogue and page tree
        self.add("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>")

    def add(self, body: str, stream: bytes | None = None) -> str:
        """The reference of a new object."""
        self.objects.append(_body(body, stream))
        return f"{len(self.objects)} 0 R"

    def save(self, path: Path, pages: list[str], *, root: str = "", tree: str = "") -> Path:
        """Write the file. root, tree: what else stands in the catalogue and in the page tree."""
        self.objects[0] = _body(f"<< /Type /Catalog /Pages 2 0 R {root} >>")
        self.objects[1] = _body(f"<< /Type /Pages /Kids [{' '.join(pages)}] /Count {len(pages)} {tree} >>")
        out, starts = b"%PDF-1.7\n", []
        for number, body in enumerate(self.objects, 1):
            starts.append(len(out))
            out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        table = b"".join(b"%010d 00000 n \n" % start for start in starts)
        count = len(self.objects) + 1
        out_end = b"xref\n0 %d\n0000000000 65535 f \n%s" % (count, table)
        trailer = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (count, len(out))
        path.write_bytes(out + out_end + trailer)
        return path


def read(path: Path, number: int = 1, *, dpi: int = 72, **options) -> Page:
    """A page as visret reads it."""
    with documents.open_document(path) as document:
        return document.page(number, dpi=dpi, **options)


def page(pdf: RawPdf, content: str | bytes, more: str = "", *, own: str | None = None) -> str:
    """A page of 300 x 200 points. more: further entries. own: in place of its sizes and resources."""
    stream = pdf.add("<< >>", content.encode("latin-1") if isinstance(content, str) else content)
    own = f"/MediaBox [0 0 300 200] /Resources << /Font << /F {FONT} >> >>" if own is None else own
    return pdf.add(f"<< /Type /Page /Parent 2 0 R /Contents {stream} {own} {more} >>")


def text(x: float, y: float, words: str, *, size: float = 12) -> str:
    """What paints words."""
    return f"BT /F {size} Tf {x} {y} Td ({words}) Tj ET\n"


def shape(pdf: RawPdf, box: tuple[float, ...], content: str, more: str = "") -> str:
    """A form XObject, as appearances are."""
    head = f"<< /Type /XObject /Subtype /Form /BBox [0 0 {box[2] - box[0]} {box[3] - box[1]}] {more}"
    return pdf.add(f"{head} /Resources << /Font << /F {FONT} >> >> >>", content.encode("latin-1"))


def annotation(pdf: RawPdf, kind: str, box: tuple[float, ...], more: str, shown: str | None = None) -> str:
    """An annotation. shown: the words of its appearance."""
    look = "" if shown is None else f"/AP << /N {shape(pdf, box, text(2, 5, shown))} >>"
    rect = " ".join(map(str, box))
    return pdf.add(
        f"<< /Type /Annot /Subtype /{kind} /Rect [{rect}] {'' if '/F ' in more else '/F 4'} {more} {look} >>"
    )


def _body(body: str, stream: bytes | None = None) -> bytes:
    if stream is None:
        return body.encode("latin-1")
    head = body.rstrip().removesuffix(">>") + f"/Length {len(stream)} >>"
    return head.encode("latin-1") + b"\nstream\n" + stream + b"\nendstream"
