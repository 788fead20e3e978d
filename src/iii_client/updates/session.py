"""This process's one `requests.Session` for the filter repository.

Promises: every step of an exchange, name look-up and headers included, keeps the deadline that it is
`bounded_by`; certificates are always verified, against `REQUESTS_CA_BUNDLE` if that is set; redirects are
left to the caller; no cookie is kept; no credentials are looked for in `~/.netrc`; a forked child has a
session of its own.
"""

import os
import ssl
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import requests
from requests.adapters import DEFAULT_CA_BUNDLE_PATH
from requests.auth import AuthBase, HTTPBasicAuth

from iii_client.config import FilterConfig
from iii_client.errors import ConfigurationError
from iii_client.service.deadline import DeadlineAdapter

#: An update is one exchange after the other.
POOLED_CONNECTIONS = 1

_sessions: dict[tuple[int, Path], requests.Session] = {}


def process_session() -> requests.Session:
    """The session of this process: a child must not share its parent's connections.

    Raises:
        ConfigurationError: the bundle of authorities cannot be read.
    """
    named = (os.environ.get(name) for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
    authorities = Path(next(filter(None, named), DEFAULT_CA_BUNDLE_PATH))
    key = (os.getpid(), authorities)
    if key not in _sessions:
        session = _Session()
        # A cookie would tell the repository which updates are one machine's, beyond its credentials.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        adapter = DeadlineAdapter(ssl_context=_tls_context(authorities), pooled=POOLED_CONNECTIONS)
        session.mount("https://", adapter)
        session.mount("http://", adapter)
        _sessions.clear()
        _sessions[key] = session
    return _sessions[key]


def credentials(config: FilterConfig) -> AuthBase:
    """HTTP Basic, or nothing at all."""
    if not config.username:
        return _NoCredentials()
    # As bytes: from text requests makes Latin-1, and fails on anything else.
    return HTTPBasicAuth(config.username.encode(), config.password.reveal().encode())


class _NoCredentials(AuthBase):
    """Given `None`, requests would look for some in `~/.netrc`."""

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        return r


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002
        """Nowhere. Even when told not to follow, requests works out where a redirect leads, and reads its
        whole body for that: without end when the server wants it so."""
        return None

    def merge_environment_settings(self, *args: Any) -> Any:
        """Proxies come from the environment; the authorities are in the adapter's TLS context."""
        return {**super().merge_environment_settings(*args), "verify": True}


def _tls_context(authorities: Path) -> ssl.SSLContext:
    try:
        if authorities.is_dir():
            return ssl.create_default_context(capath=str(authorities))
        return ssl.create_default_context(cafile=str(authorities))
    except OSError as error:
        raise ConfigurationError(
            f"the bundle of certificate authorities cannot be used: {error.strerror}",
            hint="REQUESTS_CA_BUNDLE must name a readable PEM file, or be unset.",
        ) from None
