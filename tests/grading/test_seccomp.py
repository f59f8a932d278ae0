"""The filter of system calls, run by an interpreter of its own language, for both processors."""

import errno
import struct

import pytest

from course_utils.grading import seccomp
from course_utils.grading.seccomp import ALLOW, ERROR, KILL, TABLES

REFUSED, ABSENT, IGNORED = ERROR | errno.EPERM, ERROR | errno.ENOSYS, ERROR
THREAD = 0x3D0F00  # the flags of pthread_create: CLONE_VM | CLONE_THREAD | ...
FORK, NEW_USER = 17, 0x10000000
# read, mmap, execve, futex, exit_group; fork and vfork are no calls of aarch64
USUAL = {"x86_64": (0, 9, 59, 202, 231, 56 + 2**31), "aarch64": (63, 222, 221, 98, 94)}


def verdict(code: bytes, number: int, audit: int, first: int = 0) -> int:
    """What the filter returns for a call, by classic BPF's rules."""
    data = struct.pack("<IIQQ", number, audit, 0, first)
    at = value = 0
    while True:
        kind, jt, jf, k = struct.unpack_from("<HBBI", code, 8 * at)
        at += 1
        if kind == seccomp.LOAD:
            (value,) = struct.unpack_from("<I", data, k)
        elif kind == seccomp.RETURN:
            return k
        else:
            compare = {
                seccomp.JUMP_EQUAL: value == k,
                seccomp.JUMP_SET: bool(value & k),
                seccomp.JUMP_GREATER: value >= k,
            }
            at += jt if compare[kind] else jf


@pytest.mark.parametrize("machine", TABLES)
def test_the_filter_lets_threads_start_and_no_process(machine):
    code, table = seccomp.program(machine), TABLES[machine]
    clone, audit = table["clone"], table["audit"]
    assert verdict(code, clone, audit, THREAD) == ALLOW
    for flags in (0, FORK, NEW_USER | FORK, THREAD & ~seccomp.CLONE_THREAD):
        assert verdict(code, clone, audit, flags) == REFUSED
    for name, number in table["refused"].items():
        assert verdict(code, number, audit) == REFUSED, name
    for name, number in seccomp.NOT_THERE.items():
        assert verdict(code, number, audit) == ABSENT, name
    for number in table["ignored"]:
        assert verdict(code, number, audit) == IGNORED
    for number in USUAL[machine]:
        expected = KILL if number >= seccomp.X32 else ALLOW
        assert verdict(code, number, audit) == expected


@pytest.mark.parametrize("machine", TABLES)
def test_calls_of_another_processor_end_the_box(machine):
    for audit in (0x40000003, 0xC000003E, 0xC00000B7):
        if audit != TABLES[machine]["audit"]:
            assert verdict(seccomp.program(machine), 0, audit) == KILL


def test_an_unknown_processor_is_refused(monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    assert seccomp.unsupported() == "no filter for riscv64; legal: x86_64, aarch64"
