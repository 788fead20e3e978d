"""The host's recent negatives: kept in batches, distinct, bounded, never in the way; and their gate."""

import hashlib
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iii_client.errors import HeldReleaseError
from iii_client.filters import ExactSections, open_bundle
from iii_client.model import (
    Action,
    Algorithm,
    Candidate,
    Decision,
    Fingerprint,
    HashValue,
    Mode,
    Outcome,
    PerceptualHash,
    ReleaseId,
    Verdict,
)
from iii_client.publisher import ListEntry, build_bundle
from iii_client.updates import RecentNegatives
from iii_client.updates.negatives import BATCH_AGE_S, BATCH_FILES, MAX_NEGATIVES, check_negatives

RELEASE = ReleaseId(epoch=1, sequence=1)
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY_S = 24 * 3600


def file_of(name: str, *, pdq: bool = False) -> Fingerprint:
    """What a scan of these bytes gives."""
    content = name.encode()
    values = {
        Algorithm.MD5: hashlib.md5(content).digest(),
        Algorithm.SHA1: hashlib.sha1(content).digest(),
        Algorithm.SHA256: hashlib.sha256(content).digest(),
    }
    perceptual = PerceptualHash(
        algorithm=Algorithm.PDQ, value=hashlib.sha256(b"p" + content).digest(), quality=9
    )
    return Fingerprint(
        recipe="fast-v1",
        size_bytes=len(content),
        kind="jpeg",
        digests=tuple(HashValue(algorithm=a, value=v) for a, v in values.items()),
        perceptual=(perceptual,) if pdq else (),
    )


def keys(fingerprints: tuple[Fingerprint, ...]) -> list[tuple[HashValue, ...]]:
    return [fingerprint.hash_values() for fingerprint in fingerprints]


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    (tmp_path / "filter").mkdir()
    return tmp_path


def test_what_is_remembered_is_on_disk_after_a_flush_with_all_its_hashes(state_dir: Path) -> None:
    memory = RecentNegatives(state_dir)
    files = (file_of("a"), file_of("b", pdq=True))
    memory.remember(files)
    assert memory.load() == ()
    memory.close()
    assert keys(RecentNegatives(state_dir).load()) == keys(files)
    assert (state_dir / "filter" / "negatives").stat().st_mode & 0o777 == 0o600


def test_nothing_is_written_before_a_batch_is_full_or_old(state_dir: Path) -> None:
    now = [0.0]
    memory = RecentNegatives(state_dir, monotonic=lambda: now[0])
    memory.remember([file_of(str(n)) for n in range(BATCH_FILES - 1)])
    assert memory.load() == ()
    memory.remember([file_of("the last")])
    assert len(memory.load()) == BATCH_FILES
    memory.remember([file_of("another")])
    now[0] = BATCH_AGE_S + 1
    memory.remember([file_of("and one")])
    assert len(memory.load()) == BATCH_FILES + 2


def test_a_file_seen_again_is_kept_once_and_as_the_newest(state_dir: Path) -> None:
    memory = RecentNegatives(state_dir)
    for name in ("a", "b", "c", "a"):
        memory.remember([file_of(name)])
        memory.flush()
    assert keys(memory.load()) == keys((file_of("b"), file_of("c"), file_of("a")))


def test_the_oldest_go_when_there_are_too_many(state_dir: Path) -> None:
    memory = RecentNegatives(state_dir)
    for start in range(0, MAX_NEGATIVES + 1_000, 1_000):
        memory.remember([file_of(str(start + n)) for n in range(1_000)])
        memory.flush()
    kept = memory.load()
    assert len(kept) == MAX_NEGATIVES
    assert keys(kept[:1]) == keys((file_of("1000"),))


def test_what_was_not_seen_for_its_time_is_forgotten(state_dir: Path) -> None:
    now = [NOON.timestamp()]
    memory = RecentNegatives(state_dir, keep_days=30, clock=lambda: now[0])
    memory.remember([file_of("old"), file_of("seen again")])
    memory.flush()
    now[0] += 20 * DAY_S
    memory.remember([file_of("seen again")])
    memory.flush()
    assert len(memory.load()) == 2
    now[0] += 11 * DAY_S
    memory.remember([file_of("new")])
    memory.flush()
    assert keys(memory.load()) == keys((file_of("seen again"), file_of("new")))


def test_they_are_erased_on_demand(state_dir: Path) -> None:
    now = [NOON.timestamp()]
    memory = RecentNegatives(state_dir, clock=lambda: now[0])
    memory.forget_before(NOON)
    for name in ("old", "new"):
        memory.remember([file_of(name)])
        memory.flush()
        now[0] += 2 * DAY_S
    memory.forget_before(NOON + timedelta(days=1))
    assert keys(memory.load()) == keys((file_of("new"),))
    memory.remember([file_of("pending")])
    memory.forget_all()
    memory.flush()
    assert memory.load() == ()


def test_a_file_that_could_not_be_read_is_no_negative(state_dir: Path) -> None:
    memory = RecentNegatives(state_dir)
    memory.remember([Fingerprint(recipe="fast-v1", size_bytes=0, kind="unknown")])
    memory.flush()
    assert memory.load() == ()


@settings(max_examples=30, deadline=None)
@given(cut=st.integers(0, 250), flip=st.integers(0, 15), extra=st.binary(max_size=3))
def test_a_damaged_file_is_begun_anew_and_never_an_error(
    tmp_path_factory: pytest.TempPathFactory, cut: int, flip: int, extra: bytes
) -> None:
    state_dir = tmp_path_factory.mktemp("state")
    (state_dir / "filter").mkdir()
    memory = RecentNegatives(state_dir)
    memory.remember([file_of("a"), file_of("b")])
    memory.flush()
    path = state_dir / "filter" / "negatives"
    content = bytearray(path.read_bytes())
    content[flip] ^= 0x41
    path.write_bytes(content[:cut] + extra)
    assert memory.load() == ()
    memory.remember([file_of("c")])
    memory.flush()
    assert keys(memory.load()) == keys((file_of("c"),))


def test_a_disk_that_refuses_is_no_error_and_memory_stays_bounded(tmp_path: Path) -> None:
    memory = RecentNegatives(tmp_path)  # no folder of a filter: nothing is installed
    memory.remember([file_of(str(n)) for n in range(20_000)])
    memory.flush()
    assert memory.load() == ()
    assert list(tmp_path.iterdir()) == []
    assert len(memory._pending) <= 5_000


def note(state_dir: Path, label: str) -> None:
    memory = RecentNegatives(state_dir)
    for number in range(300):
        memory.remember([file_of(f"{label} {number}")])
        if number % 10 == 0:
            memory.flush()
    while memory._pending:
        memory.flush()


def test_processes_that_remember_at_once_lose_nothing(state_dir: Path) -> None:
    context = multiprocessing.get_context("fork")
    running = [context.Process(target=note, args=(state_dir, str(n))) for n in range(4)]
    for process in running:
        process.start()
    for process in running:
        process.join()
    assert len(RecentNegatives(state_dir).load()) == 1_200
    assert sorted(path.name for path in (state_dir / "filter").iterdir()) == ["negatives", "negatives.lock"]


# --- the gate -------------------------------------------------------------------------------------------


def filter_of(folder: Path, *names: str) -> ExactSections:
    entries = [
        ListEntry(hash=value, quality=100, list_name="list", source="body")
        for name in names
        for value in file_of(name).digests[:1]  # by MD5 alone: any digest of a file counts
    ]
    path = folder / f"{len(names)}.bundle"
    path.write_bytes(build_bundle(entries, release=RELEASE))
    return open_bundle(path)[1]


def judge(tmp_path: Path, negatives: int, turned: int, *, found_before: int = 0) -> None:
    files = [f"file {number}" for number in range(negatives)]
    installed = filter_of(tmp_path, *files[:found_before]) if found_before else None
    check_negatives(
        [file_of(name) for name in files],
        installed=installed,
        offered=filter_of(tmp_path, *files[: found_before + turned]),
        release=RELEASE,
    )


@pytest.mark.parametrize(("negatives", "turned"), [(0, 0), (10, 3), (2_000, 3), (5_000, 5)])
def test_a_few_that_turn_positive_are_the_lists_doing_their_work(
    tmp_path: Path, negatives: int, turned: int
) -> None:
    judge(tmp_path, negatives, turned)


@pytest.mark.parametrize(("negatives", "turned"), [(10, 4), (2_000, 4), (5_000, 6)])
def test_more_than_that_holds_the_release_and_says_what_to_do(
    tmp_path: Path, negatives: int, turned: int
) -> None:
    with pytest.raises(HeldReleaseError, match=f"{turned} of this host's last {negatives} files") as caught:
        judge(tmp_path, negatives, turned)
    assert caught.value.release == "1.1"
    assert "iii-client filter accept 1.1" in caught.value.hint


def test_what_the_filter_in_use_finds_already_does_not_count(tmp_path: Path) -> None:
    judge(tmp_path, 2_000, 3, found_before=20)
    with pytest.raises(HeldReleaseError, match="4 of"):
        judge(tmp_path, 2_000, 4, found_before=20)


def test_an_observer_notes_plain_negatives_only(state_dir: Path) -> None:
    memory = RecentNegatives(state_dir)
    hit = Candidate(hash=file_of("b").digests[0], section="md5")
    for name, outcome, candidates in (
        ("a", Outcome.NO_MATCH, ()),
        ("b", Outcome.NO_MATCH, (hit,)),  # a hit that the service denied
        ("c", Outcome.UNSCANNABLE, ()),
        ("d", Outcome.MATCHED, (hit,)),
    ):
        verdict = Verdict(
            outcome=outcome,
            fingerprint=file_of(name),
            candidates=candidates,
            matches=(),
            reasons=(),
            release=RELEASE,
        )
        decision = Decision(
            action=Action.ALLOW, ruled=Action.ALLOW, rule="", verdict=verdict, mode=Mode.SHADOW
        )
        memory.scanned(decision, seconds=0.0, recalled=False)
    memory.flush()
    assert keys(memory.load()) == keys((file_of("a"),))
