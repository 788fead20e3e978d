"""Budgets of filter hits: what uses them up, what does not, and what happens then."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iii_client.config import GuardConfig
from iii_client.model import (
    TEST_CATEGORY_CODE,
    TEST_CATEGORY_SCHEME,
    Action,
    Algorithm,
    Candidate,
    Category,
    Decision,
    Fingerprint,
    HashValue,
    Match,
    Mode,
    Outcome,
    Reason,
    ReleaseId,
    UploadContext,
    Verdict,
)
from iii_client.records import StateRecorder, Store
from iii_client.records.alarms import open_alarms
from iii_client.records.hit_budgets import HitBudgets
from iii_client.records.pseudonyms import PseudonymKey
from iii_client.test_picture import listed_picture_sha256


def sha256(n: int) -> HashValue:
    return HashValue(algorithm=Algorithm.SHA256, value=n.to_bytes(32))


def hit(n: int) -> Candidate:
    return Candidate(hash=sha256(n), section="sha256")


def decision(*hits: Candidate, guard: str = "", outcome: Outcome = Outcome.MATCHED) -> Decision:
    verdict = Verdict(
        outcome=outcome,
        fingerprint=Fingerprint(recipe="fast-v1", size_bytes=1, kind="png"),
        candidates=hits,
        release=ReleaseId(epoch=1, sequence=0),
    )
    return Decision(
        action=Action.QUARANTINE,
        ruled=Action.QUARANTINE,
        rule="matched_exact",
        verdict=verdict,
        mode=Mode.ENFORCE,
        guard=guard,
    )


@dataclass
class Site:
    """A guarded upload path over one store, with a clock that stands still until it is moved."""

    store: Store
    recorder: StateRecorder
    budgets: HitBudgets
    clock: list[datetime]

    def upload(self, *hits: Candidate, uploader: str = "") -> str:
        context = UploadContext(uploader=uploader)
        (name,) = self.budgets.exhausted([hits], [context])
        self.recorder.record(decision(*hits, guard=name), context)
        return name

    def alarms(self) -> list[str]:
        with self.store.transaction() as tx:
            return [alarm.kind for alarm in open_alarms(tx)]


@pytest.fixture
def site(store: Store, tmp_path: Path) -> Callable[..., Site]:
    def make(**limits: int) -> Site:
        clock = [datetime(2026, 11, 24, 12, tzinfo=UTC)]
        key = PseudonymKey(tmp_path / "encounter.key")
        return Site(
            store=store,
            recorder=StateRecorder(store, key=key, clock=lambda: clock[0]),
            budgets=HitBudgets(store, key=key, config=GuardConfig(**limits), clock=lambda: clock[0]),
            clock=clock,
        )

    return make


def test_an_uploader_has_twenty_hits_an_hour_and_others_are_not_touched(site: Callable[..., Site]) -> None:
    here = site()
    assert [here.upload(hit(n), uploader="ann") for n in range(21)] == [""] * 20 + ["uploader"]
    assert here.upload(hit(99), uploader="bob") == ""
    here.clock[0] += timedelta(minutes=61)
    assert here.upload(hit(100), uploader="ann") == ""


def test_a_stock_picture_is_recognised_by_its_many_uploaders(site: Callable[..., Site]) -> None:
    here = site()
    names = [here.upload(hit(1), uploader=f"user{n}") for n in range(25)]
    assert names == [""] * 20 + ["hash"] * 5
    assert here.upload(hit(2), uploader="user30") == "", "another hash is asked about as ever"
    here.clock[0] += timedelta(hours=25)
    assert here.upload(hit(1), uploader="user31") == ""


def test_one_uploader_who_repeats_a_file_does_not_make_it_a_stock_picture(site: Callable[..., Site]) -> None:
    here = site(uploader_per_hour=0)
    assert {here.upload(hit(1), uploader="ann") for _ in range(30)} == {""}


def test_anonymous_uploads_share_no_budget_of_an_uploader(site: Callable[..., Site]) -> None:
    here = site(uploader_per_hour=3)
    assert {here.upload(hit(n)) for n in range(10)} == {""}


def test_each_anonymous_upload_of_one_hash_counts_as_another_uploader(site: Callable[..., Site]) -> None:
    here = site(uploaders_per_hash=3)
    assert [here.upload(hit(1)) for _ in range(5)] == ["", "", "", "hash", "hash"]


def test_the_overall_budget_is_fifty_on_a_site_that_never_had_more(site: Callable[..., Site]) -> None:
    here = site(uploaders_per_hash=0)
    assert [here.upload(hit(n)) for n in range(52)] == [""] * 50 + ["overall"] * 2
    here.clock[0] += timedelta(hours=1)
    assert here.upload(hit(99)) == ""


def test_the_overall_budget_follows_the_median_hour_of_a_week(site: Callable[..., Site]) -> None:
    here = site(per_hour=5, times_median=2)
    hour = int(here.clock[0].timestamp()) // 3600
    with here.store.transaction() as tx:
        # Four in most hours, and one hour of a flood that must not count.
        tx.insert("hit_hour", [{"hour": hour - n, "hits": 1000 if n == 3 else 4} for n in range(1, 100)])
    assert [here.upload(hit(n)) for n in range(9)] == [""] * 8 + ["overall"]


def test_the_week_of_the_median_is_168_hours_and_quiet_ones_count(site: Callable[..., Site]) -> None:
    here = site(per_hour=1, times_median=2)
    hour = int(here.clock[0].timestamp()) // 3600
    busy = [168, *range(1, 85)]
    with here.store.transaction() as tx:
        # 85 of 168 hours had four hits, just more than half; the hour before that week does not count.
        tx.insert("hit_hour", [{"hour": hour - n, "hits": 4} for n in busy])
        tx.insert("hit_hour", [{"hour": hour - n, "hits": 1000} for n in range(169, 400)])
    assert [here.upload(hit(n)) for n in range(9)] == [""] * 8 + ["overall"]


def test_a_flood_of_one_uploader_leaves_the_overall_budget_alone(site: Callable[..., Site]) -> None:
    here = site(uploader_per_hour=2, per_hour=5)
    assert [here.upload(hit(n), uploader="flooder") for n in range(20)] == ["", "", *["uploader"] * 18]
    assert [here.upload(hit(n), uploader="ann") for n in range(50, 52)] == ["", ""]


def test_a_batch_counts_its_own_items(site: Callable[..., Site]) -> None:
    here = site(uploader_per_hour=2)
    contexts = [UploadContext(uploader="ann")] * 4
    assert here.budgets.exhausted([[hit(1)], [], [hit(2)], [hit(3)]], contexts) == ("", "", "", "uploader")


def test_what_is_held_back_for_its_uploader_uses_up_nothing_of_its_batch(site: Callable[..., Site]) -> None:
    here = site(uploader_per_hour=1, per_hour=2)
    contexts = [UploadContext(uploader=name) for name in ("ann", "ann", "bob", "cat")]
    names = here.budgets.exhausted([[hit(n)] for n in range(4)], contexts)
    assert names == ("", "uploader", "", "overall")


def test_items_without_a_hit_touch_no_database(tmp_path: Path) -> None:
    class NoStore:
        def transaction(self) -> None:
            raise AssertionError("an innocent file must not cost a transaction")

        reading = transaction

        def close(self) -> None: ...

    budgets = HitBudgets(
        NoStore(),  # type: ignore[arg-type]
        key=PseudonymKey(tmp_path / "key"),
        config=GuardConfig(),
    )
    assert budgets.exhausted([(), ()], [UploadContext(uploader="ann")] * 2) == ("", "")


def test_a_budget_of_nought_is_no_budget(site: Callable[..., Site]) -> None:
    here = site(uploader_per_hour=0, per_hour=0, uploaders_per_hash=0)
    assert {here.upload(hit(1), uploader=f"user{n}") for n in range(60)} == {""}


TEST = Category(scheme=TEST_CATEGORY_SCHEME, code=TEST_CATEGORY_CODE, source="iii-test")
TEST_PICTURE = HashValue(algorithm=Algorithm.SHA256, value=listed_picture_sha256())


def uncounted(kind: str) -> Decision:
    found = decision(hit(1))
    verdict = found.verdict
    if kind == "test picture":
        matches = (Match(hash=sha256(1), distance_bits=0, exact=True, categories=(TEST,)),)
        return replace(found, verdict=replace(verdict, matches=matches))
    if kind == "test picture, service down":
        seen = replace(verdict.fingerprint, digests=(TEST_PICTURE,))
        return replace(found, verdict=replace(verdict, fingerprint=seen, outcome=Outcome.UNCONFIRMED))
    reason = Reason.ALLOW_LISTED if kind == "allow-listed" else Reason.FILTER_BYPASSED
    return replace(found, verdict=replace(verdict, reasons=(reason,)))


@pytest.mark.parametrize(
    "kind", ["test picture", "test picture, service down", "allow-listed", "bypassed filter"]
)
def test_what_says_nothing_uses_up_no_budget(kind: str, site: Callable[..., Site]) -> None:
    here = site(uploader_per_hour=1, per_hour=1, uploaders_per_hash=1)
    for n in range(3):
        here.recorder.record(uncounted(kind), UploadContext(uploader=f"user{n}"))
    assert here.upload(hit(1), uploader="user0") == ""


def test_what_a_person_scans_uses_up_no_budget_of_the_uploads(
    site: Callable[..., Site], tmp_path: Path
) -> None:
    here = site(per_hour=1)
    by_hand = StateRecorder(here.store, key=PseudonymKey(tmp_path / "encounter.key"), counts_hits=False)
    for n in range(3):
        by_hand.record(decision(hit(n)), UploadContext())
    assert here.upload(hit(9)) == ""


def test_a_used_up_budget_is_one_alarm_that_says_what_to_do(site: Callable[..., Site]) -> None:
    here = site(uploader_per_hour=1)
    for n in range(4):
        here.upload(hit(n), uploader="ann@example.org")
    assert here.alarms() == ["hits_uploader"]
    with here.store.transaction() as tx:
        (alarm,) = open_alarms(tx)
    assert alarm.times == 3
    assert "guard.uploader_per_hour" in alarm.detail
    assert "ann" not in alarm.detail
    assert sha256(3).hex[:8] not in alarm.detail
