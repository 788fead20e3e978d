"""Near segments of a repository: gathered, signed beside the base, immutable, and never lost track of."""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from tuf.api.metadata import Metadata, TargetFile, Targets

from iii_client.errors import ConfigurationError, PublishError
from iii_client.filters import parse_bundle
from iii_client.filters.near_segment import NearSegment
from iii_client.filters.ring_chain import DEFAULT_PARAMETERS, check_secrecy
from iii_client.model import Algorithm, HashValue
from iii_client.publisher import FilterRepository, ListEntry, build
from iii_client.publisher.near import NearPublisher
from iii_client.publisher.near_ledger import NearLedger
from iii_client.publisher.sorting import sort_entries
from iii_client.updates.signed_base import SignedBase
from iii_client.updates.signed_near import MAX_WITHDRAWN, SignedSegment

MINIMUM = 10_000


def pdq_hashes(count: int, *, seed: int = 1) -> list[bytes]:
    raw = np.random.default_rng(seed).bytes(32 * count)
    return [raw[i : i + 32] for i in range(0, len(raw), 32)]


def entries(
    values: Iterable[bytes],
    *,
    algorithm: Algorithm = Algorithm.PDQ,
    list_name: str = "list",
    quality: int = 100,
) -> list[ListEntry]:
    return [
        ListEntry(
            hash=HashValue(algorithm=algorithm, value=value),
            quality=quality,
            list_name=list_name,
            source="body",
        )
        for value in values
    ]


def digests(*names: str) -> list[ListEntry]:
    values = (hashlib.sha256(name.encode()).digest() for name in names)
    return entries(values, algorithm=Algorithm.SHA256)


class World:
    def __init__(self, folder: Path, *, practice: bool) -> None:
        self.folder = folder
        self.practice = practice
        self.repository = self.open()

    def open(self) -> FilterRepository:
        return FilterRepository.open_or_create(
            self.folder / "repository", keys_dir=self.folder / "keys", practice=self.practice
        )

    def targets(self) -> dict[str, TargetFile]:
        metadata = self.repository.public_dir / "metadata"
        newest = max(metadata.glob("*.targets.json"), key=lambda path: int(path.name.split(".")[0]))
        return Metadata[Targets].from_bytes(newest.read_bytes()).signed.targets

    def base(self) -> SignedBase:
        path = f"base/{self.repository.release.epoch}/filter.bin"
        return SignedBase.from_custom(self.targets()[path].unrecognized_fields["custom"])

    def file(self, path: str, sha256: str) -> Path:
        folder, _, name = path.rpartition("/")
        return self.repository.public_dir / "targets" / folder / f"{sha256}.{name}"

    def files(self) -> dict[str, bytes]:
        folder = self.repository.public_dir
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    def section_names(self) -> list[str]:
        base = self.base()
        content = self.file(f"base/{base.release.epoch}/filter.bin", base.sha256).read_bytes()
        return [section.name for section in parse_bundle(content).sections]


@pytest.fixture
def real(tmp_path: Path) -> World:
    return World(tmp_path / "real", practice=False)


@pytest.fixture
def practice(tmp_path: Path) -> World:
    return World(tmp_path / "practice", practice=True)


# --- gathering ------------------------------------------------------------------------------------------


def test_ten_thousand_hashes_are_a_segment_and_in_no_exact_section(real: World) -> None:
    report = real.repository.publish_base(entries(pdq_hashes(MINIMUM)))
    assert [(s.name, s.count, s.practice) for s in report.near] == [("near/pdq/1", MINIMUM, False)]
    assert report.waiting == 0
    assert real.section_names() == ["md5", "sha1", "sha256"]
    assert report.near[0].size_bytes / MINIMUM < 32


def test_fewer_wait_are_counted_and_are_nowhere(real: World, caplog: pytest.LogCaptureFixture) -> None:
    values = pdq_hashes(MINIMUM - 1)
    report = real.repository.publish_base(entries(values))
    assert (report.near, report.waiting) == ((), MINIMUM - 1)
    assert real.section_names() == ["md5", "sha1", "sha256"]
    assert "9999 new pdq hashes wait" in caplog.text
    assert not any(value.hex() in caplog.text for value in values)
    assert "near" not in {path.split("/")[0] for path in real.targets()}


def test_what_waited_is_published_with_what_came_later(real: World) -> None:
    values = pdq_hashes(MINIMUM)
    assert real.repository.publish_base(entries(values[:-1])).waiting == MINIMUM - 1
    report = real.repository.publish_base(entries(values))
    assert (report.release.epoch, report.near[0].count, report.waiting) == (2, MINIMUM, 0)


def test_additions_wait_beside_a_segment_that_stays_as_it_is(real: World) -> None:
    values = pdq_hashes(2 * MINIMUM + 5)
    first = real.repository.publish_base(entries(values[:MINIMUM]))
    later = real.repository.publish_base(entries(values[: MINIMUM + 5]))
    assert (later.changed, later.near, later.waiting) == (False, first.near, 5)
    third = real.repository.publish_base(entries(values))
    assert [s.count for s in third.near] == [MINIMUM, MINIMUM + 5]
    assert third.near[0] == first.near[0]
    assert (third.release.epoch, third.waiting) == (2, 0)


def test_hashes_of_low_quality_are_matched_exactly(real: World) -> None:
    real.repository.publish_base(entries(pdq_hashes(3), quality=49))
    assert "pdq" in real.section_names()
    assert real.base().near == ()


def test_a_hash_that_stands_in_a_segment_never_comes_into_an_exact_section(practice: World) -> None:
    held, other = pdq_hashes(2)
    practice.repository.publish_base(entries([held]))
    practice.repository.publish_base(entries([held, other], quality=10))
    (row,) = [section for section in practice.base().sections if section.name == "pdq"]
    assert row.count == 1, "the other one"


def test_a_hash_that_was_ever_matched_exactly_never_comes_into_a_segment(practice: World) -> None:
    """A list that corrects a quality must not put one hash into two tables, however many releases later."""
    risen, other = pdq_hashes(2)
    practice.repository.publish_base(entries([risen], quality=49))
    practice.repository.publish_base([])
    report = practice.repository.publish_base(entries([risen, other], quality=90))
    assert [segment.count for segment in report.near] == [1, 1], "the test picture, and the other one"
    (row,) = [section for section in practice.base().sections if section.name == "pdq"]
    assert row.count == 1
    values = np.frombuffer(risen + other, np.uint8).reshape(2, 32)
    target = practice.base().near[1]
    segment = NearSegment.open(practice.file(target.path, target.sha256))
    assert segment.holds(values).tolist() == [False, True]


@pytest.mark.parametrize("content", [None, bytes(33)])
def test_a_lost_record_of_what_was_matched_exactly_stops_the_publisher(
    real: World, content: bytes | None
) -> None:
    real.repository.publish_base(entries(pdq_hashes(3), quality=49))
    record = real.folder / "keys" / "near" / "pdq.exact"
    assert len(record.read_bytes()) == 3 * 32
    if content is None:
        record.unlink()
    else:
        record.write_bytes(content)
    before = real.files()
    with pytest.raises(PublishError, match=r"ledger does not hold|damaged"):
        real.repository.publish_base(entries(pdq_hashes(3), quality=90))
    assert real.files() == before


def test_a_real_segment_never_holds_the_test_picture(real: World) -> None:
    """Everybody has that picture; with it 9,999 others would seem to be enough."""
    report = real.repository.publish_base([*entries(pdq_hashes(MINIMUM - 1)), *build.test_picture_entries()])
    assert (report.near, report.waiting) == ((), MINIMUM - 1)
    alone = real.repository.publish_base(build.test_picture_entries())
    assert (alone.near, alone.waiting) == ((), 0)


def test_a_practice_segment_may_hold_the_test_picture_alone(practice: World) -> None:
    report = practice.repository.publish_base([])
    assert [(s.name, s.count, s.practice) for s in report.near] == [("near/pdq/1", 1, True)]


def test_both_conventions_have_segments_of_their_own(practice: World) -> None:
    report = practice.repository.publish_base(
        [
            *entries(pdq_hashes(3)),
            *entries(pdq_hashes(5, seed=2), algorithm=Algorithm.PDQ_512, list_name="other"),
        ]
    )
    assert [(s.name, s.count) for s in report.near] == [("near/pdq/1", 4), ("near/pdq-512/1", 5)]


# --- the same again -------------------------------------------------------------------------------------


def test_the_same_entries_in_any_order_are_the_same_release(practice: World) -> None:
    listed = entries(pdq_hashes(20)) + digests("a", "b")
    first = practice.repository.publish_base(listed)
    before = practice.files()
    again = practice.open().publish_base(listed[::-1] + listed[:3])
    assert (again.release, again.changed, again.near) == (first.release, False, first.near)
    assert practice.files() == before


def test_relatives_of_what_is_published_change_nothing(practice: World) -> None:
    values = pdq_hashes(5)
    practice.repository.publish_base(entries(values))
    relatives = [bytes([value[0] ^ 1]) + value[1:] for value in values]
    report = practice.repository.publish_base(entries(values + relatives))
    assert (report.changed, report.waiting) == (False, 0)


def test_two_publishers_make_the_same_segments(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        world = World(tmp_path / name, practice=True)
        world.repository.publish_base(entries(pdq_hashes(30)))
        contents.append({p: c for p, c in world.files().items() if p.startswith("targets/")})
    assert contents[0] == contents[1]
    assert any(path.startswith("targets/near/pdq/") for path in contents[0])


def test_other_exact_hashes_are_a_new_epoch_with_the_same_segments(practice: World) -> None:
    values = entries(pdq_hashes(5))
    first = practice.repository.publish_base(values + digests("a"))
    second = practice.repository.publish_base(values + digests("b"))
    assert (second.release.epoch, second.near) == (2, first.near)


def test_a_segment_built_before_a_crash_is_published_by_the_next_run(practice: World) -> None:
    first = practice.repository.publish_base(digests("a"))
    ledger = NearLedger(practice.folder / "keys" / "near", practice=True)
    ledger.gather(sort_entries(entries(pdq_hashes(5))))
    report = practice.repository.publish_base(digests("a"))
    assert (report.release.epoch, len(report.near)) == (first.release.epoch + 1, 2)


# --- what is signed and where it lies -------------------------------------------------------------------


def test_a_segment_is_a_target_that_says_what_its_header_says(practice: World) -> None:
    practice.repository.publish_base(entries(pdq_hashes(7)))
    target = practice.targets()["near/pdq/1.near"]
    signed = SignedSegment.from_custom(target.unrecognized_fields["custom"])
    file = practice.file("near/pdq/1.near", signed.sha256)
    assert NearSegment.open(file).header == signed.header
    assert hashlib.sha256(file.read_bytes()).hexdigest() == signed.sha256 == target.hashes["sha256"]
    assert target.length == file.stat().st_size == signed.header.size_bytes
    assert practice.base().near == (signed.target,)


def test_a_release_names_every_segment_and_its_targets_are_all_signed(practice: World) -> None:
    for seed in (1, 2, 3):
        practice.repository.publish_base(entries([v for s in range(seed) for v in pdq_hashes(3, seed=s)]))
    names = [f"near/pdq/{number}.near" for number in (1, 2, 3)]
    assert [target.path for target in practice.base().near] == names
    assert sorted(practice.targets()) == ["base/3/filter.bin", *names]


def test_the_list_lies_with_the_keys_and_never_where_it_is_served(practice: World) -> None:
    values = pdq_hashes(7)
    practice.repository.publish_base(entries(values))
    assert values[0] in (practice.folder / "keys" / "near" / "pdq" / "1.hashes").read_bytes()
    served = b"".join(practice.files().values())
    assert not any(value in served or value.hex().encode() in served for value in values)


def test_keys_in_the_served_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="served"):
        FilterRepository.open_or_create(tmp_path / "r", keys_dir=tmp_path / "r" / "public" / "keys")


# --- refusals -------------------------------------------------------------------------------------------


def test_a_list_that_changes_its_convention_is_refused(practice: World) -> None:
    practice.repository.publish_base(entries(pdq_hashes(3)))
    before = practice.files()
    with pytest.raises(PublishError, match="'list' has hashes under both conventions"):
        practice.open().publish_base(entries(pdq_hashes(3, seed=2), algorithm=Algorithm.PDQ_512))
    assert practice.files() == before
    assert not (practice.folder / "keys" / "near" / "pdq-512").exists()


def test_a_list_that_only_waited_may_still_change_its_convention(real: World) -> None:
    real.repository.publish_base(entries(pdq_hashes(3)))
    report = real.repository.publish_base(entries(pdq_hashes(MINIMUM), algorithm=Algorithm.PDQ_512))
    assert [s.name for s in report.near] == ["near/pdq-512/1"]


@pytest.mark.parametrize("lost", ["near", "near/pdq", "near/pdq/1.header"])
def test_a_repository_whose_ledger_is_lost_publishes_no_more(practice: World, lost: str) -> None:
    """The same hashes would be built a second time, among others: two filters of one list."""
    practice.repository.publish_base(entries(pdq_hashes(5)))
    before = practice.files()
    path = practice.folder / "keys" / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(PublishError, match=r"near/pdq/1\.near was published and the ledger"):
        practice.open().publish_base(entries(pdq_hashes(9)))
    assert practice.files() == before
    assert not path.exists(), "nothing was built"


def test_a_ledger_that_lost_hashes_stops_the_publisher(practice: World) -> None:
    practice.repository.publish_base(entries(pdq_hashes(5)))
    (practice.folder / "keys" / "near" / "pdq" / "1.hashes").unlink()
    with pytest.raises(PublishError, match="lost or gained hashes"):
        practice.repository.publish_base(entries(pdq_hashes(5)))


def test_a_damaged_record_of_lists_stops_the_publisher(practice: World) -> None:
    practice.repository.publish_base(entries(pdq_hashes(5)))
    for content in (b"{", b"[]", b'{"list": "md4"}', b"\xff"):
        (practice.folder / "keys" / "near" / "lists.json").write_bytes(content)
        with pytest.raises(PublishError, match="damaged"):
            practice.repository.publish_base(entries(pdq_hashes(6)))


def test_practice_and_real_are_never_mixed(practice: World, real: World) -> None:
    practice.repository.publish_base(entries(pdq_hashes(5)))
    practice.practice = False
    real.repository.publish_base(entries(pdq_hashes(MINIMUM)))
    real.practice = True
    for world in (practice, real):
        before = world.files()
        with pytest.raises(PublishError, match="practice and real"):
            world.open().publish_base(digests("a"))
        assert world.files() == before


def test_a_real_repository_has_no_lower_minimum(tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="10,000"):
        FilterRepository.open_or_create(tmp_path / "r", keys_dir=tmp_path / "k", near_minimum=9_999)
    assert not (tmp_path / "r").exists()


def test_a_publisher_may_gather_more_than_the_minimum(tmp_path: Path) -> None:
    repository = FilterRepository.open_or_create(
        tmp_path / "r", keys_dir=tmp_path / "k", practice=True, near_minimum=7
    )
    # With the test picture they are seven.
    assert repository.publish_base(entries(pdq_hashes(5))).waiting == 6
    assert repository.publish_base(entries(pdq_hashes(6))).near[0].count == 7


def test_with_sixteen_segments_new_hashes_wait_and_all_else_is_published(
    practice: World, caplog: pytest.LogCaptureFixture
) -> None:
    """No digest must wait for ever because near match is full; and nothing may be rebuilt to make room."""
    listed: list[ListEntry] = []
    for seed in range(16):
        listed += entries(pdq_hashes(2, seed=seed))
        practice.repository.publish_base(listed)
    assert "16 of at most 16 near segments of pdq are used" in caplog.text
    segments = practice.base().near
    assert len(segments) == 16
    assert not practice.repository.publish_base(listed).changed

    report = practice.repository.publish_base(listed + entries(pdq_hashes(2, seed=99)) + digests("new"))
    assert (report.changed, report.waiting) == (True, 2)
    assert practice.base().near == segments
    assert "sha256" in practice.section_names()
    (row,) = [section for section in practice.base().sections if section.name == "sha256"]
    assert row.count == 2, "the test picture's, and the new one"
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "2 new hashes wait" in error.getMessage()


def test_the_other_convention_still_has_room(practice: World) -> None:
    listed: list[ListEntry] = []
    for seed in range(16):
        listed += entries(pdq_hashes(1, seed=seed))
        practice.repository.publish_base(listed)
    other = entries(pdq_hashes(3, seed=50), algorithm=Algorithm.PDQ_512, list_name="other")
    report = practice.repository.publish_base(listed + other)
    assert (len(report.near), report.waiting) == (17, 0)


def test_a_full_publisher_refuses_and_says_what_cannot_be_done(tmp_path: Path) -> None:
    publisher = NearPublisher(tmp_path, algorithm=Algorithm.PDQ, practice=True, minimum_count=1)
    for seed in range(16):
        publisher.publish(pdq_hashes(1, seed=seed))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(PublishError, match="16 near segments are live") as caught:
        publisher.publish(pdq_hashes(1, seed=99))
    assert "two builds" in caught.value.hint
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_retired_segment_makes_no_room_for_its_own_hashes(tmp_path: Path) -> None:
    """Who takes a segment out of the ledger to build its hashes again is a publisher who forgot: the
    inequality knows both tables, and forbids the second."""
    spent = DEFAULT_PARAMETERS.tier1_bits + DEFAULT_PARAMETERS.tier2_bits
    with pytest.raises(ValueError, match="44 filter bits a hash would disclose the list"):
        check_secrecy(DEFAULT_PARAMETERS, count=10_000, other_key_bits=spent)
    publisher = NearPublisher(tmp_path, algorithm=Algorithm.PDQ, practice=True, minimum_count=1)
    old = pdq_hashes(5)
    publisher.publish(old)
    (tmp_path / "1.near").unlink()
    with pytest.raises(PublishError, match="0 new hashes of 5"):
        publisher.publish(old)


# --- withdrawals ----------------------------------------------------------------------------------------


def test_a_withdrawn_hash_is_named_by_its_sha256_in_a_new_release(practice: World) -> None:
    values = pdq_hashes(4)
    first = practice.repository.publish_base(entries(values))
    gone = [listed.hash for listed in entries(values[:1] + pdq_hashes(1, seed=9)) + digests("a")]
    report = practice.repository.publish_base(entries(values[1:]), withdrawn=gone)
    assert (report.release.epoch, report.near) == (2, first.near)
    assert practice.base().withdrawn == (hashlib.sha256(values[0]).digest(),)
    again = practice.repository.publish_base(entries(values[1:]), withdrawn=gone)
    assert not again.changed
    back = practice.repository.publish_base(entries(values), withdrawn=gone)
    assert (back.changed, practice.base().withdrawn) == (True, ())


def test_a_hash_stays_in_force_while_a_relative_that_it_stands_for_is_listed(practice: World) -> None:
    (value,) = pdq_hashes(1)
    relative = bytes([value[0] ^ 0b111]) + value[1:]
    practice.repository.publish_base(entries([value]))
    gone = [entries([value])[0].hash]
    practice.repository.publish_base(entries([relative]), withdrawn=gone)
    assert practice.base().withdrawn == ()
    practice.repository.publish_base([], withdrawn=gone)
    assert practice.base().withdrawn == (hashlib.sha256(value).digest(),)


def test_more_withdrawals_than_a_release_can_name_are_refused(practice: World) -> None:
    listed = entries(pdq_hashes(MAX_WITHDRAWN + 1))
    practice.repository.publish_base(listed)
    with pytest.raises(PublishError, match=f"{MAX_WITHDRAWN + 1} withdrawn hashes"):
        practice.repository.publish_base([], withdrawn=[entry.hash for entry in listed])


def test_nothing_of_a_release_without_near_segments_mentions_them(real: World) -> None:
    real.repository.publish_base(digests("a"))
    assert {"near", "withdrawn"}.isdisjoint(real.base().to_custom())
