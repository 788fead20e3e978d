"""What `iii-client serve` was asked to do: addresses, tenants, limits. Values only."""

import os
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Self

from iii_client.errors import ConfigurationError

#: Tenant of a socket that names none.
DEFAULT_TENANT = "sidecar"
#: The name is the policy's route, too, and a label in logs.
_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
#: sun_path, with its NUL.
_MAX_SOCKET_PATH_BYTES = 107


class Speaks(StrEnum):
    """What a listener speaks."""

    CLAMD = "clamd"
    HTTP = "http"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where to listen: a Unix socket, or a port of loopback.

    Attributes:
        speaks: the protocol.
        tenant: of whoever connects there.
        path: of the Unix socket; None for loopback.
        port: on 127.0.0.1; 0 takes a free one.
    """

    speaks: Speaks
    tenant: str = DEFAULT_TENANT
    path: Path | None = None
    port: int = 0

    @classmethod
    def socket(cls, speaks: Speaks, text: str) -> Self:
        """From `PATH` or `TENANT=PATH`.

        Raises:
            ConfigurationError: not of that form.
        """
        before, equals, after = text.partition("=")
        tenant, path = (before, after) if equals and "/" not in before else (DEFAULT_TENANT, text)
        if not path or len(os.fsencode(path)) > _MAX_SOCKET_PATH_BYTES:
            raise ConfigurationError(
                f"the path of a socket has 1 to {_MAX_SOCKET_PATH_BYTES} bytes", hint="Such as /run/iii/clamd"
            )
        return cls(speaks=speaks, tenant=checked_tenant(tenant), path=Path(path).absolute())


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """One `iii-client serve`.

    Attributes:
        addresses: where to listen; at least one.
        socket_mode: permissions of the Unix sockets.
        workers: processes.
        at_once: scans at the same time in each worker.
        waiting: scans that wait in each worker before it says "busy".
        connections: open ones in each worker, of each protocol.
        per_minute: uploads of a tenant; 0 for any number.
        tokens: TOML file with the tenants of the HTTP listeners; None for no tokens.
        chain: Unix socket of a clamd that is asked about what is allowed here; None for nobody.
    """

    addresses: tuple[Address, ...]
    socket_mode: int = 0o660
    workers: int = 2
    at_once: int = 2
    waiting: int = 64
    connections: int = 512
    per_minute: int = 0
    tokens: Path | None = None
    chain: Path | None = None

    def __post_init__(self) -> None:
        if not self.addresses:
            raise ConfigurationError(
                "nothing to listen to", hint="Give --clamd-socket PATH or --http-socket PATH, or both."
            )
        if self.tokens is None and any(
            one.speaks is Speaks.HTTP and one.path is None for one in self.addresses
        ):
            # Any account, and any web page in a browser on this machine, can send to a port of loopback.
            raise ConfigurationError(
                "HTTP on a port needs tokens", hint="Give --tokens FILE, or use --http-socket PATH."
            )
        if self.socket_mode & 0o007:
            raise ConfigurationError(
                "a socket must not be open to everybody on this machine", hint="Use --socket-mode 660 or 600."
            )


def checked_tenant(name: str) -> str:
    """The name.

    Raises:
        ConfigurationError: it has other letters than may be in one.
    """
    if not _TENANT.fullmatch(name):
        raise ConfigurationError(
            "a tenant's name has 1 to 32 small letters, digits, - and _",
            hint="Such as --clamd-socket shop=/…",
        )
    return name
