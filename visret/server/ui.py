"""The page in the browser: choose an index or bring files, ask, look at the pages and at what answers on them."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from visret.errors import VisretError
from visret.pdf import SUFFIXES
from visret.retriever import Retriever
from visret.types import Hit

if TYPE_CHECKING:
    import gradio

THUMBNAIL_DPI = 50
PAGE_DPI = 120


def build(index: str | Path | None = None) -> gradio.Blocks:
    """The page. index: the folder of an index to start with; without one, the page asks for files or a folder."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before the import, which looks at it
    import gradio as gr

    shared = Retriever.open(index) if index else None

    def ready(retriever: Retriever | None) -> Retriever:
        chosen = retriever or shared
        if chosen is None:
            raise gr.Error("Bring some files first, or open the folder of an index.")
        return chosen

    def bring(files: list[str] | None, progress: Any = gr.Progress()) -> tuple[Retriever | None, str]:  # noqa: B008
        if not files:
            return None, ""
        folder = tempfile.mkdtemp(prefix="visret-")
        try:
            retriever = Retriever.create(Path(folder) / "uploads.visret")
            report = retriever.add(
                files, progress=lambda p: progress((p.documents, p.documents_total), desc=f"{p.pages} pages read")
            )
        except VisretError as error:
            raise gr.Error(str(error)) from error
        lines = [f"{report.pages} pages of {report.added} documents can be searched."]
        lines += [f"{Path(failure.path).name} could not be read: {failure.reason}" for failure in report.failed]
        if report.empty:
            lines.append(f"{len(report.empty)} pages have no text (scans), which this model needs.")
        return retriever, "  \n".join(lines)

    def open_folder(path: str) -> tuple[Retriever, str]:
        try:
            retriever = Retriever.open(path.strip())
        except VisretError as error:
            raise gr.Error(str(error)) from error
        return retriever, describe(retriever)

    def ask(retriever: Retriever | None, question: str, k: float) -> tuple[list[Hit], list[tuple[Any, str]], None, str]:
        chosen = ready(retriever)
        try:
            hits = chosen.search(question, k=int(k))
            pictures = [(thumbnail(chosen, hit), caption(hit)) for hit in hits]
        except VisretError as error:
            raise gr.Error(str(error)) from error
        return hits, pictures, None, "" if hits else "Nothing to search in yet."

    def show(
        retriever: Retriever | None, question: str, hits: list[Hit], event: gr.SelectData
    ) -> tuple[Any, str]:
        hit = hits[event.index]
        chosen = ready(retriever)
        try:
            why = chosen.heatmap(question, hit)
            if why.embedding.size_pt is None:
                return None, f"**{hit.doc}**, part {hit.page}: {hit.text}"
            return why.image(dpi=PAGE_DPI), f"**{hit.doc}**, page {hit.page}: {hit.text}"
        except VisretError as error:
            raise gr.Error(str(error)) from error

    with gr.Blocks(title="visret", analytics_enabled=False) as app:
        gr.Markdown("# visret\nFind the right page, and see why.")
        own, hits = gr.State(None, delete_callback=_close), gr.State([])
        with gr.Accordion("Where to search", open=shared is None):
            files = gr.File(label="Files", file_count="multiple", file_types=sorted(SUFFIXES))
            with gr.Row():
                folder = gr.Textbox(label="or the folder of an index", scale=4)
                opening = gr.Button("Open", scale=1)
        status = gr.Markdown(describe(shared) if shared else "")
        with gr.Row():
            question = gr.Textbox(label="Question", scale=5, autofocus=True)
            k = gr.Slider(1, 50, 10, step=1, label="Pages", scale=1)
            asking = gr.Button("Ask", variant="primary", scale=1)
        gallery = gr.Gallery(label="Pages", columns=5, height="auto", object_fit="contain", allow_preview=False)
        quoted = gr.Markdown()
        page = gr.Image(label="Page", show_label=False, interactive=False)

        files.change(bring, files, [own, status])
        opening.click(open_folder, folder, [own, status])
        folder.submit(open_folder, folder, [own, status])
        for event in (question.submit, asking.click):
            event(ask, [own, question, k], [hits, gallery, page, quoted])
        gallery.select(show, [own, question, hits], [page, quoted])
    return app


def launch(index: str | Path | None = None, *, host: str = "127.0.0.1", port: int = 7860) -> None:
    """Serve the page until interrupted."""
    build(index).launch(server_name=host, server_port=port, show_error=True)


def describe(retriever: Retriever) -> str:
    """A line about what can be searched."""
    facts = retriever.info()
    return f"{facts['pages']:,} pages of {facts['documents']:,} documents, read with {facts['model']}."


def caption(hit: Hit) -> str:
    """What stands under a thumbnail."""
    return f"{hit.rank}. {hit.doc} p. {hit.page}  ({hit.score:.2f}{', weak' if hit.weak else ''})"


def thumbnail(retriever: Retriever, hit: Hit) -> Any:
    """A small picture of a page; of plain text, its best line on paper."""
    from PIL import Image, ImageDraw

    try:
        page = retriever.page(hit, dpi=THUMBNAIL_DPI)
        if page.image is not None:
            return page.image
        text = page.plain or ""
    except VisretError as error:  # the file is gone or was changed: the hit stands, and says so
        text = str(error)
    sheet = Image.new("RGB", (413, 585), "white")
    lines = [text[i : i + 60] for i in range(0, min(len(text), 1800), 60)]
    ImageDraw.Draw(sheet).multiline_text((24, 24), "\n".join(lines), fill="black")
    return sheet


def _close(retriever: Retriever | None) -> None:
    if retriever is not None:
        retriever.close()
