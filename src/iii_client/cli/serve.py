"""`iii-client serve`: the scanner as a daemon for what is not Python."""

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from iii_client.cli.render import err, print_json_line
from iii_client.errors import ConfigurationError, MissingExtraError

if TYPE_CHECKING:
    from iii_client.integrations.sidecar.listening import Listener


def serve(
    clamd_socket: Annotated[
        list[str] | None,
        typer.Option(metavar="[TENANT=]PATH", help="Unix socket for clamd's protocol. May be repeated."),
    ] = None,
    clamd_port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="clamd's protocol on loopback: every account of this machine may use it."
        ),
    ] = None,
    http_socket: Annotated[
        list[str] | None,
        typer.Option(metavar="[TENANT=]PATH", help="Unix socket for HTTP. May be repeated."),
    ] = None,
    http_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="HTTP on loopback; needs --tokens.")
    ] = None,
    tokens: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="TOML file of the tenants that may use HTTP, by token."),
    ] = None,
    chain: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH", help="Socket of a real clamd: asked, too, about what clamd's clients may pass."
        ),
    ] = None,
    socket_mode: Annotated[str, typer.Option(help="Permissions of the Unix sockets.")] = "660",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes.")] = 2,
    at_once: Annotated[int, typer.Option(min=1, max=64, help="Scans at the same time in each.")] = 2,
    queue: Annotated[
        int, typer.Option(min=0, max=100_000, help="Scans that wait in each before it says it is busy.")
    ] = 64,
    connections: Annotated[
        int, typer.Option(min=1, max=3000, help="Open connections in each; beyond, the idlest is closed.")
    ] = 512,
    per_minute: Annotated[int, typer.Option(min=0, help="Uploads of one tenant; 0 for any number.")] = 0,
) -> None:
    """Serve uploads of other programs until SIGTERM; SIGHUP reads the settings anew.

    Prints one JSON line once it accepts connections.
    """
    from iii_client.integrations.sidecar.settings import Address, ServeSettings, Speaks
    from iii_client.integrations.sidecar.supervisor import Supervisor
    from iii_client.integrations.sidecar.tenants import read_tenants

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)  # it tells of each start and stop
    addresses = [Address.socket(Speaks.CLAMD, text) for text in clamd_socket or ()]
    if clamd_port is not None:
        addresses.append(Address(speaks=Speaks.CLAMD, port=clamd_port))
    addresses += [Address.socket(Speaks.HTTP, text) for text in http_socket or ()]
    if http_port is not None:
        addresses.append(Address(speaks=Speaks.HTTP, port=http_port))
    if any(address.speaks is Speaks.HTTP for address in addresses) and not _has_http():
        raise MissingExtraError("HTTP", extra="server")
    if tokens is not None:
        read_tenants(tokens)  # a mistake is told here, in one sentence
    settings = ServeSettings(
        addresses=tuple(addresses),
        socket_mode=_mode(socket_mode),
        workers=workers,
        at_once=at_once,
        waiting=queue,
        connections=connections,
        per_minute=per_minute,
        tokens=tokens,
        chain=chain,
    )
    Supervisor(settings, ready=_tell).run()


def _tell(listeners: Sequence["Listener"]) -> None:
    places = [
        {
            "speaks": listener.address.speaks.value,
            "tenant": listener.address.tenant,
            "at": str(listener.address.path or f"127.0.0.1:{listener.socket.getsockname()[1]}"),
        }
        for listener in listeners
    ]
    print_json_line({"listening": places})
    err.print("serving; stop it with Ctrl-C, reload it with SIGHUP.")


def _has_http() -> bool:
    """Asked without importing: the process that forks stays small."""
    return all(find_spec(name) is not None for name in ("starlette", "uvicorn", "python_multipart"))


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o777:
        raise ConfigurationError("--socket-mode is three octal digits", hint="660, or 600 for one account.")
    return mode
