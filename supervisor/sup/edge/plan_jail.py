"""The cage in which a ``plan.sh`` is read: a program of its own (``python -I -S plan_jail.py``).

It imports the standard library alone, because it is executed by path and never imported by the
supervisor. Three processes: the *keeper* (told to die with the supervisor's thread; sweeps what is
left), the *init* of a private pid namespace (when it ends, the kernel kills whatever the plan
started) and the shell. What the cage consists of, each layer on its own where another one is not to
be had:

- network: a network namespace without interfaces, and a seccomp filter that refuses ``socket``;
- files: every mount read-only in a private mount namespace with a small tmpfs at ``/dev/shm``,
  else Landlock;
- rights: as root a user id that nobody has, keeping only the capability to read
  (``CAP_DAC_READ_SEARCH``); nobody gets new privileges;
- size: CPU seconds, address space, file size, open files, processes.

Without any closed network, or without anything that keeps files from being written, it refuses
(exit ``REFUSED``): containers that forbid namespaces still have seccomp and Landlock. Sources:
namespaces(7), mount_setattr(2), landlock(7), seccomp(2), capabilities(7), kernel/fork.c for
RLIMIT_NPROC.
"""

import contextlib
import ctypes
import json
import os
import platform
import resource
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from typing import Any, NoReturn

REFUSED = 97
"""Exit code: no cage can be built here; the reason is on stderr."""

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 1 << 18
PR_SET_PDEATHSIG, PR_SET_KEEPCAPS, PR_SET_SECCOMP = 1, 8, 22
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 36, 38, 47
CAP_DAC_READ_SEARCH = 2
SYS_MOUNT_SETATTR = 442
SYS_LANDLOCK_CREATE, SYS_LANDLOCK_ADD, SYS_LANDLOCK_RESTRICT = 444, 445, 446
AT_RECURSIVE, MOUNT_ATTR_RDONLY = 0x8000, 1
NOBODY_BASE = 2_000_000_000
"""User ids from here on belong to nobody; one per process id keeps the process limits of two cages
apart."""
SWEEP_S = 2.0
# socket, io_uring_setup (its rings can open sockets), ptrace, unshare, setns: by machine. Then
# kill, tkill, tgkill, pidfd_send_signal: where the plan would see processes that are not its own.
REFUSED_CALLS = {
    "x86_64": (0xC000003E, (41, 425, 101, 272, 308), (62, 200, 234, 424)),
    "aarch64": (0xC00000B7, (198, 425, 117, 97, 268), (129, 130, 131, 424)),
}

libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def main(config: dict[str, Any]) -> int:
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    spaces = _unshare()
    uid = NOBODY_BASE + os.getpid()
    init = os.fork()
    if init == 0:
        _run(lambda: _init(config, spaces, uid))
    try:
        return _exit_code(os.waitpid(init, 0)[1])
    finally:
        _sweep()


def _run(body: Callable[[], int]) -> NoReturn:
    """Run ``body`` in a child that never returns; a mistake is one line and a code."""
    code = 1
    try:
        code = body()
    except OSError as error:
        sys.stderr.write(f"sup: {error.strerror or error}\n")
        code = REFUSED
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)


def _unshare() -> bool:
    """Enter new namespaces; False where that is forbidden."""
    flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:  # without the right to it, another user namespace would have no nobody either
        return int(libc.unshare(flags)) == 0
    if libc.unshare(flags | CLONE_NEWUSER) != 0:
        return False
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    return True


def _init(config: dict[str, Any], spaces: bool, uid: int) -> int:
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    read_only = spaces and _close_mounts()
    shell = os.fork()
    if shell == 0:
        _run(lambda: _shell(config, spaces, read_only, uid))
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == shell:
            return _exit_code(status)


def _close_mounts() -> bool:
    """Make every mount read-only; True when that worked."""
    if libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        return False
    attributes = struct.pack("=QQQQ", MOUNT_ATTR_RDONLY, 0, 0, 0)
    if libc.syscall(SYS_MOUNT_SETATTR, -100, b"/", AT_RECURSIVE, attributes, len(attributes)) != 0:
        return False
    # For here-documents that are too long for a pipe; without it they fail, nothing else does.
    libc.mount(
        b"tmpfs",
        b"/dev/shm",
        b"tmpfs",
        MS_NOSUID | MS_NODEV | MS_NOEXEC,
        b"size=4m,nr_inodes=64,mode=1777",
    )
    return True


def _shell(config: dict[str, Any], spaces: bool, read_only: bool, uid: int) -> NoReturn:
    os.setsid()
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    for name, bound in config["limits"].items():
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(number, (bound, bound))
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if config["fd"] != 3:
        os.dup2(config["fd"], 3)
    os.set_inheritable(3, True)
    os.closerange(4, 256)
    try:
        os.chdir(config["directory"])
    except OSError as error:
        raise OSError(error.errno, f"{config['directory']}: {error.strerror}") from None
    was_root = os.geteuid() == 0
    if was_root:
        _become_nobody(uid)
    _check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    # Nobody's own rights are a last defence: what anybody may write, such as /tmp, stays open.
    if not read_only and not _landlock() and not was_root:
        raise OSError(1, "neither a private mount namespace nor Landlock is to be had")
    if not _seccomp(spaces) and not spaces:
        raise OSError(1, "neither a network namespace nor a seccomp filter is to be had")
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    try:
        os.execve(config["argv"][0], config["argv"], config["environment"])
    except OSError as error:
        raise OSError(error.errno, f"{config['argv'][0]}: {error.strerror}") from None


def _become_nobody(uid: int) -> None:
    """Take a user id of nobody's and keep the right to read: plans may lie in a private place."""
    libc.prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)
    with contextlib.suppress(PermissionError):
        os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    header = struct.pack("=Ii", 0x20080522, 0)
    reading = 1 << CAP_DAC_READ_SEARCH
    data = struct.pack("=6I", reading, reading, reading, 0, 0, 0)
    if libc.capset(header, data) != 0:  # not ours to keep, in some containers
        libc.capset(header, struct.pack("=6I", *[0] * 6))
    else:
        libc.prctl(PR_CAP_AMBIENT, 2, CAP_DAC_READ_SEARCH, 0, 0)


def _landlock() -> bool:
    """Refuse every change of files but writing to devices; True when that worked."""
    abi = libc.syscall(SYS_LANDLOCK_CREATE, None, 0, 1)
    if abi < 1:
        return False
    rights = sum(1 << bit for bit in (1, *range(4, 13 if abi < 2 else 14 if abi < 3 else 15)))
    ruleset = libc.syscall(SYS_LANDLOCK_CREATE, struct.pack("=Q", rights), 8, 0)
    if ruleset < 0:
        return False
    devices = os.open("/dev", os.O_PATH | os.O_CLOEXEC)
    libc.syscall(SYS_LANDLOCK_ADD, ruleset, 1, struct.pack("=Qi", 1 << 1, devices), 0)
    done = int(libc.syscall(SYS_LANDLOCK_RESTRICT, ruleset, 0)) == 0
    os.close(devices)
    os.close(ruleset)
    return done


def _seccomp(spaces: bool) -> bool:
    """Refuse the system calls that open a network or a way out; True when that worked.

    ``spaces``: a pid namespace hides the processes of others, so that signals are harmless.
    """
    known = REFUSED_CALLS.get(platform.machine())
    if known is None:
        return False
    machine, always, signals = known
    calls = always if spaces else always + signals
    load, equal, above, give = 0x20, 0x15, 0x35, 0x06
    allow, refuse, kill = 0x7FFF0000, 0x00050001, 0x80000000  # 1: EPERM
    program = [
        (load, 0, 0, 4),  # seccomp_data.arch
        (equal, 1, 0, machine),
        (give, 0, 0, kill),
        (load, 0, 0, 0),  # seccomp_data.nr
        (above, len(calls) + 1, 0, 0x40000000),  # x32 has numbers of its own
        *((equal, len(calls) - place, 0, call) for place, call in enumerate(calls)),
        (give, 0, 0, allow),
        (give, 0, 0, refuse),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
    # struct sock_fprog: a length, padding, a pointer.
    filter_ = struct.pack("@HP", len(program), ctypes.addressof(code))
    return int(libc.prctl(PR_SET_SECCOMP, 2, filter_, 0, 0)) == 0


def _sweep() -> None:
    """Kill and reap every descendant; they are all ours, for we adopt orphans."""
    deadline = time.monotonic() + SWEEP_S
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid:
            continue
        with open(f"/proc/self/task/{os.getpid()}/children", "rb") as file:
            for child in file.read().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
        select.select([], [], [], 0.005)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
