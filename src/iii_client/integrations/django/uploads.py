"""An upload handler that computes digests while the upload streams in, so that the body is read once.

    FILE_UPLOAD_HANDLERS = ["iii_client.integrations.django.uploads.HashingUploadHandler"]

It stands for Django's two own handlers, to which it passes everything on. It only notes: a handler that stops
an upload leaves the view running with no files and no form data, and the view answers 200. What is refused
is refused by the validator or the storage, which take over what was noted here. Pixels are decoded there,
too, and not here: this runs before anybody has looked who uploads.
"""

from contextlib import suppress
from typing import Any

from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import (
    FileUploadHandler,
    MemoryFileUploadHandler,
    StopFutureHandlers,
    TemporaryFileUploadHandler,
)

from iii_client.fingerprint import FingerprintBuilder
from iii_client.integrations.django.client import get_scanner
from iii_client.integrations.django.scanning import start_hashing


class HashingUploadHandler(FileUploadHandler):
    """Digests what streams by. Small requests stay in memory, large ones go to a temporary file, as usual."""

    def __init__(self, request: Any = None) -> None:
        super().__init__(request)
        self._memory = MemoryFileUploadHandler(request)
        self._temporary = TemporaryFileUploadHandler(request)
        self._keeper: FileUploadHandler = self._temporary
        self._builder: FingerprintBuilder | None = None

    def handle_raw_input(self, *args: Any, **kwargs: Any) -> None:
        """Ask the handler of small requests whether this is one."""
        self._memory.handle_raw_input(*args, **kwargs)

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Start a file."""
        super().new_file(*args, **kwargs)
        self._keeper = self._memory if self._memory.activated else self._temporary
        # The future handler that it stops is the other one of the two, which is not asked.
        with suppress(StopFutureHandlers):
            self._keeper.new_file(*args, **kwargs)
        self._builder = get_scanner().start_fingerprint(keeps_bytes=False)

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Digest a chunk and keep it."""
        if self._builder is not None:
            self._builder.update(raw_data)
        self._keeper.receive_data_chunk(raw_data, start)

    def file_complete(self, file_size: int) -> "UploadedFile[Any] | None":
        """The file, with its digests noted on it."""
        file = self._keeper.file_complete(file_size)
        if file is not None and self._builder is not None:
            start_hashing(file, self._builder)
        self._builder = None
        return file

    def upload_interrupted(self) -> None:
        """The client is gone: nothing of the upload is kept."""
        self._builder = None
        self._keeper.upload_interrupted()
