"""What the converter of old Office files may do: write to its scratch folder, and nothing else.

The parser's own confinement forbids starting programs and writing files; a converter is a program that
writes. So it gets rules of its own: namespaces without a network and with a scratch folder in memory, only
the system's programs and fonts readable, limits, and no calls that reach other processes.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import signal
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ingest.parse.limits import ParseLimits

# unshare(2)
CLONE_NEWNS, CLONE_NEWIPC, CLONE_NEWPID = 0x00020000, 0x08000000, 0x20000000
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
# mount(2)
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
# landlock(7); the system call numbers are the same on every architecture.
SYS_LANDLOCK_CREATE_RULESET, SYS_LANDLOCK_ADD_RULE, SYS_LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_EXECUTE, LANDLOCK_WRITE_FILE, LANDLOCK_READ_FILE, LANDLOCK_READ_DIR = 1, 2, 4, 8
LANDLOCK_REMOVE_FILE, LANDLOCK_MAKE_SOCK = 1 << 5, 1 << 9
LANDLOCK_RULE_PATH_BENEATH = 1
# The file rights that each version of Landlock knows; asking for an unknown one is an error.
LANDLOCK_FILE_RIGHTS: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
LANDLOCK_FILE_RIGHTS_LATEST: Final = (1 << 16) - 1
# prctl(2)
PR_SET_PDEATHSIG, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 22, 2
MAX_OPEN_FILES: Final = 256
# Programs, libraries, fonts and the program's settings; not the rest of /etc, and nobody's home.
_READABLE: Final = tuple(
    map(
        Path,
        "/usr /bin /lib /lib64 /opt /etc/fonts /etc/libreoffice /etc/ld.so.cache /etc/alternatives "
        "/etc/localtime /var/lib/libreoffice /var/spool/libreoffice /var/cache/fontconfig "
        "/sys/devices/system/cpu /dev/null /dev/zero /dev/urandom /dev/random".split(),
    )
)
TEMPORARY: Final = Path("/tmp")  # noqa: S108 - where LibreOffice puts its socket, whatever it is told
_WRITABLE_DEVICES: Final = (Path("/dev/null"),)
# By machine: AUDIT_ARCH_*, and the numbers of connect, ptrace, process_vm_readv, process_vm_writev,
# io_uring_setup (which could connect without the other calls), mount, umount2, unshare, setns.
_SECCOMP_NUMBERS: Final = {
    "x86_64": (0xC000003E, (42, 101, 310, 311, 425, 165, 166, 272, 308)),
    "aarch64": (0xC00000B7, (203, 117, 270, 271, 425, 40, 39, 97, 268)),
}
_SOCKET_NUMBERS: Final = {"x86_64": 41, "aarch64": 198}

_libc = ctypes.CDLL(None, use_errno=True)


def enter_namespaces() -> tuple[bool, bool]:
    """Move to own namespaces; return whether there is no network, and whether mounts are our own.

    The next process started is the first of its own process namespace: when it ends, all below it end.
    """
    everything = CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWPID
    if _libc.unshare(everything) == 0:
        return True, True
    user, group = os.getuid(), os.getgid()
    if _libc.unshare(CLONE_NEWUSER | everything) != 0:
        return _libc.unshare(CLONE_NEWNET) == 0, False
    try:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    except OSError:
        return True, False
    return True, True


def die_with_starter() -> None:
    """Have the kernel kill this process when the one that started it ends; programs it becomes inherit it."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def mount_scratch(folder: Path, size_bytes: int) -> bool:
    """Put a file system in memory over `folder`, seen by this process only; it ends with the process."""
    if _libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        return False
    options = f"size={size_bytes},mode=0700".encode()
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    return bool(_libc.mount(b"scratch", os.fsencode(folder), b"tmpfs", flags, options) == 0)


def mount_over(folder: Path, shown: Path) -> bool:
    """Show `folder` at the path `shown`, to this process and its children only."""
    return bool(_libc.mount(os.fsencode(folder), os.fsencode(shown), None, MS_BIND, None) == 0)


def limit_resources(limits: ParseLimits) -> None:
    """Bound memory and CPU time of each process, and what one file may hold."""
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_s),
        (resource.RLIMIT_FSIZE, limits.max_expanded_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, MAX_OPEN_FILES),
    ):
        _, ceiling = resource.getrlimit(kind)
        wanted = value if ceiling == resource.RLIM_INFINITY else min(value, ceiling)
        resource.setrlimit(kind, (wanted, wanted))


def close_filesystem(scratch: Iterable[Path], readable: Iterable[Path]) -> bool:
    """Leave only reading and starting what the system holds, and everything below `scratch`, by Landlock.

    LibreOffice wants to make and remove a socket in /tmp and ends without it; that much it may do there.
    Needs no new privileges to be forbidden first; False on an older kernel.
    """
    version = int(_libc.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, 1))
    if version < 1:
        return False
    rights = LANDLOCK_FILE_RIGHTS.get(version, LANDLOCK_FILE_RIGHTS_LATEST)
    attributes = ctypes.create_string_buffer(struct.pack("Q", rights), 8)
    ruleset = int(_libc.syscall(SYS_LANDLOCK_CREATE_RULESET, attributes, 8, 0))
    if ruleset < 0:
        return False
    try:
        for path in (*_READABLE, *readable):
            _allow(ruleset, path, LANDLOCK_READ_FILE | LANDLOCK_READ_DIR | LANDLOCK_EXECUTE)
        for path in _WRITABLE_DEVICES:
            _allow(ruleset, path, LANDLOCK_READ_FILE | LANDLOCK_WRITE_FILE)
        _allow(ruleset, TEMPORARY, LANDLOCK_MAKE_SOCK | LANDLOCK_REMOVE_FILE)
        for path in scratch:
            _allow(ruleset, path, rights & ~LANDLOCK_EXECUTE)
        return int(_libc.syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)) == 0
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # What does not exist needs no permission.
    try:
        if not path.is_dir():
            rights &= ~LANDLOCK_READ_DIR
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, descriptor), 12)
        _libc.syscall(SYS_LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(descriptor)


def forbid_calls() -> bool:
    """Refuse connecting, sockets but local ones, and reaching into other processes, by a seccomp filter.

    Needs no new privileges to be forbidden first. False on an architecture that is not known here.
    """
    machine = platform.machine()
    if machine not in _SECCOMP_NUMBERS or struct.calcsize("P") != 8:
        return False
    architecture, denied = _SECCOMP_NUMBERS[machine]
    program = _filter(architecture, denied, _SOCKET_NUMBERS[machine])
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: the number of eight-byte instructions, and their address.
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(code))
    holder = ctypes.create_string_buffer(header, len(header))
    return int(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, holder, 0, 0)) == 0


def _filter(architecture: int, denied: tuple[int, ...], socket: int) -> bytes:
    """Assemble classic BPF: EPERM for the denied calls and for sockets other than local ones, else allow."""
    load, jump_equal, jump_at_least, answer = 0x20, 0x15, 0x35, 0x06
    allow, refuse = 0x7FFF0000, 0x00050000 | 1  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM
    af_unix = 1
    count = len(denied)
    instructions = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (jump_equal, 0, count + 5, architecture),
        (load, 0, 0, 0),  # seccomp_data.nr
        (jump_at_least, count + 3, 0, 0x40000000),  # the x32 calls are other numbers for the same
        *((jump_equal, count + 2 - at, 0, number) for at, number in enumerate(denied)),
        (jump_equal, 0, 3, socket),
        (load, 0, 0, 16),  # the first argument: the kind of socket
        (jump_equal, 1, 0, af_unix),
        (answer, 0, 0, refuse),
        (answer, 0, 0, allow),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
