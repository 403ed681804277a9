"""Figures of the server for Prometheus: what is asked, how long it takes, how much waits and is refused.

No label holds the name of a file, a question or a key: labels have few values, all of which are known beforehand.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from visret.index.layout import CATALOGUE

REFUSED = (401, 403, 408, 413, 414, 421, 429, 503)  # the statuses of requests that the guard turns away
METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE", "PUT", "OPTIONS")
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds


class Served(Protocol):
    """The part of `api.Library` that is measured whenever somebody looks."""

    folder: Path

    @property
    def waiting(self) -> int:
        """The number of questions that wait."""

    @property
    def counts(self) -> tuple[int, int]:
        """The numbers of documents and of pages."""


class Metrics:
    """The figures of one server. library: None for a server without an index."""

    def __init__(self, library: Served | None) -> None:
        disable_created_metrics()  # the time at which each figure began: twice as many lines
        self._registry = CollectorRegistry()
        ours = {"namespace": "visret", "registry": self._registry}
        self._requests = Counter("requests", "Requests that were answered", ["route", "method", "status"], **ours)
        self._seconds = Histogram(
            "request_seconds", "Seconds until an answer ended", ["route"], buckets=BUCKETS, **ours
        )
        self._refused = Counter("refused", "Requests that were turned away", ["status"], **ours)
        self._stages = Histogram(
            "question_seconds", "Seconds of a question in each stage", ["stage"], buckets=BUCKETS, **ours
        )
        self._questions = Counter("questions", "Questions, over HTTP, MCP and in the browser", **ours)
        if library is not None:
            self._look_at(library, ours)

    def _look_at(self, library: Served, ours: dict[str, object]) -> None:
        catalogue = library.folder / CATALOGUE
        gauges = {
            "queue": ("Questions that wait", lambda: library.waiting),
            "documents": ("Documents in the index", lambda: library.counts[0]),
            "pages": ("Pages in the index", lambda: library.counts[1]),
            "index_age_seconds": ("Seconds since the index changed", lambda: time.time() - catalogue.stat().st_mtime),
        }
        for name, (about, measure) in gauges.items():
            Gauge(name, about, **ours).set_function(measure)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request. status: 0 if no answer began."""
        self._requests.labels(route, method if method in METHODS else "other", str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        if status in REFUSED:
            self._refused.labels(str(status)).inc()

    def stage(self, stage: str, seconds: float) -> None:
        """Count the time of a question in a stage: wait, rank, explain or rerank."""
        self._stages.labels(stage).observe(seconds)

    def question(self) -> None:
        """Count a question."""
        self._questions.inc()

    def shown(self) -> tuple[bytes, str]:
        """Return all figures in the text format of Prometheus, and its media type."""
        return generate_latest(self._registry), CONTENT_TYPE_PLAIN_0_0_4
