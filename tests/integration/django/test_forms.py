"""Forms, models and serializers: what the validator lets through, and what it says of the rest."""

import io
import re
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.files.base import ContentFile, File
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from iii_client.integrations.django.context import upload_context
from iii_client.integrations.django.scanning import forget_scan, scan_upload
from iii_client.integrations.django.validators import UploadValidator
from iii_client.model import Action, Outcome, Reason

REFUSED = re.compile(
    r"This file cannot be taken\. Reference: (\w{4}-\w{4}-\w{4})\. Questions: abuse@host\.example\."
)


def upload(data: bytes, name: str = "holiday.png") -> SimpleUploadedFile:
    return SimpleUploadedFile(name, data)


def refusal(data: Any) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        UploadValidator()(data)
    return caught.value


def test_a_harmless_picture_is_stored_and_a_listed_one_refused_by_the_form(site: Any, pictures: Any) -> None:
    stored = Client().post("/form/", {"image": upload(pictures.innocent)})
    refused = Client().post("/form/", {"image": upload(pictures.listed)})
    assert (stored.status_code, stored.json()) == (200, {"stored": "form/holiday.png"})
    assert refused.status_code == 400
    assert REFUSED.fullmatch(refused.json()["image"][0])
    assert site.stored() == ["form/holiday.png"]
    assert (site.media / "form/holiday.png").read_bytes() == pictures.innocent


def test_every_refusal_reads_the_same_whatever_the_reason(site: Any, pictures: Any) -> None:
    reasons = [pictures.listed, pictures.near, pictures.innocent[:-3000], b""]
    texts = [Client().post("/form/", {"image": upload(data)}).json()["image"][0] for data in reasons]
    with site.down():
        texts.append(Client().post("/form/", {"image": upload(pictures.listed)}).json()["image"][0])
    cases = [REFUSED.fullmatch(text) for text in texts]
    assert all(cases), texts
    assert len({case[1] for case in cases if case}) == 5, "each has a case of its own"
    assert sorted(site.encounters()) == [
        ("matched", "block"),
        ("matched", "quarantine"),
        ("unconfirmed", "quarantine"),
        ("unscannable", "quarantine"),
        ("unscannable", "quarantine"),
    ]
    assert site.stored() == []


def test_a_model_validates_on_its_own_route_and_is_scanned_once_for_form_model_and_storage(
    site: Any, pictures: Any
) -> None:
    with site.changed(mode="shadow"):
        answer = Client().post("/modelform/", {"image": upload(pictures.listed), "caption": "x"})
    assert answer.json() == {"stored": "photos/holiday.png"}
    # One encounter, although three places asked; and a late answer would know where the file is.
    assert site.encounters("route, ruled, action, reference") == [
        ("photo", "block", "allow", "photos/holiday.png")
    ]


def test_a_field_without_a_file_is_no_upload(site: Any) -> None:
    assert Client().post("/form/", {}).json() == {"image": ["This field is required."]}
    assert Client().post("/modelform/", {"caption": "no picture"}).json() == {"stored": ""}
    UploadValidator()(None)
    assert site.encounters() == []


def test_a_model_file_that_is_stored_already_is_not_scanned_again(site: Any, pictures: Any) -> None:
    from django.apps import apps

    photo_model = apps.get_model("upload_site", "Photo")
    photo = photo_model.objects.create(image=upload(pictures.innocent))
    again = photo_model.objects.get(pk=photo.pk)
    (site.media / again.image.name).write_bytes(pictures.listed)
    again.full_clean()
    assert site.encounters() == []


def test_a_file_without_a_name_is_scanned_although_it_is_false(site: Any, pictures: Any) -> None:
    """As Django before 6 has it."""
    nameless = File(io.BytesIO(pictures.listed), name="")
    assert refusal(nameless).code == "upload_rejected"


def test_an_upload_is_left_open_and_at_its_position(site: Any, pictures: Any) -> None:
    for data in (pictures.innocent, b"a text"):
        file = upload(data)
        file.seek(7)
        UploadValidator()(file)
        assert (file.closed, file.tell()) == (False, 7)


def test_a_closed_file_is_unscannable_and_held_never_no_match(site: Any, pictures: Any) -> None:
    file = upload(pictures.innocent)
    file.close()
    assert refusal(file).code == "upload_rejected"
    decision = scan_upload(file)
    assert (decision.verdict.outcome, decision.action) == (Outcome.UNSCANNABLE, Action.QUARANTINE)
    assert decision.verdict.reasons == (Reason.UNREADABLE,)


def test_a_file_that_cannot_seek_is_not_read_and_is_unscannable(site: Any, pictures: Any) -> None:
    class Stream(io.BytesIO):
        def seekable(self) -> bool:
            return False

    raw = Stream(pictures.innocent)
    assert refusal(File(raw, name="stream.jpg")).code == "upload_rejected"
    assert len(raw.read()) == len(pictures.innocent), "reading it would have left nothing to store"


def test_over_the_limit_is_unscannable(site: Any, pictures: Any) -> None:
    with site.changed(limits={"max_picture_bytes": 1000}):
        assert refusal(upload(pictures.innocent)).code == "upload_rejected"
    assert site.encounters("reasons") == [("too_large",)]


def test_what_is_no_file_is_a_mistake_of_the_programmer(site: Any) -> None:
    with pytest.raises(TypeError, match="file fields"):
        UploadValidator()("photos/holiday.png")


def test_an_upload_that_was_rewritten_is_scanned_again(site: Any, pictures: Any) -> None:
    file = ContentFile(pictures.innocent, name="x.jpg")
    UploadValidator()(file)
    file.seek(0)
    file.truncate()
    file.write(pictures.listed)
    assert refusal(file).code == "upload_rejected"
    file.seek(0)
    file.write(bytes(len(pictures.listed)))
    forget_scan(file)
    UploadValidator()(file)  # zeros: no picture


def test_the_context_of_the_application_is_recorded_and_the_uploader_is_no_name(
    site: Any, pictures: Any
) -> None:
    with upload_context(route="avatar", uploader="user:7", reference="avatar/7"):
        refusal(upload(pictures.listed))
    ((route, uploader, reference),) = site.encounters("route, uploader_key, reference")
    assert (route, reference) == ("avatar", "avatar/7")
    assert uploader != b"7"
    assert len(uploader) >= 16


def test_a_policy_of_a_route_holds_for_the_view_of_that_name(site: Any, pictures: Any) -> None:
    with site.changed(policy={"routes": {"form": {"rules": {"matched_exact": "allow"}}}}):
        assert Client().post("/form/", {"image": upload(pictures.listed)}).status_code == 200
        assert Client().post("/modelform/", {"image": upload(pictures.listed)}).status_code == 400


def test_a_validator_can_be_written_into_a_migration() -> None:
    from django.db.migrations.writer import MigrationWriter

    written, imports = MigrationWriter.serialize(UploadValidator(route="avatar"))
    assert "iii_client.integrations.django.validators.UploadValidator(route='avatar')" in written
    assert imports == {"import iii_client.integrations.django.validators"}
    assert UploadValidator(route="a") == UploadValidator(route="a") != UploadValidator(route="b")


def test_a_serializer_of_rest_framework_takes_the_same_validator(site: Any, pictures: Any) -> None:
    serializers = pytest.importorskip("rest_framework.serializers")

    class PhotoSerializer(serializers.Serializer):  # type: ignore[misc, name-defined]
        image = serializers.ImageField(validators=[UploadValidator()])

    assert PhotoSerializer(data={"image": upload(pictures.innocent, "a.jpg")}).is_valid()
    refused = PhotoSerializer(data={"image": upload(pictures.listed)})
    assert not refused.is_valid()
    (error,) = refused.errors["image"]
    assert error.code == "upload_rejected"
    assert REFUSED.fullmatch(str(error))


def test_the_message_is_in_the_language_of_the_reader(site: Any, pictures: Any) -> None:
    from django.utils import translation

    error = refusal(upload(pictures.listed))
    with translation.override("nl"):
        assert error.messages[0].startswith("Dit bestand kan niet worden aangenomen.")
    with translation.override("en"):
        assert error.messages[0].startswith("This file cannot be taken.")
