"""June 2021 again: a list holds a stock picture, and many innocent people upload it."""

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from PIL import Image

from iii_client import Action, Config, Content, Decision, Outcome, Reason, Scanner, Updater, UploadContext
from iii_client.cli.app import run
from iii_client.config import GuardConfig, PolicyConfig
from iii_client.drain import Drainer
from iii_client.model import LateAnswer
from iii_client.notify import CallbackCourier
from iii_client.records import SqliteStore
from iii_client.records.alarms import open_alarms
from iii_client.records.audit_check import verify_audit
from iii_client.sandbox import Sandbox
from iii_client.test_picture import listed_picture_bytes


@dataclass
class Site:
    """A hoster whose list holds one abusive picture and, by error, a stock picture."""

    config: Config
    stock: Path
    abusive: Path
    env: dict[str, str]

    def upload(self, scanner: Scanner, picture: Path, *, uploader: str = "") -> Decision:
        context = UploadContext(route="post", uploader=uploader, reference=f"obj/{uploader}")
        return scanner.scan(Content.from_path(picture), context=context)

    @property
    def store(self) -> SqliteStore:
        return SqliteStore(self.config.state_dir / "state.db")

    def alarms(self) -> dict[str, int]:
        with self.store.transaction() as tx:
            return {alarm.kind: alarm.times for alarm in open_alarms(tx)}

    def waiting(self) -> int:
        with self.store.transaction() as tx:
            ((count,),) = tx.query("SELECT count(*) FROM outbox WHERE state = 'pending'")
        return int(count)


@pytest.fixture
def site(tmp_path: Path, make_pictures: Callable[[Path, int], list[Path]]) -> Iterator[Site]:
    stock, abusive = make_pictures(tmp_path / "pictures", 2)
    with Sandbox.open(tmp_path / "sandbox") as sandbox:
        sandbox.add_pictures([stock, abusive], categories=[("interpol-baseline", "1")])
        sandbox.publish()
        sandbox.start()
        config = Config.from_env(sandbox.env)
        Updater(config.filter, config.state_dir).update()
        # Two cores, busy with other tests: what is tried here is not the time budget.
        config = replace(config, service=replace(config.service, timeout_s=20.0))
        yield Site(config=config, stock=stock, abusive=abusive, env=sandbox.env)


def test_a_listed_stock_picture_turns_to_review_and_passes_once_it_is_allowed(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Scanner.from_config(site.config) as scanner:
        decisions = [site.upload(scanner, site.stock, uploader=f"user{n}") for n in range(25)]
        assert [d.action for d in decisions] == [Action.BLOCK] * 20 + [Action.QUARANTINE] * 5
        assert {d.rule for d in decisions[:20]} == {"matched_exact"}
        for late in decisions[20:]:
            assert (late.guard, late.rule) == ("hash", "unconfirmed_deferred")
            assert (late.verdict.outcome, late.verdict.reasons) == (Outcome.UNCONFIRMED, (Reason.DEFERRED,))
            assert late.verdict.hashes_sent == 0, "nobody is asked inline any more"
            assert late.case_reference
        assert site.alarms() == {"hits_hash": 5}
        assert site.waiting() == 5

        # Another listed picture is refused as ever: one bad hash does not take the check down.
        assert site.upload(scanner, site.abusive, uploader="user0").action is Action.BLOCK

        # A person looks at the case that the alarm names, knows the picture, and says so.
        for name, value in site.env.items():
            monkeypatch.setenv(name, value)
        case = decisions[-1].case_reference
        assert run(["allow", "add", "--case", case, "--reason", "stock", "--operator", "ann", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["added"]
        passed = site.upload(scanner, site.stock, uploader="user26")
        assert (passed.action, passed.rule, passed.verdict.hashes_sent) == (Action.ALLOW, "allow_listed", 0)
        assert site.alarms() == {"hits_hash": 5}, "what is known to be good raises no alarm"

        # An entry that was an error ends as quickly.
        assert run(["allow", "remove", "--case", case, "--operator", "ann"]) == 0
        assert site.upload(scanner, site.stock, uploader="user27").action is Action.QUARANTINE
    assert verify_audit(site.store).broken_at is None


def test_a_late_answer_does_not_block_what_a_budget_had_held(site: Site) -> None:
    told: list[LateAnswer] = []
    with Scanner.from_config(site.config) as scanner:
        held = [site.upload(scanner, site.stock, uploader=f"user{n}") for n in range(22)][20:]
    drainer = Drainer.from_config(site.config, couriers=[CallbackCourier(told.append)])
    report = drainer.run_until_empty()
    assert (report.matched, site.waiting()) == (2, 0)
    assert {answer.encounter_id for answer in told} == {decision.encounter_id for decision in held}
    for answer in told:
        assert (answer.outcome, answer.ruled, answer.action) == (
            Outcome.MATCHED,
            Action.BLOCK,
            Action.QUARANTINE,
        )


def test_a_flood_does_not_open_the_door_of_a_site_that_fails_open(site: Site) -> None:
    fails_open = PolicyConfig(rules={"unconfirmed_no_answer": "allow"})
    with Scanner.from_config(replace(site.config, policy=fails_open)) as scanner:
        decisions = [site.upload(scanner, site.abusive, uploader="flooder") for _ in range(23)]
    assert [d.action for d in decisions] == [Action.BLOCK] * 20 + [Action.QUARANTINE] * 3
    assert {d.guard for d in decisions[20:]} == {"uploader"}
    assert site.alarms() == {"hits_uploader": 3}


def test_the_test_picture_is_refused_also_while_a_budget_is_used_up(site: Site) -> None:
    """Who tries the path during a flood must see that it works; and thirty tries at once are no flood."""
    with Scanner.from_config(site.config) as scanner:
        tries = [scanner.fingerprint(listed_picture_bytes())] * 30
        contexts = [UploadContext(uploader="operator")] * 30
        assert {d.rule for d in scanner.check(tries, contexts=contexts)} == {"matched_test"}
    used_up = replace(site.config, guard=GuardConfig(per_hour=1, uploader_per_hour=1, uploaders_per_hash=1))
    with Scanner.from_config(used_up) as scanner:
        site.upload(scanner, site.stock, uploader="user1")
        assert site.upload(scanner, site.stock, uploader="user1").guard == "uploader"
        context = UploadContext(uploader="user1")
        decision = scanner.scan(listed_picture_bytes(), context=context)
        assert (decision.action, decision.rule, decision.guard) == (Action.BLOCK, "matched_test", "")


def test_a_batch_under_a_bypassed_filter_is_no_flood(site: Site) -> None:
    """Every picture is a candidate there, which says nothing."""
    config = replace(site.config, filter=replace(site.config.filter, use="none"))
    assert config.filter.bypassed
    with Scanner.from_config(config) as scanner, Image.open(site.stock) as stock:
        pictures = []
        for number in range(60):
            picture = stock.convert("RGB").resize((64, 64))
            picture.putpixel((0, 0), (number, 0, 0))
            stream = io.BytesIO()
            picture.save(stream, "PNG")
            pictures.append(scanner.fingerprint(stream.getvalue()))
        decisions = scanner.check(pictures, contexts=[UploadContext(uploader="one")] * 60)
    assert {(d.action, d.guard) for d in decisions} == {(Action.ALLOW, "")}
