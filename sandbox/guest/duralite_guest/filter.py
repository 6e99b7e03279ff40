"""The filter is the list of system calls a sealed child may make; all others are refused with EPERM.

It is an allow-list in classic BPF for seccomp. What it leaves: memory that is never executable, the
descriptors already open, pipes and stream pairs inside the process, clocks, sleeping, signals to itself.
Nothing takes a path, makes a socket, starts a process or a thread, or speaks of another process.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Sequence

from .syscalls import AUDIT_ARCH, NUMBERS, X32_BIT

__all__ = ("build",)

_ALLOW = 0x7FFF0000
_KILL = 0x80000000
_REFUSE = 0x00050000

_LOAD, _JUMP, _JUMP_EQ, _JUMP_GE, _JUMP_SET, _AND, _RETURN = 0x20, 0x05, 0x15, 0x35, 0x45, 0x54, 0x06

_NUMBER_AT, _ARCH_AT = 0, 4

# The kernel remembers calls that are allowed whatever their arguments: they cost nothing at run time.
_ANY_ARGUMENTS = (
    "read",
    "write",
    "readv",
    "writev",
    "close",
    "fstat",
    "lseek",
    "poll",
    "ppoll",
    "select",
    "pselect6",
    "dup",
    "dup2",
    "dup3",
    "pipe2",
    "shutdown",
    "munmap",
    "brk",
    "mremap",
    "madvise",
    "futex",
    "rseq",
    "set_robust_list",
    "sched_yield",
    "sched_getaffinity",
    "getcpu",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigpending",
    "sigaltstack",
    "restart_syscall",
    "nanosleep",
    "clock_nanosleep",
    "clock_gettime",
    "clock_getres",
    "gettimeofday",
    "time",
    "times",
    "getrusage",
    "getitimer",
    "setitimer",
    "alarm",
    "getrandom",
    "getpid",
    "gettid",
    "getppid",
    "getuid",
    "geteuid",
    "getgid",
    "getegid",
    "getgroups",
    "getresuid",
    "getresgid",
    "epoll_create1",
    "epoll_ctl",
    "epoll_wait",
    "epoll_pwait",
    "epoll_pwait2",
    "eventfd2",
    "getsockname",
    "getpeername",
    "getsockopt",
    "exit",
    "exit_group",
)
_PROT_EXEC = 4
_AF_UNIX, _SOCK_STREAM, _SOCK_KIND_MASK = 1, 1, 0xF
_MSG_PEEK, _MSG_DONTWAIT, _MSG_WAITALL, _MSG_NOSIGNAL = 0x2, 0x40, 0x100, 0x4000
# TCGETS (is it a terminal?), FIONREAD, FIONBIO, FIONCLEX, FIOCLEX.
_IOCTLS = (0x5401, 0x541B, 0x5421, 0x5450, 0x5451)
# F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC.
_FCNTLS = (0, 1, 2, 3, 4, 1030)


# Stands for the process id until there is one; no other value in the filter is like it.
_SOME_PID = 0x5A5A5A5A


def build(pid: int) -> bytes:
    """Return the filter for the process `pid`, as an array of `struct sock_filter`."""
    return _TEMPLATE.replace(struct.pack("=I", _SOME_PID), struct.pack("=I", pid))


def _assemble() -> bytes:
    code: list[bytes] = []
    code += [_ins(_LOAD, _ARCH_AT), _ins(_JUMP_EQ, AUDIT_ARCH, 1, 0), _ins(_RETURN, _KILL)]
    code += [_ins(_LOAD, _NUMBER_AT)]
    if X32_BIT:
        code += [_ins(_JUMP_GE, X32_BIT, 0, 1), _ins(_RETURN, _KILL)]
    return b"".join([*code, *_tree(sorted(_bodies().items()))])


def _bodies() -> dict[int, list[bytes]]:
    """Return what to do for each system call that is not simply refused. A body always returns."""
    named: dict[str, list[bytes]] = {name: [_ins(_RETURN, _ALLOW)] for name in _ANY_ARGUMENTS}
    named["mmap"] = named["mprotect"] = _allow_unless_bits(2, _PROT_EXEC)
    named["sendto"] = _allow_send()
    named["recvfrom"] = _allow_unless_bits(3, _other_bits(_MSG_PEEK | _MSG_DONTWAIT | _MSG_WAITALL))
    named["socketpair"] = _allow_stream_pair()
    named["ioctl"] = _allow_values(1, _IOCTLS)
    named["fcntl"] = _allow_values(1, _FCNTLS)
    # Of itself alone, and the kernel lets nobody here raise a hard limit.
    named["prlimit64"] = _allow_values(0, (0,))
    named["tgkill"] = _allow_values(0, (_SOME_PID,))
    # The C library falls back to clone, which is refused, where this is not there.
    named["clone3"] = [_ins(_RETURN, _REFUSE | errno.ENOSYS)]
    return {NUMBERS[name]: body for name, body in named.items() if name in NUMBERS}


def _tree(cases: Sequence[tuple[int, list[bytes]]]) -> list[bytes]:
    """Find the case by halving: the kernel tries a new filter with every number there is, for each child."""
    if len(cases) <= 2:
        found = [each for number, body in cases for each in (_ins(_JUMP_EQ, number, 0, len(body)), *body)]
        return [*found, _ins(_RETURN, _REFUSE | errno.EPERM)]
    middle = len(cases) // 2
    low, high = _tree(cases[:middle]), _tree(cases[middle:])
    return [_ins(_JUMP_GE, cases[middle][0], 0, 1), _ins(_JUMP, len(low)), *low, *high]


def _ins(code: int, value: int, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value & 0xFFFFFFFF)


def _argument(index: int, high: bool = False) -> int:
    return 16 + 8 * index + (4 if high else 0)  # both machines are little-endian


def _other_bits(allowed: int) -> int:
    return ~allowed & 0xFFFFFFFF


def _allow_unless_bits(index: int, bits: int) -> list[bytes]:
    return [
        _ins(_LOAD, _argument(index)),
        _ins(_JUMP_SET, bits, 0, 1),
        _ins(_RETURN, _REFUSE | errno.EPERM),
        _ins(_RETURN, _ALLOW),
    ]


def _allow_values(index: int, values: Iterable[int]) -> list[bytes]:
    body = [_ins(_LOAD, _argument(index))]
    for value in values:
        body += [_ins(_JUMP_EQ, value, 0, 1), _ins(_RETURN, _ALLOW)]
    return [*body, _ins(_RETURN, _REFUSE | errno.EPERM)]


def _allow_send() -> list[bytes]:
    # No address: a pair must not become a way to other sockets. No MSG_OOB: a known weak spot of AF_UNIX.
    refuse = _ins(_RETURN, _REFUSE | errno.EPERM)
    return [
        _ins(_LOAD, _argument(4)),
        _ins(_JUMP_EQ, 0, 1, 0),
        refuse,
        _ins(_LOAD, _argument(4, high=True)),
        _ins(_JUMP_EQ, 0, 1, 0),
        refuse,
        *_allow_unless_bits(3, _other_bits(_MSG_DONTWAIT | _MSG_NOSIGNAL)),
    ]


def _allow_stream_pair() -> list[bytes]:
    # Datagram pairs could be sent from to any unix socket path of the host.
    return [
        _ins(_LOAD, _argument(0)),
        _ins(_JUMP_EQ, _AF_UNIX, 1, 0),
        _ins(_RETURN, _REFUSE | errno.EPERM),
        _ins(_LOAD, _argument(1)),
        _ins(_AND, _SOCK_KIND_MASK),
        _ins(_JUMP_EQ, _SOCK_STREAM, 0, 1),
        _ins(_RETURN, _ALLOW),
        _ins(_RETURN, _REFUSE | errno.EPERM),
    ]


# Assembled once, in the zygote: a child only puts in its number.
_TEMPLATE = _assemble()
