"""The hooks of a service as real processes: when each runs, what its end means, and its bounds."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from tests.service.conftest import Workshop, until

from sup import events
from sup.edge.process_tree import find_marked
from sup.edge.releases import Releases
from sup.edge.render_files import render
from sup.edge.service_dir import mark_prefix
from sup.model.event_log import EventLog
from sup.service import Service
from sup.service_hook_runs import OUTPUT_CHARACTERS_MAX
from sup.service_hooks import InstallTurn

RUN = "exec sleep 60"
NOTE = 'echo "$(basename "$0")" >> data/order'


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[EventLog]:
    """A list of events of this test's own."""
    log = EventLog()
    monkeypatch.setattr(events, "kept", log)
    return log


@pytest.fixture
def installs(workshop: Workshop) -> InstallTurn:
    """The memory of releases in the workshop's state directory."""
    state = workshop.directory / "state"
    state.mkdir(exist_ok=True)
    return InstallTurn(Releases(state))


def told(kind: str = "hook") -> list[str]:
    """Texts of the events of a kind."""
    return [event.text for event in events.kept.since(0, kinds=frozenset({kind}))[0]]


def up(service: Service) -> bool:
    return service.status().process == "up"


async def test_hooks_run_in_the_order_of_a_service_life(
    workshop: Workshop, installs: InstallTurn
) -> None:
    """install once, init before and post-run after each start, post-stop after each stop,
    uninstall last.
    """
    hooks = ("install", "init", "post_run", "post_stop", "uninstall")
    workshop.package(hooks__run=f"{NOTE}; {RUN}", **{f"hooks__{hook}": NOTE for hook in hooks})
    service = workshop.up(installs=installs)
    await until(lambda: len(workshop.lines("order")) == 4)
    await service.restart()
    await until(lambda: len(workshop.lines("order")) == 8)
    await service.stop()
    assert await service.uninstall() == ""
    again = ["init", "run", "post-run", "post-stop"]
    order = workshop.lines("order")
    # run and post-run begin together; which of them writes first is theirs.
    assert [hook for hook in order if hook != "run"] == [
        "install",
        *[hook for hook in [*again, *again] if hook != "run"],
        "uninstall",
    ]
    assert order.count("run") == 2
    assert told() == ["installed local/web/0", "uninstalled local/web/0"]


# ---- install, uninstall --------------------------------------------------------------------------


async def test_install_is_remembered_by_release_beyond_the_supervisor(workshop: Workshop) -> None:
    """Another supervisor does not install again; an edited package is another release."""
    workshop.package(hooks__install=NOTE, hooks__run=RUN)
    for _ in range(2):
        state = workshop.directory / "state"
        state.mkdir(exist_ok=True)
        service = workshop.up(installs=InstallTurn(Releases(state)))
        await until(lambda service=service: up(service))
        await service.stop()
    assert workshop.lines("order") == ["install"]
    workshop.package(hooks__install=f"{NOTE} # changed", hooks__run=RUN)
    service = workshop.up(installs=InstallTurn(Releases(state)))
    await until(lambda: up(service))
    assert workshop.lines("order") == ["install", "install"]


async def test_install_failing_is_a_failed_start_with_backoff_until_it_succeeds(
    workshop: Workshop, installs: InstallTurn
) -> None:
    """Nothing is started on a release that is not installed; the reason is shown and told once."""
    workshop.package(
        hooks__install=f"{NOTE}; test -e data/mended || {{ echo no room; exit 7; }}",
        hooks__init="echo init >> data/inits",
        hooks__run=RUN,
    )
    service = workshop.up(installs=installs)
    await until(lambda: workshop.lines("order").count("install") >= 3)
    status = service.status()
    assert status.process in ("backoff", "starting")
    await until(lambda: "install hook exited with code 7: no room" in service.status().reason)
    assert told() == ["install hook exited with code 7: no room"]
    assert workshop.lines("inits") == []
    (workshop.paths.data / "mended").touch()
    await until(lambda: up(service))
    assert installs.releases.has("local/web/0", service._acts.hooks._digest)


async def test_uninstall_failing_leaves_the_release_remembered(
    workshop: Workshop, installs: InstallTurn
) -> None:
    """The next time it is asked again, and the install hook is not."""
    workshop.package(hooks__uninstall="echo busy; exit 1", hooks__run=RUN)
    service = workshop.up(installs=installs)
    await until(lambda: up(service))
    await service.stop()
    assert await service.uninstall() == "uninstall hook exited with code 1: busy"
    assert installs.releases.has("local/web/0", service._acts.hooks._digest)


async def test_uninstall_of_what_was_never_started_runs_nothing(
    workshop: Workshop, installs: InstallTurn
) -> None:
    """A service that was held all its life has installed nothing."""
    workshop.package(hooks__uninstall=NOTE, hooks__run=RUN)
    service = workshop.service(installs=installs)
    assert await service.uninstall() == ""
    assert workshop.lines("order") == []


async def test_install_of_one_package_runs_once_for_two_services(
    workshop: Workshop, installs: InstallTurn
) -> None:
    """Two that start together wait for one hook."""
    workshop.package(hooks__install=f"sleep 0.3; {NOTE}", hooks__run=RUN)
    first, second = workshop.service(installs=installs), workshop.service(installs=installs)
    await first._acts.processes.prepare()
    view = {"cfg": {}}
    await first._acts.processes.write(render(first.package, view))
    answers = await asyncio.gather(first._acts.hooks.install(), second._acts.hooks.install())
    assert answers == ["", ""]
    assert workshop.lines("order") == ["install"]


# ---- suitability ---------------------------------------------------------------------------------


async def test_suitability_is_the_last_line_of_stdout_alone(workshop: Workshop) -> None:
    """What the hook says on stderr is no answer; the status has the value."""
    workshop.package(hooks__suitability="echo thinking; echo 12; echo 99 >&2", hooks__run=RUN)
    service = workshop.up()
    await until(lambda: up(service))
    assert await service.suitability() == 12
    assert service.hooks()["suitability"]["value"] == 12
    assert service.hooks()["suitability"]["output"] == "thinking\n12\n99\n"


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("echo 5; exit 1", "suitability hook exited with code 1: 5"),
        ("echo fit", "suitability hook said no number: 'fit'"),
        ("true", "suitability hook said no number: ''"),
    ],
)
async def test_suitability_that_fails_is_none_and_an_event(
    workshop: Workshop, script: str, text: str
) -> None:
    """A member of unknown fitness is told as that, never as a number that it did not say."""
    workshop.package(hooks__suitability=script, hooks__run=RUN)
    service = workshop.up()
    assert await service.suitability() is None
    assert told() == [text]


async def test_suitability_asked_often_runs_once(workshop: Workshop) -> None:
    """Who asks meanwhile or soon after shares the answer; a caller that gives up costs nothing."""
    workshop.package(hooks__suitability=f"sleep 0.3; {NOTE}; echo 3", hooks__run=RUN)
    service = workshop.up()
    await until(lambda: up(service))
    given_up = asyncio.create_task(service.suitability())
    await asyncio.sleep(0.05)
    given_up.cancel()
    assert await asyncio.gather(*(service.suitability() for _ in range(5))) == [3] * 5
    assert await service.suitability() == 3
    assert workshop.lines("order") == ["suitability"]


async def test_suitability_answers_before_the_first_start(workshop: Workshop) -> None:
    """An election holds the start and needs the answer: the hook is rendered for it."""
    workshop.package(hooks__suitability="echo {{cfg.fit}}", hooks__run=RUN)
    service = workshop.service()
    service.start()
    workshop.view(service, may_start=False, reason="election", fit=41)
    await until(lambda: service.status().reason)
    assert await service.suitability() == 41
    assert service.status().process == "down"


async def test_suitability_that_hangs_is_ended_with_its_children(workshop: Workshop) -> None:
    """The plan's time-out bounds the answer; no process of the hook is left."""
    workshop.package(
        "[service.hooks]\nsuitability = 0.3\n",
        hooks__suitability="setsid sleep 60 & sleep 60",
        hooks__run="exit 0",
    )
    service = workshop.service()
    service.start()
    workshop.view(service, may_start=False, reason="election")
    began = time.monotonic()
    assert await service.suitability() is None
    assert time.monotonic() - began < 10
    assert "timed out" in told()[0]
    assert find_marked(mark_prefix(workshop.paths)) == []


async def test_suitability_without_the_hook_is_none(workshop: Workshop) -> None:
    """The usual case costs nothing."""
    service = workshop.up(["sleep", "60"])
    assert await service.suitability() is None
    assert service.hooks() == {}


# ---- demote --------------------------------------------------------------------------------------


async def test_demote_hook_that_succeeds_keeps_the_process(workshop: Workshop) -> None:
    """The service has given the leadership up by itself."""
    workshop.package(hooks__demote=NOTE, hooks__run=RUN)
    service = workshop.up()
    await until(lambda: up(service))
    pid = service.status().pid
    assert await service.demote(5)
    assert service.status().pid == pid
    assert workshop.lines("order") == ["demote"]


@pytest.mark.parametrize("script", ["exit 1", "setsid sleep 60 & sleep 60", None])
async def test_demote_that_does_not_succeed_in_time_stops_the_process(
    workshop: Workshop, script: str | None
) -> None:
    """Failing, hanging or without a hook: when it returns no process of the old one is left, even
    while the topology holds the next start; it comes up when that lets it.
    """
    hooks = {} if script is None else {"hooks__demote": script}
    workshop.package(hooks__run=RUN, **hooks)
    service = workshop.up()
    await until(lambda: up(service))
    pid = service.status().pid
    workshop.view(service, may_start=False, reason="somebody else leads")
    began = time.monotonic()
    assert not await service.demote(0.3)
    assert time.monotonic() - began < 10
    assert service.status().pid is None
    assert find_marked(mark_prefix(workshop.paths)) == []
    await until(lambda: "somebody else leads" in service.status().reason)
    workshop.view(service)
    await until(lambda: up(service))
    assert service.status().pid != pid
    assert any("leadership is lost" in text for text in told())


async def test_demote_of_a_service_that_is_down_is_done(workshop: Workshop) -> None:
    """Nothing that could lead runs."""
    workshop.package(hooks__demote=NOTE, hooks__run=RUN)
    service = workshop.up(desired="down")
    await until(lambda: service.status().process == "down")
    assert await service.demote(5)
    assert workshop.lines("order") == []


# ---- pre-update ----------------------------------------------------------------------------------


async def test_pre_update_veto_keeps_the_process_and_its_files(workshop: Workshop) -> None:
    """A change that would restart waits, visibly, and is tried again; then it goes through."""
    workshop.package(
        hooks__pre_update=f"{NOTE}; test -e data/drained || {{ echo 3 clients; exit 1; }}",
        hooks__run=RUN,
        config__web="port={{cfg.port}}",
    )
    service = workshop.service()
    service.start()
    workshop.view(service, port=1)
    await until(lambda: up(service))
    pid = service.status().pid
    workshop.view(service, port=2)
    await until(lambda: len(workshop.lines("order")) >= 3)
    assert "restart is vetoed: pre-update hook exited with code 1: 3 clients" in (
        service.status().pending
    )
    assert (workshop.paths.config / "web").read_text() == "port=1"
    assert service.status().pid == pid
    (workshop.paths.data / "drained").touch()
    await until(lambda: service.status().pid not in (pid, None))
    await until(lambda: (workshop.paths.config / "web").read_text() == "port=2")
    assert service.status().pending == ""


async def test_pre_update_is_not_asked_for_a_reconfigure(workshop: Workshop) -> None:
    """What does not take the service down needs nobody's leave."""
    workshop.package(
        hooks__pre_update=NOTE,
        hooks__reconfigure=NOTE,
        hooks__run=RUN,
        config__web="port={{cfg.port}}",
    )
    service = workshop.service()
    service.start()
    workshop.view(service, port=1)
    await until(lambda: up(service))
    workshop.view(service, port=2)
    await until(lambda: workshop.lines("order"))
    assert workshop.lines("order") == ["reconfigure"]


async def test_pre_update_as_an_update_strategy_asks(workshop: Workshop) -> None:
    """The interface for a new release: why not, or empty; nothing to ask while it is down."""
    workshop.package(hooks__pre_update="echo busy; exit 1", hooks__run=RUN)
    service = workshop.up()
    await until(lambda: up(service))
    assert await service.pre_update() == "pre-update hook exited with code 1: busy"
    service.set_desired(False)
    await service.settled()
    assert await service.pre_update() == ""


# ---- bounds --------------------------------------------------------------------------------------


async def test_init_timeout_of_the_plan_fails_the_start_and_kills_the_tree(
    workshop: Workshop,
) -> None:
    """[service.hooks] wins over the default; the hook's children go with it."""
    workshop.package(
        "[service.hooks]\ninit = 0.2\n",
        hooks__init="setsid sleep 61 & echo $! > data/child; sleep 60",
        hooks__run=RUN,
    )
    service = workshop.up()
    await until(lambda: "init hook timed out after" in service.status().reason)
    service.set_desired(False)
    await until(lambda: service.status().process == "down")
    assert find_marked(mark_prefix(workshop.paths)) == []
    assert len(told()) == 1  # the same failure again and again is one event


async def test_hook_output_is_bounded_in_the_status_and_in_the_event(workshop: Workshop) -> None:
    """The tail of a flood is kept, and the event is one bounded line."""
    workshop.package(hooks__post_run="seq 1 200000; exit 4", hooks__run=RUN)
    service = workshop.up()
    await until(lambda: "post-run" in service.hooks())
    run = service.hooks()["post-run"]
    assert run["exit_code"] == 4
    assert len(run["output"]) == OUTPUT_CHARACTERS_MAX
    assert run["output"].endswith("200000\n")
    assert told() == ["post-run hook exited with code 4: 200000"]


# ---- file-updated --------------------------------------------------------------------------------


async def test_file_updated_names_the_files_to_a_running_service_alone(
    workshop: Workshop,
) -> None:
    """Who is down finds the files at its next start."""
    workshop.package(
        hooks__file_updated='echo "$SUP_FILES_CHANGED" >> data/changed', hooks__run=RUN
    )
    service = workshop.up(desired="down")
    await service.file_updated(["early"])
    service.set_desired(True)
    await until(lambda: up(service))
    await service.file_updated(["ca.pem", "acl"])
    assert workshop.lines("changed") == ["ca.pem acl"]


async def test_file_updated_ends_with_the_process(workshop: Workshop) -> None:
    """A hook that hangs does not hold a stop up."""
    workshop.package(hooks__file_updated="touch data/begun; sleep 60", hooks__run=RUN)
    service = workshop.up()
    await until(lambda: up(service))
    telling = asyncio.create_task(service.file_updated(["a"]))
    await until((workshop.paths.data / "begun").exists)
    began = time.monotonic()
    await service.stop()
    await telling
    assert time.monotonic() - began < 10
