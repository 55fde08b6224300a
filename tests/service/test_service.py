"""One service with real processes: start, restart, health, stop."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from tests.service.conftest import Workshop, until

from sup.edge.log_files import LogBound
from sup.edge.process_tree import find_marked, read_stat
from sup.edge.service_dir import mark_prefix
from sup.errors import ConflictError
from sup.model.backoff import Backoff
from sup.model.health import CheckResult, Health
from sup.policies import CheckContext
from sup.service import Service

SLEEP = "exec sleep 60"


async def test_service_with_run_hook_comes_up_with_its_files_and_log(workshop: Workshop) -> None:
    """Config and hooks are rendered, the process runs in its directory, its output is logged."""
    workshop.package(
        hooks__run='echo "$SUP_SERVICE $SUP_GROUP"; pwd; cat "$SUP_CONFIG_DIR/web"; ' + SLEEP,
        config__web="port={{cfg.port}}\n",
    )
    service = workshop.service()
    service.start()
    workshop.view(service, port=80, version="v1")
    await until(lambda: len(workshop.log) == 3)
    assert workshop.log == ["web default", str(workshop.paths.root), "port=80"]
    status = service.status()
    assert (status.process, status.desired, status.restarts) == ("up", "up", 0)
    assert status.config_version == "v1"
    assert status.pid is not None
    await until(workshop.paths.pid_file.exists)
    assert workshop.paths.pid_file.read_text() == f"{status.pid}\n"


async def test_service_without_view_waits_visibly(workshop: Workshop) -> None:
    """Before the first view nothing is started, and the status says why."""
    service = workshop.service(["sleep", "60"])
    service.start()
    await until(lambda: service.status().reason)
    assert (service.status().process, service.status().reason) == (
        "down",
        "waits for the first view of the ring",
    )


async def test_service_topology_holds_start_until_it_may(workshop: Workshop) -> None:
    """A topology can hold the start, with its reason shown; a running service is left alone."""
    service = workshop.service(["sleep", "60"])
    service.start()
    workshop.view(service, may_start=False, reason="no leader yet")
    await until(lambda: "no leader yet" in service.status().reason)
    assert service.status().process == "down"
    workshop.view(service)
    await until(lambda: service.status().process == "up")
    pid = service.status().pid
    workshop.view(service, may_start=False, reason="no leader again")
    await asyncio.sleep(0.2)
    assert (service.status().process, service.status().pid) == ("up", pid)


async def test_service_exit_is_restarted_by_backoff(workshop: Workshop) -> None:
    """A service that ends, with whatever code, is started anew after a wait; the code is shown."""
    workshop.package(hooks__run='echo up >> "$SUP_DATA_DIR/starts"; exit 3')
    service = workshop.up(backoff=Backoff(0.3, 0.4, 60.0))
    seen = []
    began = time.monotonic()
    while service.status().restarts < 3:
        assert time.monotonic() - began < 20
        await service.changed()
        seen.append(service.status().process)
    # Three restarts have waited at least three times the least wait.
    assert time.monotonic() - began >= 0.9
    assert "backoff" in seen
    assert service.status().last_exit == "code 3"
    assert service.status().health is Health.CRITICAL


async def test_service_killed_process_is_seen_at_once(workshop: Workshop) -> None:
    """The exit itself changes the state; no timer and no check has to come by first."""
    service = workshop.up(["sleep", "60"], backoff=Backoff(30, 60, 60), health_interval=60.0)
    await until(lambda: service.status().process == "up")
    pid = service.status().pid
    assert pid is not None
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    await until(lambda: service.status().process == "backoff")
    assert time.monotonic() - began < 5
    status = service.status()
    assert (status.last_exit, status.health, status.pid) == (
        "signal SIGKILL",
        Health.CRITICAL,
        None,
    )
    assert "next start in" in status.reason


async def test_service_leftovers_of_a_dead_process_are_killed_before_the_next_start(
    workshop: Workshop,
) -> None:
    """Background children of a service that died do not meet its next start."""
    workshop.package(hooks__run="setsid sleep 60 & sleep 0.1; exit 1")
    service = workshop.up()
    await until(lambda: service.status().restarts >= 2)
    assert len(find_marked(mark_prefix(workshop.paths))) <= 4


async def test_service_init_hook_failing_holds_the_start(workshop: Workshop) -> None:
    """No init, no run: the start is tried again by backoff and the hook's words are shown."""
    workshop.package(
        hooks__init='echo disk not ready; test -e "$SUP_DATA_DIR/ready"', hooks__run=SLEEP
    )
    service = workshop.up()
    await until(lambda: "disk not ready" in service.status().reason)
    assert "init hook exited with code 1" in service.status().reason
    (workshop.paths.data / "ready").touch()
    await until(lambda: service.status().process == "up")


async def test_service_stop_during_init_does_not_wait_for_the_hook(workshop: Workshop) -> None:
    """A long init hook is ended when the service is not wanted any more."""
    workshop.package(hooks__init='touch "$SUP_DATA_DIR/begun"; sleep 60', hooks__run=SLEEP)
    service = workshop.up()
    await until(lambda: (workshop.paths.data / "begun").exists())
    began = time.monotonic()
    await service.stop()
    assert time.monotonic() - began < 9
    assert service.status().process == "down"


async def test_service_missing_program_is_a_visible_failure(workshop: Workshop) -> None:
    """A command that is not there is retried by backoff and named."""
    service = workshop.up(["/no/such/program"])
    await until(lambda: service.status().process == "backoff")
    assert "can't start /no/such/program" in service.status().reason
    assert service.status().health is Health.CRITICAL


async def test_service_set_desired_down_and_up(workshop: Workshop) -> None:
    """Down is a state that is seen; up brings it back without delay."""
    service = workshop.up(["sleep", "60"])
    await until(lambda: service.status().process == "up")
    service.set_desired(False)
    await until(lambda: service.status().process == "down")
    assert (service.status().desired, service.status().pid) == ("down", None)
    assert service.status().health is Health.UNKNOWN
    assert not workshop.paths.process_json.exists()
    with pytest.raises(ConflictError, match="is down"):
        await service.restart()
    service.set_desired(True)
    await until(lambda: service.status().process == "up")


async def test_service_desired_down_in_backoff_goes_down(workshop: Workshop) -> None:
    """A service that waits for its next start can be put down."""
    service = workshop.up(["false"], backoff=Backoff(30, 60, 60))
    await until(lambda: service.status().process == "backoff")
    service.set_desired(False)
    await until(lambda: service.status().process == "down")


async def test_service_restart_gives_a_new_process_without_backoff(workshop: Workshop) -> None:
    """The operator's restart is not a failure: another pid, at once."""
    service = workshop.up(["sleep", "60"], backoff=Backoff(30, 60, 60))
    await until(lambda: service.status().process == "up")
    pid = service.status().pid
    await asyncio.wait_for(service.restart(), 15)
    assert service.status().process == "up"
    assert service.status().pid != pid
    assert service.status().restarts == 1


async def test_service_restart_in_backoff_starts_at_once(workshop: Workshop) -> None:
    """An operator who has mended the cause does not wait for the timer."""
    workshop.package(hooks__run='test -e "$SUP_DATA_DIR/mended" || exit 1; ' + SLEEP)
    service = workshop.up(backoff=Backoff(30, 60, 60))
    await until(lambda: service.status().process == "backoff")
    (workshop.paths.data / "mended").touch()
    await asyncio.wait_for(service.restart(), 15)
    assert service.status().process == "up"


async def test_service_restart_that_topology_would_hold_is_refused(workshop: Workshop) -> None:
    """A service that could not come back is not taken down by a restart."""
    service = workshop.up(["sleep", "60"])
    await until(lambda: service.status().process == "up")
    pid = service.status().pid
    workshop.view(service, may_start=False, reason="no quorum")
    with pytest.raises(ConflictError, match="no quorum"):
        await asyncio.wait_for(service.restart(), 15)
    assert service.status().pid == pid


async def test_service_stop_ends_everything_and_runs_post_stop_after_it(workshop: Workshop) -> None:
    """post-stop runs when no process of the service is left, deaf daemons included."""
    workshop.package(
        plan="[service]\nstop_timeout = 0.3",
        hooks__run="trap '' TERM; (setsid sleep 61 &) ; echo ready; while :; do sleep 0.05; done",
        hooks__post_stop='(pgrep -f "^sleep 61"; echo done) > "$SUP_DATA_DIR/left"',
    )
    service = workshop.up()
    await until(lambda: "ready" in workshop.log)
    pid = service.status().pid
    assert pid is not None
    await service.stop()
    assert workshop.lines("left") == ["done"]
    assert read_stat(pid) is None
    assert service.status().process == "down"
    assert service.status().last_exit == "signal SIGKILL"


def has_health(service: Service, health: Health) -> bool:
    """Whether the verdict is ``health``."""
    return service.status().health is health


async def test_service_health_hook_codes_become_words(workshop: Workshop) -> None:
    """0, 1, 2 and anything else: ok, warning, critical, unknown; the hook's words are kept."""
    workshop.package(
        hooks__run=SLEEP,
        hooks__health_check='read code < "$SUP_DATA_DIR/code"; echo "code $code"; exit $code',
    )
    service = workshop.service()
    workshop.paths.data.mkdir(parents=True)
    (workshop.paths.data / "code").write_text("0\n")
    service.start()
    workshop.view(service)
    for code, health in (
        (0, Health.OK),
        (1, Health.WARNING),
        (2, Health.CRITICAL),
        (9, Health.UNKNOWN),
    ):
        (workshop.paths.data / "code.new").write_text(f"{code}\n")
        (workshop.paths.data / "code.new").rename(workshop.paths.data / "code")
        await until(partial(has_health, service, health))
        assert f"code {code}" in service.status().output


async def test_service_health_hook_that_hangs_is_critical(workshop: Workshop) -> None:
    """No answer in time is critical, and the hung check is killed."""
    workshop.package(
        plan="[service.health]\ntimeout = 0.3", hooks__run=SLEEP, hooks__health_check="sleep 60"
    )
    service = workshop.up()
    await until(lambda: service.status().health is Health.CRITICAL)
    assert "timed out" in service.status().output
    assert service.status().process == "up"


async def test_service_failures_before_critical_are_counted(workshop: Workshop) -> None:
    """One bad result among good ones does not make the verdict critical."""
    workshop.package(
        plan="[service.health]\nfailures_before_critical = 3",
        hooks__run=SLEEP,
        hooks__health_check='cd "$SUP_DATA_DIR"; echo x >> checks; test ! -e bad || exit 2',
    )
    service = workshop.up()
    await until(lambda: service.status().health is Health.OK)
    before = len(workshop.lines("checks"))
    (workshop.paths.data / "bad").touch()
    await until(lambda: service.status().health is Health.CRITICAL)
    assert len(workshop.lines("checks")) - before >= 3


async def test_service_without_health_hook_is_ok_while_up(workshop: Workshop) -> None:
    """A package without a check counts as ok as long as its process is there."""
    service = workshop.up(["sleep", "60"])
    await until(lambda: service.status().health is Health.OK)


async def test_service_post_run_runs_after_the_start_and_is_retried(workshop: Workshop) -> None:
    """post-run follows the start; a failing one is tried again without touching the service."""
    workshop.package(
        hooks__run=SLEEP,
        hooks__post_run='cd "$SUP_DATA_DIR"; echo x >> runs; test $(wc -l < runs) -ge 2',
    )
    service = workshop.up()
    await until(lambda: len(workshop.lines("runs")) == 2)
    await asyncio.sleep(0.3)
    assert len(workshop.lines("runs")) == 2
    assert service.status().restarts == 0


async def test_service_changed_is_not_lost_between_two_waits(workshop: Workshop) -> None:
    """A change that comes while nobody waits wakes the next waiter at once."""
    service = workshop.up(["sleep", "60"])
    await until(lambda: service.status().process == "up")
    await asyncio.wait_for(service.changed(), 5)
    service.set_desired(False)
    await until(lambda: service.status().process == "down")
    await asyncio.wait_for(service.changed(), 5)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change user")
async def test_service_with_user_as_root_runs_hooks_and_process_as_that_user() -> None:
    """Hooks, process and files belong to the plan's user, whose own directories are writable."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o711)
        workshop = Workshop(Path(directory))
        workshop.package(
            plan='[service]\nuser = "nobody"',
            hooks__init='id -un > "$SUP_DATA_DIR/init"',
            hooks__run='id -un; cat "$SUP_CONFIG_DIR/web"; touch "$SUP_SERVICE_DIR/x"; ' + SLEEP,
            hooks__health_check="id -un",
            config__web="port={{cfg.port}}\n",
        )
        service = workshop.service()
        (Path(directory) / "state").mkdir(mode=0o700)  # as the supervisor makes it
        service.start()
        workshop.view(service, port=80)
        try:
            await until(lambda: "nobody" in service.status().output)
            assert workshop.lines("init") == ["nobody"]
            assert workshop.log[:2] == ["nobody", "port=80"]
            assert not (workshop.paths.root / "x").exists()
            assert workshop.paths.config.stat().st_uid == 0
        finally:
            await service.stop()


async def test_service_stopped_in_the_moment_a_check_ends_is_not_held_up(
    workshop: Workshop,
) -> None:
    """A cancellation that meets a finished check is not lost: checks without pause, many stops."""
    workshop.package(hooks__run=SLEEP, hooks__health_check="true")
    service = workshop.up(health_interval=0.001)
    for _ in range(15):
        await until(lambda: service.status().health is Health.OK)
        began = time.monotonic()
        await service.restart()
        assert time.monotonic() - began < 8


async def test_settled_returns_when_the_process_is_gone(workshop: Workshop) -> None:
    """Who asked for a stop is answered after it, also when the service takes its time."""
    workshop.package(hooks__run="trap 'sleep 0.3; exit 0' TERM\nwhile :; do sleep 0.05; done")
    service = workshop.up()
    await until(lambda: service.status().process == "up")
    service.set_desired(False)
    await service.settled()
    assert service.status().process == "down"
    await service.settled()  # down already: at once


async def test_restart_that_meets_an_unload_is_refused(workshop: Workshop) -> None:
    """Its caller gets an answer, not a cancellation that looks like its own."""
    workshop.package(hooks__run="exec sleep 60", hooks__init="sleep 30")
    service = workshop.up()
    await until(lambda: service.status().process == "starting")
    asked = asyncio.create_task(service.restart())
    await asyncio.sleep(0)
    await service.stop()
    with pytest.raises(ConflictError, match="unloaded"):
        await asked


class OddCheck:
    """A plugin's health check that returns what is no result, then one."""

    def __init__(self) -> None:
        self.count = 0

    async def check(self, context: CheckContext) -> CheckResult:
        self.count += 1
        return CheckResult(Health.OK) if self.count > 2 else cast(CheckResult, "fine")


async def test_health_check_that_returns_no_result_does_not_end_the_watch(
    workshop: Workshop,
) -> None:
    """One wrong answer of a plugin must not leave the last verdict standing for ever."""
    service = workshop.up(["sleep", "60"], health_check=OddCheck())
    await until(lambda: "it returned 'fine'" in service.status().output)
    await until(lambda: service.status().health is Health.OK)


async def test_log_that_cannot_be_bounded_is_tried_again(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The disk's refusal is one warning; the watch of the log goes on."""
    looks: list[int] = []

    def look(self: LogBound) -> float:
        looks.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LogBound, "look", look)
    monkeypatch.setattr("sup.service_processes.LOOK_MAX_S", 0.01)
    workshop.up(["sleep", "60"])
    await until(lambda: len(looks) > 2)
    assert sum("log unbounded" in record.message for record in caplog.records) == 1
