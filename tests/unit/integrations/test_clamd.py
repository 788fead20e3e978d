"""clamd's protocol against bytes: framing, limits, replies; no scanner."""

import asyncio
import struct
from collections.abc import Callable
from typing import Any, BinaryIO

import pytest

from iii_client.integrations.clamd import (
    BUSY_REPLY,
    NOT_DECIDED_REPLY,
    OK_REPLY,
    SIZE_LIMIT_REPLY,
    ClamdRules,
    Patience,
    Stage,
    converse,
    reply_of,
)
from iii_client.integrations.sidecar.desk import Desk
from iii_client.model import (
    ANONYMOUS,
    NO_RELEASE,
    Action,
    Decision,
    Fingerprint,
    Mode,
    Outcome,
    UploadContext,
    Verdict,
)

MAX_BYTES = 1000


class Wire:
    """Stands for a StreamWriter: keeps what was sent."""

    def __init__(self) -> None:
        self.sent = b""
        self.closed = False

    def write(self, data: bytes) -> None:
        self.sent += data

    async def drain(self) -> None: ...

    def can_write_eof(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True

    async def wait_closed(self) -> None: ...


class Scans:
    """Never asked here."""

    def scan(self, content: object, *, context: UploadContext = ANONYMOUS) -> Decision:
        raise AssertionError("not asked")


def talk(
    sent: bytes,
    *,
    decide: Callable[[bytes], str] = lambda _: OK_REPLY,
    patience: Patience | None = None,
    ends: bool = True,
    spool_bytes: int = 1 << 20,
) -> bytes:
    """What a connection that sends this is answered."""

    async def reply(file: BinaryIO) -> str:
        return decide(file.read())

    async def run() -> bytes:
        reader, wire = asyncio.StreamReader(), Wire()
        reader.feed_data(sent)
        if ends:
            reader.feed_eof()
        desk = Desk(Scans(), at_once=1, waiting=0, spool_bytes=spool_bytes)
        rules = ClamdRules(
            decide=reply,
            spool=desk.spool,
            max_stream_bytes=MAX_BYTES,
            patience=patience or Patience(command_s=5, piece_s=5, stream_s=5),
        )
        as_writer: Any = wire
        await converse(reader, as_writer, rules)
        assert wire.closed
        return wire.sent

    return asyncio.run(run())


def stream(*pieces: bytes, end: bool = True) -> bytes:
    return b"".join(struct.pack(">I", len(piece)) + piece for piece in pieces) + b"\0\0\0\0" * end


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"zPING\0", b"PONG\0"),
        (b"nPING\n", b"PONG\n"),
        (b"nPING\r\n", b"PONG\n"),
        (b"PING\n", b"PONG\n"),
        (b"PING", b"PONG\n"),
    ],
)
def test_a_reply_ends_as_its_command_did(sent: bytes, answer: bytes) -> None:
    assert talk(sent) == answer


def test_version_commands_name_what_is_answered() -> None:
    version, _, commands = talk(b"zVERSIONCOMMANDS\0").decode().rstrip("\0").partition("| COMMANDS: ")
    assert version.startswith("iii-client ")
    assert set(commands.split()) >= {"INSTREAM", "IDSESSION", "END"}


@pytest.mark.parametrize(
    "command", ["SCAN /etc/passwd", "CONTSCAN /", "FILDES", "SHUTDOWN", "RELOAD", "ping"]
)
def test_a_path_and_an_unknown_command_are_refused(command: str) -> None:
    assert talk(f"z{command}\0".encode()) == b"UNKNOWN COMMAND\0"


def test_a_stream_comes_together_whatever_its_pieces_are() -> None:
    seen: list[bytes] = []

    def decide(data: bytes) -> str:
        seen.append(data)
        return OK_REPLY

    for pieces in ((b"abcdef",), (b"a", b"bcd", b"ef"), (b"abcde", b"f")):
        assert talk(b"zINSTREAM\0" + stream(*pieces), decide=decide) == b"stream: OK\0"
    assert seen == [b"abcdef"] * 3


def test_a_session_numbers_its_replies_and_goes_on() -> None:
    sent = b"zIDSESSION\0zPING\0zINSTREAM\0" + stream(b"abc") + b"nVERSION\nzEND\0zPING\0"
    first, second, third = talk(sent).replace(b"\n", b"\0").split(b"\0")[:-1]
    assert (first, second) == (b"1: PONG", b"2: stream: OK")
    assert third.startswith(b"3: iii-client ")


def test_without_a_session_one_command_is_answered() -> None:
    assert talk(b"zPING\0zPING\0") == b"PONG\0"


def test_a_stream_over_the_limit_is_refused_before_it_is_read() -> None:
    announced = struct.pack(">I", MAX_BYTES + 1)
    assert talk(b"zINSTREAM\0" + announced) == SIZE_LIMIT_REPLY.encode() + b"\0"
    many = stream(*[b"x" * 100] * 11)
    assert talk(b"nINSTREAM\n" + many) == SIZE_LIMIT_REPLY.encode() + b"\n"
    assert talk(b"zINSTREAM\0" + stream(b"x" * MAX_BYTES)) == b"stream: OK\0"


@pytest.mark.parametrize("end", [b"", b"\0\0", b"\0\0\0\5ab", b"\0\0\0\5"])
def test_a_stream_that_breaks_off_is_never_answered(end: bytes) -> None:
    def decide(_: bytes) -> str:
        raise AssertionError("half a picture was looked at")

    assert talk(b"zINSTREAM\0" + stream(b"abc", end=False) + end, decide=decide) == b""


def test_a_client_that_is_too_slow_is_left() -> None:
    hasty = Patience(command_s=0.05, piece_s=0.05, stream_s=0.1)
    assert talk(b"zPI", ends=False, patience=hasty) == b""
    assert talk(b"zINSTREAM\0\0\0", ends=False, patience=hasty) == b""


def test_a_command_without_an_end_is_not_read_for_ever() -> None:
    assert talk(b"z" + b"A" * 200_000, ends=False) == b""
    assert talk(b"z" + b"A" * 2000 + b"\0") == b""


def test_where_there_is_no_room_to_keep_a_stream_the_client_may_try_again() -> None:
    answer = talk(b"zINSTREAM\0" + stream(b"x" * 500), spool_bytes=100)
    assert answer == NOT_DECIDED_REPLY.encode() + b"\0"


def test_only_block_is_found_and_only_a_confirmed_match_is_called_one() -> None:
    def reply(action: Action, outcome: Outcome) -> str:
        fingerprint = Fingerprint(recipe="fast-v2", size_bytes=1, kind="unknown")
        verdict = Verdict(outcome=outcome, fingerprint=fingerprint, release=NO_RELEASE)
        return reply_of(Decision(action=action, ruled=action, rule="r", verdict=verdict, mode=Mode.ENFORCE))

    for outcome in Outcome:
        assert reply(Action.ALLOW, outcome) == "stream: OK"
        assert reply(Action.QUARANTINE, outcome) == NOT_DECIDED_REPLY
        assert reply(Action.BLOCK, outcome).endswith(" FOUND")
    assert reply(Action.BLOCK, Outcome.MATCHED) == "stream: III.Match.Confirmed FOUND"
    assert reply(Action.BLOCK, Outcome.UNSCANNABLE) == "stream: III.Policy.Blocked FOUND"


def test_the_stages_are_told() -> None:
    stages: list[Stage] = []

    async def decide(_: BinaryIO) -> str:
        assert stages[-1] is Stage.DECIDING
        return BUSY_REPLY

    async def run() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"zINSTREAM\0" + stream(b"abc"))
        reader.feed_eof()
        desk = Desk(Scans(), at_once=1, waiting=0)
        wire: Any = Wire()
        rules = ClamdRules(decide=decide, spool=desk.spool, max_stream_bytes=MAX_BYTES, note=stages.append)
        await converse(reader, wire, rules)

    asyncio.run(run())
    assert stages == [Stage.WAITING, Stage.READING, Stage.READING, Stage.DECIDING]
