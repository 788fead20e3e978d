"""Breakers in the store: shared, atomic, kept over a restart, alarming."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from iii_client.model.breakers import CLOSED, SERVICE_REFUSED_ALARM, BreakerState
from iii_client.records import Store
from iii_client.records.alarms import open_alarms
from iii_client.records.breakers import Breakers
from iii_client.records.operators import Operators

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
OPEN = BreakerState(failures=4, open_until_ms=5_000_000_000_000, probe_until_ms=1, wait_until_ms=7)


def put(breakers: Breakers, endpoint: str, state: BreakerState) -> None:
    breakers.apply(endpoint, lambda _: (None, state))


def test_a_state_is_kept_for_each_endpoint_and_survives_a_restart(store: Store) -> None:
    put(Breakers(store), "v2-a", OPEN)
    restarted = Breakers(store)
    assert restarted.get("v2-a") == OPEN
    assert restarted.get("v2-b") == CLOSED


def test_looking_at_a_breaker_writes_nothing(store: Store) -> None:
    Breakers(store).get("v2-a")
    with store.reading() as tx:
        assert tx.query("SELECT endpoint FROM breaker") == []


def test_of_many_workers_one_takes_the_probe(store: Store) -> None:
    breakers = Breakers(store)
    put(breakers, "v2-a", BreakerState(failures=3))

    def take(state: BreakerState) -> tuple[bool, BreakerState]:
        free = state.probe_until_ms == 0
        return free, BreakerState(failures=3, probe_until_ms=1)

    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: Breakers(store).apply("v2-a", take), range(40)))
    assert taken.count(True) == 1


def test_counting_in_many_workers_loses_nothing(store: Store) -> None:
    def fail(state: BreakerState) -> tuple[None, BreakerState]:
        return None, BreakerState(failures=state.failures + 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Breakers(store).apply("v2-a", fail), range(40)))
    assert Breakers(store).get("v2-a").failures == 40


def test_refused_credentials_alarm_once_until_they_work_again(store: Store) -> None:
    breakers = Breakers(store, clock=lambda: NOON)
    refused = BreakerState(alarm=SERVICE_REFUSED_ALARM)
    for _ in range(3):
        put(breakers, "v2-a", refused)
    with store.transaction() as tx:
        (alarm,) = open_alarms(tx)
    assert (alarm.kind, alarm.times) == (SERVICE_REFUSED_ALARM, 1)
    assert "III_SERVICE_PASSWORD" in alarm.detail
    put(breakers, "v2-a", CLOSED)
    with store.transaction() as tx:
        assert open_alarms(tx) == ()
        assert [kind for (kind,) in tx.query("SELECT kind FROM audit")] == ["alarm_dismissed"]


def test_an_operator_lets_a_service_be_asked_again_and_its_alarm_stays(store: Store) -> None:
    breakers = Breakers(store)
    put(breakers, "v2-a", BreakerState(failures=9, wait_until_ms=10**13, alarm=SERVICE_REFUSED_ALARM))
    breakers.reset("v2-a", by=Operators(first="ann"))
    assert breakers.get("v2-a") == BreakerState(alarm=SERVICE_REFUSED_ALARM)
    with store.transaction() as tx:
        ((kind, body),) = tx.query("SELECT kind, body FROM audit")
    assert kind == "service_resumed"
    assert json.loads(body)["operator"] == "ann"
