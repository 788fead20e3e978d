"""What a scanner remembers, end to end: a re-upload costs one digest, and nothing new stays hidden."""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, cast

import pytest

from iii_client import Config, Decision, Outcome, Reason, Scanner, Updater
from iii_client.fingerprint import Isolation
from iii_client.model import ReleaseId
from iii_client.parts import Parts
from iii_client.records.tallies import totals
from iii_client.sandbox import Sandbox

pytest.importorskip("uvicorn", reason="the extra [sandbox] is not installed")


class Watcher:
    """Keeps whether each upload was recalled."""

    def __init__(self) -> None:
        self.recalled: list[bool] = []

    def scanned(self, decision: Decision, *, seconds: float, recalled: bool) -> None:
        self.recalled.append(recalled)


class Site:
    """A hoster with a practice service that lists the first of its pictures."""

    def __init__(self, folder: Path, pictures: list[Path]) -> None:
        self.listed, self.innocent, self.later = pictures[:3]
        self.service = Sandbox.open(folder / "sandbox")
        self.service.add_pictures([self.listed])
        self.service.publish()
        self.service.start()
        self.config = Config.from_env(self.service.env)
        self.update()

    def update(self) -> None:
        Updater(self.config.filter, self.config.state_dir).update()


@pytest.fixture
def site(tmp_path: Path, make_pictures: Callable[[Path, int], list[Path]]) -> Iterator[Site]:
    made = Site(tmp_path, make_pictures(tmp_path / "pictures", 3))
    yield made
    made.service.stop()


def test_a_re_upload_is_recalled_also_by_another_process_with_the_same_decision(site: Site) -> None:
    watcher = Watcher()
    with Scanner.from_config(site.config, observers=[watcher]) as scanner:
        first = scanner.scan(site.innocent)
        assert scanner.scan(site.innocent.read_bytes()) == first
    with Scanner.from_config(site.config, observers=[watcher]) as another:
        assert another.scan(site.innocent) == first
    assert first.verdict.outcome is Outcome.NO_MATCH
    assert watcher.recalled == [False, True, True]


def test_an_upload_that_streams_in_is_recalled_without_decoding(site: Site) -> None:
    class NothingIsDecoded:
        is_elsewhere = True

        def start(self, *args: object, **kwargs: object) -> NoReturn:
            raise AssertionError("these bytes were seen before")

    with Scanner.from_config(site.config) as scanner:
        first = scanner.scan(site.innocent)
    parts = Parts.from_config(site.config)
    with Scanner(
        parts.checker(),
        recipe=parts.recipe,
        limits=site.config.limits,
        isolation=cast(Isolation, NothingIsDecoded()),
        memory=parts.cache,
        closing=parts.closing,
    ) as scanner:
        builder = scanner.start_fingerprint()
        builder.update(site.innocent.read_bytes())
        assert scanner.check([builder.finish()]) == (first,)


def test_a_hash_that_is_listed_later_is_found_in_a_file_that_was_innocent_before(site: Site) -> None:
    watcher = Watcher()
    with Scanner.from_config(site.config, observers=[watcher]) as scanner:
        for _ in range(2):
            assert scanner.scan(site.later).verdict.outcome is Outcome.NO_MATCH
        site.service.add_pictures([site.later])
        site.service.publish()
        site.update()
        assert scanner.scan(site.later).verdict.outcome is Outcome.MATCHED
    assert watcher.recalled == [False, True, True], "the fingerprint is kept; what the filter says is not"


def test_what_another_repository_did_not_list_is_looked_up_again(site: Site, tmp_path: Path) -> None:
    """From the practice service to the real one: both count their releases from 1.0."""
    picture = site.innocent
    with Scanner.from_config(site.config) as scanner:
        assert scanner.scan(picture).verdict.outcome is Outcome.NO_MATCH
    shutil.rmtree(site.config.state_dir / "filter")  # as the message about another trust root says
    with Sandbox.open(tmp_path / "another") as another:
        another.add_pictures([picture])
        another.publish()
        another.start()
        config = Config.from_env({**another.env, "III_STATE_DIR": str(site.config.state_dir)})
        config = replace(config, service=replace(config.service, timeout_s=20.0))
        Updater(config.filter, config.state_dir).update()
        with Scanner.from_config(config) as scanner:
            decision = scanner.scan(picture)
    assert decision.verdict.release == ReleaseId(epoch=1, sequence=0)
    assert decision.verdict.outcome is Outcome.MATCHED


def test_a_listed_picture_is_confirmed_once_and_remembered_as_long_as_the_service_says(site: Site) -> None:
    watcher = Watcher()
    with Scanner.from_config(site.config, observers=[watcher]) as scanner:
        first = scanner.scan(site.listed)
        again = scanner.scan(site.listed)
        site.service.stop()
        # Nobody can be asked, and nobody needs to be.
        down = scanner.scan(site.listed)
    assert [d.verdict.outcome for d in (first, again, down)] == [Outcome.MATCHED] * 3
    assert [d.verdict.hashes_sent for d in (first, again, down)] == [1, 0, 0]
    assert first.verdict.matches == again.verdict.matches == down.verdict.matches
    assert len({d.encounter_id for d in (first, again, down)}) == 3, "each is an encounter of its own"
    assert watcher.recalled == [False, True, True]


def test_a_broken_picture_is_looked_at_each_time(site: Site) -> None:
    watcher = Watcher()
    broken = site.innocent.read_bytes()[:3000]
    with Scanner.from_config(site.config, observers=[watcher]) as scanner:
        for _ in range(2):
            assert scanner.scan(broken).verdict.outcome is Outcome.UNSCANNABLE
    assert watcher.recalled == [False, False]


def test_without_a_cache_nothing_is_remembered(site: Site) -> None:
    watcher = Watcher()
    config = replace(site.config, records=replace(site.config.records, cache=False))
    with Scanner.from_config(config, observers=[watcher]) as scanner:
        for picture in (site.innocent, site.innocent, site.listed, site.listed):
            scanner.scan(picture)
    assert watcher.recalled == [False] * 4
    assert not (site.config.state_dir / "cache.db").exists()


def test_a_cache_that_is_damaged_or_gone_changes_no_decision(site: Site) -> None:
    with Scanner.from_config(site.config) as scanner:
        before = scanner.scan(site.innocent)
        scanner.scan(site.listed)
    path = site.config.state_dir / "cache.db"
    for content in (os.urandom(5000), b"", None):
        if content is None:
            path.unlink()
        else:
            path.write_bytes(content)
        with Scanner.from_config(site.config) as scanner:
            assert scanner.scan(site.innocent) == before
            assert scanner.scan(site.listed).verdict.outcome is Outcome.MATCHED


def test_what_was_scanned_is_in_the_tallies(site: Site) -> None:
    with Scanner.from_config(site.config) as scanner:
        for picture in (site.innocent, site.innocent, site.listed):
            scanner.scan(picture)
    with Parts.from_config(site.config).store.reading() as tx:
        assert dict(totals(tx)) == {
            "candidates": 1,
            "hashes_sent": 1,
            "recalled": 1,
            "scanned_matched": 1,
            "scanned_no_match": 2,
        }


def test_no_log_line_names_a_hash_a_file_or_the_service(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="iii_client")
    with Scanner.from_config(site.config) as scanner:
        decisions = [scanner.scan(picture) for picture in (site.innocent, site.listed)]
        site.service.stop()
        (site.config.state_dir / "cache.db").unlink()
        waiting = [scanner.scan(site.listed) for _ in range(5)]
    assert Reason.SERVICE_PAUSED in waiting[-1].verdict.reasons
    said = " ".join(record.getMessage() for record in caplog.records if record.name.startswith("iii_client"))
    assert "service_paused" in said
    secrets = [value.hex[:12] for d in decisions for value in d.verdict.fingerprint.hash_values()]
    secrets += [site.listed.name, site.innocent.name, site.service.url.partition("//")[2]]
    assert not [secret for secret in secrets if secret in said]
