"""A Django project in this process, its database in a file, and a practice service that lists a picture."""

import io
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

django = pytest.importorskip("django", reason="the extra [django] is not installed")

from django.conf import settings  # noqa: E402

from iii_client import Config, Updater  # noqa: E402
from iii_client.sandbox import Sandbox  # noqa: E402

CONTACT = "abuse@host.example"
SCANNED = "iii_client.integrations.django.storage.ScannedStorage"
_DATABASE_DIR = tempfile.TemporaryDirectory(prefix="iii-django-")


def configure_once() -> None:
    """Once a process: Django has one configuration."""
    sys.path.insert(0, str(Path(__file__).parent))
    settings.configure(
        DEBUG=False,
        SECRET_KEY="for tests",
        ALLOWED_HOSTS=["*"],
        USE_TZ=True,
        LANGUAGE_CODE="en",
        ROOT_URLCONF="upload_site.urls",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "iii_client.integrations.django",
            "upload_site",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "iii_client.integrations.django.middleware.UploadMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": f"{_DATABASE_DIR.name}/django.sqlite3",
                # What a careful project has: a view that raises leaves nothing in the database.
                "ATOMIC_REQUESTS": True,
            }
        },
        STORAGES={
            "default": {"BACKEND": SCANNED},
            "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
        },
        STATIC_URL="/static/",
        MEDIA_URL="/media/",
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        LOGGING_CONFIG=None,
    )
    django.setup()
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)


configure_once()


@dataclass(frozen=True)
class Pictures:
    """Harmless photographs, two of which the practice service lists."""

    listed: bytes
    innocent: bytes
    near: bytes


@pytest.fixture(scope="session")
def pictures(photographs: list[Path]) -> Pictures:
    def encoded(path: Path, picture_format: str, side: int = 400) -> bytes:
        with Image.open(path) as image:
            picture = image.convert("RGB")
        picture.thumbnail((side, side))
        data = io.BytesIO()
        picture.save(data, picture_format, quality=85)
        return data.getvalue()

    by_name = {path.name: path for path in photographs}
    return Pictures(
        listed=encoded(by_name["chelsea.png"], "PNG"),
        innocent=encoded(by_name["coffee.png"], "JPEG"),
        near=encoded(by_name["chelsea.png"], "JPEG", 360),
    )


@pytest.fixture(scope="session")
def practice(tmp_path_factory: pytest.TempPathFactory, pictures: Pictures) -> Iterator[Sandbox]:
    """The practice service; its client's state directory has the filter."""
    folder = tmp_path_factory.mktemp("practice")
    (folder / "listed").mkdir()
    (folder / "listed" / "chelsea.png").write_bytes(pictures.listed)
    with Sandbox.open(folder / "sandbox") as service:
        service.add_pictures([folder / "listed"])
        service.publish()
        service.start()
        config = Config.from_env(service.env)
        Updater(config.filter, config.state_dir).update()
        yield service


@dataclass
class Site:
    """The project of one test: its own state directory and media."""

    state_dir: Path
    media: Path
    client_settings: dict[str, Any] = field(default_factory=dict)

    def encounters(self, columns: str = "outcome, action") -> list[tuple[Any, ...]]:
        """Rows of the library's own store."""
        if not (self.state_dir / "state.db").exists():
            return []
        with sqlite3.connect(self.state_dir / "state.db") as db:
            return db.execute(f"SELECT {columns} FROM encounter ORDER BY at, id").fetchall()

    def stored(self) -> list[str]:
        """Names of all files in the project's storage."""
        return sorted(str(p.relative_to(self.media)) for p in self.media.rglob("*") if p.is_file())

    def down(self) -> Any:
        """The same while nobody listens at the service's address."""
        return self.changed(service={"url": "http://127.0.0.1:9"})

    def changed(self, **tables: Any) -> Any:
        """A context in which these settings are others; tables are merged."""
        from django.test import override_settings

        merged = dict(self.client_settings)
        for name, value in tables.items():
            merged[name] = {**merged.get(name, {}), **value} if isinstance(value, dict) else value
        return override_settings(III_CLIENT=merged)


@pytest.fixture
def site(practice: Sandbox, tmp_path: Path) -> Iterator[Site]:
    """An enforcing project over the practice service."""
    from django.apps import apps
    from django.test import override_settings

    env = practice.env
    state_dir, media = tmp_path / "state", tmp_path / "media"
    shutil.copytree(env["III_STATE_DIR"], state_dir)
    media.mkdir()
    client_settings = {
        "mode": "enforce",
        "state_dir": str(state_dir),
        "contact": CONTACT,
        # Pictures are harmless here; the tests of a real server decode as a hoster does, elsewhere.
        "isolation": "off",
        "filter": {
            "url": env["III_FILTER_URL"],
            "root": env["III_FILTER_ROOT"],
            "username": env["III_FILTER_USERNAME"],
            "password": env["III_FILTER_PASSWORD"],
        },
        "service": {
            "url": env["III_SERVICE_URL"],
            "username": env["III_SERVICE_USERNAME"],
            "password": env["III_SERVICE_PASSWORD"],
            # A loaded machine is not what is tested.
            "timeout_s": 10,
        },
    }
    with override_settings(III_CLIENT=client_settings, MEDIA_ROOT=str(media)):
        yield Site(state_dir=state_dir, media=media, client_settings=client_settings)
    for model in apps.get_app_config("upload_site").get_models():
        model._default_manager.all().delete()


@pytest.fixture
def admin_client(site: Site) -> Any:
    """Logged in as somebody who may do everything."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    user, _ = get_user_model()._default_manager.get_or_create(
        username="admin", defaults={"is_staff": True, "is_superuser": True}
    )
    client = Client()
    client.force_login(user)
    return client
