"""Requests: the neutral answer, what a rollback leaves, who is known to upload, what signals tell."""

import asyncio
import contextlib
from typing import Any

import pytest
from django.apps import apps
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.test import AsyncClient, Client, RequestFactory, override_settings

from iii_client.integrations.django import signals
from iii_client.integrations.django.middleware import rejected_response
from iii_client.integrations.django.scanning import check_upload, note_reference
from iii_client.integrations.rejection import UploadRejected
from iii_client.model import Decision


def post(client: Client, data: bytes, **headers: str) -> Any:
    return client.post("/storage/", {"image": ContentFile(data, name="x.png")}, headers=headers)


def store_and_fail(name: str, data: bytes) -> None:
    """What a view does that fails after it stored an upload."""
    with contextlib.suppress(RuntimeError), transaction.atomic():
        default_storage.save(name, ContentFile(data))
        raise RuntimeError


def test_a_rollback_erases_what_the_view_wrote_and_not_the_record_of_the_refusal(
    site: Any, pictures: Any
) -> None:
    notes = apps.get_model("upload_site", "Note")._default_manager
    answer = post(Client(), pictures.listed)
    assert answer.status_code == 422
    assert notes.count() == 0, "ATOMIC_REQUESTS rolled the view back"
    assert site.encounters() == [("matched", "block")], "the candidate is recorded all the same"
    assert site.stored() == []
    assert post(Client(), pictures.innocent).status_code == 200
    assert notes.count() == 1


def test_a_candidate_that_the_policy_let_pass_survives_a_rollback_of_its_request(
    site: Any, pictures: Any
) -> None:
    """The view fails after the upload was stored; the question still waits for the service."""
    rules = {"unconfirmed_no_answer": "allow"}
    with site.changed(service={"url": "http://127.0.0.1:9"}, policy={"rules": rules}):
        store_and_fail("x.png", pictures.listed)
    assert site.encounters("outcome, reference") == [("unconfirmed", "x.png")]


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"),
        ("application/json", "application/json"),
        ("*/*", "text/plain; charset=utf-8"),
        ("image/png", "text/plain; charset=utf-8"),
    ],
)
def test_the_answer_is_in_the_form_that_the_client_reads(
    site: Any, pictures: Any, accept: str, content_type: str
) -> None:
    answer = post(Client(), pictures.listed, accept=accept)
    ((case,),) = site.encounters("case_reference")
    assert (answer.status_code, answer["Content-Type"], answer["Cache-Control"]) == (
        422,
        content_type,
        "no-store",
    )
    assert case in answer.content.decode()
    assert "abuse@host.example" in answer.content.decode()


def test_two_refusals_for_different_reasons_differ_in_the_case_alone(site: Any, pictures: Any) -> None:
    pages = []
    for data in (pictures.listed, pictures.near, pictures.innocent[:-3000]):
        answer = post(Client(), data, accept="text/html")
        case = site.encounters("case_reference")[-1][0]
        headers = {name: value for name, value in answer.items() if name != "Content-Length"}
        pages.append((answer.status_code, headers, answer.content.decode().replace(case, "CASE")))
    assert pages[0] == pages[1] == pages[2]


def test_a_project_without_templates_answers_in_plain_text(site: Any, pictures: Any) -> None:
    with override_settings(TEMPLATES=[]):
        answer = post(Client(), pictures.listed, accept="text/html")
    assert (answer.status_code, answer["Content-Type"]) == (422, "text/plain; charset=utf-8")


def test_a_view_may_refuse_by_itself(site: Any, pictures: Any) -> None:
    file = ContentFile(pictures.listed, name="x.png")
    with pytest.raises(UploadRejected) as caught:
        check_upload(file)
    answer = rejected_response(RequestFactory().get("/"), caught.value)
    assert answer.status_code == 422


def test_other_exceptions_are_left_alone(site: Any) -> None:
    with pytest.raises(KeyError):
        Client().post("/storage/", {})


def test_the_views_name_and_the_user_are_the_context(site: Any, admin_client: Client) -> None:
    assert Client().get("/context/").json() == {"route": "context", "uploader": ""}
    told = admin_client.get("/context/").json()
    assert told["uploader"].startswith("user:")
    assert "admin" not in told["uploader"]


def test_an_asynchronous_view_has_its_context_too(site: Any) -> None:
    async def ask() -> Any:
        answers = await asyncio.gather(*(AsyncClient().get("/async/") for _ in range(3)))
        return [answer.json() for answer in answers]

    assert asyncio.run(ask()) == [{"route": "async", "uploader": ""}] * 3


# --- signals --------------------------------------------------------------------------------------------


class Heard:
    """A receiver that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []

    def __call__(self, **told: Any) -> None:
        self.told.append(told)


@pytest.fixture
def heard() -> Any:
    """Connected to both signals of a scan."""
    confirmed, pending = Heard(), Heard()
    signals.match_confirmed.connect(confirmed)
    signals.match_pending.connect(pending)
    yield confirmed, pending
    signals.match_confirmed.disconnect(confirmed)
    signals.match_pending.disconnect(pending)


def test_matches_and_open_questions_are_told_once_and_innocent_uploads_never(
    site: Any, pictures: Any, heard: Any
) -> None:
    confirmed, pending = heard
    post(Client(), pictures.innocent)
    post(Client(), pictures.listed)
    with site.down():
        post(Client(), pictures.listed)
    assert [told["context"].route for told in confirmed.told] == ["storage"]
    (open_question,) = pending.told
    assert open_question["context"].reference.startswith("attachments/x_"), "x.png is taken"
    assert isinstance(open_question["decision"], Decision)


def test_a_receiver_that_raises_changes_no_decision(site: Any, pictures: Any) -> None:
    def broken(**_: Any) -> None:
        raise RuntimeError

    signals.match_confirmed.connect(broken)
    try:
        assert post(Client(), pictures.listed).status_code == 422
    finally:
        signals.match_confirmed.disconnect(broken)


def test_a_queue_is_rung_after_the_commit_and_not_after_a_rollback(site: Any, pictures: Any) -> None:
    rung: list[Decision] = []
    receivers = list(signals.match_pending.receivers)
    signals.ring_on_commit(rung.append)
    rules = {"unconfirmed_no_answer": "allow"}
    try:
        with site.changed(service={"url": "http://127.0.0.1:9"}, policy={"rules": rules}):
            with transaction.atomic():
                default_storage.save("x.png", ContentFile(pictures.listed))
                assert rung == []
            assert len(rung) == 1
            store_and_fail("y.png", pictures.listed)
    finally:
        signals.match_pending.receivers = receivers
        signals.match_pending.sender_receivers_cache.clear()
    assert len(rung) == 1
    assert len(site.encounters()) == 2, "the sweep finds the other"


def test_where_an_upload_is_found_can_be_said_afterwards(site: Any, pictures: Any) -> None:
    file = ContentFile(pictures.listed, name="x.png")
    with site.changed(mode="shadow"):
        check_upload(file)
        note_reference(file, "photo/42")
    assert site.encounters("reference") == [("photo/42",)]
