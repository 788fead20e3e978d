"""Quarantine: what was uploaded or found lies sealed where nobody sees it, and can come back.

Promises: an original is deleted only after its sealed copy was read back and found whole; nothing is ever
overwritten; an act that a crash interrupted is brought to its end by `finish`; a file under legal hold is
neither given back nor deleted. Every act is audited in the transaction that orders it, before anything
happens. Nothing here shows a picture, and messages name no file.
"""

import contextlib
import logging
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Self

from iii_client.config import Config
from iii_client.content import Content
from iii_client.errors import IIIError, RecordError
from iii_client.records import places
from iii_client.records.audit import append_audit
from iii_client.records.follow_ups import FollowUpKind, add_follow_up
from iii_client.records.held import (
    Held,
    HeldState,
    add_held,
    advance,
    due_for_purge,
    find_held,
    get_held,
    list_held,
    refusal,
    set_legal_hold_of,
    unfinished,
)
from iii_client.records.key_file import KeyFile
from iii_client.records.late_answers import release_if_answered
from iii_client.records.operators import Operators
from iii_client.records.places import AlreadyThereError, NotThereError
from iii_client.records.quarantine_check import Problem, problems_in
from iii_client.records.store import Store, Transaction, storable, utc_now
from iii_client.records.vault import Vault, digest_at, digest_of, new_name

logger = logging.getLogger(__name__)

#: An act that nobody has moved on for so long was interrupted: sealing 16 GB takes minutes.
INTERRUPTED_AFTER_S = 3600
#: A release whose turn it is goes on with a restore that began so long ago: as long as a notice is leased, so
#: its own that died it takes up at once. One that a person ordered a moment ago is under way: two that write
#: to one address of a remote storage could leave nothing there.
UNDER_WAY = timedelta(seconds=150)


class Quarantine:
    """The held files of one installation. Fits `protocols.Releaser`.

    Args:
        store: keeps their rows.
        place: folder or fsspec address of the sealed files.
        key: seals them.
        keep_days: after so many days a held file may be purged.
        clock: aware.
    """

    def __init__(
        self,
        store: Store,
        *,
        place: str,
        key: KeyFile,
        keep_days: int,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._vault = Vault(place, key)
        self._keep = timedelta(days=keep_days)
        self._clock = clock

    @classmethod
    def from_config(cls, config: Config, store: Store) -> Self:
        """The configured place; a folder in the state directory when none is."""
        return cls(
            store,
            place=config.quarantine.url or str(config.state_dir / "quarantine"),
            key=KeyFile(config.state_dir / "quarantine.key", what="quarantine key"),
            keep_days=config.quarantine.keep_days,
        )

    # --- looking ----------------------------------------------------------------------------------------

    def list(self, *, live_only: bool = True) -> tuple[Held, ...]:
        """Held files, oldest first."""
        with self._store.reading() as tx:
            return list_held(tx, live_only=live_only)

    def find(self, reference: str) -> tuple[Held, ...]:
        """By held id, encounter id or case reference."""
        with self._store.reading() as tx:
            return find_held(tx, reference)

    # --- acts -------------------------------------------------------------------------------------------

    def hold(
        self,
        content: Content,
        encounter_id: str,
        origin: str = "",
        *,
        move: bool = False,
        mode: int = -1,
        by: Operators | None = None,
    ) -> str:
        """Seal a copy, and with `move` delete the original. Doing it again after a crash goes on.

        Args:
            content: what to hold.
            encounter_id: the recorded decision that it belongs to.
            origin: path or fsspec address that it came from and may go back to, of a link what it leads to;
                empty for none.
            move: delete the file at `origin` once the sealed one is safe.
            mode: permission bits for the file when it goes to `origin`, where there was none before; private
                when -1.
            by: who orders it; nobody when the policy does.

        Returns:
            Id of the held file.

        Raises:
            RecordError: it could not be sealed, or the original could not be deleted or changed meanwhile.
            ContentError: it cannot be read.
            ValueError: there is nothing to move.
        """
        if move and not origin:
            raise ValueError("without an origin there is nothing to move")
        # Of a link, what it leads to is what users reach, and what the sealed copy is of.
        origin = places.resolved(origin) if origin else ""
        held = self._held_before(content, encounter_id, origin)
        if held is None:
            held = self._seal(content, encounter_id, origin, move=move, mode=mode, by=by)
        if move:
            self._delete_original(held)
        if by is None:
            with self._store.transaction() as tx:
                release_if_answered(tx, encounter_id, now=self._clock())
        return held.id

    def restore(self, held_id: str, *, by: Operators, to: str = "") -> str:
        """Put a held file back and delete the sealed one.

        Args:
            held_id: which.
            by: who orders it.
            to: absolute path or fsspec address; its origin when empty.

        Returns:
            The address that it was written to.

        Raises:
            AlreadyThereError: there is another file; it was left as it is, and the other one is still held.
            RecordError: it is not held, under legal hold, damaged, has no origin, or cannot be written; or a
                link is on the way to its origin now.
        """
        with self._store.reading() as tx:
            held = get_held(tx, held_id)
        target = to or held.origin
        if not target:
            raise RecordError("the file has no place to go back to", hint="Name one with --to.")
        if not to and places.resolved(target) != target:
            # Whoever may rename a folder of uploads could have his own file written anywhere.
            raise RecordError(
                "a link has come to be on the way to where the file came from",
                hint="Look who made it, then name the place with --to.",
            )
        if held.state is HeldState.HELD and places.exists(target) and not _is_there(target, held):
            raise AlreadyThereError("there is a file at that address already", hint="Name another with --to.")
        with self._store.transaction() as tx:
            self._audit(tx, "restore", held, by)
            advance(
                tx, held_id, old=HeldState.HELD, new=HeldState.RESTORING, now=self._clock(), target=target
            )
        self._write_back(held, target, by)
        return target

    def purge(self, held_id: str, *, by: Operators) -> None:
        """Delete a held file for good.

        Raises:
            RecordError: it is not held, is under legal hold, or cannot be deleted.
        """
        with self._store.transaction() as tx:
            held = get_held(tx, held_id)
            now = self._clock()
            self._audit(tx, "purge", held, by)
            advance(tx, held_id, old=HeldState.HELD, new=HeldState.PURGING, now=now)
            add_follow_up(tx, held.encounter_id, FollowUpKind.PURGED, now=now, by=by)
        self._delete_purged(held)

    def purge_due(self, *, by: Operators) -> int:
        """Purge what was held longer than its time. Returns how many.

        Raises:
            RecordError: some could not be purged; all others were.
        """
        with self._store.reading() as tx:
            due = due_for_purge(tx, now=self._clock())
        failures = []
        for held in due:
            try:
                self.purge(held.id, by=by)
            except RecordError as error:
                # One that stays must not keep all others from being forgotten, day after day.
                failures.append(error)
        if failures:
            raise RecordError(
                f"{len(failures)} of {len(due)} held files could not be purged: {failures[0]}",
                hint=failures[0].hint,
            )
        return len(due)

    def set_legal_hold(self, held_id: str, *, reason: str, by: Operators) -> None:
        """Forbid restore and purge for a reason (a file number), or with an empty one allow them again: what
        was found innocent meanwhile goes back then.

        Raises:
            RecordError: it is not held any more, or is about to go.
        """
        with self._store.transaction() as tx:
            held = get_held(tx, held_id)
            self._audit(tx, "legal_hold" if reason else "legal_hold_lifted", held, by)
            set_legal_hold_of(tx, held_id, reason=storable(reason), now=self._clock())
            if not reason:
                release_if_answered(tx, held.encounter_id, now=self._clock())

    def release(self, encounter_id: str, *, by: str) -> None:
        """See `protocols.Releaser`."""
        for held in self.find(encounter_id):
            if held.state is HeldState.HELD and held.origin and not held.legal_hold:
                self.restore(held.id, by=Operators(first=by))
            elif held.state in (HeldState.RESTORING, HeldState.CLEARING):
                if self._clock() - held.changed_at < UNDER_WAY:
                    raise refusal(held)
                self._finish_one(held)

    # --- after a crash, and checking --------------------------------------------------------------------

    def finish(self, *, interrupted_after_s: float = INTERRUPTED_AFTER_S) -> int:
        """Bring interrupted acts to their end.

        Args:
            interrupted_after_s: leave alone what was moved on later than so many seconds ago: somebody may
                be at it.

        Returns:
            How many were finished; those that failed are logged and stay.
        """
        with self._store.reading() as tx:
            since = self._clock() - timedelta(seconds=interrupted_after_s)
            found = unfinished(tx, untouched_since=since)
        done = 0
        for held in found:
            try:
                self._finish_one(held)
                done += 1
            except IIIError as error:
                logger.warning("an interrupted act cannot be finished (%s): %s", held.state.value, error)
        return done

    def verify(self) -> tuple[Problem, ...]:
        """Decrypt every held file and compare it with its row; look for files and originals left over."""
        return problems_in(self.list(live_only=False), self._vault)

    # --- the steps --------------------------------------------------------------------------------------

    def _held_before(self, content: Content, encounter_id: str, origin: str) -> Held | None:
        """The row of the same file, held for the same encounter by a call that did not come back."""
        for held in self.find(encounter_id) if origin else ():
            again = held.origin == origin and held.state in (HeldState.MOVING, HeldState.HELD)
            if again and digest_of(content) == held.sha256:
                return held
        return None

    def _seal(
        self, content: Content, encounter_id: str, origin: str, *, move: bool, mode: int, by: Operators | None
    ) -> Held:
        held_id, name, now = secrets.token_hex(16), new_name(), self._clock()
        with self._store.transaction() as tx:
            add_held(
                tx,
                held_id=held_id,
                encounter_id=encounter_id,
                name=name,
                origin=origin,
                origin_permissions=places.permissions(origin) if move else places.Permissions(mode=mode),
                now=now,
                keep_until=now + self._keep,
            )
        try:
            seen = self._vault.seal(name, content)
            with self._store.transaction() as tx:
                held, now = get_held(tx, held_id), self._clock()
                self._audit(tx, "held", held, by)
                advance(
                    tx,
                    held_id,
                    old=HeldState.SEALING,
                    new=HeldState.MOVING if move else HeldState.HELD,
                    now=now,
                    size_bytes=seen.size_bytes,
                    sha256=seen.sha256,
                )
                add_follow_up(tx, encounter_id, FollowUpKind.HELD, now=now, by=by)
                return get_held(tx, held_id)
        except IIIError:
            # Left to `finish` if this fails, too: the disk may be full.
            with contextlib.suppress(IIIError):
                self._abandon(held_id, name)
            raise

    def _abandon(self, held_id: str, name: str) -> None:
        self._vault.delete(name)
        with self._store.transaction() as tx:
            advance(tx, held_id, old=HeldState.SEALING, new=HeldState.ABANDONED, now=self._clock())

    def _delete_original(self, held: Held) -> None:
        """The last step of a move. An original that is not what was sealed is left alone."""
        is_left, note = False, ""
        try:
            names = places.permissions(held.origin).names
            if digest_at(held.origin) == held.sha256:
                places.remove(held.origin)
            else:
                is_left = True
            if names > 1:
                note = f"{names - 1} other names (hard links) of the file remain"
        except NotThereError:
            pass  # deleted by the call that did not come back, or by the application
        if held.state is HeldState.MOVING:
            with self._store.transaction() as tx:
                now = self._clock()
                self._audit(tx, "original_left" if is_left else "removed", held, None)
                advance(tx, held.id, old=HeldState.MOVING, new=HeldState.HELD, now=now)
                if not is_left:
                    add_follow_up(tx, held.encounter_id, FollowUpKind.REMOVED, now=now, note=note)
        if is_left:
            raise RecordError(
                "the original changed after it was sealed, and was left where it is",
                hint="It is another file now: scan it.",
            )

    def _write_back(self, held: Held, target: str, by: Operators | None) -> None:
        try:
            self._vault.put_back(held.name, target, sha256=held.sha256, like=held.origin_permissions)
        except IIIError:
            with self._store.transaction() as tx:
                self._audit(tx, "restore_failed", held, None)
                advance(
                    tx, held.id, old=HeldState.RESTORING, new=HeldState.HELD, now=self._clock(), target=""
                )
            raise
        with self._store.transaction() as tx:
            now = self._clock()
            self._audit(tx, "restored", held, None)
            advance(tx, held.id, old=HeldState.RESTORING, new=HeldState.CLEARING, now=now)
            add_follow_up(tx, held.encounter_id, FollowUpKind.RESTORED, now=now, by=by)
        self._clear(held)

    def _clear(self, held: Held) -> None:
        self._vault.delete(held.name)
        with self._store.transaction() as tx:
            advance(tx, held.id, old=HeldState.CLEARING, new=HeldState.RESTORED, now=self._clock())

    def _delete_purged(self, held: Held) -> None:
        self._vault.delete(held.name)
        with self._store.transaction() as tx:
            self._audit(tx, "purged", held, None)
            advance(tx, held.id, old=HeldState.PURGING, new=HeldState.PURGED, now=self._clock())

    def _finish_one(self, held: Held) -> None:
        match held.state:
            case HeldState.SEALING:
                # Not resumed: what was to be held may be gone with the process. Its original was not touched.
                self._abandon(held.id, held.name)
            case HeldState.MOVING:
                self._delete_original(held)
                with self._store.transaction() as tx:
                    release_if_answered(tx, held.encounter_id, now=self._clock())
            case HeldState.RESTORING:
                self._write_back(held, held.target, None)
            case HeldState.CLEARING:
                self._clear(held)
            case HeldState.PURGING:
                self._delete_purged(held)
            case _:
                raise refusal(held)

    def _audit(self, tx: Transaction, kind: str, held: Held, by: Operators | None) -> None:
        """First in its transaction: the log's row is the lock that orders transactions on PostgreSQL."""
        body = {"held": held.id, "encounter": held.encounter_id, **(by.named if by else {})}
        append_audit(tx, f"quarantine_{kind}", body, now=self._clock())


def _is_there(address: str, held: Held) -> bool:
    """Whether the very file is back already: two that scanned at once may each have held it."""
    path = places.local_path(address)
    if path is not None and not path.is_file():
        return False  # a pipe that an uploader put there would never end
    try:
        return digest_at(address) == held.sha256
    except RecordError:  # a folder, a broken link, a file that nobody may read
        return False
