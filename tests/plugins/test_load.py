"""Loading plugins: by name only, and every way of being broken is one line that says whose."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest

from sup import plugins
from sup.builtin import BUILTINS
from sup.errors import ExitCode, OperatorError

GOOD = """
@hookimpl
def sup_topologies():
    return {"first": Leads()}

@hookimpl
def sup_update_strategies():
    return {"go": Goes(), "go-again": Goes()}

@hookimpl
def sup_health_checks():
    return {"fine": Checks()}

@hookimpl
def sup_renderers():
    return {".tpl": Compiles()}
"""
PROVIDES = (
    "health check fine",
    "renderer .tpl",
    "strategy go",
    "strategy go-again",
    "topology first",
)


def refusal(*names: str) -> str:
    with pytest.raises(OperatorError) as caught:
        plugins.load(names)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert "\n" not in caught.value.message
    return caught.value.message


def test_load_nothing_gives_the_built_ins() -> None:
    """The defaults of every service are there, through the same hooks, as distribution sup-ring."""
    loaded = plugins.load()
    assert list(loaded.topologies) == ["standalone"]
    assert list(loaded.strategies) == ["none", "at-once"]
    assert list(loaded.health_checks) == ["exec", "ttl"]
    assert "" in loaded.renderers
    assert [plugin.name for plugin in loaded.active] == list(BUILTINS)
    assert {plugin.distribution for plugin in loaded.active} == {"sup-ring"}


def test_load_nothing_reads_no_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without plugins does not pay for looking through all distributions."""

    def refuse(**_: Any) -> None:
        raise AssertionError("metadata was read")

    monkeypatch.setattr(importlib.metadata, "entry_points", refuse)
    plugins.load()


def test_load_named_plugin_adds_what_it_gives(install: Any) -> None:
    """All four kinds arrive under their names, and the plugin is listed as active."""
    install("good", GOOD)
    loaded = plugins.load(["good"])
    assert {"first"} < set(loaded.topologies)
    assert {"go", "go-again"} < set(loaded.strategies)
    assert {"fine"} < set(loaded.health_checks)
    assert {".tpl"} < set(loaded.renderers)
    assert loaded.active[-1] == plugins.InstalledPlugin(
        "good", "sup-good", "1.2.3", "plugin_good", PROVIDES
    )


def test_load_mappings_are_read_only() -> None:
    """Nobody adds a policy behind the operator's back."""
    with pytest.raises(TypeError):
        plugins.load().topologies["mine"] = None  # type: ignore[index]


def test_load_never_imports_what_is_not_named(install: Any) -> None:
    """Installed is not active: not even the import of another plugin happens."""
    install("good", GOOD)
    install("bomb", "raise SystemExit('imported')")
    plugins.load(["good"])
    assert "plugin_bomb" not in sys.modules


def test_load_same_name_twice_and_built_in_names_count_once(install: Any) -> None:
    """Naming what is active already changes nothing."""
    install("good", GOOD)
    loaded = plugins.load(["standalone", "good", "good"])
    assert [plugin.name for plugin in loaded.active] == [*BUILTINS, "good"]


def test_load_unknown_name_lists_what_is_installed(install: Any) -> None:
    """The operator sees the name asked for, and the names that would work."""
    install("good", GOOD)
    message = refusal("goood")
    assert message.startswith('no plugin "goood" is installed; installed: ')
    assert "good (sup-good 1.2.3)" in message
    assert "standalone" in message


def test_load_one_name_from_two_distributions_names_both(install: Any) -> None:
    """Which of two is meant is not for us to guess."""
    install("good", GOOD)
    install("good", GOOD, distribution="other-good", version="9")
    assert refusal("good") == (
        'plugin "good" is offered by other-good 9 and sup-good 1.2.3; uninstall all but one'
    )


def test_load_two_plugins_giving_one_name_names_both(install: Any) -> None:
    """A name means one policy; the second plugin is refused and the first one named."""
    install("good", GOOD)
    install("twin", "@hookimpl\ndef sup_topologies():\n    return {'first': Leads()}\n")
    assert refusal("good", "twin") == (
        'plugin "twin" of sup-twin 1.2.3 can\'t be loaded: topology "first" is already given by'
        ' plugin "good" of sup-good 1.2.3'
    )


@pytest.mark.parametrize(
    ("hook", "name", "kind"),
    [
        ("sup_topologies", "standalone", "topology"),
        ("sup_update_strategies", "none", "strategy"),
        ("sup_renderers", "", "renderer"),
    ],
)
def test_load_name_of_a_built_in_is_taken(install: Any, hook: str, name: str, kind: str) -> None:
    """No plugin replaces a built-in."""
    value = {"topology": "Leads", "strategy": "Goes", "renderer": "Compiles"}[kind]
    install("thief", f"@hookimpl\ndef {hook}():\n    return {{{name!r}: {value}()}}\n")
    assert f'{kind} "{name}" is already given by plugin' in refusal("thief")


def _hook(body: str, hook: str = "sup_topologies", signature: str = "()") -> str:
    return f"@hookimpl\ndef {hook}{signature}:\n    {body}\n"


BROKEN = {
    "missing dependency": (
        "import no_such_module",
        "its import failed: ModuleNotFoundError: No mod",
    ),
    "exception at import": ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    "exit at import": ("raise SystemExit('bye')", "its import failed: SystemExit: bye"),
    "syntax error": ("def f(:", "its import failed: SyntaxError"),
    "no hook": ("x = 1", "it has no function marked @hookimpl; the hooks are sup_topologies"),
    "hook without the mark": (
        "def sup_topologies():\n    return {}",
        "sup_topologies lacks @hookimpl",
    ),
    "misspelt hook": (_hook("return {}", "sup_topologie"), "sup_topologie is no hook of ours"),
    "hook with arguments": (
        _hook("return {}", signature="(config)"),
        "sup_topologies takes no arguments, it declares (config)",
    ),
    "hook raises": (_hook("raise KeyError('x')"), "sup_topologies failed: KeyError: 'x'"),
    "returns a list": (_hook("return [Leads()]"), "sup_topologies returned a list, not a mapping"),
    "bad name": (_hook("return {'a b': Leads()}"), "topology 'a b': a name is 1 to 64 of"),
    "name is a number": (_hook("return {1: Leads()}"), "topology 1: a name is 1 to 64 of"),
    "bad suffix": (
        _hook("return {'tpl': Compiles()}", "sup_renderers"),
        "renderer 'tpl': a suffix is a dot and 1 to 16 letters or digits",
    ),
    "class for an instance": (
        _hook("return {'a': Leads}"),
        "topology 'a' is the class Leads, give an instance of it",
    ),
    "wrong kind": (
        _hook("return {'a': Checks()}"),
        "topology 'a' is a Checks, which has no decide()",
    ),
    "value is None": (_hook("return {'a': None}"), "topology 'a' is None, which has no decide()"),
    "wrong method signature": (
        _hook("return {'a': Goes()}"),
        "decide(group, me, change, now_us) can't be called as decide(group, me, now_us)",
    ),
    "method is a value": (
        "class A:\n    decide = 1\n" + _hook("return {'a': A()}"),
        "topology 'a': decide is a int, not a method",
    ),
    "async policy": (
        "class A:\n    async def decide(self, group, me, now_us): ...\n"
        + _hook("return {'a': A()}"),
        "decide must be a plain function",
    ),
    "blocking health check": (
        "class A:\n    def check(self, context): ...\n"
        + _hook("return {'a': A()}", "sup_health_checks"),
        "check must be a coroutine function (async def)",
    ),
    "positional strict": (
        "class A:\n    def compile(self, source, file): ...\n"
        + _hook("return {'.a': A()}", "sup_renderers"),
        "compile(source, file) can't be called as compile(source, file, strict=)",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_load_broken_plugin_names_distribution_plugin_and_cause(install: Any, case: str) -> None:
    """One line, whatever is wrong: at import, in a hook's declaration, in what it returned."""
    source, cause = BROKEN[case]
    install("broken", source)
    message = refusal("broken")
    assert message.startswith('plugin "broken" of sup-broken 1.2.3 can\'t be loaded: ')
    assert cause in message


def test_load_long_error_text_is_cut(install: Any) -> None:
    """A plugin can't fill the operator's screen."""
    install("broken", "raise ValueError('x' * 100_000)")
    assert len(refusal("broken")) < plugins.CAUSE_CHARS_MAX + 200


def test_load_after_a_broken_plugin_starts_afresh(install: Any) -> None:
    """Nothing of a refused plugin stays registered."""
    install("good", GOOD)
    install("broken", "x = 1")
    refusal("good", "broken")
    assert plugins.load().active == plugins.load(["standalone"]).active
    assert "first" not in plugins.load().topologies


def test_installed_lists_everything_and_survives_broken_ones(install: Any) -> None:
    """``sup plugin list``: who, which version, what it provides, or why it can't be used."""
    install("good", GOOD)
    install("broken", "raise RuntimeError('no')")
    install("standalone", GOOD, distribution="sup-squatter", module="plugin_squatter")
    listed = {(plugin.name, plugin.distribution): plugin for plugin in plugins.installed()}
    assert listed["standalone", "sup-ring"].provides == ("topology standalone",)
    assert listed["standalone", "sup-ring"].version
    assert listed["good", "sup-good"].provides == PROVIDES
    assert listed["broken", "sup-broken"].error == "its import failed: RuntimeError: no"
    assert "reserved for a built-in" in listed["standalone", "sup-squatter"].error
    assert [name for name, owner in listed if owner == "sup-ring"] == list(BUILTINS)
    assert not [
        plugin
        for plugin in plugins.installed()
        if plugin.distribution == "sup-ring" and plugin.error
    ]


def test_entry_point_may_name_an_object(install: Any, tmp_path: Path) -> None:
    """``module:object`` works: an instance whose methods are the hooks."""
    install(
        "object",
        "class Plugin:\n    @hookimpl\n    def sup_topologies(self):\n"
        "        return {'o': Leads()}\nplugin = Plugin()\n",
    )
    points = next(tmp_path.glob("sup_object-*/entry_points.txt"))
    points.write_text("[sup]\nobject = plugin_object:plugin\n")
    assert plugins.load(["object"]).active[-1].provides == ("topology o",)
