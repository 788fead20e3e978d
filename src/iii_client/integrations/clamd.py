"""clamd's protocol, one connection from its first byte: what PHP applications and `clamdscan` speak.

    zPING\\0 · nVERSION\\n · zINSTREAM\\0 <length><piece> … <0>   (lengths: 4 bytes, big end first)

Commands end with a NUL after the prefix `z`, with a newline after `n` or none. Written from the manual page
clamd(8).

| the policy orders | reply | what clients do |
|---|---|---|
| ALLOW | `stream: OK` | take it |
| BLOCK of a confirmed match | `stream: III.Match.Confirmed FOUND` | refuse it; many **delete** the file |
| BLOCK of anything else, where a policy says so | `stream: III.Policy.Blocked FOUND` | the same |
| QUARANTINE | `stream: Not decided, try again later. ERROR` | refuse it for now |

The protocol cannot hold a file, so QUARANTINE is a refusal that ends, and never a deletion.

Promises: limits before reading; a stream that was not read to its end is never answered, let alone with OK;
no path of a client's is ever opened; a reply says nothing about distance, source or category.
"""

import asyncio
import re
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from iii_client import __version__
from iii_client.errors import IIIError
from iii_client.model import Action, Decision, Outcome

#: Longest command: none that is answered is longer than 16 bytes.
MAX_COMMAND_BYTES = 1024
#: What is read of a piece at once, whatever its length says.
PIECE_BYTES = 256 << 10
COMMANDS = ("PING", "VERSION", "VERSIONCOMMANDS", "INSTREAM", "IDSESSION", "END")

#: clamd's own words, which clients look for.
SIZE_LIMIT_REPLY = "INSTREAM size limit exceeded. ERROR"
UNKNOWN_REPLY = "UNKNOWN COMMAND"
NOT_DECIDED_REPLY = "stream: Not decided, try again later. ERROR"
BUSY_REPLY = "stream: Too busy, try again later. ERROR"
OK_REPLY = "stream: OK"
#: What another clamd may have found: a name of printable letters.
_FOUND_ELSEWHERE = re.compile(rb"stream: [\x21-\x7e]{1,200} FOUND\0")


class ClamdProtocolError(IIIError):
    """The other side does not speak the protocol, or stopped in the middle of a word."""


class StreamTooLongError(IIIError):
    """A stream announces more bytes than are taken."""


class Stage(Enum):
    """Where a conversation stands."""

    WAITING = "waiting"
    READING = "reading"
    DECIDING = "deciding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a connection may take, in seconds; a slow one costs the others nothing.

    Attributes:
        command_s: until a command is there; in a session also between two.
        piece_s: between two pieces of a stream.
        stream_s: for a whole stream: 100 MB at 1 MB/s.
    """

    command_s: float = 30.0
    piece_s: float = 15.0
    stream_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClamdRules:
    """What one listener takes.

    Attributes:
        decide: gives the reply for a stream that is over, at position 0.
        spool: opens what keeps a stream until then.
        max_stream_bytes: longer ones are refused.
        note: is told of each stage, and of each piece that came.
    """

    decide: Callable[[BinaryIO], Awaitable[str]]
    spool: Callable[[], BinaryIO]
    max_stream_bytes: int
    patience: Patience = Patience()
    note: Callable[[Stage], None] = lambda _: None


def reply_of(decision: Decision) -> str:
    """What a client is told."""
    if decision.action is Action.ALLOW:
        return OK_REPLY
    if decision.action is Action.BLOCK:
        confirmed = decision.verdict.outcome is Outcome.MATCHED
        return f"stream: III.{'Match.Confirmed' if confirmed else 'Policy.Blocked'} FOUND"
    return NOT_DECIDED_REPLY


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rules: ClamdRules) -> None:
    """Serve one connection to its end, and close it. Whatever the other side does raises nothing."""
    try:
        await _converse(reader, writer, rules)
    except (ClamdProtocolError, OSError, TimeoutError, asyncio.IncompleteReadError):
        pass  # gone, too slow or nonsense: nobody is left to tell
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def ask_another(socket: Path, file: BinaryIO, *, patience: Patience) -> str:
    """What another clamd says of the same upload, at its start: OK, or what it found.

    Everything else, and its being away, is "not decided": a scanner that is down must not be a way in.
    """
    try:
        async with asyncio.timeout(patience.stream_s):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(b"zINSTREAM\0")
                while piece := file.read(PIECE_BYTES):
                    writer.write(struct.pack(">I", len(piece)) + piece)
                    await writer.drain()
                writer.write(b"\0\0\0\0")
                reply = await reader.readuntil(b"\0")
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return NOT_DECIDED_REPLY
    if _FOUND_ELSEWHERE.fullmatch(reply):
        return reply[:-1].decode("ascii")
    return OK_REPLY if reply == OK_REPLY.encode() + b"\0" else NOT_DECIDED_REPLY


async def read_command(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """The next command, and what ends its reply; an empty one at the end of the connection.

    Raises:
        ClamdProtocolError: no command is so long.
    """
    first = await reader.read(1)
    ender = b"\0" if first == b"z" else b"\n"
    try:
        rest = await reader.readuntil(ender)
    except asyncio.IncompleteReadError as error:
        rest = error.partial  # `printf PING | nc -U`
    except asyncio.LimitOverrunError as error:
        raise ClamdProtocolError("a command without an end") from error
    if len(rest) > MAX_COMMAND_BYTES:
        raise ClamdProtocolError(f"a command of {len(rest)} bytes; at most {MAX_COMMAND_BYTES}")
    line = rest if first in {b"z", b"n"} else first + rest
    return line.removesuffix(ender).rstrip(b"\r\n").decode("ascii", "replace"), ender


async def read_stream(
    reader: asyncio.StreamReader, *, max_bytes: int, piece_s: float
) -> AsyncIterator[bytes]:
    """The bytes of a stream, up to its end.

    Raises:
        StreamTooLongError: it announces more than `max_bytes`; what follows was not read.
        IncompleteReadError: the connection ended before the stream did.
        TimeoutError: nothing came for `piece_s`.
    """
    left = max_bytes
    while True:
        async with asyncio.timeout(piece_s):
            (length,) = struct.unpack(">I", await reader.readexactly(4))
        if length == 0:
            return
        if length > left:
            raise StreamTooLongError(f"over {max_bytes} bytes")
        left -= length
        while length:
            async with asyncio.timeout(piece_s):
                part = await reader.read(min(length, PIECE_BYTES))
            if not part:
                raise asyncio.IncompleteReadError(b"", length)
            length -= len(part)
            yield part


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rules: ClamdRules) -> None:
    session, number = False, 0
    while True:
        rules.note(Stage.WAITING)
        async with asyncio.timeout(rules.patience.command_s):
            command, ender = await read_command(reader)
        if command in {"", "END"}:
            return
        if command == "IDSESSION":
            session = True
            continue
        number += 1
        goes_on, reply = await _answer(command, reader, rules)
        prefix = f"{number}: " if session else ""
        writer.write(f"{prefix}{reply}".encode() + ender)
        async with asyncio.timeout(rules.patience.piece_s):
            await writer.drain()
        if not goes_on:
            await _let_finish(reader, writer, rules.patience)
        if not goes_on or not session:
            return


async def _answer(command: str, reader: asyncio.StreamReader, rules: ClamdRules) -> tuple[bool, str]:
    """The reply, and whether what follows in the connection can still be understood."""
    match command:
        case "PING":
            return True, "PONG"
        case "VERSION":
            return True, f"iii-client {__version__}"
        case "VERSIONCOMMANDS":
            return True, f"iii-client {__version__}| COMMANDS: {' '.join(COMMANDS)}"
        case "INSTREAM":
            return await _take(reader, rules)
        case _:  # SCAN and the like name paths: whoever may connect could have any file looked at
            return True, UNKNOWN_REPLY


async def _take(reader: asyncio.StreamReader, rules: ClamdRules) -> tuple[bool, str]:
    rules.note(Stage.READING)
    with rules.spool() as spool:
        try:
            async with asyncio.timeout(rules.patience.stream_s):
                async for part in read_stream(
                    reader, max_bytes=rules.max_stream_bytes, piece_s=rules.patience.piece_s
                ):
                    rules.note(Stage.READING)
                    spool.write(part)
        except StreamTooLongError:
            return False, SIZE_LIMIT_REPLY
        except OSError as error:
            if isinstance(error, (ConnectionError, TimeoutError)):
                raise
            return False, NOT_DECIDED_REPLY  # no room to keep it
        rules.note(Stage.DECIDING)
        spool.seek(0)
        return True, await rules.decide(spool)


async def _let_finish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: Patience) -> None:
    """Read to nowhere what a client still sends.

    Many send everything before they read the reply, and a connection that is closed with bytes unread is
    reset: they would see a broken socket where the reply says what is wrong.
    """
    with suppress(OSError):
        if writer.can_write_eof():
            writer.write_eof()
    async with asyncio.timeout(patience.stream_s):
        while True:
            async with asyncio.timeout(patience.piece_s):
                if not await reader.read(PIECE_BYTES):
                    return
