"""The control socket's own HTTP: as much as its clients need, bounded, and deaf to nonsense."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.gateway.harness import Harness

STATUS = b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\n"
PUT = b"PUT /v1/groups/a.b/config HTTP/1.1\r\n"


async def exchange(harness: Harness, data: bytes) -> bytes:
    """Send bytes, say that this was all, and read to the end."""
    reader, writer = await asyncio.open_unix_connection(harness.path)
    try:
        writer.write(data)
        writer.write_eof()
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_control_answers_and_ends_the_connection(harness: Harness, version: bytes) -> None:
    """One request per connection: what follows is not read as a second one."""
    answer = await exchange(harness, STATUS.replace(b"1.1", version) + b"\r\n" + STATUS + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.count(b"HTTP/1.1") == 1
    assert b"connection: close" in answer.lower()


async def test_control_expect_continue_is_answered(harness: Harness) -> None:
    """A client that asks before it sends its body is told to."""
    reader, writer = await asyncio.open_unix_connection(harness.path)
    writer.write(PUT + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"a = 1")
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200 OK")
    assert harness.api.calls == [("apply", "a.b", b"a = 1", False, None)]
    writer.close()


async def test_control_refusal_reaches_a_client_that_is_still_sending(harness: Harness) -> None:
    """Who sends too much learns why, instead of a broken pipe."""
    reader, writer = await asyncio.open_unix_connection(harness.path)
    writer.write(PUT + b"Content-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)
    await asyncio.wait_for(writer.drain(), 5)
    assert b" 413 " in await asyncio.wait_for(reader.read(), 5)
    writer.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (b"Content-Length: 1\r\nContent-Length: 2\r\n", b" 400 "),
        (b"Content-Length: -1\r\n", b" 400 "),
        (b"Content-Length: \xb2\r\n", b" 400 "),
        (b"Content-Length: 65537\r\n", b" 413 "),
        (b"Content-Length: " + b"9" * 5000 + b"\r\n", b" 413 "),
        (b"Transfer-Encoding: chunked\r\n", b" 411 "),
        (b"No colon here\r\n", b" 400 "),
        (b" folded: yes\r\n", b" 400 "),
        (b"X: " + b"y" * 20_000 + b"\r\n", b" 431 "),
    ],
)
async def test_control_bad_headers_refused(harness: Harness, headers: bytes, status: bytes) -> None:
    """Anything about which two readers could disagree is refused, and nothing is done."""
    answer = await exchange(harness, PUT + headers + b"\r\n")
    assert status in answer.split(b"\r\n")[0]
    assert b"application/problem+json" in answer
    assert harness.api.calls == []


async def test_control_half_a_body_changes_nothing(harness: Harness) -> None:
    """A client that goes in the middle has not asked for anything."""
    await exchange(harness, PUT + b"Content-Length: 5\r\n\r\na =")
    assert harness.api.calls == []


async def test_control_random_bytes_still_serving(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    """No bytes end the server or make it log an error."""
    dice = random.Random(7)
    seeds = [STATUS + b"\r\n", PUT + b"Content-Length: 3\r\n\r\na=1"]
    for _ in range(300):
        data = bytearray(dice.choice(seeds))
        for _ in range(dice.randrange(1, 6)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        await exchange(harness, bytes(data))
    assert (await harness.ask("GET", "/v1/status", unix=True)).status == 200
    assert [r for r in caplog.records if r.levelname == "ERROR"] == []
