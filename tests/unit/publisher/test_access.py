"""Logins: shown once, kept as a salted digest, opened and shut in the files that a web server reads."""

import base64
import hashlib
import json
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from iii_client.errors import ConfigurationError
from iii_client.publisher.access import AccessList
from iii_client.publisher.choices import Tier

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def access(tmp_path: Path) -> AccessList:
    return AccessList(tmp_path / "access.json", tmp_path / "access")


def opens(folder: Path, file: str, name: str, password: str) -> bool:
    """What nginx does with `{SSHA}`."""
    for line in (folder / "access" / f"{file}.htpasswd").read_text().splitlines():
        user, _, digest = line.partition(":{SSHA}")
        raw = base64.b64decode(digest)
        if user == name:
            return hashlib.sha1(password.encode() + raw[20:]).digest() == raw[:20]
    return False


@pytest.mark.parametrize(("tier", "near"), [(Tier.ALL, True), (Tier.EXACT, False)])
def test_a_login_opens_what_its_tier_says(access: AccessList, tmp_path: Path, tier: Tier, near: bool) -> None:
    password = access.add("example.org", tier=tier, now=NOW).reveal()
    assert opens(tmp_path, "filter", "example.org", password)
    assert opens(tmp_path, "near", "example.org", password) is near
    assert not opens(tmp_path, "filter", "example.org", password + "x")


def test_the_password_is_kept_nowhere(access: AccessList, tmp_path: Path) -> None:
    password = access.add("example.org", tier=Tier.ALL, now=NOW).reveal()
    assert len(password) >= 32
    for path in (p for p in tmp_path.rglob("*") if p.is_file()):
        assert password not in path.read_text()
    assert password not in repr(access.logins())


def test_a_revoked_login_opens_nothing_and_may_come_back_with_another_password(
    access: AccessList, tmp_path: Path
) -> None:
    first = access.add("example.org", tier=Tier.ALL, now=NOW).reveal()
    kept = access.add("other.example", tier=Tier.ALL, now=NOW).reveal()
    access.revoke("example.org")
    assert not opens(tmp_path, "filter", "example.org", first)
    assert opens(tmp_path, "near", "other.example", kept)
    second = access.add("example.org", tier=Tier.EXACT, now=NOW).reveal()
    assert first != second
    assert not opens(tmp_path, "filter", "example.org", first)
    assert opens(tmp_path, "filter", "example.org", second)


def test_a_tier_can_change_and_the_password_stays(access: AccessList, tmp_path: Path) -> None:
    password = access.add("example.org", tier=Tier.ALL, now=NOW).reveal()
    access.set_tier("example.org", Tier.EXACT)
    assert opens(tmp_path, "filter", "example.org", password)
    assert not opens(tmp_path, "near", "example.org", password)
    assert [(login.name, login.tier, login.since) for login in access.logins()] == [
        ("example.org", Tier.EXACT, NOW)
    ]


@pytest.mark.parametrize("name", ["", "Example.org", "a b", "a:b", "a\nroot:x", "-a", "x" * 65, "é"])
def test_a_name_that_could_break_a_password_file_is_refused(access: AccessList, name: str) -> None:
    with pytest.raises(ConfigurationError, match="the name of a login"):
        access.add(name, tier=Tier.ALL, now=NOW)


def test_what_is_not_there_cannot_be_revoked_and_what_is_not_given_twice(access: AccessList) -> None:
    with pytest.raises(ConfigurationError, match=r"'example\.org' has no login"):
        access.revoke("example.org")
    access.add("example.org", tier=Tier.ALL, now=NOW)
    with pytest.raises(ConfigurationError, match="has a login already"):
        access.add("example.org", tier=Tier.ALL, now=NOW)


def test_the_files_are_for_the_publisher_and_the_web_servers_group(
    access: AccessList, tmp_path: Path
) -> None:
    access.add("example.org", tier=Tier.ALL, now=NOW)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*") if p.is_file()}
    assert modes == {"access.json": 0o600, "filter.htpasswd": 0o640, "near.htpasswd": 0o640}


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', json.dumps({"a": {"tier": "more"}})])
def test_a_damaged_record_is_named(access: AccessList, tmp_path: Path, content: str) -> None:
    (tmp_path / "access.json").write_text(content)
    with pytest.raises(ConfigurationError, match="record of logins is damaged"):
        access.logins()
