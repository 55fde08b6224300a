"""A running service and its configuration: what is applied, how, when, and what is never lost."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.service.conftest import Workshop, until

from sup.edge.processes import load_identity
from sup.service import Service

RUN = "echo start; exec sleep 60"
CONFIG = "port={{cfg.port}}\n"
COUNT = 'echo "$(cat "$SUP_CONFIG_DIR/web")" >> "$SUP_DATA_DIR/reconfigured"'


async def up(workshop: Workshop, **cfg: Any) -> Service:
    """The package's service, up with this configuration."""
    service = workshop.service()
    service.start()
    workshop.view(service, version="v1", **cfg)
    await until(lambda: service.status().process == "up")
    return service


async def test_config_change_calls_reconfigure_exactly_once(workshop: Workshop) -> None:
    """One change, one call, in the same process; the new version is shown when it is applied."""
    workshop.package(hooks__run=RUN, hooks__reconfigure=COUNT, config__web=CONFIG)
    service = await up(workshop, port=80)
    pid = service.status().pid
    for _ in range(5):
        workshop.view(service, version="v2", port=81)
        await asyncio.sleep(0.02)
    await until(lambda: service.status().config_version == "v2")
    workshop.view(service, version="v2", port=81)
    await asyncio.sleep(0.2)
    assert workshop.lines("reconfigured") == ["port=81"]
    assert (service.status().pid, service.status().pending) == (pid, "")


async def test_config_change_without_reconfigure_hook_restarts(workshop: Workshop) -> None:
    """A service that can't be told is started anew."""
    workshop.package(hooks__run=RUN, config__web=CONFIG)
    service = await up(workshop, port=80)
    pid = service.status().pid
    workshop.view(service, version="v2", port=81)
    await until(lambda: service.status().config_version == "v2")
    assert service.status().process == "up"
    assert service.status().pid != pid
    assert (workshop.paths.config / "web").read_text() == "port=81\n"


async def test_run_hook_change_restarts_although_there_is_a_reconfigure_hook(
    workshop: Workshop,
) -> None:
    """Another way to start can't be applied to a running process."""
    workshop.package(
        hooks__run="echo start {{cfg.port}}; exec sleep 60",
        hooks__reconfigure=COUNT,
        config__web="x",
    )
    service = await up(workshop, port=80)
    # Up is when its shell is executed; stopped before its first command, it would say nothing.
    await until(lambda: workshop.log == ["start 80"])
    workshop.view(service, port=81)
    await until(lambda: workshop.log == ["start 80", "start 81"])
    assert workshop.lines("reconfigured") == []


async def test_context_change_that_renders_the_same_does_nothing(workshop: Workshop) -> None:
    """Data that no template shows is no change, but its version counts as applied."""
    workshop.package(hooks__run=RUN, hooks__reconfigure=COUNT, config__web=CONFIG)
    service = await up(workshop, port=80)
    workshop.view(service, version="v2", port=80, other=1)
    await until(lambda: service.status().config_version == "v2")
    assert workshop.lines("reconfigured") == []
    assert workshop.strategy.asked == 0


async def test_strategy_holds_change_nothing_is_written_until_it_goes(workshop: Workshop) -> None:
    """A held change is pending with the reason, off the disk, and applied when the strategy says
    so.
    """
    workshop.package(hooks__run=RUN, hooks__reconfigure=COUNT, config__web=CONFIG)
    service = await up(workshop, port=80)
    workshop.strategy.hold = "b is not healthy yet"
    workshop.view(service, version="v2", port=81)
    await until(lambda: "b is not healthy yet" in service.status().pending)
    assert (workshop.paths.config / "web").read_text() == "port=80\n"
    assert service.status().config_version == "v1"
    workshop.strategy.hold = ""
    workshop.view(service, version="v2", port=81)
    await until(lambda: service.status().config_version == "v2")
    assert workshop.lines("reconfigured") == ["port=81"]
    assert service.status().pending == ""


async def test_strategy_held_change_that_is_taken_back_is_forgotten(workshop: Workshop) -> None:
    """Back to the old value before the strategy said go: nothing is pending, nothing is done."""
    workshop.package(hooks__run=RUN, hooks__reconfigure=COUNT, config__web=CONFIG)
    service = await up(workshop, port=80)
    workshop.strategy.hold = "wait"
    workshop.view(service, port=81)
    await until(lambda: service.status().pending)
    workshop.view(service, port=80)
    await until(lambda: not service.status().pending)
    assert workshop.lines("reconfigured") == []


async def test_reconfigure_failing_stays_pending_and_is_retried(workshop: Workshop) -> None:
    """A failed hook is seen, tried again by backoff, and the old process goes on."""
    workshop.package(
        hooks__run=RUN,
        hooks__reconfigure=COUNT + '; echo busy; test -e "$SUP_DATA_DIR/ready"',
        config__web=CONFIG,
    )
    service = await up(workshop, port=80)
    pid = service.status().pid
    workshop.view(service, version="v2", port=81)
    await until(lambda: "exited with code 1: busy" in service.status().pending)
    await until(lambda: len(workshop.lines("reconfigured")) >= 3)
    assert service.status().config_version == "v1"
    (workshop.paths.data / "ready").touch()
    await until(lambda: service.status().config_version == "v2")
    assert (service.status().pending, service.status().pid) == ("", pid)


async def test_template_error_while_running_keeps_files_and_process(workshop: Workshop) -> None:
    """A view that can't be rendered changes nothing; the error is shown until it is gone."""
    workshop.package(hooks__run=RUN, hooks__reconfigure=COUNT, config__web=CONFIG)
    service = await up(workshop, port=80)
    pid = service.status().pid
    workshop.view(service)
    await until(lambda: "no cfg.port" in service.status().reason)
    assert (service.status().process, service.status().pid) == ("up", pid)
    assert (workshop.paths.config / "web").read_text() == "port=80\n"
    workshop.view(service, port=81)
    await until(lambda: workshop.lines("reconfigured") == ["port=81"])
    assert service.status().reason == ""


async def test_template_error_at_first_start_fails_until_the_context_changes(
    workshop: Workshop,
) -> None:
    """Without its values a service is not started; the next context is another try."""
    workshop.package(hooks__run=RUN, config__web=CONFIG)
    service = workshop.up()
    await until(lambda: service.status().process == "failed")
    assert "no cfg.port" in service.status().reason
    assert workshop.log == []
    workshop.view(service, port=80)
    await until(lambda: service.status().process == "up")


async def test_template_error_at_first_start_is_not_a_start_for_every_view(
    workshop: Workshop,
) -> None:
    """What a failed service publishes comes back in its next view: that must not start a circle."""
    workshop.package(hooks__run=RUN, config__web=CONFIG)
    service = workshop.up()
    await until(lambda: service.status().process == "failed")
    await asyncio.wait_for(service.changed(), 1)
    for turn in range(5):
        workshop.view(service, echo=turn)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.changed(), 0.05)
    assert service.status().process == "failed"


async def test_config_restart_is_held_while_the_topology_forbids_a_start(
    workshop: Workshop,
) -> None:
    """A service that could not come back is not taken down for a configuration."""
    workshop.package(hooks__run=RUN, config__web=CONFIG)
    service = await up(workshop, port=80)
    pid = service.status().pid
    workshop.view(service, may_start=False, reason="no quorum", port=81)
    await until(lambda: "no quorum" in service.status().pending)
    assert service.status().pid == pid
    workshop.view(service, port=81)
    await until(lambda: service.status().process == "up" and service.status().pid != pid)


SUPERVISOR = """
import asyncio, os, sys
from pathlib import Path
from tests.service.conftest import Workshop, until

async def main():
    workshop = Workshop(Path(sys.argv[1]))
    service = workshop.service()
    service.start()
    workshop.view(service, port=80, version="v1")
    await until(lambda: service.status().process == "up" and workshop.paths.pid_file.exists()
                and workshop.log)
    os._exit(9)

asyncio.run(main())
"""


def die_as_supervisor(directory: Path) -> None:
    """Start the service in another supervisor, which then ends without a word."""
    repository = Path(__file__).parents[2]
    path = os.pathsep.join([*map(os.path.abspath, sys.path), str(repository)])
    result = subprocess.run(
        [sys.executable, "-c", SUPERVISOR, str(directory)],
        env={**os.environ, "PYTHONPATH": path},
        timeout=60,
        check=False,
    )
    assert result.returncode == 9


async def test_adoption_after_supervisor_death_keeps_the_process(workshop: Workshop) -> None:
    """The next supervisor on the same directory manages the process that is there."""
    release = workshop.directory / "release"
    workshop.package(
        hooks__run=RUN,
        hooks__reconfigure=COUNT,
        hooks__health_check=f"until [ -e {release} ]; do sleep 0.02; done",
        config__web=CONFIG,
    )
    die_as_supervisor(workshop.directory)
    identity = load_identity(workshop.paths.process_json)
    assert identity is not None
    service = workshop.service()
    service.start()
    workshop.view(service, version="v1", port=80)
    await until(lambda: service.status().config_version == "v1")
    assert (service.status().process, service.status().pid) == ("adopted", identity.pid)
    since_s = service.status().since_s
    release.touch()
    await until(lambda: service.status().process == "up")  # the first check has run
    assert service.status().since_s == since_s
    assert service.status().restarts == 0
    assert workshop.log == ["start"]
    workshop.view(service, version="v2", port=81)
    await until(lambda: workshop.lines("reconfigured") == ["port=81"])
    assert service.status().pid == identity.pid


async def test_adoption_with_a_change_meanwhile_applies_it(workshop: Workshop) -> None:
    """A configuration that came while no supervisor was there is not overlooked."""
    workshop.package(hooks__run=RUN, config__web=CONFIG)
    die_as_supervisor(workshop.directory)
    identity = load_identity(workshop.paths.process_json)
    assert identity is not None
    service = workshop.service()
    service.start()
    workshop.view(service, version="v2", port=81)
    await until(lambda: service.status().config_version == "v2")
    assert service.status().process == "up"
    assert service.status().pid != identity.pid
    await until(lambda: workshop.log == ["start", "start"])


async def test_adoption_wanted_down_stops_the_process(workshop: Workshop) -> None:
    """A service that was put down while no supervisor was there is stopped, without any view."""
    workshop.package(hooks__run=RUN, config__web=CONFIG)
    die_as_supervisor(workshop.directory)
    service = workshop.service(desired="down")
    service.start()
    await until(lambda: service.status().last_exit == "unknown")
    await until(lambda: service.status().process == "down")


async def test_unrecorded_process_of_a_dead_supervisor_is_replaced_not_doubled(
    workshop: Workshop,
) -> None:
    """Without a record a process can't be adopted; it is ended before the new start."""
    workshop.package(hooks__run=RUN, config__web=CONFIG)
    die_as_supervisor(workshop.directory)
    identity = load_identity(workshop.paths.process_json)
    assert identity is not None
    workshop.paths.process_json.unlink()
    service = await up(workshop, port=80)
    assert service.status().process == "up"
    assert service.status().pid != identity.pid
    await until(lambda: workshop.log == ["start", "start"])


async def test_detach_leaves_the_process_for_the_next(workshop: Workshop) -> None:
    """A supervisor that is replaced in good order hands its process over."""
    workshop.package(hooks__run=RUN, config__web=CONFIG)
    first = await up(workshop, port=80)
    pid = first.status().pid
    await until(workshop.paths.pid_file.exists)
    await first.detach()
    workshop.services.remove(first)
    second = workshop.service()
    second.start()
    await until(lambda: second.status().process in ("adopted", "up"))
    assert second.status().pid == pid


async def test_reconfigure_that_failed_is_run_for_the_way_back_too(workshop: Workshop) -> None:
    """A hook that failed may have done half of it: the old configuration is a change then."""
    workshop.package(
        hooks__run=RUN,
        hooks__reconfigure=f'{COUNT}\n! grep -q 81 "$SUP_CONFIG_DIR/web"',
        config__web=CONFIG,
    )
    service = await up(workshop, port=80)
    workshop.view(service, version="v2", port=81)
    await until(lambda: "reconfigure hook" in service.status().pending)
    await until(lambda: "tried again" in service.status().pending)
    workshop.view(service, version="v3", port=80)
    await until(lambda: service.status().config_version == "v3")
    assert workshop.lines("reconfigured")[-1] == "port=80"


async def test_reconfigure_cut_off_by_the_supervisors_end_is_run_again(workshop: Workshop) -> None:
    """What is on record while the hook runs is that nobody knows what the process has."""
    workshop.package(
        hooks__run=RUN, hooks__reconfigure=f"{COUNT}\nexec sleep 60", config__web=CONFIG
    )
    service = await up(workshop, port=80)
    workshop.view(service, version="v2", port=81)
    await until(lambda: workshop.lines("reconfigured") == ["port=81"])
    await service.detach()
    workshop.services.remove(service)
    workshop.package(hooks__run=RUN, hooks__reconfigure=COUNT, config__web=CONFIG)
    following = workshop.service()
    following.start()
    workshop.view(following, version="v3", port=80)
    await until(lambda: following.status().config_version == "v3")
