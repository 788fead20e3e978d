"""Everything that a worker gives up before it sees a stranger's bytes.

| layer | takes away | where |
|---|---|---|
| LIMITS | memory, CPU time, new descriptors (files, sockets), file sizes, core dumps, processes | POSIX |
| NOT_ROOT | the rights of root, where the host runs as root: the worker goes on as `nobody` | POSIX |
| NO_NEW_PRIVS | set-uid programs | Linux |
| LANDLOCK | files, TCP, signals to and looks into others | Linux 5.13 and later, if enabled |
| SECCOMP | every system call but two dozen | Linux on x86_64 and arm64 |

Each layer holds alone; a missing one is reported, not hidden. Call `confine` in a process that has one
thread and nothing to lose.
"""

import contextlib
import os
import resource
import signal
from dataclasses import dataclass
from enum import IntFlag

from iii_client.fingerprint.isolation import landlock, seccomp
from iii_client.fingerprint.isolation.linux import (
    PR_SET_NO_NEW_PRIVS,
    PR_SET_PDEATHSIG,
    hide_memory,
    mapped_bytes,
    prctl,
)

#: The user and group of nobody, where files belong to nobody. The same number on every common system.
_NOBODY = 65534

#: Address space of a Python with numpy and Pillow where the system does not tell it: 160 MB (measured).
_ASSUMED_MAPPED_BYTES = 256 << 20


class Layer(IntFlag):
    """What a worker was deprived of."""

    LIMITS = 1
    NOT_ROOT = 2
    NO_NEW_PRIVS = 4
    LANDLOCK = 8
    SECCOMP = 16


ALL_LAYERS = Layer.LIMITS | Layer.NOT_ROOT | Layer.NO_NEW_PRIVS | Layer.LANDLOCK | Layer.SECCOMP


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a picture may cost.

    Attributes:
        memory_bytes: address space beyond that of the interpreter.
        cpu_s: CPU time of a worker that sees one picture; whole seconds.
    """

    memory_bytes: int
    cpu_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What `confine` needs, made once by who forks the workers."""

    wanted: Layer
    address_space_bytes: int
    cpu_s: int
    landlock_rules: int | None
    seccomp_program: bytes | None

    @classmethod
    def prepare(cls, wanted: Layer, bounds: Bounds) -> "Confinement":
        """Ask the kernel what it can do. `wanted` leaves layers out, to see what the others hold alone."""
        return cls(
            wanted=wanted,
            address_space_bytes=(mapped_bytes() or _ASSUMED_MAPPED_BYTES) + bounds.memory_bytes,
            cpu_s=bounds.cpu_s,
            landlock_rules=landlock.prepare() if Layer.LANDLOCK in wanted else None,
            seccomp_program=seccomp.program_for_this_machine() if Layer.SECCOMP in wanted else None,
        )


def confine(confinement: Confinement, *, items: int) -> Layer:
    """Give everything up, in the one order in which that is possible.

    Args:
        items: pictures that this process will see. CPU time is limited where it is one: a limit of the kernel
            counts a process's whole life.

    Returns:
        The layers that hold.
    """
    wanted, held = confinement.wanted, Layer(0)
    if Layer.NOT_ROOT in wanted and _stop_being_root():
        held |= Layer.NOT_ROOT
    hide_memory()  # changing the user may have undone it
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)  # so does changing the user
    if Layer.LIMITS in wanted:
        _limit(confinement, items)
        held |= Layer.LIMITS
    if Layer.NO_NEW_PRIVS in wanted and prctl(PR_SET_NO_NEW_PRIVS, 1):
        held |= Layer.NO_NEW_PRIVS
    if landlock.enter(confinement.landlock_rules):
        held |= Layer.LANDLOCK
    if confinement.landlock_rules is not None:
        os.close(confinement.landlock_rules)
    if seccomp.allow_only_what_a_decoder_needs(confinement.seccomp_program):
        held |= Layer.SECCOMP
    return held


def _stop_being_root() -> bool:
    if os.geteuid() == 0:
        # A container may have no such user; then the limits still count, and it is reported.
        with contextlib.suppress(OSError):
            os.setgroups([])
            os.setresgid(_NOBODY, _NOBODY, _NOBODY)
            os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    return os.geteuid() != 0


def _limit(confinement: Confinement, items: int) -> None:
    _set(resource.RLIMIT_AS, confinement.address_space_bytes)
    if items == 1:
        # At the lower limit comes a signal that says why; who ignores it is killed a second later.
        _set(resource.RLIMIT_CPU, confinement.cpu_s, grace=1)
    # No descriptor can be had any more: no file, no socket, no pipe, whatever the name of the call.
    _set(resource.RLIMIT_NOFILE, 0)
    _set(resource.RLIMIT_FSIZE, 0)
    _set(resource.RLIMIT_CORE, 0)
    _set(resource.RLIMIT_NPROC, 0)


def _set(what: int, most: int, *, grace: int = 0) -> None:
    _, hard = resource.getrlimit(what)
    ceiling = most + grace if hard == resource.RLIM_INFINITY else min(most + grace, hard)
    resource.setrlimit(what, (min(most, ceiling), ceiling))
