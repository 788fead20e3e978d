"""One uploaded file: read as it is, handed back as it was, and never "no match" when it was not read."""

import io
import tempfile
from pathlib import Path
from typing import BinaryIO, cast

import pytest

from iii_client import Config, Outcome, Reason, UploadContext
from iii_client.errors import RecordError
from iii_client.integrations.rejection import UploadRejected
from iii_client.integrations.uploads import Uploads
from iii_client.model import Action, Decision
from iii_client.testing import PracticePicture


class NoSeek(io.RawIOBase):
    """A socket's file: read once, and what was read is gone."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)
        self.reads = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        self.reads += 1
        return self._data.readinto(buffer)


class Raising:
    """A storage driver's file object whose server went away."""

    def seekable(self) -> bool:
        raise ConnectionError("gone")

    def read(self, _size: int = -1) -> bytes:
        raise ConnectionError("gone")


@pytest.fixture
def uploads(iii_env: dict[str, str]) -> Uploads:
    return Uploads.from_config(Config.from_env(over={"contact": "abuse@host.example"}))


def unread(decision: Decision) -> tuple[Outcome, bool, Reason]:
    return decision.verdict.outcome, decision.allowed, decision.verdict.reasons[0]


def test_a_file_comes_back_open_and_where_it_was(
    uploads: Uploads, iii_innocent_picture: PracticePicture
) -> None:
    file = iii_innocent_picture.open()
    file.seek(17)
    assert uploads.scan(file).allowed
    assert (file.closed, file.tell()) == (False, 17)


def test_a_spooled_file_on_disk_comes_back_where_it_was(
    uploads: Uploads, iii_known_picture: PracticePicture
) -> None:
    with tempfile.SpooledTemporaryFile(max_size=10) as file:
        file.write(iii_known_picture.data)
        assert not uploads.scan(cast(BinaryIO, file)).allowed
        assert file.tell() == len(iii_known_picture.data)


def test_a_file_that_cannot_seek_is_unscannable_and_still_whole(
    uploads: Uploads, iii_known_picture: PracticePicture
) -> None:
    file = NoSeek(iii_known_picture.data)
    decision = uploads.scan(cast(BinaryIO, file))
    assert unread(decision) == (Outcome.UNSCANNABLE, False, Reason.UNREADABLE)
    assert file.reads == 0
    assert file.read() == iii_known_picture.data


def test_a_closed_file_is_unscannable(uploads: Uploads, iii_innocent_picture: PracticePicture) -> None:
    file = iii_innocent_picture.open()
    file.close()
    assert unread(uploads.scan(file)) == (Outcome.UNSCANNABLE, False, Reason.UNREADABLE)


def test_a_file_whose_driver_raises_is_unscannable(uploads: Uploads) -> None:
    decision = uploads.scan(cast(BinaryIO, Raising()))
    assert unread(decision) == (Outcome.UNSCANNABLE, False, Reason.UNREADABLE)


def test_an_empty_file_is_unscannable(uploads: Uploads) -> None:
    assert unread(uploads.scan(io.BytesIO())) == (Outcome.UNSCANNABLE, False, Reason.EMPTY)


def test_a_picture_over_the_limit_is_unscannable(
    iii_env: dict[str, str], iii_innocent_picture: PracticePicture
) -> None:
    small = Uploads.from_config(Config.from_env(over={"limits": {"max_picture_bytes": 1000}}))
    decision = small.scan(iii_innocent_picture.open())
    assert unread(decision) == (Outcome.UNSCANNABLE, False, Reason.TOO_LARGE)


def test_a_refusal_carries_case_and_contact_and_nothing_else(
    uploads: Uploads, iii_near_copy: PracticePicture
) -> None:
    with pytest.raises(UploadRejected) as refused:
        uploads.check(iii_near_copy.open(), context=UploadContext(route="avatar"))
    case = refused.value.case_reference
    assert len(case) > 8
    assert (
        str(refused.value) == f"This file cannot be taken. Reference: {case}. Questions: abuse@host.example."
    )


def test_a_quarantined_upload_can_be_held_and_given_back(
    uploads: Uploads, iii_near_copy: PracticePicture, tmp_path: Path, iii_env: dict[str, str]
) -> None:
    file = iii_near_copy.open()
    decision = uploads.scan(file)
    assert decision.action is Action.QUARANTINE
    assert uploads.hold(file, decision, origin=str(tmp_path / "picture.jpg"))
    (sealed,) = (Path(iii_env["III_STATE_DIR"]) / "quarantine").glob("*.sealed")
    assert iii_near_copy.data[:100] not in sealed.read_bytes()
    assert file.tell() == 0


def test_nothing_is_held_for_a_decision_that_is_not_recorded(
    uploads: Uploads, iii_innocent_picture: PracticePicture
) -> None:
    file = iii_innocent_picture.open()
    with pytest.raises(RecordError, match="not recorded"):
        uploads.hold(file, uploads.scan(file))


def test_building_opens_nothing(iii_env: dict[str, str]) -> None:
    Uploads.from_config(Config.from_env())
    assert not list(Path(iii_env["III_STATE_DIR"]).glob("*.db"))
