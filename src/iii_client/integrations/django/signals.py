"""What receivers of the application are told.

| signal | sent | arguments |
|---|---|---|
| `match_confirmed` | at once, by whoever scanned | `decision`, `context` |
| `match_pending` | at once: an answer is outstanding | `decision`, `context` |
| `late_answer` | by `manage.py iii_drain`, once or more | `answer` (`iii_client.model.LateAnswer`) |
| `alarm_raised` | by `manage.py iii_drain`, once or more | `alarm` (`iii_client.model.AlarmRaised`) |

A receiver of the first two that raises is logged and changes nothing: the decision stands. One of the last
two that raises is told again later; make it idempotent. Under ATOMIC_REQUESTS what a receiver writes into
Django's database is rolled back with the request; the library's own record is not.
"""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

from iii_client.model import Decision, Outcome, UploadContext

match_confirmed = Signal()
match_pending = Signal()
late_answer = Signal()
alarm_raised = Signal()

logger = logging.getLogger(__name__)

_OF_OUTCOME = {Outcome.MATCHED: match_confirmed, Outcome.UNCONFIRMED: match_pending}


def send_decision(decision: Decision, context: UploadContext) -> None:
    """Tell of a decision, if it is one that receivers are told of. Never raises."""
    signal = _OF_OUTCOME.get(decision.verdict.outcome)
    if signal is not None:
        signal.send_robust(sender=Decision, decision=decision, context=context)


def ring_on_commit(ring: Callable[[Decision], object]) -> None:
    """Ring a queue for each item without an answer, once the request's transaction is committed.

        ring_on_commit(CeleryHook(app).ring)          # in AppConfig.ready of your own app

    Not before: a worker would look for a row that is not there yet. After a rollback nothing rings, and the
    sweep finds the item, which is recorded all the same.

    Args:
        ring: of a hook of `integrations/celery.py`, `rq.py` or `dramatiq.py`.
    """

    def on_pending(*, decision: Decision, **_: Any) -> None:
        transaction.on_commit(partial(ring, decision), robust=True)

    match_pending.connect(on_pending, weak=False)
