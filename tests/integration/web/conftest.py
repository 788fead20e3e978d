"""Multipart bodies written by hand, and what scans for tests that ask what each decision leads to."""

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from iii_client.content import Content
from iii_client.integrations.uploads import Uploads
from iii_client.model import (
    ANONYMOUS,
    Action,
    Decision,
    Fingerprint,
    Mode,
    Outcome,
    Recorded,
    ReleaseId,
    UploadContext,
    Verdict,
)

BOUNDARY = "iii-test-boundary"


class FixedScanner:
    """Not a scanner: it finds what it is told to find. For the table of (outcome, action) and its effect."""

    def __init__(self, outcome: Outcome, action: Action, recorded: Recorded) -> None:
        self.decision = Decision(
            action=action,
            ruled=action,
            rule="fixed",
            verdict=Verdict(
                outcome=outcome,
                fingerprint=Fingerprint(recipe="fast-v1", size_bytes=9, kind="png"),
                release=ReleaseId(epoch=1, sequence=0),
            ),
            mode=Mode.ENFORCE,
            encounter_id="e" if recorded is Recorded.RECORDED else "",
            case_reference="" if action is Action.ALLOW else "7K3M-Q2WF-9XTA",
            recorded=recorded,
        )
        self.contexts: list[UploadContext] = []

    def scan(self, content: Content, *, context: UploadContext = ANONYMOUS) -> Decision:
        assert content.size_bytes >= 0
        self.contexts.append(context)
        return self.decision


class HoldsNothing:
    """Not a quarantine: these tests hold nothing."""

    def hold(self, content: Content, encounter_id: str, origin: str = "") -> str:
        raise AssertionError("nothing is to be held")


FixedUploads = Callable[[Outcome, Action], Uploads]


@pytest.fixture
def fixed_uploads() -> FixedUploads:
    """Uploads under a scanner that finds what it is told to find."""

    def make(outcome: Outcome, action: Action) -> Uploads:
        scanner = FixedScanner(outcome, action, Recorded.RECORDED)
        return Uploads(scanner, quarantine=HoldsNothing(), contact="abuse@host.example")

    return make


#: Builds the body of a form by hand: name, file name (None for a plain field), bytes of each part.
Form = Callable[[list[tuple[str, str | None, bytes]]], tuple[bytes, str]]


@pytest.fixture
def form() -> Form:
    """Returns (body, content type)."""

    def make(parts: list[tuple[str, str | None, bytes]]) -> tuple[bytes, str]:
        body = b""
        for name, file_name, data in parts:
            head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"'
            if file_name is not None:
                head += f'; filename="{file_name}"\r\nContent-Type: application/octet-stream'
            body += head.encode() + b"\r\n\r\n" + data + b"\r\n"
        return body + f"--{BOUNDARY}--\r\n".encode(), f"multipart/form-data; boundary={BOUNDARY}"

    return make


Cut = Callable[[int, str, bytes, str, int], None]


@pytest.fixture
def send_part_of() -> Cut:
    """POST a body over a real connection, and hang up after so many bytes of it."""

    def send(port: int, path: str, body: bytes, content_type: str, sent_bytes: int) -> None:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(head.encode() + body[:sent_bytes])

    return send


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """Where the application under test stores what it takes."""
    folder = tmp_path / "board"
    folder.mkdir()
    return folder
