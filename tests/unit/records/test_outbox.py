"""The outbox: leased by one, settled once with all that follows, handed to a person in the end."""

import json
import threading
from datetime import timedelta
from pathlib import Path

from tests.outbox_items import NOON, denied, listed, record, rows

from iii_client.model import Action, Mode
from iii_client.records import Store
from iii_client.records.late_answers import settle
from iii_client.records.operators import Operators
from iii_client.records.outbox import (
    OutboxState,
    Waiting,
    hand_back,
    hand_over,
    lease,
    postpone,
    renew,
    retry,
)
from iii_client.records.outbox_list import count_outbox, list_outbox, next_attempt_in_s

MINUTE = timedelta(minutes=1)


def take(
    store: Store, *, limit: int = 100, now_in: timedelta = timedelta(), holder: str = "me"
) -> list[Waiting]:
    with store.transaction() as tx:
        return list(lease(tx, holder=holder, limit=limit, now=NOON + now_in, lease_s=60))


def test_a_lease_takes_the_oldest_and_nobody_else_gets_them(store: Store, tmp_path: Path) -> None:
    for number in range(3):
        record(store, tmp_path, [number], now=NOON - (3 - number) * MINUTE)
    first = take(store, limit=2)
    assert [waiting.reference for waiting in first] == ["obj/0", "obj/1"]
    assert [waiting.reference for waiting in take(store)] == ["obj/2"]
    assert take(store) == []
    assert (first[0].previous_action, first[0].attempts) == (Action.QUARANTINE, 1)
    assert first[0].item.context.route == "avatar"


def test_a_lease_that_ended_is_taken_by_the_next(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1])
    take(store, holder="dead")
    assert take(store, now_in=timedelta(seconds=59)) == []
    (again,) = take(store, now_in=timedelta(seconds=60), holder="heir")
    assert again.attempts == 2


def test_a_renewed_lease_lasts_from_then_on(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1])
    take(store)
    with store.transaction() as tx:
        renew(tx, holder="me", now=NOON + timedelta(seconds=50), lease_s=60)
    assert take(store, now_in=timedelta(seconds=100)) == []
    assert len(take(store, now_in=timedelta(seconds=110))) == 1


def test_the_item_of_one_decision_is_leased_before_it_is_due(store: Store, tmp_path: Path) -> None:
    first, _second = record(store, tmp_path, [1, 2], now=NOON + MINUTE)
    with store.transaction() as tx:
        (waiting,) = lease(tx, holder="me", limit=9, now=NOON, lease_s=60, encounter_id=first)
        assert lease(tx, holder="you", limit=9, now=NOON, lease_s=60, encounter_id=first) == ()
    assert waiting.encounter_id == first


def test_eight_takers_at_once_never_share_a_row(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, range(60))
    taken: list[list[str]] = []

    def run(name: str) -> None:
        mine: list[str] = []
        while got := take(store, limit=7, holder=name):
            mine += [waiting.row_id for waiting in got]
        taken.append(mine)
        store.close()

    threads = [threading.Thread(target=run, args=(f"t{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [row_id for mine in taken for row_id in mine]
    assert len(found) == len(set(found)) == 60


def test_an_answer_has_all_its_effects_and_the_second_time_none(store: Store, tmp_path: Path) -> None:
    (encounter_id,) = record(store, tmp_path, [1])
    (waiting,) = take(store)
    for expected in (1, 0):
        with store.transaction() as tx:
            assert len(settle(tx, [listed(waiting)], now=NOON + MINUTE)) == expected
    assert rows(store, "SELECT state, item FROM outbox") == [("settled", "")]
    assert rows(store, "SELECT encounter_id, kind, outcome, action, rule FROM follow_up") == [
        (encounter_id, "late_answer", "matched", "block", "matched_exact")
    ]
    assert rows(store, "SELECT confirmed, sources FROM encounter_hit") == [(1, '["list-a"]')]
    assert rows(store, "SELECT confirm_id FROM encounter") == [("c-1",)]
    ((kind, body),) = rows(store, "SELECT kind, body FROM audit ORDER BY seq DESC LIMIT 1")
    assert kind == "late_answer"
    assert json.loads(body)["waited_s"] == 60
    ((kind, body),) = rows(store, "SELECT kind, body FROM notice")
    told = json.loads(body)
    assert kind == "late_answer"
    assert (told["reference"], told["action"], told["previous_action"]) == ("obj/1", "block", "quarantine")
    assert waiting.item.fingerprint.digests[0].hex not in body


def test_a_denied_item_is_released_and_a_listed_one_is_not(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1, 2])
    one, two = sorted(take(store), key=lambda waiting: waiting.reference)
    with store.transaction() as tx:
        settle(tx, [denied(one), listed(two)], now=NOON)
    ((body,),) = rows(store, "SELECT body FROM notice WHERE kind = 'release'")
    assert json.loads(body)["encounter_id"] == one.encounter_id
    assert rows(store, "SELECT count(*) FROM notice WHERE kind = 'late_answer'") == [(2,)]


def test_a_near_match_that_stays_held_is_not_released(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1])
    (waiting,) = take(store)
    with store.transaction() as tx:
        settle(tx, [listed(waiting, action=Action.QUARANTINE)], now=NOON)
    assert rows(store, "SELECT kind FROM notice") == [("late_answer",)]


def test_nothing_is_released_that_was_never_held(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1], mode=Mode.SHADOW)
    (waiting,) = take(store)
    with store.transaction() as tx:
        settle(tx, [denied(waiting)], now=NOON)
    assert rows(store, "SELECT count(*) FROM notice WHERE kind = 'release'") == [(0,)]


def test_an_answer_after_the_lease_ended_still_counts_once(store: Store, tmp_path: Path) -> None:
    """The slow one and its heir both have an answer; whoever commits first settles."""
    record(store, tmp_path, [1])
    (slow,) = take(store, holder="slow")
    (heir,) = take(store, holder="heir", now_in=2 * MINUTE)
    with store.transaction() as tx:
        assert settle(tx, [denied(slow)], now=NOON + 2 * MINUTE)
        assert not settle(tx, [denied(heir)], now=NOON + 2 * MINUTE)
        assert not postpone(tx, heir.row_id, holder="heir", reason="x", until=NOON)
    assert rows(store, "SELECT count(*) FROM follow_up") == [(1,)]


def test_a_postponed_row_is_due_later_and_only_its_holder_postpones_it(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1])
    (waiting,) = take(store)
    with store.transaction() as tx:
        assert not postpone(tx, waiting.row_id, holder="you", reason="service_error", until=NOON)
        assert postpone(tx, waiting.row_id, holder="me", reason="service_error", until=NOON + MINUTE)
        assert next_attempt_in_s(tx, now=NOON) == 60
        assert lease(tx, holder="me", limit=1, now=NOON, lease_s=60) == ()
        (row,) = list_outbox(tx, now=NOON)
    assert (row.last_reason, row.attempts) == ("service_error", 1)
    assert len(take(store, now_in=MINUTE)) == 1


def test_a_row_that_is_handed_back_was_not_tried(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1])
    (waiting,) = take(store)
    with store.transaction() as tx:
        assert hand_back(tx, waiting.row_id, holder="me", now=NOON)
    (again,) = take(store)
    assert again.attempts == 1


def test_what_waited_too_long_goes_to_a_person_with_an_alarm_and_a_trace(
    store: Store, tmp_path: Path
) -> None:
    old, _new = record(store, tmp_path, [1], now=NOON - 73 * 60 * MINUTE) + record(store, tmp_path, [2])
    with store.transaction() as tx:
        assert hand_over(tx, waiting_since=NOON - 72 * 60 * MINUTE, now=NOON) == 1
        assert hand_over(tx, waiting_since=NOON - 72 * 60 * MINUTE, now=NOON) == 0
        counts = count_outbox(tx, now=NOON)
    assert (counts.pending, counts.due, counts.for_review, counts.oldest_pending_at) == (1, 1, 1, NOON)
    assert rows(store, "SELECT encounter_id, kind FROM follow_up") == [(old, "handed_over")]
    assert rows(store, "SELECT kind, times FROM alarm") == [("outbox_overdue", 1)]
    assert rows(store, "SELECT kind FROM audit ORDER BY seq DESC LIMIT 1") == [("outbox_handed_over",)]


def test_what_somebody_asks_about_right_now_is_not_handed_over(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1], now=NOON - 73 * 60 * MINUTE)
    take(store)
    with store.transaction() as tx:
        assert hand_over(tx, waiting_since=NOON, now=NOON) == 0


def test_retry_makes_everything_due_also_what_waits_for_a_person(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1], now=NOON - 73 * 60 * MINUTE)
    record(store, tmp_path, [2])
    with store.transaction() as tx:
        hand_over(tx, waiting_since=NOON - MINUTE, now=NOON)
    (waiting,) = take(store)
    with store.transaction() as tx:
        postpone(tx, waiting.row_id, holder="me", reason="x", until=NOON + 60 * MINUTE)
        assert retry(tx, by=Operators(first="ann"), now=NOON) == 2
    assert len(take(store)) == 2
    ((kind, body),) = rows(store, "SELECT kind, body FROM audit ORDER BY seq DESC LIMIT 1")
    assert kind == "outbox_retried"
    assert json.loads(body) == {"items": 2, "operator": "ann", "second_operator": ""}


def test_retry_voids_a_lease_that_a_clock_took_which_ran_ahead(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1])
    with store.transaction() as tx:
        lease(tx, holder="a", limit=1, now=NOON + timedelta(days=400), lease_s=60)
    assert take(store, holder="b") == []
    with store.transaction() as tx:
        assert retry(tx, by=Operators(first="ann"), now=NOON) == 1
    assert len(take(store, holder="b")) == 1


def test_retry_takes_nothing_from_who_asks_right_now(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1])
    take(store, holder="a")
    with store.transaction() as tx:
        assert retry(tx, by=Operators(first="ann"), now=NOON) == 0
    assert take(store, holder="b") == []


def test_a_row_that_cannot_be_read_stops_nobody(store: Store, tmp_path: Path) -> None:
    record(store, tmp_path, [1, 2, 3])
    with store.transaction() as tx:
        tx.execute("UPDATE outbox SET item = '{' WHERE id = (SELECT min(id) FROM outbox)")
    assert len(take(store)) == 2
    assert rows(store, "SELECT count(*) FROM outbox WHERE state = 'for_review'") == [(1,)]
    assert rows(store, "SELECT kind FROM alarm") == [("outbox_unreadable",)]


def test_a_list_comes_in_pages_oldest_first_and_without_hashes(store: Store, tmp_path: Path) -> None:
    for number in range(5):
        record(store, tmp_path, [number], now=NOON + number * MINUTE)
    seen = []
    with store.transaction() as tx:
        after = None
        while page := list_outbox(tx, now=NOON, after=after, limit=2):
            seen += [row.reference for row in page]
            after = (page[-1].created_at, page[-1].id)
        assert list_outbox(tx, now=NOON, states={OutboxState.SETTLED}) == ()
        (row, *_) = list_outbox(tx, now=NOON)
    assert seen == [f"obj/{number}" for number in range(5)]
    assert (row.route, row.state, row.action, row.leased) == ("avatar", "pending", "quarantine", False)
