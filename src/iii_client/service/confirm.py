"""Confirmers: hashes in, one answer for each out, whatever the network does.

Promises: `confirm` never raises for transport or service faults; each is an `Unanswered` with its reason,
never "not listed". One budget bounds a whole confirmation, its retry included. Logs name the fault and no
hash.
"""

import hashlib
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from iii_client.config import ServiceConfig
from iii_client.errors import (
    AuthenticationError,
    ConfigurationError,
    IIIError,
    RateLimitedError,
    ResponseTooLargeError,
    ServiceError,
    ServiceTimeoutError,
    TransportError,
    WireFormatError,
)
from iii_client.model import (
    Algorithm,
    Answer,
    Confirmation,
    HashValue,
    Listed,
    Match,
    NotListed,
    Reason,
    Unanswered,
)
from iii_client.service import wire_v1, wire_v2
from iii_client.service.deadline import Deadline
from iii_client.service.http import HttpClient
from iii_client.service.retry import Exchange
from iii_client.test_picture import listed_picture_bytes

logger = logging.getLogger(__name__)

#: Calls under way at once under v1, which takes one hash a call: a batch of 100 fits into the default
#: budget when a call takes up to 60 ms. More would look like an attack to the service.
V1_PARALLEL_CALLS = 8

#: `status` has a person waiting, not an upload: it allows a slow first connection.
STATUS_TIMEOUT_S = 10.0

NO_SERVICE_HINT = (
    "Set III_SERVICE_URL, III_SERVICE_USERNAME and III_SERVICE_PASSWORD, which the organisation that runs "
    "the service gives out. Without them probable hits stay unconfirmed."
)

#: Narrowest first.
_REASONS: tuple[tuple[type[IIIError], Reason], ...] = (
    (AuthenticationError, Reason.SERVICE_REFUSED),
    (RateLimitedError, Reason.SERVICE_RATE_LIMITED),
    (WireFormatError, Reason.SERVICE_BAD_ANSWER),
    (ResponseTooLargeError, Reason.SERVICE_BAD_ANSWER),
    (ServiceTimeoutError, Reason.SERVICE_TIMEOUT),
    (TransportError, Reason.SERVICE_UNREACHABLE),
    (ServiceError, Reason.SERVICE_ERROR),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReport:
    """What `doctor` says about the service.

    Attributes:
        protocol: `v1` or `v2`.
        encrypted: whether the connection is.
        elapsed_s: how long the answer took, with the connection.
        version: of the service; empty under v1, which tells none.
        algorithms: that it can answer for.
        lists: names of its lists; empty under v1.
    """

    protocol: str
    encrypted: bool
    elapsed_s: float
    version: str = ""
    algorithms: tuple[Algorithm, ...]
    lists: tuple[str, ...] = ()


class NoConfirmer:
    """No service is configured: every probable hit stays unconfirmed. Fits `protocols.Confirmer`."""

    def supports(self, algorithm: Algorithm) -> bool:  # noqa: ARG002
        """Yes to all: the honest answer about a hash is that nobody was asked, not that nobody could tell."""
        return True

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:  # noqa: ARG002
        """`Unanswered(NO_SERVICE)` for each."""
        return Confirmation(answers=tuple(Unanswered(hash=h, reason=Reason.NO_SERVICE) for h in hashes))

    def status(self) -> ServiceReport:
        """Raises:
        ConfigurationError: always.
        """
        raise ConfigurationError("no service is configured", hint=NO_SERVICE_HINT)

    def close(self) -> None:
        """Nothing is open."""


class V1Confirmer:
    """The live service's contract: MD5 and SHA-1, one hash a call, no sources, no categories.

    Args:
        client: the connection.
        timeout_s: budget of a whole confirmation.
        test: ask the service's test base.
    """

    def __init__(self, client: HttpClient, *, timeout_s: float, test: bool = False) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._test = test

    def supports(self, algorithm: Algorithm) -> bool:
        """MD5 and SHA-1 only."""
        return algorithm in wire_v1.V1_ALGORITHMS

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        """One call for each distinct hash. See `protocols.Confirmer`."""
        distinct = tuple(dict.fromkeys(hashes))
        exchange = Exchange(self._client, Deadline.after(self._timeout_s - spent_s))

        def ask(value: HashValue) -> Answer:
            if not self.supports(value.algorithm):
                return Unanswered(hash=value, reason=Reason.SERVICE_CANNOT_CONFIRM)
            try:
                listed = wire_v1.parse_check(
                    exchange.ask(wire_v1.build_check(value, test=self._test), [value])
                )
            except (TransportError, ServiceError) as error:
                return _unanswered(value, error)
            return (
                Listed(hash=value, matches=(Match(hash=value, distance_bits=0, exact=True),))
                if listed
                else NotListed(hash=value)
            )

        if len(distinct) > 1:
            with ThreadPoolExecutor(min(V1_PARALLEL_CALLS, len(distinct)), "iii-v1") as pool:
                answers = tuple(pool.map(ask, distinct))
        else:
            answers = tuple(map(ask, distinct))
        return _aligned(hashes, answers, hashes_sent=exchange.hashes_sent)

    def status(self) -> ServiceReport:
        """Ask about the shipped test picture's SHA-1: v1 has no other question that is harmless.

        Raises:
            TransportError, ServiceError: the service could not be reached, refused, or made no sense.
        """
        harmless = HashValue(algorithm=Algorithm.SHA1, value=hashlib.sha1(listed_picture_bytes()).digest())
        request = wire_v1.build_check(harmless, test=self._test)
        body, elapsed_s = _timed(lambda: self._client.exchange(request, deadline=_status_deadline()))
        wire_v1.parse_check(body)
        return ServiceReport(
            protocol="v1",
            encrypted=self._client.encrypted,
            elapsed_s=elapsed_s,
            algorithms=wire_v1.V1_ALGORITHMS,
        )

    def close(self) -> None:
        """Close pooled connections; they are opened again on use."""
        self._client.close()


class V2Confirmer:
    """The richer contract: all algorithms, up to 100 hashes a call, with sources and categories.

    Args:
        client: the connection.
        timeout_s: budget of a whole confirmation.
    """

    def __init__(self, client: HttpClient, *, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    def supports(self, algorithm: Algorithm) -> bool:  # noqa: ARG002
        """Every algorithm may be asked; a service that does not know one answers so."""
        return True

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        """One call for every 100 distinct hashes. See `protocols.Confirmer`.

        `confirm_id` and `minimum_wait_s` are those of the last call that was answered.
        """
        distinct = tuple(dict.fromkeys(hashes))
        exchange = Exchange(self._client, Deadline.after(self._timeout_s - spent_s))
        answers: list[Answer] = []
        confirm_id, minimum_wait_s = "", 0
        for start in range(0, len(distinct), wire_v2.MAX_HASHES_PER_CALL):
            batch = distinct[start : start + wire_v2.MAX_HASHES_PER_CALL]
            ids = [secrets.token_hex(8) for _ in batch]
            try:
                body = exchange.ask(wire_v2.build_confirm(batch, ids), batch)
                reply = wire_v2.parse_confirm(body, batch, ids)
            except (TransportError, ServiceError) as error:
                answers.extend(_unanswered(value, error) for value in batch)
            else:
                answers.extend(reply.answers)
                confirm_id, minimum_wait_s = reply.confirm_id, reply.minimum_wait_s
        return _aligned(
            hashes,
            answers,
            hashes_sent=exchange.hashes_sent,
            confirm_id=confirm_id,
            minimum_wait_s=minimum_wait_s,
        )

    def status(self) -> ServiceReport:
        """Ask what the service is.

        Raises:
            TransportError, ServiceError: the service could not be reached, refused, or made no sense.
        """
        body, elapsed_s = _timed(
            lambda: self._client.exchange(wire_v2.build_status(), deadline=_status_deadline())
        )
        status = wire_v2.parse_status(body)
        return ServiceReport(
            protocol="v2",
            encrypted=self._client.encrypted,
            elapsed_s=elapsed_s,
            version=status.version,
            algorithms=status.algorithms,
            lists=tuple(name for name, _ in status.lists),
        )

    def close(self) -> None:
        """Close pooled connections; they are opened again on use."""
        self._client.close()


ServiceConfirmer = NoConfirmer | V1Confirmer | V2Confirmer


def make_confirmer(config: ServiceConfig) -> ServiceConfirmer:
    """The confirmer that the configuration names.

    Raises:
        ConfigurationError: the URL, the protocol or the CA file cannot be used.
    """
    if not config.url:
        return NoConfirmer()
    client = HttpClient(
        config.url, username=config.username, password=config.password, ca_file=config.ca_file
    )
    if config.protocol == "v1":
        return V1Confirmer(client, timeout_s=config.timeout_s, test=config.v1_test)
    if config.protocol == "v2":
        return V2Confirmer(client, timeout_s=config.timeout_s)
    raise ConfigurationError(f"service.protocol must be v1 or v2; it is {config.protocol!r}")


def _aligned(
    hashes: Sequence[HashValue],
    answers: Sequence[Answer],
    *,
    hashes_sent: int,
    confirm_id: str = "",
    minimum_wait_s: float = 0.0,
) -> Confirmation:
    _log_faults(answers)
    by_hash = {answer.hash: answer for answer in answers}
    return Confirmation(
        answers=tuple(by_hash[value] for value in hashes),
        hashes_sent=hashes_sent,
        confirm_id=confirm_id,
        minimum_wait_s=minimum_wait_s,
    )


def _unanswered(value: HashValue, error: IIIError) -> Unanswered:
    return Unanswered(
        hash=value,
        reason=next(reason for kind, reason in _REASONS if isinstance(error, kind)),
        detail=str(error),
        retry_after_s=error.retry_after_s if isinstance(error, RateLimitedError) else 0.0,
        failed=_failed(error),
    )


def _failed(error: IIIError) -> bool:
    """Whether the other side is in trouble. Another status than 200 and 5xx is a refusal, not trouble."""
    if isinstance(error, (AuthenticationError, RateLimitedError)):
        return False
    return isinstance(error, (TransportError, WireFormatError)) or error.retryable


def _log_faults(answers: Sequence[Answer]) -> None:
    faults = dict.fromkeys((a.reason, a.detail) for a in answers if isinstance(a, Unanswered))
    for reason, detail in faults:
        # Refused credentials stay refused until somebody acts; the rest may pass.
        level = logging.ERROR if reason is Reason.SERVICE_REFUSED else logging.WARNING
        logger.log(level, "hashes stay unconfirmed: %s (%s)", reason, detail)


def _status_deadline() -> Deadline:
    return Deadline.after(STATUS_TIMEOUT_S)


def _timed(call: Callable[[], bytes]) -> tuple[bytes, float]:
    started_s = time.monotonic()
    return call(), time.monotonic() - started_s
