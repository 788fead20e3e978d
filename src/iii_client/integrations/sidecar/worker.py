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
from typing import BinaryIO

from iii_client.config import Config
from iii_client.integrations.clamd import (
    BUSY_REPLY,
    PIECE_BYTES,
    ClamdRules,
    converse,
    reply_of,
)
from iii_client.integrations.sidecar.connections import Connections
from iii_client.integrations.sidecar.desk import BusyError, Desk
from iii_client.integrations.sidecar.listening import Listener
from iii_client.integrations.sidecar.settings import ServeSettings, Speaks
from iii_client.integrations.sidecar.tenants import Pace
from iii_client.model import UploadContext
from iii_client.parts import Parts
from iii_client.scanner import Scanner

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
    _allow_descriptors()
    with Scanner.from_parts(Parts.from_config(config)) as scanner:
        scanner.warm_up()
        desk = Desk(scanner, at_once=settings.at_once, waiting=settings.waiting)
        try:
            asyncio.run(_serve(settings, listeners, config, desk, supervisor=supervisor, ready=ready))
        finally:
            desk.close()


async def _serve(
    settings: ServeSettings,
    listeners: Sequence[Listener],
    config: Config,
    desk: Desk,
    *,
    supervisor: int,
    ready: Callable[[], None],
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_reader(supervisor, stop.set)
    pace = Pace(per_minute=settings.per_minute, own={}, share=1 / settings.workers, clock=time.monotonic)
    connections = Connections(settings.connections)
    servers = [
        await _start_clamd(listener, config, desk, pace, connections)
        for listener in listeners
        if listener.address.speaks is Speaks.CLAMD
    ]
    ready()
    await stop.wait()
    loop.remove_reader(supervisor)
    for server in servers:
        server.close()
    await connections.drain(DRAIN_S)


async def _start_clamd(
    listener: Listener, config: Config, desk: Desk, pace: Pace, connections: Connections
) -> asyncio.Server:
    tenant = listener.address.tenant
    rules = ClamdRules(
        decide=_clamd_decider(desk, pace, UploadContext(route=tenant)),
        spool=desk.spool,
        max_stream_bytes=config.limits.max_content_bytes,
        note=connections.note,
    )

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await connections.serve(converse(reader, writer, rules))

    start = asyncio.start_server if listener.address.path is None else asyncio.start_unix_server
    # A duplicate: closing the server must not remove or close what the supervisor and others serve on.
    return await start(serve, sock=listener.socket.dup(), limit=PIECE_BYTES)


def _clamd_decider(desk: Desk, pace: Pace, context: UploadContext) -> Callable[[BinaryIO], Awaitable[str]]:
    async def decide(file: BinaryIO) -> str:
        if pace.wait_s(context.route):
            return BUSY_REPLY
        try:
            return reply_of(await desk.decide(file, context))
        except BusyError:
            return BUSY_REPLY

    return decide


def _allow_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
