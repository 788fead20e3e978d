"""The metadata in a repository's folder, read back: the newest of each role that its own keys signed.

The folder is served, so somebody may write into it who should not. What its keys did not sign is
ignored with a warning, never taken up and never signed.
"""

import logging
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, T, Targets

from iii_client.errors import ConfigurationError

logger = logging.getLogger(__name__)


def newest_root(metadata_dir: Path) -> Metadata[Root]:
    """The end of the chain that begins with the first root, as every client walks it.

    Raises:
        ConfigurationError: the first root is missing or malformed.
    """
    root = read_metadata(metadata_dir / "1.root.json", Root)
    while (path := metadata_dir / f"{root.signed.version + 1}.root.json").exists():
        following = _read_if_any(path, Root)
        if not (following and is_signed(root, "root", following) and is_signed(following, "root", following)):
            logger.warning("%s is not signed by the keys before it and is ignored", path.name)
            break
        root = following
    return root


def newest_signed(
    metadata_dir: Path, role: str, delegator: Metadata[Root] | Metadata[Targets]
) -> Metadata[Targets]:
    """The newest version of a role that is signed by its own keys of today.

    Whoever may write into the folder must not have the online keys sign it; and a rotation that was
    interrupted has written what counts from the next root on.

    Raises:
        ConfigurationError: none is.
    """
    names = (path.name.partition(".")[0] for path in metadata_dir.glob(f"*.{role}.json"))
    for number in sorted((int(name) for name in names if name.isdecimal()), reverse=True):
        metadata = _read_if_any(metadata_dir / f"{number}.{role}.json", Targets)
        if metadata and is_signed(delegator, role, metadata):
            return metadata
        logger.warning("%d.%s.json is not signed by the keys of its role and is ignored", number, role)
    raise ConfigurationError(
        f"no {role} metadata in the repository is signed by the keys that it should be",
        hint="Restore the repository's folder from a backup.",
    )


def is_signed(delegator: Metadata[Root] | Metadata[Targets], role: str, metadata: Metadata[T]) -> bool:
    """Whether enough keys of a role signed its metadata, as its delegator names them."""
    try:
        delegator.verify_delegate(role, metadata)
    except RepositoryError:
        return False
    return True


def read_metadata(path: Path, kind: type[T]) -> Metadata[T]:
    """Read one file, whoever signed it.

    Raises:
        ConfigurationError: it is missing, malformed, or of another role.
    """
    try:
        metadata = Metadata[T].from_bytes(path.read_bytes())
    except (OSError, RepositoryError) as error:
        raise ConfigurationError(
            f"the repository's {kind.type} metadata cannot be read ({type(error).__name__})",
            hint="Restore the repository's folder from a backup.",
        ) from error
    if not isinstance(metadata.signed, kind):
        raise ConfigurationError(f"the repository's {kind.type} metadata is of another role")
    return metadata


def _read_if_any(path: Path, kind: type[T]) -> Metadata[T] | None:
    """The same, but what is malformed is nothing: it must not stop the publisher either."""
    try:
        return read_metadata(path, kind)
    except ConfigurationError:
        return None
