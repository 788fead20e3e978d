"""One worker: an event loop, one scanner, and the listeners that the supervisor bound.

Promises: ready only once the scanner is warm; told to stop, it accepts nothing more, answers what is under
way for up to `DRAIN_S`, and ends; when its supervisor is gone, it does the same.
"""

import asyncio
import logging
import resource
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from iii_client.config import Config
from iii_client.integrations.clamd import (
    BUSY_REPLY,
    OK_REPLY,
    PIECE_BYTES,
    ClamdRules,
    Patience,
    ask_another,
    converse,
    reply_of,
)
from iii_client.integrations.sidecar.connections import Connections
from iii_client.integrations.sidecar.desk import BusyError, Desk
from iii_client.integrations.sidecar.listening import Listener
from iii_client.integrations.sidecar.settings import ServeSettings, Speaks
from iii_client.integrations.sidecar.tenants import Pace, Tenant, read_tenants
from iii_client.model import UploadContext
from iii_client.parts import Parts
from iii_client.scanner import Scanner

if TYPE_CHECKING:
    from iii_client.integrations.sidecar.web_server import WebServer

#: How long what is under way may go on after SIGTERM: systemd kills after 90 s.
DRAIN_S = 30.0
#: Sockets and spools of all connections, and what the library opens.
_DESCRIPTORS = 4096

logger = logging.getLogger(__name__)


def work(
    settings: ServeSettings,
    listeners: Sequence[Listener],
    *,
    supervisor: int,
    ready: Callable[[], None],
) -> None:
    """Serve until told to stop.

    Args:
        supervisor: a descriptor that becomes readable when the supervisor is gone.
        ready: called once connections are accepted.

    Raises:
        ConfigurationError: a setting is missing or wrong.
    """
    config = Config.from_env()
    tenants = read_tenants(settings.tokens) if settings.tokens else ()
    _allow_descriptors()
    parts = Parts.from_config(config)
    with Scanner.from_parts(parts) as scanner:
        scanner.warm_up()
        desk = Desk(scanner, at_once=settings.at_once, waiting=settings.waiting)
        pace = Pace(
            per_minute=settings.per_minute,
            own={tenant.name: tenant.per_minute for tenant in tenants},
            share=1 / settings.workers,
            clock=time.monotonic,
        )
        here = _Worker(settings=settings, parts=parts, scanner=scanner, desk=desk, pace=pace, tenants=tenants)
        try:
            asyncio.run(here.serve(listeners, supervisor=supervisor, ready=ready))
        finally:
            desk.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worker:
    settings: ServeSettings
    parts: Parts
    scanner: Scanner
    desk: Desk
    pace: Pace
    tenants: tuple[Tenant, ...]

    async def serve(
        self, listeners: Sequence[Listener], *, supervisor: int, ready: Callable[[], None]
    ) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_reader(supervisor, stop.set)
        connections = Connections(self.settings.connections)
        clamd = [
            await self._start_clamd(listener, connections)
            for listener in listeners
            if listener.address.speaks is Speaks.CLAMD
        ]
        web = [
            await self._start_http(listener)
            for listener in listeners
            if listener.address.speaks is Speaks.HTTP
        ]
        ready()
        await stop.wait()
        loop.remove_reader(supervisor)
        for server in clamd:
            server.close()
        await asyncio.gather(connections.drain(DRAIN_S), *(server.stop() for server in web))

    async def _start_clamd(self, listener: Listener, connections: Connections) -> asyncio.Server:
        rules = ClamdRules(
            decide=self._clamd_decider(UploadContext(route=listener.address.tenant)),
            spool=self.desk.spool,
            max_stream_bytes=self.parts.config.limits.max_content_bytes,
            note=connections.note,
        )

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await connections.serve(converse(reader, writer, rules))

        # A duplicate, because others serve on it after this one is closed; and not `start_unix_server`, which
        # from Python 3.13 on removes the socket's name then.
        return await asyncio.start_server(serve, sock=listener.socket.dup(), limit=PIECE_BYTES)

    def _clamd_decider(self, context: UploadContext) -> Callable[[BinaryIO], Awaitable[str]]:
        async def decide(file: BinaryIO) -> str:
            if self.pace.wait_s(context.route):
                return BUSY_REPLY
            try:
                reply = reply_of(await self.desk.decide(file, context))
            except BusyError:
                return BUSY_REPLY
            if reply != OK_REPLY or self.settings.chain is None:
                return reply
            file.seek(0)
            return await ask_another(self.settings.chain, file, patience=Patience())

        return decide

    async def _start_http(self, listener: Listener) -> "WebServer":
        # Imported here: clamd's protocol alone needs no extra.
        from iii_client.integrations.sidecar.http import HttpRules, build_app
        from iii_client.integrations.sidecar.web_server import WebServer

        rules = HttpRules(
            config=self.parts.config,
            scanner=self.scanner,
            filters=self.parts.filters,
            desk=self.desk,
            pace=self.pace,
            tenant=listener.address.tenant,
            tenants=self.tenants,
        )
        server = WebServer(
            build_app(rules),
            listener.socket.dup(),
            connections=self.settings.connections,
            drain_s=DRAIN_S,
        )
        await server.start()
        return server


def _allow_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
