"""One large upload through handler, form and storage, in a process of its own: what it adds to its memory.

python large_upload.py CLIENT_SETTINGS_AS_JSON MEDIA_ROOT BYTES
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import django
from django.conf import settings

CLIENT, MEDIA, SIZE = sys.argv[1], sys.argv[2], int(sys.argv[3])

sys.path.insert(0, str(Path(__file__).parent))
settings.configure(
    ROOT_URLCONF="upload_site.urls",
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    LOGGING_CONFIG=None,
    MEDIA_ROOT=MEDIA,
    FILE_UPLOAD_TEMP_DIR=MEDIA,
    FILE_UPLOAD_HANDLERS=["iii_client.integrations.django.uploads.HashingUploadHandler"],
    STORAGES={"default": {"BACKEND": "iii_client.integrations.django.storage.ScannedStorage"}},
    INSTALLED_APPS=[
        "django.contrib.admin",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.messages",
        "django.contrib.sessions",
        "iii_client.integrations.django",
        "upload_site",
    ],
    III_CLIENT=json.loads(CLIENT),
)
django.setup()

from django.core.handlers.wsgi import WSGIRequest  # noqa: E402
from django.urls import resolve  # noqa: E402

HEAD = b'--B\r\nContent-Disposition: form-data; name="image"; filename="x.bin"\r\n\r\n'
TAIL = b"\r\n--B--\r\n"


class Body:
    """A multipart body that is made while it is read."""

    def __init__(self, size: int) -> None:
        self.length = len(HEAD) + size + len(TAIL)
        self._size = size
        self._at = 0

    def read(self, n: int = -1) -> bytes:
        end = min(self._at + n, self.length)
        start, self._at = self._at, end
        inside = max(0, min(end, len(HEAD) + self._size) - max(start, len(HEAD)))
        return (
            HEAD[start:end]
            + b"x" * inside
            + TAIL[max(0, start - len(HEAD) - self._size) :][
                : max(0, end - max(start, len(HEAD) + self._size))
            ]
        )

    def readline(self, n: int = -1) -> bytes:
        raise NotImplementedError


def post(size: int) -> Any:
    body = Body(size)
    request = WSGIRequest(
        {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/form/",
            "SERVER_NAME": "x",
            "SERVER_PORT": "80",
            "CONTENT_TYPE": "multipart/form-data; boundary=B",
            "CONTENT_LENGTH": str(body.length),
            "wsgi.input": body,
        }
    )
    answer = resolve("/form/").func(request)
    request.close()
    return answer


def peak_bytes() -> int:
    """Since the last reset, without which a peak of the imports would hide everything."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


for _ in range(2):
    post(5_000_000)
before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
Path("/proc/self/clear_refs").write_text("5")
answer = post(SIZE)
print(json.dumps({"status": answer.status_code, "added": peak_bytes() - before}))  # noqa: T201
