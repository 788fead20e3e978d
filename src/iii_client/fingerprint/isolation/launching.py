"""Start the helper as a fresh interpreter, and order workers from it.

By exec, never by forking the host: a host may have threads, and its memory holds what no worker may see.
"""

import array
import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from iii_client.errors import IsolationError
from iii_client.fingerprint.isolation.confinement import Bounds, Layer
from iii_client.fingerprint.isolation.helper import ORDER, READY
from iii_client.fingerprint.isolation.linux import hide_memory

#: A cold start on a busy machine takes a second or two.
START_TIMEOUT_S = 30.0
#: A host may have asked for the signal that a closed socket sends by default; it must not die of it.
NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)
#: Time to end by itself, once it was told.
_END_TIMEOUT_S = 2.0

HINT = "iii-client doctor says more. III_ISOLATION=off decodes in this process, with its rights."

_CODE = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from iii_client.fingerprint.isolation.helper import main
main(sys.argv[2])
"""

#: Before numpy is loaded: its matrix library starts threads otherwise, and a forked thread is a dead one.
#: Arenas are for threads. No secret of the host's environment comes along.
_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
}
#: Without it some interpreters do not start.
_PASSED_ON = ("LD_LIBRARY_PATH",)


@dataclass(frozen=True, slots=True, kw_only=True)
class HelperSettings:
    """How the helper makes its workers.

    Attributes:
        layers: which to try.
        look: `module:function` that looks at a picture, as `pixels.look_at` does.
    """

    layers: Layer
    bounds: Bounds
    look: str


class HelperProcess:
    """A helper that is ready.

    Raises:
        IsolationError: it cannot be started.
    """

    def __init__(self, settings: HelperSettings) -> None:
        self._control, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = _start(settings, theirs)
            self._wait_until_ready()
        except BaseException:
            self._control.close()
            raise
        # Only now, as it is the helper's workers that must not look in.
        hide_memory()

    def order(self, items: int, *, ahead: bool) -> tuple[socket.socket, socket.socket]:
        """Have a worker forked: its socket, and the socket that will tell its fate.

        Args:
            items: pictures that it will see.
            ahead: nobody waits for it yet.

        Raises:
            OSError: the helper is gone, or no descriptors are left.
        """
        worker, their_worker = socket.socketpair()
        with their_worker:
            try:
                fate, their_fate = socket.socketpair()
            except BaseException:
                worker.close()
                raise
            with their_fate:
                try:
                    descriptors = [their_worker.fileno(), their_fate.fileno()]
                    self._send(ORDER.pack(items, ahead), descriptors)
                except BaseException:
                    worker.close()
                    fate.close()
                    raise
        return worker, fate

    def end(self) -> None:
        """End it and all its workers."""
        self._control.close()
        try:
            self._process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def forget(self) -> None:
        """Leave it to the process that started it: this one was forked from that."""
        self._control.close()
        self._process.returncode = 0  # it is not our child, so it is not ours to wait for

    def _send(self, order: bytes, descriptors: list[int]) -> None:
        # socket.send_fds would do, but it forgets its flags (Python 3.11).
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))
        self._control.sendmsg([order], [rights], NO_SIGNAL)

    def _wait_until_ready(self) -> None:
        self._control.settimeout(START_TIMEOUT_S)
        try:
            said = self._control.recv(len(READY), socket.MSG_WAITALL)
        except OSError:
            said = b""
        if said != READY:
            self._process.kill()
            code = self._process.wait()
            raise _cannot_start("it took too long" if code < 0 else f"it ended with {code}")
        self._control.settimeout(None)


def _start(settings: HelperSettings, control: socket.socket) -> "subprocess.Popen[bytes]":
    path = [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100 - "" is the working directory
    chosen = json.dumps(
        {
            "layers": int(settings.layers),
            "memory_bytes": settings.bounds.memory_bytes,
            "cpu_s": settings.bounds.cpu_s,
            "look": settings.look,
        }
    )
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        return subprocess.Popen(  # noqa: S603 - our own code, no shell
            [_interpreter(), "-I", "-B", "-c", _CODE, json.dumps(path), chosen],
            stdin=control.fileno(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={**_ENVIRONMENT, **environment},
            start_new_session=True,  # a terminal's Ctrl-C is for the host
        )
    except OSError as error:
        raise _cannot_start(os.strerror(error.errno or 0)) from error


def _interpreter() -> str:
    """This interpreter. Inside of uWSGI or mod_wsgi `sys.executable` may be the server, or nothing."""
    if "python" in Path(sys.executable).name:
        return sys.executable
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for folder in (sys.prefix, sys.base_prefix):
        with contextlib.suppress(OSError):
            candidate = Path(folder) / "bin" / name
            if candidate.exists():
                return str(candidate)
    return sys.executable or name


def _cannot_start(why: str) -> IsolationError:
    return IsolationError(f"the decoder's helper process cannot be started: {why}", hint=HINT)
