"""A storage around another one: whatever is saved through it is checked first, by whichever way it comes.

    STORAGES = {
        "default": {
            "BACKEND": "iii_client.integrations.django.storage.ScannedStorage",
            "OPTIONS": {"storage": {"BACKEND": "django.core.files.storage.FileSystemStorage"}},
        },
        ...
    }

The catch-all for the admin, scripts and libraries that know no validator. What the policy allows is stored;
what it blocks raises `UploadRejected`, and so does, by default, what it holds. With `"held": "hide"` a held
file is sealed in the quarantine instead and its name given out: nobody can open it, and a late "not listed"
puts it where that name leads to.
"""

from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from os import PathLike
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import IO, Any, cast

from django.core.exceptions import ImproperlyConfigured
from django.core.files.base import File
from django.core.files.storage import FileSystemStorage, Storage, storages
from django.core.files.utils import validate_file_name
from django.utils.deconstruct import deconstructible

from iii_client.content import IN_MEMORY_MAX_BYTES, READ_CHUNK_BYTES, Content
from iii_client.errors import ContentError, RecordError
from iii_client.integrations.django.client import get_config, get_parts
from iii_client.integrations.django.context import current_context
from iii_client.integrations.django.scanning import innermost, note_reference, scan_upload
from iii_client.integrations.rejection import UploadRejected
from iii_client.model import Action, Decision

_FILE_SYSTEM = "django.core.files.storage.FileSystemStorage"
#: Django's default for FILE_UPLOAD_PERMISSIONS.
_USUAL_MODE = 0o644


@deconstructible(path="iii_client.integrations.django.storage.ScannedStorage")
class ScannedStorage(Storage):
    """Checks what is saved; everything else goes to the storage inside, which it resembles.

    Args:
        storage: the storage inside: a `STORAGES` entry (`{"BACKEND": ..., "OPTIONS": ...}`) or an instance;
            Django's file system storage unless given.
        held: `refuse` (default) or `hide`: what becomes of a file that the policy holds. `hide` needs
            local files: a `FileSystemStorage` inside.

    Raises:
        ImproperlyConfigured: another word for `held`, or a storage that cannot hide.
    """

    def __init__(self, storage: Storage | dict[str, Any] | None = None, held: str = "refuse") -> None:
        if held not in {"refuse", "hide"}:
            raise ImproperlyConfigured(f"ScannedStorage: held must be refuse or hide; it is {held!r}")
        given = {"BACKEND": _FILE_SYSTEM} if storage is None else storage
        self.inside = given if isinstance(given, Storage) else storages.create_storage(given)
        self._hides = held == "hide"
        if self._hides and not isinstance(self.inside, FileSystemStorage):
            raise ImproperlyConfigured("ScannedStorage: held='hide' needs a FileSystemStorage inside")

    def save(self, name: str | None, content: IO[Any], max_length: int | None = None) -> str:
        """Check, then store.

        Raises:
            UploadRejected: it is not to be stored.
            ConfigurationError: the settings of the client are wrong.
        """
        name = content.name if name is None else name
        file = content if isinstance(content, File) else File(content, name)
        with ExitStack() as stack:
            file = _rewindable(file, stack)
            available = self.inside.get_available_name(name or "", max_length=max_length)
            context = current_context()
            if not self._hides:
                # Otherwise the name depends on the decision, and is noted after it.
                context = replace(context, reference=available)
            decision = scan_upload(file, context=context)
            if decision.allowed:
                stored = self.inside.save(available, file, max_length=max_length)
                note_reference(file, stored)
                return stored
            rejected = UploadRejected(decision, contact=get_config().contact)
            if decision.action is not Action.QUARANTINE or not self._hides:
                raise rejected
            try:
                return self._hide(file, available, decision, max_length)
            except (RecordError, ContentError) as error:
                # It can neither be held nor stored: the uploader may try again.
                raise rejected from error

    def hold(self, name: str, encounter_id: str) -> str:
        """Move a stored file into the quarantine: what a late answer wants taken down.

        Args:
            name: in this storage.
            encounter_id: of the decision or the late answer.

        Returns:
            Id of the held file.

        Raises:
            RecordError, ContentError: it could not be moved; it is where it was, or on its way (a second call
                goes on).
            NotImplementedError: the storage inside has no local files.
        """
        path = self.path(name)
        with Content.from_path(path) as content:
            return get_parts().quarantine.hold(content, encounter_id, path, move=True)

    def _hide(self, file: "File[Any]", name: str, decision: Decision, max_length: int | None) -> str:
        # Nothing keeps a name for a file that is not there: a random part keeps two uploads apart.
        wanted = PurePosixPath(name.replace("\\", "/"))
        alternative = self.inside.get_alternative_name(wanted.stem, wanted.suffix)
        hidden = self.inside.get_available_name(str(wanted.with_name(alternative)), max_length=max_length)
        validate_file_name(hidden, allow_relative_path=True)
        path = Path(self.inside.path(hidden))
        if not decision.encounter_id:
            raise RecordError("what is not recorded cannot be held")
        _make_folder(path.parent, getattr(self.inside, "directory_permissions_mode", None))
        with Content.from_file(cast(Any, innermost(file))) as content:
            get_parts().quarantine.hold(
                content,
                decision.encounter_id,
                str(path),
                mode=getattr(self.inside, "file_permissions_mode", None) or _USUAL_MODE,
            )
        note_reference(file, hidden)
        return hidden

    # --- everything else is the storage inside ----------------------------------------------------------

    def __getattr__(self, name: str) -> Any:
        if name == "inside":  # not there yet while an instance is copied
            raise AttributeError(name)
        return getattr(self.inside, name)

    def open(self, name: str, mode: str = "rb") -> "File[Any]":
        return self.inside.open(name, mode)

    def get_valid_name(self, name: str) -> str:
        return self.inside.get_valid_name(name)

    def get_alternative_name(self, file_root: str, file_ext: str) -> str:
        return self.inside.get_alternative_name(file_root, file_ext)

    def get_available_name(self, name: str, max_length: int | None = None) -> str:
        return self.inside.get_available_name(name, max_length=max_length)

    def generate_filename(self, filename: str | PathLike[str]) -> str:
        return self.inside.generate_filename(filename)

    def path(self, name: str) -> str:
        return self.inside.path(name)

    def delete(self, name: str) -> None:
        self.inside.delete(name)

    def exists(self, name: str) -> bool:
        return self.inside.exists(name)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        return self.inside.listdir(path)

    def size(self, name: str) -> int:
        return self.inside.size(name)

    def url(self, name: str | None) -> str:
        return self.inside.url(name)

    def get_accessed_time(self, name: str) -> datetime:
        return self.inside.get_accessed_time(name)

    def get_created_time(self, name: str) -> datetime:
        return self.inside.get_created_time(name)

    def get_modified_time(self, name: str) -> datetime:
        return self.inside.get_modified_time(name)


def _rewindable(file: "File[Any]", stack: ExitStack) -> "File[Any]":
    """The file, or what is left of a stream in an unnamed temporary file: it is read twice, to check it and
    to store it."""
    upload = innermost(file)
    if upload.closed or upload.seekable():
        return file
    spool = stack.enter_context(SpooledTemporaryFile(max_size=IN_MEMORY_MAX_BYTES))  # noqa: SIM115
    while part := upload.read(READ_CHUNK_BYTES):
        spool.write(part)
    spool.seek(0)
    return File(cast(IO[bytes], spool), upload.name)


def _make_folder(path: Path, mode: int | None) -> None:
    """As Django's own storage makes it: the web server must be able to enter it once the file comes back."""
    try:
        missing = [folder for folder in (path, *path.parents) if not folder.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            if mode is not None:
                folder.chmod(mode)
    except OSError as error:
        raise RecordError(f"the folder of a held file cannot be made: {error.strerror}") from error
