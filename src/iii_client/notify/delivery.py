"""Delivers due notices, one after the other, and tries again what nobody took.

Promises: a notice counts as delivered only after every courier of its kind has taken it; one that fails is
tried again with growing pauses and stops no other; what nobody took for days raises an alarm.
"""

import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from iii_client.errors import NotifyError, RecordError
from iii_client.model import Notice, NoticeKind, ReleaseHeld
from iii_client.protocols import Courier, Releaser
from iii_client.records.alarms import raise_alarm
from iii_client.records.back_off import back_off_s
from iii_client.records.notices import (
    give_up_notices,
    lease_notices,
    mark_delivered,
    notices_due,
    postpone_notice,
)
from iii_client.records.store import Store, utc_now

logger = logging.getLogger(__name__)

#: Notices of one lease, and how long it lasts: ten that time out after ten seconds each must fit.
BATCH = 10
LEASE_S = 150.0
#: Pauses between attempts.
RETRY_BASE_S, RETRY_MOST_S = 5.0, 3600.0
#: What nobody took for so long is given up.
GIVE_UP_AFTER = timedelta(days=3)
#: How often that is looked for: it reads all that is undelivered.
_GIVE_UP_EVERY = timedelta(hours=1)
#: What was held and could not be given back so often is a matter for a person; it is still tried.
RELEASE_ALARM_AFTER = 5
#: Kinds of alarms.
UNDELIVERED_ALARM, RELEASE_ALARM = "notices_undelivered", "release_failed"

#: Who releases, for the audit log, when a late answer does it.
_BY = "late answer"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryReport:
    """What one call did.

    Attributes:
        delivered: notices that were taken; for a release, what was held was given back.
        postponed: that were not, and are tried again.
        given_up: that were tried for days.
    """

    delivered: int = 0
    postponed: int = 0
    given_up: int = 0

    def __add__(self, other: "DeliveryReport") -> "DeliveryReport":
        return DeliveryReport(
            delivered=self.delivered + other.delivered,
            postponed=self.postponed + other.postponed,
            given_up=self.given_up + other.given_up,
        )


class Delivery:
    """Delivers what this process can: other kinds of notices stay for a process that has their couriers.

    Args:
        store: where the notices are.
        couriers: who tells the application.
        releaser: gives back what was held.
        clock: aware.
        chance: jitter, 0 to 1.
    """

    def __init__(
        self,
        store: Store,
        *,
        couriers: Sequence[Courier] = (),
        releaser: Releaser | None = None,
        clock: Callable[[], datetime] = utc_now,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._couriers = tuple(couriers)
        self._releaser = releaser
        self._clock = clock
        self._chance = chance
        self._next_give_up = datetime.min.replace(tzinfo=UTC)
        self._kinds = frozenset().union(*(courier.kinds for courier in couriers))
        if releaser is not None:
            self._kinds |= {NoticeKind.RELEASE}

    def deliver_due(self, *, stop: Callable[[], bool] = lambda: False) -> DeliveryReport:
        """Deliver what is due, until nothing is, something is refused, or `stop` says so.

        Raises:
            RecordError: the store refused; nothing is lost.
        """
        total = DeliveryReport(given_up=self._give_up())
        while not stop():
            batch = self._lease()
            if not batch:
                break
            report = self._deliver(batch, stop=stop)
            total += report
            if report.postponed:
                break
        return total

    def _lease(self) -> tuple[Notice, ...]:
        # Looked first: a lease writes, and an idle drainer should keep no upload waiting.
        with self._store.reading() as tx:
            if not notices_due(tx, self._kinds, now=self._clock()):
                return ()
        with self._store.transaction() as tx:
            return lease_notices(tx, self._kinds, limit=BATCH, now=self._clock(), lease_s=LEASE_S)

    def _deliver(self, batch: Sequence[Notice], *, stop: Callable[[], bool]) -> DeliveryReport:
        delivered, postponed = 0, 0
        for notice in batch:
            if stop() or postponed:
                # Whoever refused one is likely to refuse the next: not tried, and not counted as tried.
                with self._store.transaction() as tx:
                    postpone_notice(tx, notice.id, until=self._clock(), counted=False)
                continue
            try:
                self._hand_over(notice)
            except (NotifyError, RecordError) as error:
                logger.warning("a notice was not taken, and is tried again: %s %s", error, error.hint)
                # What the application's own function raised may quote anything: only for who asks for it.
                logger.debug("the cause", exc_info=True)
                postponed += 1
                self._postpone(notice, getattr(error, "retry_after_s", 0.0))
            else:
                delivered += 1
                with self._store.transaction() as tx:
                    mark_delivered(tx, notice.id)
        return DeliveryReport(delivered=delivered, postponed=postponed)

    def _hand_over(self, notice: Notice) -> None:
        if isinstance(notice.message, ReleaseHeld):
            if self._releaser is not None:
                self._releaser.release(notice.message.encounter_id, by=_BY)
            return
        for courier in self._couriers:
            if notice.message.kind in courier.kinds:
                courier.deliver(notice)

    def _postpone(self, notice: Notice, retry_after_s: float) -> None:
        wait_s = back_off_s(
            notice.attempts,
            base_s=RETRY_BASE_S,
            most_s=RETRY_MOST_S,
            at_least_s=retry_after_s,
            chance=self._chance,
        )
        now = self._clock()
        with self._store.transaction() as tx:
            postpone_notice(tx, notice.id, until=now + timedelta(seconds=wait_s))
            if isinstance(notice.message, ReleaseHeld) and notice.attempts >= RELEASE_ALARM_AFTER:
                raise_alarm(
                    tx,
                    RELEASE_ALARM,
                    "What turned out to be innocent cannot be given back from quarantine: check its storage "
                    "(III_QUARANTINE_URL). It is tried again.",
                    now=now,
                )

    def _give_up(self) -> int:
        # A release is never given up: it is somebody's innocent picture.
        kinds = self._kinds - {NoticeKind.RELEASE}
        now = self._clock()
        if not kinds or now < self._next_give_up:
            return 0
        self._next_give_up = now + _GIVE_UP_EVERY
        with self._store.transaction() as tx:
            count = give_up_notices(tx, kinds, older_than=now - GIVE_UP_AFTER)
            if count:
                raise_alarm(
                    tx,
                    UNDELIVERED_ALARM,
                    "Your application did not take notices for three days. Check III_WEBHOOK_URL and its "
                    "log; what was answered late is in 'iii-client outbox list --settled'.",
                    now=now,
                )
        return count
