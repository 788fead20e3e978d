"""The hold: one release, kept back until a person or a later epoch lets it go."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iii_client.errors import ConfigurationError, FilterFormatError, HeldReleaseError, RollbackError
from iii_client.model import Release, ReleaseId
from iii_client.updates.holding import HeldBecause, Hold, Holds, check_hold

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HELD = ReleaseId(epoch=5, sequence=7)
DIGEST = "ab" * 32


def hold(because: HeldBecause = HeldBecause.ROLLED_BACK, *, accepted: bool = False) -> Hold:
    accepted_at = NOW if accepted else None
    return Hold(release=HELD, sha256=DIGEST, because=because, since=NOW, accepted_at=accepted_at)


def release(epoch: int, sequence: int) -> Release:
    return Release(
        id=ReleaseId(epoch=epoch, sequence=sequence),
        sections=(),
        size_bytes=1,
        sha256=DIGEST,
        signed_at=NOW,
        expires_at=NOW,
    )


def test_a_hold_is_read_as_written_and_forgotten(tmp_path: Path) -> None:
    holds = Holds(tmp_path)
    assert holds.read() is None
    written = holds.hold(HELD, DIGEST, HeldBecause.NEGATIVES, now=NOW)
    assert holds.read() == written
    assert (tmp_path / "hold").stat().st_mode & 0o777 == 0o600
    holds.forget()
    holds.forget()
    assert holds.read() is None


def test_a_release_that_is_held_again_is_held_since_the_first_time(tmp_path: Path) -> None:
    holds = Holds(tmp_path)
    holds.hold(HELD, DIGEST, HeldBecause.NEGATIVES, now=NOW)
    again = holds.hold(HELD, DIGEST, HeldBecause.NEGATIVES, now=NOW + timedelta(days=1))
    assert again.since == NOW
    other = holds.hold(HELD, "cd" * 32, HeldBecause.NEGATIVES, now=NOW + timedelta(days=1))
    assert other.since == NOW + timedelta(days=1)


def test_of_two_rollbacks_the_newer_release_stays_held(tmp_path: Path) -> None:
    holds = Holds(tmp_path)
    holds.hold_back(release(5, 7), now=NOW)
    assert holds.hold_back(release(5, 6), now=NOW).release == HELD
    assert holds.hold_back(release(6, 0), now=NOW).release == ReleaseId(epoch=6, sequence=0)


def test_only_what_is_held_is_accepted_and_a_new_rollback_undoes_that(tmp_path: Path) -> None:
    holds = Holds(tmp_path)
    with pytest.raises(ConfigurationError, match="no release is held"):
        holds.accept(HELD, now=NOW)
    holds.hold_back(release(5, 7), now=NOW)
    with pytest.raises(ConfigurationError, match=r"5.8 is not held, 5.7 is"):
        holds.accept(ReleaseId(epoch=5, sequence=8), now=NOW)
    assert holds.accept(HELD, now=NOW).lets_pass(HELD, DIGEST)
    assert not holds.accept(HELD, now=NOW).lets_pass(HELD, "cd" * 32)
    assert holds.hold_back(release(5, 7), now=NOW).accepted_at is None


@pytest.mark.parametrize(
    ("epoch", "sequence", "error"),
    [
        (5, 7, HeldReleaseError),
        (5, 8, HeldReleaseError),
        (5, 6, RollbackError),
        (4, 9, RollbackError),
        (6, 0, None),
    ],
)
def test_after_a_rollback_only_a_later_epoch_passes(
    epoch: int, sequence: int, error: type[Exception] | None
) -> None:
    offered = ReleaseId(epoch=epoch, sequence=sequence)
    if error is None:
        check_hold(hold(), offered)
    else:
        with pytest.raises(error):
            check_hold(hold(), offered)
    check_hold(hold(HeldBecause.NEGATIVES), offered)  # the gate itself decides
    check_hold(None, offered)


def test_after_an_acceptance_the_release_passes_and_an_older_one_still_does_not() -> None:
    check_hold(hold(accepted=True), HELD)
    check_hold(hold(accepted=True), ReleaseId(epoch=5, sequence=9))
    with pytest.raises(RollbackError):
        check_hold(hold(accepted=True), ReleaseId(epoch=5, sequence=6))


@given(content=st.binary(max_size=200) | st.just(b'{"version": 1, "release": "none"}'))
def test_any_other_content_is_a_format_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    folder = tmp_path_factory.mktemp("hold")
    (folder / "hold").write_bytes(content)
    with pytest.raises(FilterFormatError, match="damaged") as caught:
        Holds(folder).read()
    assert "Remove the file" in caught.value.hint
