"""A client of a server: `visret.Client(url)` has the calls of a Retriever, so that code moves to a server by one line.

    with visret.Client("https://search.example", key=KEY) as retriever:      # instead of Retriever.open(...)
        for hit in retriever.search("unpaid loans"):
            print(hit.doc, hit.page, hit.passage.text)

Hits, passages, reports and errors are those of the library. What a server does not send, such as the maps of an
`Explanation`, is drawn there: `highlight` returns the picture.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote

from visret import arguments
from visret.choices import DEPTH
from visret.errors import DocumentError, IndexLocked, InvalidArgument, MissingExtra, NoPicture, VisretError
from visret.ingest.report import EmptyPage, Failure, Lost, Patterns, Report
from visret.server import written
from visret.server.written import Written
from visret.types import Hit, Page, PageRef, Passage, Ranked, Word, page_ref

if TYPE_CHECKING:
    import httpx
    from PIL.Image import Image

TIMEOUT = 120.0  # seconds; the first question may wait for the model
TRIES, MAX_WAIT = 4, 30.0  # of a request that the server turns away because there are too many; seconds between two
TOGETHER = 8  # questions of `search_many`, as many as a server answers together
PICTURE_DPI = 100
UNSCORED = float("-inf")
MANY = 1000  # documents that one answer lists
Made = TypeVar("Made")


@dataclass(frozen=True)
class _Call(Generic[Made]):
    """A request, and what is made of its answer."""

    method: str
    path: str
    make: Callable[[httpx.Response], Made]
    json: Any = None
    params: Mapping[str, Any] = field(default_factory=dict)
    files: Sequence[tuple[str, tuple[str, bytes]]] | None = None
    data: Mapping[str, str] | None = None

    @property
    def only_asks(self) -> bool:
        """True if it changes nothing, so that it may be sent again when nobody knows whether it arrived."""
        return self.method == "GET" or (self.method == "POST" and self.files is None)

    def given(self) -> dict[str, Any]:
        """Return the arguments of httpx."""
        given = {"json": self.json, "params": dict(self.params), "files": self.files, "data": self.data}
        return {"method": self.method, "url": self.path} | {name: one for name, one in given.items() if one}


class _Connection:
    """The parts that both clients share: the address, and the errors that answers stand for."""

    def __init__(self, url: str, key: str | None, timeout: float) -> None:
        try:
            import httpx
        except ImportError as error:
            raise MissingExtra('a client needs httpx: pip install "visret[client]"') from error
        if not isinstance(url, str) or not url.startswith(("http://", "https://")):
            raise InvalidArgument(f"the address of a server begins with http:// or https://, got {url!r}")
        self.url = url.rstrip("/")
        self._failed = httpx.HTTPError
        # A connection that was kept open may be closed just when it is used again, as by a server that starts anew.
        self._lost = httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._how: dict[str, Any] = {"base_url": self.url, "headers": headers, "timeout": timeout}

    def _again(self, error: Exception, call: _Call[Any], tried: int) -> None:
        """Return if a request is to be sent again after an error. Raises VisretError if the server does not answer."""
        if isinstance(error, self._lost) and call.only_asks and tried == 1:
            return
        said = f"{self.url} does not answer ({error or type(error).__name__}); is `visret serve` running?"
        raise VisretError(said) from error

    def _wait(self, answer: httpx.Response, tried: int) -> float | None:
        """Return the seconds after which a request is sent again; None if its answer stands."""
        if answer.status_code != 429 or tried == TRIES:
            return None
        return min(MAX_WAIT, float(answer.headers.get("retry-after", "1")))

    def _check(self, answer: httpx.Response, call: _Call[Any]) -> None:
        """Raise the error of the library that an answer stands for."""
        if answer.is_success or (answer.status_code == 422 and call.files and "files" in answer.json()):
            return  # a file that cannot be read is no error, but reported
        detail = _detail(answer)
        status = answer.status_code
        if (status, detail, call.path) == (404, "Not Found", "/answer"):
            detail = f"{self.url} has no language model; start it with `visret serve INDEX --llm URL --llm-model NAME`"
        if status == 404 and call.path.endswith(".png") and not detail.startswith(("no page", "no document")):
            raise NoPicture(call.path, detail)
        if status in (400, 404, 413, 414, 415, 422):
            raise InvalidArgument(detail)
        if status == 409:
            raise IndexLocked(self.url, detail)
        if status == 410:
            raise DocumentError(call.path, detail)
        if status == 501:
            raise MissingExtra(f"{self.url}: {detail}")
        raise VisretError(f"{self.url}: {detail}")


class Client(_Connection):
    """A server's index, with the calls of `Retriever`.

    url: the address of `visret serve`. key: its key. timeout: the seconds to wait for an answer. Several threads may
    use it. Use it in a `with` block, or close it.

    Errors are those of the library: InvalidArgument for what makes no sense or is not there, NoPicture, DocumentError
    for a file that is gone, IndexLocked while another process writes, and VisretError for anything else, such as a
    wrong key or a server that does not answer. A request that is turned away because there are too many is sent again,
    and so is, once, a question whose connection breaks.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout: float = TIMEOUT) -> None:
        super().__init__(url, key, timeout)
        import httpx

        self._client = httpx.Client(**self._how)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def search(
        self,
        question: str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        exact: bool = False,
        by: str | None = None,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
        weak: bool = True,
        min_score: float | None = None,
        rerank: str | None = None,
        depth: int = DEPTH,
        seconds: float | None = None,
    ) -> Ranked[Hit]:
        """Return the k best pages for a question, best first; the arguments are those of `Retriever.search`."""
        return self._send(_search(_named(locals())))

    def search_many(
        self,
        questions: Sequence[str],
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        exact: bool = False,
        by: str | None = None,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
        weak: bool = True,
        min_score: float | None = None,
        rerank: str | None = None,
        depth: int = DEPTH,
        seconds: float | None = None,
    ) -> list[Ranked[Hit]]:
        """Search for each of several questions at the same time, as `search` does."""
        calls = _searches(_named(locals()))
        with ThreadPoolExecutor(TOGETHER) as threads:
            return list(threads.map(self._send, calls))

    def search_like(
        self,
        page: Hit | tuple[str, int] | str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        exact: bool = False,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
    ) -> Ranked[Hit]:
        """Return the k pages that are most like a page of the index, or like a text."""
        return self._send(_like(_named(locals())))

    def passages(
        self,
        question: str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        by: str | None = None,
        of_page: int = 3,
    ) -> Ranked[Hit]:
        """Return the k best passages of all pages, best first, each as the hit of its page with that `passage`."""
        return self._send(_Call("POST", "/passages", _hits, _named(locals())))

    def answer(
        self,
        question: str,
        k: int = 5,
        *,
        where: Mapping[str, Any] | None = None,
        by: str | None = None,
        turns: Sequence[tuple[str, str]] = (),
    ) -> Written:
        """Let the language model of the server answer a question, from the k best pages.

        where, by: as in `search`. turns: earlier questions with their answers, the first one first, which the question
        goes on from, such as `[(question, answer.text)]`.
        Raises LanguageModelError if the model fails, and InvalidArgument if the server has none (`visret serve --llm`).
        """
        return self._send(_answer(_named(locals())))

    def page(self, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI) -> Page:
        """Return a page with its picture and words. Raises DocumentError if its file is gone or has changed."""
        text = self.text(hit)
        return text if text.size_pt is None else _drawn(text, self.picture(hit, dpi=dpi))

    def text(self, hit: Hit | tuple[str, int]) -> Page:
        """Return a page as `page` does, but without its picture, so that its file is not needed."""
        return self._send(_text(hit))

    def picture(self, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI) -> Image:
        """Return a page as an RGB picture. Raises NoPicture if it has none."""
        return self._send(_picture("page", hit, {"dpi": dpi}))

    def highlight(self, question: str, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI) -> Image:
        """Return the picture of a page with the places marked that answer a question."""
        return self._send(_picture("highlight", hit, {"q": question, "dpi": dpi}))

    def documents(self) -> list[str]:
        """Return the names of all documents in the order they were added, including those without pages."""
        names: list[str] = []
        while True:
            listed, total = self._send(_documents(len(names)))
            names += listed
            if len(names) >= total or not listed:
                return names

    def info(self) -> dict[str, Any]:
        """Return what the server says of its index: model, documents, pages and rerankers."""
        return self._send(_Call("GET", "/health", _json))

    def unread_counts(self) -> tuple[int, int]:
        """Count the failures, of files and pages, and the pages that hold nothing to read."""
        failed = empty = start = 0
        while True:
            listed, total = self._send(_unread(start))
            failed += sum(one["state"] == "failed" for one in listed)
            empty += sum(one["state"] == "empty" for one in listed)
            start += len(listed)
            if start >= total or not listed:
                return failed, empty

    def add(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        metadata: Mapping[str, Any] | None = None,
        include: Patterns = (),
        exclude: Patterns = (),
    ) -> Report:
        """Upload files, or what is in folders, one after the other. A document is called after its file alone.

        metadata, include, exclude: as in `Retriever.add`. What cannot be read is in the report's `failed`.
        """
        found = _found(paths, include, exclude)
        return _merged(found.failures, [self._upload(source.path, metadata) for source in found.sources], found.ignored)

    def remove(self, docs: str | Iterable[str]) -> None:
        """Remove documents by name. Raises InvalidArgument for one that is not there."""
        for doc in dict.fromkeys(arguments.several(docs)):
            self._send(_Call("DELETE", f"/documents/{_quoted(doc)}", _nothing))

    def set_metadata(self, doc: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change metadata of a document, and return what it has then. None deletes a key; all other keys stay."""
        return self._send(_Call("PATCH", f"/documents/{_quoted(doc)}", _metadata, dict(changes)))

    def _upload(self, path: Path, metadata: Mapping[str, Any] | None) -> Report:
        try:
            return self._send(_upload(path, metadata))
        except (OSError, InvalidArgument) as error:
            return _failed(path, error)

    def _send(self, call: _Call[Made]) -> Made:
        for tried in range(1, TRIES + 1):
            try:
                answer = self._client.request(**call.given())
            except self._failed as error:
                self._again(error, call, tried)
                continue
            if (wait := self._wait(answer, tried)) is None:
                break
            time.sleep(wait)
        self._check(answer, call)
        return call.make(answer)


class AsyncClient(_Connection):
    """A server's index, with the calls of `Client` as coroutines.

    url, key, timeout: as in `Client`. Use it in an `async with` block, or close it.
    """

    def __init__(self, url: str, *, key: str | None = None, timeout: float = TIMEOUT) -> None:
        super().__init__(url, key, timeout)
        import httpx

        self._client = httpx.AsyncClient(**self._how)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def search(
        self,
        question: str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        exact: bool = False,
        by: str | None = None,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
        weak: bool = True,
        min_score: float | None = None,
        rerank: str | None = None,
        depth: int = DEPTH,
        seconds: float | None = None,
    ) -> Ranked[Hit]:
        """Return what `Client.search` does."""
        return await self._send(_search(_named(locals())))

    async def search_many(
        self,
        questions: Sequence[str],
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        exact: bool = False,
        by: str | None = None,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
        weak: bool = True,
        min_score: float | None = None,
        rerank: str | None = None,
        depth: int = DEPTH,
        seconds: float | None = None,
    ) -> list[Ranked[Hit]]:
        """Return what `Client.search_many` does."""
        calls = _searches(_named(locals()))
        free = asyncio.Semaphore(TOGETHER)

        async def send(call: _Call[Ranked[Hit]]) -> Ranked[Hit]:
            async with free:
                return await self._send(call)

        return list(await asyncio.gather(*map(send, calls)))

    async def search_like(
        self,
        page: Hit | tuple[str, int] | str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        exact: bool = False,
        offset: int = 0,
        group_by: str | None = None,
        neighbours: int = 0,
    ) -> Ranked[Hit]:
        """Return what `Client.search_like` does."""
        return await self._send(_like(_named(locals())))

    async def passages(
        self,
        question: str,
        k: int = 10,
        *,
        where: Mapping[str, Any] | None = None,
        by: str | None = None,
        of_page: int = 3,
    ) -> Ranked[Hit]:
        """Return what `Client.passages` does."""
        return await self._send(_Call("POST", "/passages", _hits, _named(locals())))

    async def answer(
        self,
        question: str,
        k: int = 5,
        *,
        where: Mapping[str, Any] | None = None,
        by: str | None = None,
        turns: Sequence[tuple[str, str]] = (),
    ) -> Written:
        """Return what `Client.answer` does."""
        return await self._send(_answer(_named(locals())))

    async def page(self, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI) -> Page:
        """Return what `Client.page` does."""
        text = await self.text(hit)
        return text if text.size_pt is None else _drawn(text, await self.picture(hit, dpi=dpi))

    async def text(self, hit: Hit | tuple[str, int]) -> Page:
        """Return what `Client.text` does."""
        return await self._send(_text(hit))

    async def picture(self, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI) -> Image:
        """Return what `Client.picture` does."""
        return await self._send(_picture("page", hit, {"dpi": dpi}))

    async def highlight(self, question: str, hit: Hit | tuple[str, int], *, dpi: int = PICTURE_DPI) -> Image:
        """Return what `Client.highlight` does."""
        return await self._send(_picture("highlight", hit, {"q": question, "dpi": dpi}))

    async def documents(self) -> list[str]:
        """Return what `Client.documents` does."""
        names: list[str] = []
        while True:
            listed, total = await self._send(_documents(len(names)))
            names += listed
            if len(names) >= total or not listed:
                return names

    async def info(self) -> dict[str, Any]:
        """Return what `Client.info` does."""
        return await self._send(_Call("GET", "/health", _json))

    async def add(
        self,
        paths: str | Path | Iterable[str | Path],
        *,
        metadata: Mapping[str, Any] | None = None,
        include: Patterns = (),
        exclude: Patterns = (),
    ) -> Report:
        """Do what `Client.add` does."""
        found = await asyncio.to_thread(_found, paths, include, exclude)
        reports = [await self._upload(source.path, metadata) for source in found.sources]
        return _merged(found.failures, reports, found.ignored)

    async def remove(self, docs: str | Iterable[str]) -> None:
        """Do what `Client.remove` does."""
        for doc in dict.fromkeys(arguments.several(docs)):
            await self._send(_Call("DELETE", f"/documents/{_quoted(doc)}", _nothing))

    async def set_metadata(self, doc: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what `Client.set_metadata` does."""
        return await self._send(_Call("PATCH", f"/documents/{_quoted(doc)}", _metadata, dict(changes)))

    async def _upload(self, path: Path, metadata: Mapping[str, Any] | None) -> Report:
        try:
            return await self._send(await asyncio.to_thread(_upload, path, metadata))
        except (OSError, InvalidArgument) as error:
            return _failed(path, error)

    async def _send(self, call: _Call[Made]) -> Made:
        for tried in range(1, TRIES + 1):
            try:
                answer = await self._client.request(**call.given())
            except self._failed as error:
                self._again(error, call, tried)
                continue
            if (wait := self._wait(answer, tried)) is None:
                break
            await asyncio.sleep(wait)
        self._check(answer, call)
        return call.make(answer)


# ---- requests


def _named(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a method, as `locals()` has them at its beginning, without those that are None."""
    return {name: one for name, one in given.items() if name != "self" and one is not None}


def _search(asked: Mapping[str, Any]) -> _Call[Ranked[Hit]]:
    return _Call("POST", "/search", _hits, asked)


def _searches(asked: Mapping[str, Any]) -> list[_Call[Ranked[Hit]]]:
    how = {name: one for name, one in asked.items() if name != "questions"}
    if isinstance(asked["questions"], str):
        raise InvalidArgument("search takes a question as text, search_many a list of them")
    return [_search({"question": question, **how}) for question in asked["questions"]]


def _like(asked: Mapping[str, Any]) -> _Call[Ranked[Hit]]:
    page = asked["page"]
    what = {"text": page} if isinstance(page, str) else dict(zip(("doc", "page"), page_ref(page), strict=True))
    return _Call("POST", "/like", _hits, {**asked, "page": 1, **what})


def _answer(asked: Mapping[str, Any]) -> _Call[Written]:
    turns = [{"question": question, "answer": answer} for question, answer in asked["turns"]]
    return _Call("POST", "/answer", lambda answer: written.read(answer.text), {**asked, "turns": turns})


def _text(hit: Hit | tuple[str, int]) -> _Call[Page]:
    doc, page = page_ref(hit)
    return _Call("GET", f"/text/{_quoted(doc)}/{page}.json", _page)


def _picture(route: str, hit: Hit | tuple[str, int], params: Mapping[str, Any]) -> _Call[Image]:
    doc, page = page_ref(hit)
    return _Call("GET", f"/{route}/{_quoted(doc)}/{page}.png", _image, params=params)


def _documents(start: int) -> _Call[tuple[list[str], int]]:
    def names(answer: httpx.Response) -> tuple[list[str], int]:
        listed = answer.json()
        return [one["doc"] for one in listed["documents"]], listed["total"]

    return _Call("GET", "/documents", names, params={"start": start, "count": MANY})


def _unread(start: int) -> _Call[tuple[list[dict[str, Any]], int]]:
    def parts(answer: httpx.Response) -> tuple[list[dict[str, Any]], int]:
        listed = answer.json()
        return listed["unread"], listed["total"]

    return _Call("GET", "/unread", parts, params={"start": start, "count": MANY})


def _upload(path: Path, metadata: Mapping[str, Any] | None) -> _Call[Report]:
    data = {} if metadata is None else {"metadata": json.dumps(dict(metadata))}
    return _Call(
        "POST", "/documents", partial(_report, path), files=[("files", (path.name, path.read_bytes()))], data=data
    )


def _quoted(doc: str) -> str:
    return quote(str(doc).encode("utf8", "surrogateescape"))


# ---- answers


def _detail(answer: httpx.Response) -> str:
    """Return what an answer says is wrong."""
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return f"answered {answer.status_code}; is this the address of visret?"
    if not isinstance(detail, list):
        return str(detail)
    return "; ".join(": ".join([".".join(map(str, one["loc"][1:])), one["msg"]]) for one in detail)


def _json(answer: httpx.Response) -> dict[str, Any]:
    return dict(answer.json())


def _nothing(_: httpx.Response) -> None:
    return None


def _metadata(answer: httpx.Response) -> Mapping[str, Any]:
    return dict(answer.json()["metadata"])


def _hits(answer: httpx.Response) -> Ranked[Hit]:
    told = answer.json()
    return Ranked(map(_hit, told["hits"]), tuple(told["warnings"]))


def _hit(one: Mapping[str, Any]) -> Hit:
    return Hit(
        ref=PageRef(one["doc"], one["page"]),
        score=UNSCORED if one["score"] is None else one["score"],
        rank=one["rank"],
        text=one["text"],
        source=one["source"],
        metadata=one["metadata"],
        weak=one["weak"],
        member=one["member"],
        scores=one["scores"],
        neighbour_of=one["neighbour_of"],
        relevance=one["relevance"],
        passage=_passage(one["passage"]),
    )


def _passage(one: Mapping[str, Any] | None) -> Passage | None:
    if one is None:
        return None
    boxes = tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in one["boxes"])
    return Passage(one["text"], boxes, _pair(one["span"]), _pair(one["size_pt"]), one["score"])


def _pair(values: Sequence[Any] | None) -> Any:
    return None if values is None else tuple(values)


def _page(answer: httpx.Response) -> Page:
    told = answer.json()
    if told["size_pt"] is None:
        return Page.from_text(told["text"], doc=told["doc"], page=told["page"], metadata=told["metadata"])
    words = told["words"]
    made = None if words is None else tuple(Word(one["text"], tuple(one["box"]), (), one["line"]) for one in words)
    return Page(PageRef(told["doc"], told["page"]), _pair(told["size_pt"]), None, made, None, told["metadata"])


def _drawn(page: Page, picture: Image) -> Page:
    return Page(page.ref, page.size_pt, picture, page.words, None, page.metadata)


def _image(answer: httpx.Response) -> Image:
    from PIL import Image

    return Image.open(BytesIO(answer.content)).convert("RGB")


def _report(path: Path, answer: httpx.Response) -> Report:
    """Return a report with the path of the file in place of its name."""
    told = answer.json()
    made: dict[str, Any] = {one.name: told[one.name] for one in fields(Report)}
    for name, kind in (("empty", EmptyPage), ("failed", Failure), ("lost", Lost)):
        made[name] = [kind(**{**one, "path": str(path)}) for one in told[name]]
    return Report(**made)


def _failed(path: Path, error: Exception) -> Report:
    return Report(1, 0, 0, 0, 0, [], [Failure(str(path), None, str(error))], 0.0)


def _found(paths: str | Path | Iterable[str | Path], include: Patterns, exclude: Patterns) -> Any:
    from visret.ingest.discovery import discover

    return discover(paths, include=include, exclude=exclude)


def _merged(failures: Sequence[Failure], reports: Sequence[Report], ignored: Sequence[str]) -> Report:
    """Return one report of several."""
    every = [Report(len(failures), 0, 0, 0, 0, [], list(failures), 0.0, ignored=list(ignored)), *reports]
    made: dict[str, Any] = {}
    for one in fields(Report):
        values = [getattr(report, one.name) for report in every]
        made[one.name] = sum(values, [] if isinstance(values[0], list) else 0)
    return Report(**made)
