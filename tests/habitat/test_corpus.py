"""Plans in the style of core-plans load and render as their authors meant."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomli
from tests.habitat.corpus import PLANS, PROGRAMS, ROLES, compiled, plan_dirs, rendered

from sup.edge.package_dir import load_package
from sup.errors import OperatorError


@pytest.fixture(autouse=True)
def packages_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``test/serve`` is the programs of the corpus; nothing else is mapped."""
    file = tmp_path / "packages.toml"
    file.write_text(f'"test/serve" = "{PROGRAMS}"\n')
    monkeypatch.setenv("SUP_PACKAGES", str(file))


@pytest.mark.parametrize("directory", plan_dirs(), ids=lambda path: path.name)
@pytest.mark.parametrize("role", ROLES)
def test_corpus_renders_in_every_role_with_and_without_binds(directory: Path, role: str) -> None:
    """No helper, variable or syntax of these plans is unknown."""
    assert rendered(directory, role)
    files = rendered(directory, role, bound=False)
    assert not any("{{" in text for text in files.values())
    assert not any("@sup:" in text for text in files.values())


def test_corpus_is_as_large_as_it_says() -> None:
    """At least twelve plans: a filter that loses them would pass silently."""
    assert len(plan_dirs()) >= 14


def test_plan_values_become_the_plan() -> None:
    """Exports, binds, signal, time-out, user and command, each from the variable of its name."""
    plan = load_package(PLANS / "pgstore").plan
    assert plan.ident == "test/pgstore/13.5"
    assert plan.exports == {
        "port": "port",
        "superuser_name": "superuser.name",
        "superuser_password": "superuser.password",
    }
    assert plan.service.exposes == ["port"]
    assert (plan.service.stop_signal, plan.service.stop_timeout) == ("INT", 20.0)
    assert not plan.service.strict
    haproxy = load_package(PLANS / "haproxy").plan
    assert haproxy.binds == {"backend": ["port"]}
    registry = load_package(PLANS / "registry").plan
    assert registry.binds_optional == {"peers": ["port-http", "port-serf_lan"]}
    redis = load_package(PLANS / "redis").plan
    assert redis.service.command == "exec redis-server @sup:svc@/config/redis.conf"


def test_tricky_plan_is_read_through_all_of_bash() -> None:
    """habitat/plan.sh, sourced files, a version function, += and loops over arrays."""
    plan = load_package(PLANS / "tricky").plan
    assert plan.ident == "test/tricky/0.9.2-beta.1"
    assert plan.package.license == "MIT, Apache-2.0"
    assert plan.package.description == 'A plan with "quotes", `ticks`, and two lines.'
    assert plan.exports == {
        "port": "port",
        "http": "ports.http",
        "admin-port": "ports.admin-port",
        "db.main": "db.main.port",
    }
    assert sorted(plan.service.exposes) == ["admin-port", "db.main", "http", "port"]
    files = rendered(PLANS / "tricky")
    assert files["config/answer"] == "0.9.2-beta.1 test/tricky/0.9.2-beta.1 7003 7002 \n"


def test_dependency_paths_are_in_templates_and_in_the_environment() -> None:
    """pkgPathFor, set_runtime_env and push_runtime_env lead to the mapped directory."""
    package = load_package(PLANS / "catalina")
    assert package.habitat is not None
    environment = package.habitat.environment({"PATH": "/bin", "KEPT": "1"}, "/sup/svc/catalina")
    assert environment == {
        "KEPT": "1",
        "JAVA_HOME": str(PROGRAMS),
        "CATALINA_BASE": "/sup/svc/catalina/var/tc",
        "PATH": f"{PROGRAMS}/bin:/bin",
    }
    files = rendered(PLANS / "catalina")
    assert f"if path={PROGRAMS}; then" in files["hooks/run"]
    assert 'roles="manager-gui,admin-gui"' in files["config/conf/users/tomcat-users.xml"]
    assert rendered(PLANS / "pgstore")["hooks/init"].startswith("#!/usr/bin/bash\n")


def test_hooks_keep_habitats_habits() -> None:
    """Old names with ``_``, suffixes of shells, no execute bit; what is no hook is passed over."""
    assert compiled(PLANS / "burrow").hooks >= {"health-check", "init", "run", "reconfigure"}
    worker = compiled(PLANS / "worker")
    assert worker.hooks == {"init", "run", "health-check", "reconfigure", "post-run", "post-stop"}
    assert any("helper.inc is passed over: no hook" in w for w in worker.package.warnings)
    registry = load_package(PLANS / "registry")
    assert any("reload is passed over" in warning for warning in registry.warnings)


def test_members_are_listed_as_habitat_does() -> None:
    """each with @index, @first and @last; eachAlive from 1; partials; ``with … as``."""
    lines = rendered(PLANS / "keeper", "leader")["config/zoo.cfg"].splitlines()
    assert "server.0=10.0.0.1:2181:3888 # first" in lines
    assert "server.1=10.0.0.2:2181:3888 # last" in lines
    assert f"me={'0a' * 16} true {'0a' * 16}" in lines
    assert "first=10.0.0.1" in lines
    assert lines[-1] == "limit=2000"  # of a neighbour in config/, included
    haproxy = rendered(PLANS / "haproxy")["config/haproxy.conf"]
    assert "    server 10-0-0-1-1 127.0.0.1:8090\n    server 10-0-0-2-2 127.0.0.1:8090" in haproxy
    assert "server 10" not in rendered(PLANS / "haproxy", bound=False)["config/haproxy.conf"]


def test_tags_with_tildes_keep_their_lines() -> None:
    """``{{~#if}}`` alone on a line: the text below begins a line, as in Habitat until 2.0."""
    lines = rendered(PLANS / "redis", "follower")["config/redis.conf"].splitlines()
    assert lines == [
        "bind 127.0.0.1",
        "port 6379",
        "dir /sup/svc/redis/data",
        "maxmemory 32mb",
        "save 900 1",
        "save 300 10",
        "replicaof 10.0.0.2 6379",
        "daemonize no",
    ]


def test_roles_are_seen_in_templates() -> None:
    """svc.me.leader, svc.me.follower and svc.leader, before and after an election."""
    by_role = {
        role: rendered(PLANS / "pgstore", role)["config/pgstore.conf"].splitlines()[2]
        for role in ROLES
    }
    assert by_role == {
        "alone": "wal_level = minimal",
        "leader": "wal_level = replica",
        "follower": "primary_conninfo = 'host=10.0.0.2 port=5432 user=replication'",
    }


def test_serialisers_write_what_reads_back() -> None:
    """toJson, toToml and toYaml of a table, in files of their own."""
    files = rendered(PLANS / "burrow")
    limits = {"memory": 0.4, "disk": "50MB", "names": ["a", "b"]}
    assert json.loads(files["config/limits.json"]) == limits
    assert tomli.loads(files["config/limits.toml"]) == limits
    assert "disk: 50MB" in files["config/limits.yaml"]
    assert "name: nodes" in rendered(PLANS / "metrics")["config/metrics.yml"]


def test_undefined_values_are_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Lenient: nothing is printed, and one line says file, line and variable."""
    from tests.habitat.corpus import context

    from sup.edge.render_files import render

    package = compiled(PLANS / "tricky")
    for _ in range(3):
        render(package, context(package.package, "alone", Path("/sup")))
    (line,) = [record.getMessage() for record in caplog.records]
    assert "config/answer:1:86: cfg.greeting is not defined" in line


def test_plan_with_a_file_called_config_is_no_mistake(tmp_path: Path) -> None:
    """Habitat copies ``config`` when it is a directory; a build's file of that name stays apart."""
    (tmp_path / "plan.sh").write_text("pkg_name=a\npkg_version=1\npkg_svc_run=sleep\n")
    (tmp_path / "config").write_text("CONFIG_X=y\n")
    assert load_package(tmp_path).templates == ()


def test_plan_without_anything_to_run_is_refused(tmp_path: Path) -> None:
    """A library is no service: the line says so."""
    (tmp_path / "plan.sh").write_text("pkg_name=zlib\npkg_origin=core\npkg_version=1\n")
    with pytest.raises(OperatorError, match="neither pkg_svc_run nor hooks/run"):
        load_package(tmp_path)
