"""HTML as plain text, where LibreOffice is missing, and in an encoding that LibreOffice cannot mistake.

text_of_html(Path("page.html").read_bytes())
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser

from visret.documents.encodings import Decoded, decode
from visret.types import Loss

_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_META = re.compile(r"(<meta[^>]*?charset\s*=\s*[\"']?\s*)[\w.:-]+", re.IGNORECASE)
_DRAWN = re.compile(r"(?=</?(svg|text)\b)", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\A\s*<\?xml[^>]*\?>")


def text_of_html(data: bytes) -> str:
    """Return the text of an HTML page: a line for a list item or a row (tabs between cells), blank lines around others.

    Scripts and styles are left out, and so are drawings and templates that are closed.
    """
    reader = _TextParser()
    reader.feed(decoded(data).text)
    reader.close()
    text = re.sub(r" *\t *", "\t", re.sub(r"[ \r\xa0]+", " ", "".join(reader.parts)))
    return re.sub(r"[\s\v]*[\n\v][\s\v]*", lambda gap: "\n\n" if "\v" in gap[0] else "\n", text).strip()


def decoded(data: bytes) -> Decoded:
    """Decode an HTML page; the encoding it states is believed where its bytes fit.

    What cannot be read is lost, and so is what browsers hide too, in an element that is not closed.
    """
    stated = _CHARSET.search(data[:4096])
    name = stated[1].decode("ascii") if stated else None
    if name and name.lower().startswith("utf-16"):  # or it could not be read here
        name = None
    text, encoding, lost = decode(data, declared=name)
    return Decoded(text, encoding, (*lost, *_hidden(text)))


def _hidden(text: str) -> Iterator[Loss]:
    for tag in _HIDING:
        opens = [found.start() for found in re.finditer(rf"<{tag}\b(?![^<>]*/>)", text, re.IGNORECASE)]
        if opens and not re.search(rf"</{tag}\b", text[opens[-1] :], re.IGNORECASE):
            yield Loss(f"what follows a <{tag}> that is never closed", f"close it (</{tag}>), and save the page")
            return


def in_utf8(data: bytes) -> tuple[bytes, tuple[Loss, ...]]:
    """Return the page in UTF-8, which it also states, and what of it could not be read."""
    text, _, lost = decoded(data)
    said = _META.sub(r"\1utf-8", _XML_DECLARATION.sub("", text, count=1))
    said = _DRAWN.sub(" ", said)  # LibreOffice appends the text of drawings without a blank
    return b"\xef\xbb\xbf" + said.encode("utf8", "replace"), lost


_HIDING = ("script", "style", "title", "iframe", "textarea", "xmp", "noframes", "noembed")
_UNSEEN = {"script", "style"}
_ASIDE = {"svg", "template"}
_LINES = {  # elements that stand on a line of their own
    "address", "article", "aside", "br", "dd", "div", "dt", "figcaption", "footer", "header", "hr", "li", "nav",
    "section", "tr",
}  # fmt: skip
_BLOCKS = {"blockquote", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "ol", "p", "pre", "table", "title", "ul"}
_ENDS_DRAWING = (_LINES | _BLOCKS) - {"title"}  # elements of HTML, which browsers show though the drawing is not closed


class _TextParser(HTMLParser):
    """A parser that collects text, with a line feed where a line ends and a vertical tab where a blank line follows.

    Text in a drawing or a template is put aside, and dropped once that is closed: one that is not closed would hide the
    rest of the page.
    """

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.aside: list[str] = []
        self.depth = dict.fromkeys(("unseen", "pre", *_ASIDE), 0)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag in _ENDS_DRAWING and self.depth["svg"]:
            self.leave("svg", keep=False)
        self.put("\t" if tag in {"td", "th"} else _mark(tag))
        self.enter(tag, 1)

    def handle_endtag(self, tag: str) -> None:  # also of <br/>
        self.put(_mark(tag))
        self.enter(tag, -1)

    def enter(self, tag: str, step: int) -> None:
        kind = "unseen" if tag in _UNSEEN else tag
        if kind not in self.depth:
            return
        was, self.depth[kind] = self.depth[kind], max(0, self.depth[kind] + step)
        if kind in _ASIDE and was and not self.depth[kind]:
            self.leave(kind, keep=False)

    def leave(self, kind: str, *, keep: bool) -> None:
        self.depth[kind] = 0
        if not any(self.depth[one] for one in _ASIDE):
            if keep:
                self.parts += self.aside
            self.aside.clear()

    def close(self) -> None:
        super().close()
        for kind in _ASIDE:
            self.leave(kind, keep=True)

    def handle_data(self, data: str) -> None:
        if not self.depth["unseen"]:
            self.put(data if self.depth["pre"] else re.sub(r"\s+", " ", data))

    def put(self, text: str) -> None:
        (self.aside if any(self.depth[one] for one in _ASIDE) else self.parts).append(text)


def _mark(tag: str) -> str:
    return "\v" if tag in _BLOCKS else "\n" if tag in _LINES else ""
