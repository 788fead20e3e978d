"""The long form of test_rescan_kills: run as a script, prints one JSON object.

    python rescan_kills.py FOLDER ROUNDS

Jobs over a folder of small pictures, some of them listed, are driven by processes that are killed with
SIGKILL at random moments, or lose a random decoder or helper, until so many kills were made. The service is
away, so every listed picture is an unconfirmed item with a row in the outbox: an effect that must come once.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from PIL import Image

from iii_client import Config, Updater
from iii_client.records import SqliteStore
from iii_client.rescan.ledger import Ledger
from iii_client.rescan.segments import Position
from iii_client.sandbox import Sandbox

PICTURES = 160
LISTED = 12
CHUNK_ITEMS = 4

DRIVER = """
import sys
from iii_client import Config
from iii_client.rescan import Rescan, RunDone
from iii_client.rescan import ChunkDone
rescan = Rescan.resume(Config.from_env(), job=sys.argv[1], chunk_items=int(sys.argv[2]), jobs=2)
for event in rescan.run():
    if isinstance(event, ChunkDone):
        print("chunk", flush=True)
sys.exit(0 if isinstance(event, RunDone) and event.finished else 3)
"""


def main(folder: Path, rounds: int) -> dict[str, Any]:
    rng = random.Random(8)
    pictures = folder / "pictures"
    listed = _make_pictures(pictures, rng)
    with Sandbox.open(folder / "sandbox") as sandbox:
        sandbox.add_pictures(listed)
        sandbox.publish()
        sandbox.start()
        env = {**sandbox.env, "III_STATE_DIR": str(folder / "state")}
        config = Config.from_env(env)
        Updater(config.filter, config.state_dir).update()
    # From here on the service is away.
    totals: Counter[str] = Counter()
    while totals["kills"] < rounds:
        job = f"job-{totals['jobs']}"
        _start(config, job, pictures)
        while not _drive(env, job, rng, totals, rounds):
            pass
        _inspect(config, job, pictures, listed, totals)
        totals["jobs"] += 1
    return {name: totals[name] for name in sorted(totals)}


def _make_pictures(folder: Path, rng: random.Random) -> list[Path]:
    folder.mkdir(parents=True)
    paths = []
    for number in range(PICTURES):
        path = folder / f"u{number % 5}" / f"{number:04}.png"
        path.parent.mkdir(exist_ok=True)
        if number % 16 == 15:
            path.write_bytes(b"")  # empty: unscannable, an effect of its own
        else:
            Image.effect_noise((64, 64), 90).save(path)
            paths.append(path)
    return rng.sample(paths, LISTED)


def _start(config: Config, job: str, pictures: Path) -> None:
    from iii_client.rescan import Rescan

    Rescan.start(config, job=job, roots=[str(pictures)])


def _drive(env: dict[str, str], job: str, rng: random.Random, totals: Counter[str], rounds: int) -> bool:
    """One driver; True when it finished the job."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, job, str(CHUNK_ITEMS)],
        env={**clean, **env},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout is not None
    totals["drivers"] += 1
    while driver.poll() is None and totals["kills"] < rounds:
        for _ in range(rng.randrange(8)):
            driver.stdout.readline()
        time.sleep(rng.uniform(0, 0.1))
        if rng.random() < 0.5:
            driver.kill()
            if driver.wait() == -signal.SIGKILL:
                totals["kills"] += 1
                totals["driver_kills"] += 1
        elif children := _descendants(driver.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(children), signal.SIGKILL)
                totals["kills"] += 1
                totals["worker_kills"] += 1
    driver.stdout.read()
    driver.wait(timeout=120)
    assert driver.returncode in (0, -signal.SIGKILL), driver.returncode
    return driver.returncode == 0


def _descendants(pid: int) -> list[int]:
    """Helpers and decoders of a driver."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(word) for word in task.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *_descendants(child)]
    return found


def _inspect(config: Config, job: str, pictures: Path, listed: list[Path], totals: Counter[str]) -> None:
    store = SqliteStore(config.state_dir / "state.db")
    ledger = Ledger.open(store, config.state_dir, job)
    (shard,) = ledger.shards()
    stored = Counter(
        item.key for items, _ in ledger.segments(0).read(Position(), shard.end) for item in items
    )
    names = {str(path.relative_to(pictures)) for path in pictures.rglob("*") if path.is_file()}
    status = ledger.status()
    totals["items"] += len(names)
    totals["lost"] += len(names - set(stored))
    totals["stored_twice"] += sum(count - 1 for count in stored.values())
    totals["counted_wrong"] += abs(status.items - len(names))
    totals["redone"] += status.redone
    totals["failed"] += status.failed
    found = {row[1]: row[2] for row in ledger.exceptions()}
    # A decoder that was killed twice over one picture costs that picture: unscannable, with its reason.
    crashed = status.reasons.get("decoder_crashed", 0)
    totals["decoder_crashed"] += crashed
    totals["listed_not_found"] += sum(found.get(str(path)) not in _HITS for path in listed)
    totals["states_wrong"] += abs(
        status.no_match
        + status.unconfirmed
        + status.unscannable
        + status.matched
        + status.failed
        - len(names)
    )
    with store.reading() as tx:
        rows = tx.query(
            "SELECT e.reference, COUNT(*) FROM encounter e JOIN rescan_item i ON i.encounter_id = e.id"
            " WHERE i.job = :job GROUP BY 1",
            job=job,
        )
        ((encounters,),) = tx.query("SELECT COUNT(*) FROM encounter")
        ((outbox,),) = tx.query("SELECT COUNT(*) FROM outbox")
        ((integrity,),) = tx.query("PRAGMA integrity_check")
    totals["effects"] = encounters
    totals["effects_of_items"] += len(rows)
    totals["doubled_effects"] = encounters - totals["effects_of_items"]
    totals["outbox_rows"] = outbox
    totals["unconfirmed"] += status.unconfirmed
    totals["damaged"] += integrity != "ok"
    store.close()


#: A listed picture whose decoder was killed twice still has its digests.
_HITS = ("unconfirmed", "matched")


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]))) + "\n")
