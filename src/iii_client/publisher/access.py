"""Who may download: one login a hoster, as password files that a plain web server reads.

    <dir>/access/filter.htpasswd    everybody who may fetch exact sections and metadata
    <dir>/access/near.htpasswd      those of them who may fetch near segments, too
    <private>/access.json           who has a login since when (no passwords)

A login is a random word of 192 bits, shown once; what is kept is a salted digest, in the `{SSHA}` form that
nginx and Apache read. Both look at the file at each request, so a login that was revoked is refused at once.
All hosters get the same bytes: a near segment built for one of them would, beside another one's, disclose
the list. So a copy that leaks tells nobody whose it was; the logs of the web server say who fetched when.
"""

import base64
import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from iii_client.config import Secret
from iii_client.errors import ConfigurationError
from iii_client.publisher.choices import Tier
from iii_client.updates.durable import replace_durably
from iii_client.updates.fields import moment, text

PASSWORD_BYTES = 24
_SALT_BYTES = 16
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: The web server's group reads them; they belong to the publisher.
_PASSWORD_FILE_MODE = 0o640


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """One hoster's login.

    Attributes:
        name: its user name.
        tier: what it opens.
        since: when it was made.
        digest: of its password, as the web server reads it.
    """

    name: str
    tier: Tier
    since: datetime
    digest: str

    def __repr__(self) -> str:
        return f"Login({self.name}, {self.tier})"


class AccessList:
    """The logins of one repository.

    Args:
        record: the private record.
        password_files: folder of the files that the web server reads.
    """

    def __init__(self, record: Path, password_files: Path) -> None:
        self._record = record
        self._folder = password_files

    def logins(self) -> tuple[Login, ...]:
        """Everybody who has a login, by name.

        Raises:
            ConfigurationError: the record is damaged.
        """
        return tuple(login for _, login in sorted(self._read().items()))

    def add(self, name: str, *, tier: Tier, now: datetime) -> Secret:
        """Give a hoster a login.

        Returns:
            Its password. It is kept nowhere.

        Raises:
            ConfigurationError: there is one of that name already, or the name cannot be one.
            OSError: the files cannot be written.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                "the name of a login has 1 to 64 lower-case letters, digits, dots, dashes or underscores",
                hint="Take the hoster's domain name.",
            )
        logins = self._read()
        if name in logins:
            raise ConfigurationError(
                f"'{name}' has a login already", hint="Revoke it first; the old password stops to work then."
            )
        password = secrets.token_urlsafe(PASSWORD_BYTES)
        logins[name] = Login(name=name, tier=tier, since=now, digest=_salted(password))
        self._write(logins)
        return Secret(password)

    def set_tier(self, name: str, tier: Tier) -> None:
        """Let a login open more, or less. What was fetched before is not taken back.

        Raises:
            ConfigurationError: there is none of that name.
            OSError: the files cannot be written.
        """
        logins = self._read()
        logins[name] = replace(self._known(logins, name), tier=tier)
        self._write(logins)

    def revoke(self, name: str) -> None:
        """Take a hoster's login away: its next request is refused.

        Raises:
            ConfigurationError: there is none of that name.
            OSError: the files cannot be written.
        """
        logins = self._read()
        self._known(logins, name)
        del logins[name]
        self._write(logins)

    def _known(self, logins: Mapping[str, Login], name: str) -> Login:
        if name not in logins:
            raise ConfigurationError(
                f"'{name}' has no login", hint="See who has: iii-client publish access list"
            )
        return logins[name]

    def _read(self) -> dict[str, Login]:
        try:
            tree = json.loads(self._record.read_bytes())
            return {name: _login(name, row) for name, row in tree.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConfigurationError(
                "the record of logins is damaged", hint="Restore access.json from a backup."
            ) from None

    def _write(self, logins: Mapping[str, Login]) -> None:
        # Who is out must be out before the record says so, and who is in may get in a moment later.
        self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        for file, tiers in (("near", {Tier.ALL}), ("filter", set(Tier))):
            lines = [
                f"{name}:{login.digest}\n" for name, login in sorted(logins.items()) if login.tier in tiers
            ]
            path = self._folder / f"{file}.htpasswd"
            replace_durably(path, "".join(lines).encode(), mode=_PASSWORD_FILE_MODE)
        tree = {
            name: {"tier": login.tier, "since": login.since.isoformat(), "digest": login.digest}
            for name, login in sorted(logins.items())
        }
        replace_durably(self._record, json.dumps(tree, indent=1).encode())


def _salted(password: str) -> str:
    salt = secrets.token_bytes(_SALT_BYTES)
    # One round of SHA-1 is enough for 192 random bits, and not for a password that a human chose.
    return "{SSHA}" + base64.b64encode(hashlib.sha1(password.encode() + salt).digest() + salt).decode()


def _login(name: str, row: Any) -> Login:
    return Login(
        name=name, tier=Tier(text(row, "tier")), since=moment(row, "since"), digest=text(row, "digest")
    )
