"""Digests: MD5, SHA-1 and SHA-256 of the exact bytes, in one pass.

Existing lists hold all three, so all three are computed; none is used here for security. hashlib
releases the interpreter lock, so a large file's digests run in a thread beside its decoding.
"""

import functools
import hashlib
import threading
from collections.abc import Callable
from typing import BinaryIO

from iii_client.content import IN_MEMORY_MAX_BYTES, Content
from iii_client.errors import ContentError, UnreadableContentError
from iii_client.model import Algorithm, HashValue

#: Each chunk goes through three hash functions, so it should still be in the second-level cache for the
#: last one.
CHUNK_BYTES = 256 << 10

#: Below this, starting a thread (about 0.1 ms) costs more than hashing beside the decoder saves.
THREAD_FROM_BYTES = 128 << 10

_ALGORITHMS = (Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256)


class Digester:
    """Feed chunks to `update`, then take `digests()`.

    Args:
        sha256: of the same bytes, if it is known already; then only the others are computed.
    """

    def __init__(self, *, sha256: HashValue | None = None) -> None:
        self._known = {} if sha256 is None else {Algorithm.SHA256: sha256}
        # usedforsecurity=False: a FIPS build of OpenSSL refuses MD5 otherwise.
        self._states = {
            algorithm: hashlib.new(algorithm.value, usedforsecurity=False)
            for algorithm in _ALGORITHMS
            if algorithm not in self._known
        }

    def update(self, chunk: bytes | bytearray | memoryview) -> None:
        """Hash the next bytes."""
        for state in self._states.values():
            state.update(chunk)

    def digests(self) -> tuple[HashValue, ...]:
        """MD5, SHA-1 and SHA-256 of everything so far."""
        return tuple(
            self._known.get(algorithm)
            or HashValue(algorithm=algorithm, value=self._states[algorithm].digest())
            for algorithm in _ALGORITHMS
        )


def early_sha256(content: Content) -> HashValue | None:
    """SHA-256 alone, for a look into a memory of what was seen before.

    Returns:
        None when it cannot be read, or is so large that it would be read from its source twice.
    """
    try:
        if content.size_bytes > IN_MEMORY_MAX_BYTES:
            return None
        with content.open() as stream:
            state = hashlib.new(Algorithm.SHA256.value, usedforsecurity=False)
            while chunk := stream.read(CHUNK_BYTES):
                state.update(chunk)
    except ContentError:
        # Whoever builds the fingerprint meets the same, and says so.
        return None
    return HashValue(algorithm=Algorithm.SHA256, value=state.digest())


def digest_stream(stream: BinaryIO, *, sha256: HashValue | None = None) -> tuple[HashValue, ...]:
    """MD5, SHA-1 and SHA-256 of a stream from its position to its end, in chunks."""
    digester = Digester(sha256=sha256)
    while chunk := stream.read(CHUNK_BYTES):
        digester.update(chunk)
    return digester.digests()


def start_digests(
    content: Content, size_bytes: int, *, in_thread: bool = True, sha256: HashValue | None = None
) -> Callable[[], tuple[HashValue, ...]]:
    """Begin hashing a content; call the result, as often as wanted, to wait for the digests.

    Small content is hashed when it is first asked for, large content in a thread meanwhile.

    Args:
        in_thread: False where this thread has nothing better to do: all content is hashed when asked for.
        sha256: of the same bytes, if it is known already.

    Raises (from the returned function):
        ContentError: the content could not be read to its end.
    """
    if size_bytes < THREAD_FROM_BYTES or not in_thread:
        return functools.cache(lambda: _digest_content(content, sha256))
    outcome: list[tuple[HashValue, ...] | ContentError] = []

    def work() -> None:
        try:
            outcome.append(_digest_content(content, sha256))
        except ContentError as error:
            outcome.append(error)

    thread = threading.Thread(target=work, name="iii-digests", daemon=True)
    try:
        thread.start()
    except RuntimeError:  # no more threads may be started here
        return functools.cache(lambda: _digest_content(content, sha256))

    def wait() -> tuple[HashValue, ...]:
        thread.join()
        result = outcome[0] if outcome else UnreadableContentError("the digests could not be computed")
        if isinstance(result, ContentError):
            raise result
        return result

    return wait


def _digest_content(content: Content, sha256: HashValue | None) -> tuple[HashValue, ...]:
    with content.open() as stream:
        return digest_stream(stream, sha256=sha256)
