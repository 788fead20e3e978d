"""One deadline over a whole HTTP exchange: name look-up, connect, handshake, and every read.

The timeouts of `requests` are per read: a server that sends one byte a second holds `timeout=2` for ever,
in the headers as in the body. Here each step and each read gets what is left of one budget.

Promises: an exchange through `DeadlineAdapter` under `bounded_by(deadline)` ends at that deadline, however
the other side behaves, and leaves no open socket behind.
"""

import http.client
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Self

from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, ProxyManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError
from urllib3.util.connection import create_connection

#: Name look-ups under way at most. The system's look-up cannot be interrupted, so one that outlives its
#: deadline goes on alone; while the resolver is dead, uploads must not pile up threads behind it.
MAX_LOOKUPS = 16

#: Shortest timeout handed to a socket: 0 would mean "do not block", which is another thing than "now".
SHORTEST_TIMEOUT_S = 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadline:
    """A point on the monotonic clock."""

    at_s: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> Self:
        """The deadline that many seconds from now."""
        return cls(at_s=clock() + seconds, clock=clock)

    def remaining_s(self) -> float:
        """Seconds left; 0 when it has passed."""
        return max(0.0, self.at_s - self.clock())

    @property
    def passed(self) -> bool:
        """Whether nothing is left."""
        return self.remaining_s() == 0.0


_current: ContextVar[Deadline] = ContextVar("iii_client.service.deadline")


@contextmanager
def bounded_by(deadline: Deadline) -> Iterator[None]:
    """Bind every exchange of this thread through a `DeadlineAdapter` to the deadline."""
    token = _current.set(deadline)
    try:
        yield
    finally:
        _current.reset(token)


def _left_s() -> float:
    """What is left of the current deadline, for a socket.

    Raises:
        TimeoutError: nothing.
    """
    left = _current.get().remaining_s()
    if left == 0.0:
        raise TimeoutError("the deadline passed")
    return max(left, SHORTEST_TIMEOUT_S)


class DeadlineAdapter(HTTPAdapter):
    """A transport for `requests.Session` whose connections keep the current deadline. No retries.

    Args:
        ssl_context: verifies the other side; made once, because reading a bundle of authorities for each
            connection takes longer than the handshake. None is for plain HTTP.
        pooled: connections kept open at most.
    """

    def __init__(self, *, ssl_context: ssl.SSLContext | None, pooled: int) -> None:
        self._ssl_context = ssl_context
        super().__init__(pool_maxsize=pooled)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Called by the constructor of `HTTPAdapter`."""
        super().init_poolmanager(*args, ssl_context=self._ssl_context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Called by `HTTPAdapter.send`, to name a bundle of authorities. The context has one."""

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Called by `HTTPAdapter` when the environment names a proxy."""
        manager = super().proxy_manager_for(proxy, ssl_context=self._ssl_context, **kwargs)
        if type(manager) is ProxyManager:
            manager.pool_classes_by_scheme = _POOLS
        return manager


class _BoundedReader(io.RawIOBase):
    """The reading side of a socket; each read waits no longer than the current deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # A file of the socket keeps it open after http.client closed it; a bare reference would not.
        self._file = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left_s())
        return self._file.readinto(buffer)

    def close(self) -> None:
        self._file.close()
        super().close()


class _BoundedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_BoundedReader(sock))


class _BoundedConnection(HTTPConnection):
    response_class = _BoundedResponse

    def _new_conn(self) -> socket.socket:
        try:
            sock = _connect(self._dns_host, self.port or self.default_port, self.socket_options)
            sock.settimeout(_left_s())  # for the TLS handshake or the request that follow
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "no connection before the deadline") from error
        except OSError as error:
            raise NewConnectionError(self, f"no connection: {error.strerror}") from error
        return sock


class _BoundedHTTPSConnection(_BoundedConnection, HTTPSConnection):
    pass


class _BoundedHTTPPool(HTTPConnectionPool):
    ConnectionCls = _BoundedConnection


class _BoundedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = _BoundedHTTPSConnection


_POOLS = {"http": _BoundedHTTPPool, "https": _BoundedHTTPSPool}


def _connect(host: str, port: int, socket_options: Any) -> socket.socket:
    """Connect to the first address that answers, an equal share of what is left for each."""
    addresses = look_up(host, port, _left_s())
    failure: OSError = OSError("the name has no address")
    for tried, address in enumerate(addresses):
        share_s = _left_s() / (len(addresses) - tried)
        try:
            return create_connection((address, port), share_s, socket_options=socket_options)
        except OSError as error:
            failure = error
    raise failure


_lookups = threading.BoundedSemaphore(MAX_LOOKUPS)


def _forget_lookups() -> None:
    global _lookups
    _lookups = threading.BoundedSemaphore(MAX_LOOKUPS)


# The threads that hold it do not exist in a forked child and would never give it back.
os.register_at_fork(after_in_child=_forget_lookups)


def look_up(
    host: str, port: int, timeout_s: float, *, resolve: Callable[..., Sequence[Any]] = socket.getaddrinfo
) -> list[str]:
    """Addresses of a host. The only way to bound `getaddrinfo` is not to wait for it.

    Raises:
        TimeoutError: there was none in time.
        OSError: there is none.
    """
    slots = _lookups
    if not slots.acquire(timeout=timeout_s):
        raise TimeoutError("too many name look-ups under way")
    found: Future[list[str]] = Future()

    def run() -> None:
        try:
            entries = resolve(host, port, type=socket.SOCK_STREAM)
            found.set_result(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))
        except (OSError, UnicodeError) as error:
            found.set_exception(error if isinstance(error, OSError) else OSError("not a host name"))
        finally:
            slots.release()

    threading.Thread(target=run, name="iii-lookup", daemon=True).start()
    return found.result(timeout=timeout_s)
