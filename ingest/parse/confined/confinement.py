"""Take rights away from this process for good: what a parser must not be able to do.

Everything here is Linux, by direct system calls, because the standard library has no words for them. Each
measure is independent; the caller learns which ones the kernel granted.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

from ingest.parse.limits import ParseLimits

# prctl(2)
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
SECCOMP_MODE_FILTER = 2
# unshare(2)
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
# landlock(7); the system call numbers are the same on every architecture.
SYS_LANDLOCK_CREATE_RULESET = 444
SYS_LANDLOCK_ADD_RULE = 445
SYS_LANDLOCK_RESTRICT_SELF = 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
LANDLOCK_READ_FILE = 1 << 2
LANDLOCK_READ_DIR = 1 << 3
# The file rights that each version of Landlock knows; asking for an unknown one is an error.
LANDLOCK_FILE_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
LANDLOCK_FILE_RIGHTS_LATEST = (1 << 16) - 1
# Programs and libraries, and the fonts that PDFium draws unembedded text with.
SYSTEM_READABLE = (Path("/usr"), Path("/lib"), Path("/lib64"), Path("/etc/fonts"), Path("/dev/urandom"))
MAX_OPEN_FILES = 64

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent_pid: int | None) -> bool:
    """Ask the kernel to kill this process when the thread that started it ends; exit if it already has.

    `parent_pid` is None where the parent's number means nothing, in a process namespace of our own.
    """
    granted = bool(_libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) == 0)
    if parent_pid is not None and os.getppid() != parent_pid:
        sys.exit(1)
    return granted


def forbid_new_privileges() -> bool:
    """Make set-user-id programs powerless, and keep other processes from reading this one's memory."""
    undumpable = bool(_libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0)
    return bool(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0) and undumpable


def limit_resources(limits: ParseLimits) -> bool:
    """Bound memory, CPU time, open files and processes; forbid writing files and core dumps."""
    _lower(resource.RLIMIT_AS, limits.memory_bytes)
    # The soft limit's signal ends the process; the hard one, a second later, cannot be caught.
    _lower(resource.RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 1)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NOFILE, MAX_OPEN_FILES)
    # Forbids forks and threads, except to root, whom this limit does not bind; the system calls do.
    _lower(resource.RLIMIT_NPROC, 0)
    return True


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    _, ceiling = resource.getrlimit(kind)
    wanted = soft if hard is None else hard
    if ceiling != resource.RLIM_INFINITY:
        wanted, soft = min(wanted, ceiling), min(soft, ceiling)
    resource.setrlimit(kind, (soft, wanted))


def leave_network() -> bool:
    """Move to a network namespace without any interface; False where the kernel does not let us."""
    return any(_libc.unshare(flags) == 0 for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET))


def forbid_system_calls() -> bool:
    """Refuse sockets, new processes and threads, signals, tracing and namespaces, by a seccomp filter.

    Calls that a parser has no use for, and that a document which takes it over would have. It needs
    `forbid_new_privileges` first. False on an architecture whose call numbers are not known here.
    """
    known = _SECCOMP_NUMBERS.get(platform.machine())
    if known is None or struct.calcsize("P") != 8:
        return False
    audit_arch, denied = known
    program = _deny_program(audit_arch, denied)
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of eight-byte instructions, and their address.
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    holder = ctypes.create_string_buffer(header, len(header))
    return int(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, holder, 0, 0)) == 0


# By machine: AUDIT_ARCH_*, and the numbers of the calls on each.
_SECCOMP_NUMBERS = {
    "x86_64": (
        0xC000003E,
        (
            *(41, 53, 42),  # socket, socketpair, connect
            *(56, 57, 58, 435),  # clone, fork, vfork, clone3
            *(59, 322),  # execve, execveat
            *(62, 200, 129, 424, 434),  # kill, tkill, rt_sigqueueinfo, pidfd_send_signal, pidfd_open
            *(101, 310, 311, 298),  # ptrace, process_vm_readv, process_vm_writev, perf_event_open
            *(272, 308, 165, 166, 155),  # unshare, setns, mount, umount2, pivot_root
            *(248, 249, 250),  # add_key, request_key, keyctl
            *(321, 323, 425),  # bpf, userfaultfd, io_uring_setup (which could do the others' work)
        ),
    ),
    "aarch64": (
        0xC00000B7,
        (
            *(198, 199, 203),
            *(220, 435),
            *(221, 281),
            *(129, 130, 138, 424, 434),
            *(117, 270, 271, 241),
            *(97, 268, 40, 39, 41),
            *(217, 218, 219),
            *(280, 282, 425),
        ),
    ),
}


def _deny_program(audit_arch: int, denied: tuple[int, ...]) -> bytes:
    """Assemble classic BPF: EPERM for the denied calls and for a foreign architecture, else allow."""
    load, jump_equal, jump_at_least, answer = 0x20, 0x15, 0x35, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM
    instructions = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (jump_equal, 0, len(denied) + 3, audit_arch),
        (load, 0, 0, 0),  # seccomp_data.nr
        (jump_at_least, len(denied) + 1, 0, 0x40000000),  # the x32 calls are other numbers for the same
        *((jump_equal, len(denied) - at, 0, number) for at, number in enumerate(denied)),
        (answer, 0, 0, allow),
        (answer, 0, 0, refuse),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)


def close_filesystem(readable: Iterable[Path]) -> bool:
    """Leave only reading below `readable` and the system's own folders, by Landlock.

    Files that are already open stay usable. Needs `forbid_new_privileges` first; False on an older kernel.
    """
    version = int(_libc.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION))
    if version < 1:
        return False
    rights = LANDLOCK_FILE_RIGHTS.get(version, LANDLOCK_FILE_RIGHTS_LATEST)
    attributes = ctypes.create_string_buffer(struct.pack("Q", rights), 8)
    ruleset = int(_libc.syscall(SYS_LANDLOCK_CREATE_RULESET, attributes, 8, 0))
    if ruleset < 0:
        return False
    try:
        for path in (*SYSTEM_READABLE, *readable):
            _allow_reading(ruleset, path)
        return int(_libc.syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


def _allow_reading(ruleset: int, path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # What does not exist needs no permission.
    try:
        rights = LANDLOCK_READ_FILE | (LANDLOCK_READ_DIR if path.is_dir() else 0)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor), 12)
        _libc.syscall(SYS_LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)
