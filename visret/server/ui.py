"""The page in the browser: bring files or open an index, ask, and see which pages answer and where on them."""

from __future__ import annotations

import itertools
import re
import tempfile
import textwrap
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from visret.encoders import load_encoder
from visret.errors import VisretError
from visret.heatmap import Span
from visret.ingest import Progress
from visret.registry import DEFAULT_MODEL
from visret.retriever import Retriever
from visret.server.uploads import keep
from visret.types import Encoder, Hit

RESULTS = 12
SHOWN = 5  # files, of those that could not be read
THUMBNAIL_DPI = 50
PAGE_DPI = 120
LOOPBACK = {"127.0.0.1", "localhost", "::1"}

# Results beside the page; on a phone a strip above it, so that a tap shows something.
CSS = """
#shown { position: sticky; top: 8px; z-index: 9 }
#found { isolation: isolate }
#found .grid-wrap { min-height: 0; max-height: none }
#found .thumbnail-item { aspect-ratio: 4 / 5 }
#found .caption-label { inset: auto 0 0; max-width: none; font-size: 11px; white-space: normal; opacity: 1 }
#shown mark { background: #fa0; color: #000 }
@media (max-width: 700px) {
  #found .grid-container { grid: auto / auto-flow 40%; overflow-x: auto }
}
"""
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


@dataclass(frozen=True)
class Session:
    """What a visitor searches."""

    retriever: Retriever

    def close(self) -> None:
        """Let go of the index."""
        self.retriever.close()


@dataclass(frozen=True)
class Uploads(Session):
    """A visitor's own files; the folder holds them and the index of them."""

    folder: tempfile.TemporaryDirectory[str]

    def close(self) -> None:
        """Let go of the index, and delete all that was uploaded."""
        super().close()
        self.folder.cleanup()


def build(
    index: str | Path | Retriever | None = None,
    *,
    model: str = DEFAULT_MODEL,
    folders: bool = True,
    most_pages: int | None = None,
) -> gr.Blocks:
    """The page, to be launched or mounted, with CSS and THEME.

    index: everybody may search it. model: reads the uploads where there is no index, else they are read with the
    index's. folders: visitors may open other indexes of this machine by their folders. most_pages: of an upload.
    """
    retriever = Retriever.open(index) if isinstance(index, str | Path) else index
    shared = None if retriever is None else Session(retriever)
    # The model loads while the visitor looks round. What goes wrong is raised, and said, when it is needed.
    loading = ThreadPoolExecutor(1).submit(lambda: shared.retriever.encoder if shared else load_encoder(model))

    with gr.Blocks(title="visret", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as app:
        gr.Markdown("# visret\nFind the right page in a pile of PDFs, and see why.")
        session = gr.State(None, delete_callback=_close)
        asked = gr.State(("", []))
        with gr.Accordion("Search other documents" if shared else "What to search", open=shared is None) as sources:
            files = gr.File(label="PDFs, pictures or text files", file_count="multiple", height=150)
            with gr.Row(visible=folders):
                folder = gr.Textbox(
                    label="Folder", placeholder="or the folder of an index", show_label=False, container=False, scale=9
                )
                opening = gr.Button("Open", min_width=80)
        status = gr.Markdown(standing(shared.retriever) if shared else "", latex_delimiters=[])
        with gr.Row():
            question = gr.Textbox(
                label="Question",
                placeholder="What are you looking for?",
                show_label=False,
                container=False,
                autofocus=True,
                scale=9,
            )
            asking = gr.Button("Ask", variant="primary", min_width=80)
        said = gr.Markdown(latex_delimiters=[])
        with gr.Row(visible=False, elem_id="results") as results:
            gallery = gr.Gallery(
                show_label=False, columns=3, object_fit="contain", allow_preview=False, buttons=[], elem_id="found"
            )
            with gr.Column(elem_id="shown"):
                quoted = gr.Markdown(latex_delimiters=[])
                page = gr.Image(show_label=False, interactive=False, buttons=["fullscreen", "download"])

    def chosen(own: Session) -> dict[Any, Any]:
        return {
            session: own,
            sources: gr.Accordion("Search more or other documents", open=False),
            status: standing(own.retriever),
            said: "",
            results: gr.Row(visible=False),
        }

    def bring(own: Session | None, paths: list[str] | None, progress: Any = gr.Progress()) -> dict[Any, Any]:  # noqa: B008
        def show_progress(done: Progress) -> None:
            count = done.documents, done.documents_total
            progress(count, desc=f"{_count(done.pages, 'page')} read", unit="files")

        try:
            if not isinstance(own, Uploads):
                progress(0, desc="Loading the model")
                made = empty(loading.result())
                _close(own)
                own = made
            progress(0, desc="Reading")
            kept = keep(paths or [], Path(own.folder.name))
            own.retriever.add(kept, most_pages=most_pages, progress=show_progress)
        except VisretError as error:
            return {session: own, files: None, status: _plain(str(error))}
        return {files: None, **chosen(own)}

    def open_folder(own: Session | None, path: str) -> dict[Any, Any]:
        if not path.strip():
            return {status: "Type the folder of an index first, one that `visret index` made."}
        try:
            opened = Session(Retriever.open(Path(path.strip()).expanduser()))
        except VisretError as error:
            return {status: _plain(str(error))}
        _close(own)
        return chosen(opened)

    def ask(own: Session | None, text: str) -> dict[Any, Any]:
        source = own or shared
        try:
            if source is None:
                raise VisretError("There is nothing to search yet: add files above, and wait until they are read.")
            if not text.strip():
                raise VisretError("Type a question first.")
            source.retriever.refresh()
            hits = source.retriever.search(text, k=RESULTS)
            if not hits:
                raise VisretError("There is no page to search in.")
            pictures = [(thumbnail(source.retriever, hit), caption(hit)) for hit in hits]
        except VisretError as error:
            return {said: _plain(str(error)), results: gr.Row(visible=False)}
        weak = "No page answers this well; these are the nearest."
        return {
            session: own,  # a session whose connection broke ends an hour after this, not after its last upload
            asked: (text, hits),
            said: weak if hits[0].weak else "Best first; click one to see why.",
            results: gr.Row(visible=True),
            gallery: gr.Gallery(pictures, selected_index=0),
            **display(source, text, hits[0]),
        }

    def show(own: Session | None, asked: tuple[str, list[Hit]], event: gr.SelectData) -> dict[Any, Any]:
        text, hits = asked
        source = own or shared
        return display(source, text, hits[event.index]) if source else {}

    def display(source: Session, text: str, hit: Hit) -> dict[Any, Any]:
        picture, line = explain(source.retriever, text, hit)
        return {page: gr.Image(picture, visible=picture is not None), quoted: line}

    with app:
        state = [session, sources, status, said, results]
        files.upload(bring, [session, files], [files, *state], show_progress_on=files)
        if folders:  # not hidden only: what is wired can be called
            gr.on([opening.click, folder.submit], open_folder, [session, folder], state)
        begun = gr.on(
            [asking.click, question.submit],
            lambda: gr.Button("Searching …", interactive=False),
            None,
            asking,
            queue=False,
        )
        answered = begun.then(
            ask, [session, question], [session, asked, said, results, gallery, page, quoted], show_progress_on=said
        )
        answered.then(lambda: gr.Button("Ask", interactive=True), None, asking, queue=False)
        gallery.select(show, [session, asked], [page, quoted], trigger_mode="always_last")
    return app


def launch(index: str | Path | None = None, *, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the page until interrupted. VisretError where the index cannot be opened or the port is taken."""
    app = build(index, folders=host in LOOPBACK)
    try:
        app.launch(server_name=host, server_port=port, share=False, footer_links=[], css=CSS, theme=THEME)
    except (OSError, OverflowError) as error:
        raise VisretError(f"cannot listen on {host}, port {port}; where it is in use, choose another --port") from error


def empty(encoder: Encoder) -> Uploads:
    """A session with nothing in it yet."""
    folder = tempfile.TemporaryDirectory(prefix="visret-", ignore_cleanup_errors=True)
    return Uploads(Retriever.create(Path(folder.name, "index"), model=encoder), folder)


def explain(retriever: Retriever, question: str, hit: Hit) -> tuple[Image.Image | None, str]:
    """The page of a hit with the places that answer marked, and a line about it in Markdown."""
    line = f"**{_plain(hit.doc)}**, page {hit.page} · score {hit.score:.2f}"
    try:
        why = retriever.heatmap(question, hit)
        if why.embedding.size_pt is None:
            return None, f"{line}\n> {marked(why.embedding.text, why.spans).lstrip()}"
        return why.image(dpi=PAGE_DPI), f"{line}\n> {_plain(hit.text)}" if hit.text else line
    except VisretError as error:
        return None, f"{line}\n\n{_plain(str(error))}"


def marked(text: str, spans: Sequence[Span]) -> str:
    """Plain text with the spans marked, as Markdown."""
    edges = sorted({0, len(text), *(edge for span in spans for edge in (span.start, span.end))})
    inside = {place for span in spans for place in range(span.start, span.end)}
    parts = [(start in inside, _plain(text[start:end])) for start, end in itertools.pairwise(edges)]
    return "".join(f"<mark>{part}</mark>" if hot else part for hot, part in parts)


def thumbnail(retriever: Retriever, hit: Hit) -> Image.Image:
    """A small picture of a page; of plain text, and of a page that cannot be read again, the words on a sheet."""
    try:
        page = retriever.page(hit, dpi=THUMBNAIL_DPI)
        if page.image is not None:
            return page.image
        words = page.text
    except VisretError as error:  # the file is gone or was changed: the hit stands, and says so
        words = str(error)
    sheet = Image.new("RGB", (413, 585), "white")
    lines = [line for part in words[:2000].splitlines() for line in textwrap.wrap(part, 60) or [""]]
    ImageDraw.Draw(sheet).multiline_text((24, 24), "\n".join(lines), fill="black")
    return sheet


def caption(hit: Hit) -> str:
    """What stands under a thumbnail."""
    return f"{hit.doc}, p. {hit.page} ({hit.score:.2f})"


def standing(retriever: Retriever) -> str:
    """How much can be searched, and what cannot be and why, in Markdown."""
    facts = retriever.info()
    readable = facts.get("done", 0) + facts.get("partial", 0)
    lines = [f"**{_count(facts['pages'], 'page')}** of {_count(readable, 'document')} can be searched."]
    failed, empty = retriever.unread()
    for failure in failed[:SHOWN]:
        where = f", page {failure.page}" if failure.page else ""
        lines.append(_plain(f"Not read: {Path(failure.path).name}{where}: {failure.reason}"))
    if len(failed) > SHOWN:
        lines.append(f"Not read: {len(failed) - SHOWN} more")
    if empty:
        names = sorted({Path(page.path).name for page in empty})
        lacking = {"text": "no text, as scans do", "image": "no picture"}[retriever.modality]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        said = f"{_count(len(empty), 'page')} cannot be found, having {lacking}: {', '.join(names[:SHOWN])}{more}"
        lines.append(_plain(said))
    return "<br>".join(lines)


def _close(session: Session | None) -> None:
    if session:
        session.close()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _plain(text: str) -> str:
    """Text as Markdown that shows it as it is: entities cannot begin any markup, a link or a picture least of all."""
    shown = re.sub(r"[^\w\s]|_", lambda sign: f"&#{ord(sign[0])};", text)
    return shown.replace("\n", "<br>")
