"""Digests while the upload streams in: read once, the same verdicts, nothing kept of what was cut off."""

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import (
    InMemoryUploadedFile,
    SimpleUploadedFile,
    TemporaryUploadedFile,
    UploadedFile,
)
from django.test import Client, RequestFactory, override_settings

from iii_client.integrations.django.scanning import scan_upload
from iii_client.integrations.django.uploads import HashingUploadHandler
from iii_client.model import Outcome, Reason

HANDLER = "iii_client.integrations.django.uploads.HashingUploadHandler"


@pytest.fixture(autouse=True)
def hashing(site: Any) -> Any:
    with override_settings(FILE_UPLOAD_HANDLERS=[HANDLER]):
        yield


def received(data: bytes, *more: bytes) -> list[Any]:
    """What a view gets of these uploads."""
    files = {f"file{i}": SimpleUploadedFile(f"{i}.png", one) for i, one in enumerate((data, *more))}
    request = RequestFactory().post("/", files)
    return [request.FILES[name] for name in files]


def digests_of(file: UploadedFile) -> Any:  # type: ignore[type-arg]
    return {digest.value for digest in scan_upload(file).verdict.fingerprint.digests}


@pytest.mark.parametrize("padding", [0, 3_000_000])
def test_the_verdict_is_that_of_a_scan_in_memory_and_on_disk(site: Any, pictures: Any, padding: int) -> None:
    """Three megabytes more than Django keeps in memory."""
    for data in (pictures.innocent, pictures.listed, pictures.innocent[:-3000], b"a text"):
        body = data + bytes(padding)
        (streamed,) = received(body)
        assert isinstance(streamed, TemporaryUploadedFile if padding else InMemoryUploadedFile)
        plain = SimpleUploadedFile("x.png", body)
        assert scan_upload(streamed).verdict.fingerprint == scan_upload(plain).verdict.fingerprint
        assert streamed.read() == body
        streamed.close()


def test_several_files_of_one_request_keep_their_own_digests(site: Any, pictures: Any) -> None:
    files = received(pictures.innocent, pictures.listed, b"a text")
    outcomes = [scan_upload(file).verdict.outcome for file in files]
    assert outcomes == [Outcome.NO_MATCH, Outcome.MATCHED, Outcome.NO_MATCH]


def test_the_digests_are_not_computed_a_second_time(site: Any, pictures: Any) -> None:
    """Text is read for its digests alone, which are there: nothing is left to read."""
    reads = []

    class Counting(TemporaryUploadedFile):
        def read(self, *arguments: Any) -> Any:
            reads.append(arguments)
            return super().read(*arguments)

    body = b"text " * 2_000_000
    (streamed,) = received(body)
    streamed.__class__ = Counting
    assert scan_upload(streamed).verdict.outcome is Outcome.NO_MATCH
    assert sum(size for (size,) in reads) <= 1 << 20, "its head, for the kind of file"
    streamed.close()


def test_a_file_that_was_written_to_after_it_came_in_is_scanned_as_it_is_now(
    site: Any, pictures: Any
) -> None:
    (streamed,) = received(pictures.innocent)
    streamed.seek(0)
    streamed.truncate()
    streamed.write(pictures.listed)
    assert scan_upload(streamed).verdict.outcome is Outcome.MATCHED


def test_a_closed_upload_is_unscannable_although_its_digests_are_known(site: Any, pictures: Any) -> None:
    (streamed,) = received(pictures.innocent)
    streamed.close()
    decision = scan_upload(streamed)
    assert decision.verdict.outcome is Outcome.UNSCANNABLE
    assert Reason.UNREADABLE in decision.verdict.reasons


def test_the_whole_way_through_a_form(site: Any, pictures: Any) -> None:
    for data, status in ((pictures.innocent, 200), (pictures.listed, 400)):
        answer = Client().post("/form/", {"image": SimpleUploadedFile("x.png", data)})
        assert answer.status_code == status
    assert site.stored() == ["form/x.png"]
    assert len(site.encounters()) == 1


def test_a_view_that_looks_at_no_file_decodes_none(site: Any, pictures: Any) -> None:
    answer = Client().post(
        "/careless/", {"image": SimpleUploadedFile("x.png", pictures.listed), "field": "kept"}
    )
    assert answer.json() == {"files": 1, "fields": {"field": "kept"}}
    assert site.encounters() == []


def test_a_bomb_of_parts_is_refused_by_django_and_nothing_of_it_is_scanned(site: Any, pictures: Any) -> None:
    files = {f"f{i}": SimpleUploadedFile("x.png", pictures.listed[:50]) for i in range(101)}
    assert Client().post("/form/", files).status_code == 400
    fields = {f"f{i}": "x" for i in range(1001)}
    assert Client().post("/form/", fields).status_code == 400
    assert site.encounters() == []
    assert site.stored() == []


def test_an_interrupted_upload_leaves_nothing_on_disk() -> None:
    handler = HashingUploadHandler(RequestFactory().post("/"))
    handler.handle_raw_input(None, {}, 3_000_000, b"boundary")
    handler.new_file("image", "x.png", "image/png", None)
    handler.receive_data_chunk(b"the first bytes", 0)
    path = handler._temporary.file.temporary_file_path()
    handler.upload_interrupted()
    assert not Path(path).exists()
