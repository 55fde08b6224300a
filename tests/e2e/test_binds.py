"""Two real supervisors: a backend bound to a database that comes, fails, and goes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.e2e.supervisors import Supervisor, supervisors, wait_for

pytestmark = pytest.mark.e2e

RENDERED = "{{#each bind.db.members as |m|}}db={{m.sys.hostname}}:{{m.cfg.port}}\n{{/each}}end\n"


def member(state_dir: Path, port: int, *args: str) -> Supervisor:
    return Supervisor(
        state_dir,
        *("--listen-gossip", f"127.0.0.1:{port}", "--listen-http", "off", "--profile", "local"),
        *("--supervisor-name", state_dir.name, *args),
    )


def package(directory: Path, plan: str, **files: str) -> Path:
    """A package named as its directory; ``hooks__run`` names a file."""
    directory.mkdir()
    (directory / "plan.toml").write_text(f'[package]\nname = "{directory.name}"\n{plan}')
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_conf", ".conf")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    return directory


@pytest.fixture
def backend(tmp_path):
    """Wants ``port`` of whatever ``db`` is; counts its reconfigurations in a file."""
    return package(
        tmp_path / "backend",
        '[binds]\ndb = ["port"]\n[service]\nstrict = false\n',
        hooks__run="#!/bin/sh\nexec sleep 3600\n",
        hooks__reconfigure="#!/bin/sh\necho again >> data/reconfigured\n",
        config__dbs_conf=RENDERED,
    )


@pytest.fixture
def database(tmp_path):
    return package(
        tmp_path / "db",
        '[exports]\nport = "port"\n',
        hooks__run="#!/bin/sh\nexec sleep 3600\n",
    )


def test_backend_waits_for_its_database_and_follows_its_members(tmp_path, ports, backend, database):
    """Strict: held with the reason, started when the exports come, rendered anew when the member
    dies, never stopped by it.
    """
    (database / "default.toml").write_text("port = 5432\n")
    a = member(tmp_path / "a", ports[0])
    # Without a launcher, for SIGKILL to be the death of all of it.
    b = member(tmp_path / "b", ports[1], "--peer", f"127.0.0.1:{ports[0]}", "--no-launcher")
    rendered = a.state_dir / "svc/backend/config/dbs.conf"
    with supervisors(a, b):
        wait_for("two members", lambda: a.alive_members() == 2, 20)
        wrong = a.sup("start", str(backend), "--bind", "dbs:db.default")
        assert wrong.returncode == 2
        assert "did you mean 'db'" in wrong.stderr
        assert a.sup("start", str(backend)).returncode == 2  # a required bind is not given
        started = a.sup("start", str(backend), "--bind", "db:db.default")
        assert started.returncode == 0, started.stderr
        assert "start is held: bind db: nobody is in db.default" in started.stdout
        held = a.service("backend")
        assert held["process"] == "down"
        assert b.sup("start", str(database)).returncode == 0
        up = wait_for("backend up", lambda: (s := a.service("backend"))["process"] == "up" and s)
        assert rendered.read_text() == "db=b:5432\nend\n"
        assert b.sup("stop", "db").returncode == 0
        wait_for("address gone", lambda: rendered.read_text() == "end\n")
        assert b.sup("start", "db").returncode == 0
        wait_for("address back", lambda: rendered.read_text() == "db=b:5432\nend\n")
        b.kill()
        wait_for("address of the dead gone", lambda: rendered.read_text() == "end\n", 30)
        after = a.service("backend")
        assert (after["pid"], after["process"]) == (up["pid"], "up")
        assert (a.state_dir / "svc/backend/data/reconfigured").read_text().count("again") == 3
        kinds = {event["text"] for event in _events(a, "backend", "bind")}
        assert "bind db: nobody is in db.default" in kinds
        assert "bind db: db.default is there" in kinds


def test_relaxed_starts_without_and_strict_names_the_missing_export(
    tmp_path, ports, backend, database
):
    """Relaxed waits for nobody; a group that lacks an export holds a strict start by its name."""
    a = member(tmp_path / "a", ports[0])
    with supervisors(a):
        wait_for("answers", lambda: a.alive_members() == 1, 20)
        assert a.sup("start", str(database)).returncode == 0
        bind = ("--bind", "db:db.default")
        held = a.sup("start", str(backend), *bind)
        assert "bind db: db.default does not export port" in held.stdout
        done = a.sup("start", str(backend), *bind, "--binding-mode", "relaxed")
        assert done.returncode == 0, done.stderr
        wait_for("backend up", lambda: a.service("backend")["process"] == "up")
        assert (a.state_dir / "svc/backend/config/dbs.conf").read_text() == "end\n"


def _events(who: Supervisor, service: str, kind: str) -> list[dict[str, object]]:
    done = who.sup("events", service, "--kind", kind, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]
