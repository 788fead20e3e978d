"""System checks: what is said before an upload does."""

from pathlib import Path
from typing import Any

import pytest
from django.test import override_settings

from iii_client.integrations.django.checks import check_client

MIDDLEWARE = "iii_client.integrations.django.middleware.UploadMiddleware"


def ids() -> list[str]:
    return [str(message.id) for message in check_client()]


def test_a_project_that_is_set_up_hears_of_its_secrets_alone(site: Any) -> None:
    messages = check_client()
    assert [message.id for message in messages] == ["iii.W003", "iii.W003"]
    assert "III_SERVICE_PASSWORD_FILE" in str(messages[0].hint)
    assert not any(site.client_settings["service"]["password"] in str(message) for message in messages)


def test_secrets_from_the_environment_are_where_they_belong(
    site: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is this process's own, so it is set here, as a shell does."""
    clean = {
        key: dict(value) if isinstance(value, dict) else value for key, value in site.client_settings.items()
    }
    for table, variable in (("service", "III_SERVICE_PASSWORD_FILE"), ("filter", "III_FILTER_PASSWORD_FILE")):
        (tmp_path / table).write_text(clean[table].pop("password"))
        monkeypatch.setenv(variable, str(tmp_path / table))
    with override_settings(III_CLIENT=clean):
        assert ids() == []


def test_without_a_mode_both_are_explained(site: Any) -> None:
    with override_settings(III_CLIENT={}):
        (message,) = check_client()
    assert message.id == "iii.E004"
    assert "shadow" in str(message.hint)
    assert "enforce" in str(message.hint)


@pytest.mark.parametrize("given", [{"mode": "enforce", "servce": {}}, {"mode": "loud"}, "enforce"])
def test_a_setting_that_is_wrong_is_named(site: Any, given: Any) -> None:
    with override_settings(III_CLIENT=given):
        (message,) = check_client()
    assert message.id == "iii.E005"
    assert message.hint


def test_without_a_filter_and_without_a_way_to_get_one_it_is_an_error(site: Any, tmp_path: Path) -> None:
    with override_settings(
        III_CLIENT={"mode": "enforce", "state_dir": str(tmp_path / "new"), "contact": "x"}
    ):
        (message,) = check_client()
    assert (message.id, message.is_serious()) == ("iii.E001", True)
    assert "III_FILTER_URL" in str(message.hint)


def test_a_filter_that_only_has_to_be_fetched_is_a_warning_so_that_migrate_runs(
    site: Any, tmp_path: Path
) -> None:
    with site.changed(state_dir=str(tmp_path / "new")):
        assert "iii.W006" in ids()
        assert "iii.E001" not in ids()


def test_what_lets_uploads_through_is_named_in_production_alone(site: Any) -> None:
    with site.changed(policy={"rules": {"unconfirmed_no_answer": "allow"}}, mode="shadow"):
        said = [str(message) for message in check_client() if message.id == "iii.W002"]
        with override_settings(DEBUG=True):
            assert "iii.W002" not in ids()
    assert len(said) == 2
    assert any("unconfirmed_no_answer" in text for text in said)
    assert any("is shadow" in text for text in said)


def test_a_storage_that_refuses_wants_the_middleware(site: Any) -> None:
    with override_settings(MIDDLEWARE=[]):
        assert "iii.W007" in ids()
        with override_settings(
            STORAGES={"default": {"BACKEND": "django.core.files.storage.FileSystemStorage"}}
        ):
            assert "iii.W007" not in ids()


def test_a_refused_uploader_needs_somebody_to_turn_to(site: Any) -> None:
    with site.changed(contact=""):
        assert "iii.W008" in ids()


def test_no_migration_is_missing(site: Any) -> None:
    from django.core.management import call_command

    call_command("makemigrations", "iii_client", check=True, dry_run=True, verbosity=0)
