"""The hooks beside a service's starts and stops: install and uninstall, suitability, demote,
pre-update, file-updated (floor 8).

``init``, ``post-run``, ``reconfigure`` and ``post-stop`` are steps of the service's task and run
there; these are asked for by others. Each runs through ``ServiceProcesses.hook``, which bounds its
time and output and tells of failures. Answers are words for people where they refuse something
(empty: nothing is refused), so that the caller shows them as they are.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from sup import events
from sup.edge.hooks import HookResult
from sup.edge.package_dir import Package
from sup.edge.releases import Releases, package_of, release_digest
from sup.errors import OperatorError
from sup.model.hook_rules import parse_suitability
from sup.service_processes import ServiceProcesses

SUITABILITY_FRESH_S = 10.0
"""An answer that is younger is given again: an election asks several times within seconds."""


@dataclass(frozen=True, slots=True)
class Suitability:
    """What the suitability hook said last; ``value`` None: it failed or said no number."""

    value: int | None
    at_s: float
    """Unix time, for people."""


class InstallTurn:
    """What was installed on this host, and one install or uninstall hook at a time per package."""

    def __init__(self, releases: Releases) -> None:
        self.releases = releases
        self._locks: dict[str, asyncio.Lock] = {}

    def of(self, ident: str) -> asyncio.Lock:
        """The lock of a package, any version of it."""
        return self._locks.setdefault(package_of(ident), asyncio.Lock())


class LifecycleHooks:
    """The hooks of one service that others ask for."""

    def __init__(
        self,
        name: str,
        package: Package,
        processes: ServiceProcesses,
        turn: InstallTurn | None = None,
    ) -> None:
        """Without ``turn`` nothing is remembered and neither install nor uninstall runs."""
        self.suitability_said: Suitability | None = None
        self._name = name
        self._package = package
        self._processes = processes
        self._turn = turn
        self._digest = ""
        self._asking: asyncio.Task[int | None] | None = None
        self._asked_s = float("-inf")

    def has(self, hook: str) -> bool:
        """Whether the package has it."""
        return self._processes.has_hook(hook)

    # ---- install, uninstall ----------------------------------------------------------------------

    async def install(self) -> str:
        """Run the install hook unless this release has been installed on this host.

        Call it when the hooks are rendered, before ``init``. Returns why the service can't start,
        or empty. A hook that fails is tried again with the next start.
        """
        turn = self._turn
        if turn is None or not (self.has("install") or self.has("uninstall")):
            return ""
        async with turn.of(self._ident):
            if await self._is_installed(turn.releases):
                return ""
            if self.has("install"):
                result = await self._processes.hook("install")
                if not result.ok:
                    return f"install hook {result.reason}"
            try:
                await asyncio.to_thread(turn.releases.add, self._ident, self._digest)
            except OSError as error:
                return f"install hook is done but can't be remembered: {error.strerror or error}"
        if self.has("install"):
            events.tell("hook", self._name, f"installed {self._ident}", hook="install")
        return ""

    async def uninstall(self) -> str:
        """Run the uninstall hook if a release of this package was installed here, and forget it.

        For who unloads the last service of the package, after its process is gone. Returns why it
        failed, or empty; a failed one leaves the release remembered, for the next time.
        """
        turn = self._turn
        if turn is None:
            return ""
        async with turn.of(self._ident):
            if not await self._is_installed(turn.releases):
                return ""
            if self.has("uninstall"):
                try:
                    await self._processes.resolve_user()
                except OperatorError as error:
                    return f"uninstall hook did not run: {error}"
                result = await self._processes.hook("uninstall")
                if not result.ok:
                    return f"uninstall hook {result.reason}"
            try:
                await asyncio.to_thread(turn.releases.forget, package_of(self._ident))
            except OSError as error:
                return f"the release can't be forgotten: {error.strerror or error}"
        events.tell("hook", self._name, f"uninstalled {self._ident}", hook="uninstall")
        return ""

    async def _is_installed(self, releases: Releases) -> bool:
        if not self._digest:
            self._digest = await asyncio.to_thread(release_digest, self._package)
        return await asyncio.to_thread(releases.has, self._ident, self._digest)

    # ---- asked by topologies and strategies ------------------------------------------------------

    async def suitability(self) -> int | None:
        """How fit this member is to lead: what the suitability hook says, or None.

        None: there is no hook, it failed, took too long or said no number. An answer is kept for
        ``SUITABILITY_FRESH_S``; who asks meanwhile shares one run of the hook. Cancelling the
        caller does not end the hook, which is bounded by itself.
        """
        if not self.has("suitability"):
            return None
        now_s = asyncio.get_running_loop().time()
        if self._asking is None and now_s - self._asked_s < SUITABILITY_FRESH_S:
            return self.suitability_said.value if self.suitability_said else None
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name=f"suitability {self._name}")
        return await asyncio.shield(self._asking)

    async def _ask(self) -> int | None:
        try:
            result = await self._processes.hook("suitability")
            value = parse_suitability(result.stdout) if result.ok else None
            if result.ok and value is None:
                last = result.stdout.strip().splitlines()[-1:]
                text = f"suitability hook said no number: {''.join(last)[:80]!r}"
                self._processes.hook_runs.tell("suitability", text)
            self.suitability_said = Suitability(value, time.time())
            return value
        finally:
            self._asked_s = asyncio.get_running_loop().time()
            self._asking = None

    async def demote(self, timeout_s: float) -> HookResult | None:
        """Run the demote hook, for at most ``timeout_s`` or the plan's time, whichever is less.

        None: there is no hook. The caller stops the service unless the result is ``ok``.
        """
        if not self.has("demote"):
            return None
        return await self._processes.hook("demote", at_most_s=timeout_s)

    async def pre_update(self) -> str:
        """Ask the pre-update hook whether the service may go down for a change; why not, or empty.

        Whoever takes the service down for an update or a restart by configuration asks before it.
        """
        # One that came with this release was never rendered: what runs is of a release without.
        if not (
            self.has("pre-update") and await asyncio.to_thread(self._is_rendered, "pre-update")
        ):
            return ""
        result = await self._processes.hook("pre-update")
        return "" if result.ok else f"pre-update hook {result.reason}"

    async def file_updated(self, names: list[str]) -> None:
        """Tell the service that these files in ``svc/NAME/files`` are new or gone."""
        if self.has("file-updated"):
            changed = {"SUP_FILES_CHANGED": " ".join(names)}
            await self._processes.hook("file-updated", environment=changed)

    async def end(self) -> None:
        """End what still runs; bounded by the killing of a hook's tree."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])

    def _is_rendered(self, hook: str) -> bool:
        return self._processes.hook_path(hook).exists()

    @property
    def _ident(self) -> str:
        return self._package.plan.ident
