"""Daily runs of a publisher: deltas where they do, a base where one is due and its key is here."""

import hashlib
import shutil
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from iii_client.errors import ConfigurationError, PublishError
from iii_client.model import (
    Algorithm,
    CategoryMapping,
    Coverage,
    HashValue,
    ListKind,
    MappingRow,
    Relation,
    ReleaseId,
)
from iii_client.publisher import Description, FilterRepository, ListEntry

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)


def entries(names: Iterable[object], algorithm: Algorithm = Algorithm.SHA256) -> list[ListEntry]:
    width = algorithm.width_bits // 8
    return [
        ListEntry(
            hash=HashValue(algorithm=algorithm, value=hashlib.sha512(str(n).encode()).digest()[:width]),
            quality=100,
            list_name="list",
            source="body",
        )
        for n in names
    ]


class World:
    def __init__(self, folder: Path, *, practice: bool = False) -> None:
        self.folder = folder
        self.now = NOON
        self.practice = practice
        self.repository = self.open()

    def open(self) -> FilterRepository:
        return FilterRepository.open_or_create(
            self.folder / "repository",
            keys_dir=self.folder / "keys",
            practice=self.practice,
            clock=lambda: self.now,
        )

    def files(self) -> dict[str, bytes]:
        folder = self.repository.public_dir
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.repository.publish(entries(range(10)))
    return made


def test_the_first_release_is_a_base_and_a_few_more_hashes_are_a_delta(world: World) -> None:
    assert world.repository.release == ReleaseId(epoch=1, sequence=0)
    report = world.repository.publish(entries(range(15)))
    assert (report.release, report.changed, report.deltas, report.added, report.left) == (
        ReleaseId(epoch=1, sequence=1),
        True,
        1,
        5,
        0,
    )
    assert report.base_due == ()
    assert world.open().release == report.release


def test_the_same_lists_publish_nothing(world: World) -> None:
    world.repository.publish(entries(range(15)))
    before = world.files()
    report = world.repository.publish(entries(range(15)))
    assert (report.release, report.changed) == (ReleaseId(epoch=1, sequence=1), False)
    assert world.files() == before


def test_an_offline_key_that_is_here_signs_its_own_role_for_a_new_term(world: World) -> None:
    """Otherwise a publisher with news every day would let its targets role expire."""
    before, _ = world.repository.status().roles["targets"]
    world.now += timedelta(days=80)
    report = world.repository.publish(entries(range(11)), base=False)
    assert report.deltas == 1
    version, expires = world.repository.status().roles["targets"]
    assert (version, expires) == (before + 1, world.now + timedelta(days=120))
    assert world.repository.status().visible


def test_a_delta_is_a_few_hundred_bytes(world: World) -> None:
    before = set(world.files())
    world.repository.publish(entries(range(15)))
    (delta,) = (c for path, c in world.files().items() if path not in before and path.endswith(".delta"))
    assert len(delta) < 400


def test_more_than_deltas_may_add_is_a_base(world: World) -> None:
    report = world.repository.publish(entries(range(1000)))
    assert (report.release, report.deltas, report.left) == (ReleaseId(epoch=2, sequence=0), 0, 0)


def test_where_the_offline_keys_are_not_deltas_add_what_they_may_and_it_is_said(world: World) -> None:
    shutil.rmtree(world.folder / "keys" / "offline")
    report = world.repository.publish(entries(range(1000)))
    assert report.release.epoch == 1
    assert report.deltas > 1
    assert report.added + report.left == 990
    assert report.left > 0
    assert "990 new sha256 hashes, deltas may add" in report.base_due[0]
    again = world.repository.publish(entries(range(1000)))
    assert (again.changed, again.left) == (False, report.left), "the rest waits for another day"
    world.now += timedelta(days=3)
    assert 0 < world.repository.publish(entries(range(1000))).left < report.left


def test_an_algorithm_without_a_section_needs_a_base(world: World) -> None:
    listed = [*entries(range(10)), *entries(["a"], Algorithm.PHASH)]
    without = world.repository.publish(listed, base=False)
    assert (without.left, without.base_due) == (1, ("there is no section for phash hashes yet",))
    assert world.repository.publish(listed).release == ReleaseId(epoch=2, sequence=0)


def test_a_removal_waits_for_the_monthly_base_or_one_that_is_asked_for(world: World) -> None:
    waiting = world.repository.publish(entries(range(8)))
    assert (waiting.changed, waiting.removed, waiting.base_due) == (False, 2, ())
    world.now += timedelta(days=31)
    monthly = world.repository.publish(entries(range(8)))
    assert monthly.release == ReleaseId(epoch=2, sequence=0)
    at_once = world.repository.publish(entries(range(7)), base=True)
    assert at_once.release == ReleaseId(epoch=3, sequence=0)


def test_lists_that_lack_much_of_what_is_published_are_refused_also_for_a_base(world: World) -> None:
    """A lost catalogue, or a list that was not read, must not empty the filter of every hoster."""
    world.repository.publish(entries(range(1200)), base=True)
    before = world.files()
    for base in (None, True, False):
        with pytest.raises(PublishError, match=r"200 of 1,203 hashes in exact sections are listed no more"):
            world.repository.publish(entries(range(1000)), base=base)
    assert world.files() == before
    assert world.repository.publish(entries(range(1100)), base=True).changed
    assert world.repository.publish(entries(range(1)), base=True, most_removed=1).changed


def test_near_segments_that_are_listed_no_more_are_noticed_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    raw = np.random.default_rng(1).bytes(32 * 10_000)
    pictures = [
        ListEntry(
            hash=HashValue(algorithm=Algorithm.PDQ, value=raw[i : i + 32]),
            quality=90,
            list_name="pictures",
            source="hotline",
        )
        for i in range(0, len(raw), 32)
    ]
    world.repository.publish(pictures)
    with pytest.raises(PublishError, match=r"2,000 of 10,000 hashes in near segments are listed no more"):
        world.repository.publish(pictures[2000:], base=True)
    first = world.repository.publish(pictures[900:], base=True)
    assert first.changed
    assert world.repository.status().withdrawn == 900
    assert world.repository.publish(pictures[1800:], base=True).changed, "900 more, not 1,800"


def test_a_month_without_any_change_is_no_reason(world: World) -> None:
    world.now += timedelta(days=40)
    assert not world.repository.publish(entries(range(10))).changed


def test_a_base_after_deltas_holds_all_and_a_base_of_the_same_is_none(world: World) -> None:
    world.repository.publish(entries(range(15)))
    report = world.repository.publish_base(entries(range(15)))
    assert report.release == ReleaseId(epoch=2, sequence=0)
    assert not world.repository.publish_base(entries(range(15))).changed
    assert world.repository.status().deltas == 0


def test_deltas_of_an_older_epoch_are_forgotten_with_it(world: World) -> None:
    world.repository.publish(entries(range(15)))
    for count in (20, 25, 30):
        world.repository.publish(entries(range(count)), base=True)
    assert not any(path.startswith("targets/delta/1/") for path in world.files())
    report = world.repository.publish(entries(range(31)))
    assert report.release == ReleaseId(epoch=4, sequence=1)


def test_without_the_online_keys_there_is_no_delta(world: World) -> None:
    shutil.rmtree(world.folder / "keys" / "online")
    before = {p: c for p, c in world.files().items() if p.startswith("metadata/")}
    with pytest.raises(ConfigurationError, match="publishing keys of 'delta'"):
        world.repository.publish(entries(range(15)))
    assert {p: c for p, c in world.files().items() if p.startswith("metadata/")} == before


def test_a_base_signed_without_the_online_key_is_seen_after_the_next_refresh(world: World) -> None:
    online, aside = world.folder / "keys" / "online", world.folder / "aside"
    online.rename(aside)
    report = world.repository.publish(entries(range(5)), base=True)
    assert (report.release, report.visible) == (ReleaseId(epoch=2, sequence=0), False)
    aside.rename(online)
    world.repository.refresh()
    assert world.repository.status().visible


def test_a_damaged_base_is_named(world: World) -> None:
    (file,) = (world.repository.public_dir / "targets" / "base" / "1").iterdir()
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    with pytest.raises(
        ConfigurationError, match=r"base/1/filter\.bin in the repository is missing or damaged"
    ):
        world.repository.publish(entries(range(15)))


# --- what it is made of ---------------------------------------------------------------------------------


def test_a_release_says_what_it_is_made_of(tmp_path: Path) -> None:
    world = World(tmp_path)
    raw = np.random.default_rng(1).bytes(32 * 10_003)
    listed = entries(range(3)) + [
        ListEntry(
            hash=HashValue(algorithm=Algorithm.PDQ, value=raw[i : i + 32]),
            quality=90 if i else 20,
            list_name="pictures",
            source="hotline",
        )
        for i in range(0, len(raw), 32)
    ]
    mapping = CategoryMapping(
        name="m",
        version=1,
        scheme="a",
        to_scheme="b",
        rows=(MappingRow(code="1", to_code="2", relation=Relation.SAME),),
    )
    kinds = {"pictures": ListKind.INTIMATE}
    description = Description(kinds=kinds, mappings=(mapping,))
    world.repository.publish(listed[:-2], description=description)
    world.repository.publish(listed, base=True, description=description)
    coverage = world.repository.status().coverage
    assert [row for row in coverage if row.kind is not ListKind.TEST] == [
        Coverage(
            list_name="list",
            kind=ListKind.OTHER,
            source="body",
            algorithm=Algorithm.SHA256,
            hashes=3,
        ),
        Coverage(
            list_name="pictures",
            kind=ListKind.INTIMATE,
            source="hotline",
            algorithm=Algorithm.PDQ,
            hashes=10_003,
            near=10_000,
            waiting=2,
        ),
    ]
    assert [row.can_near_match for row in coverage if row.list_name != "iii-test"] == [False, True]
    assert {row.kind for row in coverage if row.list_name == "iii-test"} == {ListKind.TEST}


def test_another_description_alone_is_a_base_only_when_asked_for(world: World) -> None:
    described = Description(kinds={"list": ListKind.CHILD_ABUSE})
    assert not world.repository.publish(entries(range(10)), description=described).changed
    assert not world.repository.publish_base(entries(range(10)), description=described).changed
    assert world.repository.publish(entries(range(10)), base=True, description=described).changed
    assert not world.repository.publish(entries(range(10)), base=True, description=described).changed
    assert {r.kind for r in world.repository.status().coverage} == {ListKind.CHILD_ABUSE, ListKind.TEST}


def test_pdq_hashes_of_low_quality_that_a_delta_adds_never_come_into_a_segment(tmp_path: Path) -> None:
    world = World(tmp_path, practice=True)
    low = [
        ListEntry(hash=e.hash, quality=10, list_name="l", source="s") for e in entries("ab", Algorithm.PDQ)
    ]
    world.repository.publish(low[:1])
    assert world.repository.publish(low).deltas == 1
    risen = [ListEntry(hash=e.hash, quality=90, list_name="l", source="s") for e in low]
    report = world.repository.publish(risen, base=True)
    assert [segment.count for segment in report.near] == [1], "the test picture's"
