"""Key files: private, apart, protected when asked, and an error that says what to fetch."""

import stat
from pathlib import Path

import pytest

from iii_client.config import Secret
from iii_client.errors import ConfigurationError
from iii_client.publisher.keys import Job, KeyStore


def ids(keys: KeyStore, job: Job) -> list[str]:
    return [signer.public_key.keyid for signer in keys.all_of(job)]


def test_offline_keys_are_dealt_to_the_folders_that_are_named(tmp_path: Path) -> None:
    sticks = [tmp_path / name for name in "abc"]
    KeyStore(tmp_path / "private", offline=sticks).create()
    assert [sorted(path.name for path in stick.iterdir()) for stick in sticks] == [
        ["root-1.pem", "targets-1.pem"],
        ["root-2.pem", "targets-2.pem"],
        ["root-3.pem"],
    ]
    assert sorted(path.name for path in (tmp_path / "private").rglob("*.pem")) == [
        "delta-1.pem",
        "snapshot-1.pem",
    ]
    for path in tmp_path.rglob("*.pem"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_new_key_comes_to_where_the_old_one_is_else_to_the_emptiest_folder(tmp_path: Path) -> None:
    """Two root keys on one stick would make its holder the whole threshold."""
    sticks = [tmp_path / name for name in "abc"]
    keys = KeyStore(tmp_path / "private", offline=sticks)
    keys.create()
    for stick, name in zip(sticks, ("root-1", "root-2", "root-3"), strict=True):
        _, keyid = keys.keyid(name)
        keys.new(Job.ROOT, instead_of=keyid)
        keys.forget([keyid])
        assert len(list(stick.glob("root-*.pem"))) == 1
    lost = sticks[1]
    for path in lost.iterdir():
        path.unlink()
    keys.new(Job.ROOT, instead_of="00" * 32)
    assert [path.name for path in lost.glob("root-*.pem")] == ["root-7.pem"]


def test_only_the_folders_that_are_here_count(tmp_path: Path) -> None:
    sticks = [tmp_path / name for name in "abc"]
    everything = KeyStore(tmp_path / "private", offline=sticks)
    everything.create()
    roots = ids(everything, Job.ROOT)
    two = KeyStore(tmp_path / "private", offline=[sticks[0], sticks[2]])
    assert ids(two, Job.ROOT) == [roots[0], roots[2]]
    assert two.has(Job.ROOT, roots, at_least=2)
    assert not KeyStore(tmp_path / "private", offline=sticks[:1]).has(Job.ROOT, roots, at_least=2)


def test_a_stick_named_twice_is_one_key(tmp_path: Path) -> None:
    stick = tmp_path / "a"
    keys = KeyStore(tmp_path / "private", offline=[stick])
    keys.create()
    lone = [ids(keys, Job.ROOT)[0]]
    twice = KeyStore(tmp_path / "private", offline=[stick, stick])
    assert not twice.has(Job.ROOT, lone, at_least=2)
    assert len(twice.signers(Job.ROOT, lone)) == 1


def test_a_passphrase_protects_offline_keys_and_no_online_ones(tmp_path: Path) -> None:
    """The timer signs every hour without anybody at the keyboard."""
    keys = KeyStore(tmp_path, passphrase=Secret("correct horse"))
    keys.create()
    roots = ids(keys, Job.ROOT)
    assert len(roots) == 3
    for path in tmp_path.rglob("*.pem"):
        assert (b"ENCRYPTED" in path.read_bytes()) is (path.parent.name == "offline")
    without = KeyStore(tmp_path)
    assert without.has(Job.SNAPSHOT, ids(keys, Job.SNAPSHOT), at_least=1)
    assert not without.has(Job.ROOT, roots, at_least=1)
    error = without.missing(Job.ROOT, here=0, needed=2)
    assert "passphrase" in str(error)
    assert "--passphrase" in error.hint


def test_a_wrong_passphrase_is_said_and_not_shown(tmp_path: Path) -> None:
    KeyStore(tmp_path, passphrase=Secret("correct horse")).create()
    with pytest.raises(ConfigurationError, match="passphrase is wrong") as caught:
        KeyStore(tmp_path, passphrase=Secret("battery staple")).all_of(Job.ROOT)
    assert "battery" not in f"{caught.value} {caught.value.hint}"


def test_a_new_key_never_takes_the_place_of_a_file(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    keys.create()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.pem")}
    keys.new(Job.SNAPSHOT)
    assert (tmp_path / "online" / "snapshot-2.pem").exists()
    assert {path: path.read_bytes() for path in before} == before


def test_keys_are_never_made_over_others(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    keys.create()
    with pytest.raises(ConfigurationError, match="no repository that they belong to"):
        keys.create()


def test_a_key_in_the_folder_of_the_others_is_not_used(tmp_path: Path) -> None:
    """A root key among the online ones would be signed with by whoever breaks into that host."""
    keys = KeyStore(tmp_path)
    keys.create()
    (tmp_path / "offline" / "root-1.pem").rename(tmp_path / "online" / "root-1.pem")
    assert len(ids(keys, Job.ROOT)) == 2


def test_a_file_that_is_no_key_is_named(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    keys.create()
    (tmp_path / "online" / "delta-1.pem").write_bytes(b"no key")
    with pytest.raises(ConfigurationError, match=r"'delta-1' cannot be opened: it is no PEM key"):
        keys.all_of(Job.DELTA)


def test_a_key_is_found_by_its_name_and_forgotten_by_its_id(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    keys.create()
    job, keyid = keys.keyid("targets-2")
    assert job is Job.TARGETS
    keys.forget([keyid])
    assert not (tmp_path / "offline" / "targets-2.pem").exists()
    assert keys.names([keyid]) == {}
    with pytest.raises(ConfigurationError, match="no key 'targets-2'") as caught:
        keys.keyid("targets-2")
    assert "targets-1" in caught.value.hint


def test_key_files_of_before_rotation_was_possible_still_sign(tmp_path: Path) -> None:
    keys = KeyStore(tmp_path)
    keys.create()
    lone = ids(keys, Job.DELTA)
    (tmp_path / "online" / "delta-1.pem").rename(tmp_path / "online" / "delta.pem")
    assert keys.has(Job.DELTA, lone, at_least=1)
