"""SQLite's log is shared through memory: on a network file system two hosts would corrupt it silently."""

import os
from pathlib import Path

from iii_client.errors import ConfigurationError

#: Types in /proc/self/mounts on which locks or shared memory of two hosts do not meet.
NETWORK_FILESYSTEMS = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "davfs",
        "fuse.blobfuse2",
        "fuse.ceph-fuse",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.goofys",
        "fuse.juicefs",
        "fuse.mount-s3",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "ocfs2",
        "smb3",
        "smbfs",
    }
)
_MOUNTS = Path("/proc/self/mounts")
#: Hosts with thousands of containers have long tables.
_MAX_MOUNTS_BYTES = 8 << 20


def refuse_network_filesystem(directory: Path, *, mounts: Path = _MOUNTS) -> None:
    """Refuse a state directory that lies on a network file system.

    A machine without such a table (macOS) is not judged.

    Raises:
        ConfigurationError: it does; the message names the type, not the path.
    """
    kind = filesystem_of(directory, mounts=mounts)
    if kind in NETWORK_FILESYSTEMS:
        raise ConfigurationError(
            f"the state directory lies on a network file system ({kind}), where SQLite loses what it wrote",
            hint="Set III_STATE_DIR to a local, persistent disk, or III_DATABASE_URL to a PostgreSQL.",
        )


def filesystem_of(directory: Path, *, mounts: Path = _MOUNTS) -> str:
    """Type of the file system that holds a directory, or of its nearest parent that exists; empty when the
    machine does not tell."""
    try:
        with mounts.open("rb") as file:
            table = file.read(_MAX_MOUNTS_BYTES)
    except OSError:
        return ""
    place = os.fsencode(directory.expanduser().resolve())
    found, kind = b"", ""
    for line in table.splitlines():
        fields = line.split(b" ")
        if len(fields) < 3:
            continue
        point = _unescaped(fields[1])
        # The longest mount point above wins; of two on one point, the later one lies on top.
        if len(point) >= len(found) and (place == point or place.startswith(point.rstrip(b"/") + b"/")):
            found, kind = point, fields[2].decode("ascii", "replace")
    return kind


def _unescaped(field: bytes) -> bytes:
    """Spaces, tabs, line feeds and backslashes are octal escapes there."""
    for escape, plain in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(escape, plain)
    return field
