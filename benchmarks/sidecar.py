"""The sidecar under 64 clients, and what an upload of 200 MB adds to its memory.

    python benchmarks/sidecar.py [--clients 64] [--uploads 640] [--workers 2]

A practice service, `iii-client serve` in processes of its own, and clients in threads of this one, all on one
machine. Innocent pictures of 640 x 480; every client opens a connection for each upload.
"""

import argparse
import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from iii_client.config import Config
from iii_client.sandbox import Sandbox
from iii_client.testing.pictures import innocent_picture
from iii_client.updates import Updater

LARGE_BYTES = 200_000_000
PIECE = b"\0" * (1 << 20)


def main() -> None:
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("--clients", type=int, default=64)
    reader.add_argument("--uploads", type=int, default=640)
    reader.add_argument("--workers", type=int, default=2)
    options = reader.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="iii-") as name,
        Sandbox.open(Path(name) / "service") as service,
    ):
        service.publish()
        service.start()
        config = Config.from_env(service.env)
        Updater(config.filter, config.state_dir).update()
        settings = Path(name) / "iii.toml"
        settings.write_text(f"[limits]\nmax_content_bytes = {LARGE_BYTES}\n", encoding="utf-8")
        env = {**os.environ, **service.env, "III_CONFIG": str(settings)}
        for isolation, cache in (("on", "false"), ("on", "true"), ("off", "false")):
            more = {"III_ISOLATION": isolation, "III_CACHE": cache}
            with sidecar(Path(name), {**env, **more}, options.workers) as process:
                if (isolation, cache) == ("on", "false"):
                    tell_memory(Path(name), process)
                tell(f"isolation {isolation}, cache {cache}", Path(name), options)


@contextlib.contextmanager
def sidecar(folder: Path, env: dict[str, str], workers: int) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "iii_client", "serve", "--clamd-socket", str(folder / "clamd")]
    command += ["--http-socket", str(folder / "http"), "--workers", str(workers), "--queue", "1000"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["listening"]
        yield process
    finally:
        process.terminate()
        process.wait()


def tell(name: str, folder: Path, options: argparse.Namespace) -> None:
    data = innocent_picture().data
    with ThreadPoolExecutor(options.clients) as clients:
        list(clients.map(lambda _: instream(folder, data), range(options.clients)))  # warm
        started = time.perf_counter()
        seconds = sorted(clients.map(lambda _: instream(folder, data), range(options.uploads)))
        whole = time.perf_counter() - started
    p50, p99 = (seconds[int(len(seconds) * share)] * 1000 for share in (0.5, 0.99))
    alone = sorted(instream(folder, data) for _ in range(50))[25] * 1000
    print(
        f"{name}: {options.clients} clients {options.uploads / whole:.0f}/s, "
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms; one client p50 {alone:.1f} ms",
        flush=True,
    )


def instream(folder: Path, data: bytes) -> float:
    started = time.perf_counter()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "clamd"))
        client.sendall(b"zINSTREAM\0" + struct.pack(">I", len(data)) + data + b"\0\0\0\0")
        reply = client.recv(100)
    assert reply == b"stream: OK\0", reply
    return time.perf_counter() - started


def tell_memory(folder: Path, process: "subprocess.Popen[str]") -> None:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
    for pid in children.split():
        Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # the peak is what is used now
    before = [peak_kib(pid) for pid in children.split()]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "clamd"))
        client.sendall(b"zINSTREAM\0")
        for at in range(0, LARGE_BYTES, len(PIECE)):
            part = PIECE[: LARGE_BYTES - at]
            client.sendall(struct.pack(">I", len(part)) + part)
        client.sendall(b"\0\0\0\0")
        assert client.recv(100) == b"stream: OK\0"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(folder / "http"))
        client.sendall(f"POST /scan HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE_BYTES}\r\n\r\n".encode())
        for at in range(0, LARGE_BYTES, len(PIECE)):
            client.sendall(PIECE[: LARGE_BYTES - at])
        assert client.recv(100).startswith(b"HTTP/1.1 200")
    after = [peak_kib(pid) for pid in children.split()]
    added = max(then - now for then, now in zip(after, before, strict=True))
    print(f"200 MB by each protocol add {added / 1024:.1f} MiB to the peak of a worker", flush=True)


def peak_kib(pid: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.split("VmHWM:")[1].split()[0])


if __name__ == "__main__":
    main()
