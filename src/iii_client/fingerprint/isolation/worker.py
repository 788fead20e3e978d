"""The life of a worker: give everything up, look at one picture (or some, in a rescan of one's own), be gone.

Runs in a process that the helper forked. It never returns: it ends with `os._exit`, so that nothing of the
helper's is run or flushed twice.
"""

import io
import os
import struct
from collections.abc import Callable
from typing import BinaryIO

from iii_client.config import Limits
from iii_client.fingerprint.isolation.answers import pack_answer
from iii_client.fingerprint.isolation.confinement import Confinement, confine
from iii_client.fingerprint.isolation.questions import read_question
from iii_client.fingerprint.pixels import Looked
from iii_client.model import Reason, Recipe

#: Said first, before any picture came: which layers hold.
HELLO = struct.Struct("<4sH")
HELLO_MAGIC = b"III\x01"

#: What looks at a picture: `pixels.look_at`, or a test's double.
Look = Callable[..., Looked]

#: Bytes of a picture read at a time; sockets hold about as many.
_CHUNK_BYTES = 256 << 10


def work(
    descriptor: int, *, look: Look, confinement: Confinement, items: int, rehearse: Callable[[], None]
) -> None:
    """Answer up to `items` questions from a socket, then end this process.

    Args:
        rehearse: looks at a picture of our own. A forked process copies each page that it writes to, which
            takes longer than a small picture itself (2.4 ms measured); here nobody waits for it.
    """
    status = 1
    try:
        held = confine(confinement, items=items)
        rehearse()
        _write(descriptor, HELLO.pack(HELLO_MAGIC, held))
        for _ in range(items):
            if not _answer(descriptor, look):
                break
        status = 0
    finally:
        os._exit(status)


def _answer(descriptor: int, look: Look) -> bool:
    question = read_question(lambda n: _read(descriptor, n).read())
    if question is None:
        return False
    picture = _read(descriptor, question.size_bytes)
    looked = _looked(look, picture, question.kind, recipe=question.recipe, limits=question.limits)
    _write(descriptor, pack_answer(looked, question))
    return True


def _looked(look: Look, picture: BinaryIO, kind: str, *, recipe: Recipe, limits: Limits) -> Looked:
    try:
        return look(picture, kind, recipe=recipe, limits=limits)
    except MemoryError:
        # Outside of decoding: the frames before it are lost with it.
        return Looked.refused(Reason.DECODE_FAILED, MemoryError.__name__)


def _read(descriptor: int, size_bytes: int) -> io.BytesIO:
    """So many bytes, or fewer where the other side ended."""
    buffer = io.BytesIO()
    while (left := size_bytes - buffer.tell()) > 0 and (part := os.read(descriptor, min(left, _CHUNK_BYTES))):
        buffer.write(part)
    buffer.seek(0)
    return buffer


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
