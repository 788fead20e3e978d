"""uvicorn for one listener of a worker: no signals of its own, no access log, and slow clients give way.

Promises: a request's headers come in time, or the connection is closed; beyond the bound of connections the
one that was silent for longest is closed, and never one whose upload is complete.
"""

import asyncio
import contextlib
import socket
import time
from collections.abc import Iterator

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

#: Until the first byte of a request's headers is followed by their last.
HEADERS_S = 15.0
KEEP_ALIVE_S = 30
_MAX_HEADERS_BYTES = 16 << 10


class WebServer(uvicorn.Server):
    """Serves one application on one bound socket.

    Args:
        app: what to serve.
        listener: bound and listening; a duplicate that this server may close.
        connections: open ones at the same time.
        drain_s: how long requests under way may go on after `stop`.
    """

    def __init__(self, app: Starlette, listener: socket.socket, *, connections: int, drain_s: float) -> None:
        config = uvicorn.Config(
            app,
            http=_patient(connections),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            h11_max_incomplete_event_size=_MAX_HEADERS_BYTES,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=int(drain_s),
        )
        super().__init__(config)
        self._listener = listener
        self._task: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None: the worker has its own."""
        yield

    async def start(self) -> None:
        """Serve; returns once connections are accepted."""
        self._task = asyncio.create_task(self.serve(sockets=[self._listener]))
        while not self.started and not self._task.done():
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        """Accept nothing more, and let what is under way end."""
        self.should_exit = True
        if self._task is not None:
            await self._task


def _patient(connections: int) -> type[H11Protocol]:
    """uvicorn's protocol with a bound of connections; it has no time limit for headers of its own."""

    class Patient(H11Protocol):
        heard_s = 0.0
        headers_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self.heard_s = time.monotonic()
            self._watch_headers()
            if len(self.connections) > connections:
                silent = [one for one in self.connections if isinstance(one, Patient) and one.is_reading]
                if silent:
                    min(silent, key=lambda one: one.heard_s).transport.abort()

        def data_received(self, data: bytes) -> None:
            self.heard_s = time.monotonic()
            self._watch_headers()
            super().data_received(data)
            if self.cycle is not None and not self.cycle.response_complete:
                self._unwatch()

        def connection_lost(self, exc: Exception | None) -> None:
            self._unwatch()
            super().connection_lost(exc)

        @property
        def is_reading(self) -> bool:
            """Whether it waits for its client: no request, or one whose body is not complete."""
            return self.cycle is None or self.cycle.response_complete or self.cycle.more_body

        def _watch_headers(self) -> None:
            if self.headers_timer is None:
                self.headers_timer = self.loop.call_later(HEADERS_S, self.transport.abort)

        def _unwatch(self) -> None:
            if self.headers_timer is not None:
                self.headers_timer.cancel()
                self.headers_timer = None

    return Patient
