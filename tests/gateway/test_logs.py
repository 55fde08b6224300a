"""Logs over both servers: their forms, following, who may follow, and who is left."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.gateway.harness import Harness

from sup import control, gateway_http, log_streams

STAMP = "2026-11-22T21:47:{:02}.000000Z"


@pytest.fixture
def log(harness: Harness, tmp_path: Path) -> Path:
    """The log of the service ``web``, with three lines."""
    log = tmp_path / "logs" / "web.log"
    log.parent.mkdir()
    log.write_text("".join(f"{STAMP.format(n)} line {n}\n" for n in range(3)))
    harness.api.logs_of["web"] = log.parent
    return log


def append(log: Path, number: int, text: str = "line") -> None:
    with log.open("a") as file:
        file.write(f"{STAMP.format(number)} {text} {number}\n")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # files and counters wake nobody
            await asyncio.sleep(0.01)


async def connect(
    harness: Harness, target: str, unix: bool
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask and read the head of the answer."""
    if unix:
        reader, writer = await asyncio.open_unix_connection(harness.path)
    else:
        reader, writer = await asyncio.open_connection("127.0.0.1", harness.port)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert b" 200 " in await asyncio.wait_for(reader.readline(), 10)
    await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    return reader, writer


@pytest.mark.parametrize("unix", [True, False])
async def test_logs_are_plain_text(harness: Harness, log: Path, unix: bool) -> None:
    """The last lines as they are, and a type that no browser makes a page of."""
    answer = await harness.ask("GET", "/v1/services/web/logs?lines=2", unix=unix)
    assert answer.status == 200
    assert answer.body.decode() == f"{STAMP.format(1)} line 1\n{STAMP.format(2)} line 2\n"
    assert answer.headers["content-type"].startswith("text/plain")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("unix", [True, False])
@pytest.mark.parametrize(
    ("query", "accept"),
    [("?format=json", "*/*"), ("", "application/json"), ("", "application/x-ndjson")],
)
async def test_logs_are_json_lines_on_request(
    harness: Harness, log: Path, unix: bool, query: str, accept: str
) -> None:
    """One object per line, by the query or by the header."""
    answer = await harness.ask(
        "GET", f"/v1/services/web/logs{query}", headers={"Accept": accept}, unix=unix
    )
    rows = [json.loads(line) for line in answer.body.splitlines()]
    assert rows[1] == {"time": STAMP.format(1), "service": "web", "text": "line 1"}
    assert len(rows) == 3
    assert answer.headers["content-type"] == "application/x-ndjson"


async def test_logs_since_gives_all_of_the_span(harness: Harness, log: Path) -> None:
    """A span has no number of lines unless one is asked for."""
    for number in range(3, 60):
        append(log, number)
    target = "/v1/services/web/logs?since=2026-11-22T21:47:02Z&until=2026-11-22T21:47:58Z"
    lines = (await harness.ask("GET", target)).body.splitlines()
    assert (lines[0][-6:], lines[-1][-7:], len(lines)) == (b"line 2", b"line 58", 57)
    lines = (await harness.ask("GET", target + "&lines=2")).body.splitlines()
    assert [line[-7:] for line in lines] == [b"line 57", b"line 58"]


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("lines=-1", "lines"),
        ("lines=1000001", "lines"),
        ("lines=x", "lines"),
        ("since=soon", "not a time"),
        ("until=soon", "not a time"),
        ("follow=yes", "follow"),
        ("format=xml", "format"),
        ("tail=1", "unknown query parameter"),
    ],
)
async def test_logs_bad_query_is_refused(
    harness: Harness, log: Path, query: str, word: str
) -> None:
    """One line that names the parameter; the stream is never begun."""
    answer = await harness.ask("GET", f"/v1/services/web/logs?{query}")
    assert answer.status == 400
    assert word in answer.json["detail"]


async def test_logs_of_an_unknown_service_are_not_found(harness: Harness) -> None:
    """The answer names those that are loaded."""
    assert (await harness.ask("GET", "/v1/services/web/logs", unix=True)).status == 404


@pytest.mark.parametrize("unix", [True, False])
async def test_logs_head_has_no_body(harness: Harness, log: Path, unix: bool) -> None:
    """HEAD of an endless stream ends."""
    answer = await harness.ask("HEAD", "/v1/services/web/logs?follow=1", unix=unix)
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("unix", [True, False])
async def test_logs_follow_gives_what_comes_until_it_is_unloaded(
    harness: Harness, log: Path, unix: bool
) -> None:
    """New lines arrive; the last words say why the stream ends."""
    reader, writer = await connect(harness, "/v1/services/web/logs?follow=1&lines=1", unix)
    assert b"line 2" in await asyncio.wait_for(reader.readuntil(b"line 2\n"), 10)
    append(log, 3)
    assert b"line 3" in await asyncio.wait_for(reader.readuntil(b"line 3\n"), 10)
    del harness.api.logs_of["web"]
    rest = await asyncio.wait_for(reader.readuntil(b"\n" if unix else b"0\r\n\r\n"), 10)
    assert b"!sup: service unloaded\n" in rest
    writer.close()


@pytest.mark.parametrize("unix", [True, False])
async def test_logs_follower_that_leaves_frees_its_place(
    harness: Harness, log: Path, unix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when no line comes that could fail to be written."""
    monkeypatch.setattr(log_streams, "TICK_S", 0.05)
    _, writer = await connect(harness, "/v1/services/web/logs?follow=1", unix)
    await until(lambda: harness.api.streams.open == 1)
    writer.close()
    await until(lambda: harness.api.streams.open == 0)


async def test_logs_client_that_ends_its_request_is_still_served(
    harness: Harness, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``nc -N`` shuts its side down after the request and reads on."""
    monkeypatch.setattr(log_streams, "TICK_S", 0.05)
    reader, writer = await connect(harness, "/v1/services/web/logs?follow=1&lines=0", True)
    writer.write_eof()
    await asyncio.sleep(0.3)
    append(log, 3)
    assert b"line 3" in await asyncio.wait_for(reader.readuntil(b"line 3\n"), 10)
    writer.close()


async def test_logs_one_reader_too_many_is_refused(
    harness: Harness, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound is of the supervisor, over both servers."""
    monkeypatch.setattr(log_streams, "STREAMS_MAX", 2)
    writers = []
    for unix in (True, False):
        _, writer = await connect(harness, "/v1/services/web/logs?follow=1", unix)
        writers.append(writer)
    await until(lambda: harness.api.streams.open == 2)
    answer = await harness.ask("GET", "/v1/services/web/logs", unix=True)
    assert (answer.status, answer.json["exit_code"]) == (409, 4)
    assert "2 logs are being read already" in answer.json["detail"]
    for writer in writers:
        writer.close()


@pytest.mark.parametrize("unix", [True, False])
async def test_logs_reader_that_takes_nothing_is_left(
    harness: Harness, log: Path, unix: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is the buffer: it costs no memory, and its place is free after a while."""
    for _ in range(200):
        append(log, 3, "x" * 100_000)
    for module in (control, gateway_http):
        monkeypatch.setattr(module, "STREAM_SECONDS", 0.3)
        monkeypatch.setattr(module, "LINGER_SECONDS", 0.1)
    sock = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, str(harness.path) if unix else ("127.0.0.1", harness.port))
    request = b"GET /v1/services/web/logs?lines=all HTTP/1.1\r\nHost: localhost\r\n\r\n"
    await loop.sock_sendall(sock, request)
    await until(lambda: harness.api.streams.open == 1)
    await until(lambda: harness.api.streams.open == 0)
    sock.close()


async def test_logs_followers_do_not_hold_up_the_end(harness: Harness, log: Path) -> None:
    """Closing the gateway ends every stream at once."""
    readers = [
        (await connect(harness, "/v1/services/web/logs?follow=1&lines=0", unix))
        for unix in (True, False)
    ]
    await until(lambda: harness.api.streams.open == 2)
    async with asyncio.timeout(3):
        await harness.gateway.close()
    await until(lambda: harness.api.streams.open == 0)
    for _, writer in readers:
        writer.close()
