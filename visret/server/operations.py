"""The routes for those who operate a server: whether it is ready, and figures for Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, FastAPI, HTTPException, Response
from starlette.types import ASGIApp

from visret.server import schemas
from visret.server.answers import Json
from visret.server.api import Library
from visret.server.records import Recorded, first_part

if TYPE_CHECKING:
    from visret.server.metrics import Metrics

BESIDE = ("/", "/mcp", "/gradio_api")  # the routes that are not in the schema
ABSENT = 'metrics need a package: pip install "visret[metrics]"'


def metrics_of(library: Library | None) -> Metrics | None:
    """Return the figures of a server, which are kept from now on; None if prometheus-client is not installed."""
    try:
        from visret.server.metrics import Metrics
    except ModuleNotFoundError as error:
        if error.name != "prometheus_client":
            raise
        return None
    metrics = Metrics(library)
    if library is not None:
        library.watch(metrics.stage, metrics.question)
    return metrics


def probe(library: Library | None) -> APIRouter:
    """Return the route that says whether the server is ready. library: None for a server without an index."""
    router = APIRouter()

    @router.get("/ready", response_model=schemas.Ready, responses=schemas.READY)
    def ready() -> Response:
        """Say whether questions are answered at once: 503 while the model is loading, or if it cannot be loaded."""
        if library is None or library.is_ready:
            return Json({"status": "ready"})
        return Json({"status": "loading"}, 503)

    return router


def figures(metrics: Metrics | None) -> APIRouter:
    """Return the route of the figures for Prometheus."""
    router = APIRouter()

    @router.get("/metrics", response_class=Response, responses=schemas.METRICS)
    def shown() -> Response:
        """Return figures for Prometheus: requests, questions and their times, what waits, and what was refused."""
        if metrics is None:
            raise HTTPException(501, ABSENT)
        text, kind = metrics.shown()
        return Response(text, media_type=kind)

    return router


def recorded(guarded: ASGIApp, app: FastAPI, metrics: Metrics | None) -> ASGIApp:
    """Return the application behind its guard with a record of each request."""

    def routes() -> set[str]:
        return {*BESIDE, *map(first_part, app.openapi()["paths"])}

    return Recorded(guarded, routes, None if metrics is None else metrics.request)
