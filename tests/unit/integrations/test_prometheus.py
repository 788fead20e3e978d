"""Counters of workers, alone and added up over processes; nothing in them tells who or what."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

prometheus_client = pytest.importorskip("prometheus_client", reason="the extra [prometheus] is not installed")

from prometheus_client import CollectorRegistry, generate_latest  # noqa: E402
from prometheus_client.multiprocess import MultiProcessCollector  # noqa: E402
from prometheus_client.parser import text_string_to_metric_families  # noqa: E402

from iii_client.config import Config  # noqa: E402
from iii_client.integrations.prometheus import PrometheusObserver, StateCollector  # noqa: E402
from iii_client.metrics import as_text, gather  # noqa: E402
from iii_client.model import (  # noqa: E402
    Action,
    Algorithm,
    Candidate,
    Decision,
    Fingerprint,
    HashValue,
    Match,
    Mode,
    Outcome,
    Reason,
    Recorded,
    ReleaseId,
    Verdict,
)
from iii_client.records.store import utc_now  # noqa: E402

HIT = HashValue(algorithm=Algorithm.SHA256, value=b"\xab" * 32)
INNOCENT = Decision(
    action=Action.ALLOW,
    ruled=Action.ALLOW,
    rule="no_match",
    mode=Mode.ENFORCE,
    verdict=Verdict(
        outcome=Outcome.NO_MATCH,
        fingerprint=Fingerprint(recipe="fast-v1", size_bytes=1, kind="jpeg", digests=(HIT,)),
        release=ReleaseId(epoch=1, sequence=1),
    ),
)
LISTED = replace(
    INNOCENT,
    action=Action.BLOCK,
    verdict=replace(
        INNOCENT.verdict,
        outcome=Outcome.MATCHED,
        candidates=(Candidate(hash=HIT, section="sha256"),),
        matches=(Match(hash=HIT, distance_bits=0, exact=True, sources=("nl-police",)),),
        hashes_sent=1,
    ),
)
WAITING = replace(
    INNOCENT,
    action=Action.QUARANTINE,
    guard="uploader",
    recorded=Recorded.FAILED,
    verdict=replace(
        INNOCENT.verdict,
        outcome=Outcome.UNCONFIRMED,
        candidates=(Candidate(hash=HIT, section="sha256"),),
        reasons=(Reason.SERVICE_PAUSED,),
    ),
)


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_what_happened_is_counted(registry: CollectorRegistry) -> None:
    observer = PrometheusObserver(registry)
    for decision, recalled in ((INNOCENT, False), (INNOCENT, True), (LISTED, False), (WAITING, False)):
        observer.scanned(decision, seconds=0.003, recalled=recalled)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("iii_items_total", outcome="no_match", action="allow", mode="enforce") == 2
    assert value("iii_items_total", outcome="matched", action="block", mode="enforce") == 1
    assert value("iii_recalled_total") == 1
    assert value("iii_candidates_total") == 2
    assert value("iii_hashes_sent_total") == 1
    assert value("iii_confirmations_total", result="listed") == 1
    assert value("iii_confirmations_total", result="service_paused") == 1
    assert value("iii_guarded_total", budget="uploader") == 1
    assert value("iii_unrecorded_total") == 1
    assert value("iii_check_seconds_bucket", le="0.002") == 0
    assert value("iii_check_seconds_bucket", le="0.005") == 4


def test_two_observers_of_one_registry_share_its_metrics(registry: CollectorRegistry) -> None:
    for observer in (PrometheusObserver(registry), PrometheusObserver(registry)):
        observer.scanned(INNOCENT, seconds=0, recalled=False)
    labels = {"outcome": "no_match", "action": "allow", "mode": "enforce"}
    assert registry.get_sample_value("iii_items_total", labels) == 2


def test_no_label_carries_a_hash_or_a_source(registry: CollectorRegistry) -> None:
    observer = PrometheusObserver(registry)
    for decision in (INNOCENT, LISTED, WAITING):
        observer.scanned(decision, seconds=0.1, recalled=True)
    text = generate_latest(registry).decode()
    known = {
        *(member.value for enum in (Outcome, Action, Mode, Reason) for member in enum),
        "listed",
        "uploader",
        "hash",
        "overall",
    }
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert {v for name, v in sample.labels.items() if name != "le"} <= known


WORKER = """
import sys
sys.path.insert(0, sys.argv[1])
from test_prometheus import INNOCENT, LISTED, PrometheusObserver
observer = PrometheusObserver()
for _ in range(int(sys.argv[2])):
    observer.scanned(INNOCENT, seconds=0.001, recalled=False)
observer.scanned(LISTED, seconds=0.001, recalled=False)
"""


def test_workers_of_one_host_are_added_up_in_multi_process_mode(tmp_path: Path) -> None:
    for count in (3, 5):
        subprocess.run(
            [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(count)],
            check=True,
            env={"PROMETHEUS_MULTIPROC_DIR": str(tmp_path), "PATH": ""},
        )
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))  # type: ignore[no-untyped-call]
    labels = {"outcome": "no_match", "action": "allow", "mode": "enforce"}
    assert registry.get_sample_value("iii_items_total", labels) == 8
    assert registry.get_sample_value("iii_hashes_sent_total", {}) == 2
    assert registry.get_sample_value("iii_check_seconds_count", {}) == 10


FORKED = """
import os, shutil, sys
sys.path.insert(0, sys.argv[1])
from test_prometheus import INNOCENT, PrometheusObserver
observer = PrometheusObserver()
shutil.rmtree(os.environ["PROMETHEUS_MULTIPROC_DIR"])
child = os.fork()
if child == 0:
    observer.scanned(INNOCENT, seconds=0.001, recalled=False)
    os._exit(7)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_directory_of_counts_that_is_gone_fails_no_upload(tmp_path: Path) -> None:
    folder = tmp_path / "counts"
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(Path(__file__).parent)],
        env={"PROMETHEUS_MULTIPROC_DIR": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 7, done.stderr


def test_an_exporter_tells_the_state_of_the_host(registry: CollectorRegistry, tmp_path: Path) -> None:
    config = Config.from_mapping({"mode": "shadow", "state_dir": str(tmp_path / "state")})
    StateCollector(config, registry=registry)
    assert registry.get_sample_value("iii_filter_freshness", {"state": "none"}) == 1
    assert registry.get_sample_value("iii_outbox_items", {"state": "pending"}) == 0
    # The same names and labels as `iii-client metrics` writes.
    own = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(as_text(gather(config, now=utc_now())))
        for sample in family.samples
    }
    theirs = {
        (sample.name, tuple(sorted(sample.labels.items())))
        for family in text_string_to_metric_families(generate_latest(registry).decode())
        for sample in family.samples
    }
    assert own == theirs
