"""The host's side of one worker: ask, wait for exactly one record, learn how it ended, end it."""

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass
from typing import BinaryIO

from iii_client.content import READ_CHUNK_BYTES
from iii_client.errors import UnreadableContentError
from iii_client.fingerprint.isolation.answers import BadAnswerError, answer_bytes, parse_answer
from iii_client.fingerprint.isolation.confinement import Layer
from iii_client.fingerprint.isolation.helper import FATE
from iii_client.fingerprint.isolation.launching import NO_SIGNAL
from iii_client.fingerprint.isolation.questions import Question, pack_question
from iii_client.fingerprint.isolation.worker import HELLO, HELLO_MAGIC
from iii_client.fingerprint.pixels import Looked
from iii_client.model import Reason

#: The helper answers at once when it is asked for a fate; it is gone if it does not.
_FATE_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """How a worker ended.

    Attributes:
        exit_code: as `Popen.returncode`: minus a signal's number where one ended it.
        largest_memory_bytes: resident, with what it shares with the helper.
        cpu_s: CPU time of its whole life.
    """

    exit_code: int
    largest_memory_bytes: int
    cpu_s: float


class WorkerLostError(Exception):
    """No usable answer, for a reason that goes into the fingerprint."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


class HelperGoneError(Exception):
    """The worker is gone, and so is the helper: no fault of the picture, as far as is known."""


class HiredWorker:
    """A worker, for a given number of pictures, one after the other. For one thread at a time."""

    def __init__(self, worker: socket.socket, fate: socket.socket, *, items: int) -> None:
        self._worker = worker
        self._fate = fate
        self._items_left = items
        self._held: Layer | None = None

    @property
    def is_used_up(self) -> bool:
        """Whether it has seen all the pictures that it was hired for."""
        return self._items_left <= 0

    def ask(self, question: Question, picture: BinaryIO, *, deadline_s: float) -> None:
        """Send a question and its picture. That the worker is gone is found when the answer is waited for.

        Args:
            deadline_s: on `time.monotonic`.

        Raises:
            ContentError: the picture could not be read to its end.
        """
        self._items_left -= 1
        # In one piece with the first bytes: a worker that is woken once is woken half as often.
        ahead, left = pack_question(question), question.size_bytes
        listening = True
        while ahead or left > 0:
            part = picture.read(min(left, READ_CHUNK_BYTES))
            if left > 0 and not part:
                raise UnreadableContentError("the content ended before its length")
            left -= len(part)
            if listening:
                listening = self._send(ahead + part, deadline_s)
            ahead = b""
            if not listening:
                return

    def answer(self, question: Question, *, deadline_s: float) -> Looked:
        """Wait for the answer.

        Raises:
            WorkerLostError: it died, took too long, or answered nonsense.
            HelperGoneError: it is gone without a fate.
        """
        self.held(deadline_s=deadline_s)
        record = self._receive(answer_bytes(question.recipe), deadline_s)
        try:
            return parse_answer(record, question)
        except BadAnswerError as error:
            raise WorkerLostError(Reason.DECODER_CRASHED, str(error)) from error

    def held(self, *, deadline_s: float) -> Layer:
        """The layers that hold for this worker.

        Raises:
            as `answer`.
        """
        if self._held is None:
            magic, layers = HELLO.unpack(self._receive(HELLO.size, deadline_s))
            if magic != HELLO_MAGIC:
                raise WorkerLostError(Reason.DECODER_CRASHED, "a wrong greeting")
            self._held = Layer(layers)
        return self._held

    def fate(self) -> Fate | None:
        """End it, and learn how it ended: by itself, or by this. None where the helper is gone."""
        data = b""
        with contextlib.suppress(OSError):
            self._fate.shutdown(socket.SHUT_WR)
            self._fate.settimeout(_FATE_TIMEOUT_S)
            data = self._fate.recv(FATE.size, socket.MSG_WAITALL)
        if len(data) != FATE.size:
            return None
        exit_code, memory, cpu_us = FATE.unpack(data)
        return Fate(exit_code=exit_code, largest_memory_bytes=memory, cpu_s=cpu_us / 1e6)

    def end(self) -> None:
        """Have it ended now, whatever it does. Harmless if it was before."""
        self.interrupt()
        self.forget()

    def interrupt(self) -> None:
        """Have it ended now, from any thread: who waits for its answer finds it gone."""
        # Not merely closed: a process that was forked from this one may hold the sockets too.
        for end in (self._fate, self._worker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def forget(self) -> None:
        """Leave it to the process that hired it: this one was forked from that."""
        self._fate.close()
        self._worker.close()

    def _send(self, data: bytes, deadline_s: float) -> bool:
        try:
            self._worker.settimeout(max(deadline_s - time.monotonic(), 0.001))
            self._worker.sendall(data, NO_SIGNAL)
        except OSError:
            return False
        return True

    def _receive(self, size: int, deadline_s: float) -> bytes:
        """Exactly so many bytes."""
        parts = bytearray()
        while len(parts) < size:
            try:
                self._worker.settimeout(max(deadline_s - time.monotonic(), 0.001))
                part = self._worker.recv(size - len(parts))
            except TimeoutError:
                self.fate()
                raise WorkerLostError(Reason.DECODE_TIMEOUT, "it took too long") from None
            except OSError:
                part = b""
            if not part:
                raise self._lost()
            parts += part
        return bytes(parts)

    def _lost(self) -> Exception:
        fate = self.fate()
        if fate is None:
            return HelperGoneError()
        if fate.exit_code == -signal.SIGXCPU:
            return WorkerLostError(Reason.DECODE_TIMEOUT, "it took too much CPU time")
        return WorkerLostError(Reason.DECODER_CRASHED, f"the decoder ended: {_name(fate.exit_code)}")


def _name(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-exit_code).name
    return f"signal {-exit_code}"


def new_nonce() -> bytes:
    """What no worker can know before it is asked."""
    return os.urandom(16)
