"""Bytes from the filter repository over `requests`, with every limit set before anything is read.

Promises: a cap on every answer, checked against its declared length first and against what really
arrives; a limit on every silence, and one deadline over all requests of an update; redirects within the
repository's own origin only; proxies as the environment names them; no content encoding, so nothing is
ever unpacked; every lower error, also in the middle of a body, under a name of ours. Trust is no business
of this file: TUF checks what it brings.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import NoReturn
from urllib.parse import urljoin, urlsplit

import requests
import urllib3
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient import FetcherInterface

from iii_client.config import FilterConfig
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
from iii_client.filters import Clock, utc_now
from iii_client.service.deadline import Deadline, bounded_by
from iii_client.service.retry_after import parse_retry_after
from iii_client.updates.session import credentials, process_session

#: From the name look-up to the last header, and then longest silence within a body.
STEP_TIMEOUT_S = 30.0
#: A whole update: 200 MB at 3 Mbit/s. A trickling server is cut off here.
DEADLINE_S = 600.0
MAX_REDIRECTS = 3
CHUNK_BYTES = 64 * 1024
#: Wait when the repository asks for one and not how long.
DEFAULT_RETRY_AFTER_S = 900.0

#: Of a number in a header: an exabyte.
_MAX_DIGITS = 18

_URL_HINT = "Check III_FILTER_URL, the network and the proxy settings."


class RepositoryFetcher(FetcherInterface):
    """Downloads for one update: the transport that TUF's metadata engine and our own download share.

    Args:
        config: credentials; the addresses come from the callers.
        clock: for the difference to the server's clock.
        deadline_s: for everything that this fetcher does, in seconds from now.

    Attributes:
        bytes_fetched: bytes of all bodies so far.
        clock_skew_s: this machine's clock minus the server's, by its last `Date`; None when unknown.
    """

    def __init__(
        self, config: FilterConfig, *, clock: Clock = utc_now, deadline_s: float = DEADLINE_S
    ) -> None:
        self.bytes_fetched = 0
        self.clock_skew_s: float | None = None
        self._auth = credentials(config)
        self._clock = clock
        self._deadline_s = deadline_s
        self._deadline = Deadline.after(deadline_s)

    def download_bytes(self, url: str, max_length: int) -> bytes:
        """A whole body of at most `max_length` bytes, as TUF asks for its metadata.

        Raises:
            DownloadHTTPError: 403 or 404, which TUF reads as "no newer root".
            TransportError, ServiceError: anything else that went wrong.
        """
        with self.open(url, max_bytes=max_length) as (_, chunks):
            return b"".join(chunks)

    @contextmanager
    def open(self, url: str, *, max_bytes: int, offset: int = 0) -> Iterator[tuple[int, Iterator[bytes]]]:
        """Ask for a body from byte `offset` on.

        Args:
            max_bytes: largest whole body, counted from byte 0.

        Yields:
            Where the answer starts (0 when the server does not do ranges), and its chunks.

        Raises:
            DownloadHTTPError: 403 or 404.
            TransportError, ServiceError: anything else that went wrong.
        """
        response = self._get(url, offset)
        try:
            self._note_clock(response)
            start = _start_of(response, offset)
            declared = _whole_number(response.headers.get("Content-Length"))
            if declared is not None and start + declared > max_bytes:
                raise _too_large(start + declared, max_bytes)
            yield start, self._chunks(response, max_bytes - start)
        finally:
            response.close()

    def _fetch(self, url: str) -> NoReturn:
        raise NotImplementedError("downloads go through download_bytes and open, which have caps")

    def _get(self, url: str, offset: int) -> requests.Response:
        headers = {"Accept-Encoding": "identity"}
        if offset:
            headers["Range"] = f"bytes={offset}-"
        for _ in range(MAX_REDIRECTS + 1):
            with self._step():
                response = process_session().get(
                    url,
                    headers=headers,
                    auth=self._auth,
                    timeout=STEP_TIMEOUT_S,
                    stream=True,
                    allow_redirects=False,
                )
            if response.status_code == 416 and "Range" in headers:
                # The file there is shorter than what was kept here: it is another one, so start anew.
                response.close()
                del headers["Range"]
                continue
            if not response.is_redirect:
                _check_status(response, now=self._clock())
                return response
            response.close()
            url = _redirected(url, response.headers["Location"])
        raise ServiceError(f"the repository redirects more than {MAX_REDIRECTS} times", hint=_URL_HINT)

    def _chunks(self, response: requests.Response, max_bytes: int) -> Iterator[bytes]:
        received = 0
        while chunk := self._read_some(response):
            received += len(chunk)
            self.bytes_fetched += len(chunk)
            if received > max_bytes:
                raise _too_large(received, max_bytes)
            yield chunk
        declared = _whole_number(response.headers.get("Content-Length"))
        if declared is not None and received < declared:
            raise ConnectError(
                f"the connection broke after {received} of {declared} bytes", hint="The next update goes on."
            )

    def _read_some(self, response: requests.Response) -> bytes:
        """What has arrived. `read` would wait for a full chunk, past any deadline."""
        with self._step():
            content: bytes = response.raw.read1(CHUNK_BYTES, decode_content=False)
        return content

    @contextmanager
    def _step(self) -> Iterator[None]:
        """Bound one step by its own limit and by what is left of the update, and name what fails.

        No address in any message: it may hold what is nobody's business.
        """
        if self._deadline.passed:
            raise ServiceTimeoutError(
                f"the update took longer than {self._deadline_s:g} s", hint="The next update goes on."
            )
        try:
            with bounded_by(Deadline.after(min(STEP_TIMEOUT_S, self._deadline.remaining_s()))):
                yield
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _name(error) from error

    def _note_clock(self, response: requests.Response) -> None:
        try:
            served_at = parsedate_to_datetime(response.headers.get("Date", ""))
        except (ValueError, OverflowError):
            return
        if served_at.tzinfo is not None:
            self.clock_skew_s = (self._clock() - served_at).total_seconds()


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _redirected(url: str, location: str) -> str:
    """Where a redirect leads, if that is the same origin."""
    try:
        target = urljoin(url, location)
        if _origin(target) == _origin(url):
            return target
    except ValueError:
        pass
    raise ServiceError(
        "the repository redirects to another host, which is not followed",
        hint="Set III_FILTER_URL to the repository's final address.",
    )


def _check_status(response: requests.Response, *, now: datetime) -> None:
    status = response.status_code
    if status in (200, 206):
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            response.close()
            raise WireFormatError(
                "the repository sends encoded content, which was not asked for",
                hint="Turn compression off for the filter repository.",
            )
        return
    retry_after = response.headers.get("Retry-After", "")
    response.close()
    if status == 401:
        raise AuthenticationError(
            "the repository refused the credentials (401)",
            hint="Check III_FILTER_USERNAME and III_FILTER_PASSWORD.",
        )
    if status == 407:
        raise ConnectError("the proxy asks for credentials (407)", hint=_URL_HINT)
    if status in (403, 404):
        raise DownloadHTTPError(f"status {status}", status)
    if status == 429 or (status == 503 and retry_after):
        raise RateLimitedError(
            f"the repository asks to wait ({status})",
            retry_after_s=parse_retry_after(retry_after, now=now, default_s=DEFAULT_RETRY_AFTER_S),
            hint="The next scheduled update tries again.",
        )
    raise ServiceError(
        f"the repository answered with status {status}",
        hint="The filter in use stays; try again later, or tell the publisher of the filter.",
    )


def _whole_number(text: str | None) -> int | None:
    """A header's number; None for anything that is not plainly one."""
    if text is None or not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        return None
    return int(text)


def _start_of(response: requests.Response, offset: int) -> int:
    """Where the body starts: 206 must name the offset that was asked for, 200 starts at 0."""
    if response.status_code == 200:
        return 0
    if not offset or not response.headers.get("Content-Range", "").startswith(f"bytes {offset}-"):
        raise WireFormatError("the repository sent another range than was asked for", hint=_URL_HINT)
    return offset


def _too_large(size: int, max_bytes: int) -> ResponseTooLargeError:
    return ResponseTooLargeError(
        f"an answer of at least {size} bytes, at most {max_bytes} are allowed",
        hint="The address does not serve the filter repository, or somebody tampers with it.",
    )


def _name(error: Exception) -> IIIError:
    what = type(error).__name__
    match error:
        case requests.Timeout() | urllib3.exceptions.TimeoutError() | TimeoutError():
            return ServiceTimeoutError(f"the repository did not answer in time ({what})", hint=_URL_HINT)
        case requests.exceptions.SSLError() | urllib3.exceptions.SSLError():
            return ConnectError(
                "the repository's TLS certificate is not trusted",
                hint="Check III_FILTER_URL; for a private CA set REQUESTS_CA_BUNDLE. It is never ignored.",
            )
        case requests.exceptions.InvalidURL() | requests.exceptions.InvalidSchema():
            return ConfigurationError("the repository's address is malformed", hint="Check III_FILTER_URL.")
        case _:
            return ConnectError(
                f"the repository cannot be reached, or the connection broke ({what})", hint=_URL_HINT
            )
