"""The beginning that bundle and delta files share.

magic 8 bytes · version u16 · number of sections u16 · zeros u32 · epoch u64         little-endian
"""

import struct

from iii_client.errors import FilterFormatError

_START = struct.Struct("<8sHHIQ")


def check_start(
    data: bytes | bytearray | memoryview, *, what: str, magic: bytes, version: int, max_sections: int
) -> None:
    """Refuse whatever does not begin as a file of this kind and version does.

    Args:
        data: the file; its header is there.
        what: of a file this is, e.g. `delta`.
        magic, version: that this reader knows.
        max_sections: that it takes.

    Raises:
        FilterFormatError: with the byte offset of what is wrong.
    """
    found, found_version, sections, zeros, epoch = _START.unpack_from(data)
    if found != magic:
        raise FilterFormatError(f"not a {what}", offset=0)
    if found_version != version:
        raise FilterFormatError(
            f"{what} version {found_version}, this reader knows {version}",
            offset=8,
            hint="Update iii-client, then run: iii-client filter update",
        )
    if not 1 <= sections <= max_sections:
        raise FilterFormatError(f"{sections} sections, allowed are 1 to {max_sections}", offset=10)
    if zeros:
        raise FilterFormatError("reserved bytes are set", offset=12)
    if epoch < 1:
        raise FilterFormatError("epoch 0", offset=16)
