"""A filter of system calls for the box: no new process, no memory beyond the limits.

A process limit does not bind root and a cgroup is not always there, so starting a process is
refused by the kernel itself: clone without CLONE_THREAD, fork and vfork fail with EPERM. Threads
can be had. Memory that counts for no address space (memfd, System V) is refused, too. A
change of modes or owners is ignored: run as root, the box owns the host's /dev/null.
"""

import errno
import os
import platform
import struct
import tempfile

LOAD, JUMP_EQUAL, JUMP_SET, JUMP_GREATER = 0x20, 0x15, 0x45, 0x35
RETURN, ALLOW, KILL, ERROR = 0x06, 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
CLONE_THREAD, X32 = 0x00010000, 0x40000000
# System calls by number (linux/arch/*/syscalls): refused whatever their arguments.
TABLES = {
    "x86_64": {
        "audit": 0xC000003E,
        "clone": 56,
        "refused": {
            "fork": 57,
            "vfork": 58,
            "ptrace": 101,
            "shmget": 29,
            "semget": 64,
            "msgget": 68,
            "memfd_create": 319,
            "unshare": 272,
            "setns": 308,
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "userfaultfd": 323,
            "bpf": 321,
            "perf_event_open": 298,
        },
        # chmod, fchmod, chown, fchown, lchown, fchownat, fchmodat, *setxattr*, fchmodat2
        "ignored": (90, 91, 92, 93, 94, 260, 268, 188, 189, 190, 463, 452),
    },
    "aarch64": {
        "audit": 0xC00000B7,
        "clone": 220,
        "refused": {
            "ptrace": 117,
            "shmget": 194,
            "semget": 190,
            "msgget": 186,
            "memfd_create": 279,
            "unshare": 97,
            "setns": 268,
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "userfaultfd": 282,
            "bpf": 280,
            "perf_event_open": 241,
        },
        "ignored": (52, 53, 54, 55, 5, 6, 7, 463, 452),
    },
}
NOT_THERE = {"clone3": 435, "io_uring_setup": 425, "memfd_secret": 447}  # ENOSYS: libc falls back


def unsupported() -> str | None:
    """None if there is a filter for this processor, else why not."""
    machine = platform.machine()
    return None if machine in TABLES else f"no filter for {machine}; legal: {', '.join(TABLES)}"


def program(machine: str) -> bytes:
    """The filter for a processor, as an array of struct sock_filter.

    Raises:
        KeyError: a processor without a table.
    """
    table = TABLES[machine]
    lines = [(LOAD, 0, 0, ARCHITECTURE), (JUMP_EQUAL, 1, 0, table["audit"]), (RETURN, 0, 0, KILL)]
    lines += [(LOAD, 0, 0, NUMBER), (JUMP_GREATER, 0, 1, X32), (RETURN, 0, 0, KILL)]
    for number in table["refused"].values():
        lines += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ERROR | errno.EPERM)]
    for number in table["ignored"]:
        lines += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ERROR)]  # no error: done, it seems
    for number in NOT_THERE.values():
        lines += [(JUMP_EQUAL, 0, 1, number), (RETURN, 0, 0, ERROR | errno.ENOSYS)]
    lines += [(JUMP_EQUAL, 0, 3, table["clone"]), (LOAD, 0, 0, FIRST_ARGUMENT)]
    lines += [(JUMP_SET, 1, 0, CLONE_THREAD), (RETURN, 0, 0, ERROR | errno.EPERM)]
    lines += [(RETURN, 0, 0, ALLOW)]
    return b"".join(struct.pack("<HBBI", *line) for line in lines)


def opened() -> int:
    """A descriptor from which bubblewrap reads the filter of this machine."""
    with tempfile.TemporaryFile() as file:
        file.write(program(platform.machine()))
        file.seek(0)
        return os.dup(file.fileno())
