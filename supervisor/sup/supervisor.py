"""The supervisor: the ring, the services of this host, and the loops that keep them in step.

It wires, and decides nothing itself: what runs comes from the spec files (``services``), what a
group looks like from the census, roles from topologies and moments from strategies (plugins), and
each service looks after its own process (``service``). Loops run for ring events, the view made of
them, spec files, publishing what the services say, and reaping orphans; the view and the publishing
are paced (``pace``). The REST interface calls ``api``.

After SIGKILL the services run on; the next supervisor on the same state directory adopts them.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import random
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any

from sup import __version__, attach, events, logs
from sup.api import Api
from sup.edge import memory
from sup.edge.launcher_client import LauncherError, LauncherHost
from sup.edge.processes import LocalHost, reap_orphans
from sup.errors import ExitCode, OperatorError
from sup.gateway import Gateway, check_socket_path, listen_tcp
from sup.group_configs import GroupConfigs
from sup.group_files import GroupFiles
from sup.model import departure
from sup.model.census import Census, CensusMaker
from sup.model.config_layers import lookup
from sup.model.health import Health
from sup.model.service_rumor import SERVICE_KIND, ServiceRumor, service_key
from sup.options import SupervisorOptions
from sup.pace import Pace
from sup.plugins import Plugins, load
from sup.report_socket import ReportSocket
from sup.ring import Ring, RingOptions
from sup.service_packages import check_environment, resolve
from sup.service_teller import ServiceTeller
from sup.services import Loaded, Services
from sup_core.config import PROFILES, Config
from sup_core.events import Member, MemberChange, MemberEvent, MemberState, RumorEvent, SelfEvent

log = logging.getLogger("sup.supervisor")

SCAN_S = 1.0
"""How often spec and user.toml files are looked at: an edit is acted on within this, and listing a
small directory costs microseconds."""

SOCKET_NAME = "control.sock"

PROBLEMS = {
    "cut_off": "no other member of the ring answers this one; look at its network",
    "duplicate_id": "another supervisor uses this member's id: was the state directory copied?",
    "short_id_clash": "two members' ids begin alike; the later one is not heard",
    "foreign_ring": "packets of another ring arrive here; look at --ring and --peer",
}
"""Events about this member that an operator should see in ``sup status``, and their words."""


async def run(options: SupervisorOptions) -> int:
    """Run one supervisor until SIGTERM, SIGINT or ``/v1/shutdown``; returns the exit code.

    Raises:
        OperatorError: it can't start; nothing has been changed by then, or it was undone.
    """
    logs.configure(options.log_format, options.log_level)
    memory.bound_arenas(1)  # the threads here wait for disks and names; none allocates in a hurry
    # From here on a signal ends it in good order: whoever has heard of this member hears it leave.
    ending = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _handle_signal, number, ending)
    plugins = load(options.plugins)
    http = _host_port(options.listen_http)
    check_socket_path(options.state_dir / SOCKET_NAME)
    if options.service is not None:
        # Everything that can be wrong with the package is said before the state is touched.
        compiled = await asyncio.to_thread(resolve, options.service, plugins)
        check_environment(options.service.name, compiled)
    launcher = None
    try:
        if options.launcher_fd is not None:
            launcher = await LauncherHost.open(options.launcher_fd)
        return await _run_with(launcher, options, plugins, http, ending)
    except LauncherError as error:
        # It died while we came up. Nobody else is there to look after what runs.
        log.error("launcher died while the supervisor came up: %s", error)
        attach.succeed_launcher(options.state_dir, options.log_format)
        return ExitCode.FAILED


async def _run_with(
    launcher: LauncherHost | None,
    options: SupervisorOptions,
    plugins: Plugins,
    http: tuple[str, int] | None,
    ending: asyncio.Event,
) -> int:
    tcp: socket.socket | None = None

    async def ready() -> None:
        nonlocal tcp
        tcp = None if http is None else await listen_tcp(*http)

    ring = await Ring.open(
        RingOptions(
            state_dir=options.state_dir,
            ring=options.ring,
            name=options.name,
            listen=options.listen_gossip,
            advertise=options.advertise,
            peers=options.peers,
            tags={},
            owner_pid=0 if launcher is None else int(launcher.hello["pid"]),
            config=gossip_config(options),
        ),
        ready=ready,
    )
    try:
        supervisor = Supervisor(options, plugins, ring, ending, tcp, launcher)
        code = await supervisor.run()
    finally:
        await ring.close()
    if launcher is not None:
        if not supervisor.detached:
            with contextlib.suppress(LauncherError):
                await launcher.end(code)
        elif launcher.lost.is_set():
            attach.succeed_launcher(options.state_dir, options.log_format)
    return code


def gossip_config(options: SupervisorOptions) -> Config:
    """Return the gossip's settings: those of the profile, with the tolerance if one was given."""
    profile = PROFILES[options.profile]
    if options.pause_tolerance_s is None:
        return profile()
    return profile(pause_tolerance_us=round(options.pause_tolerance_s * 1_000_000))


class Supervisor:
    """One supervisor in one ring; ``run`` is its whole life."""

    def __init__(
        self,
        options: SupervisorOptions,
        plugins: Plugins,
        ring: Ring,
        ending: asyncio.Event,
        tcp: socket.socket | None = None,
        launcher: LauncherHost | None = None,
    ) -> None:
        """``ending`` set ends it; ``tcp`` is the REST interface's bound socket, if there is one."""
        self.launcher = launcher
        self.detached = False
        """It ended, or ends, and leaves the services running for the next one."""
        self.options = options
        self.plugins = plugins
        self.ring = ring
        self.started = time.monotonic()
        self.configs = GroupConfigs(ring)
        self.files = GroupFiles(ring)
        self.census = Census()
        self.departed: dict[bytes, departure.Departure] = {}
        self.problems: dict[str, str] = {}
        """What is wrong with this supervisor's place in the ring, a line each, by event."""
        self.teller = ServiceTeller(ring)
        self._census = CensusMaker()
        self._viewing = Pace(self.refresh)
        self._telling = Pace(self._tell)
        self._ending = ending
        self._exit_code = ExitCode.OK
        self.services = Services(
            options.state_dir,
            plugins,
            self.configs,
            ring.member_id,
            self.sys,
            self._telling.wish,
            # Jitter alone is drawn from it: no decision that must replay depends on it.
            random.Random(),
            files=self.files,
            host=launcher or LocalHost(),
        )
        api = Api(self)
        self.reports = ReportSocket(api, options.state_dir, self.services)
        self.gateway = Gateway(
            api,
            http=_host_port(options.listen_http),
            unix_path=options.state_dir / SOCKET_NAME,
            tcp=tcp,
        )

    # Life

    async def run(self) -> int:
        """Serve until told to end, then stop the services and leave the ring."""
        events.hold(True)
        await self.gateway.open()
        await self.reports.open()
        try:
            if self.options.service is not None:
                if not self.options.peers:
                    # With peers the group's configuration may still be on its way here.
                    await self.services.check_start(self.options.service)
                self.services.write_spec(self.options.service)
            self.refresh()
            events.tell("supervisor", "", f"started, version {__version__}, {self.ring.name}")
            log.info(
                "supervisor started version=%s name=%s member=%s ring=%s address=%s",
                __version__,
                self.ring.name,
                self.ring.member_id,
                self.options.ring,
                ":".join(map(str, self.ring.advertised)),
            )
            await self.services.scan()
            gc.collect()
            gc.freeze()
            memory.trim()
            if self.launcher is not None:
                await attach.claim(self.launcher, self.services)
                await self.launcher.ready()
            await self._serve()
            events.tell("supervisor", "", "ends")
            if self.detached:
                await self.services.detach_all()
            else:
                await self.services.stop_all()
                self._tell()
        except LauncherError:
            self.detach(ExitCode.FAILED)
            await self.services.detach_all()
            raise
        except BaseException:
            # Whatever went wrong here is no fault of the services: they go on, to be adopted.
            await self.services.detach_all()
            raise
        finally:
            events.hold(False)
            if not self.detached:  # who is back in a moment has not left
                await self.ring.leave()
            await self.reports.close()
            await self.gateway.close()
        log.info("supervisor ended exit=%d", self._exit_code)
        return self._exit_code

    async def _serve(self) -> None:
        """The loops, until ``end``. One that fails is a defect: it ends the supervisor, loudly."""
        loops = [
            asyncio.create_task(loop(), name=name)
            for name, loop in (
                ("ring events", self._follow_ring),
                ("view", self._viewing.follow),
                ("spec files", self._follow_specs),
                ("publishing", self._telling.follow),
                *(
                    (("orphans", reap_orphans),)
                    if self.launcher is None
                    else (("launcher", lambda: attach.follow(self)),)
                ),
                ("ending", self._ending.wait),
            )
        ]
        try:
            done, _ = await asyncio.wait(loops, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)

    def detach(self, exit_code: ExitCode = ExitCode.OK) -> None:
        """Begin an end that leaves the services running: new code or a new launcher takes over."""
        if not self._ending.is_set():
            self.detached = True
            self.end(exit_code)

    def end(self, exit_code: ExitCode = ExitCode.OK) -> None:
        """Begin a clean end; a second call changes nothing."""
        if not self._ending.is_set():
            self._exit_code = exit_code
            self._ending.set()

    # Loops

    async def _follow_ring(self) -> None:
        while True:
            events = await self.ring.next_events()
            for event in events:
                self._note(event)
            self._viewing.wish()

    async def _follow_specs(self) -> None:
        while True:
            await asyncio.sleep(SCAN_S)
            await self.services.scan()

    def _note(self, event: object) -> None:
        match event:
            case MemberEvent(change=change, member=member, why=why) if not member.local:
                if change is not MemberChange.UPDATED:
                    log.info(
                        "member %s name=%s id=%s why=%s",
                        change.name.lower(),
                        member.name,
                        member.id.hex()[:16],
                        why or "-",
                    )
            case SelfEvent(what="reachable"):
                self.problems.pop("cut_off", None)
            case SelfEvent(what=what, detail=detail) if what in PROBLEMS:
                self.problems[what] = f"{PROBLEMS[what]}{f' ({detail})' if detail else ''}"
            case RumorEvent(rumor=rumor) if rumor.kind not in (SERVICE_KIND,):
                log.info("rumor changed kind=%d key=%s", rumor.kind, rumor.key[:64])

    # The view

    def members(self) -> list[Member]:
        """Members with departures taken into account."""
        return [
            dataclasses.replace(member, state=MemberState.LEFT)
            if departure.state_of(member, self.departed) == "left"
            else member
            for member in self.ring.members()
        ]

    def refresh(self) -> None:
        """Make the census of what the ring knows now, and give it to the services."""
        self.departed = departure.departures(self.ring.rumors(departure.KIND))
        members = self.members()
        self.census = self._census.make(members, self.ring.rumors(SERVICE_KIND))
        self.services.refresh(self.census)
        me = next((m for m in members if m.local), None)
        if me is not None and me.state is MemberState.LEFT and not self._ending.is_set():
            by = self.departed[me.id].by if me.id in self.departed else "-"
            log.warning("member departed by=%s: ending; start it again to rejoin", by)
            self.end()

    def sys(self) -> Mapping[str, Any]:
        """``sys`` of templates and of the service rumors."""
        ip, port = self.ring.advertised
        http = _host_port(self.options.listen_http)
        return {
            "version": __version__,
            "member_id": self.ring.member_id,
            "ip": ip,
            "hostname": self.ring.name,
            "gossip_ip": ip,
            "gossip_port": port,
            "http_gateway_ip": http[0] if http else "",
            "http_gateway_port": http[1] if http else 0,
            "permanent": False,
        }

    # Telling the ring

    def _tell(self) -> None:
        """Publish what changed about the services here; retract what is no longer loaded."""
        wanted: dict[bytes, ServiceRumor] = {}
        for loaded in self.services.loaded.values():
            if loaded.compiled is not None:
                wanted[service_key(loaded.spec.service_group)] = self._rumor(loaded)
        self.teller.tell(wanted)
        self._viewing.wish()

    def _rumor(self, loaded: Loaded) -> ServiceRumor:
        assert loaded.compiled is not None
        plan, spec = loaded.compiled.plan, loaded.spec
        status = loaded.service.status() if loaded.service is not None else None
        exports = {}
        with contextlib.suppress(OperatorError):
            cfg = self.services.config(loaded, self.configs.get(spec.service_group))
            exports = {
                name: value
                for name, path in plan.exports.items()
                if (value := lookup(cfg, path)) is not None
            }
        return ServiceRumor(
            service=spec.name,
            group=spec.group,
            package=plan.ident if spec.command is None else "-",
            process=status.process if status else "failed",
            health=status.health if status else Health.UNKNOWN,
            health_since_s=status.health_since_s if status else 0,
            output=status.output if status else loaded.problem,
            exports=exports,
            sys=self.sys(),
            topology=spec.topology,
            strategy=spec.strategy,
            config_version=status.config_version if status else "",
            maintenance=self.services.maintenance.reason(spec.name),
            restart=status.restart if status else "",
        )


def _handle_signal(number: int, ending: asyncio.Event) -> None:
    log.info("supervisor ending signal=%s", signal.Signals(number).name)
    ending.set()


def _host_port(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise OperatorError(f'HTTP address "{text}" is not HOST:PORT or "off"')
    return host.strip("[]"), int(port)
