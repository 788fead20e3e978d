"""The system calls that a decoder needs; the kernel refuses all others.

A list of what is allowed, as a program for the kernel's packet filter (BPF), so that what a future kernel
adds is refused too. No file or socket can be opened, no process started, signalled or looked into, no
thread started, no limit changed. What is left: memory, the one socket that is open, time, the end.

Refused calls fail with EPERM instead of killing: a library that merely asks (for a file that tells the
number of cores, say) then goes on without, as it does where the file is missing. A foreign instruction set
kills.

Sources: seccomp(2); linux/filter.h, linux/seccomp.h, linux/audit.h; the tables of x86_64 and of asm-generic
(arm64).
"""

import ctypes
import platform
import struct

from iii_client.fingerprint.isolation.linux import PR_SET_SECCOMP, prctl

_MODE_FILTER = 2

#: name: (x86_64, aarch64)
_ALLOWED = {
    # The question comes and the answer goes through descriptors that are open already.
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "lseek": (8, 62),
    # Memory, bounded by RLIMIT_AS.
    "brk": (12, 214),
    "mmap": (9, 222),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "mprotect": (10, 226),
    "madvise": (28, 233),
    # What the C library and Python need of a running thread.
    "futex": (202, 98),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "restart_syscall": (219, 128),
    "sched_yield": (24, 124),
    "sched_getaffinity": (204, 123),
    "getrandom": (318, 278),
    "clock_gettime": (228, 113),
    "gettimeofday": (96, 169),
    "exit": (60, 93),
    "exit_group": (231, 94),
}
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _KILL_PROCESS, _FAIL_WITH_EPERM = 0x7FFF0000, 0x80000000, 0x00050001
#: struct seccomp_data
_OFFSET_OF_NUMBER, _OFFSET_OF_ARCHITECTURE = 0, 4


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def allow_list(machine: str) -> bytes | None:
    """The filter program for a machine, as `platform.machine()` names it; None for those without a table."""
    if machine not in _ARCHITECTURES:
        return None
    column, architecture = _ARCHITECTURES[machine]
    numbers = sorted(row[column] for row in _ALLOWED.values())
    # Numbers of x86_64's x32 interface have a high bit set, so they equal none of these.
    return b"".join(
        (
            _instruction(_LOAD, _OFFSET_OF_ARCHITECTURE),
            _instruction(_JUMP_IF_EQUAL, architecture, if_true=1),
            _instruction(_RETURN, _KILL_PROCESS),
            _instruction(_LOAD, _OFFSET_OF_NUMBER),
            *(
                _instruction(_JUMP_IF_EQUAL, number, if_true=len(numbers) - place)
                for place, number in enumerate(numbers)
            ),
            _instruction(_RETURN, _FAIL_WITH_EPERM),
            _instruction(_RETURN, _ALLOW),
        )
    )


def allow_only_what_a_decoder_needs(program: bytes | None) -> bool:
    """Install the filter for this process, for ever; whether the kernel took it. Needs NO_NEW_PRIVS."""
    if program is None:
        return False
    code = ctypes.create_string_buffer(program, len(program))
    filter_program = _Program(len(program) // 8, ctypes.addressof(code))
    return prctl(PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(filter_program))


def program_for_this_machine() -> bytes | None:
    """`allow_list` of the machine that runs this."""
    return allow_list(platform.machine())


def _instruction(code: int, value: int, *, if_true: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, 0, value)
