"""A state directory follows one publisher's roots, in either direction, and nobody else's."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root

from iii_client.errors import ConfigurationError
from iii_client.updates.pinning import bind_pinned_root, check_pinned_root

KEYS = {name: CryptoSigner.generate_ed25519() for name in "abcx"}


def root(version: int, key: str, *signers: str) -> bytes:
    """A root that names one key, signed by some."""
    signed = Root(version=version, expires=datetime(2040, 1, 1, tzinfo=UTC))
    signed.add_key(KEYS[key].public_key, "root")
    metadata = Metadata(signed)
    for signer in signers:
        metadata.sign(KEYS[signer], append=True)
    return metadata.to_bytes()


FIRST = root(1, "a", "a")
SECOND = root(2, "b", "a", "b")
THIRD = root(3, "c", "b", "c")
FOREIGN = root(1, "x", "x")
FORGED = root(2, "x", "x")


def accepted(folder: Path, offered: bytes) -> bool:
    try:
        check_pinned_root(folder, offered)
    except ConfigurationError as error:
        return "III_STATE_DIR" not in error.hint
    return True


def test_any_root_is_fit_for_an_empty_directory(tmp_path: Path) -> None:
    assert accepted(tmp_path, FIRST)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kept", "offered", "expected"),
    [
        (FIRST, FIRST, True),
        (FIRST, SECOND, True),
        (SECOND, FIRST, True),
        (FIRST, THIRD, False),
        (FIRST, FOREIGN, False),
        (FIRST, FORGED, False),
        (SECOND, FOREIGN, False),
    ],
)
def test_a_root_is_accepted_when_one_of_the_two_vouches_for_the_other(
    tmp_path: Path, kept: bytes, offered: bytes, expected: bool
) -> None:
    bind_pinned_root(tmp_path, kept)
    assert accepted(tmp_path, offered) is expected


def test_a_newer_root_is_reached_over_the_ones_in_between(tmp_path: Path) -> None:
    bind_pinned_root(tmp_path, FIRST)
    (tmp_path / "root.json").write_bytes(SECOND)
    assert accepted(tmp_path, THIRD)
    assert not accepted(tmp_path, FOREIGN)


def test_what_is_no_root_is_refused(tmp_path: Path) -> None:
    for content in (b"", b"{}", b"<html>", b"[" * 10_000):
        with pytest.raises(ConfigurationError, match="no TUF root"):
            check_pinned_root(tmp_path, content)
