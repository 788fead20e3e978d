"""Rotation: each root is signed by the one before it, and nothing less than the threshold moves a key."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Targets

from iii_client.errors import ConfigurationError
from iii_client.publisher import FilterRepository

NOON = datetime(2030, 6, 1, 12, tzinfo=UTC)


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now = NOON
        self.repository = self.open()

    def open(self) -> FilterRepository:
        return FilterRepository.open_or_create(
            self.folder / "repository", keys_dir=self.folder / "keys", clock=lambda: self.now
        )

    @property
    def metadata(self) -> Path:
        return self.repository.public_dir / "metadata"

    def root(self, version: int) -> Metadata[Root]:
        return Metadata[Root].from_bytes((self.metadata / f"{version}.root.json").read_bytes())

    def key_files(self) -> set[str]:
        return {str(path.relative_to(self.folder / "keys")) for path in (self.folder / "keys").rglob("*.pem")}

    def files(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.metadata.iterdir()}


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.repository.publish([])
    return made


def test_without_a_name_root_and_targets_are_signed_for_a_new_term(world: World) -> None:
    before = world.repository.status()
    world.now += timedelta(days=100)
    world.repository.rotate()
    after = world.repository.status()
    assert after.keys == before.keys
    assert after.roles["root"] == (2, world.now + timedelta(days=548))
    assert after.roles["targets"][1] == world.now + timedelta(days=120)
    world.root(1).verify_delegate("root", world.root(2))


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("root-1", "root"),
        ("root-3", "root"),
        ("targets-1", "targets"),
        ("targets-2", "targets"),
        ("snapshot-1", "snapshot"),
        ("delta-1", "delta"),
    ],
)
def test_a_key_is_replaced_and_its_file_is_gone(world: World, name: str, role: str) -> None:
    before, keys = world.repository.status(), world.key_files()
    world.repository.rotate([name])
    after = world.repository.status()
    old, new = set(before.keys[role][1]), set(after.keys[role][1])
    assert len(old & new) == len(old) - 1
    assert len(new) == len(old)
    assert after.keys[role][0] == before.keys[role][0]
    assert {path.rpartition("/")[2] for path in keys - world.key_files()} == {f"{name}.pem"}
    assert len(world.key_files()) == len(keys)
    others = {one for one in before.keys if one != role} - ({"timestamp"} if role == "snapshot" else set())
    assert all(before.keys[one] == after.keys[one] for one in others)
    assert after.visible
    world.repository.refresh()
    world.repository.publish([])


def test_a_lost_key_is_replaced_by_the_first_digits_of_its_id(world: World) -> None:
    (world.folder / "keys" / "offline" / "root-2.pem").unlink()
    status = world.repository.status()
    (lost,) = set(status.keys["root"][1]) - set(status.here)
    world.repository.rotate([lost[:8]])
    assert lost not in world.repository.status().keys["root"][1]
    world.root(1).verify_delegate("root", world.root(2))
    world.root(2).verify_delegate("root", world.root(2))


def test_all_keys_of_a_role_can_be_replaced_at_once(world: World) -> None:
    world.repository.rotate(["root-1", "root-2", "root-3", "targets-1", "targets-2", "snapshot-1", "delta-1"])
    world.root(1).verify_delegate("root", world.root(2))
    world.root(2).verify_delegate("root", world.root(2))
    assert not set(world.root(1).signed.roles["root"].keyids) & set(world.root(2).signed.roles["root"].keyids)


def test_one_root_key_of_three_rotates_nothing_and_makes_no_key(world: World) -> None:
    for name in ("root-1", "root-2"):
        (world.folder / "keys" / "offline" / f"{name}.pem").unlink()
    files, keys = world.files(), world.key_files()
    with pytest.raises(ConfigurationError, match="1 of 2 publishing keys of 'root'") as caught:
        world.repository.rotate(["root-3"])
    assert "--offline" in caught.value.hint
    assert (world.files(), world.key_files()) == (files, keys)


def test_without_a_targets_key_nothing_is_rotated(world: World) -> None:
    for name in ("targets-1", "targets-2"):
        (world.folder / "keys" / "offline" / f"{name}.pem").unlink()
    files, keys = world.files(), world.key_files()
    with pytest.raises(ConfigurationError, match="0 of 1 publishing keys of 'targets'"):
        world.repository.rotate(["snapshot-1"])
    assert (world.files(), world.key_files()) == (files, keys)


def test_the_online_key_cannot_rotate_anything(world: World) -> None:
    shutil.rmtree(world.folder / "keys" / "offline")
    files = world.files()
    with pytest.raises(ConfigurationError, match="0 of 2 publishing keys of 'root'"):
        world.repository.rotate(["snapshot-1"])
    assert world.files() == files


def test_a_key_of_another_repository_is_not_replaced(world: World, tmp_path: Path) -> None:
    other = World(tmp_path / "other")
    foreign = next(iter(other.repository.status().keys["root"][1]))
    with pytest.raises(ConfigurationError, match="no key"):
        world.repository.rotate([foreign[:12]])


def test_a_machine_without_online_keys_signs_what_is_taken_up_where_they_are(world: World) -> None:
    online, aside = world.folder / "keys" / "online", world.folder / "aside"
    online.rename(aside)
    world.repository.rotate(["root-1"])
    report = world.repository.publish([], base=True)
    status = world.repository.status()
    assert not status.visible
    assert status.roles["snapshot"][0] == 2
    aside.rename(online)
    assert world.repository.refresh()
    assert world.repository.status().visible
    assert world.repository.release == report.release


@pytest.mark.parametrize("written", range(6))
def test_a_rotation_that_was_interrupted_is_finished_by_the_timer_or_did_not_happen(
    world: World, written: int
) -> None:
    """Files are put back to how they were after each single step of the rotation of everything."""
    before = world.files()
    world.repository.rotate([name.rpartition("/")[2].removesuffix(".pem") for name in world.key_files()][:7])
    after = world.files()
    steps = ["2.delta.json", "3.targets.json", "2.root.json", "3.snapshot.json", "timestamp.json"]
    assert set(after) - set(before) == set(steps) - {"timestamp.json"}
    for name in steps[written:]:
        if name in before:
            (world.metadata / name).write_bytes(before[name])
        else:
            (world.metadata / name).unlink()
    status = world.repository.status()
    assert status.roles["root"][0] == (2 if written >= 3 else 1)
    assert status.visible is (written in {0, 1, 2, 5})
    if written >= 3:
        world.repository.refresh()
        assert world.repository.status().visible


@pytest.mark.parametrize("role", ["root", "targets", "delta"])
def test_metadata_that_somebody_put_into_the_folder_is_never_signed(world: World, role: str) -> None:
    """The online keys sign every hour: what they take up must be signed by the keys of its own role."""
    newest = world.repository.status().roles[role][0]
    content = (world.metadata / f"{newest}.{role}.json").read_bytes()
    metadata = Metadata[Root].from_bytes(content) if role == "root" else Metadata[Targets].from_bytes(content)
    metadata.signed.version = newest + 1
    (world.metadata / f"{newest + 1}.{role}.json").write_bytes(metadata.to_bytes())
    world.now += timedelta(hours=2)
    world.repository.refresh()
    status = world.repository.status()
    assert status.roles[role][0] == newest
    assert status.visible
    world.repository.rotate()
    world.repository.publish([], base=True)
    assert world.repository.status().visible


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json"])
def test_a_field_that_somebody_put_into_the_online_metadata_is_never_signed(world: World, name: str) -> None:
    """Hosts keep a wait of up to a day that the timestamp asks for: nobody but the publisher may ask."""
    path = world.metadata / name
    metadata: Metadata[Any] = Metadata.from_bytes(path.read_bytes())
    metadata.signed.unrecognized_fields["minimum_wait_s"] = 86_400
    path.write_bytes(metadata.to_bytes())
    world.now += timedelta(hours=2)
    world.repository.refresh()
    assert world.repository.status().visible
    newest = world.repository.status().roles["snapshot"][0]
    for signed in (world.metadata / "timestamp.json", world.metadata / f"{newest}.snapshot.json"):
        assert b"minimum_wait_s" not in signed.read_bytes()


@pytest.mark.parametrize(
    "name", ["999.delta.json", "999.targets.json", "2.root.json", "9x.delta.json", ".delta.json"]
)
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 100_000])
def test_rubbish_in_the_folder_stops_nobody(world: World, name: str, content: bytes) -> None:
    (world.metadata / name).write_bytes(content)
    world.now += timedelta(hours=2)
    world.repository.refresh()
    world.repository.rotate()
    assert world.repository.status().visible


def test_twenty_rotations_are_a_chain_from_the_first_root(world: World) -> None:
    for version in range(2, 21):
        world.now += timedelta(days=60)
        names = sorted(path.rpartition("/")[2].removesuffix(".pem") for path in world.key_files())
        world.repository.rotate([names[version % len(names)]])
    trusted = world.root(1)
    for version in range(2, 21):
        following = world.root(version)
        trusted.verify_delegate("root", following)
        following.verify_delegate("root", following)
        trusted = following
    with pytest.raises(RepositoryError):
        world.root(1).verify_delegate("root", world.root(20))
