"""A real `iii-client serve` in a process of its own, against the practice service."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from iii_client.sandbox import Sandbox

STOP_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """A running one."""

    process: "subprocess.Popen[str]"
    folder: Path
    log: Path
    listening: list[dict[str, str]]

    @property
    def clamd(self) -> str:
        """Path of its clamd socket."""
        return str(self.folder / "clamd")

    @property
    def http(self) -> str:
        """Path of its HTTP socket."""
        return str(self.folder / "http")

    def workers(self) -> list[int]:
        """Process ids."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text(encoding="ascii").split()]

    def stop(self) -> int:
        """Tell it to stop; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


StartSidecar = Callable[..., AbstractContextManager[Sidecar]]


@pytest.fixture(scope="session")
def start_sidecar(iii_practice_service: Sandbox) -> StartSidecar:
    """Starts one with more arguments and environment; leaves it stopped."""

    @contextlib.contextmanager
    def start(*arguments: str, **env: str) -> Iterator[Sidecar]:
        # Short, because the path of a socket may have 107 bytes.
        folder = Path(tempfile.mkdtemp(prefix="iii-"))
        state = folder / "state"
        installed = Path(iii_practice_service.env["III_STATE_DIR"])
        shutil.copytree(installed, state, ignore=shutil.ignore_patterns("*.db*", "*.lock"))
        whole = {name: value for name, value in os.environ.items() if not name.startswith("III_")}
        whole |= {**iii_practice_service.env, "III_STATE_DIR": str(state), **env}
        log = folder / "log"
        command = [sys.executable, "-m", "iii_client", "serve", *arguments]
        command += ["--clamd-socket", str(folder / "clamd"), "--http-socket", str(folder / "http")]
        with log.open("w") as errors:
            process = subprocess.Popen(command, env=whole, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, log.read_text(encoding="utf-8")
            listening = json.loads(line)["listening"]
            yield Sidecar(process=process, folder=folder, log=log, listening=listening)
        finally:
            process.terminate()
            process.wait(STOP_S)
            if process.stdout is not None:
                process.stdout.close()
            shutil.rmtree(folder)

    return start


@pytest.fixture(scope="module")
def sidecar(start_sidecar: StartSidecar) -> Iterator[Sidecar]:
    """One for a module's tests."""
    with start_sidecar() as running:
        yield running
