"""Landlock: the kernel takes from a process the right to touch files, to connect, and to signal others.

No exception is made, because a decoder needs none. What the running kernel does not know yet is left out.

Sources: landlock(7); linux/landlock.h.
"""

import ctypes
import os

from iii_client.fingerprint.isolation.linux import syscall

#: The same numbers on every machine.
_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_ASK_VERSION = 1

#: All rights over files by the version of the interface that first knew them: how many of the lowest bits.
_FILE_RIGHTS_BITS = ((5, 16), (3, 15), (2, 14), (1, 13))
_NETWORK_FROM, _NETWORK_RIGHTS = 4, 0b11  # bind and connect TCP
_SCOPES_FROM, _SCOPES = 6, 0b11  # abstract sockets and signals


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scopes", ctypes.c_uint64))


def version() -> int:
    """Version of the interface in the running kernel; 0 where there is none."""
    try:
        return syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_ASK_VERSION))
    except OSError:
        return 0


def prepare() -> int | None:
    """A descriptor of the rules, made once for all workers; None where the kernel has no Landlock."""
    known = version()
    if known == 0:
        return None
    bits = next(bits for since, bits in _FILE_RIGHTS_BITS if known >= since)
    rules = _Ruleset((1 << bits) - 1)
    size = ctypes.sizeof(ctypes.c_uint64)
    if known >= _NETWORK_FROM:
        rules.network, size = _NETWORK_RIGHTS, 2 * size
    if known >= _SCOPES_FROM:
        rules.scopes, size = _SCOPES, ctypes.sizeof(_Ruleset)
    try:
        descriptor = syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), ctypes.c_uint32(0))
    except OSError:
        return None
    os.set_inheritable(descriptor, False)
    return descriptor


def enter(descriptor: int | None) -> bool:
    """Bind this process to the rules, for ever; whether the kernel did. Needs NO_NEW_PRIVS."""
    if descriptor is None:
        return False
    try:
        syscall(_RESTRICT_SELF, ctypes.c_int(descriptor), ctypes.c_uint32(0))
    except OSError:
        return False
    return True
