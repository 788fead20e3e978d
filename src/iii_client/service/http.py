"""The only door to the service: one request out, the bytes of a 200 answer back, or a named error.

Promises: one `requests.Session` a process (made anew after a fork), safe to share between threads; TLS
always verified; no redirect followed; no cookie kept; no answer longer than its cap is read, and none is
decompressed; the exchange ends at its deadline. Errors carry no hash, no address and no body.
"""

import http.client
import os
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import requests
import urllib3.exceptions
from requests.adapters import DEFAULT_CA_BUNDLE_PATH
from requests.auth import AuthBase, HTTPBasicAuth

from iii_client.config import Secret
from iii_client.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectError,
    IIIError,
    RateLimitedError,
    ResponseTooLargeError,
    ServiceError,
    ServiceTimeoutError,
    WireFormatError,
)
from iii_client.service.deadline import SHORTEST_TIMEOUT_S, Deadline, DeadlineAdapter, bounded_by
from iii_client.service.retry_after import parse_retry_after
from iii_client.service.wire import WireRequest

#: Connections kept open at most: more threads than this share them or open short-lived ones.
POOLED_CONNECTIONS = 32
_READ_BYTES = 16 << 10

#: Everything that requests, urllib3 and the socket below them were seen to raise, also in mid-body.
_FAILURES = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    UnicodeError,
)


class HttpClient:
    """Talks to one base URL.

    Args:
        base_url: `https://…`, without credentials.
        username, password: HTTP Basic; none is sent when the username is empty.
        ca_file: a CA bundle to trust instead of the default one.
        now: wall clock, for a `Retry-After` that is a date.

    Raises:
        ConfigurationError: the URL or the CA file cannot be used.
    """

    def __init__(
        self,
        base_url: str,
        *,
        username: str = "",
        password: Secret | None = None,
        ca_file: str = "",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        try:
            requests.Request("GET", f"{base_url}/").prepare()
        except (requests.RequestException, UnicodeError) as error:
            raise ConfigurationError(
                "the service URL is not usable",
                hint="III_SERVICE_URL must be like https://host or https://host/base.",
            ) from error
        self._ssl_context = ssl_context(ca_file) if base_url.startswith("https://") else None
        self._base_url = base_url.rstrip("/")
        self._auth: AuthBase = _NoAuth()
        if username:
            # As bytes: given texts, requests would encode them in Latin-1 and fail for other characters.
            secret = (password or Secret("")).reveal()
            self._auth = HTTPBasicAuth(username.encode(), secret.encode())
        self._now = now
        self._held: tuple[int, requests.Session] = (os.getpid(), _new_session(self._ssl_context))

    def __repr__(self) -> str:
        return "HttpClient()"

    @property
    def encrypted(self) -> bool:
        """Whether the connection is encrypted."""
        return self._base_url.startswith("https://")

    def exchange(self, request: WireRequest, *, deadline: Deadline) -> bytes:
        """Send one request and read the body of its answer.

        Raises:
            AuthenticationError: 401 or 403.
            RateLimitedError: 429, or 503 with `Retry-After`.
            ServiceError: any other status than 200; `retryable` for 5xx only.
            WireFormatError: no HTTP, or a compressed body (nobody asked for one).
            ConnectError, ServiceTimeoutError, ResponseTooLargeError: as they say.
        """
        if deadline.passed:
            raise ServiceTimeoutError("no time left to ask the service")
        try:
            with (
                bounded_by(deadline),
                self._session().request(
                    request.method,
                    self._base_url + request.path,
                    data=request.body or None,
                    headers={"Accept-Encoding": "identity", **request.headers},
                    auth=self._auth,
                    timeout=max(deadline.remaining_s(), SHORTEST_TIMEOUT_S),
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                if response.status_code != http.client.OK:
                    raise _refusal(response, now=self._now())
                return _read_body(response, at_most=request.max_answer_bytes)
        except _FAILURES as error:
            raise _translate(error, deadline) from error

    def close(self) -> None:
        """Close the pooled connections. The client opens new ones if it is used again."""
        self._session().close()

    def _session(self) -> requests.Session:
        # Without a lock: one held by another thread during a fork would stay locked in the child. Two
        # threads that race here make one session too many, which is dropped.
        pid, session = self._held
        if pid != os.getpid():
            session = _new_session(self._ssl_context)
            self._held = (os.getpid(), session)
        return session


class _NoAuth(AuthBase):
    """Sends no credentials, where `auth=None` would let requests look for some in ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002
        """None, always: even with `allow_redirects=False` requests prepares the next request, and for that
        reads (and decompresses) the whole body of the redirect, whatever its size."""
        return

    def merge_environment_settings(self, *args: Any) -> Any:
        """Proxies come from the environment; trusted authorities are already in the TLS context."""
        return {**super().merge_environment_settings(*args), "verify": True}


def ssl_context(ca_file: str) -> ssl.SSLContext:
    """Verifies certificate and host name, by the CA file, else by the bundle that requests would take."""
    variables = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    bundle = Path(ca_file or next(filter(None, variables), DEFAULT_CA_BUNDLE_PATH))
    try:
        return ssl.create_default_context(
            cafile=None if bundle.is_dir() else str(bundle), capath=str(bundle) if bundle.is_dir() else None
        )
    except OSError as error:
        raise ConfigurationError(
            f"the CA file cannot be used: {error.strerror}",
            hint="III_SERVICE_CA_FILE must name a readable PEM file.",
        ) from error


def _new_session(ssl_context: ssl.SSLContext | None) -> requests.Session:
    session = _Session()
    session.headers["User-Agent"] = "iii-client"
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    for scheme in ("https://", "http://"):
        session.mount(scheme, DeadlineAdapter(ssl_context=ssl_context, pooled=POOLED_CONNECTIONS))
    return session


def _read_body(response: requests.Response, *, at_most: int) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise WireFormatError("the answer is compressed, which was not asked for")
    declared = response.headers.get("Content-Length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 15 or int(declared) > at_most):
        raise ResponseTooLargeError(f"the answer declares more than {at_most} bytes")
    body = bytearray()
    while chunk := response.raw.read(min(_READ_BYTES, at_most + 1 - len(body)), decode_content=False):
        body += chunk
        if len(body) > at_most:
            raise ResponseTooLargeError(f"the answer is longer than {at_most} bytes")
    return bytes(body)


def _refusal(response: requests.Response, *, now: datetime) -> IIIError:
    status = response.status_code
    if status in {401, 403}:
        return AuthenticationError(
            f"the service refused the credentials (status {status})",
            hint="Check III_SERVICE_USERNAME and III_SERVICE_PASSWORD with whoever runs the service.",
        )
    retry_after = response.headers.get("Retry-After", "")
    if status == 429 or (status == 503 and retry_after):
        return RateLimitedError(
            f"the service asks to wait (status {status})",
            retry_after_s=parse_retry_after(retry_after, now=now),
        )
    error = ServiceError(f"the service answered with status {status}")
    error.retryable = status >= 500
    if 300 <= status < 400:
        error.hint = "It redirects, which is not followed: set III_SERVICE_URL to the final address."
    elif status < 500:
        error.hint = "Check III_SERVICE_URL and III_SERVICE_PROTOCOL."
    return error


def _translate(error: BaseException, deadline: Deadline) -> IIIError:
    """The named error for a failure below. Its own text is left out: it may hold addresses and bytes."""
    causes = list(_causes(error))
    if deadline.passed or any(isinstance(cause, (requests.Timeout, TimeoutError)) for cause in causes):
        return ServiceTimeoutError("the service did not answer in time")
    if any(isinstance(cause, requests.exceptions.SSLError) for cause in causes):
        return ConnectError(
            "no trusted TLS connection to the service",
            hint="Set III_SERVICE_CA_FILE if the service has a certificate of a private authority.",
        )
    if any(_is_nonsense(cause) for cause in causes):
        return WireFormatError("the answer is not HTTP")
    return ConnectError(
        f"no connection to the service, or it broke ({type(causes[-1]).__name__})",
        hint="Check III_SERVICE_URL, name resolution, and whether the service runs.",
    )


def _is_nonsense(cause: BaseException) -> bool:
    """Whether the other side spoke, but not HTTP. A connection that closed is not that."""
    if isinstance(cause, (http.client.RemoteDisconnected, http.client.IncompleteRead)):
        return False
    return isinstance(cause, http.client.HTTPException)


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it stands for: requests and urllib3 wrap by argument as often as by `from`."""
    found: list[BaseException] = []
    queue = [error]
    while queue:
        current = queue.pop(0)
        if any(current is seen for seen in found):
            continue
        found.append(current)
        inner = [*current.args, current.__cause__, current.__context__, getattr(current, "reason", None)]
        queue.extend(item for item in inner if isinstance(item, BaseException))
    return found
