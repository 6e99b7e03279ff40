"""Escapes of our own, beyond the shared corpus: each a name, what must hold, and a program.

The verdict is the first word of `must`: DENIED (the act fails), LIMITED (a limit ends it), CONTAINED (harm stays
in the run). A program that gets through says ESCAPED or shows a canary. Placeholders are those of the shared
corpus. The engine under test has `ctypes`, `mmap` and `multiprocessing` loaded: a missing module is no defence.
"""

from __future__ import annotations

__all__ = ("ESCAPES",)

_RAW = """
import ctypes, os, errno
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
got = []
def raw(label, number, *arguments):
    words = [ctypes.c_char_p(a) if isinstance(a, bytes) else ctypes.c_long(a) for a in arguments]
    if libc.syscall(ctypes.c_long(number), *words) >= 0:
        got.append(label)
"""
_VERDICT = "\n('ESCAPED ' + ', '.join(got)) if got else 'blocked'\n"

# x86-64 numbers; on another machine they are other calls, as little allowed.
_SYSCALLS = {
    "open": (2, b"/etc/passwd", 0),
    "openat": (257, -100, b"/etc/passwd", 0),
    "openat2": (437, -100, b"/etc/passwd", bytes(24), 24),
    "creat": (85, b"/tmp/zz_sbx_creat", 0o644),
    "stat": (4, b"/etc/passwd", bytes(256)),
    "statx": (332, -100, b"/etc/passwd", 0, 0, bytes(512)),
    "access": (21, b"/etc/passwd", 0),
    "readlink": (89, b"/proc/self/exe", bytes(256), 256),
    "name_to_handle_at": (303, -100, b"/", bytes(256), bytes(8), 0),
    "open_by_handle_at": (304, 3, bytes(256), 0),
    "inotify_init": (294, 0),
    "fanotify_init": (300, 0, 0),
    "chdir": (80, b"/"),
    "unlink": (87, b"/tmp/zz"),
    "mkdir": (83, b"/tmp/zz_dir", 0o755),
    "symlink": (88, b"/etc", b"/tmp/zz_link"),
    "mknod": (133, b"/tmp/zz_null", 0o20666, 0x103),
    "chmod": (90, b"/tmp", 0o777),
    "socket inet": (41, 2, 1, 0),
    "socket unix": (41, 1, 1, 0),
    "socket netlink": (41, 16, 3, 0),
    "socket vsock": (41, 40, 1, 0),
    "socketpair dgram": (53, 1, 2, 0, bytes(8)),
    "socketpair seqpacket": (53, 1, 5, 0, bytes(8)),
    "accept4": (288, 3, 0, 0, 0),
    "clone": (56, 17, 0, 0, 0, 0),
    "clone thread": (56, 0x10F00, 0, 0, 0, 0),
    "clone3": (435, bytes(88), 88),
    "fork": (57,),
    "vfork": (58,),
    "execve": (59, b"/bin/true", 0, 0),
    "execveat": (322, -100, b"/bin/true", 0, 0, 0),
    "ptrace": (101, 16, 1, 0, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0),
    "process_vm_writev": (311, 1, 0, 0, 0, 0, 0),
    "pidfd_open": (434, 1, 0),
    "pidfd_getfd": (438, 3, 0, 0),
    "pidfd_send_signal": (424, 3, 0, 0, 0),
    "kill": (62, -1, 0),
    "tkill": (200, 1, 0),
    "tgkill": (234, 1, 1, 0),
    "rt_sigqueueinfo": (129, 1, 0, bytes(128)),
    "setpgid": (109, 0, 0),
    "setsid": (112,),
    "setuid": (105, 0),
    "setresuid": (117, 0, 0, 0),
    "setgroups": (116, 0, 0),
    "capset": (126, bytes(8), bytes(24)),
    "prctl": (157, 4, 1, 0, 0, 0),
    "arch_prctl": (158, 0x1001, 0),
    "modify_ldt": (154, 0, bytes(16), 16),
    "personality": (135, 0x0400000),
    "seccomp": (317, 0, 0, 0),
    "bpf": (321, 0, bytes(64), 64),
    "io_uring_setup": (425, 8, bytes(120)),
    "io_uring_enter": (426, 3, 1, 0, 0, 0, 0),
    "io_setup": (206, 8, bytes(8)),
    "userfaultfd": (323, 0),
    "perf_event_open": (298, bytes(128), 0, -1, -1, 0),
    "memfd_create": (319, b"x", 0),
    "memfd_secret": (447, 0),
    "shmget": (29, 1234, 4096, 0o1666),
    "semget": (64, 1234, 1, 0o1666),
    "msgget": (68, 1234, 0o1666),
    "mq_open": (240, b"/zz", 0o102, 0o666, 0),
    "add_key": (248, b"user", b"zz", b"x", 1, -3),
    "keyctl": (250, 0, -3, 1),
    "unshare": (272, 0x10000000),
    "setns": (308, 3, 0),
    "mount": (165, b"none", b"/tmp", b"tmpfs", 0, 0),
    "umount2": (166, b"/tmp", 2),
    "pivot_root": (155, b"/", b"/"),
    "chroot": (161, b"/"),
    "fsopen": (430, b"tmpfs", 0),
    "open_tree": (428, -100, b"/", 1),
    "reboot": (169, 0, 0, 0, 0),
    "kexec_load": (246, 0, 0, 0, 0),
    "init_module": (175, bytes(8), 8, b""),
    "sethostname": (170, b"x", 1),
    "uname": (63, bytes(512)),
    "syslog": (103, 10, 0, 0),
    "sysinfo": (99, bytes(256)),
    "settimeofday": (164, bytes(16), 0),
    "sched_setaffinity": (203, 1, 8, bytes([1] * 8)),
    "setpriority": (141, 0, 0, 10),
    "mlockall": (151, 3),
    "mbind": (237, 0, 0, 0, 0, 0, 0),
    "move_pages": (279, 1, 0, 0, 0, 0, 0),
    "pkey_mprotect": (329, 0, 0, 7, -1),
    "quotactl": (179, 0, 0, 0, 0),
    "landlock_create_ruleset": (444, 0, 0, 1),
    "setsockopt": (54, 3, 1, 7, bytes([0, 0, 1, 0]), 4),
    "sendmsg": (46, 3, bytes(64), 0x40),
    "recvmsg": (47, 3, bytes(64), 0x40),
    "splice": (275, 3, 0, 3, 0, 1, 2),
    "vmsplice": (278, 3, bytes(16), 0, 0),
    "timer_create": (222, 0, 0, bytes(8)),
    "ioctl TIOCSTI": (16, 3, 0x5412, b"x"),
    "ioctl SIOCSPGRP": (16, 3, 0x8902, bytes([1, 0, 0, 0])),
    "ioctl SIOCGIFCONF": (16, 3, 0x8912, bytes(64)),
    "fcntl F_SETOWN": (72, 3, 8, 1),
    "fcntl F_SETSIG": (72, 3, 10, 9),
    "fcntl F_SETPIPE_SZ": (72, 3, 1031, 1 << 20),
    "fcntl F_NOTIFY": (72, 3, 1026, 1),
    "sendto with an address": (44, 3, b"x", 1, 0x40, bytes([1, 0]) + b"/tmp/x", 10),
    "sendto MSG_OOB": (44, 3, b"x", 1, 0x41, 0, 0),
    "recvfrom MSG_OOB": (45, 3, bytes(8), 8, 0x41, 0, 0),
    "mmap exec": (9, 0, 4096, 7, 0x22, -1, 0),
    "mmap exec shared": (9, 0, 4096, 5, 0x21, -1, 0),
    "prlimit of another": (302, 1, 7, bytes(16), 0),
}

_SENT = """
import os, json
def frame(kind, body):
    data = (len(body) + 1).to_bytes(4, "little") + kind + body
    while data:
        data = data[os.write(3, data):]
"""

# fmt: off
ESCAPES: tuple[tuple[str, str, str], ...] = (
    *(
        (f"syscall_{name.replace(' ', '_')}", "DENIED: the call fails", f"{_RAW}raw({name!r}, {', '.join(map(repr, call))}){_VERDICT}")
        for name, call in _SYSCALLS.items()
    ),
    ("exec_mprotect_heap", "DENIED: a writable page does not become executable", _RAW + """
import mmap
page = mmap.mmap(-1, 4096)
at = ctypes.addressof(ctypes.c_char.from_buffer(page))
raw("mprotect", 10, at, 4096, 7)
raw("mprotect exec only", 10, at, 4096, 4)
""" + _VERDICT),
    ("exec_ctypes_callback", "CONTAINED: native callbacks may exist, new machine code may not", """
import ctypes
try:
    f = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)
    r = f()
except BaseException as e:
    r = type(e).__name__
"done"
"""),
    ("x32_numbers", "CONTAINED: the second interface of the kernel is shut", _RAW + """
for n in (0x40000000 + 257, 0x40000000 + 41, 0x40000000 + 520):
    raw(hex(n), n, -100, b"/etc/passwd", 0)
""" + _VERDICT),
    ("code_object_bad_bytecode", "CONTAINED: a crash of the interpreter stays in the run", """
def f(): pass
f.__code__ = f.__code__.replace(co_code=bytes([100, 255] * 40), co_stacksize=0, co_consts=())
f()
"""),
    ("code_object_null_deref", "CONTAINED: a crash of the interpreter stays in the run", """
import types
def g(): return x
g.__code__ = g.__code__.replace(co_names=())
g()
"""),
    ("memory_scan_for_secret", "DENIED: the host's heap was never copied here", """
import gc
want = "paeh-eht-ni-YRANAC"[::-1]
found = [v for o in gc.get_objects() for v in (o.values() if isinstance(o, dict) else ()) if isinstance(v, str) and v.startswith(want) and v != want]
"ESCAPED" if found else "no secret"
"""),
    ("guest_walk_for_paths_and_fds", "CONTAINED: what the stub holds is only the channel", """
import sys
channel = [o for o in __import__("gc").get_objects() if type(o).__name__ == "Channel"]
r = [type(v).__name__ for c in channel for v in vars(c).values()]
"ESCAPED" if any("CANARY" in str(v) for c in channel for v in vars(c).values()) else "walked"
"""),
    ("environment", "DENIED: no variable of the host is here", """
import os
"ESCAPED" if any("CANARY" in v for v in os.environ.values()) or len(os.environ) > 0 else "empty"
"""),
    ("proc_self_mem_and_environ", "DENIED: no file of /proc can be read or written", """
got = []
for path in ("/proc/self/environ", "/proc/self/maps", "/proc/self/mem", "/proc/@HOST_PID@/environ", "/proc/@HOST_PID@/mem", "/proc/1/cmdline"):
    for mode in ("rb", "r+b"):
        try:
            open(path, mode).close(); got.append(path)
        except OSError:
            pass
""" + _VERDICT),
    ("signals_to_the_host", "DENIED: no signal leaves the process", """
import os, signal
got = []
for pid in (@HOST_PID@, os.getppid(), -1, 0, 1):
    for send in (os.kill, os.killpg):
        try:
            send(pid, 0); got.append(str(pid))
        except (OSError, OverflowError):
            pass
try:
    signal.pidfd_send_signal(os.pidfd_open(@HOST_PID@), 0); got.append("pidfd")
except OSError:
    pass
""" + _VERDICT),
    ("priority_and_affinity", "DENIED: neither its own nor another's priority goes up", """
import os
got = []
for label, act in (("nice", lambda: os.nice(-10)), ("setpriority", lambda: os.setpriority(os.PRIO_PROCESS, @HOST_PID@, 19)),
                   ("affinity", lambda: os.sched_setaffinity(@HOST_PID@, {0})), ("scheduler", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))):
    try:
        act(); got.append(label)
    except OSError:
        pass
""" + _VERDICT),
    ("limits_raised", "DENIED: hard limits stay", """
import resource
got = []
for name in ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_CORE"):
    try:
        soft, hard = resource.getrlimit(getattr(resource, name))
        resource.setrlimit(getattr(resource, name), (hard + 1, hard + 1)); got.append(name)
    except (ValueError, OSError):
        pass
""" + _VERDICT),
    ("multiprocessing_and_asyncio_processes", "DENIED: no process by any library", """
import asyncio, multiprocessing, subprocess, concurrent.futures
got = []
for method in ("fork", "spawn", "forkserver"):
    try:
        p = multiprocessing.get_context(method).Process(target=print); p.start(); got.append(method)
    except BaseException:
        pass
try:
    list(concurrent.futures.ProcessPoolExecutor(1).map(abs, [1])); got.append("pool")
except BaseException:
    pass
try:
    await asyncio.create_subprocess_exec("/bin/true"); got.append("asyncio")
except BaseException:
    pass
""" + _VERDICT),
    ("threads", "LIMITED: no thread is started", """
import threading, _thread
n = 0
try:
    for _ in range(1000):
        _thread.start_new_thread(lambda: None, ()); n += 1
except RuntimeError:
    pass
"ESCAPED" if n else "none"
"""),
    ("asyncio_network", "DENIED: no connection and no server by asyncio", """
import asyncio
got = []
for label, make in (("tcp", lambda: asyncio.open_connection("127.0.0.1", @TCP_PORT@)), ("unix", lambda: asyncio.open_unix_connection("@UNIX_PATH@")),
                    ("serve", lambda: asyncio.start_server(print, "127.0.0.1", 0))):
    try:
        made = await make()
        if getattr(made, "sockets", True): got.append(label)
    except BaseException:
        pass
""" + _VERDICT),
    ("descriptors_made_from_numbers", "DENIED: no descriptor but its own is there", """
import os, socket
got = []
for fd in range(4, 1024):
    for act in (lambda: os.read(fd, 1), lambda: os.write(fd, b"x"), lambda: os.dup(fd), lambda: socket.socket(fileno=fd)):
        try:
            act(); got.append(fd)
        except OSError:
            pass
('ESCAPED ' + str(got)) if got else 'blocked'
"""),
    ("std_descriptors_are_null", "CONTAINED: 0 to 2 lead nowhere", """
import os
os.write(1, b"ESCAPED to the terminal"); os.write(2, b"ESCAPED")
r = os.read(0, 10)
len(r)
"""),
    ("descriptor_table_filled", "CONTAINED: full tables hurt only this run", """
import os
held = []
try:
    while True: held.append(os.pipe())
except OSError:
    pass
len(held) < 64
"""),
    ("kernel_memory_by_pipes", "CONTAINED: buffers outside the address space stay small", """
import os, socket
held = []
try:
    while True:
        a, b = socket.socketpair(); a.setblocking(False); held.append((a, b))
        try:
            while True: a.send(b"x" * 65536)
        except BlockingIOError:
            pass
except OSError:
    pass
len(held) < 64
"""),
    ("memory_by_mmap", "LIMITED: anonymous and shared maps count", """
import mmap
held = []
try:
    for _ in range(64): held.append(mmap.mmap(-1, 64 * 1024 * 1024))
    r = "ESCAPED mapped 4 GiB"
except (OSError, MemoryError):
    r = "refused"
assert r != "refused", "refused"
"""),
    ("memory_by_noreserve", "LIMITED: a reservation counts too", _RAW + """
libc.mmap.restype = ctypes.c_void_p
r = libc.mmap(None, ctypes.c_size_t(1 << 40), 3, 0x4022, -1, 0)
if r not in (None, ctypes.c_void_p(-1).value): got.append("1 TiB")
assert got, "refused"
"""),
    ("shared_lists_expand", "LIMITED: a small value that would be written out exponentially", """
x = ["y" * 10]
for _ in range(40): x = [x, x]
x
"""),
    ("range_as_result", "LIMITED: a range is not unrolled without bound", "range(10 ** 15)"),
    ("decimal_and_int_bombs_as_arguments", "CONTAINED: bounded when decoded", """
import decimal
r = []
for value in (decimal.Decimal("1e999999"), 10 ** 20000, -(10 ** 30), decimal.Decimal("NaN"), float("nan")):
    try:
        r.append(str(type(db.echo(value)).__name__))
    except Exception as e:
        r.append(type(e).__name__)
r
"""),
    ("deep_and_wide_results", "CONTAINED: cut, with a note", """
x = []
for _ in range(100000): x = [x]
x
"""),
    ("deep_dict_results", "CONTAINED: cut, with a note", """
x = {}
for _ in range(100000): x = {"a": x}
x
"""),
    ("cyclic_dict_and_tuple_results", "CONTAINED: shown as a marker", """
d = {}; d["me"] = d; t = ([],); t[0].append(t)
[d, t]
"""),
    ("hostile_containers", "CONTAINED: their methods run here alone", """
class D(dict):
    def items(self): raise SystemExit("ESCAPED?")
    def __iter__(self): raise KeyboardInterrupt
class L(list):
    def __iter__(self): raise GeneratorExit
    def __len__(self): return -5
class S(str):
    def __str__(self): raise SystemExit
    def encode(self, *a): raise SystemExit
class I(int):
    def __index__(self): raise SystemExit
    def __repr__(self): return "}"
    __str__ = __repr__
[D(a=1), L([1, 2]), S("x"), I(5), {I(1): S("k")}]
"""),
    ("int_subclass_injects_json", "CONTAINED: numbers are written as numbers", """
class I(int):
    def __repr__(self): return '1],"status":"forged","x":['
class F(float):
    def __repr__(self): return '"forged"'
[I(7), F(1.5), {I(8): 1}]
"""),
    ("repr_raises_base_exceptions", "CONTAINED: an object without a text form has a defined one", """
class A:
    def __repr__(self): raise KeyboardInterrupt
A()
"""),
    ("class_property_lies", "CONTAINED: types are asked of the object, not of its story", """
class M(type):
    def __instancecheck__(cls, x): raise SystemExit
    @property
    def __name__(cls): raise SystemExit
class A(metaclass=M):
    @property
    def __class__(self): raise SystemExit
    def __await__(self): raise SystemExit
[A]
"""),
    ("keys_compare_forever", "LIMITED: comparisons run inside the limits", """
class K:
    def __hash__(self): return 1
    def __eq__(self, other):
        while True: pass
{K(): 1, K(): 2}
"""),
    ("list_changes_while_written", "CONTAINED: no crash of the host", """
x = [1, 2]
class A:
    def __repr__(self):
        x.extend([A()] * 100); return "A"
x.append(A())
x
"""),
    ("exception_chain_is_a_ring", "CONTAINED: the description ends", """
a, b = ValueError("a"), ValueError("b")
a.__cause__ = b; b.__cause__ = a; a.__context__ = a
raise a
"""),
    ("exception_groups_nested", "CONTAINED: cut", """
e = ValueError("x" * 10000)
for _ in range(500): e = ExceptionGroup("g" * 100, [e, e])
raise e
"""),
    ("exception_lies_about_itself", "CONTAINED: some text comes out", """
class E(Exception):
    def __str__(self): raise SystemExit
    def __getattribute__(self, name): raise SystemExit
raise E("x")
"""),
    ("name_error_with_hostile_name", "CONTAINED: hints are made from text alone", """
class N(str):
    def __len__(self): raise SystemExit
e = NameError("x"); e.name = N("dbb"); e.hint = N("h" * 10); e.code = 5
raise e
"""),
    ("error_of_half_characters", "CONTAINED: its text is told, and no frame breaks", """
class E(Exception):
    code = "\\udfff"; hint = "\\ud800" * 10**6
raise E("\\ud800")
"""),
    ("error_with_a_huge_code", "CONTAINED: a code that is no name is left out", """
import sys
sys.exit("x" * 10**7)
"""),
    ("syntax_error_forged", "CONTAINED: forged line numbers are data", """
e = SyntaxError("x"); e.filename = "<code>"; e.lineno = 10 ** 30; e.msg = object()
raise e
"""),
    ("exit_without_a_word", "CONTAINED: reported as a crash", "import os\nos._exit(0)"),
    ("abort", "CONTAINED: reported as a crash", "import os\nos.abort()"),
    ("exit_by_signal_to_itself", "CONTAINED: reported as a crash", "import signal\nsignal.raise_signal(signal.SIGTERM)\n'went on'"),
    ("core_recursion", "CONTAINED: at worst the process dies", """
import sys
sys.setrecursionlimit(10 ** 9)
class A:
    def __getattr__(self, name): return getattr(self, name + "x")
def f(): return f() + 1
f()
"""),
    ("compile_bombs", "CONTAINED: at worst the process dies", """
for source in ("-" * 200000 + "1", "(" * 150 + ")" * 150, "a" + ".b" * 100000, "[" * 99 + "]" * 99, "x = " + "lambda:" * 3000 + "1"):
    try:
        compile(source, "x", "exec")
    except (SyntaxError, MemoryError, RecursionError, ValueError):
        pass
"compiled"
"""),
    ("signal_handlers_storm", "CONTAINED: timers and handlers end with the run", """
import signal
def again(*a): raise KeyboardInterrupt
signal.signal(signal.SIGALRM, again)
signal.setitimer(signal.ITIMER_REAL, 0.0001, 0.0001)
while True:
    try:
        while True: pass
    except BaseException:
        pass
"""),
    ("finish_is_interrupted", "CONTAINED: interrupting the end hurts this run alone", """
import signal, sys
signal.signal(signal.SIGALRM, lambda *a: sys.stdout.write("z"))
signal.setitimer(signal.ITIMER_REAL, 0.00005, 0.00005)
[list(range(50)) for _ in range(2000)]
"""),
    ("trace_and_profile_hooks", "CONTAINED: hooking the stub breaks this run alone", """
import sys
def hook(frame, event, arg):
    if "duralite" in frame.f_code.co_filename: frame.f_locals.clear(); raise SystemExit
    return hook
sys.settrace(hook); sys.setprofile(hook)
1
"""),
    ("stub_rewritten", "CONTAINED: a rewritten stub gains nothing", """
import sys
for name, module in list(sys.modules.items()):
    if name.startswith("duralite_guest"):
        for key in list(vars(module)):
            if not key.startswith("__"): setattr(module, key, lambda *a, **k: "ESCAPED?")
5
"""),
    ("builtins_replaced_everywhere", "CONTAINED: the next run has its own", """
import json, asyncio, builtins, sys
real = json.__builtins__ if isinstance(json.__builtins__, dict) else vars(json.__builtins__)
for name in ("len", "dict", "list", "str", "isinstance", "type", "getattr", "print", "Exception"):
    real[name] = lambda *a, **k: 666
5
"""),
    ("modules_and_importers_replaced", "CONTAINED: the next run has its own", """
import sys, importlib
class Hook:
    def find_spec(self, *a): raise SystemExit("ESCAPED?")
sys.meta_path.insert(0, Hook()); sys.path_hooks.insert(0, Hook()); sys.path.append("/usr/lib")
sys.modules["json"] = None; sys.modules["duralite_guest"] = None
try:
    importlib.import_module("antigravity"); r = "ESCAPED imported from disk"
except BaseException as e:
    r = type(e).__name__
r
"""),
    ("library_module_from_disk", "DENIED: nothing is read from disk", """
import importlib.util, importlib.machinery
got = []
for path in ("/usr/lib/python3/dist-packages/apt_pkg.py", "/etc/passwd", "@CANARY_FILE@"):
    try:
        importlib.machinery.SourceFileLoader("x", path).load_module(); got.append(path)
    except BaseException:
        pass
    try:
        importlib.machinery.ExtensionFileLoader("x", path).create_module(importlib.util.spec_from_file_location("x", path)); got.append(path)
    except BaseException:
        pass
""" + _VERDICT),
    ("sqlite_files_and_extensions", "DENIED: a database of its own stays in memory", """
import sqlite3
got = []
c = sqlite3.connect(":memory:")
for sql in ("attach '@CANARY_DB@' as x", "attach '/tmp/zz_sbx.db' as y", "vacuum into '/tmp/zz_sbx.db'"):
    try:
        c.execute(sql).fetchall(); c.execute("select v from x.secret"); got.append(sql)
    except sqlite3.Error:
        pass
try:
    c.enable_load_extension(True); c.load_extension("/lib/x86_64-linux-gnu/libc.so.6"); got.append("extension")
except (sqlite3.Error, AttributeError):
    pass
""" + _VERDICT),
    ("frames_unknown_kind", "CONTAINED: a protocol error", _SENT + "frame(b'Z', b'{}')\nwhile True: pass"),
    ("frames_empty", "CONTAINED: a protocol error", _SENT + "os.write(3, bytes(4))\nwhile True: pass"),
    ("frames_longest_header", "CONTAINED: a protocol error", _SENT + "os.write(3, b'\\xff\\xff\\xff\\xffC')\nwhile True: pass"),
    ("frames_half", "LIMITED: half a frame waits for its deadline, nothing else does", _SENT + "os.write(3, (1000).to_bytes(4, 'little') + b'C[')\nwhile True: pass"),
    ("frames_not_json", "CONTAINED: a protocol error", _SENT + "frame(b'C', b'\\xff\\xfe')\nwhile True: pass"),
    ("frames_call_wrong_shape", "CONTAINED: a protocol error", _SENT + "frame(b'C', b'[0, \"db.query\", {}, []]')\nwhile True: pass"),
    ("frames_call_wrong_index", "CONTAINED: a protocol error", _SENT + "frame(b'C', b'[7, \"db.query\", [], {}]')\nwhile True: pass"),
    ("frames_call_negative_index", "CONTAINED: a protocol error", _SENT + "frame(b'C', b'[-1, \"db.query\", [], {}]')\nwhile True: pass"),
    ("frames_call_float_index", "CONTAINED: a protocol error", _SENT + "frame(b'C', b'[0.0, \"db.query\", [], {}]')\nwhile True: pass"),
    ("frames_call_of_private_names", "DENIED: only names on the list are served", _SENT + """
for i, name in enumerate(["close", "secret", "__class__", "_serve", "db.__init__", "tools", ""]):
    frame(b'C', json.dumps([i, name, [], {}]).encode())
import time; time.sleep(0.1)
data = os.read(3, 65536)
"ESCAPED" if b"CANARY" in data or b'"ok"' in data else "refused"
"""),
    ("frames_bad_tags", "CONTAINED: a protocol error", _SENT + "frame(b'C', b'[0, \"db.echo\", [{\"$bytes\": 5}], {}]')\nwhile True: pass"),
    ("frames_huge_int_tag", "CONTAINED: bounded when decoded", _SENT + "frame(b'C', b'[0, \"db.echo\", [{\"$int\": \"' + b'f' * 1000000 + b'\"}], {}]')\nwhile True: pass"),
    ("frames_decimal_tag", "CONTAINED: bounded when decoded", _SENT + "frame(b'C', b'[0, \"db.echo\", [{\"$decimal\": \"' + b'9' * 1000000 + b'\"}], {}]')\nwhile True: pass"),
    ("frames_deep_report", "CONTAINED: a protocol error", _SENT + "frame(b'D', b'{\"status\":\"ok\",\"value\":' + b'[' * 900 + b']' * 900 + b'}')\nwhile True: pass"),
    ("frames_deep_dicts", "CONTAINED: a protocol error", _SENT + "frame(b'D', b'{\"status\":\"ok\",\"value\":' + b'{\"a\":' * 900 + b'1' + b'}' * 900 + b'}')\nwhile True: pass"),
    ("frames_forged_report", "CONTAINED: a forged report is the program's own loss", _SENT + "frame(b'D', b'{\"status\":\"ok\",\"value\":\"forged\",\"note\":5,\"limit\":[],\"usage\":[1e400,\"x\"]}')\nwhile True: pass"),
    ("frames_forged_status", "CONTAINED: a protocol error", _SENT + "frame(b'D', b'{\"status\":\"cancelled\"}')\nwhile True: pass"),
    ("frames_forged_error", "CONTAINED: cut and checked", _SENT + "frame(b'D', json.dumps({'status': 'error', 'error': {'type': 'x' * 50000, 'message': 5, 'line': 10 ** 40, 'hint': [], 'traceback': {}}}).encode())\nwhile True: pass"),
    ("frames_report_too_large", "LIMITED: the bound is the host's", _SENT + "frame(b'D', b'{\"status\":\"ok\",\"value\":\"' + b'x' * 3000000 + b'\"}')\nwhile True: pass"),
    ("frames_output_flood", "CONTAINED: cut by the host too", _SENT + "for _ in range(2000): frame(b'O', b'x' * 100000)\n1"),
    ("frames_output_flood_of_bytes", "LIMITED: an endless flood is ended by the host", _SENT + "while True: os.write(3, b'\\x02\\0\\0\\0Ox' * 1000)"),
    ("frames_forget_flood", "CONTAINED: a call is forgotten once", _SENT + "while True: os.write(3, b'\\x02\\0\\0\\0X1' * 1000)"),
    ("frames_output_broken_text", "CONTAINED: replaced", _SENT + "frame(b'O', b'\\xff\\xfe\\x00\\x1b[31m\\xed\\xa0\\x80')\n1"),
    ("frames_forget_garbage", "CONTAINED: a protocol error", _SENT + "frame(b'X', b'x' * 100000)\nwhile True: pass"),
    ("frames_forget_unknown", "CONTAINED: nothing happens", _SENT + "for i in range(1000): frame(b'X', str(i).encode())\n1"),
    ("frames_limit_forged", "CONTAINED: a limit it may claim, or a protocol error", _SENT + "frame(b'L', b'calls')\nwhile True: pass"),
    ("frames_in_flight_flood", "LIMITED: open calls are bounded by the host", _SENT + """
for i in range(100000): frame(b'C', json.dumps([i, "tools.slow", [], {}]).encode())
while True: pass
"""),
    ("frames_calls_without_reading", "LIMITED: replies that nobody reads do not pile up", _SENT + """
for i in range(100000): frame(b'C', json.dumps([i, "db.echo", ["x" * 20000], {}]).encode())
while True: pass
"""),
    ("frames_after_the_report", "CONTAINED: what follows is not read", _SENT + """
frame(b'D', b'{"status":"ok","value":1}')
for i in range(1000): frame(b'C', json.dumps([i, "db.query", ["select 1"], {}]).encode())
2
"""),
    ("channel_shut_down", "CONTAINED: the run ends at once", "import socket\nsocket.socket(fileno=3).shutdown(2)\nwhile True: pass"),
    ("channel_replaced", "CONTAINED: the run ends at once", "import os\nr, w = os.pipe()\nos.dup2(r, 3)\nwhile True: pass"),
    ("channel_stolen_replies", "CONTAINED: reading the channel starves this run alone", """
import os, threading
async def call(): return await tools.echo(1)
import asyncio
t = asyncio.ensure_future(call())
await asyncio.sleep(0)
await asyncio.sleep(0)
os.read(3, 1)
await t
"""),
    ("gather_flood_of_slow_calls", "LIMITED: open calls are cancelled at the end", """
import asyncio
await asyncio.gather(*[tools.slow(i) for i in range(5000)])
"""),
    ("calls_in_an_endless_loop", "LIMITED: the number of calls", """
while True:
    try: db.echo(1)
    except BaseException: pass
"""),
    ("sleep_in_small_pieces", "LIMITED: the deadline is a timer of its own", """
import time
while True:
    try: time.sleep(0.001)
    except BaseException: pass
"""),
    ("output_by_tiny_writes", "LIMITED: short writes are a flood too", """
import sys
while True: sys.stdout.write("")
"""),
    ("output_flood_swallowing_everything", "LIMITED: the flood cannot be caught", """
while True:
    try: print("x" * 1000)
    except BaseException: pass
"""),
    ("output_through_hostile_text", "CONTAINED: text is taken as text", """
class S(str):
    def __len__(self): return -10 ** 9
    def encode(self, *a): return b"x" * 10 ** 9
    def endswith(self, *a): return False
    def __getitem__(self, i): return "y" * 10 ** 9
import sys
sys.stdout.write(S("hello\\n"))
1
"""),
    ("regex_backtracking", "LIMITED: one long C call is ended too", "import re\nre.match(r'(a+)+$', 'a' * 64 + 'b')"),
    ("big_power", "LIMITED: one long C call is ended too", "len(bin(7 ** (10 ** 9)))"),
    ("sum_of_a_huge_range", "LIMITED: one long C call is ended too", "sum(range(10 ** 13))"),
    ("zip_bomb", "LIMITED: memory", """
import zlib
d = zlib.compress(b"\\0" * 50_000_000)
x = [zlib.decompress(d) for _ in range(100)]
"""),
    ("finalisers_at_the_end", "CONTAINED: nothing runs after the report", """
import atexit, weakref, threading
class A:
    def __del__(self):
        while True: pass
a = A(); weakref.finalize(a, lambda: [1 for _ in iter(int, 1)])
atexit.register(lambda: [1 for _ in iter(int, 1)])
threading._register_atexit(lambda: [1 for _ in iter(int, 1)])
"done"
"""),
    ("pending_tasks_at_the_end", "CONTAINED: nothing runs after the report", """
import asyncio
async def forever():
    while True:
        try: await asyncio.sleep(10)
        except BaseException: pass
t = asyncio.create_task(forever())
await asyncio.sleep(0)
"done"
"""),
)
# fmt: on
