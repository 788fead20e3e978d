"""System checks: what `manage.py check` says about the settings, before an upload does. Nothing is connected.

| id | says |
|---|---|
| `iii.E001` | there is no filter, and no way to get one |
| `iii.W002` | in production, a setting lets uploads through unseen |
| `iii.W003` | a password stands in the settings |
| `iii.E004` | no mode is set |
| `iii.E005` | a setting is unknown or malformed |
| `iii.W006` | the filter is not installed yet, or has expired |
| `iii.W007` | the storage refuses, and no middleware makes an answer of it |
| `iii.W008` | a refused uploader is told no contact |
"""

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.core import checks
from django.utils.module_loading import import_string

from iii_client.config import NO_MODE, Config
from iii_client.decide.lint import lint
from iii_client.errors import FilterError, IIIError
from iii_client.integrations.django.client import SETTING, get_config, own_settings
from iii_client.model import Freshness, freshness

TAG = "iii_client"

#: Settings that are secrets, and the variables whose `_FILE` twin is their place.
_SECRETS = {
    ("service", "password"): "III_SERVICE_PASSWORD",
    ("filter", "password"): "III_FILTER_PASSWORD",
    ("notify", "webhook_key"): "III_WEBHOOK_KEY",
    ("records", "database"): "III_DATABASE_URL",
}


def register_all() -> None:
    """Register every check once."""
    checks.register(check_client, TAG)


def check_client(**_: Any) -> list[checks.CheckMessage]:
    """Everything that can be said without asking anybody."""
    try:
        config = get_config()
    except IIIError as error:
        number = "E004" if str(error) == NO_MODE else "E005"
        return [checks.Error(f"iii_client: {error}", hint=error.hint or None, id=f"iii.{number}")]
    parts: tuple[Callable[[Config], Iterator[checks.CheckMessage]], ...] = (
        _filter,
        _open_doors,
        _secrets,
        _middleware,
        _contact,
    )
    return [message for part in parts for message in part(config)]


def _filter(config: Config) -> Iterator[checks.CheckMessage]:
    if config.filter.bypassed:
        return
    from iii_client.updates import FilterStore

    try:
        release = FilterStore(config.state_dir).installed()
    except FilterError as error:
        if config.filter.url and config.filter.root:
            yield checks.Warning(
                f"iii_client: {error}; until there is one, no upload can be called innocent",
                hint="Run: manage.py iii_filter_update (and put it into a timer).",
                id="iii.W006",
            )
        else:
            yield checks.Error(
                "iii_client: there is no filter, and no way to get one",
                hint="Ask your service for the address of its filter and its root.json, and set filter.url "
                "and filter.root (III_FILTER_URL, III_FILTER_ROOT).",
                id="iii.E001",
            )
        return
    if freshness(release.signed_at, now=datetime.now(UTC)) is Freshness.EXPIRED:
        yield checks.Warning(
            "iii_client: the installed filter has expired: its silence proves nothing any more",
            hint="Run: manage.py iii_filter_update (and put it into a timer).",
            id="iii.W006",
        )


def _open_doors(config: Config) -> Iterator[checks.CheckMessage]:
    if settings.DEBUG:
        return
    try:
        findings = lint(config.policy, guard=config.guard, mode=config.mode)
    except IIIError as error:
        yield checks.Error(f"iii_client: {error}", hint=error.hint or None, id="iii.E005")
        return
    for finding in findings:
        yield checks.Warning(
            f"iii_client: {finding.where} {finding.says}", hint=finding.todo or None, id="iii.W002"
        )


def _secrets(_config: Config) -> Iterator[checks.CheckMessage]:
    given = own_settings()
    for (table, key), variable in _SECRETS.items():
        values = given.get(table)
        if isinstance(values, Mapping) and isinstance(values.get(key), str) and values[key]:
            yield checks.Warning(
                f"iii_client: {SETTING}[{table!r}][{key!r}] is a secret in the settings, which end up in "
                "version control and on debug pages",
                hint=f"Leave it out, and name a file in the environment variable {variable}_FILE.",
                id="iii.W003",
            )


def _middleware(_config: Config) -> Iterator[checks.CheckMessage]:
    from iii_client.integrations.django.middleware import UploadMiddleware
    from iii_client.integrations.django.storage import ScannedStorage

    refuses = any(_is_a(options["BACKEND"], ScannedStorage) for options in settings.STORAGES.values())
    if refuses and not any(_is_a(path, UploadMiddleware) for path in settings.MIDDLEWARE):
        yield checks.Warning(
            "iii_client: the storage refuses uploads, and without the middleware a refusal is a server error",
            hint="Add iii_client.integrations.django.middleware.UploadMiddleware to MIDDLEWARE.",
            id="iii.W007",
        )


def _contact(config: Config) -> Iterator[checks.CheckMessage]:
    if not config.contact:
        yield checks.Warning(
            "iii_client: a refused uploader is told no contact, and can object to nobody",
            hint=f"Set {SETTING}['contact'] (III_CONTACT), e.g. to an address of your own.",
            id="iii.W008",
        )


def _is_a(path: object, kind: type) -> bool:
    try:
        found = import_string(str(path))
    except ImportError:
        return False  # Django's own checks name it
    return isinstance(found, type) and issubclass(found, kind)
