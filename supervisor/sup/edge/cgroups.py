"""cgroup v2: one group per service in the subtree that is ours, its limits, and the killing of it.

A subtree is ours when the service manager delegated it (systemd marks it with an extended
attribute, ``Delegate=yes``), when we are at the root of a cgroup namespace that is not the host's
(a container), or when ``SUP_CGROUP`` names a directory; ``SUP_CGROUP=off`` uses none. Anything
else belongs to somebody else and is left alone. Without one, trees are found through ``/proc``.

Layout: ``sup-NAME`` per service and ``sup.own`` for launcher and supervisor, because a group that
hands controllers on may have no processes itself. Not every host has all controllers; a limit
that can't be set is returned as a warning. The launcher uses this file, so it imports next to
nothing. Sources: cgroups(7), Documentation/admin-guide/cgroup-v2, systemd.resource-control(5).
"""

from __future__ import annotations

import os

from sup.edge.process_tree import tag_of_mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "SUP_CGROUP"
OWN = "sup.own"
CONTROLLERS = ("memory", "pids", "cpu")
FILES = {
    "memory_max": "memory.max",
    "memory_high": "memory.high",
    "tasks_max": "pids.max",
    "cpu_weight": "cpu.weight",
}
TAG_DIGITS = 16
"""Hexadecimal digits of a tag (``process_tree``), by which our directory is named."""
DEPTH_MAX = 8
"""How deep groups that a service made in its own are removed."""
GROUPS_MAX = 4096


HOST_NAMESPACE = "cgroup:[4026531835]"
"""What the first cgroup namespace of a machine is always called (PROC_CGROUP_INIT_INO)."""


def delegated(environment: Mapping[str, str], state_dir: str) -> str:
    """The directory of the subtree that is ours, or empty.

    Where several supervisors may have the same one it is a directory below, named for the
    state directory.
    """
    name = f"/sup.{tag_of_mark(os.path.realpath(state_dir)):x}"
    given = environment.get(VARIABLE, "")
    if given == "off":
        return ""
    if given:
        return given + name if _usable(given) else ""
    mount = _mount()
    path = _own_path()
    if not mount or path is None:
        return ""
    path = home(path, name)
    directory = mount + path.rstrip("/")
    if not _usable(directory):
        return ""
    if any(_attribute(directory, name) for name in ("user.delegate", "trusted.delegate")):
        return directory
    try:
        namespace = os.readlink("/proc/self/ns/cgroup")
    except OSError:
        return ""
    return directory + name if path == "/" and namespace != HOST_NAMESPACE else ""


def home(path: str, name: str) -> str:
    """Where a launcher was before it moved itself: after an upgrade it is in its own group."""
    path = path.removesuffix(f"/{OWN}") if path.endswith(f"/{OWN}") else path
    return path.removesuffix(name) or "/"


class Cgroups:
    """The groups of the services below ``root``; empty ``root``: there are none."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.controllers: frozenset[str] = frozenset()
        name = os.path.basename(root).removeprefix("sup.")
        self.made = len(name) == TAG_DIGITS and not name.strip("0123456789abcdef")
        """Whether ``root`` is a directory of ours in what was given; a unit's own is systemd's."""

    def begin(self) -> str:
        """Move this process out of the way and hand controllers on; what could not be done, or
        empty.
        """
        if not self.root:
            return ""
        own = f"{self.root}/{OWN}"
        try:
            os.makedirs(own, exist_ok=True)
            _write(f"{own}/cgroup.procs", "0")
            there = set(_read(f"{self.root}/cgroup.controllers").split())
        except OSError as error:
            self.root = ""
            return f"cgroup {own} can't be used: {error.strerror}"
        problem = ""
        above = os.path.dirname(self.root)
        for name in CONTROLLERS if self.made else ():
            # Ours may be below what was delegated; there it may need handing on first.
            if name not in there and name in _read(f"{above}/cgroup.controllers").split():
                try:
                    _write(f"{above}/cgroup.subtree_control", f"+{name}")
                    there.add(name)
                except OSError as error:
                    problem = f"controller {name} can't be handed on: {error.strerror}"
        for name in CONTROLLERS:
            if name in there:
                try:
                    _write(f"{self.root}/cgroup.subtree_control", f"+{name}")
                except OSError as error:
                    problem = f"controller {name} can't be handed on: {error.strerror}"
        self.controllers = frozenset(_read(f"{self.root}/cgroup.subtree_control").split())
        return problem

    def open(self, name: str, limits: Mapping[str, int | None]) -> tuple[str, int, list[str]]:
        """Make the group of ``name``: its directory, its open ``cgroup.procs``, and warnings.

        The caller closes the descriptor. Raises ``OSError``.
        """
        directory = f"{self.root}/sup-{name}"
        os.makedirs(directory, exist_ok=True)
        warnings = []
        for key, file in FILES.items():
            value = limits.get(key)
            path = f"{directory}/{file}"
            if not os.path.exists(path):
                if value is not None:
                    warnings.append(f"{key} is not enforced: no controller {file.split('.')[0]}")
                continue
            try:
                _write(path, _DEFAULTS[key] if value is None else str(value))
            except OSError as error:
                warnings.append(f"{key} is not enforced: {error.strerror}")
        return directory, os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC), warnings

    def end(self) -> None:
        """Go back to where the subtree is, and remove what is ours of it; systemd removes a
        unit's by itself.
        """
        if self.root and self.made:
            try:
                _write(f"{os.path.dirname(self.root)}/cgroup.procs", "0")
            except OSError:
                return
            remove(f"{self.root}/{OWN}")
            remove(self.root)


_DEFAULTS = {"memory_max": "max", "memory_high": "max", "tasks_max": "max", "cpu_weight": "100"}


def kill(directory: str) -> None:
    """SIGKILL everything in the group and below, in one act of the kernel (5.14 and newer)."""
    try:
        _write(f"{directory}/cgroup.kill", "1")
    except OSError:
        # An older kernel: one by one; who asks looks again until nobody is left.
        for group in _below(directory):
            for pid in _read(f"{group}/cgroup.procs").split():
                try:
                    os.kill(int(pid), 9)
                except OSError:
                    continue


def populated(directory: str) -> bool:
    """Whether a process is in the group or below that is not dead."""
    return "populated 1" in _read(f"{directory}/cgroup.events")


def members(directory: str) -> list[int]:
    """The pids in the group and below; at most a few thousand are read."""
    found = [int(p) for g in _below(directory) for p in _read(f"{g}/cgroup.procs").split()]
    return found[:GROUPS_MAX]


def remove(directory: str) -> bool:
    """Remove the group with the empty groups below; False when something is left in it."""
    done = True
    for group in reversed(_below(directory)):
        try:
            os.rmdir(group)
        except FileNotFoundError:
            continue
        except OSError:
            done = False
    return done


def _below(directory: str) -> list[str]:
    """The group and those below it, parents first, within limits."""
    found, level = [directory], [directory]
    for _ in range(DEPTH_MAX):
        deeper: list[str] = []
        for group in level:
            try:
                with os.scandir(group) as entries:
                    deeper += [e.path for e in entries if e.is_dir(follow_symlinks=False)]
            except OSError:
                continue
        level = deeper
        found += level
        if not level or len(found) > GROUPS_MAX:
            break
    return found


def _usable(directory: str) -> bool:
    return os.path.exists(f"{directory}/cgroup.procs") and os.access(directory, os.W_OK | os.X_OK)


def _mount() -> str:
    """Where cgroup2 is mounted: the first mount of it."""
    for line in _read("/proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            return before.split()[4].replace("\\040", " ")
    return ""


def _own_path() -> str | None:
    for line in _read("/proc/self/cgroup").splitlines():
        if line.startswith("0::"):
            return line[3:]
    return None


def _attribute(directory: str, name: str) -> bool:
    try:
        return os.getxattr(directory, name) == b"1"
    except OSError:
        return False


def _read(path: str) -> str:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        data = b""
        while len(data) < 1 << 20 and (more := os.read(fd, 65536)):
            data += more
        return data.decode("utf-8", "replace")
    except OSError:
        return ""
    finally:
        os.close(fd)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode("ascii"))
    finally:
        os.close(fd)
