"""Time-outs of hooks, and the number in a suitability hook's last line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.edge.package_dir import HOOK_NAMES
from sup.errors import OperatorError
from sup.model.hook_rules import DEFAULT_TIMEOUTS_S, SUITABILITY_MAX, parse_suitability
from sup.model.plan import parse_plan


def times(text: str) -> object:
    plan = parse_plan(f'[package]\nname="a"\n[service.hooks]\n{text}'.encode(), "p")
    return plan.service.hooks


def test_timeout_plan_wins_over_the_caller_and_the_caller_over_the_table() -> None:
    """What the plan does not say has the caller's default, else that of the hook's kind."""
    hooks = parse_plan(b'[package]\nname="a"\n[service.hooks]\npost-run=2', "p").service.hooks
    assert hooks.timeout_s("post-run", 7) == 2
    assert hooks.timeout_s("init", 7) == 7
    assert hooks.timeout_s("init") == DEFAULT_TIMEOUTS_S["init"]


def test_every_hook_that_has_a_timeout_is_in_the_table_and_in_the_plan() -> None:
    """Only run, which has none, and the checks, which have their own, are not."""
    others = {hook for hook in HOOK_NAMES if hook == "run" or hook.endswith("-check")}
    assert set(DEFAULT_TIMEOUTS_S) == set(HOOK_NAMES) - others
    for hook in DEFAULT_TIMEOUTS_S:
        assert times(f"{hook} = 3").timeout_s(hook) == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("inti = 3", "service.hooks: unknown key 'inti'; did you mean 'init'"),
        ("init = 0", "service.hooks.init"),
        ("init = 86401", "service.hooks.init"),
        ("post_run = 1", "did you mean 'post-run'"),
    ],
)
def test_hooks_table_mistake_is_one_line(text: str, line: str) -> None:
    """A misspelt hook never has the default time-out in silence."""
    with pytest.raises(OperatorError) as caught:
        times(text)
    assert line in caught.value.message


@pytest.mark.parametrize(
    ("stdout", "number"),
    [
        ("7\n", 7),
        ("starting\n 12 \n\n", 12),
        ("-3", -3),
        ("+3", 3),
        ("", None),
        ("7\nseven", None),
        ("1.5", None),
        ("--3", None),
        ("٣", None),
        (str(SUITABILITY_MAX), SUITABILITY_MAX),
        (str(SUITABILITY_MAX + 1), None),
        (str(-SUITABILITY_MAX - 1), -SUITABILITY_MAX - 1),
        ("9" * 5000, None),
    ],
)
def test_suitability_is_the_integer_of_the_last_line(stdout: str, number: int | None) -> None:
    """Anything else is no suitability, rather than a guess."""
    assert parse_suitability(stdout) == number


@given(st.text())
def test_suitability_of_any_output_is_a_number_in_bounds_or_none(stdout: str) -> None:
    """A hook may say anything."""
    number = parse_suitability(stdout)
    assert number is None or abs(number) <= SUITABILITY_MAX + 1
