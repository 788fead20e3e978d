"""What a run tells whoever drives it, as it happens."""

from dataclasses import dataclass

from iii_client.model import Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An item that is not plain "no match"."""

    reference: str
    decision: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkDone:
    """A chunk is committed: so many items and bytes, and so many of its chunks remain in flight."""

    shard: int
    items: int
    size_bytes: int
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDone:
    """The run is over. `finished` is False when it was stopped; then it can be resumed."""

    finished: bool


Event = Found | ChunkDone | RunDone
