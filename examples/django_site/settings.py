"""A small picture site. What is there for iii_client is marked."""

import os
from pathlib import Path

DATA = Path(os.environ.get("SITE_DATA", Path(__file__).parent / "data"))

SECRET_KEY = os.environ.get("SITE_SECRET", "only for this example")
DEBUG = False
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
ROOT_URLCONF = "urls"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "photos",
    "iii_client.integrations.django",  # iii_client
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "iii_client.integrations.django.middleware.UploadMiddleware",  # iii_client
]
TEMPLATES = [
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
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "site.sqlite3",
        "ATOMIC_REQUESTS": True,
    }
}
MEDIA_ROOT = DATA / "media"
MEDIA_URL = "media/"
STATIC_URL = "static/"

# --- iii_client: mode, addresses and secrets come from III_* variables; what is public stands here ---------
III_CLIENT = {"contact": "abuse@pictures.example"}
FILE_UPLOAD_HANDLERS = ["iii_client.integrations.django.uploads.HashingUploadHandler"]
STORAGES = {
    "default": {
        "BACKEND": "iii_client.integrations.django.storage.ScannedStorage",
        # What is held is hidden until the service, or a person, has answered.
        "OPTIONS": {"held": "hide"},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
