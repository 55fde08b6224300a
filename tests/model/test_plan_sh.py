"""From the records of an evaluation to a plan: pure, so by tables and by any bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.errors import OperatorError
from sup.model.plan_sh import (
    HabitatPlan,
    PlanFacts,
    parse_records,
    plan_from,
    service_environment,
)

VALUES = {"pkg_name": "thing", "pkg_origin": "acme", "pkg_version": "1.2"}


def _plan(facts: PlanFacts, *, has_run_hook: bool = True) -> HabitatPlan:
    return plan_from(
        facts,
        "plan.sh",
        account=lambda user, group: (user, group),
        path_of=lambda ident: f"/pkgs/{ident}",
        prefix_of=lambda ident: f"/own/{ident}",
        has_run_hook=has_run_hook,
    )


def _facts(values: dict[str, str] | None = None, **more: object) -> PlanFacts:
    return PlanFacts(values={**VALUES, **(values or {})}, **more)  # type: ignore[arg-type]


def _bytes(*fields: str) -> bytes:
    return b"".join(field.encode() + b"\0" for field in fields)


def test_parse_records_of_every_kind() -> None:
    """What the shell says is taken field by field; values may hold anything but NUL."""
    facts = parse_records(
        _bytes("v", "pkg_name", "a\nb", "a", "l", "1", "a", "l", "2", "m", "t", "k.x", "v")
        + _bytes("f", "/x/plan.sh", "e", "push", "PATH", "/bin", "w", "plan.sh", "7", "127", "x y")
        + _bytes("x", "plan.sh", "9", "3", "said", "d")
    )
    assert facts.values == {"pkg_name": "a\nb"}
    assert facts.lists == {"l": ["1", "2"]}
    assert facts.tables == {"t": {"k.x": "v"}}
    assert facts.files == ["/x/plan.sh"]
    assert facts.environment == [("push", "PATH", "/bin")]
    assert str(facts.failures[0]) == "plan.sh:7: x y (exit 127)"
    assert facts.ended is not None
    assert facts.ended.line == 9
    assert facts.complete


@given(st.binary(max_size=400))
def test_parse_records_of_any_bytes_never_raises(data: bytes) -> None:
    """A plan can write to our descriptor; nonsense leaves the facts incomplete."""
    parse_records(data)


@given(st.lists(st.sampled_from(["v", "a", "m", "f", "e", "w", "x", "d", "", "7", "y"])))
def test_parse_records_of_forged_fields_never_raises(fields: list[str]) -> None:
    """The same with fields that look right."""
    parse_records(_bytes(*fields))


@pytest.mark.parametrize("cut", range(1, 12))
def test_parse_records_cut_anywhere_are_incomplete(cut: int) -> None:
    """A shell that was killed half-way is not taken for one that ended."""
    whole = _bytes("v", "n", "1", "d")
    assert parse_records(whole).complete
    assert not parse_records(whole[: min(cut, len(whole) - 1)]).complete


@pytest.mark.parametrize(
    ("command", "line"),
    [
        ("redis-server x", "exec redis-server x"),
        ("bin/haproxy -f x", "exec /own/acme/thing/1.2/bin/haproxy -f x"),
        ("/usr/bin/x y/z", "exec /usr/bin/x y/z"),
        ("$JAVA_HOME/bin/java", "exec $JAVA_HOME/bin/java"),
        ("@sup:pkg:core/node@/bin/node app.js", "exec /pkgs/core/node/bin/node app.js"),
        ("x @sup:svc@/config '@sup:prefix@/y'", "exec x @sup:svc@/config '/own/acme/thing/1.2/y'"),
    ],
)
def test_plan_run_command_is_the_packages(command: str, line: str) -> None:
    """A relative path is the package's program, marks are replaced, the rest is the shell's."""
    assert _plan(_facts({"pkg_svc_run": command})).plan.service.command == line


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pkg_name": ""}, "pkg_name is empty"),
        ({"pkg_version": ""}, "pkg_version is empty"),
        ({"pkg_name": "a.b"}, "pkg_name 'a.b' is not a name"),
        ({"pkg_version": "-"}, "pkg_version '-' is not a version"),
        ({"pkg_origin": "a/b"}, "pkg_origin"),
        ({"pkg_svc_run": "x" * 20000}, "limit is 16384"),
    ],
)
def test_plan_that_can_not_be_one_says_why(values: dict[str, str], message: str) -> None:
    """What a service can't do without is an error that names the variable."""
    with pytest.raises(OperatorError) as refusal:
        _plan(_facts(values))
    assert refusal.value.message.startswith("plan.sh")
    assert message in refusal.value.message


def test_plan_details_that_are_wrong_cost_a_warning() -> None:
    """Signal, time-out, exports and exposes: the rest of the plan stays usable."""
    found = _plan(
        _facts(
            {"pkg_shutdown_signal": "SIGNOPE", "pkg_shutdown_timeout_sec": "soon"},
            tables={"pkg_exports": {"port": "a.port", "bad": "a..b"}},
            lists={"pkg_exposes": ["port nothing"]},
        )
    )
    assert (found.plan.service.stop_signal, found.plan.service.stop_timeout) == ("TERM", 8.0)
    assert found.plan.exports == {"port": "a.port"}
    assert found.plan.service.exposes == ["port"]
    assert len(found.warnings) == 4


@pytest.mark.parametrize(("text", "signal"), [("USR1", "USR1"), ("SIGint", "INT"), ("", "TERM")])
def test_plan_signals_with_and_without_prefix(text: str, signal: str) -> None:
    """Habitat's names and the kernel's."""
    assert _plan(_facts({"pkg_shutdown_signal": text})).plan.service.stop_signal == signal


def test_service_environment_sets_pushes_and_leads_the_path() -> None:
    """set replaces, push goes before, and the package's programs before those of the system."""
    found = service_environment(
        (("set", "HOME_OF", "@sup:svc@/var"), ("push", "LIBS", "/a"), ("push", "LIBS", "/b")),
        ("/own/bin", "/dep/bin"),
        {"PATH": "/usr/bin:/own/bin", "LIBS": "/z"},
        "/sup/svc/x",
    )
    assert found == {
        "HOME_OF": "/sup/svc/x/var",
        "LIBS": "/b:/a:/z",
        "PATH": "/own/bin:/dep/bin:/usr/bin",
    }
