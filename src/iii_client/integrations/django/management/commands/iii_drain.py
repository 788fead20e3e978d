"""`manage.py iii_drain`: ask about what waits, and tell receivers of this project about late answers.

Unlike `iii-client outbox drain`, which tells webhooks alone, this one sends the signals `late_answer` and
`alarm_raised`. A signal without receivers takes no notice away from others.
"""

import json
import signal
import threading
from datetime import UTC, datetime
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections
from django.dispatch import Signal

from iii_client.drain import Drainer, DrainReport
from iii_client.errors import IIIError, NotifyError, RecordError
from iii_client.integrations.django import signals
from iii_client.integrations.django.client import get_parts
from iii_client.model import Notice, NoticeKind
from iii_client.records.outbox_list import count_outbox

#: Seconds between two looks with --watch, and after the store refused.
WATCH_S, BROKEN_S = 5.0, 30.0

_SIGNALS = {NoticeKind.LATE_ANSWER: signals.late_answer, NoticeKind.ALARM: signals.alarm_raised}
_ARGUMENTS = {NoticeKind.LATE_ANSWER: "answer", NoticeKind.ALARM: "alarm"}


class SignalCourier:
    """Notices as signals of Django. Fits `protocols.Courier`."""

    @property
    def kinds(self) -> frozenset[NoticeKind]:
        """Those that somebody listens to."""
        return frozenset(kind for kind, told in _SIGNALS.items() if told.has_listeners())

    def deliver(self, notice: Notice) -> None:
        """Tell every receiver; all of them again if one raises. See `protocols.Courier`."""
        close_old_connections()
        kind = notice.message.kind
        told: Signal = _SIGNALS[kind]
        answers = told.send_robust(sender=type(notice.message), **{_ARGUMENTS[kind]: notice.message})
        failed = [answer for _, answer in answers if isinstance(answer, Exception)]
        if failed:
            raise NotifyError(
                f"a receiver raised {type(failed[0]).__name__}",
                hint="All receivers get the same notice again later; its traceback is in the log.",
            ) from failed[0]


class Command(BaseCommand):
    """Exit code 0, or 3 when something still waits."""

    help = "Asks the service about what waits, and sends late_answer and alarm_raised"

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--watch", action="store_true", help="Go on until interrupted (SIGTERM, SIGINT).")
        parser.add_argument("--json", action="store_true", help="One JSON object on standard output.")

    def handle(self, *_: Any, **options: Any) -> None:
        """Drain once, or until interrupted."""
        stop = threading.Event()
        previous = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

        def interrupt(_number: int, _frame: FrameType | None) -> None:
            stop.set()

        if threading.current_thread() is threading.main_thread():
            for number in previous:
                signal.signal(number, interrupt)
        try:
            drainer = Drainer.from_parts(get_parts(), couriers=[SignalCourier()])
            report = self._watch(drainer, stop) if options["watch"] else drainer.run_until_empty(stop=stop)
            with get_parts().store.reading() as tx:
                left = count_outbox(tx, now=datetime.now(UTC))
        except IIIError as error:
            raise CommandError(f"{error} {error.hint}".strip(), returncode=3) from error
        finally:
            if threading.current_thread() is threading.main_thread():
                for number, handler in previous.items():
                    signal.signal(number, handler)
        self._say(report, left.pending, left.for_review, as_json=options["json"])
        if stop.is_set():
            raise CommandError("interrupted", returncode=130)
        if left.pending or left.for_review:
            raise CommandError(
                f"{left.pending} wait for the service, {left.for_review} for a person", returncode=3
            )

    def _watch(self, drainer: Drainer, stop: threading.Event) -> DrainReport:
        total = DrainReport()
        while not stop.is_set():
            try:
                total += drainer.run_until_empty(stop=stop)
                stop.wait(WATCH_S)
            except RecordError as error:
                self.stderr.write(f"{error} {error.hint}".strip())
                stop.wait(BROKEN_S)
        return total

    def _say(self, report: DrainReport, pending: int, for_review: int, *, as_json: bool) -> None:
        counts = {
            "asked": report.asked,
            "matched": report.matched,
            "not_listed": report.not_listed,
            "delivered": report.notices.delivered,
            "left": pending,
            "left_for_review": for_review,
        }
        if as_json:
            self.stdout.write(json.dumps(counts))
        else:
            self.stdout.write(
                ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
            )
