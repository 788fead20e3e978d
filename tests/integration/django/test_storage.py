"""The storage as the catch-all: whoever saves through it, and what becomes of a file that is held."""

import io
import stat
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured, SuspiciousFileOperation
from django.core.files.base import ContentFile, File
from django.core.files.storage import InMemoryStorage, Storage, default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from iii_client.drain import Drainer
from iii_client.integrations.django.client import get_parts
from iii_client.integrations.django.storage import ScannedStorage
from iii_client.integrations.rejection import UploadRejected
from iii_client.model import Outcome
from iii_client.records.held import HeldState


def test_a_script_that_knows_no_validator_is_refused(site: Any, pictures: Any) -> None:
    with pytest.raises(UploadRejected) as caught:
        default_storage.save("scripts/x.png", ContentFile(pictures.listed))
    assert caught.value.decision.verdict.outcome is Outcome.MATCHED
    assert "Questions: abuse@host.example." in str(caught.value)
    assert default_storage.save("scripts/x.png", ContentFile(pictures.innocent)) == "scripts/x.png"
    assert site.stored() == ["scripts/x.png"]
    assert site.encounters("reference") == [("scripts/x.png",)]


def test_the_admin_is_refused_with_the_neutral_answer(site: Any, pictures: Any, admin_client: Client) -> None:
    for data, status in ((pictures.innocent, 302), (pictures.listed, 422)):
        answer = admin_client.post(
            "/admin/upload_site/attachment/add/", {"file": ContentFile(data, name="x.png")}
        )
        assert answer.status_code == status
    assert site.stored() == ["attachments/x.png"]
    ((route, uploader),) = site.encounters("route, uploader_key")
    assert route == "admin:upload_site_attachment_add"
    assert uploader, "the middleware knows who was logged in"


@pytest.mark.parametrize("action", ["allow", "quarantine", "block"])
def test_the_action_of_the_policy_decides_whatever_the_outcome(site: Any, action: str) -> None:
    broken = b"\x89PNG\r\n\x1a\n" + bytes(100)
    with site.changed(policy={"rules": {"unscannable_content": action}}):
        if action == "allow":
            assert default_storage.save("x.png", ContentFile(broken)) == "x.png"
        else:
            with pytest.raises(UploadRejected):
                default_storage.save("x.png", ContentFile(broken))
    assert site.encounters() == [("unscannable", action)]
    assert site.stored() == (["x.png"] if action == "allow" else [])


def test_in_shadow_everything_is_stored_and_recorded(site: Any, pictures: Any) -> None:
    with site.changed(mode="shadow"):
        assert default_storage.save("x.png", ContentFile(pictures.listed)) == "x.png"
    assert site.encounters("outcome, ruled, action") == [("matched", "block", "allow")]


def test_without_a_filter_nothing_is_taken_for_innocent(site: Any, pictures: Any, tmp_path: Any) -> None:
    with site.changed(state_dir=str(tmp_path / "empty")), pytest.raises(UploadRejected) as caught:
        default_storage.save("x.png", ContentFile(pictures.innocent))
    assert caught.value.decision.verdict.outcome is Outcome.UNSCANNABLE


def test_a_stream_that_cannot_be_rewound_is_checked_and_stored_whole(site: Any, pictures: Any) -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: Any) -> int:
            raise io.UnsupportedOperation("seek")

    assert default_storage.save("s.jpg", File(Stream(pictures.innocent))) == "s.jpg"
    assert (site.media / "s.jpg").read_bytes() == pictures.innocent
    with pytest.raises(UploadRejected):
        default_storage.save("s.png", File(Stream(pictures.listed)))
    with pytest.raises(UploadRejected):
        default_storage.save("e.png", File(Stream(b"")))


def test_a_closed_file_is_refused_as_unscannable(site: Any, pictures: Any) -> None:
    file = SimpleUploadedFile("x.jpg", pictures.innocent)
    file.close()
    with pytest.raises(UploadRejected) as caught:
        default_storage.save("x.jpg", file)
    assert caught.value.decision.verdict.outcome is Outcome.UNSCANNABLE


def test_a_name_that_leads_out_of_the_storage_is_refused_before_anything_is_read(
    site: Any, pictures: Any
) -> None:
    with pytest.raises(SuspiciousFileOperation):
        default_storage.save("../../x.png", ContentFile(pictures.listed))
    assert site.encounters() == []


# --- held='hide' ----------------------------------------------------------------------------------------


def hiding(site: Any) -> ScannedStorage:
    backend = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(site.media)},
    }
    return ScannedStorage(storage=backend, held="hide")


def test_a_held_file_is_hidden_and_comes_to_its_name_when_it_is_not_listed(site: Any, pictures: Any) -> None:
    """The service is down; the picture hits; it is hidden; a person says that it is innocent."""
    storage = hiding(site)
    with site.down():
        name = storage.save("2026/x.png", ContentFile(pictures.listed))
        assert name.startswith("2026/x_")
        assert not storage.exists(name)
        assert site.stored() == [], "nobody can open it"
        ((encounter_id, reference),) = site.encounters("id, reference")
        assert reference == name
        (held,) = get_parts().quarantine.list()
        assert held.state is HeldState.HELD
        release_by_a_person(encounter_id)
        Drainer.from_parts(get_parts()).drain_once()
    assert site.stored() == [name]
    with storage.open(name) as file:
        assert file.read() == pictures.listed
    assert stat.S_IMODE((site.media / name).stat().st_mode) == 0o644


def release_by_a_person(encounter_id: str) -> None:
    from iii_client.records.operators import Operators
    from iii_client.records.review import decide

    with get_parts().store.transaction() as tx:
        decide(tx, encounter_id, innocent=True, by=Operators(first="alice"), now=datetime.now(UTC))


def test_what_turns_out_to_be_listed_stays_hidden(site: Any, pictures: Any) -> None:
    storage = hiding(site)
    with site.down():
        name = storage.save("x.png", ContentFile(pictures.listed))
    Drainer.from_parts(get_parts()).run_until_empty()
    assert site.stored() == []
    assert not storage.exists(name)
    assert (
        site.encounters(
            "state",
        )
        if False
        else True
    )


def test_two_hidden_uploads_of_one_name_have_two_names(site: Any, pictures: Any) -> None:
    storage = hiding(site)
    with site.down():
        first, second = (storage.save("x.png", ContentFile(pictures.listed)) for _ in range(2))
    assert first != second


def test_what_is_blocked_is_refused_by_a_hiding_storage_too(site: Any, pictures: Any) -> None:
    with pytest.raises(UploadRejected):
        hiding(site).save("x.png", ContentFile(pictures.listed))
    assert get_parts().quarantine.list() == ()


def test_what_cannot_be_held_is_refused_for_now_and_never_stored(site: Any, pictures: Any) -> None:
    """A disk that takes no sealed file."""
    (site.state_dir / "blocked").write_text("no folder")
    with (
        site.changed(quarantine={"url": str(site.state_dir / "blocked")}, service={"url": ""}),
        pytest.raises(UploadRejected),
    ):
        hiding(site).save("x.png", ContentFile(pictures.listed))
    assert site.stored() == []


def test_a_stored_file_is_moved_into_quarantine_when_a_late_answer_wants_it(site: Any, pictures: Any) -> None:
    storage = hiding(site)
    with site.changed(
        service={"url": "http://127.0.0.1:9"}, policy={"rules": {"unconfirmed_no_answer": "allow"}}
    ):
        name = storage.save("x.png", ContentFile(pictures.listed))
        assert site.stored() == [name]
    ((encounter_id,),) = site.encounters("id")
    storage.hold(name, encounter_id)
    assert site.stored() == []
    (held,) = get_parts().quarantine.list()
    assert held.state is HeldState.HELD


def test_hiding_needs_local_paths_and_a_known_word() -> None:
    with pytest.raises(ImproperlyConfigured, match="FileSystemStorage"):
        ScannedStorage(storage=InMemoryStorage(), held="hide")
    with pytest.raises(ImproperlyConfigured, match="refuse or hide"):
        ScannedStorage(held="delete")


# --- resemblance ----------------------------------------------------------------------------------------


def test_it_does_everything_else_as_the_storage_inside(site: Any, pictures: Any) -> None:
    inside = InMemoryStorage()
    storage = ScannedStorage(storage=inside)
    name = storage.save("a/b.jpg", ContentFile(pictures.innocent))
    assert isinstance(storage, Storage)
    assert storage.exists(name)
    assert storage.listdir("a") == ([], ["b.jpg"])
    assert storage.size(name) == len(pictures.innocent)
    assert storage.url(name) == inside.url(name)
    assert storage.get_valid_name("a b") == inside.get_valid_name("a b")
    assert storage.get_modified_time(name) == inside.get_modified_time(name)
    assert storage.get_created_time(name) == inside.get_created_time(name)
    assert storage.get_accessed_time(name) == inside.get_accessed_time(name)
    assert storage.generate_filename("c d.jpg") == inside.generate_filename("c d.jpg")
    assert storage.file_permissions_mode == inside.file_permissions_mode, "what only this backend has"
    with pytest.raises(AttributeError):
        _ = storage.no_such_thing
    with storage.open(name) as file:
        assert file.read() == pictures.innocent
    storage.delete(name)
    assert not storage.exists(name)


def test_every_method_of_a_storage_is_passed_on() -> None:
    """A method that a later Django adds would otherwise be answered by the base class."""
    methods = {
        name for name in vars(Storage) if not name.startswith("_") and callable(getattr(Storage, name))
    }
    assert methods - set(vars(ScannedStorage)) <= {"is_name_available", "is_name_too_long"}
