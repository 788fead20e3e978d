"""Encounters in the admin: to be read by who may, and leading to no picture."""

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import Client

from iii_client.integrations.django.context import upload_context
from iii_client.integrations.django.scanning import scan_upload

LIST = "/admin/iii_client/encounter/"


@pytest.fixture
def case(site: Any, pictures: Any) -> str:
    with upload_context(route="<script>", reference="https://host.example/u/1.png"):
        return scan_upload(ContentFile(pictures.listed)).case_reference


def test_the_list_and_the_case_say_what_happened(site: Any, case: str, admin_client: Client) -> None:
    page = admin_client.get(LIST).content.decode()
    assert case in page
    assert "matched" in page
    ((encounter_id,),) = site.encounters("id")
    detail = admin_client.get(f"{LIST}{encounter_id}/").content.decode()
    for text in ("matched_exact", "block", "sha256", "sandbox"):
        assert text in detail


def test_no_picture_no_link_to_a_file_and_no_hash(site: Any, case: str, admin_client: Client) -> None:
    ((encounter_id, sha256),) = site.encounters("id, sha256")
    for address in (LIST, f"{LIST}{encounter_id}/"):
        page = admin_client.get(address).content.decode()
        main = page[page.index('id="content-main"') :]
        assert "<img" not in main
        assert "<script>" not in main, "a route is somebody's text"
        targets = re.findall(r'href="([^"]+)"', main)
        assert all(target.startswith((LIST, "?")) for target in targets), targets
        assert sha256.hex() not in page
    assert "https://host.example/u/1.png" in page, "as text, for who has to find the item"


def test_a_case_is_found_by_its_reference_as_an_uploader_types_it(
    site: Any, case: str, admin_client: Client
) -> None:
    ((encounter_id,),) = site.encounters("id")
    assert admin_client.get(LIST, {"q": f" {case.lower()} "}).headers["Location"] == f"{LIST}{encounter_id}/"
    assert "no such case" in admin_client.get(LIST, {"q": "XXXX"}).content.decode()


def test_outcomes_are_chosen_and_pages_turned(site: Any, pictures: Any, admin_client: Client) -> None:
    broken = b"\x89PNG\r\n\x1a\n"
    for number in range(51):
        scan_upload(ContentFile(broken + bytes([number])))
    first = admin_client.get(LIST, {"outcome": "unscannable"}).content.decode()
    second = admin_client.get(LIST, {"outcome": "unscannable", "p": "2"}).content.decode()
    assert (first.count("<tr><td>"), second.count("<tr><td>")) == (50, 1)
    assert "Nothing is recorded" in admin_client.get(LIST, {"outcome": "matched"}).content.decode()
    assert admin_client.get(LIST, {"p": "seventeen"}).status_code == 200


def test_only_who_may_view_encounters_sees_them(site: Any, case: str) -> None:
    clerk, _ = User.objects.get_or_create(username="clerk", defaults={"is_staff": True})
    client = Client()
    client.force_login(clerk)
    assert client.get(LIST).status_code == 403
    clerk.user_permissions.set([Permission.objects.get(codename="view_encounter")])
    assert client.get(LIST).status_code == 200
    assert "encounters" in client.get("/admin/").content.decode().lower()
    clerk.user_permissions.clear()
    assert Client().get(LIST).status_code == 302


def test_nothing_can_be_changed_and_no_table_is_looked_for(
    site: Any, case: str, admin_client: Client
) -> None:
    ((encounter_id,),) = site.encounters("id")
    for address in (f"{LIST}add/", f"{LIST}{encounter_id}/delete/", f"{LIST}{encounter_id}/history/"):
        assert admin_client.get(address).status_code == 404
    assert admin_client.get(f"{LIST}{'0' * 32}/").status_code == 404


def test_a_store_that_is_away_is_said_and_no_server_error(site: Any, admin_client: Client) -> None:
    default_storage.save("x.txt", ContentFile(b"text"))
    with site.changed(records={"database": "postgresql://nobody@127.0.0.1:9/none"}):
        page = admin_client.get(LIST)
    assert page.status_code == 200
    assert "errornote" in page.content.decode()
