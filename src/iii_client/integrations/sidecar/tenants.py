"""Who asks, told by the socket or the token, and how often.

    # tenants.toml, mode 0600
    [shop]
    token_sha256 = "9f86d0…"        # printf %s "$token" | sha256sum
    per_minute = 600                # 0 or left out: the common limit

Promises: the file holds no token, and comparing one takes as long whatever it is; a limit of a tenant is its
own: another's uploads use up nothing of it.
"""

import hashlib
import hmac
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from iii_client.errors import ConfigurationError
from iii_client.integrations.sidecar.settings import checked_tenant

#: Largest tenants' file: hundreds of them.
MAX_FILE_BYTES = 64 << 10
#: A burst of so many seconds' worth of uploads is let through at once.
BURST_S = 10.0
_SHA256_HEX_DIGITS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One who may use the HTTP listeners.

    Attributes:
        token_sha256: of its token; the token itself is nowhere here.
        per_minute: uploads; 0 for the common limit.
    """

    name: str
    token_sha256: bytes = field(repr=False)
    per_minute: int = 0


def read_tenants(path: Path) -> tuple[Tenant, ...]:
    """The tenants of a file.

    Raises:
        ConfigurationError: it cannot be read, or is not of the form.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ConfigurationError(f"the tenants' file is larger than {MAX_FILE_BYTES} bytes")
        tree = tomllib.loads(content.decode("utf-8"))
    except OSError as error:
        raise ConfigurationError(f"the tenants' file cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigurationError("the tenants' file is not TOML") from None
    if not tree:
        raise ConfigurationError("the tenants' file names nobody", hint="A table for each: [shop]")
    return tuple(_tenant(name, table) for name, table in tree.items())


def tenant_of(token: str, tenants: tuple[Tenant, ...]) -> Tenant | None:
    """Whose token it is, or None."""
    digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
    found = None
    for tenant in tenants:  # to the end, whoever it is
        if hmac.compare_digest(digest, tenant.token_sha256):
            found = tenant
    return found


class Pace:
    """Rate limits by tenant: a bucket of tokens for each.

    Args:
        per_minute: of a tenant that has no limit of its own; 0 for any number.
        own: limits of tenants that have one.
        share: of a limit that this process may use: 1 / workers.
        clock: in seconds, monotonic.
    """

    def __init__(
        self, *, per_minute: int, own: Mapping[str, int], share: float, clock: Callable[[], float]
    ) -> None:
        self._per_minute = per_minute
        self._own = own
        self._share = share
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def wait_s(self, tenant: str) -> float:
        """0 for an upload that may go on, and is counted; else seconds to wait."""
        rate = (self._own.get(tenant) or self._per_minute) * self._share / 60.0
        if not rate:
            return 0.0
        most = max(1.0, rate * BURST_S)
        now = self._clock()
        left, at = self._buckets.get(tenant, (most, now))
        left = min(most, left + (now - at) * rate)
        if left < 1.0:
            self._buckets[tenant] = (left, now)
            return (1.0 - left) / rate
        self._buckets[tenant] = (left - 1.0, now)
        return 0.0


def _tenant(name: str, table: object) -> Tenant:
    checked_tenant(name)
    if not isinstance(table, dict) or not table.keys() <= {"token_sha256", "per_minute"}:
        raise ConfigurationError(
            f"the tenant {name} has settings that are not known",
            hint="token_sha256 and per_minute are.",
        )
    digest, per_minute = table.get("token_sha256"), table.get("per_minute", 0)
    if not isinstance(digest, str) or len(digest) != _SHA256_HEX_DIGITS:
        raise ConfigurationError(f'the tenant {name} needs token_sha256 = "64 hexadecimal digits"')
    if not isinstance(per_minute, int) or isinstance(per_minute, bool) or per_minute < 0:
        raise ConfigurationError(f"per_minute of the tenant {name} is a whole number from 0")
    try:
        return Tenant(name=name, token_sha256=bytes.fromhex(digest), per_minute=per_minute)
    except ValueError:
        raise ConfigurationError(f'the tenant {name} needs token_sha256 = "64 hexadecimal digits"') from None
