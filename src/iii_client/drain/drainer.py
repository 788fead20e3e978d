"""One round after the other: lease a batch, ask, judge, rule, settle, tell.

    lease ──► ask (in turn, at a shared rate) ──► judge ──► rule ──► settle ──► deliver notices
                                                               └──► postpone, or hand over to a person

Promises: the service is asked at least once about every item, and an answer has its effects once: a process
that dies between asking and settling leaves a lease that ends, and somebody else asks again. All drainers of
one outbox share one rate. One item that the service chokes on delays itself and not the others.
"""

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Self

from iii_client.config import Config, OutboxConfig
from iii_client.drain.background import BackgroundDrainer
from iii_client.drain.report import DrainReport
from iii_client.drain.rounds import BATCH, RETRY_BASE_S, RETRY_MOST_S, Rounds
from iii_client.model import Reason
from iii_client.notify import Delivery, make_couriers
from iii_client.parts import Parts
from iii_client.protocols import AllowList, Confirmer, Courier, Policy, Releaser
from iii_client.records import Store
from iii_client.records.back_off import back_off_s
from iii_client.records.store import utc_now
from iii_client.service import make_confirmer

#: Budget of one call while draining, in seconds: nobody's upload waits for it.
TIMEOUT_S = 10.0
#: `run_until_empty` stops after so many rounds in a row without any answer, or when it would have to wait
#: longer than this, in seconds.
PATIENCE_ROUNDS, PATIENCE_S = 3, 30.0


class Drainer:
    """Drains one outbox. Thread-safe; any number of them, in any processes, share the work.

    Args:
        store: where the outbox is.
        confirmer: asks the service, with a budget that may be long.
        policy: rules about the answers.
        config: rate, and when a person takes over.
        hashes_per_call: most hashes of one call: 1 under v1, 100 under v2.
        shield: puts a breaker or a memory in front of a confirmer.
        couriers: tell the application.
        releaser: gives back what was held.
        allow_list: digests that are known to be good by now.
        send_own_hash: whether a picture's own perceptual hash may be sent.
        clock: aware.
        wait: waits for an event, or so many seconds.
        chance: jitter, 0 to 1.
    """

    def __init__(
        self,
        store: Store,
        confirmer: Confirmer,
        policy: Policy,
        *,
        config: OutboxConfig | None = None,
        hashes_per_call: int = BATCH,
        shield: Callable[[Confirmer], Confirmer] = lambda confirmer: confirmer,
        couriers: Sequence[Courier] = (),
        releaser: Releaser | None = None,
        allow_list: AllowList | None = None,
        send_own_hash: bool = True,
        clock: Callable[[], datetime] = utc_now,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._rounds = Rounds(
            store,
            confirmer,
            policy,
            config=config or OutboxConfig(),
            hashes_per_call=hashes_per_call,
            shield=shield,
            allow_list=allow_list,
            send_own_hash=send_own_hash,
            clock=clock,
            wait=wait,
            chance=chance,
        )
        self._delivery = Delivery(store, couriers=couriers, releaser=releaser, clock=clock, chance=chance)
        self._wait = wait
        self._chance = chance

    @classmethod
    def from_config(cls, config: Config, *, couriers: Sequence[Courier] = ()) -> Self:
        """Build with the library's own parts; the webhook, if one is set, and other couriers.

        Raises:
            ConfigurationError: a setting is missing or wrong.
        """
        return cls.from_parts(Parts.from_config(config), couriers=couriers)

    @classmethod
    def from_parts(cls, parts: Parts, *, couriers: Sequence[Courier] = ()) -> Self:
        """Build over the parts that a scanner uses, too.

        Raises:
            ConfigurationError: the webhook cannot be used.
        """
        service = parts.config.service
        return cls(
            parts.store,
            make_confirmer(replace(service, timeout_s=max(service.timeout_s, TIMEOUT_S))),
            parts.policy,
            config=parts.config.outbox,
            hashes_per_call=1 if service.protocol == "v1" else BATCH,
            shield=parts.shielded,
            couriers=(*make_couriers(parts.config.notify), *couriers),
            releaser=parts.quarantine,
            allow_list=parts.allow_list,
            send_own_hash=service.send_own_hash,
        )

    def drain_once(
        self, limit: int = BATCH, *, encounter_id: str = "", stop: threading.Event | None = None
    ) -> DrainReport:
        """Ask about one batch of due items, see to the answers, and deliver due notices.

        Args:
            limit: most items.
            encounter_id: the item of this decision only, due or not; empty for all that are due.
            stop: when set, what was not asked yet is handed back.

        Raises:
            RecordError: the store refused; nothing is lost.
        """
        stop = stop or threading.Event()
        report = self._rounds.run(limit, encounter_id=encounter_id, stop=stop)
        return replace(report, notices=self._delivery.deliver_due(stop=stop.is_set))

    def run_until_empty(
        self,
        *,
        stop: threading.Event | None = None,
        progress: Callable[[DrainReport], object] = lambda _report: None,
    ) -> DrainReport:
        """Drain until nothing is due or soon due, or the service does not answer for a while.

        Args:
            stop: ends it after the call under way.
            progress: gets the report of each round.

        Returns:
            The sum of all rounds. What is left, `records.outbox_list.count_outbox` says.

        Raises:
            RecordError: the store refused; nothing is lost.
        """
        stop = stop or threading.Event()
        total, failures = DrainReport(), 0
        while not stop.is_set():
            report = self.drain_once(stop=stop)
            total += report
            progress(report)
            if not report.asked:
                soonest_s = self._rounds.due_in_s()
                if soonest_s is None or soonest_s > PATIENCE_S:
                    break
                self._wait(stop, soonest_s)
                continue
            if report.problem is not Reason.SERVICE_PAUSED:
                failures = failures + 1 if report.problem else 0
            pause_s = self.pause_s(report, failures=failures)
            if failures >= PATIENCE_ROUNDS or pause_s > PATIENCE_S:
                break
            self._wait(stop, pause_s)
        return total

    def run_in_background(self) -> BackgroundDrainer:
        """Start a thread that drains while this process lives. Close it when the application ends."""
        background = BackgroundDrainer(self)
        background.ensure_running()
        return background

    def pause_s(self, report: DrainReport, *, failures: int) -> float:
        """How long to leave the service alone after a round, the last of so many in a row without answers."""
        if report.problem is Reason.SERVICE_PAUSED:
            return report.wait_s + self._chance()
        if not failures:
            return 0.0
        return back_off_s(
            failures,
            base_s=RETRY_BASE_S,
            most_s=RETRY_MOST_S,
            at_least_s=report.wait_s,
            chance=self._chance,
        )
