"""Commands that change something: what they send, what they refuse, what they wait for."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tests.cli.conftest import CliApi, Sup

from sup.errors import ExitCode


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The smallest package with a run hook."""
    directory = tmp_path / "web"
    (directory / "hooks").mkdir(parents=True)
    (directory / "plan.toml").write_text('[package]\nname = "web"\norigin = "me"\n')
    run = directory / "hooks" / "run"
    run.write_text("#!/bin/sh\nexec sleep 60\n")
    run.chmod(0o755)
    return directory


def test_config_apply_sends_the_file(
    sup: Sup, state_dir: Path, api: CliApi, tmp_path: Path
) -> None:
    """Bytes, group and options arrive as they are."""
    file = tmp_path / "new.toml"
    file.write_text("a = 2\n")
    done = sup("config", "apply", "web.default", str(file), "--replace", "--if-version", "")
    assert done.code == 0, done.err
    assert api.calls == [("apply", "web.default", b"a = 2\n", True, "")]
    assert "version v" in done.out


def test_config_apply_group_that_nobody_is_in_is_told(
    sup: Sup, state_dir: Path, api: CliApi, tmp_path: Path
) -> None:
    """It may be meant for those to come, or be a slip."""
    file = tmp_path / "new.toml"
    file.write_text("a = 2\n")
    api.applied = api.total = 0
    done = sup("config", "apply", "web.defualt", str(file))
    assert done.code == 0
    assert "nobody is in web.defualt yet" in done.err


def test_config_apply_stdin_json(
    sup: Sup, state_dir: Path, api: CliApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``-`` is stdin; ``--json`` is the interface's answer."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"a = 2\n")))
    done = sup("config", "apply", "web.default", "-", "--json")
    assert done.json["result"] == "accepted"
    assert api.calls == [("apply", "web.default", b"a = 2\n", False, None)]


def test_config_apply_bad_toml_names_file_and_place_and_sends_nothing(
    sup: Sup, state_dir: Path, api: CliApi, tmp_path: Path
) -> None:
    """The error names the operator's file, line and column."""
    file = tmp_path / "new.toml"
    file.write_text("a = 1\nb = \n")
    done = sup("config", "apply", "web.default", str(file))
    assert done.code == ExitCode.BAD_INPUT
    assert f"{file}:2:" in done.one_line()
    assert api.calls == []


def test_config_apply_too_large_refused_here(
    sup: Sup, state_dir: Path, api: CliApi, tmp_path: Path
) -> None:
    """A file over the bound is refused with the bound, without reading all of it."""
    file = tmp_path / "new.toml"
    file.write_text("#" * 70_000)
    done = sup("config", "apply", "web.default", str(file))
    assert done.code == ExitCode.BAD_INPUT
    assert "65536" in done.one_line()
    assert api.calls == []


def test_config_apply_conflict_exit_4(
    sup: Sup, state_dir: Path, api: CliApi, tmp_path: Path
) -> None:
    """A version that moved on is exit 4 and names the present one."""
    api.versions["web.default"] = "v7"
    file = tmp_path / "new.toml"
    file.write_text("a = 2\n")
    done = sup("config", "apply", "web.default", str(file), "--if-version", "v6")
    assert done.code == ExitCode.CONFLICT
    assert "v7" in done.one_line()


def test_config_apply_wait_all_applied(
    sup: Sup, state_dir: Path, api: CliApi, tmp_path: Path
) -> None:
    """The wait ends when everybody has it, and says how many that are."""
    file = tmp_path / "new.toml"
    file.write_text("a = 2\n")
    done = sup("config", "apply", "web.default", str(file), "--wait", "5")
    assert done.code == 0
    assert "3 of 3 members" in done.err


def test_config_apply_wait_too_long_exit_5_says_who_to_ask(
    sup: Sup, state_dir: Path, api: CliApi, tmp_path: Path
) -> None:
    """The configuration is applied all the same; only the wait failed."""
    api.applied = 2
    file = tmp_path / "new.toml"
    file.write_text("a = 2\n")
    done = sup("config", "apply", "web.default", str(file), "--wait", "0.3")
    assert done.code == ExitCode.TIMED_OUT
    assert "2 of 3 members" in done.err.splitlines()[-1]
    assert api.versions["web.default"]


def test_config_show_is_toml_with_its_story(sup: Sup, state_dir: Path, api: CliApi) -> None:
    """What is shown can be applied again."""
    import tomli

    api.versions["web.default"] = "v1"
    done = sup("config", "show", "web.default")
    assert tomli.loads(done.out) == {"a": 1, "t": {"b": "x"}}
    assert "# web.default, version v1" in done.out
    assert "3 of 3" in done.out


def test_config_show_none_exit_1(sup: Sup, state_dir: Path) -> None:
    """A group that never got a configuration says so."""
    done = sup("config", "show", "web.default")
    assert done.code == ExitCode.FAILED
    assert "no configuration" in done.one_line()


def test_start_directory_sends_absolute_path_and_options(
    sup: Sup, state_dir: Path, api: CliApi, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor may run in another directory, so the path is made absolute."""
    monkeypatch.chdir(package.parent)
    done = sup("start", "./web", "--group", "blue")
    assert done.code == 0, done.err
    ((_, request),) = api.calls
    assert request == {
        "name": "web",
        "group": "blue",
        "topology": "standalone",
        "strategy": "none",
        "package_dir": str(package),
    }


def test_start_bind_is_checked_here_and_sent(
    sup: Sup, state_dir: Path, api: CliApi, package: Path
) -> None:
    """A name that the plan does not have is refused before anything is sent."""
    plan = package / "plan.toml"
    plan.write_text(plan.read_text() + "[binds]\ndatabase = []\n")
    done = sup("start", str(package), "--bind", "databse:db.default")
    assert done.code == ExitCode.BAD_INPUT
    assert "did you mean 'database'?" in done.one_line()
    assert api.calls == []
    done = sup("start", str(package), "--bind", "database:db.default", "--binding-mode", "relaxed")
    assert done.code == 0, done.err
    ((_, request),) = api.calls
    assert request["binds"] == {"database": "db.default"}
    assert (request["binding_mode"], request["bind_ready"]) == ("relaxed", False)


def test_file_put_list_rm(sup: Sup, state_dir: Path, api: CliApi, tmp_path: Path) -> None:
    """The file's own name is used unless another is given; bytes go as they are."""
    file = tmp_path / "ca.pem"
    file.write_bytes(b"\x00\xff")
    assert sup("file", "put", "web.default", str(file)).out == (
        "ca.pem is on its way to web.default, version v\n"
    )
    assert sup("file", "put", "web.default", str(file), "--name", "x").code == 0
    assert sup("file", "rm", "web.default", "x").out == "x is taken back from web.default\n"
    assert api.calls == [
        ("put", "web.default", "ca.pem", b"\x00\xff"),
        ("put", "web.default", "x", b"\x00\xff"),
        ("rm", "web.default", "x"),
    ]
    assert "ca.pem  5      ab" in sup("file", "list", "web.default").out
    assert sup("file", "rm", "web.default", "none").code == ExitCode.FAILED


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (("put", "web.default", "-"), "--name"),
        (("put", "web.default", "/no/such/file"), "No such file"),
        (("put", "web.default", "/etc/passwd", "--name", ".hidden"), "not beginning with '.'"),
        (("put", "web.default", "/etc/passwd", "--name", "a/b"), "can't be used"),
    ],
)
def test_file_put_mistake_sends_nothing(
    sup: Sup, state_dir: Path, api: CliApi, args: tuple[str, ...], hint: str
) -> None:
    """What can be seen here is refused here."""
    done = sup("file", *args)
    assert done.code == ExitCode.BAD_INPUT
    assert hint in done.one_line()
    assert api.calls == []


def test_stop_unload_whose_uninstall_hook_failed_is_exit_1(
    sup: Sup, state_dir: Path, api: CliApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service is gone either way; the operator hears what is left of it."""

    async def unload(name: str) -> dict[str, str]:
        return {"service": name, "result": "unloaded", "problem": "uninstall hook timed out"}

    monkeypatch.setattr(api, "unload_service", unload)
    done = sup("stop", "web", "--unload")
    assert done.code == ExitCode.FAILED
    assert done.one_line() == "sup: web is unloaded, but its uninstall hook timed out"


def test_start_held_says_what_it_waits_for(
    sup: Sup, state_dir: Path, api: CliApi, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service that is loaded and held is not called started."""

    async def held(request: object) -> dict[str, str]:
        return {"process": "down", "reason": "start is held: bind db: nobody is in db.default"}

    monkeypatch.setattr(api, "start_service", held)
    done = sup("start", str(package))
    assert (done.code, done.err) == (0, "")
    assert done.out == "web is loaded; start is held: bind db: nobody is in db.default\n"


def test_start_bad_package_refused_here(
    sup: Sup, state_dir: Path, api: CliApi, package: Path
) -> None:
    """The package is checked before anything is sent."""
    (package / "hooks" / "run").chmod(0o644)
    done = sup("start", str(package))
    assert done.code == ExitCode.BAD_INPUT
    assert "chmod +x" in done.one_line()
    assert api.calls == []


def test_start_command_is_split_like_a_shell_does(sup: Sup, state_dir: Path, api: CliApi) -> None:
    """Quotes hold words together; no shell is involved."""
    assert sup("start", "--exec", "echo 'a b' c", "--name", "say").code == 0
    ((_, request),) = api.calls
    assert request["command"] == ["echo", "a b", "c"]


def test_start_name_starts_a_loaded_service(sup: Sup, state_dir: Path, api: CliApi) -> None:
    """A word that is no directory is the name of a stopped service."""
    assert sup("start", "web").code == 0
    assert api.calls == [("desired", "web", "up")]


def test_start_name_unknown_says_both_readings(sup: Sup, state_dir: Path) -> None:
    """A word that is neither a directory nor a service names both."""
    done = sup("start", "none")
    assert done.code == ExitCode.FAILED
    assert "directory" in done.one_line()


@pytest.mark.parametrize(
    ("args", "call"), [(("stop", "web"), ("stop", "web")), (("depart", "bert"), ("depart", "bert"))]
)
def test_change_reaches_the_supervisor(
    sup: Sup, state_dir: Path, api: CliApi, args: tuple[str, ...], call: tuple[str, ...]
) -> None:
    """One command, one request."""
    assert sup(*args).code == 0
    assert sup(*args, "--json").json
    assert api.calls == [call, call]


def test_name_with_a_slash_is_one_segment(sup: Sup, state_dir: Path, api: CliApi) -> None:
    """A strange name can't reach another resource."""
    assert sup("depart", "a/../b").code == 0
    assert api.calls == [("depart", "a/../b")]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The options that ``sup run`` starts a supervisor with; nothing is started."""
    found: list[Any] = []

    async def run(options: Any) -> int:
        found.append(options)
        return 0

    module = ModuleType("sup.supervisor")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sup.supervisor", module)
    monkeypatch.setattr("sup.supervisor", module, raising=False)
    # It would replace this very process by a launcher of more of the same.
    monkeypatch.setattr("sup.attach.become_launcher", lambda *_: None)
    return found


def test_run_becomes_the_launcher_only_as_a_program(
    sup: Sup, started: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller in the same process keeps it; the command itself is replaced by the launcher."""
    became: list[tuple[Any, ...]] = []
    monkeypatch.setattr("sup.attach.become_launcher", lambda *args: became.append(args))
    sup("run", "--state-dir", str(tmp_path))
    assert became == []
    monkeypatch.setattr("sup.cli.Program.is_sup", True)
    sup("run", "--state-dir", str(tmp_path), "--no-launcher")
    assert became == []
    sup("run", "--state-dir", str(tmp_path))
    assert became == [(tmp_path, "text")]
    monkeypatch.setenv("SUP_LAUNCHER_FD", "3")
    sup("run", "--state-dir", str(tmp_path))
    assert len(became) == 1
    assert [options.launcher_fd for options in started] == [None, None, None, 3]


def test_run_defaults(sup: Sup, started: list[Any], tmp_path: Path) -> None:
    """Without options: no service, loopback HTTP, gossip everywhere, this host's name."""
    assert sup("run", "--state-dir", str(tmp_path)).code == 0
    (options,) = started
    assert options.state_dir == tmp_path
    assert options.listen_http == "127.0.0.1:9631"
    assert options.listen_gossip == "0.0.0.0:9638"
    assert (options.service, options.plugins, options.peers) == (None, (), ())
    assert options.name


def test_run_options_and_environment_arrive(
    sup: Sup, started: list[Any], package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options beat variables; repeatable ones take words with commas as well."""
    monkeypatch.setenv("SUP_PEERS", "a,b:1 c")
    monkeypatch.setenv("SUP_PLUGINS", "rolling")
    monkeypatch.setenv("SUP_LISTEN_HTTP", "off")
    done = sup(
        *("run", str(package), "--plugin", "jinja", "--plugin", "leader", "--topology", "leader"),
        *("--supervisor-name", "anna", "--pause-tolerance", "500ms", "--log-format", "json"),
        *("--profile", "wan"),
    )
    assert done.code == 0, done.err
    (options,) = started
    assert options.peers == ("a", "b:1", "c")
    assert options.plugins == ("jinja", "leader")
    assert options.listen_http is None
    assert (options.name, options.pause_tolerance_s, options.log_format) == ("anna", 0.5, "json")
    assert options.profile == "wan"
    assert (options.service.name, options.service.topology) == ("web", "leader")
    assert options.service.package_dir == str(package)


def test_run_exec_makes_a_service_of_a_command(sup: Sup, started: list[Any]) -> None:
    """Any command can be wrapped."""
    assert sup("run", "--exec", "sleep 60", "--name", "nap").code == 0
    (options,) = started
    assert (options.service.name, options.service.command) == ("nap", ["sleep", "60"])


def test_run_bad_package_exit_2_and_nothing_started(
    sup: Sup, started: list[Any], package: Path
) -> None:
    """A mistake in the plan ends ``sup run`` before there is a supervisor."""
    (package / "plan.toml").write_text('[package]\nname = "web"\n[service]\nstop_timeuot = 1\n')
    done = sup("run", str(package))
    assert done.code == ExitCode.BAD_INPUT
    assert "stop_timeuot" in done.one_line()
    assert started == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script(sup: Sup, shell: str) -> None:
    """The script names the variable that the command line answers to."""
    assert f"_SUP_COMPLETE={shell}_complete" in sup("completion", shell).out


def test_completion_answers(
    sup: Sup, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the shell asks is answered: the commands that begin so."""
    monkeypatch.setenv("_SUP_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "sup sta")
    monkeypatch.setenv("COMP_CWORD", "1")
    with pytest.raises(SystemExit) as caught:
        sup()
    assert caught.value.code == 0
    assert capsys.readouterr().out.split() == ["plain,start", "plain,status"]


def test_plugin_list_without_and_with_a_supervisor(
    sup: Sup, state_dir: Path, tmp_path: Path
) -> None:
    """The list needs no supervisor; one that runs says what is active."""
    alone = sup("plugin", "list", "--json", "--state-dir", str(tmp_path / "none")).json["plugins"]
    assert {p["name"]: p["active"] for p in alone}["standalone"] is None
    running = sup("plugin", "list", "--json").json["plugins"]
    active = {p["name"]: p["active"] for p in running}
    assert active["standalone"] is True
    assert active["none"] is False
    assert "topology standalone" in sup("plugin", "list").out


def test_run_profile_and_tolerance_make_the_gossip_settings() -> None:
    """The profile gives the tolerance unless one was given."""
    from sup.options import SupervisorOptions
    from sup.supervisor import gossip_config
    from sup_core.config import Config

    assert gossip_config(SupervisorOptions()) == Config()
    assert gossip_config(SupervisorOptions(profile="wan")) == Config.wan()
    given = SupervisorOptions(profile="local", pause_tolerance_s=0.5)
    assert gossip_config(given) == Config.local(pause_tolerance_us=500_000)
