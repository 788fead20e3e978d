"""What a publisher says about a release, and what a repository says about itself: values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from iii_client.model import CategoryMapping, Coverage, ListKind, NearInfo, ReleaseId


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a release says about its lists, beside their hashes.

    Attributes:
        kinds: what each list is about; `other` where nothing is said.
        mappings: how category schemes relate.
    """

    kinds: Mapping[str, ListKind]
    mappings: tuple[CategoryMapping, ...] = ()


NO_DESCRIPTION = Description(kinds={})


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishReport:
    """What a publication did.

    Attributes:
        release: the newest one now.
        changed: whether it is a new one.
        near: its near segments.
        waiting: PDQ hashes that are in no release yet, because too few new ones make no segment.
        deltas: how many were published; a changed release without any is a base.
        added: hashes that deltas added to exact sections.
        left: hashes for exact sections that are in no release yet; a base would hold them.
        removed: hashes that exact sections hold and that are listed no more, about; a base would not.
        base_due: why a base is due, when none was published.
        visible: whether clients see it: else the machine that holds the online key must sign.
    """

    release: ReleaseId
    changed: bool
    near: tuple[NearInfo, ...]
    waiting: int
    deltas: int = 0
    added: int = 0
    left: int = 0
    removed: int = 0
    base_due: tuple[str, ...] = ()
    visible: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryStatus:
    """A repository as it stands.

    Attributes:
        release: the newest one.
        base_at: when its base was published; None when it does not say, or there is none.
        deltas: since then.
        coverage: what its base is made of.
        near: paths of its near segments.
        withdrawn: hashes of near segments that are listed no more.
        roles: version and expiry of each role.
        keys: of each role how many must sign, and the ids of those that may.
        here: names of the key files that are here and can be opened, by key id.
        visible: whether clients see the newest of all roles.
    """

    release: ReleaseId
    base_at: datetime | None
    deltas: int
    coverage: tuple[Coverage, ...]
    near: tuple[str, ...]
    withdrawn: int
    roles: Mapping[str, tuple[int, datetime]]
    keys: Mapping[str, tuple[int, Sequence[str]]]
    here: Mapping[str, str]
    visible: bool
