"""What stands in the store at one moment, in numbers: for metrics, doctor and whoever is woken at night."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from iii_client.records.alarms import Alarm, open_alarms
from iii_client.records.held import LIVE_STATES
from iii_client.records.notices import NoticeState
from iii_client.records.outbox_list import OutboxCounts, count_outbox
from iii_client.records.store import Store
from iii_client.records.tallies import totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Numbers of one moment.

    Attributes:
        outbox: items that wait.
        notices_pending: messages that the application has not taken yet.
        held: files in quarantine by state.
        alarms: that nobody has dismissed.
        tallies: every count since the store was made.
    """

    outbox: OutboxCounts
    notices_pending: int
    held: Mapping[str, int]
    alarms: tuple[Alarm, ...]
    tallies: Mapping[str, int]


#: Of a store that is not there yet.
NOTHING_YET = Overview(
    outbox=OutboxCounts(pending=0, due=0, for_review=0, oldest_pending_at=None),
    notices_pending=0,
    held={state.value: 0 for state in sorted(LIVE_STATES)},
    alarms=(),
    tallies={},
)


def look_over(store: Store, *, now: datetime) -> Overview:
    """Read them all.

    Raises:
        RecordError: the store refused.
    """
    with store.reading() as tx:
        ((notices,),) = tx.query(
            "SELECT count(*) FROM notice WHERE state = :state", state=NoticeState.PENDING.value
        )
        held: dict[str, int] = dict(tx.query("SELECT state, count(*) FROM held GROUP BY state"))
        return Overview(
            outbox=count_outbox(tx, now=now),
            notices_pending=int(notices),
            held={state.value: int(held.get(state.value, 0)) for state in sorted(LIVE_STATES)},
            alarms=open_alarms(tx),
            tallies=totals(tx),
        )
