"""E-mail from .eml files: its headers and text are pages, the attachments and messages in it are members."""

from __future__ import annotations

import base64
import binascii
import email
import re
from collections.abc import Iterator
from contextlib import suppress
from email.errors import InvalidBase64LengthDefect, MessageError
from email.header import decode_header
from email.message import Message
from email.policy import compat32
from mimetypes import guess_extension
from pathlib import Path

from visret.documents import office
from visret.documents.document import Member
from visret.documents.encodings import decode
from visret.documents.members import Unpacking
from visret.documents.text import PlainText
from visret.errors import DocumentError
from visret.types import Loss

_SHOWN = ("From", "To", "Cc", "Bcc", "Date", "Subject")
_USUAL = {*map(str.lower, _SHOWN), "message-id", "mime-version", "received", "return-path", "content-type"}
_SIGNATURES = {"application/pgp-signature", "application/pkcs7-signature", "application/x-pkcs7-signature"}
_SEALED = {"application/pkcs7-mime", "application/x-pkcs7-mime", "application/pgp-encrypted"}
_UNSEAL = "open it in the mail program that has the key, and save its text"
_NO_BASE64 = re.compile(rb"[^A-Za-z0-9+/]")
_UUENCODED = re.compile(r"^begin [0-7]{3,4} (?P<name>[^\n]+)\n(?P<lines>(?:[ -`]{1,62}\n)+)end[ \t]*$", re.MULTILINE)
_BROKEN = (MessageError, LookupError, ValueError, TypeError, AttributeError, RecursionError)  # raised on odd messages


def opened(path: Path, _: str | None) -> Mail:
    """Open the message in a file. Raises DocumentError where there is none."""
    data = path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    try:
        message = email.message_from_bytes(data.lstrip(b"\r\n"), policy=compat32)
        if not _USUAL & {name.lower() for name, _ in message.raw_items()}:
            raise DocumentError(path, "is not an e-mail: it does not begin with lines such as From:, Date: or Subject:")
        return Mail(path, message)
    except RecursionError as error:
        raise DocumentError(path, "is an e-mail whose parts are nested too deeply; save its text") from error


class Mail(PlainText):
    """A message: From, To, Cc, Bcc, Date and Subject, and its text, in pages like those of plain text."""

    def __init__(self, path: Path, message: Message) -> None:
        self._attached: list[Message] = []
        lost: list[Loss] = []
        texts = [_headers(message), *_texts(message, self._attached, lost)]
        super().__init__(path, "\n\n".join(text.strip("\n") for text in texts if text.strip()) + "\n")
        self.lost += lost

    def members(self, folder: Path) -> Iterator[Member]:
        """Yield the attachments, including those that are messages."""
        unpacking = Unpacking(folder, self.lost)
        for number, part in enumerate(self._attached, 1):
            name = _name(part, number)
            try:
                data = _content(part)
            except _BROKEN as error:
                self.lost.append(Loss(f"the attachment {name!r} ({error})", "save it in the mail program, and add it"))
                continue
            if found := unpacking.add(name, [data]):
                yield found
        unpacking.done()


def _headers(message: Message) -> str:
    values = {name.lower(): value for name, value in reversed(list(message.raw_items()))}
    return "\n".join(f"{name}: {_plain(values[name.lower()])}" for name in _SHOWN if name.lower() in values)


def _plain(header: object) -> str:
    """Decode a header to one line of readable text."""
    raw = str(header).encode("utf-8", "surrogateescape")
    text = decode(raw).text
    if "=?" in text:
        with suppress(*_BROKEN):  # else it stays as it is written
            text = "".join(_chunk(*chunk) for chunk in decode_header(text))
    return " ".join(text.split())


def _chunk(data: bytes | str, charset: str | None) -> str:
    return data if isinstance(data, str) else decode(data, declared=charset).text


def _texts(part: Message, attached: list[Message], lost: list[Loss]) -> Iterator[str]:
    """Yield the texts of a message in order; parts that are no text are added to `attached`."""
    kind = part.get_content_type()
    if kind in _SEALED:
        lost.append(Loss("the text of the message, which is encrypted or sealed", _UNSEAL))
    elif kind in _SIGNATURES:
        return
    elif kind == "message/delivery-status":
        yield "\n".join(_all_headers(one) for one in _inside(part))
    elif kind.startswith("message/") and part.is_multipart():
        attached.append(part)
    elif kind == "multipart/alternative" and part.is_multipart():
        yield _richest(part, attached, lost)
    elif part.is_multipart():
        for inside in _inside(part):
            yield from _texts(inside, attached, lost)
    elif part.get_content_disposition() == "attachment" or part.get_filename() or not _is_text(part):
        attached.append(part)
    else:
        yield _UUENCODED.sub(lambda match: _unpacked(match, attached), _text(part, lost))


def _is_text(part: Message) -> bool:
    """Return whether a part is to be read in the message; a multipart that nothing divides is taken as it stands."""
    return part.get_content_maintype() in ("text", "multipart")


def _all_headers(part: Message) -> str:
    return "\n".join(f"{name}: {_plain(value)}" for name, value in part.raw_items())


def _inside(part: Message) -> list[Message]:
    payload = part.get_payload()
    return [one for one in payload if isinstance(one, Message)] if isinstance(payload, list) else []


def _richest(part: Message, attached: list[Message], lost: list[Loss]) -> str:
    """Return the first of the alternatives, which is plain text, unless another has more than twice as many words."""
    texts = ["\n\n".join(_texts(one, attached, lost)) for one in _inside(part) if not _is_calendar(one)]
    if not any(text.strip() for text in texts):
        texts = ["\n\n".join(_texts(one, attached, lost)) for one in _inside(part) if _is_calendar(one)]
    sizes = [len(text.split()) for text in texts]
    most = max(sizes, default=0)
    return next((text for text, size in zip(texts, sizes, strict=True) if 2 * size >= most), "")


def _is_calendar(part: Message) -> bool:
    return part.get_content_type() == "text/calendar"


def _text(part: Message, lost: list[Loss]) -> str:
    data = _payload(part)
    found = decode(data if isinstance(data, bytes) else b"", declared=_charset(part))
    lost += found.lost
    if part.get_content_type() == "text/html":
        return office.text_of_html(found.text.encode("utf-8", "replace"))
    return found.text.replace("\r\n", "\n").replace("\r", "\n")


def _charset(part: Message) -> str | None:
    try:
        return part.get_content_charset()
    except _BROKEN:
        return None


def _name(part: Message, number: int) -> str:
    """Return the name of an attachment; where it has none, one made of its subject or kind, and its number."""
    try:
        given = part.get_filename()
    except _BROKEN:
        given = None
    if given:
        return _plain(given)
    inside = _inside(part)
    if inside:
        subject = re.sub(r"[/\\]", "_", _plain(inside[0].get("Subject", "")))[:80]
        return f"{subject or f'message {number}'}.eml"
    return f"attachment {number}{guess_extension(part.get_content_type()) or '.bin'}"


def _content(part: Message) -> bytes:
    if inside := _inside(part):
        return inside[0].as_bytes()
    data = _payload(part)
    return data if isinstance(data, bytes) else b""


def _payload(part: Message) -> object:
    """Decode the content of a part; Base64 that is cut off, which email leaves alone, is decoded as far as possible."""
    data = part.get_payload(decode=True)
    if isinstance(data, bytes) and any(isinstance(one, InvalidBase64LengthDefect) for one in part.defects):
        packed = _NO_BASE64.sub(b"", data)
        return base64.b64decode(packed[: len(packed) // 4 * 4])
    return data


def _unpacked(match: re.Match[str], attached: list[Message]) -> str:
    """Attach a uuencoded file found in a text, as programs sent them before MIME; return what stands in its place."""
    try:
        data = b"".join(map(binascii.a2b_uu, match["lines"].splitlines()))
    except (binascii.Error, ValueError):
        return match[0]
    part = Message()
    part.add_header("Content-Disposition", "attachment", filename=match["name"].strip())
    part.add_header("Content-Transfer-Encoding", "base64")
    part.set_payload(base64.encodebytes(data).decode("ascii"))
    attached.append(part)
    return ""
