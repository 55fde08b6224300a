"""Documents that must not drift: the hook reference, settings, decisions."""

from __future__ import annotations

import ast
import inspect
import re
from typing import Any

import pytest
from tests.source.house import ROOT

from sup import hookspecs, policies

PLUGINS_MD = (ROOT / "docs" / "plugins.md").read_text()
HOOKS = {name: value for name, value in vars(hookspecs).items() if hasattr(value, "sup_spec")}
PROTOCOLS = {
    name: value
    for name, value in vars(policies).items()
    if isinstance(value, type) and getattr(value, "_is_protocol", False)
}


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_typed(name: str) -> None:
    """Every argument and the result of a hook have a type."""
    signature = inspect.signature(HOOKS[name])
    assert signature.return_annotation is not inspect.Signature.empty
    assert all(p.annotation is not p.empty for p in signature.parameters.values())


@pytest.mark.parametrize("name", HOOKS)
def test_hook_contract_is_one_sentence(name: str) -> None:
    """The contract of a hook fits in one sentence, or the hook does too much."""
    text = inspect.getdoc(HOOKS[name]) or ""
    assert re.fullmatch(r"[A-Z](?:[^.]|\.(?=\w|`))*\.", text), f"{name}: {text!r}"


@pytest.mark.parametrize("name", HOOKS)
def test_hook_is_documented_with_its_signature_and_contract(name: str) -> None:
    """``docs/plugins.md`` has the same signature and the same sentence."""
    signature = f"{name}{inspect.signature(HOOKS[name])}".replace("'", "")
    assert f"`{signature}`" in PLUGINS_MD, f"docs/plugins.md lacks `{signature}`"
    sentence = " ".join((inspect.getdoc(HOOKS[name]) or "").replace("``", "`").split())
    assert sentence in " ".join(PLUGINS_MD.split()), f"docs/plugins.md lacks: {sentence}"


def test_documented_hooks_exist() -> None:
    """The reference has no hook that is gone."""
    assert set(re.findall(r"`(sup_\w+)\(", PLUGINS_MD)) == set(HOOKS)


@pytest.mark.parametrize("name", PROTOCOLS)
def test_seam_is_documented_with_its_method(name: str) -> None:
    """Each protocol that a plugin fills is in ``docs/plugins.md`` with its method's signature."""
    for method, function in vars(PROTOCOLS[name]).items():
        if method.startswith("_") or not inspect.isfunction(function):
            continue
        word = "async def" if inspect.iscoroutinefunction(function) else "def"
        arguments = ", ".join(
            ("*, " if p.kind is p.KEYWORD_ONLY else "") + f"{p.name}: {p.annotation}"
            for p in inspect.signature(function).parameters.values()
            if p.name != "self"
        )
        line = f"{word} {method}({arguments}) -> {inspect.signature(function).return_annotation}"
        assert line.replace("'", "") in PLUGINS_MD, f"docs/plugins.md lacks: {line}"


@pytest.mark.parametrize(
    ("file", "name"),
    [("core/sup_core/config.py", "Config"), ("supervisor/sup/options.py", "SupervisorOptions")],
)
def test_every_setting_is_documented(file: str, name: str) -> None:
    """A field has its string below it, or is named in the docstring of its class."""
    tree = ast.parse((ROOT / file).read_bytes())
    found: Any = next(
        node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == name
    )
    docstring = ast.get_docstring(found) or ""
    silent = []
    for node, following in zip(found.body, [*found.body[1:], None], strict=True):
        if not isinstance(node, ast.AnnAssign):
            continue
        field = ast.unparse(node.target)
        has_string = isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant)
        if not has_string and f"``{field}``" not in docstring:
            silent.append(field)
    assert not silent, f"{file}: say unit, range and effect of {', '.join(silent)}"


def test_decisions_are_numbered() -> None:
    """``docs/decisions`` is a numbered series without gaps, each with its number in the title."""
    numbers = []
    for file in sorted((ROOT / "docs" / "decisions").iterdir()):
        match = re.fullmatch(r"(\d{4})-[a-z0-9-]+\.md", file.name)
        assert match, f"docs/decisions/{file.name}: name it NNNN-what.md"
        numbers.append(int(match[1]))
        title = file.read_text().partition("\n")[0]
        assert title.startswith(f"# {match[1]}"), f"{file.name}: its title is {title!r}"
    assert numbers == list(range(1, len(numbers) + 1))
