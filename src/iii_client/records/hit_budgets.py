"""The counts behind the budgets of filter hits, read from the encounters. Fits `protocols.HitGuard`.

Touched only for items that hit. Reading and recording are two transactions: workers that look at the same
moment may each let one more through, which a budget of twenty does not notice.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from iii_client.config import GuardConfig
from iii_client.model import Candidate, HashValue, UploadContext
from iii_client.records.alarms import raise_alarm
from iii_client.records.budgets import MEDIAN_HOURS, Budget, Hit, Usage, used_up
from iii_client.records.pseudonyms import PseudonymKey
from iii_client.records.store import Store, Transaction, as_ms, as_text, utc_now

_MS_PER_HOUR = 3_600_000


class HitBudgets:
    """Budgets over one store.

    Args:
        store: the one that the recorder writes to.
        key: the one under which the recorder stores uploaders.
        config: the budgets.
        clock: aware.
    """

    def __init__(
        self,
        store: Store,
        *,
        key: PseudonymKey,
        config: GuardConfig,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._store = store
        self._key = key
        self._config = config
        self._clock = clock

    def exhausted(
        self, hits: Sequence[Sequence[Candidate]], contexts: Sequence[UploadContext]
    ) -> tuple[str, ...]:
        """For each item the name of the budget that is used up, empty when none is; aligned.

        Args:
            hits: of each item; items without any are passed over.
            contexts: where each came from.

        Raises:
            RecordError: the counts cannot be read.
        """
        found = {
            index: Hit(
                uploader=self._key.of(context.uploader),
                hashes=frozenset(candidate.hash for candidate in candidates),
            )
            for index, (candidates, context) in enumerate(zip(hits, contexts, strict=True))
            if candidates
        }
        names = [""] * len(hits)
        if found:
            with self._store.reading() as tx:
                usage = _usage(tx, list(found.values()), self._config, now=self._clock())
            for index, name in zip(found, used_up(list(found.values()), usage, self._config), strict=True):
                names[index] = name
        return tuple(names)


def count_hit(
    tx: Transaction,
    hits: Sequence[Candidate],
    *,
    uploader: bytes,
    encounter_id: str,
    held_back: bool,
    now: datetime,
) -> None:
    """Count one item with hits, beside its encounter, which is what the budget of an uploader counts.

    Args:
        uploader: pseudonym, or empty.
        held_back: whether a budget was used up: then it uses up nothing of the overall one.
    """
    if not held_back:
        tx.execute(
            "INSERT INTO hit_hour (hour, hits) VALUES (:hour, 1)"
            " ON CONFLICT (hour) DO UPDATE SET hits = hit_hour.hits + 1",
            hour=_hour_of(now),
        )
    # In one order, so that two writers never wait for each other's rows.
    for algorithm, value in sorted({(hit.hash.algorithm.value, hit.hash.value) for hit in hits}):
        tx.execute(
            "INSERT INTO hash_uploader (algorithm, value, who, at, encounter_id)"
            " VALUES (:algorithm, :value, :who, :at, :encounter_id)"
            " ON CONFLICT (value, algorithm, who) DO UPDATE"
            " SET at = excluded.at, encounter_id = excluded.encounter_id",
            algorithm=algorithm,
            value=value,
            who=uploader or bytes.fromhex(encounter_id),
            at=as_text(now),
            encounter_id=encounter_id,
        )


def raise_hit_alarm(tx: Transaction, budget: str, *, case: str, now: datetime) -> None:
    """Tell a person that a budget is used up.

    Args:
        budget: name of the budget; another guard than this one may have its own.
        case: case reference or encounter id of the item that showed it.
    """
    what = _WHAT.get(budget, f"The budget of filter hits '{budget}' is used up.")
    raise_alarm(tx, f"hits_{budget}", f"{what} {_MEANWHILE} Last seen in case {case}.", now=now)


_WHAT: Mapping[str, str] = {
    Budget.UPLOADER: "One uploader had more filter hits in an hour than guard.uploader_per_hour. "
    "If it is abuse, stop the account.",
    Budget.HASH: "One hash came from more uploaders in a day than guard.uploaders_per_hash: perhaps a stock "
    "picture on a bad list. If it is known to be good: iii-client allow add.",
    Budget.OVERALL: "More filter hits in an hour than guard.per_hour and guard.times_median allow: a flood, "
    "or a bad list.",
}
_MEANWHILE = "Meanwhile such items are held, not blocked, and the service is asked later."


def _usage(tx: Transaction, hits: Sequence[Hit], limits: GuardConfig, *, now: datetime) -> Usage:
    hour = _hour_of(now)
    counted: dict[int, int] = dict(
        tx.query(
            "SELECT hour, hits FROM hit_hour WHERE hour BETWEEN :first AND :last",
            first=hour - MEDIAN_HOURS,
            last=hour,
        )
    )
    this_hour = counted.pop(hour, 0)
    uploaders = {hit.uploader for hit in hits if hit.uploader} if limits.uploader_per_hour else set()
    hashes = {value for hit in hits for value in hit.hashes} if limits.uploaders_per_hash else set()
    hour_ago, day_ago = now - timedelta(hours=1), now - timedelta(days=1)
    # One more than the limit already says that it is passed.
    enough = limits.uploaders_per_hash + 1
    return Usage(
        this_hour=this_hour,
        hours=tuple(counted.values()),
        of_uploader={
            uploader: _hits_of(tx, uploader, since=hour_ago, most=limits.uploader_per_hour)
            for uploader in uploaders
        },
        uploaders={value: _uploaders_of(tx, value, since=day_ago, most=enough) for value in hashes},
    )


def _hits_of(tx: Transaction, uploader: bytes, *, since: datetime, most: int) -> int:
    # Bounded: a flood must not make every further look at it slower.
    ((count,),) = tx.query(
        "SELECT count(*) FROM (SELECT 1 FROM encounter"
        " WHERE uploader_key = :uploader AND at > :since AND counts = 1 LIMIT :most) AS recent",
        uploader=uploader,
        since=as_text(since),
        most=most,
    )
    return int(count)


def _uploaders_of(tx: Transaction, value: HashValue, *, since: datetime, most: int) -> frozenset[bytes]:
    rows = tx.query(
        "SELECT who FROM hash_uploader"
        " WHERE value = :value AND algorithm = :algorithm AND at > :since LIMIT :most",
        value=value.value,
        algorithm=value.algorithm.value,
        since=as_text(since),
        most=most,
    )
    return frozenset(bytes(who) for (who,) in rows)


def _hour_of(moment: datetime) -> int:
    return as_ms(moment) // _MS_PER_HOUR
