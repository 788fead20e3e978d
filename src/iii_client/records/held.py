"""Rows of held files: every step of every act is a state, and a step is taken once.

    hold      SEALING ──► HELD          a copy; the caller keeps what it has
              SEALING ──► MOVING ──► HELD       the original is deleted once the sealed file is safe
    restore   HELD ──► RESTORING ──► CLEARING ──► RESTORED      written back; sealed file deleted; done
    purge     HELD ──► PURGING ──► PURGED
    a hold that died before its file was safe: SEALING ──► ABANDONED; its original was never touched

A process that dies in the middle leaves a row that says what is still to be done. Two that act at once: the
row changes for one of them, and the other is told.
"""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from iii_client.errors import RecordError
from iii_client.records.case_reference import read_case_reference
from iii_client.records.places import Permissions
from iii_client.records.store import Row, Transaction, Value, as_text


class HeldState(StrEnum):
    """Where a held file is in its life."""

    SEALING = "sealing"
    MOVING = "moving"
    HELD = "held"
    RESTORING = "restoring"
    CLEARING = "clearing"
    RESTORED = "restored"
    PURGING = "purging"
    PURGED = "purged"
    ABANDONED = "abandoned"


#: A sealed file is, or may be, in the place.
LIVE_STATES = frozenset(HeldState) - {HeldState.RESTORED, HeldState.PURGED, HeldState.ABANDONED}
#: Somebody is in the middle of an act, or died there.
UNFINISHED_STATES = LIVE_STATES - {HeldState.HELD}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One held file.

    Attributes:
        id: random.
        encounter_id, case_reference: the event that it belongs to.
        name: of the sealed file in its place, random.
        origin: where it came from; empty when it was bytes of an upload.
        origin_permissions: what a local original had.
        target: where a restore under way goes to.
        size_bytes, sha256: of the clear content; 0 and empty before it is sealed.
        state: see `HeldState`.
        held_at, keep_until, changed_at: aware.
        legal_hold: why it must not be touched, or empty.
    """

    id: str
    encounter_id: str
    case_reference: str
    name: str = field(repr=False)
    origin: str = field(repr=False)
    origin_permissions: Permissions = field(repr=False)
    target: str = field(repr=False)
    size_bytes: int
    sha256: bytes = field(repr=False)
    state: HeldState
    held_at: datetime
    keep_until: datetime
    legal_hold: str
    changed_at: datetime

    @property
    def is_live(self) -> bool:
        """Whether a sealed file is, or may be, there."""
        return self.state in LIVE_STATES


_SELECT = (
    "SELECT h.id, h.encounter_id, e.case_reference, h.name, h.origin, h.origin_mode, h.origin_uid,"
    " h.origin_gid, h.target, h.size_bytes, h.sha256, h.state, h.held_at, h.keep_until, h.legal_hold,"
    " h.changed_at FROM held h JOIN encounter e ON e.id = h.encounter_id "
)


def get_held(tx: Transaction, held_id: str) -> Held:
    """One row.

    Raises:
        RecordError: there is none.
    """
    rows = tx.query(_SELECT + "WHERE h.id = :id", id=held_id)
    if not rows:
        raise RecordError("no such held file", hint="'iii-client quarantine list' shows what is held.")
    return _held(rows[0])


def find_held(tx: Transaction, reference: str) -> tuple[Held, ...]:
    """By its own id, its encounter's id or its case reference, oldest first; none when nothing fits."""
    text = reference.strip()
    try:
        case = read_case_reference(text)
    except ValueError:
        case = ""
    rows = tx.query(
        _SELECT + "WHERE h.id = :text OR h.encounter_id = :text OR (e.case_reference = :case AND :case <> '')"
        " ORDER BY h.held_at, h.id",
        text=text.lower(),
        case=case,
    )
    return tuple(map(_held, rows))


def list_held(tx: Transaction, *, live_only: bool = True) -> tuple[Held, ...]:
    """All rows, oldest first."""
    everything = tuple(map(_held, tx.query(_SELECT + "ORDER BY h.held_at, h.id")))
    return tuple(held for held in everything if held.is_live or not live_only)


def due_for_purge(tx: Transaction, *, now: datetime) -> tuple[Held, ...]:
    """Held longer than their time, not on legal hold."""
    rows = tx.query(
        _SELECT + "WHERE h.state = :held AND h.legal_hold = '' AND h.keep_until <= :now ORDER BY h.held_at",
        held=HeldState.HELD.value,
        now=as_text(now),
    )
    return tuple(map(_held, rows))


def unfinished(tx: Transaction, *, untouched_since: datetime) -> tuple[Held, ...]:
    """Rows in the middle of an act that nobody has moved on since then."""
    rows = tx.query(
        _SELECT + "WHERE h.changed_at <= :since ORDER BY h.held_at", since=as_text(untouched_since)
    )
    return tuple(held for held in map(_held, rows) if held.state in UNFINISHED_STATES)


def add_held(
    tx: Transaction,
    *,
    held_id: str,
    encounter_id: str,
    name: str,
    origin: str,
    origin_permissions: Permissions,
    now: datetime,
    keep_until: datetime,
) -> None:
    """A row in its first state.

    Raises:
        RecordError: there is no such encounter.
    """
    if not tx.query("SELECT 1 FROM encounter WHERE id = :id", id=encounter_id):
        raise RecordError("no such encounter", hint="A file is held for a recorded decision.")
    tx.insert(
        "held",
        [
            {
                "id": held_id,
                "encounter_id": encounter_id,
                "name": name,
                "origin": origin,
                "origin_mode": origin_permissions.mode,
                "origin_uid": origin_permissions.uid,
                "origin_gid": origin_permissions.gid,
                "target": "",
                "size_bytes": 0,
                "sha256": b"",
                "state": HeldState.SEALING.value,
                "held_at": as_text(now),
                "keep_until": as_text(keep_until),
                "legal_hold": "",
                "changed_at": as_text(now),
            }
        ],
    )


def advance(
    tx: Transaction,
    held_id: str,
    *,
    old: HeldState,
    new: HeldState,
    now: datetime,
    target: str | None = None,
    size_bytes: int | None = None,
    sha256: bytes | None = None,
) -> None:
    """Take one step.

    Raises:
        RecordError: it is not in the old state any more, or it is held and under legal hold.
    """
    values: dict[str, Value] = {"target": target, "size_bytes": size_bytes, "sha256": sha256}
    given = {name: value for name, value in values.items() if value is not None}
    assignments = "".join(f", {name} = :{name}" for name in given)
    # The legal hold is asked in the same statement, so that one set a moment ago is not missed. It stops
    # acts at their beginning; one that is under way when it comes is finished.
    changed = tx.execute(
        f"UPDATE held SET state = :new, changed_at = :now{assignments}"  # noqa: S608 - our own column names
        " WHERE id = :id AND state = :old AND (legal_hold = '' OR state <> :held)",
        new=new.value,
        now=as_text(now),
        id=held_id,
        old=old.value,
        held=HeldState.HELD.value,
        **given,
    )
    if not changed:
        raise refusal(get_held(tx, held_id))


def refusal(held: Held) -> RecordError:
    """Why an act cannot begin now."""
    if held.state is HeldState.HELD and held.legal_hold:
        return RecordError(
            "the held file is under legal hold",
            hint="Lift it first: iii-client quarantine legal-hold REF --off.",
        )
    if held.state in UNFINISHED_STATES:
        return RecordError(
            f"the held file is in the middle of another act ({held.state.value})",
            hint="Try again later; 'iii-client quarantine verify --finish' ends acts that were interrupted.",
        )
    return RecordError(f"the file is not held any more ({held.state.value})")


def set_legal_hold_of(tx: Transaction, held_id: str, *, reason: str, now: datetime) -> None:
    """Set or, with an empty reason, lift it.

    Raises:
        RecordError: the file is not there any more, or is about to go.
    """
    changed = tx.execute(
        "UPDATE held SET legal_hold = :reason, changed_at = :now"
        " WHERE id = :id AND state IN (:held, :sealing, :moving)",
        reason=reason,
        now=as_text(now),
        id=held_id,
        held=HeldState.HELD.value,
        sealing=HeldState.SEALING.value,
        moving=HeldState.MOVING.value,
    )
    if not changed:
        raise refusal(get_held(tx, held_id))


def _held(row: Row) -> Held:
    (
        held_id,
        encounter_id,
        case_reference,
        name,
        origin,
        mode,
        uid,
        gid,
        target,
        size_bytes,
        sha256,
        state,
        held_at,
        keep_until,
        legal_hold,
        changed_at,
    ) = row
    return Held(
        id=held_id,
        encounter_id=encounter_id,
        case_reference=case_reference,
        name=name,
        origin=origin,
        origin_permissions=Permissions(mode=mode, uid=uid, gid=gid),
        target=target,
        size_bytes=size_bytes,
        sha256=bytes(sha256),
        state=HeldState(state),
        held_at=datetime.fromisoformat(held_at),
        keep_until=datetime.fromisoformat(keep_until),
        legal_hold=legal_hold,
        changed_at=datetime.fromisoformat(changed_at),
    )
