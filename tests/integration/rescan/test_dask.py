"""A Dask cluster of processes, joined by its address; its workers and its scheduler are killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.rescan_site import Site

from iii_client.errors import RescanError
from iii_client.rescan import ChunkDone, Rescan, RunDone
from iii_client.rescan.engine import open_engine

pytest.importorskip("distributed", reason="the extra [dask] is not installed")

#: How long a cluster of a busy machine takes to come up.
UP_WITHIN_S = 60.0


class Cluster:
    """A scheduler and workers, each a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "scheduler.json"
        self.scheduler = self._run("dask_scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1")
        self.workers = [self.add_worker() for _ in range(2)]
        deadline = time.monotonic() + UP_WITHIN_S
        while True:
            try:
                open_engine(self.address).close()
            except (RescanError, FileNotFoundError):
                assert time.monotonic() < deadline
                time.sleep(0.2)
            else:
                return

    @property
    def address(self) -> str:
        address = str(json.loads(self._file.read_text())["address"])
        return "dask://" + address.removeprefix("tcp://")

    def add_worker(self) -> "subprocess.Popen[bytes]":
        return self._run("dask_worker", "--nthreads", "1", "--no-dashboard", "--no-nanny")

    def _run(self, module: str, *options: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                f"distributed.cli.{module}",
                "--scheduler-file",
                str(self._file),
                *options,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if not name.startswith("III_")},
        )

    def close(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    cluster.close()


def test_a_cluster_finds_what_one_machine_finds_and_survives_its_workers_and_its_scheduler(
    site: Site, cluster: Cluster, tmp_path: Path
) -> None:
    rescan = Rescan.start(
        site.config,
        job="job",
        roots=[str(site.pictures)],
        engine=cluster.address,
        chunk_items=2,
        reopenings=1,
    )

    def run_under_kills() -> None:
        chunks = 0
        for event in rescan.run():
            chunks += isinstance(event, ChunkDone)
            if chunks == 2:
                cluster.workers[0].send_signal(signal.SIGKILL)
            if chunks == 5:
                cluster.scheduler.send_signal(signal.SIGKILL)

    with pytest.raises(RescanError):
        run_under_kills()
    before = rescan.ledger.status()
    assert 10 <= before.items < 27
    cluster.close()
    (tmp_path / "second").mkdir()
    second = Cluster(tmp_path / "second")
    try:
        again = Rescan.resume(site.config, job="job", engine=second.address, chunk_items=2)
        assert list(again.run())[-1] == RunDone(finished=True)
    finally:
        second.close()
    status = again.ledger.status()
    assert (status.items, status.matched, status.unscannable, status.failed) == (27, 2, 1, 0)
    assert status.redone > 0
