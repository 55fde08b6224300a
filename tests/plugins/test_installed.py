"""Plugins as distributions: ``sup-jinja`` as this environment has it, and a copy of the template.

``make venv`` installs the plugins of this repository; without it the first two tests skip.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sup
import sup_core
from sup.plugins import installed, load

ROOT = Path(__file__).resolve().parents[2]

try:
    JINJA = importlib.metadata.version("sup-jinja")
except importlib.metadata.PackageNotFoundError:
    JINJA = ""
needs_jinja = pytest.mark.skipif(
    not JINJA, reason="sup-jinja is not installed in this environment; make venv installs it"
)


@needs_jinja
def test_jinja_installed_is_found_and_loaded_by_name() -> None:
    """The entry point is there, ``load`` takes it, and its version is the distribution's."""
    plugins = load(["jinja"])
    template = plugins.renderers[".j2"].compile("{{ 1 + 1 }}", "a.j2", strict=True)
    assert template.render({}).text == "2"
    assert (plugins.active[-1].distribution, plugins.active[-1].version) == ("sup-jinja", JINJA)
    listed = next(plugin for plugin in installed() if plugin.name == "jinja")
    assert (listed.provides, listed.error) == (("renderer .j2",), "")


@needs_jinja
def test_jinja_installed_but_not_named_is_not_active() -> None:
    """Without its name there is no ``.j2``."""
    assert ".j2" not in load().renderers


@pytest.mark.parametrize("kind", ["http", "tcp"])
def test_health_check_installed_is_found_and_loaded_by_name(kind: str) -> None:
    """The entry point is there and gives the kind of check; without its name it is not active."""
    try:
        version = importlib.metadata.version(f"sup-health-{kind}")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(
            f"sup-health-{kind} is not installed in this environment; make venv installs it"
        )
    plugins = load([f"health-{kind}"])
    assert kind in plugins.health_checks
    active = plugins.active[-1]
    assert (active.distribution, active.version) == (f"sup-health-{kind}", version)
    assert kind not in load().health_checks


PROGRAM = """
import sys
from sup.plugins import installed, load
plugins = load(["mine"])
group = plugins.active[-1]
print(group.name, group.distribution, group.version, *group.provides, sep="|")
assert [plugin.error for plugin in installed()] == [""] * len(installed()), installed()
assert "sup_mine.plugin" in sys.modules
"""


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("setuptools") is None, reason="no setuptools to build a plugin with"
)
def test_template_copied_elsewhere_installs_loads_and_passes_its_tests(tmp_path: Path) -> None:
    """What the README of the template promises: copy, rename, install, use, test."""
    copy = tmp_path / "sup-mine"
    unwanted = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".*_cache")
    shutil.copytree(ROOT / "plugins" / "_template", copy, ignore=unwanted)
    (copy / "sup_example").rename(copy / "sup_mine")
    for file in [*copy.rglob("*.py"), copy / "pyproject.toml"]:
        text = (
            file.read_text().replace("sup_example", "sup_mine").replace("sup-example", "sup-mine")
        )
        file.write_text(text.replace("\nexample =", "\nmine ="))

    target = tmp_path / "installed"
    ours = [str(Path(module.__path__[0]).parent) for module in (sup, sup_core)]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(target), *ours]))
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=copy,
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = ("-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation")
    python(*pip, "--target", str(target), ".")
    shutil.rmtree(copy / "sup_mine")  # from now on only what was installed can be imported
    shutil.rmtree(copy / "sup_mine.egg-info", ignore_errors=True)
    assert python("-c", PROGRAM).strip() == (
        "mine|sup-mine|0.1.0|health check marker|strategy cautious"
    )
    if importlib.util.find_spec("sup.cli.plugin"):
        listed = python("-m", "sup", "plugin", "list")
        assert "sup-mine" in listed
        assert "strategy cautious" in listed
    assert " passed" in python("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
