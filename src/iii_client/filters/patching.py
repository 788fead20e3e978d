"""What a delta does to a bundle: the difference of two, and setting it in a copy of the first.

A reader may have the installed file mapped, so a delta is applied to a copy, never in place. The result
is byte for byte the bundle that the publisher built, or an error; its SHA-256 is signed.
"""

import mmap

import numpy as np
from numpy.typing import NDArray

from iii_client.errors import FilterFormatError
from iii_client.filters.bundle import (
    BloomHeader,
    Buffer,
    BundleSection,
    parse_bundle,
    put_count,
    put_sequence,
)
from iii_client.filters.delta import Delta, SectionDelta
from iii_client.filters.rice import Positions

_CHUNK_BYTES = 1 << 22


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


def apply_delta(bundle: bytearray | mmap.mmap, delta: Delta) -> None:
    """Set a delta's bits in a copy of the bundle that it starts from; it becomes the later release.

    When an error is raised, the copy may be half changed: throw it away.

    Raises:
        FilterFormatError: the copy is no bundle, or not the one that the delta was made for: another
            release, section or layout, a bit that is set already, or more keys than a section has room for.
    """
    present = parse_bundle(memoryview(bundle))
    if (present.release.epoch, present.release.sequence) != (delta.epoch, delta.from_sequence):
        raise FilterFormatError(
            f"a delta for release {delta.epoch}.{delta.from_sequence}, this is {present.release}"
        )
    rows = {section.name: index for index, section in enumerate(present.sections)}
    for change in delta.sections:
        if change.name not in rows:
            raise FilterFormatError(f"a delta for section {change.name}, which this release has not")
        section = present.sections[rows[change.name]]
        _check(section, change)
        _set_bits(bundle, section, change)
        put_count(bundle, row=rows[change.name], section=section, count=change.count)
    put_sequence(bundle, delta.to_sequence)


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


def _check(section: BundleSection, change: SectionDelta) -> None:
    header = section.header
    size_bits = header.slices * header.bits_per_slice
    if change.size_bits != size_bits:
        raise FilterFormatError(
            f"a delta for {change.size_bits} bits of section {section.name}, it has {size_bits}"
        )
    if not header.count < change.count <= header.capacity:
        raise FilterFormatError(
            f"a delta to {change.count} keys of section {section.name}, which holds {header.count} and has "
            f"room for {header.capacity}"
        )


def _set_bits(bundle: bytearray | mmap.mmap, section: BundleSection, change: SectionDelta) -> None:
    start = section.offset + BloomHeader.SIZE_BYTES
    # Let go of the view at the end: while one exists, a map cannot be closed.
    bits = np.frombuffer(bundle, np.uint8)[start : section.offset + section.size_bytes]
    places, masks = change.positions >> 3, np.uint8(1) << (change.positions & 7).astype(np.uint8)
    already = int(np.count_nonzero(bits[places] & masks))
    if already:
        raise FilterFormatError(f"{already} bits of section {section.name} are set already")
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
        for start in range(0, len(old), _CHUNK_BYTES)
        for gone in [old[start : start + _CHUNK_BYTES] & ~new[start : start + _CHUNK_BYTES]]
    )


def _compare(old: NDArray[np.uint8], new: NDArray[np.uint8]) -> tuple[int, Positions]:
    """Bits lost, and the positions of those added, ascending."""
    changed = np.flatnonzero(old != new)
    added = np.unpackbits((new[changed] & ~old[changed])[:, None], axis=1, bitorder="little")
    byte, bit = np.nonzero(added)
    return _lost(old, new), changed[byte].astype(np.int64) * 8 + bit
