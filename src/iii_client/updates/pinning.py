"""The pinned root and the state directory belong together.

TUF would start from any root it is given and quietly forget what it saw under another one, and with it
the defence against rollback. So the pinned root is kept beside the metadata, and another one is accepted
only when one of the two vouches for the other: a publisher's newer root, not another publisher's.
"""

from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root

from iii_client.errors import ConfigurationError
from iii_client.updates.durable import replace_durably
from iii_client.updates.trust import parse_root

PINNED_NAME = "pinned.root.json"


def check_pinned_root(metadata_dir: Path, root: bytes) -> None:
    """Refuse a pinned root that the metadata in this directory does not hang on. Call under the lock.

    Raises:
        ConfigurationError: the directory is bound to another repository's root, or `root` is no root.
    """
    offered = parse_root(root)
    kept = metadata_dir / PINNED_NAME
    if not kept.exists() or kept.read_bytes() == root:
        return
    # The root that was pinned, and the newest one that was reached from it.
    known = [parse_root(path.read_bytes()) for path in (kept, metadata_dir / "root.json") if path.exists()]
    if not any(vouches(one, offered) or vouches(offered, one) for one in known):
        raise ConfigurationError(
            "the state directory holds the filter of another trust root",
            hint="If III_FILTER_ROOT is wrong, correct it. To move to another repository, remove the "
            "folder `filter` in III_STATE_DIR, or set another III_STATE_DIR; nothing is ever mixed.",
        )


def bind_pinned_root(metadata_dir: Path, root: bytes) -> None:
    """Bind the metadata in this directory to the root that it was just verified from."""
    kept = metadata_dir / PINNED_NAME
    if not kept.exists() or kept.read_bytes() != root:
        replace_durably(kept, root)


def vouches(older: Metadata[Root], newer: Metadata[Root]) -> bool:
    """Whether enough keys of the one signed the other."""
    try:
        older.signed.verify_delegate(Root.type, newer.signed_bytes, newer.signatures)
    except (RepositoryError, ValueError):
        return False
    return True
