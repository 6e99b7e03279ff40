"""The kernel's own means of confinement, each one call away: seccomp, Landlock, namespaces, identity, rlimits.

Every function either does what its name says or raises OSError. All of them only ever take power away.
"""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from pathlib import Path

from . import filter as seccomp_filter
from .syscalls import NUMBERS, number

__all__ = (
    "die_with_parent",
    "drop_capabilities",
    "empty_root",
    "forbid_new_privileges",
    "landlock_abi",
    "limit_resources",
    "restrict_paths",
    "seal",
    "set_identity",
    "system_call",
    "undumpable",
    "unshare",
)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4

_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 4, 24, 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_SIGKILL = 9
_SECCOMP_SET_MODE_FILTER = 1
_LANDLOCK_VERSION_QUERY = 1
_CAPABILITY_VERSION_3 = 0x20080522
_NAMESPACES = {
    "user": 0x10000000,
    "mount": 0x00020000,
    "net": 0x40000000,
    "ipc": 0x08000000,
    "uts": 0x04000000,
}
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REC, _MS_PRIVATE = 1, 2, 4, 8, 16384, 1 << 18


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def system_call(name: str, *arguments: int | bytes | None) -> int:
    """Make a system call by name. Raises OSError when it fails, KeyError where this machine lacks it."""
    words = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number(name)), *words), name)


def _checked(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _prctl(option: int, a: int = 0, b: int = 0) -> None:
    _checked(_libc.prctl(option, a, b, 0, 0), f"prctl({option})")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends, whose id is `parent`."""
    _prctl(_PR_SET_PDEATHSIG, _SIGKILL)
    if os.getppid() != parent:  # it ended before the line above
        os._exit(0)


def undumpable() -> None:
    """Refuse core dumps, and attaching by processes of the same user."""
    _prctl(_PR_SET_DUMPABLE, 0)


def forbid_new_privileges() -> None:
    """Make sure that no exec gives privileges; seccomp and Landlock ask for it."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_identity(uid: int, gid: int) -> None:
    """Become an unprivileged user, for good."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def drop_capabilities() -> None:
    """Give up every capability, and the right to gain one."""
    for capability in range(64):
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except OSError:  # past the kernel's last one, or an ordinary user, who has none to lose
            break
    try:
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    except OSError:
        pass  # a kernel without ambient capabilities
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    system_call("capset", header, bytes(24))


def unshare(*names: str) -> None:
    """Enter fresh namespaces: `user`, `mount`, `net`, `ipc`, `uts`."""
    flags = 0
    for name in names:
        flags |= _NAMESPACES[name]
    _checked(_libc.unshare(flags), "unshare")


def empty_root() -> None:
    """Make an empty, read-only file system the root. Needs a mount namespace of one's own."""
    _checked(_libc.mount(b"none", b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "mount private")
    target = next(path for path in ("/tmp", "/run", "/proc", "/dev") if Path(path).is_dir())
    flags = ctypes.c_ulong(_MS_RDONLY | _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    _checked(_libc.mount(b"none", target.encode(), b"tmpfs", flags, b"size=4k,mode=555"), "mount tmpfs")
    os.chroot(target)
    os.chdir("/")


def landlock_abi() -> int:
    """Return the version of Landlock here, 0 where there is none."""
    try:
        return system_call("landlock_create_ruleset", None, 0, _LANDLOCK_VERSION_QUERY)
    except OSError:
        return 0


def restrict_paths() -> int:
    """Refuse by Landlock every path, TCP, abstract sockets and signals to others, as far as the kernel can.

    Returns the version used, 0 where there is none.
    """
    abi = landlock_abi()
    if abi < 1:
        return 0
    paths = (1 << 13) - 1
    for since, bit in ((2, 13), (3, 14), (5, 15)):
        paths |= (1 << bit) if abi >= since else 0
    words = [paths]
    if abi >= 4:
        words.append(0b11)
    if abi >= 6:
        words.append(0b11)
    attributes = struct.pack(f"={len(words)}Q", *words)
    ruleset = system_call("landlock_create_ruleset", attributes, len(attributes), 0)
    try:
        system_call("landlock_restrict_self", ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def limit_resources(address_space: int, cpu_s: int) -> None:
    """Bound what this process may take; every limit is hard at once, so that none can be raised again."""
    for limit, value in (
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CPU, cpu_s),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_NPROC, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_MSGQUEUE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (bound, bound))


def seal() -> None:
    """Install the filter on this process, for good. Needs `forbid_new_privileges`."""
    if not NUMBERS:
        raise OSError(f"no system call table for this machine ({os.uname().machine})")
    code = seccomp_filter.build(os.getpid())
    held = ctypes.create_string_buffer(code, len(code))
    program = _Program(len(code) // 8, ctypes.cast(held, ctypes.c_void_p))
    _checked(
        _libc.syscall(
            ctypes.c_long(number("seccomp")),
            ctypes.c_long(_SECCOMP_SET_MODE_FILTER),
            ctypes.c_long(0),
            ctypes.byref(program),
        ),
        "seccomp",
    )
