"""Binds the sockets, once, before there are workers; the workers inherit them.

Promises: a Unix socket is never, not even for a moment, open to more than its mode says; one that another
process serves is not taken from it, one that a crash left behind is; TCP is loopback.
"""

import errno
import os
import socket
import stat
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from iii_client.errors import ConfigurationError
from iii_client.integrations.sidecar.settings import Address

#: The only address of TCP: clamd's protocol has no login.
LOOPBACK = "127.0.0.1"
#: Connections that wait to be accepted.
BACKLOG = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """A bound socket and what it is for."""

    address: Address
    socket: socket.socket

    def close(self) -> None:
        """Close it, and remove its name if it is still this one's."""
        name = self.address.path
        if name is not None:
            with suppress(OSError):
                if self.socket.getsockname() == str(name):
                    name.unlink()
        self.socket.close()


def bind_all(addresses: Sequence[Address], *, mode: int) -> tuple[Listener, ...]:
    """All listeners, or none.

    Raises:
        ConfigurationError: one is taken, or may not be made.
    """
    bound: list[Listener] = []
    try:
        for address in addresses:
            made = _bind_tcp(address.port) if address.path is None else _bind_unix(address.path, mode)
            bound.append(Listener(address=address, socket=made))
    except BaseException:
        for listener in bound:
            listener.close()
        raise
    return tuple(bound)


def _bind_unix(path: Path, mode: int) -> socket.socket:
    _remove_stale(path)
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~mode)  # bind applies it: no moment with other permissions
    try:
        made.bind(str(path))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        raise ConfigurationError(
            f"the socket cannot be made: {error.strerror}",
            hint="Its folder must exist and be writable for this account.",
        ) from error
    finally:
        os.umask(before)
    made.setblocking(False)
    return made


def _remove_stale(path: Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ConfigurationError(
                "there is something else than a socket at the socket's path", hint="Name another path."
            )
    except OSError:
        return  # nothing there, or bind will say why
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigurationError(f"the socket cannot be looked at: {error.strerror}") from error
        else:
            raise ConfigurationError(
                "another process serves this socket", hint="Stop it, or name another path."
            )


def _bind_tcp(port: int) -> socket.socket:
    # The protocol is named because asyncio sets TCP_NODELAY only where it is; without it every answer
    # waits 40 ms for the client's delayed acknowledgement.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((LOOPBACK, port))
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        taken = error.errno == errno.EADDRINUSE
        raise ConfigurationError(f"port {port} is {'taken' if taken else 'not available'}") from error
    made.setblocking(False)
    return made
