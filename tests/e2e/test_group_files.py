"""A file given to one supervisor reaches the service on another."""

from __future__ import annotations

import pytest
from tests.e2e.supervisors import supervisors, wait_for
from tests.e2e.test_binds import member, package

pytestmark = pytest.mark.e2e


def test_file_put_here_is_written_there_and_told_of(tmp_path, ports):
    """Put, changed, listed and removed through one supervisor; written by the other, whose service
    is told each time; bytes of any kind, also more than a datagram holds.
    """
    web = package(
        tmp_path / "web",
        "",
        hooks__run="#!/bin/sh\nls files > data/at-start\nexec sleep 3600\n",
    )
    hook = web / "hooks" / "file-updated"
    hook.write_text('#!/bin/sh\necho "$SUP_FILES_CHANGED" >> data/told\n')
    hook.chmod(0o755)
    a = member(tmp_path / "a", ports[0])
    b = member(tmp_path / "b", ports[1], "--peer", f"127.0.0.1:{ports[0]}")
    big = bytes(range(256)) * 200
    here = tmp_path / "ca.pem"
    svc = b.state_dir / "svc/web"

    def told():
        return (svc / "data/told").read_text().split() if (svc / "data/told").exists() else []

    with supervisors(a, b):
        wait_for("two members", lambda: a.alive_members() == 2, 20)
        here.write_bytes(b"first")
        done = a.sup("file", "put", "web.default", str(here))
        assert done.returncode == 0, done.stderr
        wait_for("known there", lambda: b.json("file", "list", "web.default")["files"])
        assert b.sup("start", str(web)).returncode == 0
        wait_for("up", lambda: b.service("web").get("process") == "up")
        wait_for("started", (svc / "data/at-start").exists)
        assert (svc / "data/at-start").read_text() == "ca.pem\n"
        assert told() == []
        here.write_bytes(big)
        assert a.sup("file", "put", "web.default", str(here)).returncode == 0
        wait_for("written", lambda: (svc / "files/ca.pem").read_bytes() == big)
        assert (svc / "files/ca.pem").stat().st_mode & 0o777 == 0o640
        wait_for("told", lambda: told() == ["ca.pem"])
        again = a.sup("file", "put", "web.default", str(here))
        assert "has this ca.pem already" in again.stdout
        (row,) = b.json("file", "list", "web.default")["files"]
        assert (row["bytes"], row["author"]) == (len(big), "a")
        assert b.sup("file", "rm", "web.default", "ca.pme").returncode == 1
        assert b.sup("file", "rm", "web.default", "ca.pem").returncode == 0
        wait_for("removed", lambda: not (svc / "files/ca.pem").exists())
        wait_for("told again", lambda: told() == ["ca.pem", "ca.pem"])
        (tmp_path / "huge").write_bytes(b"x" * 65536)
        assert a.sup("file", "put", "web.default", str(tmp_path / "huge")).returncode == 2
        assert a.sup("file", "put", "web.default", str(here), "--name", "../x").returncode == 2
