"""The helper: a warmed process with one thread that does nothing but fork workers.

It is a fresh interpreter, started by exec, so that it holds nothing of the host's: no memory, no
descriptors, no environment. It is never given a byte of a picture. Forking it is safe, because it has no
thread but one; a server full of threads must not be forked.

    host ──order + 2 sockets──► helper ──fork──► worker      question and answer: over the first socket
         ◄───────fate────────── helper ◄──ended──            how it ended: over the second

The host shuts the second socket to have a worker ended. When the host is gone, the helper ends, and so do its
workers.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import struct
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iii_client.fingerprint.isolation.confinement import Bounds, Confinement, Layer
from iii_client.fingerprint.isolation.linux import hide_memory, keep_heap, trim_heap
from iii_client.fingerprint.isolation.worker import Look, work

#: Written once, when orders can be taken.
READY = b"III-READY"

#: An order: how many pictures the worker will see, and whether there is time to rehearse.
ORDER = struct.Struct("<I?")
#: How a worker ended: exit code or minus a signal, largest memory in bytes, CPU time in microseconds.
FATE = struct.Struct("<iQQ")

#: How often it is checked that the host still lives, in milliseconds; nearly always its socket tells first.
_LOOK_FOR_HOST_MS = 10_000
_RUSAGE_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class _Child:
    pid: int
    life: int  # readable when the worker has ended
    fate: socket.socket


def main(settings: str) -> None:
    """Serve orders until the host is gone.

    Args:
        settings: JSON with `layers`, `memory_bytes`, `cpu_s` and `look` (`module:function`).
    """
    chosen = json.loads(settings)
    _settle_in()
    look, rehearse = _warm_up(chosen["look"])
    confinement = Confinement.prepare(
        Layer(chosen["layers"]), Bounds(memory_bytes=chosen["memory_bytes"], cpu_s=chosen["cpu_s"])
    )
    with socket.socket(fileno=os.dup(0)) as control:  # it came as standard input, which every system can pass
        with Path(os.devnull).open("rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        control.sendall(READY)
        _Helper(control, look, rehearse, confinement).serve()


class _Helper:
    def __init__(
        self, control: socket.socket, look: Look, rehearse: Callable[[], None], confinement: Confinement
    ) -> None:
        self._control = control
        self._look = look
        self._rehearse = rehearse
        self._confinement = confinement
        self._host = os.getppid()
        self._poll = select.poll()
        self._children: dict[int, _Child] = {}  # by both of their descriptors

    def serve(self) -> None:
        self._poll.register(self._control, select.POLLIN)
        while True:
            ready = self._poll.poll(_LOOK_FOR_HOST_MS)
            if not ready and os.getppid() != self._host:
                return
            for descriptor, _ in ready:
                if descriptor == self._control.fileno():
                    if not self._take_order():
                        return
                elif (child := self._children.get(descriptor)) is not None:
                    self._bury(child)

    def _take_order(self) -> bool:
        try:
            order, descriptors, _, _ = socket.recv_fds(self._control, ORDER.size, 2)
        except ConnectionError:
            return False
        if len(order) != ORDER.size or len(descriptors) != 2:
            return False
        items, ahead = ORDER.unpack(order)
        self._fork(*descriptors, items=items, ahead=ahead)
        return True

    def _fork(self, worker: int, fate: int, *, items: int, ahead: bool) -> None:
        life, held_by_child = os.pipe()
        try:
            pid = os.fork()
        except OSError:  # no more processes: the host sees its worker end without having lived
            for descriptor in (worker, fate, life, held_by_child):
                os.close(descriptor)
            return
        if pid == 0:
            highest = max(worker, fate, life, held_by_child, self._control.fileno(), *self._children)
            self._become_worker(worker, held_by_child, highest, items=items, ahead=ahead)
        os.close(worker)
        os.close(held_by_child)
        child = _Child(pid, life, socket.socket(fileno=fate))
        self._children[life] = self._children[fate] = child
        self._poll.register(life, select.POLLIN)
        self._poll.register(fate, select.POLLIN)

    def _become_worker(self, worker: int, life: int, highest: int, *, items: int, ahead: bool) -> None:
        """Never returns. Closes what belongs to the helper: above all the other workers' sockets."""
        kept = {0, 1, 2, worker, life, self._confinement.landlock_rules}
        for descriptor in range(highest + 1):
            if descriptor not in kept:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        rehearse = self._rehearse if ahead else _nothing
        work(worker, look=self._look, confinement=self._confinement, items=items, rehearse=rehearse)

    def _bury(self, child: _Child) -> None:
        """It ended, or it is wanted no more; a worker that only closed its descriptors ends here too."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGKILL)
        _, status, used = os.wait4(child.pid, 0)
        cpu_us = int((used.ru_utime + used.ru_stime) * 1e6)
        fate = FATE.pack(os.waitstatus_to_exitcode(status), used.ru_maxrss * _RUSAGE_MAXRSS_UNIT, cpu_us)
        with contextlib.suppress(OSError):  # nobody may be interested
            child.fate.send(fate, socket.MSG_DONTWAIT)
        for descriptor in (child.life, child.fate.fileno()):
            self._poll.unregister(descriptor)
            del self._children[descriptor]
        os.close(child.life)
        child.fate.close()


def _settle_in() -> None:
    # A service manager that stops the host signals the whole group; the host alone says when it is time.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o077)
    os.environ.clear()
    hide_memory()
    with contextlib.suppress(OSError):
        # When memory is short, a decoder goes before the host does.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    warnings.simplefilter("ignore")
    keep_heap()


def _warm_up(look_path: str) -> tuple[Look, Callable[[], None]]:
    """Load everything now: a worker can open no file, so it can import nothing."""
    from iii_client.fingerprint.isolation.warming import load_decoders, make_rehearsal

    load_decoders()
    module, _, name = look_path.partition(":")
    look: Any = getattr(importlib.import_module(module), name)
    rehearse = make_rehearsal()
    gc.collect()
    gc.freeze()  # or each collection in a worker would write to, and so copy, every object
    trim_heap()
    return look, rehearse


def _nothing() -> None:
    """No time to rehearse."""
