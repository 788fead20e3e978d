"""Bundles from lists: the same hashes give the same bytes, whatever their order.

Each algorithm that has hashes to match exactly becomes one section in pybloom-live's layout. Every bundle
lists the shipped test picture, so that a hoster can try the whole path and a client can tell that a release
really answers (its canaries).
"""

import io
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import chain

import numpy as np
from pybloom_live import BloomFilter

from iii_client.config import Limits
from iii_client.content import Content
from iii_client.filters import ExactSection, pack_bundle
from iii_client.filters.bundle import BloomHeader
from iii_client.fingerprint import RECIPES, build_fingerprint
from iii_client.model import (
    TEST_CATEGORY_CODE,
    TEST_CATEGORY_SCHEME,
    Algorithm,
    Category,
    ReleaseId,
)
from iii_client.publisher.lists import FULL_QUALITY, ListEntry
from iii_client.publisher.sorting import Values, sort_entries
from iii_client.test_picture import TEST_LIST_NAME, listed_picture_bytes

#: False positives at capacity. Every one costs a confirmation of an innocent file's hash; a tenth of it
#: would cost 17 % more bytes.
ERROR_RATE = 1e-6

#: Room for additions within an epoch, as a ratio. Full, a section has set half of its bits; with this
#: room left, 43 %.
HEADROOM = 1.25

#: Below about 22,800 keys pybloom-live cuts digests into 16-bit words, whose remainder is visibly uneven
#: and raises the false-positive rate. A section of this capacity takes 90 KB.
MIN_CAPACITY = 25_000

#: Hashed together while a section is built: 4 MB of positions.
_HASHES_AT_ONCE = 1 << 14


def build_sections(entries: Iterable[ListEntry]) -> tuple[tuple[str, bytes], ...]:
    """The exact sections of these entries and the test picture, as (name, pybloom-live's bytes), by name.

    PDQ hashes of quality 50 or more are left out: they belong to near segments alone.

    Raises:
        PublishError: a list under both conventions of PDQ.
    """
    return sections_of(sort_entries(chain(test_picture_entries(), entries)).exact)


def sections_of(values: Mapping[Algorithm, Values]) -> tuple[tuple[str, bytes], ...]:
    """Exact sections of these hashes, each a distinct row. Takes about 2 microseconds a hash."""
    return tuple((str(algorithm), _build_section(values[algorithm])) for algorithm in sorted(values))


def build_bundle(entries: Iterable[ListEntry], *, release: ReleaseId) -> bytes:
    """A whole bundle of the exact sections of these entries and the test picture."""
    return pack_bundle(release, build_sections(entries))


@cache
def test_picture_entries() -> tuple[ListEntry, ...]:
    """The shipped, harmless test picture: its digests, which every release lists, and its PDQ hash.

    The PDQ hash stands in near segments of practice repositories only. Everybody has the picture, so
    in a real segment it would be a hash that all know, and before the first 10,000 have gathered none.
    """
    fingerprint = build_fingerprint(
        Content.from_bytes(listed_picture_bytes()), recipe=RECIPES["exact"], limits=Limits()
    )
    category = Category(scheme=TEST_CATEGORY_SCHEME, code=TEST_CATEGORY_CODE, source=TEST_LIST_NAME)
    listed = [(digest, FULL_QUALITY) for digest in fingerprint.digests]
    listed += [
        (p.hash_value, p.quality)
        for p in fingerprint.perceptual
        if p.algorithm is Algorithm.PDQ and not p.trimmed  # one perceptual hash a picture
    ]
    return tuple(
        ListEntry(
            hash=value,
            quality=quality,
            list_name=TEST_LIST_NAME,
            source=TEST_LIST_NAME,
            categories=(category,),
        )
        for value, quality in listed
    )


def _build_section(values: Values) -> bytes:
    """Byte for byte what pybloom-live's `add` and `tofile` would write; the tests hold them together."""
    bloom = BloomFilter(max(MIN_CAPACITY, int(len(values) * HEADROOM) + 1), ERROR_RATE)
    # The hashes are distinct, so the count is their number, even where one is a false positive of others.
    bloom.count = len(values)
    empty = io.BytesIO()
    bloom.tofile(empty)
    section = ExactSection(empty.getbuffer())
    # A byte a bit while it is built. Bits are only set, so the order of the hashes leaves no trace.
    bits = np.zeros(section.header.slices * section.header.bits_per_slice, np.uint8)
    for first in range(0, len(values), _HASHES_AT_ONCE):
        bits[section.positions(hex_keys(values[first : first + _HASHES_AT_ONCE]))] = 1
    return empty.getvalue()[: BloomHeader.SIZE_BYTES] + np.packbits(bits, bitorder="little").tobytes()


def hex_keys(values: Values) -> list[str]:
    """Rows of bytes as keys of an exact section: lower-case hexadecimal text."""
    digits = 2 * values.shape[1]
    text = values.tobytes().hex()
    return [text[at : at + digits] for at in range(0, len(text), digits)]
