"""The contract kit fails what it must fail: each contract against policies that break it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import gc
import os
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime as direct_datetime
from pathlib import Path
from time import monotonic as direct_monotonic
from types import ModuleType
from typing import Any

import pytest

from sup.plugin_api import (
    Change,
    CheckContext,
    CheckResult,
    Health,
    Rendered,
    StrategyDecision,
    TemplateError,
    TopologyDecision,
)
from sup.testing import (
    EffectError,
    HealthCheckContract,
    RendererContract,
    StrategyContract,
    TopologyContract,
    check_plugin,
    covers,
    forbid_effects,
    make_group,
    make_member,
)


def contract(base: type, policy: Any) -> list[str]:
    """Names of the contract's tests that fail for ``policy``."""
    subject = base()
    subject.make = lambda: policy
    failed = []
    for name in dir(base):
        if name.startswith("test_"):
            try:
                getattr(subject, name)()
            except (AssertionError, TypeError, KeyError, AttributeError):
                failed.append(name)
    return failed


EFFECTS: dict[str, Callable[[], object]] = {
    "time": time.time,
    "time, imported by name": lambda: direct_monotonic(),
    "datetime": lambda: datetime.datetime.now(datetime.UTC),
    "datetime, imported by name": lambda: direct_datetime.now(datetime.UTC),
    "date": lambda: datetime.date.today(),
    "sleep": lambda: time.sleep(0),
    "chance": lambda: random.randint(1, 6),
    "chance by choice": lambda: random.choice("ab"),
    "urandom": lambda: os.urandom(1),
    "open": lambda: open("/dev/null").close(),
    "pathlib": lambda: Path("/dev/null").read_text(),
    "listdir": lambda: os.listdir("/"),
    "socket": lambda: socket.socket().close(),
    "process": lambda: subprocess.run(["true"], check=False),
    "thread": lambda: threading.Thread(target=print).start(),
    "print": lambda: print("hello"),  # noqa: T201
}


@pytest.mark.parametrize("effect", EFFECTS)
def test_forbid_effects_catches(effect: str) -> None:
    """Clocks, chance and I/O, however they were imported."""
    with pytest.raises(EffectError, match="decide must be pure"), forbid_effects("decide"):
        EFFECTS[effect]()


def test_forbid_effects_catches_what_the_code_swallows() -> None:
    """A policy that catches everything is still found out."""

    def sly() -> None:
        with contextlib.suppress(BaseException):
            time.time()

    with pytest.raises(EffectError), forbid_effects():
        sly()


def test_forbid_effects_allows_arithmetic_and_seeded_chance() -> None:
    """What is a function of its arguments is pure."""
    with forbid_effects():
        sorted({3, 1, 2})
        random.Random(7).random()
        datetime.timedelta(seconds=1) * 2
        b"text".hex()


def test_forbid_effects_garbage_of_others_is_not_blamed_on_the_block() -> None:
    """A finalizer that the collector would run in the block is not an effect of the block."""

    class Litter:
        def __init__(self) -> None:
            self.cycle = self

        def __del__(self) -> None:
            time.time()

    gc.collect()
    Litter()
    with forbid_effects():
        kept = [[number] for number in range(10_000)]
    assert len(kept) == 10_000
    assert gc.isenabled()


def test_forbid_effects_ends_with_the_block() -> None:
    """After it everything works again."""
    with forbid_effects():
        pass
    time.time()
    Path("/dev/null").read_text()


class _Strategy:
    def decide(self, group: Any, me: str, change: Change, now_us: int) -> Any:
        return StrategyDecision(go=True)


class _Clock(_Strategy):
    def decide(self, group: Any, me: str, change: Change, now_us: int) -> Any:
        return StrategyDecision(go=time.time() > 0)


class _Counts(_Strategy):
    asked = 0

    def decide(self, group: Any, me: str, change: Change, now_us: int) -> Any:
        self.asked += 1
        return StrategyDecision(go=bool(self.asked % 2), reason="odd")


class _Mutates(_Strategy):
    def decide(self, group: Any, me: str, change: Change, now_us: int) -> Any:
        for member in group.members:
            member.exports["seen"] = True
        return StrategyDecision(go=True)


class _Silent(_Strategy):
    def decide(self, group: Any, me: str, change: Change, now_us: int) -> Any:
        return StrategyDecision(go=False)


class _Yes(_Strategy):
    def decide(self, group: Any, me: str, change: Change, now_us: int) -> Any:
        return True


class _NeedsMe(_Strategy):
    def decide(self, group: Any, me: str, change: Change, now_us: int) -> Any:
        return StrategyDecision(go=group.member(me).alive)


@pytest.mark.parametrize(
    ("strategy", "failed"),
    [
        (_Strategy(), set()),
        (_Clock(), {"test_decide_does_no_io_and_reads_no_clock"}),
        (_Counts(), {"test_decide_same_arguments_same_decision"}),
        (_Mutates(), {"test_decide_changes_nothing_in_the_view"}),
        (_Silent(), {"test_strategy_decides_every_view"}),
        (_Yes(), {"test_strategy_decides_every_view"}),
    ],
)
def test_strategy_contract_finds(strategy: Any, failed: set[str]) -> None:
    """Each fault fails the test that is named for it, and a good strategy fails none."""
    assert set(contract(StrategyContract, strategy)) == failed


def test_strategy_contract_finds_the_missing_member() -> None:
    """A view in which "me" is not listed yet is normal at start."""
    assert contract(StrategyContract, _NeedsMe())


class _LeadsStranger:
    def decide(self, group: Any, me: str, now_us: int) -> TopologyDecision:
        return TopologyDecision(leader="ff" * 16)


def test_topology_contract_finds_a_leader_from_nowhere() -> None:
    """A leader is one of the members."""
    assert contract(TopologyContract, _LeadsStranger()) == ["test_topology_decides_every_view"]


class _Check:
    async def check(self, context: CheckContext) -> Any:
        return CheckResult(Health.OK)


class _Hangs(_Check):
    async def check(self, context: CheckContext) -> Any:
        await asyncio.sleep(3600)


class _Stubborn(_Check):
    async def check(self, context: CheckContext) -> Any:
        for _ in range(2):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
        return CheckResult(Health.OK)


class _Floods(_Check):
    async def check(self, context: CheckContext) -> Any:
        return CheckResult(Health.OK, "x" * 5000)


@pytest.mark.parametrize(
    ("check", "test"),
    [
        (_Check(), None),
        (_Hangs(), "test_check_returns_a_result_within_its_timeout"),
        (_Stubborn(), "test_check_can_be_cancelled"),
        (_Floods(), "test_check_returns_a_result_within_its_timeout"),
    ],
)
def test_health_check_contract_finds(
    check: Any, test: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Late, stubborn and talkative checks fail."""
    monkeypatch.setattr("sup.testing.health._GRACE_S", 0.05)

    class Quick(HealthCheckContract):
        def contexts(self) -> Sequence[CheckContext]:
            return [CheckContext("app", "/", None, True, 0.05)]

    failed = contract(Quick, check)
    assert (test in failed) if test else not failed


class _Format:
    """A toy language: ``{a.b}`` and ``[each]``; ``honest`` tells whether it tells what it read."""

    def __init__(self, *, honest: bool = True, place: bool = True) -> None:
        self.honest = honest
        self.place = place

    def compile(self, source: str, file: str, *, strict: bool) -> Any:
        line = 2 if self.place else 1
        if "{}" in source:
            raise TemplateError("empty name", file=file, line=line, column=1)
        toy = self

        class Toy:
            def render(self, context: Any) -> Rendered:
                text, reads = source, set()
                for path in ("cfg.port", "cfg.motto", "cfg.missing"):
                    if f"{{{path}}}" in text:
                        reads.add(path)
                        value = context.get("cfg", {}).get(path.removeprefix("cfg."), "")
                        if value == "" and strict:
                            raise TemplateError("?", file=file, line=3, column=1, name=path)
                        text = text.replace(f"{{{path}}}", str(value))
                if "[each]" in text:
                    reads.add("svc.members")
                    found = [m["sys"]["ip"] for m in _members(context)]
                    text = text.replace("[each]", "".join(f"{ip} " for ip in found))
                return Rendered(text, frozenset(reads if toy.honest else ()))

        return Toy()


def _members(context: Any) -> list[Any]:
    members = context.get("svc", {}).get("members", [])
    if not isinstance(members, list):
        return []
    return [m for m in members if isinstance(m, dict) and "ip" in (m.get("sys") or {})]


class _FormatContract(RendererContract):
    prints_port = "{cfg.port}"
    prints_motto = "{cfg.motto}"
    lists_members = "[each]"
    reads_missing = "1\n2\n{cfg.missing}\n"
    broken = "1\n{}\n"
    broken_line = 2


@pytest.mark.parametrize(
    ("renderer", "failed"),
    [
        (_Format(), set()),
        (_Format(place=False), {"test_compile_bad_syntax_is_an_error_with_its_line"}),
        (
            _Format(honest=False),
            {
                "test_render_missing_value_is_among_the_reads",
                "test_render_reads_cover_every_value_that_matters",
            },
        ),
    ],
)
def test_renderer_contract_finds(renderer: Any, failed: set[str]) -> None:
    """Wrong places and dishonest reads fail, a toy that keeps the contract does not."""
    assert set(contract(_FormatContract, renderer)) == failed


def test_covers_path_or_above() -> None:
    """A read stands for all below it, not for its namesakes."""
    reads = frozenset({"cfg.redis", "svc.members.0"})
    assert covers(reads, "cfg.redis")
    assert covers(reads, "cfg.redis.port")
    assert not covers(reads, "cfg.redis2")
    assert not covers(reads, "cfg")


def test_make_group_sorts_and_make_member_refuses_unknown_fields() -> None:
    """Views look as the census makes them."""
    group = make_group(*(make_member(n) for n in range(5)))
    assert [m.member_id for m in group.members] == sorted(m.member_id for m in group.members)
    assert make_member(2, state="dead").health is Health.UNKNOWN
    with pytest.raises(TypeError, match="a member has no colour"):
        make_member(1, colour="red")


def _module(tmp_path: Path, source: str) -> ModuleType:
    file = tmp_path / "some_plugin.py"
    file.write_text("from sup.plugin_api import hookimpl\n" + source)
    module = ModuleType("some_plugin")
    module.__file__ = str(file)
    exec(compile(file.read_text(), str(file), "exec"), module.__dict__)
    return module


def test_check_plugin_refuses_what_load_refuses(tmp_path: Path) -> None:
    """The author reads in a test what the operator would read at start."""
    with pytest.raises(AssertionError, match="it has no function marked"):
        check_plugin(_module(tmp_path, ""))
    with pytest.raises(AssertionError, match="provides nothing"):
        check_plugin(_module(tmp_path, "@hookimpl\ndef sup_topologies():\n    return {}\n"))


def test_check_plugin_refuses_private_imports(tmp_path: Path) -> None:
    """A plugin that reaches past the public API breaks with the next version of ours."""
    source = (
        "@hookimpl\ndef sup_topologies():\n"
        "    from sup.builtin import standalone\n"
        "    return {'mine': standalone.Standalone()}\n"
    )
    with pytest.raises(
        AssertionError, match=r"imports sup\.builtin; a plugin imports sup\.plugin_api"
    ):
        check_plugin(_module(tmp_path, source))
