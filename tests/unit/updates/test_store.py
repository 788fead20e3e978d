"""The installed filter: the pointer is atomic and strict, readers never wait, and old maps stay good."""

import hashlib
import json
import os
import signal
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from iii_client.errors import FilterError, FilterFormatError, LengthOrHashError, NoFilterError
from iii_client.filters import FilterSnapshot, parse_bundle
from iii_client.filters.near_segment import HEADER_BYTES, NearHeader
from iii_client.model import Algorithm, Fingerprint, HashValue, NearInfo, Release, ReleaseId
from iii_client.publisher import ListEntry, build_bundle
from iii_client.publisher.build import test_picture_entries as picture_entries
from iii_client.publisher.near import NearPublisher
from iii_client.updates import FilterStore, LiveFilter
from iii_client.updates.signed_near import SignedSegment

SIGNED_AT = datetime(2030, 1, 1, tzinfo=UTC)
CANARIES = tuple(entry.hash for entry in picture_entries() if entry.hash.algorithm.is_digest)


def known(name: str) -> HashValue:
    return HashValue(algorithm=Algorithm.SHA256, value=hashlib.sha256(name.encode()).digest())


def item(name: str) -> Fingerprint:
    return Fingerprint(recipe="fast-v1", size_bytes=1, kind="unknown", digests=(known(name),))


def install(store: FilterStore, *names: str, epoch: int = 1, near: tuple[NearInfo, ...] = ()) -> Release:
    entries = [ListEntry(hash=known(n), quality=100, list_name="l", source="s") for n in names]
    content = build_bundle(entries, release=ReleaseId(epoch=epoch, sequence=0))
    release = Release(
        id=ReleaseId(epoch=epoch, sequence=0),
        sections=tuple(section.info for section in parse_bundle(content).sections),
        size_bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        signed_at=SIGNED_AT,
        expires_at=SIGNED_AT + timedelta(days=7),
        near=near,
        canaries=CANARIES,
    )
    with store.lock():
        temporary = store.downloads_dir / "new"
        temporary.write_bytes(content)
        store.install(temporary, release)
    return release


@pytest.fixture
def store(tmp_path: Path) -> FilterStore:
    return FilterStore(tmp_path / "state")


def test_nothing_is_installed_at_first_and_nothing_is_created(store: FilterStore, tmp_path: Path) -> None:
    for ask in (store.installed, store.snapshot, store.verify, LiveFilter(store).current):
        with pytest.raises(NoFilterError) as caught:
            ask()
        assert "iii-client filter update" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_what_is_installed_is_told_as_it_was_signed(store: FilterStore) -> None:
    release = install(store, "a")
    assert store.installed() == store.verify() == store.snapshot().info == release
    assert FilterStore(store._dir.parent).installed() == release


def test_newer_signing_times_are_noted_without_touching_the_file(store: FilterStore) -> None:
    release = install(store, "a")
    (file,) = (store._dir / "releases").glob("*.bundle")
    before = file.stat()
    later = Release(
        id=release.id,
        sections=release.sections,
        size_bytes=release.size_bytes,
        sha256=release.sha256,
        signed_at=SIGNED_AT + timedelta(hours=1),
        expires_at=SIGNED_AT + timedelta(days=7, hours=1),
    )
    with store.lock():
        store.confirm(later, checked_at=SIGNED_AT + timedelta(hours=2))
    assert store.installed() == later
    assert (file.stat().st_ino, file.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_reader_asks_for_the_pointer_and_opens_nothing_again(store: FilterStore) -> None:
    install(store, "a")
    live = LiveFilter(store)
    first = live.current()
    for path in (store._dir / "releases").glob("*.bundle"):
        path.unlink()
    assert live.current() is first
    assert first.look_up([item("a")])[0].candidates


def test_a_reader_follows_the_pointer(store: FilterStore) -> None:
    install(store, "a", epoch=1)
    live = LiveFilter(store)
    old = live.current()
    install(store, "b", epoch=2)
    new = live.current()
    assert [bool(f.look_up([item("a")])[0].candidates) for f in (old, new)] == [True, False]
    assert [bool(f.look_up([item("b")])[0].candidates) for f in (old, new)] == [False, True]
    assert live.current() is new


@pytest.mark.parametrize("fault", ["pointer", "file", "no file", "no pointer"])
def test_a_reader_keeps_a_good_release_when_the_next_one_is_damaged(
    store: FilterStore, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    install(store, "a", epoch=1)
    live = LiveFilter(store)
    good = live.current()
    install(store, "b", epoch=2)
    (file,) = (store._dir / "releases").glob("2.*.bundle")
    match fault:
        case "pointer":
            (store._dir / "current").write_bytes(b"{")
        case "file":
            file.write_bytes(b"damaged")
        case "no file":
            file.unlink()
        case "no pointer":
            (store._dir / "current").unlink()
    assert live.current() is good
    assert "release 1.0 stays in use" in caplog.text
    install(store, "b", epoch=3)
    assert live.current().release.epoch == 3


def test_a_damaged_file_is_found_by_its_digest(store: FilterStore) -> None:
    install(store, "a")
    (file,) = (store._dir / "releases").glob("*.bundle")
    content = file.read_bytes()
    for damaged in (content[:-1], content + b"\0", content[:-1] + bytes([content[-1] ^ 1])):
        file.write_bytes(damaged)
        with pytest.raises(LengthOrHashError):
            store.verify()
    file.write_bytes(content)
    store.verify()


@pytest.mark.parametrize("algorithm", [Algorithm.MD5, Algorithm.SHA1, Algorithm.SHA256])
def test_a_section_that_lost_its_bits_is_not_opened(store: FilterStore, algorithm: Algorithm) -> None:
    """Its headers are whole, and it would find nothing that it lists."""
    install(store, "a")
    (file,) = (store._dir / "releases").glob("*.bundle")
    content = bytearray(file.read_bytes())
    (section,) = (s for s in parse_bundle(content).sections if s.name == algorithm)
    content[section.offset + 40 : section.offset + section.size_bytes] = bytes(section.size_bytes - 40)
    file.write_bytes(content)
    for ask in (store.snapshot, LiveFilter(store).current):
        with pytest.raises(FilterFormatError, match="misses 1 of 3") as caught:
            ask()
        assert "iii-client filter update" in caught.value.hint


def test_a_pointer_from_before_it_had_canaries_is_read(store: FilterStore) -> None:
    install(store, "a")
    path = store._dir / "current"
    tree = json.loads(path.read_text())
    del tree["canaries"]
    path.write_text(json.dumps(tree))
    assert store.installed().canaries == ()
    assert store.snapshot().look_up([item("a")])[0].candidates


# --- near segments --------------------------------------------------------------------------------------


def build_segments(folder: Path, count: int = 2) -> list[tuple[NearInfo, bytes]]:
    """Practice segments of three hashes each, in the order of their numbers."""
    publisher = NearPublisher(folder, algorithm=Algorithm.PDQ, practice=True, minimum_count=1)
    built = []
    for number in range(count):
        path = publisher.publish(hashlib.sha256(b"%d %d" % (number, n)).digest() for n in range(3)).path
        content = path.read_bytes()
        header = NearHeader.from_bytes(content[:HEADER_BYTES])
        built.append((SignedSegment(header=header, sha256=hashlib.sha256(content).hexdigest()).info, content))
    return built


def install_with(store: FilterStore, *segments: tuple[NearInfo, bytes], epoch: int) -> Release:
    with store.lock():
        for info, content in segments:
            if not store.has_near(info):
                (store.downloads_dir / "near").write_bytes(content)
                store.install_near(store.downloads_dir / "near", info)
    return install(store, "a", epoch=epoch, near=tuple(info for info, _ in segments))


def test_near_segments_are_told_opened_and_verified_with_their_release(
    store: FilterStore, tmp_path: Path
) -> None:
    segments = build_segments(tmp_path / "built")
    release = install_with(store, *segments, epoch=1)
    assert release.near == tuple(info for info, _ in segments)
    assert store.installed() == store.verify() == store.snapshot().info == release
    assert [info.name for info in release.near] == ["near/pdq/1", "near/pdq/2"]


@pytest.mark.parametrize("fault", ["gone", "cut", "another", "empty"])
def test_a_damaged_near_segment_is_never_opened(store: FilterStore, tmp_path: Path, fault: str) -> None:
    (one, content), (_, other) = build_segments(tmp_path / "built")
    install_with(store, (one, content), epoch=1)
    file = store.near_file(one)
    file.unlink()
    if fault != "gone":
        file.write_bytes({"cut": content[:-1], "another": other, "empty": b""}[fault])
    gone = fault == "gone"
    with pytest.raises(NoFilterError if gone else FilterFormatError):
        store.snapshot()
    with pytest.raises(NoFilterError if gone else LengthOrHashError):
        store.verify()
    assert not store.has_near(one)


def test_near_segments_go_with_the_last_release_that_has_them(store: FilterStore, tmp_path: Path) -> None:
    one, two, three = build_segments(tmp_path / "built", 3)
    seen = []
    for epoch, segments in enumerate(((one,), (one, two), (two,), (two, three), (three,), ()), start=1):
        install_with(store, *segments, epoch=epoch)
        seen.append("".join(sorted(path.name[4] for path in (store._dir / "near").iterdir())))
    assert seen == ["1", "12", "12", "123", "23", "23"]


def test_a_reader_goes_on_with_a_near_segment_that_was_removed(store: FilterStore, tmp_path: Path) -> None:
    ((info, content),) = build_segments(tmp_path / "built", 1)
    install_with(store, (info, content), epoch=1)
    snapshot = store.snapshot()
    for epoch in range(2, 6):
        install(store, "a", epoch=epoch)
    assert list((store._dir / "near").iterdir()) == []
    assert snapshot.look_up([item("a")])[0].candidates


def test_a_release_of_before_there_were_descriptions_is_pruned_like_others(store: FilterStore) -> None:
    for epoch in range(1, 6):
        install(store, "a", epoch=epoch)
        for path in (store._dir / "releases").glob("*.json"):
            path.unlink()
    assert sorted(path.name[:3] for path in (store._dir / "releases").iterdir()) == ["3.0", "4.0", "5.0"]


NEAR_ROW = {
    "algorithm": "pdq",
    "number": 1,
    "count": 3,
    "size_bytes": 9,
    "practice": True,
    "sha256": "00" * 32,
}


@pytest.mark.parametrize(
    "changes",
    [
        {"near": []},
        {"near": ["near/pdq/1"]},
        {"near": [NEAR_ROW] * 33},
        {"near": [NEAR_ROW | {"algorithm": "phash"}]},
        {"near": [NEAR_ROW | {"algorithm": "../pdq"}]},
        {"near": [NEAR_ROW | {"number": 0}]},
        {"near": [NEAR_ROW | {"practice": 1}]},
        {"near": [NEAR_ROW | {"sha256": "../" + "0" * 61}]},
        {"withdrawn": []},
        {"withdrawn": ["00"]},
        {"withdrawn": ["11" * 32, "00" * 32]},
    ],
    ids=lambda changes: json.dumps(changes)[:50],
)
def test_a_pointer_with_nonsense_about_near_segments_is_a_format_error(
    store: FilterStore, changes: dict[str, object]
) -> None:
    install(store, "a")
    pointer_with(store, **changes)
    for ask in (store.installed, store.snapshot, store.verify):
        with pytest.raises(FilterFormatError):
            ask()


def pointer_with(store: FilterStore, **changes: object) -> None:
    path = store._dir / "current"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": 2},
        {"file": "../../../etc/passwd"},
        {"file": ".."},
        {"file": ""},
        {"file": 7},
        {"release": "one"},
        {"release": None},
        {"signed_at": "2030-01-01T00:00:00"},
        {"signed_at": "yesterday"},
        {"sections": [{"name": "md5"}]},
        {"sections": 3},
        {"size_bytes": "many"},
        {"canaries": []},
        {"canaries": [{"algorithm": "md5", "value": "00"}]},
        {"canaries": [{"algorithm": "md4", "value": "00" * 16}]},
        {"canaries": [{"algorithm": "md5", "value": "00" * 16}] * 65},
        {"padding": "x" * 1_100_000},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_damaged_pointer_is_a_format_error(store: FilterStore, changes: dict[str, object]) -> None:
    install(store, "a")
    pointer_with(store, **changes)
    for ask in (store.installed, store.snapshot, store.verify):
        with pytest.raises(FilterFormatError):
            ask()


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"\xff\xfe", b"[" * 60_000])
def test_a_pointer_that_is_no_json_object_is_a_format_error(store: FilterStore, content: bytes) -> None:
    install(store, "a")
    (store._dir / "current").write_bytes(content)
    with pytest.raises(FilterFormatError):
        store.installed()


def test_a_pointer_may_say_more_than_is_known_here(store: FilterStore) -> None:
    release = install(store, "a")
    pointer_with(store, likes=["base/1"])
    assert store.installed() == release


def test_one_process_at_a_time_changes_anything(store: FilterStore) -> None:
    with store.lock(), pytest.raises(FilterError, match="another process"), store.lock(timeout_s=0.1):
        pass
    with store.lock(timeout_s=0.1):
        pass


def test_the_lock_is_free_again_after_a_crash(store: FilterStore) -> None:
    child = os.fork()
    if child == 0:
        store.lock().__enter__()
        os._exit(9)
    os.waitpid(child, 0)
    with store.lock(timeout_s=0.1):
        pass


def test_a_disk_that_refuses_leaves_the_installed_release(
    store: FilterStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = install(store, "a")

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        install(store, "b", epoch=2)
    monkeypatch.undo()
    assert store.verify() == release
    assert not list(store._dir.glob(".*"))


def test_readers_see_only_whole_releases_while_releases_change(store: FilterStore) -> None:
    """Each release lists its own epoch and all of them "a"; a reader must never see anything else."""
    install(store, "a", "epoch 1", epoch=1)
    stop = threading.Event()
    wrong: list[str] = []
    seen: set[int] = set()
    live = LiveFilter(store)

    def read() -> None:
        while not stop.is_set():
            pinned = live.current()
            epoch = pinned.release.epoch
            hits = pinned.look_up([item("a"), item(f"epoch {epoch}"), item(f"epoch {epoch + 1}")])
            seen.add(epoch)
            if [bool(h.candidates) for h in hits] != [True, True, False]:
                wrong.append(str(pinned.release))

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for epoch in range(2, 12):
        install(store, "a", f"epoch {epoch}", epoch=epoch)
    stop.set()
    for reader in readers:
        reader.join()
    assert wrong == []
    assert len(seen) > 1


def test_a_forked_child_goes_on_reading(store: FilterStore) -> None:
    install(store, "a")
    live = LiveFilter(store)
    live.current()
    child = os.fork()
    if child == 0:
        os._exit(0 if live.current().look_up([item("a")])[0].candidates else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_child_forked_while_another_thread_opens_a_release_goes_on_reading(tmp_path: Path) -> None:
    opening, go_on = threading.Event(), threading.Event()

    class SlowStore(FilterStore):
        def snapshot(self, *args: Any, **kwargs: Any) -> FilterSnapshot:
            if not opening.is_set():
                opening.set()
                go_on.wait()
            return super().snapshot(*args, **kwargs)

    store = SlowStore(tmp_path / "state")
    install(store, "a")
    live = LiveFilter(store)
    reader = threading.Thread(target=live.current)
    reader.start()
    opening.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)  # a child that waits for the other thread's lock waits for ever
        os._exit(0 if live.current().look_up([item("a")])[0].candidates else 1)
    go_on.set()
    reader.join()
    assert os.waitpid(child, 0)[1] == 0


def test_a_child_forked_during_an_update_does_not_keep_its_lock(store: FilterStore) -> None:
    end, write = os.pipe()
    with store.lock():
        child = os.fork()
        if child == 0:
            os.close(write)
            os.read(end, 1)
            os._exit(0)
    with store.lock(timeout_s=0.1):
        pass
    os.close(write)
    os.waitpid(child, 0)
    os.close(end)
