"""Peers: how they are written, and what happens while names do not resolve. No real DNS here."""

import asyncio
import logging
import random
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sup.edge.addresses import (
    DEFAULT_PORT,
    HostPort,
    format_address,
    pack_address,
    parse_host_port,
    primary_ip,
    unpack_address,
)
from sup.edge.resolver import PEERS_MAX, REFRESH_S, RETRY_MAX_S, Resolver, next_delay, parse_peers
from sup.errors import ExitCode, OperatorError


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("alpha", "alpha", DEFAULT_PORT),
        ("alpha.example.:1", "alpha.example.", 1),
        ("_srv-1.x_y:65535", "_srv-1.x_y", 65535),
        ("10.0.0.1:7000", "10.0.0.1", 7000),
        ("2001:DB8::1", "2001:db8::1", DEFAULT_PORT),
        ("[2001:db8::1]", "2001:db8::1", DEFAULT_PORT),
        ("[::1]:9", "::1", 9),
        ("::ffff:10.0.0.1", "10.0.0.1", DEFAULT_PORT),
        (" alpha ", "alpha", DEFAULT_PORT),
    ],
)
def test_parse_host_port_accepts_all_ways_of_writing(text: str, host: str, port: int) -> None:
    """The forms of the documentation, with the default port where none is given."""
    assert parse_host_port(text) == HostPort(host, port)


@pytest.mark.parametrize(
    "text",
    [
        *("", ":1", "a:", "a:0", "a:65536", "a:-1", "a:1x", "a:１", "[::1", "[::1]x", "[::1]:"),
        *("[a]:1", "1:2:3", "256.1.1.1", "1.2.3", "a b", "a/b", "fe80::1%eth0", "a..b", "-a"),
        *("x" * 300, "a\nb", "[]:1", ".", "ä:1", "http://a:1"),
    ],
)
def test_parse_host_port_rejects_in_one_line_with_exit_2(text: str) -> None:
    """A typo is told before anything starts, with the text that was typed."""
    with pytest.raises(OperatorError) as caught:
        parse_host_port(text, "peer")
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300


@given(st.text(max_size=40))
def test_parse_host_port_any_text_parses_or_is_an_operator_error(text: str) -> None:
    """No other exception for any input, and what parses survives formatting and parsing again."""
    try:
        parsed = parse_host_port(text)
    except OperatorError:
        return
    assert parse_host_port(str(parsed)) == parsed


@given(st.ip_addresses(), st.integers(0, 65535))
def test_pack_address_unpacks_to_the_same(ip: Any, port: int) -> None:
    """Both families cross the core's form unchanged (a mapped IPv6 address is the IPv4 one)."""
    text = str(getattr(ip, "ipv4_mapped", None) or ip)
    assert unpack_address(pack_address(str(ip), port)) == (text, port)
    assert parse_host_port(format_address(pack_address(str(ip), port)), port_min=0).port == port


def test_primary_ip_is_an_address_of_this_host_or_nothing() -> None:
    """Found without sending a packet; loopback does not count as primary."""
    found = primary_ip(is_v6=False)
    if found is not None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
            bound.bind((found, 0))
        assert not found.startswith("127.")


def test_parse_peers_deduplicates_and_bounds() -> None:
    """The same peer twice is one; a list that is too long is told."""
    assert len(parse_peers(["a", "a:9638", "b"])) == 2
    with pytest.raises(OperatorError, match=str(PEERS_MAX)):
        parse_peers([f"host{number}" for number in range(PEERS_MAX + 1)])


def test_next_delay_stays_within_bounds_and_grows() -> None:
    """Decorrelated jitter: never under the minimum, never over the cap, and it does reach up."""
    rng = random.Random(1)
    delay, seen = 1.0, []
    for _ in range(200):
        delay = next_delay(delay, rng)
        seen.append(delay)
    assert min(seen) >= 1.0
    assert max(seen) <= RETRY_MAX_S
    assert max(seen) > 30


class World:
    """A name service and a clock under the control of a test: sleeping returns at once."""

    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.alive: set[bytes] = set()
        self.changes: list[tuple[bytes, ...]] = []
        self.slept: list[float] = []
        self.budget = 0
        self.idle = asyncio.Event()

    async def lookup(self, host: str, port: int) -> Sequence[tuple[Any, ...]]:
        answers = self.answers.get(host, [])
        answer = answers.pop(0) if len(answers) > 1 else answers[0] if answers else None
        if answer is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if isinstance(answer, Exception):
            raise answer
        return [
            (socket.AF_INET6, 2, 17, "", (ip, port, 0, 0))
            if ":" in ip
            else (socket.AF_INET, 2, 17, "", (ip, port))
            for ip in answer
        ]

    async def sleep(self, delay_s: float) -> None:
        self.slept.append(delay_s)
        if len(self.slept) >= self.budget:
            self.idle.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    async def play(self, peers: Sequence[str], rounds: int) -> Resolver:
        self.budget = rounds
        resolver = Resolver(
            parse_peers(peers),
            on_change=self.changes.append,
            is_alive=self.alive.__contains__,
            rng=random.Random(7),
            lookup=self.lookup,
            sleep=self.sleep,
        )
        resolver.start()
        await asyncio.wait_for(self.idle.wait(), 10)
        await resolver.close()
        return resolver


async def test_resolver_unknown_name_is_retried_with_one_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A name that resolves later is used later; twenty failures are one line, not twenty."""
    world = World()
    gone = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    world.answers["late"] = [gone] * 20 + [["10.0.0.9"]]
    with caplog.at_level(logging.INFO, "sup.resolver"):
        resolver = await world.play(["late:7000"], 22)
    assert world.changes == [(pack_address("10.0.0.9", 7000),)]
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "late:7000" in caplog.text
    assert max(world.slept) <= RETRY_MAX_S
    assert resolver.status()[0]["error"] == ""


async def test_resolver_changed_address_is_followed() -> None:
    """A restarted container: same name, new address; all addresses of a name are candidates."""
    world = World()
    world.answers["seed"] = [["10.0.0.1", "2001:db8::1"], ["10.0.0.2"]]
    resolver = await world.play(["seed"], 4)
    assert world.changes == [
        (pack_address("10.0.0.1", DEFAULT_PORT), pack_address("2001:db8::1", DEFAULT_PORT)),
        (pack_address("10.0.0.2", DEFAULT_PORT),),
    ]
    assert resolver.addresses() == world.changes[-1]


async def test_resolver_peer_alive_in_the_ring_is_asked_once_a_minute() -> None:
    """A joined ring costs one look-up a minute; one that is not joined asks sooner."""
    world = World()
    world.answers["seed"] = [["10.0.0.1"]]
    world.alive.add(pack_address("10.0.0.1", DEFAULT_PORT))
    await world.play(["seed"], 3)
    assert world.slept == [REFRESH_S] * 3


async def test_resolver_failure_after_success_keeps_the_addresses() -> None:
    """Stale candidates beat none while the name service is down."""
    world = World()
    world.answers["seed"] = [["10.0.0.1"], OSError("down")]
    resolver = await world.play(["seed"], 3)
    assert resolver.addresses() == (pack_address("10.0.0.1", DEFAULT_PORT),)
    assert resolver.status()[0]["error"] == "down"


async def test_resolver_strange_answers_never_end_it() -> None:
    """Names that the codec refuses and link-local answers are errors of that peer alone."""
    world = World()
    world.answers["odd"] = [UnicodeError("label too long")]
    world.answers["fine"] = [["10.0.0.3"]]
    resolver = await world.play(["odd", "fine"], 4)
    assert resolver.addresses() == (pack_address("10.0.0.3", DEFAULT_PORT),)


async def test_resolver_literal_address_needs_no_name_service() -> None:
    """A literal resolves through the real loop, once."""
    changes: list[tuple[bytes, ...]] = []
    resolver = Resolver(
        parse_peers(["127.0.0.1:7001"]),
        on_change=changes.append,
        is_alive=lambda _: False,
        rng=random.Random(1),
    )
    resolver.start()
    await asyncio.wait_for(asyncio.gather(*resolver._tasks), 10)
    await resolver.close()
    assert changes == [(pack_address("127.0.0.1", 7001),)]
