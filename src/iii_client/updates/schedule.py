"""When to update next: a rule of pure functions, and the small file that all processes of a host share.

After a success the next update is due an hour later, give or take a tenth; after the n-th failure in a row
min(2^(n-1) x 15 min x (1 + random), 24 h) later. A wait that the repository asks for (`Retry-After`, or
`minimum_wait_s` in its signed timestamp) is always kept, up to a day. The jitter is there because clients
that all ask at the full hour take a small publisher down.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from iii_client.updates.durable import replace_durably
from iii_client.updates.fields import moment, number

#: The publisher signs every hour.
UPDATE_EVERY_S = 3600.0
JITTER_RATIO = 0.1
FIRST_BACK_OFF_S = 900.0
MAX_WAIT_S = 24 * 3600.0

_MAX_FILE_BYTES = 4096
_VERSION = 1

#: A number from 0 to below 1.
Random = Callable[[], float]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """What is known about the last attempt.

    Attributes:
        failures: in a row.
        attempted_at: when it was made.
        due_at: when the next one may be made.
    """

    failures: int
    attempted_at: datetime
    due_at: datetime

    def is_due(self, now: datetime) -> bool:
        """Whether to try now. A wait that no rule here gives comes from a clock that was wrong: then, yes."""
        return now >= self.due_at or self.due_at - now > timedelta(seconds=2 * MAX_WAIT_S)


def after_success(now: datetime, *, random: Random, minimum_wait_s: float = 0.0) -> Schedule:
    """An hour later, or later if the repository asks for that."""
    wait_s = max(UPDATE_EVERY_S * (1 + JITTER_RATIO * (2 * random() - 1)), min(minimum_wait_s, MAX_WAIT_S))
    return Schedule(failures=0, attempted_at=now, due_at=now + timedelta(seconds=wait_s))


def after_failure(
    previous: Schedule | None, now: datetime, *, random: Random, retry_after_s: float = 0.0
) -> Schedule:
    """Ever later, or later still if the repository asks for that."""
    failures = (previous.failures if previous else 0) + 1
    # Beyond 2^7 x 15 min the cap holds anyway; the exponent stays small.
    back_off_s = 2.0 ** (min(failures, 8) - 1) * FIRST_BACK_OFF_S * (1 + random())
    wait_s = min(max(back_off_s, retry_after_s), MAX_WAIT_S)
    return Schedule(failures=failures, attempted_at=now, due_at=now + timedelta(seconds=wait_s))


def read_schedule(path: Path) -> Schedule | None:
    """What the file says; None when there is none, or a damaged one: then an update is due."""
    try:
        with path.open("rb") as file:
            tree = json.loads(file.read(_MAX_FILE_BYTES))
        if number(tree, "version", 1) != _VERSION:
            return None
        return Schedule(
            failures=number(tree, "failures", 0),
            attempted_at=moment(tree, "attempted_at"),
            due_at=moment(tree, "due_at"),
        )
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        return None


def write_schedule(path: Path, schedule: Schedule) -> None:
    """Keep it for every process. A disk that refuses is logged: then an update is tried too early."""
    tree = {
        "version": _VERSION,
        "failures": schedule.failures,
        "attempted_at": schedule.attempted_at.isoformat(),
        "due_at": schedule.due_at.isoformat(),
    }
    try:
        replace_durably(path, json.dumps(tree).encode())
    except OSError as error:
        logger.warning("when to update next cannot be kept: %s", error.strerror)
