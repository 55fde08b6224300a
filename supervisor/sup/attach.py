"""A supervisor and its launcher: take over what runs, say that the loop turns, let go when asked
(floor 8).

Neighbours: ``edge/launcher_client`` has the connection, ``supervisor`` the life that this is a part
of.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sup import __version__
from sup.edge.launcher_client import FD_VARIABLE, LauncherError, LauncherHost
from sup.errors import ConflictError, ExitCode, OperatorError

if TYPE_CHECKING:
    from sup.services import Services
    from sup.supervisor import Supervisor

log = logging.getLogger("sup.launcher")

CHECK_VARIABLE = "SUP_CHECK_ONLY"
"""In the environment of ``sup run``: check the options, load all code, say the version, exit."""
CHECK_S = 30.0
ALIVE_PER_WATCHDOG = 6
"""How often the service manager's watchdog time the launcher hears from us."""
STOP_S = 10.0


async def claim(launcher: LauncherHost, services: Services) -> None:
    """Stop what the launcher holds and nobody wants any more: its spec went while we were dead."""
    for name in launcher.unclaimed():
        if name in services.loaded or services.has_spec_file(name):
            continue
        process = await launcher.adopt(name, None)
        if process is not None:
            log.warning("service has no spec any more name=%s pid=%d: stopped", name, process.pid)
            await process.stop(15, STOP_S)


async def follow(supervisor: Supervisor) -> None:
    """For ever: tell the launcher that the loop turns, and do what it asks for."""
    launcher = supervisor.launcher
    assert launcher is not None
    watchdog_us = int(launcher.hello.get("watchdog_us", 0))
    period_s = watchdog_us / 1_000_000 / ALIVE_PER_WATCHDOG if watchdog_us else None
    waits = [
        asyncio.create_task(event.wait())
        for event in (launcher.lost, launcher.detach_asked, launcher.upgrade_asked)
    ]
    try:
        while True:
            await asyncio.wait(waits, timeout=period_s, return_when=asyncio.FIRST_COMPLETED)
            if launcher.lost.is_set():
                log.error("launcher died pid=%s: the services go on", launcher.hello.get("pid"))
                supervisor.detach(ExitCode.FAILED)
                await asyncio.Event().wait()
            if launcher.detach_asked.is_set():
                log.info("supervisor makes way for new code")
                supervisor.detach()
                await asyncio.Event().wait()
            if launcher.upgrade_asked.is_set():
                launcher.upgrade_asked.clear()
                waits[2] = asyncio.create_task(launcher.upgrade_asked.wait())
                try:
                    await upgrade(launcher)
                except OperatorError as error:
                    log.error("upgrade refused: %s", error.message)
            if period_s is not None:
                launcher.alive()
    finally:
        for wait in waits:
            wait.cancel()


def shown(launcher: LauncherHost | None) -> dict[str, Any] | None:
    """The launcher as the API shows it; None: there is none."""
    if launcher is None:
        return None
    names = ("pid", "version", "protocol", "starts", "last_exit", "cgroups")
    return {name: launcher.hello.get(name) for name in names} | {"ready": launcher.is_ready}


async def upgrade(launcher: LauncherHost | None) -> str:
    """Try the code on disk, and if it loads, have the launcher replace itself and us.

    Returns the version on disk. Raises:
        OperatorError: the new code does not come up; nothing has changed.
    """
    if launcher is None:
        raise ConflictError("this supervisor runs without a launcher; restart it to upgrade it")
    version = await try_code()
    try:
        await launcher.upgrade()
    except LauncherError as error:
        raise OperatorError(str(error), ExitCode.FAILED) from None
    log.info("upgrade begins from=%s to=%s", __version__, version)
    return version


async def try_code() -> str:
    """Start our own command with the code on disk, to learn its version.

    Raises:
        OperatorError: it does not load; the text has its last line.
    """
    environment = {**os.environ, CHECK_VARIABLE: "1"}
    environment.pop(FD_VARIABLE, None)
    child = await asyncio.create_subprocess_exec(
        *own_command(),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(CHECK_S):
            said, errors = await child.communicate()
    except TimeoutError:
        child.kill()
        await child.wait()
        raise OperatorError(
            f"the new supervisor has not loaded within {CHECK_S:.0f} s", ExitCode.FAILED
        ) from None
    if child.returncode != 0:
        lines = errors.decode("utf-8", "replace").strip().splitlines() or ["it said nothing"]
        raise OperatorError(f"the new supervisor does not load: {lines[-1][:300]}", ExitCode.FAILED)
    return said.decode("utf-8", "replace").strip()[:100]


def own_command() -> list[str]:
    """The command that started this process, to be started again."""
    return [sys.executable, *sys.orig_argv[1:]]


def launcher_main() -> Path:
    """The launcher's program on disk."""
    return Path(__file__).parent / "launcher" / "__main__.py"


def succeed_launcher(state_dir: Path, log_format: str) -> None:
    """Become the launcher in the place of one that died, unless a service manager starts one.

    Returns only in the second case.
    """
    if "INVOCATION_ID" not in os.environ:
        become_launcher(state_dir, log_format)


def become_launcher(state_dir: Path, log_format: str) -> None:
    """Replace this process by the launcher, which starts our own command as the supervisor.

    For the ``sup`` command only: in any other program that command is somebody else's.
    """
    os.environ.pop(FD_VARIABLE, None)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(
        sys.executable,
        [
            *(sys.executable, "-I", "-S", str(launcher_main())),
            *("--state-dir", str(state_dir), "--log-format", log_format),
            *("--", *own_command()),
        ],
    )
