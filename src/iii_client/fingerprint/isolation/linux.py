"""The few calls of the Linux kernel that Python has no name for. Elsewhere each of them says it failed."""

import ctypes
import os
import sys
from typing import Any

#: prctl(2), linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_SECCOMP = 22
PR_SET_NO_NEW_PRIVS = 38

#: malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_HEAP_BYTES = 256 << 20
_LARGEST_HEAP_BLOCK_BYTES = 64 << 20

IS_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, value: Any, pointer: Any = None) -> bool:
    """Ask something of the kernel for this process; whether it agreed."""
    if not IS_LINUX:
        return False
    arguments = (ctypes.c_ulong(value), pointer or ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0))
    return bool(_libc.prctl(ctypes.c_int(option), *arguments) == 0)


def syscall(number: int, *arguments: Any) -> int:
    """A raw system call.

    Raises:
        OSError: the kernel refused it, or this is no Linux.
    """
    if not IS_LINUX:
        raise OSError(38, "not Linux")
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def hide_memory() -> bool:
    """Let no process of this user read this process's memory, or attach to it; whether it worked.

    It also ends core dumps and debuggers of this user, but not root's.
    """
    return prctl(PR_SET_DUMPABLE, 0)


def keep_heap() -> None:
    """Have malloc keep what it had.

    A fresh process gives each picture's buffers back to the system and faults them in again for the next: 348
    page faults and 0.75 ms a picture of 0.3 megapixels (measured). glibc only; elsewhere nothing happens.
    """
    mallopt = getattr(_libc, "mallopt", None)
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, _KEPT_HEAP_BYTES)
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_HEAP_BLOCK_BYTES)


def trim_heap() -> None:
    """Give back what malloc holds free, so that forked children need not copy it. glibc only."""
    malloc_trim = getattr(_libc, "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)


def mapped_bytes() -> int:
    """Address space of this process; 0 where it is not told."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - pathlib is not loaded for this
            return int(statm.read(64).split()[0]) * os.sysconf("SC_PAGESIZE")
    except (OSError, ValueError, IndexError):
        return 0
