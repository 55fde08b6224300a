"""The sockets of the gateway: bound at once, safe to take over, gone after close."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sup.errors import ExitCode, OperatorError
from sup.gateway import Gateway

MakeGateway = Callable[..., Gateway]


async def test_open_port_in_use_conflict_and_nothing_left(
    free_gateway: MakeGateway, tmp_path: Path
) -> None:
    """A taken port is exit 4 in one line, and no socket file stays behind."""
    path = tmp_path / "control.sock"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        gateway = free_gateway(http=taken.getsockname(), unix_path=path)
        with pytest.raises(OperatorError) as caught:
            await gateway.open()
    assert caught.value.exit_code == ExitCode.CONFLICT
    assert "is in use" in caught.value.message
    assert "\n" not in caught.value.message
    assert not path.exists()


async def test_open_bad_host_bad_input(free_gateway: MakeGateway) -> None:
    """An address that is not of this host is the operator's input error."""
    with pytest.raises(OperatorError) as caught:
        await free_gateway(http=("192.0.2.1", 0)).open()
    assert caught.value.exit_code == ExitCode.BAD_INPUT


async def test_open_stale_socket_replaced(free_gateway: MakeGateway, tmp_path: Path) -> None:
    """A socket file on which nobody listens (after SIGKILL) is replaced."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    gateway = free_gateway(unix_path=path)
    await gateway.open()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    await gateway.close()
    assert not path.exists()


async def test_open_live_socket_conflict_and_untouched(
    free_gateway: MakeGateway, tmp_path: Path
) -> None:
    """A socket on which somebody listens is never taken away, even from a busy listener."""
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen(0)
        with pytest.raises(OperatorError) as caught:
            await free_gateway(unix_path=path).open()
        assert caught.value.exit_code == ExitCode.CONFLICT
        assert path.exists()


async def test_open_other_file_in_the_way_conflict(
    free_gateway: MakeGateway, tmp_path: Path
) -> None:
    """A file that is no socket is not deleted."""
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(OperatorError) as caught:
        await free_gateway(unix_path=path).open()
    assert caught.value.exit_code == ExitCode.CONFLICT
    assert path.read_text() == "mine"


async def test_open_long_path_bad_input_names_limit(
    free_gateway: MakeGateway, tmp_path: Path
) -> None:
    """A path that no socket address can hold is refused with the limit."""
    with pytest.raises(OperatorError, match="limit is 107"):
        await free_gateway(unix_path=tmp_path / ("x" * 120)).open()


async def test_close_after_successor_took_over_keeps_its_socket(
    free_gateway: MakeGateway, tmp_path: Path
) -> None:
    """Close removes the socket it made, not the one of a successor."""
    path = tmp_path / "control.sock"
    gateway = free_gateway(unix_path=path)
    await gateway.open()
    path.rename(tmp_path / "old.sock")
    with socket.socket(socket.AF_UNIX) as successor:
        successor.bind(str(path))
        await gateway.close()
        assert path.exists()


async def test_close_without_connection_frees_the_port(free_gateway: MakeGateway) -> None:
    """A gateway that never served closes cleanly and its port can be used again."""
    first = free_gateway(http=("127.0.0.1", 0))
    await first.open()
    address = first.http_address
    await first.close()
    second = free_gateway(http=address)
    await second.open()
    assert second.http_address == address
    await second.close()


async def test_close_during_import_ends(free_gateway: MakeGateway) -> None:
    """Close while the HTTP code is still being loaded neither hangs nor leaves a socket."""
    gateway = free_gateway(http=("127.0.0.1", 0))
    await gateway.open()
    assert gateway.http_address is not None
    with socket.create_connection(gateway.http_address):
        await asyncio.sleep(0)
        await gateway.close()
    assert gateway.http_address is None


LAZY = """
import asyncio, sys, uvloop
from sup.gateway import Gateway
from tests_api import Api
async def main():
    gateway = Gateway(Api(), http=("127.0.0.1", 0), unix_path=None)
    await gateway.open()
    await asyncio.sleep(0.05)
    before = "aiohttp" in sys.modules
    reader, writer = await asyncio.open_connection(*gateway.http_address)
    writer.write(b"GET /v1/status HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n")
    answer = await reader.read()
    writer.close()
    print(before, "aiohttp" in sys.modules, answer.split(b"\\r\\n")[0].decode())
    await gateway.close()
asyncio.Runner(loop_factory=uvloop.new_event_loop).run(main())
"""


def test_open_without_connection_does_not_import_aiohttp(tmp_path: Path) -> None:
    """The HTTP code is loaded by the first connection, and that connection is answered."""
    (tmp_path / "tests_api.py").write_text(
        "class Api:\n    async def fresh(self): pass\n"
        "    def __getattr__(self, name):\n        return lambda *a, **k: {}\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", LAZY],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.split("\n")[0] == "False True HTTP/1.1 200 OK", done.stderr
