"""One round: lease a batch, ask about it, judge, rule, settle or postpone.

Promises: as `Drainer`; a round that is interrupted or fails hands its batch back if the store lets it, and
otherwise the lease ends.
"""

import random
import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from iii_client.config import OutboxConfig
from iii_client.decide import judge, review_only
from iii_client.drain.asking import ask_in_halves, fault_of_all, retry_after_s
from iii_client.drain.report import DrainReport
from iii_client.model import (
    ANSWERABLE_REASONS,
    Action,
    Confirmation,
    Mode,
    Outcome,
    Reason,
    Unanswered,
    Verdict,
)
from iii_client.protocols import AllowList, Confirmer, Policy
from iii_client.records import Store, Transaction, tallies
from iii_client.records.back_off import back_off_s
from iii_client.records.late_answers import Settlement, settle
from iii_client.records.outbox import Waiting, hand_back, hand_over, lease, postpone, renew
from iii_client.records.outbox_list import next_attempt_in_s
from iii_client.records.pace import take_slot
from iii_client.records.store import utc_now
from iii_client.service import confirm_items
from iii_client.service.paced import PacedConfirmer

#: How long a batch belongs to its drainer, in seconds. Renewed before each call: longer than any call and its
#: retry.
LEASE_S = 120.0
#: Most items of a batch: the most hashes of one v2 call.
BATCH = 100
#: Pause before an item is asked about again, in seconds: up to so long after the first failure, doubling.
RETRY_BASE_S, RETRY_MOST_S = 2.0, 900.0
#: While the service is left alone, others may be asking it: an overdue item waits so much longer for that.
OVERDUE_GRACE = timedelta(hours=1)

#: Nobody asked: not an attempt.
_NOT_TRIED = frozenset({Reason.SERVICE_PAUSED, Reason.DEFERRED})


class Rounds:
    """Runs rounds over one outbox. Thread-safe. The arguments are those of `Drainer`."""

    def __init__(
        self,
        store: Store,
        confirmer: Confirmer,
        policy: Policy,
        *,
        config: OutboxConfig,
        hashes_per_call: int,
        shield: Callable[[Confirmer], Confirmer],
        allow_list: AllowList | None,
        send_own_hash: bool,
        clock: Callable[[], datetime] = utc_now,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._confirmer = confirmer
        self._policy = policy
        self._config = config
        self._hashes_per_call = hashes_per_call
        self._shield = shield
        self._allow_list = allow_list
        self._send_own_hash = send_own_hash
        self._clock = clock
        self._wait = wait
        self._chance = chance

    def run(self, limit: int, *, encounter_id: str, stop: threading.Event) -> DrainReport:
        """One round. See `Drainer.drain_once`."""
        holder = secrets.token_hex(8)
        batch = self._lease(holder, limit=limit, encounter_id=encounter_id)
        if not batch:
            return DrainReport()
        try:
            confirmations = self._ask(batch, holder=holder, stop=stop)
            return self._conclude(batch, confirmations, holder=holder)
        except BaseException:
            self._give_back(batch, holder=holder)
            raise

    def due_in_s(self) -> float | None:
        """Seconds until something is due, from 0; None when nothing waits for the service."""
        with self._store.reading() as tx:
            return next_attempt_in_s(tx, now=self._clock())

    # --- the steps, in their order ----------------------------------------------------------------------

    def _lease(self, holder: str, *, limit: int, encounter_id: str) -> tuple[Waiting, ...]:
        # Looked first: a lease writes, and an idle drainer should keep no upload waiting.
        if not encounter_id and self.due_in_s() != 0:
            return ()
        with self._store.transaction() as tx:
            return lease(
                tx,
                holder=holder,
                limit=min(limit, BATCH),
                now=self._clock(),
                lease_s=LEASE_S,
                encounter_id=encounter_id,
            )

    def _ask(
        self, batch: Sequence[Waiting], *, holder: str, stop: threading.Event
    ) -> tuple[Confirmation, ...]:
        confirmer = self._shield(
            PacedConfirmer(
                self._confirmer,
                hashes_per_call=self._hashes_per_call,
                turn=lambda: self._turn(holder, stop),
            )
        )

        def ask(items: Sequence[Waiting]) -> tuple[Confirmation, ...]:
            hits = [waiting.item.candidates for waiting in items]
            return confirm_items(hits, confirmer, send_own_hash=self._send_own_hash)

        known = self._allow_listed(batch)
        unknown = [waiting for waiting, allowed in zip(batch, known, strict=True) if not allowed]
        answers = iter(ask_in_halves(unknown, ask))
        return tuple(
            _allowed_by_list(waiting) if allowed else next(answers)
            for waiting, allowed in zip(batch, known, strict=True)
        )

    def _allow_listed(self, batch: Sequence[Waiting]) -> list[bool]:
        if self._allow_list is None:
            return [False] * len(batch)
        allow_list = self._allow_list
        return [bool(allow_list.allowed(waiting.item.fingerprint.digests)) for waiting in batch]

    def _turn(self, holder: str, stop: threading.Event) -> bool:
        with self._store.transaction() as tx:
            wait_s = take_slot(tx, per_s=self._config.calls_per_s, now=self._clock())
            renew(tx, holder=holder, now=self._clock(), lease_s=LEASE_S + wait_s)
        if wait_s > 0:
            self._wait(stop, wait_s)
        return not stop.is_set()

    def _conclude(
        self, batch: Sequence[Waiting], confirmations: Sequence[Confirmation], *, holder: str
    ) -> DrainReport:
        settlements, open_items = [], []
        for waiting, confirmation in zip(batch, confirmations, strict=True):
            verdict = self._judge(waiting, confirmation)
            if _is_open(verdict):
                open_items.append((waiting, confirmation, verdict))
            else:
                settlements.append(self._rule(waiting, verdict))
        problem = fault_of_all(confirmations)
        now = self._clock()
        overdue = []
        with self._store.transaction() as tx:
            postponed = 0
            for waiting, confirmation, verdict in open_items:
                reason = next(reason for reason in verdict.reasons if reason in ANSWERABLE_REASONS)
                if reason in _NOT_TRIED:
                    postponed += hand_back(tx, waiting.row_id, holder=holder, now=now)
                elif problem is None and now >= self._deadline(waiting):
                    overdue.append(waiting)
                else:
                    until = self._next_attempt(waiting, confirmation, now=now)
                    postponed += postpone(tx, waiting.row_id, holder=holder, reason=reason, until=until)
            done = settle(tx, settlements, now=now)
            outcomes = [answer.verdict.outcome for answer in done]
            hashes_sent = sum(confirmation.hashes_sent for confirmation in confirmations)
            _count(tx, outcomes, hashes_sent=hashes_sent, now=now)
        for_review = self._hand_over(overdue, holder=holder)
        if problem not in {None, Reason.DEFERRED}:
            for_review += self._hand_over_overdue(problem)
        return DrainReport(
            asked=len(batch),
            matched=outcomes.count(Outcome.MATCHED),
            not_listed=outcomes.count(Outcome.NO_MATCH) + outcomes.count(Outcome.UNSCANNABLE),
            settled_otherwise=outcomes.count(Outcome.UNCONFIRMED),
            postponed=postponed,
            for_review=for_review,
            hashes_sent=hashes_sent,
            problem=problem,
            wait_s=max(map(retry_after_s, confirmations), default=0.0) if problem else 0.0,
        )

    def _judge(self, waiting: Waiting, confirmation: Confirmation) -> Verdict:
        item = waiting.item
        return judge(
            item.fingerprint,
            candidates=item.candidates,
            confirmation=confirmation,
            release=item.release,
            filter_reasons=item.filter_reasons,
        )

    def _rule(self, waiting: Waiting, verdict: Verdict) -> Settlement:
        ruling = self._policy.rule(verdict, waiting.item.context)
        # As it was when the item came: what was held is not given back because its route only watches now.
        watched = waiting.item.mode is Mode.SHADOW
        action = Action.ALLOW if watched else review_only(ruling, guard=waiting.guard).action
        return Settlement(waiting=waiting, verdict=verdict, ruling=ruling, action=action)

    def _deadline(self, waiting: Waiting) -> datetime:
        return waiting.created_at + timedelta(hours=self._config.max_pending_h)

    def _next_attempt(self, waiting: Waiting, confirmation: Confirmation, *, now: datetime) -> datetime:
        wait_s = back_off_s(
            waiting.attempts,
            base_s=RETRY_BASE_S,
            most_s=RETRY_MOST_S,
            at_least_s=retry_after_s(confirmation),
            chance=self._chance,
        )
        later = now + timedelta(seconds=wait_s)
        deadline = self._deadline(waiting)
        # Asked a last time when it is due to a person, whatever pause the service wants.
        return min(later, deadline) if now < deadline else later

    def _hand_over(self, overdue: Sequence[Waiting], *, holder: str) -> int:
        """Items that alone get no answer from a service that works."""
        now = self._clock()
        total = 0
        for waiting in overdue:
            with self._store.transaction() as tx:
                total += hand_over(tx, waiting_since=now, now=now, row_id=waiting.row_id, holder=holder)
        return total

    def _hand_over_overdue(self, problem: Reason | None) -> int:
        """All items that are overdue while the service answers nobody."""
        now = self._clock()
        since = now - timedelta(hours=self._config.max_pending_h)
        if problem is Reason.SERVICE_PAUSED:
            since -= OVERDUE_GRACE
        total = 0
        while True:
            with self._store.transaction() as tx:
                count = hand_over(tx, waiting_since=since, now=now)
            total += count
            if not count:
                return total

    def _give_back(self, batch: Sequence[Waiting], *, holder: str) -> None:
        with self._store.transaction() as tx:
            for waiting in batch:
                hand_back(tx, waiting.row_id, holder=holder, now=self._clock())


def _is_open(verdict: Verdict) -> bool:
    """Whether an answer is outstanding that must be waited for. A match is told at once, unless it is only
    the test picture's: whoever adds a frame of that to another picture must not have the rest forgotten."""
    only_test = all(match.is_test for match in verdict.matches)
    return only_test and not ANSWERABLE_REASONS.isdisjoint(verdict.reasons)


def _allowed_by_list(waiting: Waiting) -> Confirmation:
    value = waiting.item.candidates[0].hash
    return Confirmation(answers=(Unanswered(hash=value, reason=Reason.ALLOW_LISTED),))


def _count(tx: Transaction, outcomes: Sequence[Outcome], *, hashes_sent: int, now: datetime) -> None:
    day = now.astimezone(UTC).date().isoformat()
    counts = {f"late_{outcome.value}": outcomes.count(outcome) for outcome in Outcome}
    for name, amount in sorted({**counts, "late_hashes_sent": hashes_sent}.items()):
        if amount:
            tallies.add(tx, day, name, amount)
