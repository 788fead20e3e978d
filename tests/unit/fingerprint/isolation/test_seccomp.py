"""The filter program, run here as the kernel would: the list passes, all else fails, foreign code dies."""

import struct

import pytest

from iii_client.fingerprint.isolation.seccomp import allow_list

ALLOW, EPERM, KILL = 0x7FFF0000, 0x00050001, 0x80000000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
#: openat, socket, connect, clone, execve, kill, ptrace, process_vm_readv, prlimit64, unlinkat, sendmsg
REFUSED = {
    "x86_64": (257, 41, 42, 56, 59, 62, 101, 310, 302, 263, 46),
    "aarch64": (56, 198, 203, 220, 221, 129, 117, 270, 261, 35, 211),
}


def run(program: bytes, *, number: int, architecture: int) -> int:
    """A packet filter of three instructions: load a word, jump if equal, return."""
    instructions = list(struct.iter_unpack("=HBBI", program))
    data, at, accumulator = {0: number, 4: architecture}, 0, 0
    while True:
        code, if_true, if_false, value = instructions[at]
        at += 1
        if code == 0x20:
            accumulator = data[value]
        elif code == 0x15:
            at += if_true if accumulator == value else if_false
        elif code == 0x06:
            return int(value)
        else:
            raise AssertionError(hex(code))


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_only_what_is_on_the_list_passes(machine: str) -> None:
    program = allow_list(machine)
    assert program is not None
    passed = [
        number
        for number in range(700)
        if run(program, number=number, architecture=ARCHITECTURES[machine]) == ALLOW
    ]
    assert set({"x86_64": (0, 1, 231), "aarch64": (63, 64, 94)}[machine]) <= set(passed)
    assert len(passed) == 22
    for number in (*REFUSED[machine], 1 << 30, 2**32 - 1):
        assert run(program, number=number, architecture=ARCHITECTURES[machine]) == EPERM


def test_the_other_instruction_set_of_a_machine_is_killed() -> None:
    program = allow_list("x86_64")
    assert program is not None
    for architecture in (0x40000003, ARCHITECTURES["aarch64"]):
        assert run(program, number=0, architecture=architecture) == KILL
    assert run(program, number=0x40000000, architecture=ARCHITECTURES["x86_64"]) == EPERM  # x32


def test_a_machine_without_a_table_has_no_filter() -> None:
    assert allow_list("riscv64") is None
