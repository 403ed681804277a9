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
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.types import ASGIApp

from visret import __version__
from visret.errors import InvalidArgument, VisretError, WeightsError
from visret.models import registry, weights
from visret.retriever import Retriever
from visret.search.rerank import Rerankers
from visret.server import answers, api, offline
from visret.server.guard import LOOPBACK, Guard, Rules
from visret.server.protocol import HEAD_SECONDS, PatientProtocol

KEY = "VISRET_API_KEY"
MIN_KEY_LENGTH = 16  # characters
MAX_PAGES = 500  # of an uploaded file
CONNECTIONS = 500
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
) -> ASGIApp:
    """Build the application behind its guard.

    index: the folder of an index; None for the page alone. ui: whether there is the page. folders: whether visitors of
    the page may open other indexes of this machine by their folders. most_pages: the most pages of an uploaded file.
    rerank: the rerankers that questions may ask for. question_model: as in `Retriever.open`. Raises VisretError for a
    reranker that cannot be offered.
    """
    rerankers = offered(rerank)
    retriever = None if index is None else Retriever.open(index, question_model=question_model)
    library = None if retriever is None else api.Library(retriever, most_pages=most_pages, rerankers=rerankers)
    tools = None if library is None else _tools(library)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if library is not None:
                stack.callback(library.close)
                recovering = asyncio.create_task(library.recover())
                stack.callback(recovering.cancel)
            if tools is not None:
                await stack.enter_async_context(tools.router.lifespan_context(tools))
            yield

    # There is no /docs: FastAPI's page for it loads scripts from elsewhere.
    app = FastAPI(title="visret", version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan)
    answers.explain_errors(app)
    if library is not None:
        app.include_router(api.routes(library))
        if tools is not None:
            app.router.routes.extend(tools.routes)
        else:
            app.add_api_route("/mcp", _no_tools, methods=["GET", "POST"], include_in_schema=False)
    if ui:
        _mount_page(app, library, rerankers, folders=folders, most_pages=most_pages, upload_bytes=rules.upload_bytes)
    return Guard(app, rules)


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
    announce: Callable[[str], object] = print,
) -> None:
    """Serve until interrupted. This needs a process of its own, which reaches no other machine afterwards.

    A server on a loopback host answers to the names of this machine and to `rules.hosts`; any other answers to
    `rules.hosts`, or to all names if these are (). no_key: lets other machines connect without a key. rerank: the
    rerankers that questions may ask for. question_model: as in `Retriever.open`. announce: gets the address.

    Raises VisretError if other machines could connect and there is no key, if the index cannot be opened, or if the
    port is in use.
    """
    local = is_loopback(host)
    check_key(rules, host=host, no_key=no_key)
    if index is None and not ui:
        raise InvalidArgument("--no-ui serves an index; give the folder of one")
    if index is None and question_model is not None:
        raise InvalidArgument("--question-model encodes questions for an index; give the folder of one")
    offline.stay()
    folders = local and rules.key is None and not rules.hosts
    if local:
        rules = replace(rules, hosts={*LOOPBACK, *rules.hosts, host})
    signal.signal(signal.SIGTERM, _leave)
    try:
        with tempfile.TemporaryDirectory(prefix="visret-server-", ignore_cleanup_errors=True) as temporary:
            # Gradio serves everything in these folders, so they must not be shared with other programs.
            os.environ.update(GRADIO_TEMP_DIR=temporary, GRADIO_EXAMPLES_CACHE=temporary)
            with listen(host, port) as listener:
                app = build(
                    index,
                    rules,
                    ui=ui,
                    folders=folders,
                    most_pages=most_pages,
                    rerank=rerank,
                    question_model=question_model,
                )
                shown = f"[{host}]" if ":" in host else host
                announce(f"http://{shown}:{listener.getsockname()[1]}/")
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
    if not is_loopback(host) and rules.key is None and not no_key:
        raise VisretError(
            f"{host} can be reached from other machines, so a key is needed: set {KEY} or give --api-key-file FILE; "
            "--no-key lets anyone connect"
        )


def offered(names: Sequence[str]) -> Rerankers:
    """Return the rerankers of these names or folders as the only ones that visitors may ask for.

    A folder is called by its last part, so that no path is shown. They are loaded in the meantime.

    Raises VisretError for a model that is no reranker, or whose weights are not on this machine: the server asks no
    other machine for them.
    """
    known = {Path(name).name if weights.is_path(name) else name: name for name in names}
    for name in known.values():
        spec = registry.resolve(name)
        if spec.task != "rerank":
            raise InvalidArgument(f"--rerank: {name} is no reranker; `visret models` lists them")
        if not weights.location(spec).here:
            raise WeightsError(
                f"--rerank: the weights of {name} are not on this machine; `visret models fetch {name} --to FOLDER` "
                "brings them, and then --rerank FOLDER"
            )
    made = Rerankers(known)
    if known:
        ThreadPoolExecutor(1, "visret-load").submit(made.load)
    return made


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
    key = key.strip()
    if len(key) < MIN_KEY_LENGTH or not (key.isascii() and key.isprintable()) or " " in key:
        make = 'python -c "import secrets; print(secrets.token_urlsafe())"'
        raise VisretError(
            f"a key has at least {MIN_KEY_LENGTH} letters, digits and signs, and no spaces; {make} makes one"
        )
    return key


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


def _mount_page(
    app: FastAPI,
    library: api.Library | None,
    rerankers: Rerankers,
    *,
    folders: bool,
    most_pages: int,
    upload_bytes: int,
) -> None:
    import gradio

    from visret.server import ui

    page = ui.build(
        None if library is None else library.retriever,
        ask_index=None if library is None else library.ask,
        folders=folders,
        most_pages=most_pages,
        documents_at="document/",
        rerankers=rerankers,
    )
    gradio.mount_gradio_app(
        app,
        page,
        path="/",
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
    page.has_launched = True


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
