"""A real PostgreSQL under a real supervisor: what a database administrator tries first."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.supervisors import Supervisor, supervisors, wait_for

from sup.edge.process_tree import read_stat

PACKAGE = Path(__file__).parents[2] / "examples/postgresql-single"
BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(180),
    pytest.mark.skipif(not BINARIES, reason="no PostgreSQL server in /usr/lib/postgresql"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a service as postgres"),
]


class Database:
    """The server of one supervisor, asked through its own socket."""

    def __init__(self, member: Supervisor, port: int) -> None:
        self.member = member
        self.port = port
        self.root = member.state_dir / "svc" / "postgresql"

    def sql(self, query: str) -> str:
        done = subprocess.run(
            [
                str(BINARIES[-1].with_name("psql")),
                *(f"--host={self.root / 'var'}", f"--port={self.port}", "--dbname=postgres"),
                *("--no-psqlrc", "--tuples-only", "--no-align", "--quiet", f"--command={query}"),
            ],
            capture_output=True,
            text=True,
            timeout=20,
            user="postgres",
            group="postgres",
            extra_groups=[],
            cwd="/",
        )
        return done.stdout.strip() if done.returncode == 0 else done.stderr

    def is_well(self) -> bool:
        found = self.member.service("postgresql")
        return found.get("process") == "up" and found.get("health") == "ok"

    def pid(self) -> int:
        return int(self.member.service("postgresql")["pid"])

    def log(self) -> str:
        return (self.root / "logs" / "postgresql.log").read_text()

    def apply(self, toml: str) -> None:
        done = self.member.sup("config", "apply", "postgresql.default", "-", stdin=toml)
        assert done.returncode == 0, done.stderr


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A new cluster on a free port, up and healthy."""
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o755)  # the user postgres has to get through
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv(
        "SUP_CFG_POSTGRESQL", f'port = {port}\nbin = "{BINARIES[-1].parent}"\nmax_connections = 30'
    )
    member = Supervisor(
        tmp_path / "s", str(PACKAGE), "--listen-gossip", "127.0.0.1:0", "--listen-http", "off"
    )
    with supervisors(member):
        one = Database(member, port)
        wait_for("the database is up and well", one.is_well, 60)
        yield one


def test_postgresql_crashes_reload_restart_and_clean_stop(database: Database) -> None:
    """No death of the supervisor is noticed, a crash is recovered from, what needs a restart waits
    for one with its reason, and a stop is a clean shutdown.
    """
    member = database.member
    assert database.sql("CREATE TABLE t(i int); INSERT INTO t VALUES (7)") == ""
    pid = database.pid()

    os.kill(int(member.launcher()["supervisor_pid"]), signal.SIGKILL)
    wait_for("the next supervisor", lambda: member.launcher().get("starts") == 2)
    wait_for("it manages the database", database.is_well, 30)
    assert database.pid() == pid

    os.kill(pid, signal.SIGKILL)
    wait_for("recovered", lambda: database.is_well() and database.pid() != pid, 60)
    assert database.sql("SELECT i FROM t") == "7"
    assert "database system was not properly shut down" in database.log()
    pid = database.pid()

    database.apply('work_mem = "7MB"\n')
    wait_for("reloaded", lambda: database.sql("SHOW work_mem") == "7MB", 30)
    database.apply("max_connections = 40\n")
    wait_for(
        "the reason why a change waits",
        lambda: re.search(
            r"needs a restart .*: max_connections",
            str(member.service("postgresql").get("pending", "")),
        ),
        30,
    )
    assert (database.pid(), database.sql("SHOW max_connections")) == (pid, "30")
    assert member.sup("restart", "postgresql", timeout_s=60).returncode == 0
    wait_for("restarted", lambda: database.is_well() and database.pid() != pid, 60)
    assert database.sql("SHOW max_connections") == "40"

    pid = database.pid()
    assert member.terminate(60) == 0
    stat = read_stat(pid)
    assert stat is None or stat.dead
    assert database.log().rstrip().endswith("database system is shut down")
