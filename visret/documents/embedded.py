"""Files inside a PDF: in a portfolio, attached, or tied to a page. Call this under the lock of pdf.py only."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

from pypdfium2 import raw

from visret.documents import characters
from visret.documents.members import MAX_MEMBER_BYTES, MAX_MEMBERS


class Embedded(NamedTuple):
    """An embedded file. data: its bytes; None where it cannot be read, or exceeds the limit of all members together."""

    name: str
    data: bytes | None


def count(pdf: Any) -> int:
    """Count the files that belong to the document as a whole, up to one more than are unpacked."""
    return min(int(raw.FPDFDoc_GetAttachmentCount(pdf)), MAX_MEMBERS + 1)


def of_document(pdf: Any, index: int) -> Embedded | None:
    """Return the file with this index; None where there is none after all."""
    one = raw.FPDFDoc_GetAttachment(pdf, index)
    return _read(one) if one else None


def of_page(page: Any) -> Iterator[Embedded]:
    """Yield the files that are tied to an open page."""
    for i in range(min(raw.FPDFPage_GetAnnotCount(page), MAX_MEMBERS + 1)):
        note = raw.FPDFPage_GetAnnot(page, i)
        if not note:
            continue
        try:
            if raw.FPDFAnnot_GetSubtype(note) == raw.FPDF_ANNOT_FILEATTACHMENT and (
                one := raw.FPDFAnnot_GetFileAttachment(note)
            ):
                yield _read(one)
        finally:
            raw.FPDFPage_CloseAnnot(note)


def _read(one: Any) -> Embedded:
    name = characters.utf16(functools.partial(raw.FPDFAttachment_GetName, one))
    size = ctypes.c_ulong()
    if not raw.FPDFAttachment_GetFile(one, None, 0, ctypes.byref(size)) or size.value > MAX_MEMBER_BYTES:
        return Embedded(name, None)
    buffer = ctypes.create_string_buffer(max(1, size.value))
    if size.value and not raw.FPDFAttachment_GetFile(one, buffer, size.value, ctypes.byref(size)):
        return Embedded(name, None)
    return Embedded(name, buffer.raw[: size.value])
