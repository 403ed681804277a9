"""The researcher's view in the browser, made with Gradio: switches for tokens, maps, tables, two models at once."""

from __future__ import annotations

import functools
import html
import itertools
import json
import math
import re
import shutil
import tempfile
import textwrap
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr
from PIL import Image, ImageDraw

from visret.choices import DEFAULT_MODEL, WAYS
from visret.encoders import load_encoder
from visret.errors import DocumentError, InvalidArgument, VisretError
from visret.explain.attribution import Explanation, Span
from visret.explain.drawing import MARK, Legend
from visret.folders import expanded
from visret.ingest.report import Progress
from visret.models import registry, weights
from visret.retriever import Retriever, sendable
from visret.search import plans
from visret.search.rerank import UNSCORED, Rerankers
from visret.server.answers import without_paths, words
from visret.server.api import MAX_NEIGHBOURS, MAX_OFFSET, USUAL_SECONDS
from visret.server.batches import Asked, Hits
from visret.server.uploads import keep
from visret.types import Encoder, Hit, Ranked

RESULTS = 12
SHOWN = 5  # files, of those that could not be read
LISTED = 1000  # documents to choose from; others can be typed
THUMBNAIL_DPI = 50
PAGE_DPI = 120
SNIPPET = 600  # characters of a passage above its page
MODES = {"Passage": "passage", "Share of the score": "attribution", "Similarity": "similarity"}
OTHERS = -1  # stands for the markers and expansion tokens among the switches

# Results and switches are beside the page. On a phone results are a strip above it, so that a tap shows something, and
# switches are below it.
CSS = """
#head { align-items: center }
#head .prose { display: flex; flex-wrap: wrap; align-items: baseline; column-gap: 14px }
#head .prose > * { margin: 0 }
#page img { width: 100% }
.found .grid-wrap { min-height: 0; max-height: 40vh; padding: 0 }
.found .grid-container { gap: 10px }
.found .thumbnail-lg { aspect-ratio: auto; background: none; border-color: var(--border-color-primary) }
.found .thumbnail-lg.selected { outline: 3px solid var(--color-accent); outline-offset: -3px; box-shadow: none }
.found .thumbnail-lg > img { height: auto; aspect-ratio: 4 / 5; padding: 4px 4px 0 }
.found .caption-label {
  position: static; display: block; max-width: none; border: 0; border-radius: 0; opacity: 1;
  background: var(--background-fill-primary); color: var(--body-text-color); font-size: 12px; white-space: normal
}
#controls, #shown { gap: 8px }
#tokens label, #mode .wrap label { padding: 3px 9px }
#quoted blockquote, #quoted p { margin: 0 0 4px }
#quoted mark { background: MARK; color: #000 }
#legend { padding: 0 4px; color: var(--body-text-color); font-size: 13px }
#legend i { display: inline-block; width: 9em; height: 1em; vertical-align: -2px; border: 1px solid #888 }
#table { overflow-x: auto; font-size: 12px; font-variant-numeric: tabular-nums }
#table th, #table td { padding: 1px 6px; text-align: right; white-space: nowrap }
@media (min-width: 701px) { #left { position: sticky; top: 8px; align-self: start } }
@media (max-width: 700px) {
  #left { display: contents }
  #shown { order: 1 }
  #controls { order: 2 }
  .found .grid-container { grid: auto / auto-flow 40%; overflow-x: auto }
}
""".replace("MARK", MARK)
# The fonts are those of the machine. White can be read on this orange, and so can these greys.
THEME = gr.themes.Default(font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]).set(
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_hover_dark="*primary_800",
    body_text_color_subdued="*neutral_600",
    input_placeholder_color="*neutral_500",
)

# Writes the question and its filters into the address of the page, which can then be sent to somebody else.
WRITE_ADDRESS = """(q, documents, where, by, rerank, once, strong, min_score, neighbours, offset) => {
  const address = new URL(window.location);
  const given = {q, doc: "", where, by, rerank, group_by: once ? "document" : "", weak: strong ? "false" : "",
    min_score, neighbours, offset};
  for (const [name, value] of Object.entries(given)) {
    address.searchParams.delete(name);
    for (const one of name == "doc" ? documents ?? [] : value ? [value] : []) address.searchParams.append(name, one);
  }
  history.replaceState(null, "", address);
}"""
SWITCH_DARK = "() => { document.body.classList.toggle('dark') }"


Ask = Callable[[Asked], Future[Hits]]


@dataclass(frozen=True)
class Session:
    """The index that a visitor searches, or two of them side by side.

    ask_index: puts a question to the index that other visitors and programs ask too. rerankers: those that can be
    asked for.
    """

    retrievers: tuple[Retriever, ...]
    ask_index: Ask | None = None
    rerankers: Rerankers = field(default_factory=lambda: Rerankers({}))

    def search(self, asked: Asked) -> tuple[Ranked[Hit], ...]:
        """Return what each of the indexes finds, including what was committed in the meantime."""
        if self.ask_index is not None:
            found = self.ask_index(asked).result()
            return (Ranked((shown.hit for shown in found), found.warnings),)
        for retriever in self.retrievers:
            retriever.refresh()
        return tuple(self._search(retriever, asked) for retriever in self.retrievers)

    def _search(self, retriever: Retriever, asked: Asked) -> Ranked[Hit]:
        return retriever.search(
            asked.text,
            k=asked.k,
            where=asked.where,
            by=plans.of(asked.by),
            offset=asked.offset,
            group_by=asked.group_by,
            neighbours=asked.neighbours,
            weak=asked.weak,
            min_score=asked.min_score,
            rerank=None if asked.rerank is None else self.rerankers.of(asked.rerank),
            seconds=None if asked.rerank is None else USUAL_SECONDS,
        )

    def close(self) -> None:
        """Close the indexes."""
        for retriever in self.retrievers:
            retriever.close()


@dataclass(frozen=True, kw_only=True)
class Uploads(Session):
    """A visitor's own files. The folder holds them, and an index of them for each model."""

    models: tuple[str, ...]
    folder: tempfile.TemporaryDirectory[str]

    @property
    def files(self) -> Path:
        """The folder of the files."""
        return Path(self.folder.name, "files")

    def close(self) -> None:
        """Close the indexes, and delete everything that was uploaded."""
        super().close()
        self.folder.cleanup()


@dataclass(frozen=True)
class Results:
    """A question, and what each of the indexes found. question: None if pages like another were looked for."""

    question: str | None
    session: Session
    found: tuple[Ranked[Hit], ...]


def build(
    index: str | Path | Retriever | None = None,
    *,
    ask_index: Ask | None = None,
    model: str = DEFAULT_MODEL,
    folders: bool = True,
    most_pages: int | None = None,
    documents_at: str | None = None,
    rerankers: Rerankers | None = None,
) -> gr.Blocks:
    """Build the page, to be launched or mounted with CSS and THEME.

    index: the index that every visitor may search.
    ask_index: puts visitors' questions to it, together with those of others; None asks it here.
    model: the model that reads uploads, unless the visitor chooses another. If there is an index, its model does.
    folders: whether visitors may open other indexes of this machine by their folders.
    most_pages: the most pages of an upload.
    documents_at: the address under which PDFs of `index` are served, followed by their names; None if they are not.
    rerankers: those that visitors may have the first pages read by; None has none.
    """
    rerankers = Rerankers({}) if rerankers is None else rerankers
    retriever = Retriever.open(index) if isinstance(index, str | Path) else index
    shared = None if retriever is None else Session((retriever,), ask_index, rerankers)
    default = retriever.model if retriever else model
    # The model loads in the meantime. An error is raised again, and shown, when the model is needed.
    loading = ThreadPoolExecutor(1)

    @functools.cache
    def load(name: str) -> Encoder:
        return retriever.encoder if retriever and name == retriever.model else load_encoder(name)

    models = list(dict.fromkeys([default, *here()]))

    with gr.Blocks(title="visret", analytics_enabled=False, delete_cache=(3600, 24 * 3600)) as app:
        with gr.Row(elem_id="head"):
            gr.Markdown("# visret\nFind the right page in a pile of PDFs, and see why.")
            dark = gr.Button("Light or dark", size="sm", scale=0, min_width=110)
        session = gr.State(None, delete_callback=_close)
        answer, shown, place = gr.State(None), gr.State(None), gr.State((0, 0))
        with gr.Accordion("Search other documents" if shared else "What to search", open=shared is None) as sources:
            files = gr.File(label="PDFs, pictures or text files", file_count="multiple", height=150)
            readers = gr.Dropdown(
                models, value=[default], multiselect=True, max_choices=2, label="Models (two are shown side by side)"
            )
            with gr.Row(visible=folders, equal_height=True):
                folder = gr.Textbox("", label="Or the folder of an index", scale=4)
                beside = gr.Textbox("", label="and of another, to compare them", scale=4)
                opening = gr.Button("Open", min_width=80)
        status = gr.Markdown(standing(shared) if shared else "", latex_delimiters=[])
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
        with gr.Accordion("Only in some documents, or ranked in another way", open=False):
            documents = gr.Dropdown(
                listed(shared), value=[], multiselect=True, allow_custom_value=True, label="Documents"
            )
            where = gr.Textbox(
                value="", label="Metadata, as JSON", placeholder='{"year": {">=": 2020}, "page": [1, 2]}', max_lines=4
            )
            with gr.Row():
                by = gr.Dropdown([("as usual", ""), *((way, way) for way in WAYS)], value="", label="Ranked by")
                rerank = gr.Dropdown(
                    [("nothing", ""), *((name, name) for name in rerankers.names)],
                    value="",
                    label="The first pages read again by",
                    visible=bool(rerankers.names),
                )
            with gr.Row():
                once = gr.Checkbox(label="Each document once", min_width=120)
                strong = gr.Checkbox(label="Without weak pages", min_width=120)
            with gr.Row():
                least = gr.Slider(0, 1, 0, step=0.05, label="Least relevance (below .5 is weak)", min_width=120)
                around = gr.Slider(0, MAX_NEIGHBOURS, 0, step=1, label="Pages before and after each", min_width=120)
                offset = gr.Number(0, label="Begin behind hit", precision=0, minimum=0, min_width=120)
        said = gr.Markdown(latex_delimiters=[])
        with gr.Row(visible=False, elem_id="results") as results:
            columns, titles, galleries = [], [], []
            with gr.Column(elem_id="left", min_width=320, scale=3):
                with gr.Row():
                    for _ in range(2):
                        with gr.Column(min_width=120) as column:
                            titles.append(gr.Markdown(visible=False))
                            galleries.append(
                                gr.Gallery(
                                    show_label=False,
                                    columns=2,
                                    height="auto",
                                    object_fit="contain",
                                    allow_preview=False,
                                    buttons=[],
                                    elem_classes="found",
                                )
                            )
                        columns.append(column)
                with gr.Row():
                    similar = gr.Button("Pages like this one", size="sm", min_width=120)
                    further = gr.Button("Next pages", size="sm", min_width=120)
                with gr.Column(elem_id="controls") as controls:
                    tokens = gr.CheckboxGroup(label="Words of the question", elem_id="tokens")
                    every = gr.Button("All or none", size="sm")
                    mode = gr.Radio(list(MODES.items()), value="passage", label="Marks", elem_id="mode")
                    legend = gr.HTML(elem_id="legend")
                    opacity = gr.Slider(0, 1, 0.75, step=0.05, label="Opacity")
            with gr.Column(elem_id="shown", min_width=320, scale=5):
                quoted = gr.Markdown(latex_delimiters=[], elem_id="quoted")
                page = gr.Image(
                    show_label=False,
                    interactive=False,
                    format="png",
                    buttons=["download", "fullscreen"],
                    elem_id="page",
                )
                with gr.Accordion("Every token, and where it matched best", open=False):
                    table = gr.HTML(elem_id="table")

    def chosen(own: Session) -> dict[Any, Any]:
        return {
            session: own,
            sources: gr.Accordion("Search more or other documents", open=False),
            status: standing(own),
            documents: gr.Dropdown(listed(own), value=[]),
            said: "",
            results: gr.Row(visible=False),
        }

    def bring(own: Session | None, paths: list[str] | None, names: list[str], progress: Any = gr.Progress()) -> Any:  # noqa: B008
        try:
            if not names:
                raise VisretError("Choose a model first: it reads the files.")
            if not (isinstance(own, Uploads) and own.models == tuple(names)):
                progress(0, desc="Loading the model")
                made = empty({name: loading.submit(load, name).result() for name in names}, rerankers)
                if isinstance(own, Uploads):
                    shutil.copytree(own.files, made.files, dirs_exist_ok=True)
                _close(own)
                own = made
            progress(0, desc="Reading")
            keep(paths or [], own.files)
            for reader in own.retrievers:
                shown_by = _shown_by(progress, reader.model)
                reader.add(sorted(own.files.iterdir()), most_pages=most_pages, progress=shown_by)
        except VisretError as error:
            return {files: None, **(chosen(own) if own else {}), status: _plain(words(error))}
        return {files: None, **chosen(own)}

    def read_again(own: Session | None, names: list[str], progress: Any = gr.Progress()) -> Any:  # noqa: B008
        return bring(own, None, names, progress) if isinstance(own, Uploads) else gr.skip()

    def open_folder(own: Session | None, *paths: str) -> dict[Any, Any]:
        given = [path.strip() for path in paths if path.strip()]
        if not given:
            return {status: "Type the folder of an index first, one that `visret index` made."}
        opened: list[Retriever] = []
        try:
            opened.extend(Retriever.open(expanded(path)) for path in given)
        except VisretError as error:
            Session(tuple(opened)).close()
            return {status: _plain(str(error))}
        _close(own)
        return chosen(Session(tuple(opened), rerankers=rerankers))

    def ask(
        own: Session | None,
        text: str,
        names: list[str],
        condition: str,
        way: str,
        reader: str,
        grouped: bool,
        without_weak: bool,
        relevant: float,
        neighbours: float,
        start: float | None,
    ) -> dict[Any, Any]:
        source = own or shared
        try:
            if source is None:
                raise VisretError("There is nothing to search yet: add files above, and wait until they are read.")
            if not text.strip():
                raise VisretError("Type a question first.")
            asked = Asked(
                text,
                RESULTS,
                restrict(names, condition),
                by=way or None,
                boxes=False,
                offset=min(int(start or 0), MAX_OFFSET),
                group_by="document" if grouped else None,
                neighbours=min(int(neighbours), MAX_NEIGHBOURS),
                weak=not without_weak,
                min_score=relevant or None,
                rerank=reader or None,
                seconds=USUAL_SECONDS if reader else None,
            )
            found = source.search(asked)
            if not any(found):
                if not any(retriever.info()["pages"] for retriever in source.retrievers):
                    raise VisretError("There is no page to search in.")
                raise VisretError(nothing(asked))
            return present(own, Results(text, source, found))
        except VisretError as error:
            return {said: _plain(words(error)), results: gr.Row(visible=False)}

    def go_on(own: Session | None, *terms: Any) -> dict[Any, Any]:
        following = [*terms[:-1], int(terms[-1] or 0) + RESULTS]
        return {offset: following[-1], **ask(own, *following)}

    def like(own: Session | None, given: Results | None, at: tuple[int, int]) -> dict[Any, Any]:
        """Show the pages that are most like the one that is shown, from the same index."""
        if given is None:
            return {}
        number, row = at
        retriever, hit = given.session.retrievers[number], given.found[number][row]
        try:
            found = retriever.search_like(hit, RESULTS)
            if not found:
                raise VisretError("There is no other page.")
            others = tuple(found if n == number else Ranked[Hit]() for n in range(len(given.found)))
            what = f"Pages like {_plain(hit.doc)}, page {hit.page}; the most alike come first."
            return present(own, Results(None, given.session, others), what)
        except VisretError as error:
            return {said: _plain(words(error))}

    def present(own: Session | None, given: Results, told: str = "") -> dict[Any, Any]:
        """Show what was found, and the best page. told: what is said of it; "" says how well the best page answers."""
        source, found = given.session, given.found
        pictures = [
            [(thumbnail(each, hit), caption(hit)) for hit in hits]
            for each, hits in zip(source.retrievers, found, strict=True)
        ]
        first = next(number for number, hits in enumerate(found) if hits)
        best = found[first]
        told = told or (
            "No page answers this well; these are the nearest." if best[0].weak else "Best first; click one to see why."
        )
        several = len(found) > 1
        changes: dict[Any, Any] = {
            session: own,  # a session with a broken connection ends an hour after this, not after its last upload
            answer: given,
            said: " ".join([told, *(_plain(f"{warning[:1].upper()}{warning[1:]}.") for warning in best.warnings)]),
            results: gr.Row(visible=True),
            further: gr.Button(visible=given.question is not None),
            **display(given, first, 0),
        }
        for number in range(2):
            there = number < len(found)
            changes[columns[number]] = gr.Column(visible=there)
            changes[titles[number]] = gr.Markdown(
                _plain(source.retrievers[number].model) if there else "", visible=several
            )
            changes[galleries[number]] = gr.Gallery(
                pictures[number] if there else None,
                columns=1 if several else 2,
                selected_index=0 if number == first else None,
            )
        return changes

    def show(given: Results | None, number: int, event: gr.SelectData) -> dict[Any, Any]:
        if given is None:
            return {}
        return {**display(given, number, event.index), galleries[1 - number]: gr.Gallery(selected_index=None)}

    def display(given: Results, number: int, row: int) -> dict[Any, Any]:
        """Show a hit as it first appears, with all tokens switched on; without a question, the page alone."""
        source, hit = given.session.retrievers[number], given.found[number][row]
        link = link_to(hit, documents_at) if given.session is shared else ""
        line = f"**{_plain(hit.doc)}**, page {hit.page} · {scored(hit)}{link}"
        why = None
        try:
            if given.question is None:
                read = source.page(hit, dpi=PAGE_DPI)
                picture = read.image
                line += "" if picture else f"\n> {_plain(read.text).lstrip()}"
            elif (why := source.heatmap(given.question, hit)) and why.embedding.size_pt is None:
                line += f"\n> {marked(why.embedding.text, why.telling_spans).lstrip()}"
                picture = None
            else:
                snippet = (hit.passage.text if hit.passage else "") or hit.text
                line += f"\n> {_plain(textwrap.shorten(snippet, SNIPPET, placeholder=' ...'))}" if snippet else ""
                picture = why.image(dpi=PAGE_DPI)
            if why is not None and why.scores.keys() - {why.scorer}:
                line += f"\n\n{_plain(why.about)}"
        except VisretError as error:
            why, picture, line = None, None, f"{line}\n\n{_plain(words(error))}"
        visible = picture is not None
        what = "marked where it answers" if why else "as it is"
        switches = switches_of(why) if why else []
        return {
            shown: why,
            place: (number, row),
            quoted: line,
            page: gr.Image(picture, visible=visible, alt_text=f"Page {hit.page} of {hit.doc}, {what}"),
            tokens: gr.CheckboxGroup(switches, value=[value for _, value in switches]),
            controls: gr.Column(visible=visible and why is not None),
            mode: "passage",
            legend: legend_of(why.legend()) if why else "",
            table: why.table._repr_html_() if why else "",
        }

    def redraw(why: Explanation | None, on: list[int], colours: Any, strength: float) -> dict[Any, Any]:
        """Draw the page with other tokens or colours, from its explanation: nothing is encoded."""
        if why is None or why.embedding.size_pt is None:
            return {}
        others = [i for i, named in enumerate(why.content) if not named] if OTHERS in on else []
        try:
            words_on = [i for word in why.question_words if word.tokens[0] in on for i in word.tokens]
            picture = why.image([*others, *words_on], mode=colours, dpi=PAGE_DPI, opacity=strength)
        except DocumentError as error:
            return {quoted: _plain(words(error)), page: gr.Image(visible=False)}
        return {page: picture, legend: legend_of(why.legend(colours))}

    def follow(own: Session | None, request: gr.Request) -> Any:
        """Ask the question in the address of the page, if there is one."""
        loading.submit(load, default)
        given = request.query_params
        if not given.get("q"):
            return gr.skip()
        way, reader = given.get("by", ""), given.get("rerank", "")
        values = {
            question: given["q"],
            documents: given.getlist("doc"),
            where: given.get("where", ""),
            by: way if way in WAYS else "",
            rerank: reader if reader in rerankers.names else "",
            once: given.get("group_by") == "document",
            strong: given.get("weak") == "false",
            least: number_in(given.get("min_score"), 1),
            around: number_in(given.get("neighbours"), MAX_NEIGHBOURS),
            offset: number_in(given.get("offset"), MAX_OFFSET),
        }
        # Only boxes that the address fills: setting an empty one would delete what the visitor is typing.
        filled = {box: value for box, value in values.items() if value}
        return {**filled, **(ask(own, *values.values()) if own or shared else {})}

    with app:
        private = functools.partial(gr.on, api_visibility="private")  # nothing here is an interface for programs
        state = [session, sources, status, documents, said, results]
        detail = [shown, place, quoted, page, tokens, controls, mode, legend, table]
        asked = [session, answer, said, results, further, *columns, *titles, *galleries, *detail]
        private([files.upload], bring, [session, files, readers], [files, *state], show_progress_on=files)
        private([readers.input], read_again, [session, readers], [files, *state], show_progress_on=files)
        if folders:  # hiding the boxes is not enough, since an event that is wired can be called
            private([opening.click, folder.submit, beside.submit], open_folder, [session, folder, beside], state)
        begun = private(
            [asking.click, question.submit, where.submit],
            lambda: gr.Button("Asking …", interactive=False),
            None,
            asking,
            queue=False,
        )
        terms = [question, documents, where, by, rerank, once, strong, least, around, offset]
        private([question.input], None, None, offset, js="() => 0")  # another question begins with its first hit
        answered = begun.then(ask, [session, *terms], asked, show_progress_on=said, api_visibility="private")
        answered.then(lambda: gr.Button("Ask", interactive=True), None, asking, queue=False, api_visibility="private")
        answered.then(None, terms, None, js=WRITE_ADDRESS)
        more = private([further.click], go_on, [session, *terms], [offset, *asked], show_progress_on=said)
        more.then(None, terms, None, js=WRITE_ADDRESS)
        private([similar.click], like, [session, answer, place], asked, show_progress_on=said)
        for number, gallery in enumerate(galleries):
            private(
                [gallery.select],
                show,
                [answer, gr.State(number)],
                [*detail, galleries[1 - number]],
                trigger_mode="always_last",
                show_progress_on=quoted,
            )
        switched = private(
            [every.click],
            lambda why, on: [] if on else [value for _, value in switches_of(why)],
            [shown, tokens],
            tokens,
            show_progress="hidden",
        )
        for event in (tokens.input, mode.input, opacity.change, switched.then):
            event(
                redraw,
                [shown, tokens, mode, opacity],
                [page, legend, quoted],
                trigger_mode="always_last",
                show_progress="hidden",
                api_visibility="private",
            )
        dark.click(None, None, None, js=SWITCH_DARK)
        private([app.load], follow, [session], [*terms, *asked], show_progress="hidden")
    return app


def here() -> list[str]:
    """Return the names of the models on this machine that can make an index."""
    found = [spec for spec in registry.specs() if spec.task == "encode" and not spec.remote_code]
    return [spec.name for spec in found if weights.location(spec).here]


def empty(encoders: dict[str, Encoder], rerankers: Rerankers) -> Uploads:
    """Make a session without files, with an index for each encoder."""
    folder = tempfile.TemporaryDirectory(prefix="visret-", ignore_cleanup_errors=True)
    Path(folder.name, "files").mkdir()
    made = [
        Retriever.create(Path(folder.name, f"index{number}"), model=encoder)
        for number, encoder in enumerate(encoders.values())
    ]
    return Uploads(tuple(made), rerankers=rerankers, models=tuple(encoders), folder=folder)


def restrict(names: Sequence[str], condition: str) -> dict[str, Any] | None:
    """Return the filter for some documents and a condition in JSON; None for neither.

    Raises InvalidArgument if the condition is not a JSON object.
    """
    parts: list[dict[str, Any]] = [{"doc": list(names)}] if names else []
    if condition.strip():
        try:
            parts.append(json.loads(condition))
        except (json.JSONDecodeError, RecursionError):
            raise InvalidArgument('The metadata must be JSON, such as {"year": {">=": 2020}}.') from None
        if not isinstance(parts[-1], dict):
            raise InvalidArgument('The metadata must be a JSON object, such as {"year": {">=": 2020}}.')
    return {"and": parts} if parts else None


def listed(session: Session | None) -> list[str]:
    """List the documents to choose from."""
    names = dict.fromkeys(doc for each in session.retrievers for doc in each.documents()) if session else {}
    return list(itertools.islice(names, LISTED))


def switches_of(why: Explanation) -> list[tuple[str, int]]:
    """Return a switch for each word, by the position of its first token, and one for all markers and expansion."""
    named = [(word.text, word.tokens[0]) for word in why.question_words]
    others = [("markers and expansion", OTHERS)] if not why.content.all() else []
    return named + others


def legend_of(legend: Legend) -> str:
    """Return the legend as HTML."""
    what, low, high = map(html.escape, (legend.what, legend.low, legend.high))
    return f'{what}: {low} <i style="background:linear-gradient(90deg,{",".join(legend.colours)})"></i> {high}'


def link_to(hit: Hit, documents_at: str | None) -> str:
    """Return a link to the page in its PDF, in Markdown; "" if there is none."""
    if documents_at is None or hit.member or not (hit.source or "").lower().endswith(".pdf"):
        return ""
    return f" · [open the PDF]({documents_at}{quote(hit.doc)}{hit.link})"


def marked(text: str, spans: Sequence[Span]) -> str:
    """Return plain text with the spans marked, as Markdown."""
    edges = sorted({0, len(text), *(edge for span in spans for edge in (span.start, span.end))})
    inside = {place for span in spans for place in range(span.start, span.end)}
    parts = [(start in inside, _plain(text[start:end])) for start, end in itertools.pairwise(edges)]
    return "".join(f"<mark>{part}</mark>" if hot else part for hot, part in parts)


def thumbnail(retriever: Retriever, hit: Hit) -> Image.Image:
    """Draw a thumbnail of a page. For plain text, it shows the words; for a page that cannot be read, the error."""
    try:
        page = retriever.page(hit, dpi=THUMBNAIL_DPI)
        if page.image is not None:
            return page.image
        text = page.text
    except VisretError as error:  # the file is gone or has changed; the hit is still shown, and says so
        text = words(error)
    sheet = Image.new("RGB", (413, 585), "white")
    lines = [line for part in sendable(text)[:2000].splitlines() for line in textwrap.wrap(part, 60) or [""]]
    ImageDraw.Draw(sheet).multiline_text((24, 24), "\n".join(lines), fill="black")
    return sheet


def caption(hit: Hit) -> str:
    """Return the text under a thumbnail."""
    return f"{hit.doc}, p. {hit.page} ({scored(hit).removeprefix('score ')})"


def scored(hit: Hit) -> str:
    """Return what there is to say of the score of a hit."""
    if hit.neighbour_of:
        return f"next to {hit.neighbour_of}"
    return "not read again" if hit.score == UNSCORED else f"score {hit.score:.2f}"


def nothing(asked: Asked) -> str:
    """Say why no hit is shown."""
    if asked.offset or not asked.weak or asked.min_score:
        return "No page is left: those that were found are weak, of less relevance, or stand before that hit."
    return "No page passes the filter." if asked.where else "No page has the words of this question."


def number_in(text: str | None, most: float) -> float:
    """Return a number of an address, from 0 to the most; 0 for anything that is none."""
    try:
        value = float(text or 0)
    except ValueError:
        return 0
    return min(max(value, 0), most) if math.isfinite(value) else 0


def standing(session: Session) -> str:
    """Say in Markdown how much can be searched, and what cannot be and why; for each model if there are two."""
    said = [_standing(retriever) for retriever in session.retrievers]
    if len(said) == 1:
        return said[0]
    return "<br>".join(f"{_plain(each.model)}: {text}" for each, text in zip(session.retrievers, said, strict=True))


def _standing(retriever: Retriever) -> str:
    facts = retriever.info()
    readable = facts.get("done", 0) + facts.get("partial", 0)
    lines = [f"**{_count(facts['pages'], 'page')}** of {_count(readable, 'document')} can be searched."]
    failed, empty = retriever.unread()
    for failure in failed[:SHOWN]:
        where = f", page {failure.page}" if failure.page else ""
        lines.append(_plain(f"Not read: {Path(failure.path).name}{where}: {without_paths(failure.reason)}"))
    if len(failed) > SHOWN:
        lines.append(f"Not read: {len(failed) - SHOWN} more")
    if empty:
        names = sorted({Path(page.path).name for page in empty})
        lacking = {"text": "text, as in scans", "image": "a picture"}[retriever.modality]
        more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        said = f"{_count(len(empty), 'page')} cannot be found for lack of {lacking}: {', '.join(names[:SHOWN])}{more}"
        lines.append(_plain(said))
    return "<br>".join(lines)


def _shown_by(progress: Any, model: str) -> Any:
    def show_progress(done: Progress) -> None:
        progress(
            (done.documents, done.documents_total), desc=f"{model}: {_count(done.pages, 'page')} read", unit="files"
        )

    return show_progress


def _close(session: Session | None) -> None:
    if session:
        session.close()


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _plain(text: str) -> str:
    """Return Markdown that shows the text as it is: entities cannot begin any markup, such as a link or a picture."""
    shown = re.sub(r"[^\w\s]|_", lambda sign: f"&#{ord(sign[0])};", sendable(text))
    return shown.replace("\n", "<br>")
