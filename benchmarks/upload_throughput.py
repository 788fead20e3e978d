"""Uploads a second through gunicorn and Flask, with and without scanning, and what scanning adds to each.

    python -m benchmarks.upload_throughput [--seconds 5] [--rounds 2] [--clients 1 8] [--json FILE]

Gunicorns of the same application (two workers of four threads), one that stores, others that scan and store,
are loaded in turn by clients that keep their connections. Every upload is a photograph of 640x480 with other
bytes, so that none is remembered, but for "again", which sends the same bytes over and over. The clients and
the practice service share the machine with the servers. CPU is that of the server's whole process tree with
the workers that decode: it says the most where the machine has other work.
"""

import argparse
import http.client
import itertools
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.scan import tiles

from iii_client import Config, Updater
from iii_client.sandbox import Sandbox

ROOT = Path(__file__).parent.parent
BOUNDARY = "iii-benchmark"
WORKERS, THREADS = 2, 4
#: What each configuration of the server sets, beside the practice service's variables.
SERVERS: dict[str, dict[str, str]] = {
    "plain": {},
    "scanned": {},
    "scanned, not isolated": {"III_ISOLATION": "off"},
}


def make_app(scans: bool) -> Any:
    """The application under load: it stores what comes into one file a thread, so that no disk fills."""
    from flask import Flask, request

    from iii_client.integrations.flask import III

    app = Flask("throughput")
    iii = III(app) if scans else None
    folder = Path(os.environ["STORE_DIR"])

    @app.post("/pictures")
    def take() -> str:
        picture = request.files["picture"]
        if iii is not None:
            iii.check(picture)
        picture.save(folder / f"{os.getpid()}-{threading.get_ident()}")
        return "stored"

    return app


def cpu_s(root: int) -> float:
    """CPU time of a process and all below it, with those that ended and were waited for."""
    children: dict[int, list[int]] = {}
    ticks: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(folder.name))
        ticks[int(folder.name)] = sum(int(field) for field in fields[11:15])
    total, todo = 0, [root]
    while todo:
        total += ticks.get(pid := todo.pop(), 0)
        todo += children.get(pid, [])
    return total / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(scans: bool, env: dict[str, str], folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "gunicorn", "--preload", "--log-level=warning"),
            *(f"--workers={WORKERS}", f"--threads={THREADS}", f"--bind=127.0.0.1:{port}"),
            f"benchmarks.upload_throughput:make_app({scans})",
        ],
        cwd=ROOT,
        env={**os.environ, **env, "STORE_DIR": str(folder)},
    )
    try:
        for _ in range(300):
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


class Load:
    """Bodies to send: photographs, each made different by a comment after its end."""

    def __init__(self) -> None:
        self._tiles = tiles(40)
        self._numbers = itertools.count(time.time_ns())

    def body(self, *, same: bool) -> bytes:
        number = 0 if same else next(self._numbers)
        picture = self._tiles[number % len(self._tiles)] + b"#%d" % number
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="picture"; filename="a.jpg"\r\n'
        return f"{head}\r\n".encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()

    def run(self, port: int, *, clients: int, seconds: float, same: bool) -> list[float]:
        """Latencies in seconds of all uploads that ended in time."""
        latencies: list[float] = []
        stop_s = time.perf_counter() + seconds

        def client() -> None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
            while (started_s := time.perf_counter()) < stop_s:
                connection.request("POST", "/pictures", body=self.body(same=same), headers=headers)
                answer = connection.getresponse()
                answer.read()
                assert answer.status == 200, answer.status
                latencies.append(time.perf_counter() - started_s)

        threads = [threading.Thread(target=client) for _ in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return latencies


def percentile_ms(latencies: list[float], percent: int) -> float:
    return 1000 * statistics.quantiles(latencies, n=100, method="inclusive")[percent - 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    load, measured = Load(), {}
    with tempfile.TemporaryDirectory() as directory, Sandbox.open(Path(directory) / "service") as service:
        service.publish()
        service.start()
        config = Config.from_env(service.env)
        Updater(config.filter, config.state_dir).update()
        ports, stack = {}, []
        for name, extra in SERVERS.items():
            folder = Path(directory) / name.replace(" ", "-")
            folder.mkdir()
            server = serving(name != "plain", {**service.env, **extra}, folder)
            ports[name] = server.__enter__()
            stack.append(server)
        try:
            for clients in arguments.clients:
                runs = [(name, False) for name in SERVERS] + [("scanned", True)]
                samples: dict[str, list[list[float]]] = {}
                spent_s: dict[str, float] = {}
                for name, same in runs:  # warm: imports, the helper processes, the filter
                    load.run(ports[name][0], clients=8, seconds=2.0, same=same)
                for _ in range(arguments.rounds):
                    for name, same in runs:
                        port, root = ports[name]
                        before_s = cpu_s(root)
                        found = load.run(port, clients=clients, seconds=arguments.seconds, same=same)
                        label = name + (", again" if same else "")
                        spent_s[label] = spent_s.get(label, 0.0) + cpu_s(root) - before_s
                        samples.setdefault(label, []).append(found)
                measured[clients] = show(clients, samples, spent_s, arguments.seconds)
        finally:
            for server in stack:
                server.__exit__(None, None, None)
    if arguments.json:
        arguments.json.write_text(json.dumps(measured, indent=2) + "\n")


def show(
    clients: int, samples: dict[str, list[list[float]]], spent_s: dict[str, float], seconds: float
) -> dict[str, Any]:
    rows: dict[str, Any] = {}
    for name, rounds in samples.items():
        every = [latency for found in rounds for latency in found]
        rows[name] = {
            "per_s": max(len(found) for found in rounds) / seconds,
            "p50_ms": percentile_ms(every, 50),
            "p99_ms": percentile_ms(every, 99),
            "cpu_ms": 1000 * spent_s[name] / len(every),
        }
    plain = rows["plain"]
    print(f"{clients} client(s)            uploads/s   CPU ms   p50 ms   p99 ms   added p50   added p99")
    for name, row in rows.items():
        added = [row[key] - plain[key] for key in ("p50_ms", "p99_ms")]
        print(
            f"{name:24} {row['per_s']:9.0f} {row['cpu_ms']:8.1f} {row['p50_ms']:8.1f} {row['p99_ms']:8.1f} "
            f"{added[0]:11.1f} {added[1]:11.1f}"
        )
    return rows


if __name__ == "__main__":
    main()
