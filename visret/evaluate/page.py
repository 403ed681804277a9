"""The questions that got worse, as one HTML file: for each, the right page beside the page that was found first.

Pages are drawn with the places marked that answer the question, as far as their files are still there and unchanged;
else their text stands there, and why.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from visret.errors import NoPicture, PageIndexError, ShapeError, VisretError
from visret.evaluate.comparison import Comparison, Measured
from visret.evaluate.questions import JudgedQuestion, Target
from visret.types import PageRef

if TYPE_CHECKING:
    from PIL.Image import Image

    from visret.retriever import Retriever

MAX_QUESTIONS = 100  # of two systems, those that lost most
MAX_TEXT = 1500  # characters of a page that has no picture
WIDTH = 480  # pixels of a picture
QUALITY = 75  # of its JPEG
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.45 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 3rem; } h3 { margin-bottom: .3rem; }
section { border-top: 1px solid #8886; padding-bottom: 1rem; }
.pages { display: flex; flex-wrap: wrap; gap: 1.5rem; }
figure { margin: 0; flex: 1 1 20rem; max-width: 32rem; }
figcaption { margin-bottom: .4rem; }
img { max-width: 100%; height: auto; border: 1px solid #8886; background: #fff; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #8886; padding: .6rem; margin: 0; }
.why { opacity: .75; font-size: .9rem; }
table { border-collapse: collapse; margin-bottom: 1rem; } td, th { padding: .1rem .8rem .1rem 0; text-align: left; }
"""


def write(file: str | Path, comparison: Comparison) -> int:
    """Write the page; return how many questions are on it. Raises PageIndexError where it cannot be written.

    Every system is set against `comparison.against`. One system alone is set against a perfect ranking.
    """
    file = Path(file)
    base = comparison.system(comparison.against)
    others = [one for one in comparison.systems if one is not base]
    pairs: list[tuple[Measured | None, Measured]] = [(base, one) for one in others] or [(None, base)]
    count, parts = 0, []
    for before, after in pairs:
        worse = _worse(comparison, before, after)
        count += len(worse)
        parts += [_heading(comparison, before, after, len(worse))]
        parts += [_section(comparison, before, after, at) for at in worse[:MAX_QUESTIONS]]
    body = "\n".join(parts)
    title = "Questions that got worse" if others else "Questions that could be answered better"
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(page, "utf8", errors="replace")
    except OSError as error:
        raise PageIndexError(file, f"the page cannot be written: {error.strerror or error}") from error
    return count


def _worse(comparison: Comparison, before: Measured | None, after: Measured) -> list[int]:
    """Return the numbers of the questions that lost, those that lost most first."""
    values = after.values[comparison.measures[0]]
    lost = (1.0 if before is None else before.values[comparison.measures[0]]) - values
    answerable = np.array([any(True for _ in question.right) for question in comparison.questions])
    order = np.argsort(-lost, kind="stable")
    return [at for at in order.tolist() if lost[at] > 1e-9 and answerable[at]]


def _heading(comparison: Comparison, before: Measured | None, after: Measured, count: int) -> str:
    title = after.name if before is None else f"{after.name}, compared with {before.name}"
    total = len(comparison.questions)
    shown = f"; the {MAX_QUESTIONS} that lost most are shown" if count > MAX_QUESTIONS else ""
    lost = "could be answered better" if before is None else "got worse"
    measure = comparison.measures[0]
    marked = next((f" Marked is where the scores of {name} come from." for name in _drawers(comparison, after)), "")
    said = f"{count} of {total} questions {lost}, by {measure}{shown}.{marked}"
    return f"<h2>{html.escape(title)}</h2><p>{html.escape(said)}</p>"


def _section(comparison: Comparison, before: Measured | None, after: Measured, at: int) -> str:
    """Return one question: its figures, the right page, the page found first."""
    question = list(comparison.questions)[at]
    measure = comparison.measures[0]
    systems = [one for one in (before, after) if one is not None]
    right = _right(question, before or after)
    rows = "".join(
        f"<tr><td>{html.escape(one.name)}</td><td>{one.values[measure][at]:.3f}</td>"
        f"<td>{_standing(one, question, right)}</td></tr>"
        for one in systems
    )
    kinds = f" ({html.escape(', '.join(question.kinds))})" if question.kinds else ""
    figures = [_figure("right", comparison, systems, question, _page_of(right, systems, question))]
    found = after.rankings.found[question.id]
    if found:
        first = Target(found[0].doc, found[0].page)
        figures.append(_figure(f"first for {after.name}", comparison, systems, question, first))
    text = html.escape(question.text or question.id)
    return (
        f"<section><h3>{text}</h3><p>question {html.escape(question.id)}{kinds}</p>"
        f"<table><tr><th>system</th><th>{html.escape(measure)}</th><th>the right {comparison.unit}</th></tr>"
        f'{rows}</table><div class="pages">{"".join(figures)}</div></section>'
    )


def _right(question: JudgedQuestion, by: Measured) -> Target:
    """Return the right page to show: of those with the highest grade the one that a system found first."""
    right = list(question.right)
    best = [target for target in right if question.relevant[target] == question.relevant[right[0]]]
    ranks = [(place[0] if (place := by.rankings.place(question.id, target)) else np.inf) for target in best]
    return best[int(np.argmin(ranks))]


def _page_of(target: Target, systems: list[Measured], question: JudgedQuestion) -> Target:
    """Return the page of a document that a system found, else its first."""
    if target.page is not None:
        return target
    places = (one.rankings.place(question.id, target) for one in systems)
    return Target(target.doc, next((place[1].page for place in places if place and place[1].page), 1))


def _standing(one: Measured, question: JudgedQuestion, right: Target) -> str:
    place = one.rankings.place(question.id, right)
    if place is None:
        return f"not among the first {len(one.rankings.found[question.id])}"
    return f"at place {place[0]}, score {place[1].score:.2f}"


def _figure(
    what: str, comparison: Comparison, systems: list[Measured], question: JudgedQuestion, target: Target
) -> str:
    """Return a page with its name, and where it stands for each system."""
    at = [f"{_standing(one, question, target)} for {one.name}" for one in systems]
    name = f"{target.doc}, page {target.page}" if target.page else target.doc
    caption = (
        f"<figcaption><b>{html.escape(what)}</b>: {html.escape(name)}<br>{html.escape('; '.join(at))}</figcaption>"
    )
    return f"<figure>{caption}{_drawn(_drawers(comparison, systems[-1]), question, target)}</figure>"


def _drawers(comparison: Comparison, first: Measured) -> dict[str, Retriever]:
    """Return the indexes that can draw pages, by their names, with that of a system before all others."""
    known = {one.name: one.rankings.system.retriever for one in (first, *comparison.systems)}
    return {name: retriever for name, retriever in known.items() if retriever is not None}


def _drawn(drawers: dict[str, Retriever], question: JudgedQuestion, target: Target) -> str:
    """Return the picture of a page, else its text and why there is no picture."""
    why = "no index was given, so the page cannot be shown" if not drawers else ""
    if target.page is None:
        return '<p class="why">a document of which no page is known</p>'
    ref = PageRef(target.doc, target.page)
    for retriever in drawers.values():
        try:
            return _picture(_marked(retriever, question, ref), str(target))
        except NoPicture:
            why = why or "this page has no picture"
        except VisretError as error:
            why = why or str(error)
    for text in _texts(drawers.values(), ref):
        return f'<p class="why">{html.escape(why)}; its text:</p><pre>{html.escape(text)}</pre>'
    return f'<p class="why">{html.escape(why)}</p>'


def _marked(retriever: Retriever, question: JudgedQuestion, ref: PageRef) -> Image:
    """Return the picture of a page with the places that answer, or without where the question has no text."""
    if not question.text:
        return retriever.picture(ref)
    try:
        return retriever.heatmap(question.text, ref).image()
    except ShapeError as error:  # plain text
        raise NoPicture(ref.doc, "is plain text", page=ref.page) from error


def _texts(retrievers: Iterable[Retriever], ref: PageRef) -> Iterator[str]:
    for retriever in retrievers:
        try:
            page, _ = retriever.read(ref, picture=False)
        except VisretError:
            continue
        if page.text:
            yield page.text[:MAX_TEXT] + " ..." * (len(page.text) > MAX_TEXT)


def _picture(image: Image, name: str) -> str:
    """Return a picture as HTML that needs no other file."""
    image.thumbnail((WIDTH, 4 * WIDTH))
    out = BytesIO()
    image.convert("RGB").save(out, "JPEG", quality=QUALITY)
    data = base64.b64encode(out.getvalue()).decode()
    return f'<img alt="{html.escape(name)}" width="{image.width}" src="data:image/jpeg;base64,{data}">'
