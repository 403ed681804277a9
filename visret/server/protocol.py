"""HTTP/1.1 for clients that may mean harm: none can hold idle connections, or a great many of them."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_SECONDS = 15.0  # that a client has to send the head of a request, the first as well as each later one
MAX_OF_ONE = 200  # connections of one address

_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 5\r\ncontent-length: 0\r\n\r\n"


class PatientProtocol(H11Protocol):
    """The protocol of uvicorn with limits: its own waits for the head of a request as long as the client likes."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request, unless this address has too many connections already."""
        super().connection_made(transport)
        addresses = [one.client[0] for one in self.connections if isinstance(one, H11Protocol) and one.client]
        if self.client and addresses.count(self.client[0]) > MAX_OF_ONE:
            self._end(_BUSY)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Stop waiting if a request has begun."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._stop()

    def _watch(self) -> None:
        """Wait for a request, unless one is under way."""
        if self.transport.is_closing() or (self.cycle is not None and not self.cycle.response_complete):
            self._stop()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_SECONDS, self._end, _TIMEOUT)

    def _stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _end(self, said: bytes) -> None:
        self.transport.write(said)
        self.transport.close()
