"""What a job is and how far it is: the values that ledger, driver, reports and commands pass around."""

from dataclasses import dataclass, field
from enum import StrEnum

from iii_client.records.store import Store
from iii_client.rescan.segments import Position


class JobState(StrEnum):
    """Where a job is."""

    OPEN = "open"
    STOPPING = "stopping"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """What a job was started with; it stays the same for its life.

    Attributes:
        roots: normal roots, a shard each.
        recipe: name in `RECIPES`.
        include, exclude: globs over keys.
    """

    roots: tuple[str, ...]
    recipe: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """How far one root has come."""

    number: int
    root: str
    cursor: str
    listed: bool
    items: int
    size_bytes: int
    chunks: int
    end: Position
    rechecked: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus:
    """A job's counts.

    Attributes:
        items: in exactly one of the five that follow.
        failed: set aside, because they ended whatever worked on them.
        reasons: how often each reason stands among unscannable, unconfirmed and failed items.
        redone: items that were handed out a second time, because a process died.
        stored_bytes: of the segments on disk.
        release: the oldest filter that any of the items was checked against.
    """

    name: str
    state: JobState
    items: int = 0
    no_match: int = 0
    matched: int = 0
    unconfirmed: int = 0
    unscannable: int = 0
    failed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0
    redone: int = 0
    stored_bytes: int = 0
    release: str = ""
    created_at: str = ""
    roots: tuple[str, ...] = ()


def job_names(store: Store) -> list[str]:
    """Every job, the newest first."""
    with store.reading() as tx:
        return [name for (name,) in tx.query("SELECT name FROM rescan_job ORDER BY created_at DESC")]
