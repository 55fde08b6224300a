"""The hooks of a package under a real supervisor, through the command line, and their events."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from tests.e2e.supervisors import supervisors, wait_for
from tests.e2e.test_binds import member, package

pytestmark = pytest.mark.e2e

HOOKS = ("install", "uninstall", "init", "post-run", "reconfigure", "post-stop", "file-updated")


def test_life_of_a_service_calls_each_hook_once_and_tells_of_it(tmp_path, ports):
    """install, init, post-run; reconfigure for a configuration; file-updated for a file; post-stop
    and uninstall at the unloading. A follower of the events sees it and holds no end up.
    """
    web = package(
        tmp_path / "web",
        "",
        hooks__run="#!/bin/sh\nexec sleep 3600\n",
        config__web_conf="a={{cfg.a}}\n",
    )
    (web / "default.toml").write_text("a = 1\n")
    order = tmp_path / "order"
    for hook in HOOKS:
        (web / "hooks" / hook).write_text(f"#!/bin/sh\necho {hook} >> {order}\n")
        (web / "hooks" / hook).chmod(0o755)
    (web / "hooks" / "suitability").write_text("#!/bin/sh\necho 12; echo 99 >&2\n")
    (web / "hooks" / "suitability").chmod(0o755)

    def ran() -> list[str]:
        return order.read_text().split() if order.exists() else []

    one = member(tmp_path / "a", ports[0], "--no-launcher")
    with supervisors(one):
        wait_for("answers", lambda: one.alive_members() == 1, 20)
        follower = subprocess.Popen(
            [
                *(sys.executable, "-m", "sup", "events", "-f", "--json"),
                *("--state-dir", str(one.state_dir)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert one.sup("start", str(web)).returncode == 0
            wait_for("post-run", lambda: ran() == ["install", "init", "post-run"])
            done = one.sup("config", "apply", "web.default", "-", stdin="a = 2\n")
            assert done.returncode == 0, done.stderr
            wait_for("reconfigured", lambda: ran()[3:] == ["reconfigure"])
            done = one.sup("file", "put", "web.default", "-", "--name", "f", stdin="x")
            assert done.returncode == 0, done.stderr
            wait_for("told", lambda: ran()[4:] == ["file-updated"])
            assert one.service("web")["hooks"]["reconfigure"]["exit_code"] == 0
            done = one.sup("stop", "web", "--unload", timeout_s=40)
            assert done.returncode == 0, done.stderr
            assert ran()[5:] == ["post-stop", "uninstall"]
            began = time.monotonic()
            assert one.terminate() == 0
            # A follower's question is answered at the end, not waited for.
            assert time.monotonic() - began < 4.5
        finally:
            follower.kill()
            said, _ = follower.communicate()
    told = [json.loads(line) for line in said.splitlines()]
    assert [event["seq"] for event in told] == sorted(event["seq"] for event in told)
    texts = [event["text"] for event in told]
    for text in ("installed local/web/0", "reconfigured", "file f: 1 bytes"):
        assert text in texts
