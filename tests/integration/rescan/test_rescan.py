"""A rescan from its start to its report: stopped, resumed, rechecked, poisoned, throttled, on real parts."""

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pytest
from tests.rescan_site import Site, noise

from iii_client.config import Config, Limits
from iii_client.content import Content
from iii_client.errors import ConfigurationError, FilterError, LedgerLockedError, RescanError
from iii_client.fingerprint import RECIPES, build_fingerprint
from iii_client.records import SqliteStore
from iii_client.records.fingerprint_codec import encode_fingerprint
from iii_client.records.store import storable
from iii_client.rescan import Found, Recheck, Rescan, RunDone
from iii_client.rescan.chunks import ChunkTask, fingerprints_of, pack_rows, unpack_rows
from iii_client.rescan.engine import Engine, open_engine
from iii_client.rescan.recheck import Rechecked
from iii_client.rescan.report import write_csv, write_html, write_jsonl
from iii_client.rescan.segments import Position
from iii_client.scanner import Scanner


def start(site: Site, root: str = "", **options: Any) -> Rescan:
    return Rescan.start(site.config, job="job", roots=[root or str(site.pictures)], **options)


def found_by(rescan: Rescan) -> dict[str, str]:
    """Every item by its name, and how it ended."""
    (shard,) = rescan.ledger.shards()
    stored = [i.key for items, _ in rescan.ledger.segments(0).read(Position(), shard.end) for i in items]
    assert len(stored) == len(set(stored))
    # A name that is no UTF-8 is kept as it is in a segment, and escaped where people read it.
    ends = dict.fromkeys(map(storable, stored), "no_match")
    for row in rescan.ledger.exceptions():
        ends[row[1].removeprefix(f"{rescan.ledger.spec.roots[0]}/")] = row[2]
    return ends


def encounters(config: Config) -> Counter[str]:
    store = SqliteStore(config.state_dir / "state.db")
    with store.reading() as tx:
        rows = tx.query("SELECT reference FROM encounter")
    store.close()
    return Counter(reference for (reference,) in rows)


def test_a_rescan_finds_what_a_scan_of_each_file_finds(site: Site) -> None:
    rescan = start(site, chunk_items=5)
    assert list(rescan.run())[-1] == RunDone(finished=True)
    status = rescan.ledger.status()
    assert (status.items, status.matched, status.unscannable, status.failed) == (27, 2, 1, 0)
    assert status.no_match == 24
    assert status.reasons == {"empty": 1}
    ends = found_by(rescan)
    with Scanner.from_config(site.config, counts_hits=False) as scanner:
        assert ends == {
            storable(str(path.relative_to(site.pictures))): scanner.scan(path).verdict.outcome.value
            for path in site.pictures.rglob("*")
            if path.is_file()
        }


def test_a_stopped_rescan_goes_on_where_it_was(site: Site) -> None:
    rescan = start(site, chunk_items=2, jobs=1)
    for number, _ in enumerate(rescan.run()):
        if number == 1:
            rescan.stop()
    before = rescan.ledger.status()
    assert 0 < before.items < 27
    assert before.state.value == "open"
    second = Rescan.resume(site.config, job="job", chunk_items=2)
    assert list(second.run())[-1] == RunDone(finished=True)
    after = second.ledger.status()
    assert (after.items, after.matched, after.unscannable, after.redone) == (27, 2, 1, 0)
    assert len(found_by(second)) == 27
    assert max(encounters(site.config).values()) == 1


def test_a_recheck_finds_what_was_listed_since_and_reads_no_file(site: Site) -> None:
    rescan = start(site)
    list(rescan.run())
    site.sandbox.add_pictures([site.pictures / "user2" / "05.png", site.pictures / "user1" / "10.png"])
    site.update()
    # Nothing can be read any more: whoever tried would find every item unscannable.
    away = site.pictures.rename(site.pictures.with_name("away"))
    check = Recheck.of(site.config, job="job")
    events = list(check.run())
    new = {Path(e.reference).relative_to(site.pictures).as_posix() for e in events if isinstance(e, Found)}
    assert new == {"user2/05.png", "user1/10.png"}
    assert sum(e.items for e in events if isinstance(e, Rechecked)) == 27
    status = check.ledger.status()
    assert (status.items, status.matched, status.unscannable) == (27, 4, 1)
    assert status.release == "2.0"
    again = list(Recheck.of(site.config, job="job").run())
    assert not [event for event in again if isinstance(event, Found)]
    assert max(encounters(site.config).values()) == 1
    assert away.exists()


def test_an_item_is_recorded_once_however_often_its_chunk_is_done(site: Site) -> None:
    class PowerCutError(Exception):
        """Stands in for SIGKILL between what is recorded and the cursor; the real one is in tests/faults."""

    def cut_at_first_find(rescan: Rescan) -> None:
        for event in rescan.run():
            if isinstance(event, Found):
                raise PowerCutError

    for _ in range(3):
        rescan = (
            start(site)
            if not site.config.state_dir.joinpath("rescan").exists()
            else Rescan.resume(site.config, job="job")
        )
        with pytest.raises(PowerCutError):
            cut_at_first_find(rescan)
    list(Rescan.resume(site.config, job="job").run())
    recorded = encounters(site.config)
    assert len(recorded) == 3
    assert max(recorded.values()) == 1
    assert Rescan.resume(site.config, job="job").ledger.status().redone > 0


class PoisonedExecutor(Executor):
    """Loses whatever chunk holds the poison, as an engine does whose worker was killed by it."""

    def __init__(self, poison: str, error: Callable[[], Exception]) -> None:
        self._inner = ThreadPoolExecutor(2)
        self._poison = poison
        self._error = error
        self.is_broken = False

    def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
        if self.is_broken:
            raise BrokenProcessPool("broken")
        if any(self._poison in key for key in ChunkTask.unpack(args[0]).keys):
            failed: Future[Any] = Future()
            failed.set_exception(self._error())
            self.is_broken = isinstance(failed.exception(), BrokenProcessPool)
            return failed
        return self._inner.submit(function, *args, **options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._inner.shutdown(wait=wait, cancel_futures=cancel_futures)


@pytest.mark.parametrize("error", [lambda: MemoryError("x"), lambda: BrokenProcessPool("killed")])
def test_a_poisoned_item_is_set_aside_and_all_others_are_done(
    site: Site, error: Callable[[], Exception]
) -> None:
    opened = []

    def engine() -> Engine:
        executor = PoisonedExecutor("user1/07", error)
        opened.append(executor)
        return Engine(executor=executor, width=2, close=executor.shutdown)

    rescan = start(site, chunk_items=6, engine=engine)
    assert list(rescan.run())[-1] == RunDone(finished=True)
    status = rescan.ledger.status()
    assert (status.items, status.failed, status.matched, status.unscannable) == (27, 1, 2, 1)
    assert status.reasons == {"empty": 1, "worker_lost": 1}
    failed = [row[1] for row in rescan.ledger.exceptions() if row[2] == "failed"]
    assert failed == [str(site.pictures / "user1" / "07.png")]


class SilentExecutor(Executor):
    """Takes work and never answers, as Dask does whose scheduler is gone."""

    def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
        return Future()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing runs."""


@pytest.mark.timeout(60)
@pytest.mark.parametrize("comes_back", [True, False])
def test_an_engine_that_is_gone_without_a_word_is_not_waited_for(site: Site, comes_back: bool) -> None:
    opened: list[Engine] = []

    def engine() -> Engine:
        if opened and comes_back:
            return open_engine("local", jobs=1)
        if opened:
            raise RescanError("it cannot be reached")
        silent = SilentExecutor()
        opened.append(Engine(executor=silent, width=2, close=silent.shutdown, is_alive=lambda: False))
        return opened[0]

    rescan = start(site, chunk_items=6, engine=engine, reopenings=1)
    if comes_back:
        assert list(rescan.run())[-1] == RunDone(finished=True)
    else:
        with pytest.raises(RescanError):
            list(rescan.run())
        assert list(Rescan.resume(site.config, job="job").run())[-1] == RunDone(finished=True)
    status = rescan.ledger.status()
    assert (status.items, status.failed, status.matched, status.unscannable) == (27, 0, 2, 1)


def test_a_remote_storage_is_read_by_its_driver_and_faults_have_names(site: Site) -> None:
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    listed = (site.pictures / "user0" / "00.png").read_bytes()
    for name, data in {
        "a/x.png": listed,
        "a/b/#odd ?*[name::.png": listed,
        "empty": b"",
        "note": b"hello",
    }.items():
        fs.pipe(f"/bucket/{name}", data)
    rescan = start(site, "memory://bucket")
    list(rescan.run())
    assert found_by(rescan) == {
        "a/x.png": "matched",
        "a/b/#odd ?*[name::.png": "matched",
        "empty": "unscannable",
        "note": "no_match",
    }


def test_a_list_of_names_is_a_root(site: Site, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text(f"{site.pictures}/user0/00.png\n{site.pictures}/user2/02.png\n/not/there.png\n")
    rescan = start(site, f"list:{names}")
    list(rescan.run())
    status = rescan.ledger.status()
    assert (status.items, status.matched, status.unscannable, status.no_match) == (3, 1, 1, 1)
    assert status.reasons == {"unreadable": 1}


def test_globs_leave_items_out(site: Site) -> None:
    rescan = start(site, include=["*.png"], exclude=["user1/*"])
    list(rescan.run())
    assert {name.split("/")[0] for name in found_by(rescan)} == {"user0", "user2"}
    assert "user0/note.txt" not in found_by(rescan)


def test_two_drivers_of_one_job_are_one_too_many(site: Site) -> None:
    first = start(site, chunk_items=2)
    running = first.run()
    next(running)
    with pytest.raises(LedgerLockedError):
        next(Rescan.resume(site.config, job="job").run())
    list(running)


def test_without_a_filter_nothing_is_begun(site: Site, tmp_path: Path) -> None:
    config = Config.from_env({**site.env, "III_STATE_DIR": str(tmp_path / "other")})
    with pytest.raises(FilterError):
        Rescan.start(config, job="job", roots=[str(site.pictures)])


@pytest.mark.parametrize("name", ["", "a/b", "..", "x" * 65, "-job"])
def test_a_name_that_cannot_be_a_folder_is_refused(site: Site, name: str) -> None:
    with pytest.raises(ConfigurationError):
        Rescan.start(site.config, job=name, roots=[str(site.pictures)])


@pytest.mark.parametrize("address", ["celery", "nowhere:factory", "json:dumps2", "/etc:x", "builtins:dict"])
def test_an_engine_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError):
        open_engine(address)


def test_any_executor_is_an_engine(site: Site) -> None:
    rescan = start(site, engine="concurrent.futures:ProcessPoolExecutor", jobs=2, chunk_items=8)
    assert list(rescan.run())[-1] == RunDone(finished=True)
    assert rescan.ledger.status().matched == 2


def test_reports_hold_every_find_and_no_script(site: Site) -> None:
    nasty = site.pictures / "user1" / "<script>alert(1)"
    nasty.mkdir()
    noise(nasty / "=1+1.png").write_bytes((site.pictures / "user0" / "00.png").read_bytes())
    rescan = start(site)
    list(rescan.run())
    lines, table, page = io.StringIO(), io.StringIO(), io.StringIO()
    write_jsonl(rescan.ledger, lines)
    write_csv(rescan.ledger, table)
    write_html(rescan.ledger, page, now=datetime(2026, 11, 24, tzinfo=UTC))
    first, *others = map(json.loads, lines.getvalue().splitlines())
    assert (first["items"], first["matched"]) == (28, 3)
    assert Counter(item["outcome"] for item in others) == {"matched": 3, "unscannable": 1}
    assert len(list(csv.DictReader(io.StringIO(table.getvalue())))) == 4
    text = page.getvalue()
    assert "<script" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "&lt;script&gt;" in text
    listed = rescan.ledger.status()
    assert f"<b>{listed.matched}</b> of 28 items" in text


def test_a_near_match_is_looked_at_by_a_decoder_that_saw_nothing_else(site: Site, tmp_path: Path) -> None:
    """The engine answers as a decoder would that another picture took over: all look like the listed one."""
    listed = build_fingerprint(
        Content.from_path(site.pictures / "user0" / "00.png"), recipe=RECIPES["fast"], limits=Limits()
    )

    class FramingExecutor(PoisonedExecutor):
        def submit(self, function: Any, /, *args: Any, **options: Any) -> Future[Any]:
            honest = unpack_rows(super().submit(function, *args).result(), at_most=100)
            framed: Future[Any] = Future()
            framed.set_result(
                pack_rows(
                    [
                        replace(row, stored=encode_fingerprint(replace(found, perceptual=listed.perceptual)))
                        for row, found in zip(honest, fingerprints_of(honest), strict=True)
                    ]
                )
            )
            return framed

    executor = FramingExecutor("no poison", MemoryError)
    rescan = start(site, engine=lambda: Engine(executor=executor, width=1, close=executor.shutdown))
    list(rescan.run())
    status = rescan.ledger.status()
    # The two files that are listed by their digests; of all others the decoder's word is not taken.
    assert status.matched == 2
    assert status.reasons["decoder_disagreed"] == status.unscannable
    assert status.unscannable == 25
    list(Recheck.of(site.config, job="job").run())
    assert rescan.ledger.status() == status
