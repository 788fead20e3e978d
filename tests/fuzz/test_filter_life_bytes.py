"""Mutated bundles, deltas and pointers: refused by name, or read; never anything else, never long.

Some thousand by default. More: III_TEST_FUZZ_ROUNDS=300000 pytest -rP tests/fuzz/test_filter_life_bytes.py
"""

import io
import os
import random
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
import pytest
from pybloom_live import BloomFilter

from iii_client.errors import FilterFormatError
from iii_client.filters import pack_bundle, parse_bundle
from iii_client.filters.delta import decode_delta, encode_delta
from iii_client.filters.patching import apply_deltas, delta_between
from iii_client.model import Release, ReleaseId
from iii_client.updates.growth import Growth
from iii_client.updates.pointer import parse_pointer, pointer_to_bytes

ROUNDS = int(os.environ.get("III_TEST_FUZZ_ROUNDS", "4000"))
NOW = datetime(2030, 1, 1, tzinfo=UTC)
#: A parser of a few hundred bytes takes microseconds; a loop that bytes can lengthen would show.
LONGEST_S = 1.0


def bundle(sequence: int, keys: int) -> bytes:
    sections = []
    for name in ("md5", "sha1"):
        bloom = BloomFilter(1_000, 0.001)
        for number in range(keys):
            bloom.add(f"{number:032x}")
        content = io.BytesIO()
        bloom.tofile(content)
        sections.append((name, content.getvalue()))
    return pack_bundle(ReleaseId(epoch=1, sequence=sequence), sections)


OLD = bundle(0, 100)


def delta() -> bytes:
    """Four new bits in one section: as many as its size allows."""
    content = bytearray(OLD)
    content[24] = 1
    section = parse_bundle(OLD).sections[0]
    start = section.offset + 40
    free = np.flatnonzero(np.unpackbits(np.frombuffer(OLD, np.uint8)[start:], bitorder="little") == 0)[
        :300:75
    ]
    for bit in free.tolist():
        content[start + bit // 8] |= 1 << bit % 8
    for at in (40 + 40, section.offset + 32):
        content[at : at + 8] = (101).to_bytes(8, "little")
    return encode_delta(delta_between(OLD, bytes(content)))


def pointer() -> bytes:
    release = Release(
        id=ReleaseId(epoch=1, sequence=3),
        sections=tuple(section.info for section in parse_bundle(OLD).sections),
        size_bytes=len(OLD),
        sha256="ab" * 32,
        signed_at=NOW,
        expires_at=NOW,
        withdrawn=(bytes(32),),
    )
    return pointer_to_bytes(release, [Growth(at=NOW, bits={"md5": 4})])


def mutated(chance: random.Random, content: bytes) -> bytes:
    raw = bytearray(content)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(raw)) if raw else 0
        match chance.randrange(6):
            case 0 if raw:
                raw[at] ^= 1 << chance.randrange(8)
            case 1 if raw:
                raw[at] = chance.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del raw[at:]
            case 3:
                raw += chance.randbytes(chance.randrange(1, 9))
            case 4:
                raw[at : at + 8] = chance.choice((0, 1, 1 << 31, 1 << 32, 1 << 63, (1 << 64) - 1)).to_bytes(
                    8, "little"
                )
            case _ if raw:
                del raw[at : at + chance.randrange(1, 5)]
    return bytes(raw)


def apply(content: bytes) -> None:
    for _ in apply_deltas(OLD, [decode_delta(content)]):
        pass


PARSERS: dict[str, tuple[bytes, Callable[[bytes], object], tuple[type[Exception], ...]]] = {
    "a bundle": (OLD, parse_bundle, (FilterFormatError,)),
    "a delta, applied": (delta(), apply, (FilterFormatError,)),
    # Its reader is `FilterStore`, which names exactly these.
    "a pointer": (pointer(), parse_pointer, (KeyError, TypeError, ValueError, RecursionError)),
}


@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("what", PARSERS)
def test_mutated_bytes_are_refused_by_name_or_read(what: str) -> None:
    content, parse, refusals = PARSERS[what]
    parse(content)
    chance = random.Random(11)
    refused, longest_s = 0, 0.0
    for _ in range(ROUNDS):
        raw = mutated(chance, content)
        started = time.perf_counter()
        try:
            parse(raw)
        except refusals:
            refused += 1
        longest_s = max(longest_s, time.perf_counter() - started)
    assert refused > ROUNDS / 2
    assert longest_s < LONGEST_S
    sys.stdout.write(f"\n{what}: {ROUNDS} tried, {refused} refused, longest {longest_s * 1000:.1f} ms\n")
