"""The server's process: the page in the browser, the HTTP API and MCP, behind one guard."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, replace
from functools import cache, partial
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.types import ASGIApp

from visret import __version__, stores
from visret.choices import DEFAULT_MODEL
from visret.encoders import load_encoder
from visret.errors import InvalidArgument, VisretError, WeightsError
from visret.models import registry, weights
from visret.retriever import Retriever
from visret.search.rerank import Rerankers
from visret.server import (
    answering,
    answers,
    api,
    keys,
    offline,
    operations,
    page,
    reading,
    records,
    reference,
    retrieval,
)
from visret.server import workers as several
from visret.server.bound import BoundLibrary
from visret.server.guard import LOOPBACK, Guard, Rules
from visret.server.llm import LanguageModel
from visret.server.own import Collections
from visret.server.protocol import HEAD_SECONDS, PatientProtocol
from visret.stores.objects import is_address

KEY = "VISRET_API_KEY"
MAX_PAGES = 500  # of an uploaded file
CONNECTIONS = 500
SWITCH_SECONDS = 1e-4
"""How long a thread waits until another one gives the interpreter up. It waits a hundred times for a question, each
time that machine code has come to its end; at Python's usual 5 ms half of ten questions a second took 83 to 92 ms on
two cores, instead of 73 to 79 (`tests/benchmarks/serve.py`)."""

GRACE_SECONDS = 3  # for answers that are under way at the end; a page in a browser keeps its connection open for ever


def build(
    index: str | Path | None,
    rules: Rules,
    *,
    ui: bool = True,
    folders: bool = False,
    most_pages: int = MAX_PAGES,
    rerank: Sequence[str] = (),
    question_model: str | None = None,
    fuse: Mapping[str, str] | None = None,
    read_only: bool = False,
    model: str = DEFAULT_MODEL,
    lab: bool = True,
    llm: LanguageModel | None = None,
) -> ASGIApp:
    """Build the application behind its guard.

    index: the folder of an index, or the address of a store; None for the page alone. ui: whether there is the page.
    folders: whether visitors of the page may open other indexes of this machine by their folders. most_pages: the most
    pages of an uploaded file. rerank: the rerankers that questions may ask for. question_model: as in `Retriever.open`.
    fuse: the folders of other indexes of the same documents by their names, as in `Retriever.fused_with`. read_only:
    whether requests that would change the index are refused, as those to a store always are. model: what
    reads uploads if there is no index, whose model does. lab: whether the page has the researcher's view beside it.
    llm: the language model that writes answers.

    Raises VisretError for a reranker that cannot be offered.
    """
    read_only = read_only or (index is not None and stores.is_url(index))
    rerankers = offered(rerank)
    if any(key.where for key in rules.keys) and (fuse or (index is not None and stores.is_url(index))):
        raise InvalidArgument("keys that a filter binds are for one index in a folder: no store, and no --fuse")
    retriever = None if index is None else _opened(index, question_model, fuse)
    library = None
    if retriever is not None:
        library = api.Library(retriever, most_pages=most_pages, rerankers=rerankers, read_only=read_only)
    own = None
    if ui:
        reader = cache(partial(load_encoder, model)) if retriever is None else lambda: retriever.encoder
        own = Collections(reader, most_pages=most_pages, rerankers=rerankers)
    shares = None if library is None or not any(key.where for key in rules.keys) else BoundLibrary(library)
    tools, shared_tools = (None if one is None else _tools(one) for one in (library, shares))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if library is not None:
                stack.callback(library.close)
                if not read_only:
                    recovering = asyncio.create_task(library.recover())
                    stack.callback(recovering.cancel)
            if own is not None:
                stack.callback(own.close)
                stack.callback(asyncio.create_task(own.clean_at_times()).cancel)
            for one in (tools, shared_tools):
                if one is not None:
                    await stack.enter_async_context(one.router.lifespan_context(one))
            yield

    app = _api(lifespan)
    metrics = operations.metrics_of(library)
    app.include_router(operations.probe(library))
    app.include_router(operations.figures(metrics))
    if library is not None:
        _add_library(app, library, tools)
    bound = None
    if shares is not None:
        # All that bound keys reach: a route belongs here only if it shows nothing but what `BoundLibrary` lets through.
        bound = _api()
        bound.include_router(operations.probe(library))
        _add_library(bound, shares, shared_tools)
    for one, pages in ((app, library), (bound, shares)):
        if one is not None:
            _add_page(one, pages, own, rules, most_pages=most_pages, lab=lab and one is app, llm=llm)
    if own is not None and lab:
        _mount_lab(
            app,
            library,
            rerankers,
            model=model,
            folders=folders,
            most_pages=most_pages,
            upload_bytes=rules.upload_bytes,
        )
    return operations.recorded(Guard(app, rules, bound), app, metrics)


def configuration(app: ASGIApp) -> uvicorn.Config:
    """Return the settings with which the application is served."""
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_keep_alive=int(HEAD_SECONDS),
        timeout_graceful_shutdown=GRACE_SECONDS,
    )


def serve(
    index: str | Path | None,
    rules: Rules,
    *,
    host: str = "127.0.0.1",
    port: int = 7860,
    ui: bool = True,
    most_pages: int = MAX_PAGES,
    no_key: bool = False,
    rerank: Sequence[str] = (),
    question_model: str | None = None,
    fuse: Mapping[str, str] | None = None,
    workers: int = 1,
    llm: LanguageModel | None = None,
    originals: Sequence[str] = (),
    announce: Callable[[str], object] = print,
) -> None:
    """Serve until interrupted. This needs a process of its own, which reaches no other machine afterwards.

    A server on a loopback host answers to the names of this machine and to `rules.hosts`; any other answers to
    `rules.hosts`, or to all names if these are (). no_key: lets other machines connect without a key. rerank: the
    rerankers that questions may ask for. question_model: as in `Retriever.open`. fuse: as in `build`. workers: how many
    processes answer; several only read the index, and have no page in the browser. llm: the language model that writes
    answers. originals: the addresses on object storage below which documents are fetched to draw their pages. No other
    machine is reached than these, llm and where the indexes are. announce: gets the address.

    Raises VisretError if other machines could connect and there is no key, if the index cannot be opened, or if the
    port is in use.
    """
    local = is_loopback(host)
    check_key(rules, host=host, no_key=no_key)
    if index is None and not ui:
        raise InvalidArgument("--no-ui serves an index; give the folder of one")
    if index is None and question_model is not None:
        raise InvalidArgument("--question-model encodes questions for an index; give the folder of one")
    if index is None and fuse:
        raise InvalidArgument("--fuse adds indexes to another; give the folder of that too")
    several.check(workers, ui=ui)
    if workers > 1 and llm is not None:
        raise InvalidArgument("--llm writes answers in one process; leave --workers out")
    indexes = [] if index is None else [index, *(fuse or {}).values()]
    reached = [address for one in indexes for address in stores.addresses(one)]
    if wrong := [one for one in originals if not is_address(one)]:
        raise InvalidArgument(f"--originals takes addresses on object storage, as s3://bucket/folder, got {wrong[0]!r}")
    offline.stay(*reached, *([] if llm is None else [llm.address]), originals=originals)
    folders = local and not rules.every_key and not rules.hosts
    if local:
        rules = replace(rules, hosts={*LOOPBACK, *rules.hosts, host})
    signal.signal(signal.SIGTERM, _leave)
    try:
        with tempfile.TemporaryDirectory(prefix="visret-server-", ignore_cleanup_errors=True) as temporary:
            # Gradio serves everything in these folders, so they must not be shared with other programs.
            os.environ.update(GRADIO_TEMP_DIR=temporary, GRADIO_EXAMPLES_CACHE=temporary)
            with listen(host, port) as listener:
                shown = f"[{host}]" if ":" in host else host
                address = f"http://{shown}:{listener.getsockname()[1]}/"
                if workers > 1:
                    assert index is not None  # the page alone is refused above
                    check_offered(rerank)
                    _opened(index, question_model, fuse).close()
                    announce(address)
                    several.keep(
                        workers,
                        listener,
                        {
                            "index": str(index),
                            "rules": {**asdict(rules), "hosts": sorted(rules.hosts)},
                            "logs": records.chosen,
                            "rerank": list(rerank),
                            "question_model": question_model,
                            "fuse": dict(fuse or {}),
                            "reached": reached,
                            "originals": list(originals),
                        },
                    )
                app = build(
                    index,
                    rules,
                    ui=ui,
                    folders=folders,
                    most_pages=most_pages,
                    rerank=rerank,
                    question_model=question_model,
                    fuse=fuse,
                    llm=llm,
                )
                announce(address)
                Server(configuration(app)).run(sockets=[listener])
    except (SystemExit, KeyboardInterrupt) as end:
        if any(thread.name.startswith(api.WRITER) for thread in threading.enumerate()):
            # The thread may be busy with a file for long. The next server finishes it, as if this one had been killed.
            sys.stdout.flush()
            os._exit(end.code if isinstance(end, SystemExit) and isinstance(end.code, int) else 128 + signal.SIGINT)
        raise


class Server(uvicorn.Server):
    """The server of uvicorn, except that it logs no failure if an answer is cut short by its end."""

    _cut = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen."""
        sys.setswitchinterval(SWITCH_SECONDS)
        logging.getLogger("uvicorn.error").addFilter(self._is_said)
        await super().startup(sockets)

    def _is_said(self, record: logging.LogRecord) -> bool:
        if self.should_exit:
            said = record.getMessage()
            self._cut = self._cut or said.startswith("Cancel ")  # all that are still under way after the grace
            return not self._cut and "without completing response" not in said
        return True


def check_key(rules: Rules, *, host: str, no_key: bool) -> None:
    """Raise VisretError if other machines could connect without a key, unless no_key allows it."""
    if not is_loopback(host) and not rules.every_key and not no_key:
        raise VisretError(
            f"{host} can be reached from other machines, so a key is needed: set {KEY} or give --api-key-file FILE or "
            "--keys FILE; --no-key lets anyone connect"
        )


def offered(names: Sequence[str]) -> Rerankers:
    """Return the rerankers of these names or folders as the only ones that visitors may ask for.

    A folder is called by its last part, so that no path is shown. They are loaded in the meantime.

    Raises VisretError as `check_offered` does.
    """
    check_offered(names)
    known = {Path(name).name if weights.is_path(name) else name: name for name in names}
    made = Rerankers(known)
    if known:
        ThreadPoolExecutor(1, "visret-load").submit(made.load)
    return made


def check_offered(names: Sequence[str]) -> None:
    """Raise VisretError for a model that is no reranker, or whose weights are not on this machine.

    The server asks no other machine for them.
    """
    for name in names:
        spec = registry.resolve(name)
        if spec.task != "rerank":
            raise InvalidArgument(f"--rerank: {name} is no reranker; `visret models` lists them")
        if not weights.location(spec).here:
            raise WeightsError(
                f"--rerank: the weights of {name} are not on this machine; `visret models fetch {name} --to FOLDER` "
                "brings them, and then --rerank FOLDER"
            )


def read_key(file: str | Path | None) -> str | None:
    """Read the key from a file, or else from the environment; None if there is neither.

    Raises VisretError for a key that is too short or has other characters than a key may have.
    """
    try:
        key = os.environ.get(KEY) or None if file is None else Path(file).read_text("utf8")
    except (OSError, ValueError) as error:
        raise VisretError(f"{file}: the key cannot be read: {error}") from error
    if key is None:
        return None
    return keys.checked(key)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to a host."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Open a socket that listens. Raises VisretError if that is not possible."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        raise VisretError(f"cannot listen on {host}, port {port}; if it is in use, choose another --port") from error


def _opened(index: str | Path, question_model: str | None, fuse: Mapping[str, str] | None) -> Retriever:
    """Open an index, and those that are fused with it."""
    retriever = Retriever.open(index, question_model=question_model)
    return retriever.fused_with(**{name: Retriever.open(path) for name, path in fuse.items()}) if fuse else retriever


def _api(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None) -> FastAPI:
    # FastAPI's own page at /docs would load scripts from elsewhere.
    app = FastAPI(
        title="visret",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    answers.explain_errors(app)
    reference.add(app)
    return app


def _add_library(app: FastAPI, library: api.Library, tools: Starlette | None) -> None:
    """Add the routes of an index, and its tools for language models."""
    app.include_router(api.routes(library))
    app.include_router(retrieval.routes(library))
    app.include_router(reading.routes(library))
    if tools is not None:
        app.router.routes.extend(tools.routes)
    else:
        app.add_api_route("/mcp", _no_tools, methods=["GET", "POST"], include_in_schema=False)


def _add_page(
    app: FastAPI,
    library: api.Library | None,
    own: Collections | None,
    rules: Rules,
    *,
    most_pages: int,
    lab: bool,
    llm: LanguageModel | None,
) -> None:
    """Add written answers, the page in the browser, and what its visitors have brought."""
    if llm is not None:
        app.include_router(answering.routes(library, own, llm))
    if own is not None:
        app.include_router(
            page.routes(library, upload_bytes=rules.upload_bytes, most_pages=most_pages, lab=lab, llm=llm)
        )
        app.mount("/mine", own)


def _mount_lab(
    app: FastAPI,
    library: api.Library | None,
    rerankers: Rerankers,
    *,
    model: str,
    folders: bool,
    most_pages: int,
    upload_bytes: int,
) -> None:
    import gradio

    from visret.server import ui

    blocks = ui.build(
        None if library is None else library.retriever,
        ask_index=None if library is None else library.ask,
        model=model,
        folders=folders,
        most_pages=most_pages,
        documents_at="../document/",
        rerankers=rerankers,
    )
    gradio.mount_gradio_app(
        app,
        blocks,
        path=page.LAB,
        max_file_size=upload_bytes,
        footer_links=[],
        run_history=False,
        show_error=False,
        enable_monitoring=False,
        mcp_server=False,
        css=ui.CSS,
        theme=ui.THEME,
    )
    # Gradio checks that the paths that a browser sends are those of its uploads, but only once a page was launched.
    blocks.has_launched = True


def _tools(library: api.Library) -> Starlette | None:
    try:
        from visret.server.tools import application
    except ModuleNotFoundError as error:
        if error.name != "mcp":
            raise
        return None
    return application(library)


def _no_tools() -> None:
    raise HTTPException(501, 'MCP needs a package: pip install "visret[mcp]"')


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)  # so that the process ends in order, and removes its temporary files
