"""The control socket's own HTTP: as much as its clients need, and bounded."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from tests.gateway.harness import Harness

from sup import gateway_control, gateway_table

STATUS = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n"


async def reply(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Status line and body of one response."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    lines = head.lower().split(b"\r\n")
    length = next(int(line[16:]) for line in lines if line.startswith(b"content-length: "))
    return head.split(b"\r\n")[0], await reader.readexactly(length)


async def test_keep_alive_several_requests_on_one_connection(control: Harness) -> None:
    """Requests follow each other, also when they were sent at once."""
    reader, writer = await control.connect()
    writer.write((STATUS + b"\r\n") * 3)
    for _ in range(3):
        line, body = await reply(reader)
        assert (line, json.loads(body)) == (b"HTTP/1.1 200 OK", control.api.status())
    writer.close()


@pytest.mark.parametrize(
    "head", [b"GET /v1/status HTTP/1.0\r\n\r\n", STATUS + b"Connection: close\r\n\r\n"]
)
async def test_close_when_the_client_wishes(control: Harness, head: bytes) -> None:
    """HTTP/1.0 and ``Connection: close`` end the connection at once after the reply."""
    assert (await control.raw(head, until_close_s=1)).startswith(b"HTTP/1.1 200 OK")


async def test_expect_continue_is_answered(control: Harness) -> None:
    """A client that asks before it sends its body is told to."""
    reader, writer = await control.connect()
    writer.write(
        b"PUT /v1/groups/a.b/config HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    )
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"a = 1")
    assert (await reply(reader))[0] == b"HTTP/1.1 200 OK"
    assert control.api.calls == [("apply", "a.b", b"a = 1", False, None)]
    writer.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Length: 1\r\nContent-Length: 2\r\n", b" 400 "),
        (b"Content-Length: -1\r\n", b" 400 "),
        (b"Content-Length: \xb2\r\n", b" 400 "),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", b" 413 "),
        (b"Transfer-Encoding: chunked\r\n", b" 411 "),
        (b"No colon here\r\n", b" 400 "),
        (b" folded: yes\r\n", b" 400 "),
        (b"X: y\n z\r\n", b" 400 "),
    ],
)
async def test_bad_headers_refused_and_closed(
    control: Harness, headers: bytes, status: bytes
) -> None:
    """Anything about which two readers could disagree is refused, and nothing follows it."""
    reader, writer = await control.connect()
    writer.write(b"PUT /v1/groups/a.b/config HTTP/1.1\r\n" + headers + b"\r\n" + STATUS + b"\r\n")
    writer.write_eof()
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert status in answer.split(b"\r\n")[0]
    assert answer.count(b"HTTP/1.1") == 1
    assert control.api.calls == []


async def test_client_gone_in_the_middle_nothing_happens(control: Harness) -> None:
    """Half a body is no body."""
    reader, writer = await control.connect()
    writer.write(b"PUT /v1/groups/a.b/config HTTP/1.1\r\nContent-Length: 5\r\n\r\na =")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    assert control.api.calls == []


async def test_random_bytes_answered_or_closed_and_still_serving(
    control: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    """No bytes end the server or make it log an error."""
    dice = random.Random(7)
    seeds = [
        STATUS + b"\r\n",
        b"PUT /v1/groups/a.b/config HTTP/1.1\r\nContent-Length: 3\r\n\r\na=1",
    ]
    for _ in range(300):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        reader, writer = await control.connect()
        writer.write(bytes(data))
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
    assert (await control.ask("GET", "/v1/status")).status == 200
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []


async def test_close_with_idle_connections_is_quick(control: Harness) -> None:
    """A client that keeps its connection open does not hold up the end."""
    reader, writer = await control.connect()
    writer.write(STATUS + b"\r\n")
    await reply(reader)
    await asyncio.wait_for(control.gateway.close(), 1)
    assert await reader.read() == b""
    writer.close()


async def test_slow_reader_closed_in_time(
    control: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that asks and does not read costs a connection for a bounded time only."""
    monkeypatch.setattr(gateway_table, "BODY_SECONDS", 0.2)
    monkeypatch.setattr(control.api, "status", lambda: {"much": "x" * 4_000_000})
    _, writer = await control.connect()
    writer.write(STATUS + b"\r\n")
    server = control.gateway._control
    assert server is not None
    while not server._tasks:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    await asyncio.wait(server._tasks, timeout=5)
    assert not server._tasks
    writer.close()


def test_every_row_of_the_table_has_one_star_at_most() -> None:
    """A handler gets one name from the path."""
    assert all(path.count("*") <= 1 for path in gateway_table.TABLE)
    assert gateway_control.HEAD_BYTES_MAX < gateway_table.BODY_BYTES_MAX
