"""The one file of a request: its raw body, or the one file of a multipart form. Spooled, bounded, timed.

Promises: never more than the limit is read; a form has one file, few and short fields, and short headers of
its parts, whatever it announces; a body that breaks off is an error, never a shorter file.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import BinaryIO

from iii_client.errors import IIIError, MissingExtraError
from iii_client.integrations.clamd import Patience

try:
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header
    from starlette.requests import ClientDisconnect, Request
except ModuleNotFoundError as error:
    raise MissingExtraError("the HTTP side of `iii-client serve`", extra="server") from error

#: Text fields of a form: `uploader`, `place`, `reference`, and what a page sends beside them.
MAX_FIELDS = 16
MAX_FIELD_BYTES = 4096
#: All headers of one part. The parser has limits of its own only in newer versions.
MAX_PART_HEADER_BYTES = 8192
#: What a form may have beside its file.
FORM_OVERHEAD_BYTES = 128 << 10


class BodyError(IIIError):
    """A request without exactly one whole file that is not too large.

    Attributes:
        status: of the response.
        code: for programs.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(slots=True)
class Upload:
    """What came: the file is written where `take` was told to; these are the form's text fields."""

    fields: dict[str, str] = field(default_factory=dict)


async def take(request: Request, spool: BinaryIO, *, max_bytes: int, patience: Patience) -> Upload:
    """Read the one file of a request into `spool`, and put that back to its start.

    Raises:
        BodyError: there is no file, or more than one, or it is too large, or no form that can be read.
        TimeoutError: the client is too slow.
        ClientDisconnect: it went away.
        OSError: there is no room to keep it.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    upload = Upload()
    async with asyncio.timeout(patience.stream_s):
        if kind == b"multipart/form-data":
            form = _OneFileForm(options.get(b"boundary", b""), spool, upload, max_bytes=max_bytes)
            async for part in _body(request, max_bytes + FORM_OVERHEAD_BYTES, patience):
                form.feed(part)
            form.finish()
        elif kind == b"application/x-www-form-urlencoded":
            # What an HTML form without an enctype sends: the name of the file and nothing of it. It must not
            # be looked at as if it were the file. curl says so of --data-binary, too, unless told otherwise.
            raise BodyError(415, "not_a_file", "send multipart/form-data, or application/octet-stream")
        else:
            async for part in _body(request, max_bytes, patience):
                spool.write(part)
            if not spool.tell():
                raise BodyError(400, "no_file", "the request has no body")
    spool.seek(0)
    return upload


async def read_small(request: Request, *, max_bytes: int, patience: Patience) -> bytes:
    """A body that is kept in memory. Raises as `take` does."""
    async with asyncio.timeout(patience.stream_s):
        return b"".join([part async for part in _body(request, max_bytes, patience)])


def too_large(max_bytes: int) -> BodyError:
    """The refusal of what is over a limit: not looked at."""
    return BodyError(413, "too_large", f"larger than {max_bytes} bytes; it was not looked at")


async def _body(request: Request, max_bytes: int, patience: Patience) -> AsyncIterator[bytes]:
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > max_bytes:
        raise too_large(max_bytes)
    left = max_bytes
    while True:
        async with asyncio.timeout(patience.piece_s):
            message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        left -= len(part)
        if left < 0:
            raise too_large(max_bytes)
        if part:
            yield part
        if not message.get("more_body", False):
            return


class _OneFileForm:
    """A multipart form, parsed as it comes."""

    def __init__(self, boundary: bytes, spool: BinaryIO, upload: Upload, *, max_bytes: int) -> None:
        if not boundary:
            raise _malformed()
        self._spool = spool
        self._upload = upload
        self._left = max_bytes
        self._max_bytes = max_bytes
        self._files = self._parts = self._headers_left = 0
        self._header = self._value = b""
        self._disposition = b""
        self._name = ""
        self._field: bytearray | None = None
        self._complete = False
        callbacks: dict[str, Callable[..., None]] = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]
        except FormParserError as error:
            raise _malformed() from error

    def feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed() from error

    def finish(self) -> None:
        if not self._complete:
            raise _malformed()
        if not self._files:
            raise BodyError(400, "no_file", "the form has no file")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MAX_FIELDS + 1:
            raise BodyError(400, "too_many_parts", f"the form has more than {MAX_FIELDS} fields and a file")
        self._disposition = b""
        self._headers_left = MAX_PART_HEADER_BYTES

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count_header(end - start)
        self._value += data[start:end]

    def _count_header(self, count: int) -> None:
        self._headers_left -= count
        if self._headers_left < 0:
            raise _malformed()

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _headers_end(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        file_name = options.get(b"filename")
        self._field = bytearray() if not file_name else None
        if file_name:
            self._files += 1
            if self._files > 1:
                raise BodyError(400, "too_many_files", "one file a request")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._field is None:
            self._left -= end - start
            if self._left < 0:
                raise too_large(self._max_bytes)
            self._spool.write(data[start:end])
            return
        if len(self._field) + end - start > MAX_FIELD_BYTES:
            raise BodyError(413, "field_too_large", f"a field has more than {MAX_FIELD_BYTES} bytes")
        self._field += data[start:end]

    def _part_end(self) -> None:
        if self._field is not None:
            self._upload.fields[self._name] = self._field.decode("utf-8", "replace")

    def _end(self) -> None:
        self._complete = True


def _malformed() -> BodyError:
    return BodyError(400, "malformed_form", "this is no multipart form, or it breaks off")
