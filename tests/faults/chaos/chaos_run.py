"""Uploads through a fault, then the fault ends and the outbox is drained: one row of the table of faults.

    TMPDIR=/dev/shm python -m tests.faults.chaos.chaos_run [--uploads 20] [--budget 0.8]

prints the table of docs/explanation/faults-survived.md and exits with 1 when a row is not as it promises. The
tests beside this file run it shorter. Hashes are synthetic: random SHA-256, listed in a practice service of
its own.
"""

import argparse
import secrets
import ssl
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from tests.certificates import self_signed
from tests.faults.chaos import chaos_proxy as chaos

from iii_client import Config, Updater
from iii_client.checking import Checker
from iii_client.config import OutboxConfig, PolicyConfig
from iii_client.decide import TablePolicy
from iii_client.drain import Drainer
from iii_client.model import (
    ANONYMOUS,
    Action,
    Algorithm,
    Confirmation,
    Fingerprint,
    HashValue,
    Mode,
    Outcome,
    Remembered,
    UploadContext,
)
from iii_client.protocols import Confirmer
from iii_client.records import SqliteStore, StateRecorder
from iii_client.records.breakers import Breakers
from iii_client.records.cache import Cache
from iii_client.records.pseudonyms import PseudonymKey
from iii_client.sandbox import Sandbox
from iii_client.service import GuardedConfirmer, endpoint_of, make_confirmer
from iii_client.updates import FilterStore, LiveFilter

DAY_S = 24 * 3600
JSON = "Content-Type: application/json"

#: Every fault by its name. None: nobody listens at all.
FAULTS: dict[str, chaos.Fault | None] = {
    "none, for comparison": chaos.healthy,
    "answer 0.1 s late": chaos.latency(0.1),
    "answer 5 s late": chaos.latency(5),
    "no answer at all": chaos.silence,
    "nobody listens": None,
    "trickle, 20 bytes a second": chaos.trickle(20),
    "TCP reset": chaos.reset,
    "cut at byte 0": chaos.cut(0),
    "cut in the headers, at byte 40": chaos.cut(40),
    "cut 1 byte before the end": chaos.cut(-1),
    "declares 10 bytes too many": chaos.wrong_length(10),
    "declares 900 bytes too few": chaos.wrong_length(-900),
    "an endless answer": chaos.endless,
    "not HTTP": chaos.no_http,
    "garbage instead of JSON": chaos.says("200 OK", b'{"answers": [{"id": "', JSON),
    "an empty JSON object": chaos.says("200 OK", b"{}", JSON),
    "a page in front of the service": chaos.says("200 OK", b"<html>Please log in</html>"),
    "a redirect": chaos.says("302 Found", b"", "Location: https://127.0.0.1:1/"),
    "storm of status 500": chaos.says("500 Internal Server Error"),
    "status 503 without Retry-After": chaos.says("503 Service Unavailable"),
    "status 429, Retry-After a day": chaos.says("429 Too Many Requests", b"", f"Retry-After: {DAY_S}"),
    "status 401": chaos.says("401 Unauthorized"),
    "status 404": chaos.says("404 Not Found"),
}
BAD_TLS = "TLS certificate of a stranger"


@dataclass(kw_only=True)
class Row:
    """What came of one fault."""

    fault: str
    longest_wait_s: float = 0.0
    longest_asking_s: float = 0.0
    outcomes: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    wrong: int = 0
    unrecorded: int = 0
    left: int = 0
    lost: int = 0
    doubled: int = 0
    #: What no log may hold: the start of each hash, which is also the upload's reference, and the address.
    secrets: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        return (
            f"| {self.fault} | {self.longest_wait_s * 1000:.0f} | {self.longest_asking_s * 1000:.0f} |"
            f" {self.requests} | {found} | {self.wrong} |"
            f" {self.lost + self.left} | {self.doubled} |"
        )


HEADER = """\
| fault | longest wait, ms | asking, ms | requests | verdicts on the items that hit | wrong | lost | doubled |
|---|---|---|---|---|---|---|---|"""


class Timed:
    """Keeps how long a confirmer took at most."""

    def __init__(self, inner: Confirmer, row: Row) -> None:
        self._inner = inner
        self._row = row

    def supports(self, algorithm: Algorithm) -> bool:
        return self._inner.supports(algorithm)

    def confirm(self, hashes: Sequence[HashValue], *, spent_s: float = 0.0) -> Confirmation:
        started_s = time.monotonic()
        reply = self._inner.confirm(hashes, spent_s=spent_s)
        self._row.longest_asking_s = max(self._row.longest_asking_s, time.monotonic() - started_s)
        return reply


class World:
    """A practice service with synthetic hashes, its filter installed, and a proxy in front of it."""

    def __init__(self, folder: Path, *, budget_s: float, hashes: int) -> None:
        self.folder = folder
        self.budget_s = budget_s
        self.ahead = timedelta()
        self.listed = [_random_hash() for _ in range(hashes)]
        self.withdrawn = [_random_hash() for _ in range(hashes)]
        self.sandbox = Sandbox.open(folder / "sandbox")
        csv = folder / "list.csv"
        rows = "".join(
            f"sha256,{value.hex},100,list,body,interpol-baseline,1\n"
            for value in self.listed + self.withdrawn
        )
        csv.write_text(f"algorithm,value,quality,list,source,scheme,code\n{rows}")
        self.sandbox.add_list(csv)
        self.sandbox.publish()
        # After publishing: the filter still knows them, so they are asked about.
        for value in self.withdrawn:
            self.sandbox.corpus.withdraw(value)
        self.sandbox.start()
        self.config = Config.from_env(self.sandbox.env)
        Updater(self.config.filter, self.config.state_dir).update()
        self.filters = LiveFilter(FilterStore(self.config.state_dir))
        self.runs = 0

    def clock(self) -> datetime:
        """This machine's clock, set ahead for a fault that lasts a day."""
        return datetime.now(UTC) + self.ahead

    def close(self) -> None:
        self.sandbox.stop()

    @property
    def service(self) -> tuple[str, int]:
        parts = urlsplit(self.sandbox.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port


@contextmanager
def world(*, budget_s: float, hashes: int) -> Iterator[World]:
    """A world in a temporary folder."""
    with tempfile.TemporaryDirectory() as folder:
        made = World(Path(folder), budget_s=budget_s, hashes=hashes)
        try:
            yield made
        finally:
            made.close()


def run(here: World, name: str, *, uploads: int) -> Row:
    """One fault: uploads through it, then its end, then the drain."""
    if name == BAD_TLS:
        good, bad = self_signed(here.folder / "good.pem"), self_signed(here.folder / "bad.pem")
        with chaos.ChaosProxy(here.service, certificate=bad) as proxy:

            def mend() -> None:
                proxy.certificate = good

            return _run(here, name, proxy, uploads=uploads, mend=mend, ca_file=str(good))
    fault = FAULTS[name]
    with chaos.ChaosProxy(here.service) as proxy:
        proxy.fault = fault or chaos.healthy

        def mend() -> None:
            proxy.fault = chaos.healthy
            proxy.hang_up()

        return _run(here, name, proxy, uploads=uploads, mend=mend, down=fault is None)


def _run(
    here: World,
    name: str,
    proxy: chaos.ChaosProxy,
    *,
    uploads: int,
    mend: Callable[[], None],
    ca_file: str = "",
    down: bool = False,
) -> Row:
    here.runs += 1
    here.ahead = timedelta()
    state = here.folder / f"state-{here.runs}"
    store = SqliteStore(state / "state.db")
    cache = Cache(state / "cache.db", limits=here.config.limits, clock=here.clock)
    policy = TablePolicy(PolicyConfig())
    row = Row(fault=name)
    url = "http://127.0.0.1:9" if down else proxy.url
    service = replace(here.config.service, url=url, timeout_s=here.budget_s, ca_file=ca_file)

    def guarded(inner: Confirmer) -> GuardedConfirmer:
        return GuardedConfirmer(
            inner,
            endpoint=endpoint_of(service),
            breaker=Breakers(store, clock=here.clock),
            answers=cache.answers(endpoint_of(service), lambda: here.filters.current().release),
            clock=here.clock,
        )

    checker = Checker(
        filters=here.filters,
        confirmer=guarded(Timed(make_confirmer(service), row)),
        policy=policy,
        recorder=StateRecorder(
            store, key=PseudonymKey(state / "encounter.key"), policy=policy.version, clock=here.clock
        ),
        mode=Mode.ENFORCE,
        memory=cache,
    )
    row.secrets.append(url.partition("//")[2])
    truth = _upload(here, checker, row, uploads=uploads)
    row.requests = proxy.requests
    mend()
    here.ahead += timedelta(days=1, hours=1)
    mended = replace(service, url=proxy.url, timeout_s=10)
    drainers = [
        Drainer(
            store,
            make_confirmer(mended),
            policy,
            config=OutboxConfig(calls_per_s=1000),
            shield=guarded,
            clock=here.clock,
        )
        for _ in range(2)
    ]
    # Two at once, as two hosts have them: an effect that can be doubled would be.
    threads = [threading.Thread(target=drainer.run_until_empty) for drainer in drainers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    _count_up(store, row, truth)
    return row


def _upload(here: World, checker: Checker, row: Row, *, uploads: int) -> dict[str, Outcome]:
    """Listed, withdrawn and innocent items in turn, each on its own as uploads come.

    Returns:
        What a service that works says about each item that hit, by its reference.
    """
    first = (here.runs - 1) * uploads
    listed = here.listed[first : first + uploads]
    withdrawn = here.withdrawn[first : first + uploads]
    assert len(listed) == len(withdrawn) == uploads, "more hashes are needed for so many runs"
    # Opening the filter and the store is not what is measured.
    checker.check([Remembered(fingerprint=_fingerprint(_random_hash()))], [ANONYMOUS])
    for one, two in zip(listed, withdrawn, strict=True):
        for value, never in (
            (one, {Outcome.NO_MATCH, Outcome.UNSCANNABLE}),
            (two, {Outcome.MATCHED, Outcome.UNSCANNABLE}),
            (_random_hash(), set(Outcome) - {Outcome.NO_MATCH}),
        ):
            row.secrets.append(value.hex[:8])
            started_s = time.monotonic()
            (decision,) = checker.check(
                [Remembered(fingerprint=_fingerprint(value))], [UploadContext(reference=value.hex[:8])]
            )
            row.longest_wait_s = max(row.longest_wait_s, time.monotonic() - started_s)
            outcome = decision.verdict.outcome
            row.wrong += outcome in never
            row.wrong += outcome is Outcome.UNCONFIRMED and decision.action is Action.ALLOW
            row.unrecorded += bool(decision.verdict.candidates) and not decision.encounter_id
            if decision.verdict.candidates:
                row.outcomes[outcome.value] += 1
    return {
        **{value.hex[:8]: Outcome.MATCHED for value in listed},
        **{value.hex[:8]: Outcome.NO_MATCH for value in withdrawn},
    }


def _count_up(store: SqliteStore, row: Row, truth: Mapping[str, Outcome]) -> None:
    """What the store says after the drain."""
    with store.transaction() as tx:
        ((row.left,),) = tx.query("SELECT count(*) FROM outbox WHERE state <> 'settled'")
        late = tx.query(
            "SELECT encounter.id, reference, follow_up.outcome FROM follow_up"
            " JOIN encounter ON encounter.id = encounter_id WHERE kind = 'late_answer'"
        )
        waited = tx.query("SELECT id FROM encounter WHERE outcome = 'unconfirmed'")
        told = tx.query("SELECT body FROM notice WHERE kind = 'late_answer'")
    answered = Counter(encounter_id for encounter_id, _, _ in late)
    row.lost = len({encounter_id for (encounter_id,) in waited} - set(answered)) - row.left + row.unrecorded
    row.doubled = sum(count - 1 for counts in (answered, Counter(told)) for count in counts.values())
    row.wrong += sum(truth[reference].value != outcome for _, reference, outcome in late)


def _fingerprint(value: HashValue) -> Fingerprint:
    return Fingerprint(recipe="fast-v1", size_bytes=1000, kind="jpeg", digests=(value,))


def _random_hash() -> HashValue:
    return HashValue(algorithm=Algorithm.SHA256, value=secrets.token_bytes(32))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all faults and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--uploads", type=int, default=20)
    parser.add_argument("--budget", type=float, default=0.8)
    options = parser.parse_args(arguments)
    names = [*FAULTS, BAD_TLS]
    with world(budget_s=options.budget, hashes=options.uploads * len(names)) as here:
        sys.stdout.write(f"{HEADER}\n")
        rows = []
        for name in names:
            rows.append(run(here, name, uploads=options.uploads))
            sys.stdout.write(f"{rows[-1]}\n")
            sys.stdout.flush()
    sys.stdout.write(f"\n{ssl.OPENSSL_VERSION}, Python {sys.version.split()[0]}\n")
    late = any(row.longest_wait_s > options.budget * 1.1 for row in rows)
    return int(late or any(row.wrong or row.lost or row.left or row.doubled for row in rows))


if __name__ == "__main__":
    sys.exit(main())
