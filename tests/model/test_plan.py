"""``plan.toml``: defaults, and one line for every mistake."""

from __future__ import annotations

import signal

import pytest

from sup.errors import OperatorError
from sup.model.plan import for_command, parse_plan

FULL = b"""
[package]
origin = "acme"
name = "redis"
version = "7.2.0"
description = "a store"
license = "BSD"
[exports]
port = "server.port"
[binds]
database = ["port", "host"]
[binds_optional]
metrics = ["port"]
[service]
user = "redis"
group = "redis"
stop_signal = "SIGINT"
stop_timeout = 3
command = ["redis-server", "redis.conf"]
strict = false
exposes = ["port"]
[service.health]
kind = "tcp"
interval = 5
timeout = 2.5
failures_before_critical = 3
[service.health.settings]
port = 6379
"""


def test_parse_full_plan_keeps_every_value() -> None:
    """Every key of the format is read; whole numbers serve as seconds."""
    plan = parse_plan(FULL, "plan.toml")
    assert plan.ident == "acme/redis/7.2.0"
    assert plan.exports == {"port": "server.port"}
    assert plan.binds == {"database": ["port", "host"]}
    assert plan.service.stop_signal_number == signal.SIGINT
    assert plan.service.stop_timeout == 3
    assert plan.service.argv == ("redis-server", "redis.conf")
    assert not plan.service.strict
    assert plan.service.health.settings == {"port": 6379}
    assert plan.service.health.failures_before_critical == 3


def test_parse_startup_and_liveness_are_absent_unless_written() -> None:
    """A plan without them has readiness alone; with them, each has defaults of its own."""
    plan = parse_plan(b'[package]\nname = "app"', "plan.toml")
    assert list(plan.service.probes) == ["readiness"]
    text = b'[package]\nname = "app"\n[service.startup]\n[service.liveness]\nkind = "tcp"'
    probes = parse_plan(text, "plan.toml").service.probes
    assert list(probes) == ["startup", "readiness", "liveness"]
    assert (probes["startup"].failures_before_critical, probes["startup"].interval) == (30, 5)
    assert (probes["liveness"].failures_before_critical, probes["liveness"].kind) == (3, "tcp")


def test_parse_name_alone_gives_documented_defaults() -> None:
    """The shortest plan is a name."""
    plan = parse_plan(b'[package]\nname = "app"', "plan.toml")
    assert plan.ident == "local/app/0"
    assert plan.service.stop_signal_number == signal.SIGTERM
    assert (plan.service.stop_timeout, plan.service.strict, plan.service.argv) == (8, True, None)
    health = plan.service.health
    assert (health.kind, health.interval, health.timeout) == ("exec", 30, 10)
    assert health.failures_before_critical == 1


def test_argv_of_text_command_is_a_shell() -> None:
    """A string is shell text; a list is taken as it is."""
    plan = parse_plan(b'[package]\nname="a"\n[service]\ncommand="a && b"', "plan.toml")
    assert plan.service.argv == ("/bin/sh", "-c", "a && b")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "p: 'package' is missing; add it"),
        ("package = 1", "p: package: expected table, got integer"),
        ('[package]\nnam = "x"', "p: package: unknown key 'nam'; did you mean 'name'?"),
        ("[package]\nname = 1", "p: package.name: expected string, got integer"),
        ('[service]\nstop_timeout = "8"', "p: service.stop_timeout: expected number, got string"),
        ("[service]\nstop_timeout = true", "p: service.stop_timeout: expected number, got boolean"),
        ("[service]\nstop_timeout = -1", "p: service.stop_timeout: expected number >= 0.0, got -1"),
        (
            "[service]\nexposs = []",
            "p: service: unknown key 'exposs'; did you mean 'exposes'?",
        ),
        ("[servce]", "p: unknown key 'servce'; did you mean 'service'?"),
        ("[service.health]\nintervall = 1", "did you mean 'interval' or"),
        ("[service.health]\nqqq = 1", "unknown key 'qqq'; known: kind, interval"),
        (
            "[service.liveness]\nrestart_share = 0",
            "p: service.liveness.restart_share: expected number > 0.0, got 0",
        ),
        ('[service.startup]\nkind = "a b"', "p: service.startup.kind 'a b' is not a name"),
        (
            "[service.health]\nfailures_before_warning = 1",
            "service.health.failures_before_warning is 1, it must be less than",
        ),
        ("[service]\nstop_timeout = nan", "p: service.stop_timeout"),
        ("[service]\ncommand = 3", "p: service.command: expected string or array, got integer"),
        ('[service]\ncommand = ["a", 3]', "p: service.command[1]: expected string, got integer"),
        ("[service]\ncommand = []", "p: service.command is empty; give a program to run"),
        ('[service]\ncommand = " "', "p: service.command is empty"),
        ('[service]\ncommand = "a\\u0000b"', "p: service.command has a zero byte"),
        ('[service]\nstop_signal = "TRM"', "p: service.stop_signal 'TRM' is not a signal"),
        ('[service]\nexposes = ["prt"]\n[exports]\nport="a"', "did you mean 'port'?"),
        ("[exports]\nport = 3", "p: exports.port: expected string, got integer"),
        ('[exports]\nport = "a..b"', "p: exports.port: 'a..b' is not a path"),
        ('[exports]\n"a b" = "x"', "p: exports: name 'a b' is not a name"),
        ('[binds]\ndb = ["a", 3]', "p: binds.db[1]: expected string, got integer"),
        ("[binds]\ndb=[]\n[binds_optional]\ndb=[]", "p: bind 'db' is in [binds] and in"),
        ("[service]\nuser = [", "p:4:9: "),
    ],
)
def test_parse_mistake_gives_one_line_with_path(text: str, line: str) -> None:
    """What, the value, and what to do; the file is named as it was given."""
    if not text.startswith(("[package]", "package")) and text:
        text = f'[package]\nname = "x"\n{text}'
    with pytest.raises(OperatorError) as caught:
        parse_plan(text.encode(), "p")
    assert line in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("key", ["name", "origin", "version"])
@pytest.mark.parametrize("value", ["", "../x", "a/b", "a b", "x" * 65])
def test_parse_identity_that_is_a_path_is_refused(key: str, value: str) -> None:
    """Names become directories: nothing that leads elsewhere is one."""
    table = {"name": "x", key: value}
    text = "[package]\n" + "".join(f'{k} = "{v}"\n' for k, v in table.items())
    with pytest.raises(OperatorError, match=rf"^p: package\.{key}"):
        parse_plan(text.encode(), "p")


def test_parse_too_many_exports_says_the_bound() -> None:
    """Exports are gossiped, so their number is bounded."""
    text = '[package]\nname="x"\n[exports]\n' + "".join(f'e{i} = "a"\n' for i in range(65))
    with pytest.raises(OperatorError, match="exports has 65 entries, limit is 64"):
        parse_plan(text.encode(), "p")


def test_for_command_has_no_ident() -> None:
    """A wrapped program is not a package: its ident is ``-``."""
    plan = for_command("legacy", ["sleep", "9"])
    assert plan.ident == "-"
    assert plan.package.name == "legacy"
    assert plan.service.argv == ("sleep", "9")
    with pytest.raises(OperatorError, match="service name 'a b' is not a name"):
        for_command("a b", "true")
    with pytest.raises(OperatorError, match="command is empty"):
        for_command("a", [])
