"""Deltas from lists: what a release does not hold yet, in steps that every client accepts. Pure.

A release is asked, by its own filter, which hashes it finds already; the others are added in ascending order,
so the same release and the same lists give the same deltas. Each step is applied with the client's own
code, whose result is what gets signed. A step sets at most one bit in 2,000 of a section, and all
steps together no more than the caller allows: what is left waits for another day, or for a base.
"""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iii_client.filters import BundleSection, ExactSection, parse_bundle
from iii_client.filters.bundle import BloomHeader
from iii_client.filters.delta import Delta, SectionDelta, encode_delta, most_positions
from iii_client.filters.patching import apply_deltas
from iii_client.model import Algorithm, ReleaseId
from iii_client.publisher.build import hex_keys
from iii_client.publisher.sorting import Values

#: Hashes looked up together.
_AT_ONCE = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """One delta.

    Attributes:
        release: what results.
        content: the delta's file.
        result_sha256: of the bundle that results, hexadecimal.
        hashes: how many it adds, by section.
        bits: how many bits it sets, by section.
    """

    release: ReleaseId
    content: bytes = field(repr=False)
    result_sha256: str
    hashes: Mapping[str, int]
    bits: Mapping[str, int]


def missing_hashes(bundle: bytes, exact: Mapping[Algorithm, Values]) -> dict[Algorithm, Values]:
    """Those of the hashes for exact sections that a release does not find; all of one without a section."""
    sections = {section.name: _open(bundle, section) for section in parse_bundle(bundle).sections}
    missing = {}
    for algorithm, values in exact.items():
        left = _not_in(sections[algorithm], values) if algorithm in sections else values
        if len(left):
            missing[algorithm] = left
    return missing


def removed_count(
    bundle: bytes, exact: Mapping[Algorithm, Values], missing: Mapping[Algorithm, Values]
) -> int:
    """How many hashes a release holds that are listed no more; off by a false positive in a million."""
    removed = 0
    for section in parse_bundle(bundle).sections:
        algorithm = Algorithm(section.name)
        found = len(exact.get(algorithm, ())) - len(missing.get(algorithm, ()))
        removed += max(0, section.header.count - found)
    return removed


def additions(
    bundle: bytes, missing: Mapping[Algorithm, Values], *, allowed_bits: Mapping[str, int]
) -> Iterator[Addition]:
    """The deltas that add as much of what is missing as is allowed, in order.

    Args:
        bundle: the release to start from.
        missing: what `missing_hashes` said of it.
        allowed_bits: how many bits may be set in all, by section.
    """
    left = dict(missing)
    allowed = dict(allowed_bits)
    while True:
        present = parse_bundle(bundle)
        changes: list[SectionDelta] = []
        hashes: dict[str, int] = {}
        for section in present.sections:
            algorithm = Algorithm(section.name)
            batch, rest = _batch(bundle, section, left.get(algorithm), allowed.get(section.name, 0))
            if rest is not None:
                left[algorithm] = rest
            if batch is not None and len(batch):
                changes.append(_change(bundle, section, batch))
                hashes[section.name] = len(batch)
                allowed[section.name] -= len(changes[-1].positions)
        if not changes:
            return
        delta = Delta(
            epoch=present.release.epoch,
            from_sequence=present.release.sequence,
            to_sequence=present.release.sequence + 1,
            sections=tuple(changes),
        )
        bundle = b"".join(apply_deltas(bundle, [delta]))
        yield Addition(
            release=ReleaseId(epoch=delta.epoch, sequence=delta.to_sequence),
            content=encode_delta(delta),
            result_sha256=hashlib.sha256(bundle).hexdigest(),
            hashes=hashes,
            bits={change.name: len(change.positions) for change in changes},
        )


def size_bits(section: BundleSection) -> int:
    """Bits of a section's filter."""
    return section.header.slices * section.header.bits_per_slice


def _batch(
    bundle: bytes, section: BundleSection, values: Values | None, allowed: int
) -> tuple[Values | None, Values | None]:
    """What the next delta may add of `values`, and the rest; nothing that is found by now."""
    if values is None or not len(values):
        return None, None
    header = section.header
    most = min(
        min(most_positions(size_bits(section)), allowed) // header.slices, header.capacity - header.count
    )
    if most < 1:
        return None, values
    # A few more than fit are looked at: whatever earlier steps set by chance needs no bit any more.
    fresh = _not_in(_open(bundle, section), values[: 2 * most])
    return fresh[:most], np.concatenate([fresh[most:], values[2 * most :]])


def _change(bundle: bytes, section: BundleSection, batch: Values) -> SectionDelta:
    positions = np.unique(_open(bundle, section).positions(hex_keys(batch)))
    start = section.offset + BloomHeader.SIZE_BYTES
    bits: NDArray[np.uint8] = np.frombuffer(bundle, np.uint8)[start : section.offset + section.size_bytes]
    is_set = bits[positions >> 3] >> (positions & 7).astype(np.uint8) & np.uint8(1)
    return SectionDelta(
        name=section.name,
        size_bits=size_bits(section),
        count=section.header.count + len(batch),
        positions=positions[is_set == 0],
    )


def _not_in(section: ExactSection, values: Values) -> Values:
    """Rows that a section does not find."""
    absent = [
        ~section.contains_batch(hex_keys(values[first : first + _AT_ONCE]))
        for first in range(0, len(values), _AT_ONCE)
    ]
    return values[np.concatenate(absent)] if absent else values


def _open(bundle: bytes, section: BundleSection) -> ExactSection:
    return ExactSection(memoryview(bundle)[section.offset :][: section.size_bytes])
