"""A decoder that a picture has taken over: it does what the picture says, and answers how that went.

Runs in a worker, in place of `pixels.look_at`. What it must not be able to do, it tries.
"""

import contextlib
import ctypes
import os
import pickle
import resource
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from iii_client.config import Limits
from iii_client.fingerprint.isolation.answers import answer_bytes
from iii_client.fingerprint.pixels import Looked
from iii_client.model import Reason, Recipe

#: What a picture of this decoder begins with.
MAGIC = b"\xff\xd8\xff"

_libc = ctypes.CDLL(None, use_errno=True)
_PTRACE_ATTACH = 16


def look_at(stream: BinaryIO, kind: str, *, recipe: Recipe, limits: Limits) -> Looked:
    """Do the deed that the picture names; `held` in the detail means that it could not be done."""
    deed, _, argument = stream.read()[len(MAGIC) :].decode().partition(" ")
    _recipe.append(recipe)
    try:
        detail = f"done {DEEDS[deed](argument)}"
    except (OSError, MemoryError, RuntimeError, ValueError, KeyError) as error:
        detail = f"held {type(error).__name__}"
    return Looked.refused(Reason.FORMAT_NOT_SUPPORTED, detail)


_recipe: list[Recipe] = []  # of the picture at hand


def _open_socket(family: str) -> str:
    socket.socket(getattr(socket, family), socket.SOCK_STREAM)
    return "open"


def _connect_abstract(_: str) -> str:
    socket.socketpair()
    return "open"


def _write_file(path: str) -> str:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
    return "written"


def _read_file(path: str) -> str:
    with Path(path).open("rb") as file:
        return str(len(file.read(10)))


def _make_folder(path: str) -> str:
    Path(path).mkdir()
    return "made"


def _truncate(path: str) -> str:
    os.truncate(path, 0)
    return "truncated"


def _read_environment(_: str) -> str:
    if not os.environ:
        raise ValueError("empty")
    return "found"


def _list_descriptors(_: str) -> str:
    """Every descriptor that is open, found without a system call that is denied."""
    found = []
    for descriptor in range(4096):
        try:
            os.lseek(descriptor, 0, os.SEEK_CUR)
        except OSError as error:
            if error.errno == 9:
                continue
        found.append(descriptor)
    return "-".join(map(str, found))


def _read_memory(argument: str) -> str:
    """Of another process, by each way there is."""
    pid, address = (int(part) for part in argument.split())
    for way in (_by_process_vm_readv, _by_proc_mem, _by_ptrace):
        with contextlib.suppress(OSError):
            return way(pid, address)
    raise PermissionError


def _by_process_vm_readv(pid: int, address: int) -> str:
    buffer = ctypes.create_string_buffer(16)
    here = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 16)
    there = (ctypes.c_void_p * 2)(address, 16)
    if _libc.process_vm_readv(pid, here, 1, there, 1, 0) < 0:
        raise OSError(ctypes.get_errno(), "process_vm_readv")
    return "readv"


def _by_proc_mem(pid: int, address: int) -> str:
    with Path(f"/proc/{pid}/mem").open("rb", 0) as memory:
        memory.seek(address)
        memory.read(16)
    return "mem"


def _by_ptrace(pid: int, address: int) -> str:
    if _libc.ptrace(_PTRACE_ATTACH, pid, None, None) < 0:
        raise OSError(ctypes.get_errno(), "ptrace")
    return "ptrace"


def _read_helper(argument: str) -> str:
    return _read_memory(f"{os.getppid()} {argument}")


def _allocate(size: str) -> str:
    return str(len(bytearray(int(size))))


def _loop(_: str) -> str:
    while True:
        pass


def _sleep(seconds: str) -> str:
    threading.Event().wait(float(seconds))
    time.sleep(float(seconds))
    return "slept"


def _ignore_the_limit_and_loop(_: str) -> str:
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    return _loop("")


def _fork(_: str) -> str:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    return "forked"


def _start_thread(_: str) -> str:
    threading.Thread(target=_nothing).start()
    return "started"


def _nothing() -> None:
    pass


def _run_program(path: str) -> str:
    os.execv(path, [path])


def _signal(pid: str) -> str:
    os.kill(int(pid), 0)
    return "signalled"


def _raise_limits(_: str) -> str:
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
    return "raised"


def _die(number: str) -> str:
    ctypes.string_at(0) if number == "SIGSEGV" else os.abort()
    return "alive"


def _exit(code: str) -> str:
    os._exit(int(code))


def _write_answer(data: bytes) -> None:
    for descriptor in (int(number) for number in _list_descriptors("").split("-")):
        with contextlib.suppress(OSError):
            os.write(descriptor, data)


class _Payload:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch /tmp/iii-pickle-was-loaded",)


def _send_pickle(_: str) -> str:
    data = pickle.dumps(_Payload())
    _write_answer(data.ljust(answer_bytes(_recipe[-1]), b"."))
    return "sent"


def _answer_for_the_next(_: str) -> str:
    """Answers, in advance, questions that were not asked yet: with a nonce of zeros, as none is known."""
    length = answer_bytes(_recipe[-1])
    forged = struct.pack("<8s16sHHH", b"III-SAY\x01", bytes(16), 0, 0, 1)
    _write_answer(forged.ljust(length, b"\0"))
    return "sent"


def _half_an_answer(_: str) -> str:
    _write_answer(b"III-SAY\x01")
    os._exit(0)


def _an_endless_answer(_: str) -> str:
    while True:
        _write_answer(bytes(65536))


def _close_and_linger(_: str) -> str:
    """Look dead, and go on."""
    for descriptor in range(4096):
        with contextlib.suppress(OSError):
            os.close(descriptor)
    return _loop("")


DEEDS: dict[str, Callable[[str], str]] = {
    "socket": _open_socket,
    "socketpair": _connect_abstract,
    "write": _write_file,
    "read": _read_file,
    "mkdir": _make_folder,
    "truncate": _truncate,
    "environment": _read_environment,
    "descriptors": _list_descriptors,
    "memory": _read_memory,
    "helper": _read_helper,
    "allocate": _allocate,
    "loop": _loop,
    "sleep": _sleep,
    "stubborn": _ignore_the_limit_and_loop,
    "fork": _fork,
    "thread": _start_thread,
    "exec": _run_program,
    "signal": _signal,
    "limits": _raise_limits,
    "die": _die,
    "exit": _exit,
    "pickle": _send_pickle,
    "next": _answer_for_the_next,
    "half": _half_an_answer,
    "endless": _an_endless_answer,
    "linger": _close_and_linger,
}
