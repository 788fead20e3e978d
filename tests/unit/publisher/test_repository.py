"""The signed repository: roles and clocks as designed, and a folder as the only state."""

import hashlib
import shutil
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from iii_client.errors import ConfigurationError
from iii_client.filters import parse_bundle
from iii_client.model import NO_RELEASE, Algorithm, HashValue, ReleaseId
from iii_client.publisher import FilterRepository, ListEntry
from iii_client.updates.signed_base import SignedBase

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def entry(name: str) -> ListEntry:
    value = HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(name.encode()).digest())
    return ListEntry(hash=value, quality=100, list_name="list", source="body")


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock()
        self.repository = self.open()

    def open(self) -> FilterRepository:
        return FilterRepository.open_or_create(
            self.folder / "repository", keys_dir=self.folder / "keys", clock=self.clock
        )

    def path(self, name: str) -> Path:
        return self.repository.public_dir / "metadata" / name

    @property
    def root(self) -> Root:
        newest = max(self.path("").glob("*.root.json"), key=lambda path: int(path.name.split(".")[0]))
        return Metadata[Root].from_bytes(newest.read_bytes()).signed

    @property
    def timestamp(self) -> Timestamp:
        return Metadata[Timestamp].from_bytes(self.path("timestamp.json").read_bytes()).signed

    @property
    def snapshot(self) -> Snapshot:
        name = f"{self.timestamp.snapshot_meta.version}.snapshot.json"
        return Metadata[Snapshot].from_bytes(self.path(name).read_bytes()).signed

    def targets(self, role: str = "targets") -> Targets:
        name = f"{self.snapshot.meta[f'{role}.json'].version}.{role}.json"
        return Metadata[Targets].from_bytes(self.path(name).read_bytes()).signed

    def files(self) -> dict[str, bytes]:
        folder = self.repository.public_dir
        return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_roles_thresholds_and_clocks_are_those_of_the_design(world: World) -> None:
    root = world.root
    assert root.consistent_snapshot
    assert {name: (len(role.keyids), role.threshold) for name, role in root.roles.items()} == {
        "root": (3, 2),
        "targets": (2, 1),
        "snapshot": (1, 1),
        "timestamp": (1, 1),
    }
    assert {
        "root": root.expires - NOON,
        "targets": world.targets().expires - NOON,
        "delta": world.targets("delta").expires - NOON,
        "snapshot": world.snapshot.expires - NOON,
        "timestamp": world.timestamp.expires - NOON,
    } == {
        "root": timedelta(days=548),
        "targets": timedelta(days=120),
        "delta": timedelta(days=14),
        "snapshot": timedelta(days=7),
        "timestamp": timedelta(days=7),
    }


def test_no_key_has_two_jobs_but_snapshot_and_timestamp(world: World) -> None:
    roles = {name: set(role.keyids) for name, role in world.root.roles.items()}
    assert roles["snapshot"] == roles["timestamp"]
    delegations = world.targets().delegations
    assert delegations
    assert delegations.roles
    jobs = [roles["root"], roles["targets"], roles["snapshot"], set(delegations.roles["delta"].keyids)]
    assert len(set.union(*jobs)) == sum(len(job) for job in jobs)


def test_the_root_needs_two_signatures(world: World) -> None:
    metadata = Metadata[Root].from_bytes(world.repository.root_bytes)
    metadata.verify_delegate("root", metadata)
    for keyid in list(metadata.signatures)[1:]:
        del metadata.signatures[keyid]
    with pytest.raises(UnsignedMetadataError):
        metadata.verify_delegate("root", metadata)


def test_the_delta_key_may_sign_deltas_and_nothing_else(world: World) -> None:
    delegations = world.targets().delegations
    assert delegations
    assert delegations.roles
    delta = delegations.roles["delta"]
    assert delta.is_delegated_path("delta/00000001/000001")
    for path in ("base/1/filter.bin", "near/pdq/1.near", "delta/1", "delta/1/2/3", "filter.bin"):
        assert not delta.is_delegated_path(path)


def test_key_files_are_private_and_offline_keys_lie_apart(world: World) -> None:
    keys = world.folder / "keys"
    names = sorted(str(path.relative_to(keys)) for path in keys.rglob("*.pem"))
    assert names == [
        *(f"offline/{name}.pem" for name in ("root-1", "root-2", "root-3", "targets-1", "targets-2")),
        "online/delta-1.pem",
        "online/snapshot-1.pem",
    ]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in keys.rglob("*.pem"))
    assert all(
        stat.S_IMODE(path.stat().st_mode) == 0o700 for path in (keys, keys / "offline", keys / "online")
    )


def test_nothing_is_published_before_the_first_base(world: World) -> None:
    assert world.repository.release == NO_RELEASE
    assert world.targets().targets == {}


def test_a_base_is_described_as_it_is(world: World) -> None:
    release = world.repository.publish_base([entry("a"), entry("b")]).release
    assert release == world.repository.release == ReleaseId(epoch=1, sequence=0)
    target = world.targets().targets["base/1/filter.bin"]
    (file,) = (world.repository.public_dir / "targets" / "base" / "1").iterdir()
    content = file.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert file.name == f"{digest}.filter.bin"
    assert (target.length, target.hashes) == (len(content), {"sha256": digest})
    base = SignedBase.from_custom(target.unrecognized_fields["custom"])
    bundle = parse_bundle(content)
    assert base.release == bundle.release == release
    assert base.sections == tuple(section.info for section in bundle.sections)
    assert base.sha256 == digest
    assert {canary.algorithm for canary in base.canaries} == {"md5", "sha1", "sha256"}


def test_the_same_hashes_are_the_same_release_and_write_nothing(world: World) -> None:
    world.repository.publish_base([entry("a"), entry("b")])
    before = world.files()
    again = world.repository.publish_base([entry("b"), entry("a"), entry("a")])
    assert (again.release, again.changed) == (ReleaseId(epoch=1, sequence=0), False)
    assert world.files() == before


def test_other_hashes_are_a_new_epoch(world: World) -> None:
    epochs = [
        world.repository.publish_base([entry(n) for n in names]).release.epoch
        for names in ("a", "ab", "b", "b")
    ]
    assert epochs == [1, 2, 3, 3]
    assert list(world.targets().targets) == ["base/3/filter.bin"]
    folders = sorted(path.name for path in (world.repository.public_dir / "targets" / "base").iterdir())
    assert folders == ["2", "3"]


def test_two_publishers_make_the_same_bundle(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "two"):
        world = World(tmp_path / name)
        world.repository.publish_base([entry("a")])
        contents += [c for p, c in world.files().items() if p.startswith("targets/")]
    assert contents[0] == contents[1]


def test_opened_again_it_is_the_same_repository(world: World) -> None:
    world.repository.publish_base([entry("a")])
    before = world.files()
    again = world.open()
    assert again.root_bytes == world.repository.root_bytes
    assert again.release == ReleaseId(epoch=1, sequence=0)
    assert world.files() == before


def test_refresh_signs_anew_after_an_hour_and_not_before(world: World) -> None:
    world.repository.publish_base([entry("a")])
    version = world.timestamp.version
    before = world.files()
    world.clock.now += timedelta(minutes=30)
    world.repository.refresh()
    assert world.files() == before
    world.clock.now += timedelta(minutes=30)
    world.repository.refresh()
    assert world.timestamp.version == version + 1
    assert world.timestamp.expires == world.clock.now + timedelta(days=7)
    assert world.snapshot.expires == world.clock.now + timedelta(days=7)


def test_publishing_the_same_signs_anew_what_is_due(world: World) -> None:
    world.repository.publish_base([entry("a")])
    world.clock.now += timedelta(days=1)
    world.repository.publish_base([entry("a")])
    assert world.timestamp.expires == world.clock.now + timedelta(days=7)


def test_every_role_is_renewed_before_it_expires(world: World) -> None:
    """A repository that is refreshed every six days for two years never shows expired metadata."""
    for _ in range(122):
        world.clock.now += timedelta(days=6)
        world.repository.refresh()
        for signed in (world.root, world.targets(), world.targets("delta"), world.snapshot, world.timestamp):
            assert not signed.is_expired(world.clock.now)
    assert world.root.version == 2
    old = Metadata[Root].from_bytes(world.repository.root_bytes)
    old.verify_delegate("root", Metadata[Root].from_bytes(world.path("2.root.json").read_bytes()))
    assert old.signed.version == 1


def test_a_host_with_online_keys_alone_re_signs_and_cannot_publish(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.repository.publish_base([entry("a")])
    shutil.rmtree(world.folder / "keys" / "offline")
    world.clock.now += timedelta(days=80)
    world.repository.refresh()
    assert world.timestamp.expires == world.clock.now + timedelta(days=7)
    assert world.targets("delta").expires == world.clock.now + timedelta(days=14)
    assert "targets expires" in caplog.text
    with pytest.raises(ConfigurationError) as caught:
        world.repository.publish_base([entry("b")])
    assert "0 of 1 publishing keys of 'targets'" in str(caught.value)
    assert "offline" in caught.value.hint
    assert world.open().release == ReleaseId(epoch=1, sequence=0)


def test_keys_of_another_repository_are_refused(world: World, tmp_path: Path) -> None:
    World(tmp_path / "other")
    mixed = FilterRepository.open_or_create(
        world.folder / "repository", keys_dir=tmp_path / "other" / "keys", clock=world.clock
    )
    before = world.files()
    with pytest.raises(ConfigurationError, match="not one of this repository's"):
        mixed.publish_base([entry("a")])
    assert {p: c for p, c in world.files().items() if p.startswith("metadata/")} == before


def test_keys_without_their_repository_are_never_overwritten(world: World) -> None:
    pem = (world.folder / "keys" / "online" / "delta-1.pem").read_bytes()
    shutil.rmtree(world.folder / "repository")
    with pytest.raises(ConfigurationError, match="no repository that they belong to"):
        world.open()
    assert (world.folder / "keys" / "online" / "delta-1.pem").read_bytes() == pem


def test_damaged_metadata_is_a_named_error(world: World) -> None:
    world.path("timestamp.json").write_bytes(b"{")
    with pytest.raises(ConfigurationError, match="timestamp metadata cannot be read"):
        world.repository.refresh()


def test_old_snapshots_do_not_pile_up(world: World) -> None:
    for _ in range(60):
        world.clock.now += timedelta(hours=1)
        world.repository.refresh()
    assert len(list(world.path("").glob("*.snapshot.json"))) == 48
