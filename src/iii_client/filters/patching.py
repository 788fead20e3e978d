"""What a delta does to a bundle: the difference of two, and the second made from the first.

A reader may have the installed file mapped, so deltas are never applied in place. The result is byte for
byte the bundle that the publisher built, or an error; its SHA-256 is signed.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from iii_client.errors import FilterFormatError
from iii_client.filters.bundle import (
    BloomHeader,
    Buffer,
    BundleSection,
    parse_bundle,
    renamed,
)
from iii_client.filters.delta import Delta, SectionDelta
from iii_client.filters.rice import Positions

#: A multiple of `ALIGNMENT_BYTES`.
_PIECE_BYTES = 1 << 22


def delta_between(old: Buffer, new: Buffer) -> Delta:
    """What leads from bundle `old` to `new`, a later sequence of the same epoch.

    Raises:
        FilterFormatError: one is no bundle, or `new` is not `old` with bits added: a bit is gone, or a
            section has another layout.
    """
    before, after = parse_bundle(old), parse_bundle(new)
    if before.release.epoch != after.release.epoch or before.release >= after.release:
        raise FilterFormatError(f"no delta leads from release {before.release} to {after.release}")
    if _layout(before.sections) != _layout(after.sections):
        raise FilterFormatError("the sections of the two releases have other layouts")
    changes = []
    for was, now in zip(before.sections, after.sections, strict=True):
        lost, added = _compare(_bits(old, was), _bits(new, now))
        if lost:
            raise FilterFormatError(f"{lost} bits of section {was.name} are set no more")
        if len(added):
            changes.append(
                SectionDelta(
                    name=was.name,
                    size_bits=was.header.slices * was.header.bits_per_slice,
                    count=now.header.count,
                    positions=added,
                )
            )
        elif was.header.count != now.header.count:
            raise FilterFormatError(f"the count of section {was.name} changes and its bits do not")
    return Delta(
        epoch=after.release.epoch,
        from_sequence=before.release.sequence,
        to_sequence=after.release.sequence,
        sections=tuple(changes),
    )


def apply_deltas(bundle: Buffer, deltas: Sequence[Delta]) -> Iterator[bytes]:
    """The bundle that results from deltas, one after the other, in pieces; `bundle` is only read.

    Holds a piece and the positions in memory, never the bundle: an update runs beside uploads.

    Raises:
        FilterFormatError: the bundle is none, or not the one that the deltas were made for: another release,
            section or layout, a bit that is set already, or more keys than a section has room for. It may
            be raised after some pieces: throw them away.
    """
    present = parse_bundle(bundle)
    sequence, counts = present.release.sequence, {s.name: s.header.count for s in present.sections}
    sections = {section.name: section for section in present.sections}
    added: list[Positions] = []
    for delta in deltas:
        if (present.release.epoch, sequence) != (delta.epoch, delta.from_sequence):
            raise FilterFormatError(
                f"a delta for release {delta.epoch}.{delta.from_sequence}, this is "
                f"{present.release.epoch}.{sequence}"
            )
        for change in delta.sections:
            if change.name not in sections:
                raise FilterFormatError(f"a delta for section {change.name}, which this release has not")
            _check(sections[change.name], change, held=counts[change.name])
            counts[change.name] = change.count
            added.append(change.positions + (sections[change.name].offset + BloomHeader.SIZE_BYTES) * 8)
        sequence = delta.to_sequence
    bits = np.sort(np.concatenate(added)) if added else np.empty(0, np.int64)
    if (np.diff(bits) == 0).any():
        raise FilterFormatError("two deltas set one bit")
    fields = list(renamed(sequence, counts, present.sections))
    for start in range(0, present.size_bytes, _PIECE_BYTES):
        piece = bytearray(bundle[start : start + _PIECE_BYTES])
        for at, value in fields:
            if start <= at < start + len(piece):
                piece[at - start : at - start + len(value)] = value
        first, last = np.searchsorted(bits, [start * 8, (start + len(piece)) * 8])
        _set_bits(piece, bits[first:last] - start * 8)
        yield bytes(piece)


def lost_bits(old: Buffer, new: Buffer) -> int:
    """How many bits of the sections of `old` are not set in the sections of the same name in `new`.

    Raises:
        FilterFormatError: one is no bundle, or a section is gone or has another layout.
    """
    before, after = parse_bundle(old), parse_bundle(new)
    if _layout(before.sections) != _layout(after.sections):
        raise FilterFormatError("the sections of the two releases have other layouts")
    return sum(
        _lost(_bits(old, was), _bits(new, now))
        for was, now in zip(before.sections, after.sections, strict=True)
    )


def _check(section: BundleSection, change: SectionDelta, *, held: int) -> None:
    size_bits = section.header.slices * section.header.bits_per_slice
    if change.size_bits != size_bits:
        raise FilterFormatError(
            f"a delta for {change.size_bits} bits of section {section.name}, it has {size_bits}"
        )
    if not held < change.count <= section.header.capacity:
        raise FilterFormatError(
            f"a delta to {change.count} keys of section {section.name}, which holds {held} and has room for "
            f"{section.header.capacity}"
        )


def _set_bits(piece: bytearray, positions: Positions) -> None:
    bits = np.frombuffer(piece, np.uint8)
    places, masks = positions >> 3, np.uint8(1) << (positions & 7).astype(np.uint8)
    already = int(np.count_nonzero(bits[places] & masks))
    if already:
        raise FilterFormatError(f"{already} bits that a delta sets are set already")
    np.bitwise_or.at(bits, places, masks)


def _layout(sections: tuple[BundleSection, ...]) -> list[tuple[object, ...]]:
    return [
        (
            section.name,
            section.offset,
            section.size_bytes,
            section.header.slices,
            section.header.bits_per_slice,
            section.header.capacity,
            section.header.error_rate,
        )
        for section in sections
    ]


def _bits(bundle: Buffer, section: BundleSection) -> NDArray[np.uint8]:
    start = section.offset + BloomHeader.SIZE_BYTES
    return np.frombuffer(memoryview(bundle)[start : section.offset + section.size_bytes], np.uint8)


def _lost(old: NDArray[np.uint8], new: NDArray[np.uint8]) -> int:
    return sum(
        int(np.unpackbits(gone[gone != 0]).sum())
        for start in range(0, len(old), _PIECE_BYTES)
        for gone in [old[start : start + _PIECE_BYTES] & ~new[start : start + _PIECE_BYTES]]
    )


def _compare(old: NDArray[np.uint8], new: NDArray[np.uint8]) -> tuple[int, Positions]:
    """Bits lost, and the positions of those added, ascending."""
    changed = np.flatnonzero(old != new)
    added = np.unpackbits((new[changed] & ~old[changed])[:, None], axis=1, bitorder="little")
    byte, bit = np.nonzero(added)
    return _lost(old, new), changed[byte].astype(np.int64) * 8 + bit
