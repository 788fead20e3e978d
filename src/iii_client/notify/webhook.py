"""Notices as signed HTTP requests to the hoster's own application.

    POST <webhook_url>
    Content-Type: application/json
    III-Notice-Id: <the same at every attempt>
    III-Timestamp: <seconds since 1970, when this attempt was signed>
    III-Signature: v1=<hex HMAC-SHA-256 of "<timestamp>.<body>" under webhook_key>

    {"id": "…", "kind": "late_answer", "data": {…}}

Promises: one deadline over the whole exchange, however the other side trickles; certificates always verified;
no redirect followed; nothing of an answer's body is read, its status alone counts: 2xx has taken it.
Errors and logs name neither the address nor what was in the notice.
"""

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime

import requests
import urllib3.exceptions

from iii_client.config import NotifyConfig, Secret
from iii_client.errors import ConfigurationError, NotifyError
from iii_client.model import Notice, NoticeKind
from iii_client.protocols import Courier
from iii_client.service.deadline import Deadline, DeadlineAdapter, bounded_by
from iii_client.service.http import ssl_context
from iii_client.service.retry_after import parse_retry_after

#: Longest exchange, in seconds. The application should answer at once and work later.
TIMEOUT_S = 10.0
#: Shortest key, in characters: a forged notice could have a refused upload published.
MIN_KEY_CHARACTERS = 16

_FAILURES = (requests.RequestException, urllib3.exceptions.HTTPError, OSError, UnicodeError)


class WebhookCourier:
    """Sends late answers and alarms to one address. Fits `protocols.Courier`.

    Args:
        url: `https://…`.
        key: signs each message.
        timeout_s: of one exchange.
        clock: aware; goes into the signature.

    Raises:
        ConfigurationError: the address or the key cannot be used.
    """

    def __init__(
        self,
        url: str,
        key: Secret,
        *,
        timeout_s: float = TIMEOUT_S,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        if len(key.reveal()) < MIN_KEY_CHARACTERS:
            raise ConfigurationError(
                f"the webhook key has fewer than {MIN_KEY_CHARACTERS} characters",
                hint="Set III_WEBHOOK_KEY_FILE to a file made with: openssl rand -hex 32",
            )
        try:
            requests.Request("POST", url).prepare()
        except (requests.RequestException, UnicodeError) as error:
            raise ConfigurationError(
                "the webhook address is not usable", hint="III_WEBHOOK_URL must be like https://host/path."
            ) from error
        self._url = url
        self._key = key
        self._timeout_s = timeout_s
        self._clock = clock
        self._ssl_context = ssl_context("") if url.startswith("https://") else None

    def __repr__(self) -> str:
        return "WebhookCourier()"

    @property
    def kinds(self) -> frozenset[NoticeKind]:
        """Late answers and alarms."""
        return frozenset({NoticeKind.LATE_ANSWER, NoticeKind.ALARM})

    def deliver(self, notice: Notice) -> None:
        """Send one notice. See `protocols.Courier`."""
        body = encode_notice(notice)
        timestamp = str(int(self._clock().timestamp()))
        request = requests.Request(
            "POST",
            self._url,
            data=body,
            headers={
                "Content-Type": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "iii-client",
                # Notices are rare; a kept connection would be a stale one, and shared after a fork.
                "Connection": "close",
                "III-Notice-Id": notice.id,
                "III-Timestamp": timestamp,
                "III-Signature": sign(body, timestamp=timestamp, key=self._key.reveal()),
            },
        ).prepare()
        deadline = Deadline.after(self._timeout_s)
        # The adapter and not a session: no redirects, no cookies, no passwords out of ~/.netrc.
        adapter = DeadlineAdapter(ssl_context=self._ssl_context, pooled=1)
        try:
            with bounded_by(deadline):
                response = adapter.send(
                    request,
                    stream=True,
                    timeout=self._timeout_s,
                    proxies=requests.utils.get_environ_proxies(self._url),
                )
            status = response.status_code
            response.close()
        except _FAILURES as error:
            late = deadline.passed
            raise NotifyError(
                "the webhook did not answer in time" if late else "the webhook could not be reached",
                hint="Check III_WEBHOOK_URL and that your application runs.",
            ) from error
        finally:
            adapter.close()
        if not 200 <= status < 300:
            raise NotifyError(
                f"the webhook answered with status {status}",
                retry_after_s=parse_retry_after(
                    response.headers.get("Retry-After", ""), now=self._clock(), default_s=0.0
                ),
                hint="It is followed nowhere: set III_WEBHOOK_URL to the final address."
                if 300 <= status < 400
                else "See your application's own log.",
            )


def make_couriers(config: NotifyConfig) -> tuple[Courier, ...]:
    """The couriers that a configuration names: a webhook, or none.

    Raises:
        ConfigurationError: an address without a key, or one that cannot be used.
    """
    if not config.webhook_url:
        return ()
    return (WebhookCourier(config.webhook_url, config.webhook_key),)


def encode_notice(notice: Notice) -> bytes:
    """The body: ASCII JSON, sorted."""
    tree = {"id": notice.id, "kind": notice.message.kind.value, "data": notice.message.as_json()}
    return json.dumps(tree, sort_keys=True).encode()


def sign(body: bytes, *, timestamp: str, key: str) -> str:
    """The header `III-Signature`. The timestamp is in it, so that an old message cannot be sent again."""
    return "v1=" + hmac.digest(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hex()
