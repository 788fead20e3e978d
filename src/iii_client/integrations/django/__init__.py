"""Django: uploads are checked where forms, models, serializers and storages take them. Extra `[django]`.

    INSTALLED_APPS += ["iii_client.integrations.django"]     # settings.py
    III_CLIENT = {"mode": "enforce", "contact": "abuse@host.example"}

    image = forms.ImageField(validators=[UploadValidator()])  # the one line in the upload path

| name | does |
|---|---|
| `validators.UploadValidator` | refuses in forms, models and serializers of Django REST framework |
| `storage.ScannedStorage` | the catch-all: whatever is stored is checked, by the admin and scripts too |
| `middleware.UploadMiddleware` | a neutral answer for `UploadRejected`; says who uploads, by which view |
| `uploads.HashingUploadHandler` | computes digests while an upload streams in |
| `signals` | `match_confirmed`, `match_pending`, `late_answer`, `alarm_raised` |
| `scanning.scan_upload` | for code of your own |

Promises: a file object is handed back as it was found; nothing is opened or connected before the first
upload, so that workers may be forked; what is recorded lies in the library's own store and survives a
rollback of the request; an upload that could not be looked at is never taken for an innocent one.
"""

from iii_client.errors import MissingExtraError

try:
    import django  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("the Django app", extra="django") from error
