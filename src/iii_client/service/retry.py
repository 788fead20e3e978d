"""One confirmation under way: one budget over all its calls, one retry, and a count of what left.

Promises: whatever the number of calls, the budget is not exceeded and at most one call is repeated; after
an error that the next call would meet too, nothing more is sent; a hash is counted as sent when a request
that carries it is handed to the network, whether or not an answer comes.
"""

import random
import threading
import time
from collections.abc import Sequence

from iii_client.errors import (
    AuthenticationError,
    ConnectError,
    IIIError,
    RateLimitedError,
    ServiceError,
    ServiceTimeoutError,
    TransportError,
    WireFormatError,
)
from iii_client.model import HashValue
from iii_client.service.deadline import Deadline
from iii_client.service.http import HttpClient
from iii_client.service.wire import WireRequest

#: Longest pause before the retry. Jittered, so that hosts which lost one connection together do not come
#: back together; short, because an upload waits.
MAX_RETRY_PAUSE_S = 0.05


class Exchange:
    """Sends the calls of one confirmation. Thread-safe.

    Args:
        client: the connection.
        deadline: when all of it must be over.
    """

    def __init__(self, client: HttpClient, deadline: Deadline) -> None:
        self._client = client
        self._deadline = deadline
        self._lock = threading.Lock()
        self._may_retry = True
        self._stopped_by: IIIError | None = None
        self._sent: set[HashValue] = set()

    @property
    def hashes_sent(self) -> int:
        """Distinct hashes handed to the network so far."""
        return len(self._sent)

    def ask(self, request: WireRequest, hashes: Sequence[HashValue]) -> bytes:
        """Send one request that carries these hashes, and read its answer.

        Raises:
            TransportError, ServiceError: as `HttpClient.exchange`, or the error that stopped an earlier call.
        """
        if self._stopped_by is not None:
            raise self._stopped_by
        if self._deadline.passed:
            raise ServiceTimeoutError("no time left to ask the service")
        with self._lock:
            self._sent.update(hashes)
        try:
            return self._send(request)
        except (TransportError, AuthenticationError, RateLimitedError) as error:
            self._stopped_by = error
            raise

    def _send(self, request: WireRequest) -> bytes:
        try:
            return self._client.exchange(request, deadline=self._deadline)
        except (ConnectError, ServiceError) as error:
            if not _is_worth_a_retry(error) or not self._take_retry():
                raise
        # S311: jitter, not a secret.
        time.sleep(min(random.uniform(0, MAX_RETRY_PAUSE_S), self._deadline.remaining_s()))  # noqa: S311
        return self._client.exchange(request, deadline=self._deadline)

    def _take_retry(self) -> bool:
        with self._lock:
            taken, self._may_retry = self._may_retry, False
        return taken


def _is_worth_a_retry(error: IIIError) -> bool:
    """A broken connection (often a pooled one that the server closed) or a 5xx; both calls are queries."""
    return error.retryable and not isinstance(error, (RateLimitedError, WireFormatError))
