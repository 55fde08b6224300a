"""The simulator's own machinery: time, sockets, faults, streams and the trace, with toy nodes.

The toy speaks no protocol: it sends what a test tells it to, answers ``ping`` with ``pong`` and
writes down what it gets. So a failure here is the simulator's, never the gossip core's.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from itertools import pairwise

import pytest

from sup_core.simulator_engine import Engine
from sup_core.simulator_network import Dice, Network

FOREVER = 1 << 62


class Toy:
    """A node that logs its inputs; `beat_us` makes it send to its peers at that interval."""

    def __init__(self, beat_us: int = 0, peers: tuple[bytes, ...] = ()) -> None:
        self.out: deque[tuple[bytes, bytes]] = deque()
        self.requests: deque[tuple[int, bytes, bytes]] = deque()
        self.heard: list[tuple[int, bytes, bytes]] = []
        self.answers: list[tuple[int, bytes | None, int]] = []
        self.fired: list[int] = []
        self.beat_us = beat_us
        self.peers = peers
        self.deadline = beat_us or FOREVER
        self.beats = 0

    def handle_datagram(self, data: bytes, source: bytes, now: int) -> None:
        """Log, and answer a ping."""
        self.heard.append((now, data, source))
        if data == b"ping":
            self.out.append((source, b"pong"))

    def handle_timeout(self, now: int) -> None:
        """Send one numbered packet to every peer."""
        self.fired.append(now)
        self.deadline = now + self.beat_us if self.beat_us else FOREVER
        self.beats += 1
        for peer in self.peers:
            self.out.append((peer, b"beat %d" % self.beats))

    def handle_request(self, data: bytes, source: bytes, now: int) -> bytes:
        """Echo in capitals; nothing for nothing."""
        self.heard.append((now, data, source))
        return b"" if data == b"refuse" else data.upper()

    def handle_response(self, request_id: int, data: bytes | None, now: int) -> None:
        """Log."""
        self.answers.append((request_id, data, now))

    def poll_transmit(self) -> tuple[bytes, bytes] | None:
        """Take the next datagram."""
        return self.out.popleft() if self.out else None

    def poll_request(self) -> tuple[int, bytes, bytes] | None:
        """Take the next request."""
        return self.requests.popleft() if self.requests else None

    def poll_event(self) -> None:
        """Tell nothing."""

    def next_timeout(self) -> int:
        """Return the next beat."""
        return self.deadline


def pair(network: Network | None = None, seed: int = 1) -> tuple[Engine, Toy, Toy]:
    """Build two hosts with a silent toy each."""
    engine = Engine(seed, network or Network(tail=0.0))
    toys = Toy(), Toy()
    for toy in toys:
        engine.place(toy)
    return engine, *toys


def send(engine: Engine, toy: Toy, index: int, target: int, data: bytes = b"ping") -> None:
    """Let a toy send one datagram now."""
    toy.out.append((engine.address(target), data))
    engine.touch(index)


def flood(engine: Engine, toy: Toy, count: int) -> None:
    """Send `count` numbered datagrams from host 0 to host 1."""
    for n in range(count):
        send(engine, toy, 0, 1, b"%d" % n)


def test_packet_sent_arrives_after_latency_with_the_senders_address() -> None:
    """One way takes half to one and a half of the median; the answer goes back to the source."""
    engine, a, b = pair()
    send(engine, a, 0, 1)
    engine.advance(10_000)
    assert [(data, source) for _, data, source in b.heard] == [(b"ping", engine.address(0))]
    assert 150 <= b.heard[0][0] <= 450
    assert [data for _, data, _ in a.heard] == [b"pong"]


def test_time_advances_to_the_end_even_when_nothing_happens() -> None:
    """Virtual time is the caller's, not the events'."""
    engine, _, _ = pair()
    engine.advance(123_456)
    assert engine.now_us == 123_456


def test_calls_at_one_time_run_in_the_order_in_which_they_were_made() -> None:
    """The heap is stable: (t, seq)."""
    engine, _, _ = pair()
    seen: list[int] = []
    for n in range(50):
        engine.at(1_000, partial(seen.append, n))
    engine.advance(1_000)
    assert seen == list(range(50))


def test_timer_moved_earlier_fires_once_at_its_new_time() -> None:
    """The event of the old deadline is stale and harmless."""
    engine = Engine(1, Network())
    toy = Toy(beat_us=5_000)
    engine.place(toy)
    toy.beat_us = 0
    toy.deadline = 2_000
    engine.touch(0)
    engine.advance(10_000)
    assert toy.fired == [2_000]


@pytest.mark.parametrize("drift_ppm", [0, 500, -500, 99_999, -100_000])
def test_clock_with_offset_and_drift_fires_timers_when_the_host_thinks_so(drift_ppm: int) -> None:
    """A host's clock is what its node sees; its timers never fire early by it."""
    engine = Engine(1, Network())
    toy = Toy(beat_us=1_000_000)
    toy.deadline += 7_000_000
    engine.place(toy, offset_us=7_000_000, drift_ppm=drift_ppm)
    engine.advance(100_000_000)
    assert toy.fired[0] >= 8_000_000
    assert max(b - a for a, b in pairwise(toy.fired)) <= 1_000_002
    assert abs(len(toy.fired) - (100 + 100 * drift_ppm / 1e6)) <= 1
    assert engine.clock(0) == 7_000_000 + 100_000_000 + 100 * drift_ppm


@pytest.mark.parametrize(
    ("loss", "low", "high"), [(0.0, 4000, 4000), (0.05, 3720, 3880), (1.0, 0, 0)]
)
def test_loss_uniform_takes_its_share(loss: float, low: int, high: int) -> None:
    """4,000
    packets, within four standard deviations."""
    engine, a, b = pair(Network(loss=loss))
    flood(engine, a, 4000)
    engine.advance(1_000_000)
    assert low <= len(b.heard) <= high
    assert engine.traffic(1)["lost_packets"] == 4000 - len(b.heard)


def test_loss_bursty_loses_neighbours_together() -> None:
    """Bad spells: most losses follow a loss."""
    engine = Engine(3, Network(burst=0.02, burst_us=300_000, burst_loss=1.0))
    sender, b = Toy(beat_us=10_000), Toy()
    engine.place(sender)
    engine.place(b)
    sender.peers = (engine.address(1),)
    engine.advance(60_000_000)
    got = {int(data.split()[1]) for _, data, _ in b.heard}
    lost = [n for n in range(1, sender.beats) if n not in got]
    assert 500 < len(lost) < 4500
    assert sum(n - 1 in set(lost) for n in lost) > 0.8 * len(lost)


def test_duplication_delivers_twice_and_reordering_happens() -> None:
    """Each copy has its own latency, so order is not kept."""
    engine, a, b = pair(Network(duplicate=0.5))
    flood(engine, a, 1000)
    engine.advance(1_000_000)
    order = [int(data) for _, data, _ in b.heard]
    assert 1400 < len(order) < 1600
    assert set(order) == set(range(1000))
    assert order != sorted(order)


def test_latency_tail_is_heavy_and_bounded() -> None:
    """A few packets take many medians, none more than the bound."""
    engine, a, b = pair(Network(latency_us=1000, tail=0.1, tail_us=50_000))
    flood(engine, a, 5000)
    engine.advance(1_000_000)
    late = [t for t, _, _ in b.heard if t > 5_000]
    assert 30 < len(late) < 200
    assert max(late) <= 50_000


def test_corruption_is_dropped_by_the_checksum_or_delivered_without() -> None:
    """With the checksum corruption is loss; without it the bytes differ or the end is cut off."""
    engine, a, b = pair(Network(corrupt=1.0))
    flood(engine, a, 100)
    engine.advance(100_000)
    assert b.heard == []
    engine, a, b = pair(Network(corrupt=1.0, checksum=False))
    for _ in range(400):
        send(engine, a, 0, 1, b"x" * 100)
    engine.advance(100_000)
    assert len(b.heard) == 400
    assert all(data != b"x" * 100 for _, data, _ in b.heard)
    assert 50 < sum(len(data) < 100 for _, data, _ in b.heard) < 150


def test_partition_cuts_between_groups_until_it_heals() -> None:
    """Packets pass within a group only."""
    engine, a, b = pair()
    engine.set_group(0, 1)
    send(engine, a, 0, 1)
    engine.advance(10_000)
    assert b.heard == []
    engine.set_group(0, 0)
    send(engine, a, 0, 1)
    engine.advance(20_000)
    assert len(b.heard) == 1


def test_one_way_link_cuts_one_direction() -> None:
    """The ping arrives, the pong does not."""
    engine, a, b = pair()
    engine.set_link(1, 0, False)
    send(engine, a, 0, 1)
    engine.advance(10_000)
    assert (len(b.heard), len(a.heard)) == (1, 0)
    engine.set_link(1, 0, True)
    send(engine, a, 0, 1)
    engine.advance(20_000)
    assert len(a.heard) == 1


@pytest.mark.parametrize(
    ("incoming", "outgoing", "heard"), [(1.0, 0.0, (0, 0)), (0.0, 1.0, (1, 0))]
)
def test_host_loss_deafens_or_mutes(
    incoming: float, outgoing: float, heard: tuple[int, int]
) -> None:
    """A deaf host hears nothing; a mute one hears, but nobody hears it."""
    engine, a, b = pair()
    engine.set_loss(1, incoming=incoming, outgoing=outgoing)
    send(engine, a, 0, 1)
    engine.advance(10_000)
    assert (len(b.heard), len(a.heard)) == heard


def test_pause_holds_packets_and_timers_and_hands_packets_in_first() -> None:
    """A paused process does nothing; at its end the socket is read before a timer fires."""
    engine = Engine(1, Network())
    toy, other = Toy(beat_us=1_000_000), Toy()
    engine.place(toy)
    engine.place(other)
    engine.pause(0, 3_500_000)
    send(engine, other, 1, 0)
    engine.advance(3_499_999)
    assert (toy.heard, toy.fired) == ([], [])
    engine.advance(3_600_000)
    assert [t for t, _, _ in toy.heard] == [3_500_000]
    assert toy.fired == [3_500_000]


def test_pause_overflows_the_socket_buffer_at_its_bound() -> None:
    """277 small packets fit Linux's default buffer; the rest is counted as overflow."""
    engine, a, b = pair()
    engine.pause(1, 1_000_000)
    flood(engine, a, 500)
    engine.advance(2_000_000)
    assert len(b.heard) == 277
    assert engine.traffic(1)["overflowed_packets"] == 223


def test_stall_stops_reading_but_not_sending() -> None:
    """Timers of a stalled process run."""
    engine = Engine(1, Network())
    toy, other = Toy(beat_us=100_000), Toy()
    engine.place(toy)
    engine.place(other)
    toy.peers = (engine.address(1),)
    engine.stall(0, 1_000_000)
    send(engine, other, 1, 0)
    engine.advance(950_000)
    assert toy.heard == []
    assert len(other.heard) == 9
    engine.advance(1_100_000)
    assert len(toy.heard) == 1


def test_slow_node_handles_one_packet_per_service_time() -> None:
    """Packets queue behind each other."""
    engine, a, b = pair()
    engine.slow(1, 10_000)
    flood(engine, a, 10)
    engine.advance(1_000_000)
    times = [t for t, _, _ in b.heard]
    assert [y - x for x, y in pairwise(times)] == [10_000] * 9


@pytest.mark.parametrize("grain", [1_000, 20_000])
def test_coarse_timers_fire_at_the_next_multiple_and_packets_wait_for_nothing(grain: int) -> None:
    """A moment that is a multiple itself waits for the next, as in a hub of many sockets."""
    engine = Engine(1, Network())
    toy, other = Toy(beat_us=100_000), Toy()
    engine.place(toy)
    engine.place(other)
    engine.coarsen(0, grain)
    send(engine, other, 1, 0)
    engine.advance(500_000)
    assert toy.fired == [n * (100_000 + grain) for n in range(1, len(toy.fired) + 1)]
    assert len(toy.fired) == 4
    assert 0 < toy.heard[0][0] < 1_000
    engine.coarsen(0, 0)
    engine.advance(700_000)
    assert toy.fired[-1] == toy.fired[3] + 200_000
    with pytest.raises(ValueError, match="grain is -1 us, bounds are"):
        engine.coarsen(0, -1)


def test_halt_loses_the_socket_and_boot_starts_afresh() -> None:
    """A new process hears nothing of what its predecessor's socket held."""
    engine, a, b = pair()
    engine.pause(1, 1_000_000)
    flood(engine, a, 10)
    engine.advance(500_000)
    engine.halt(1)
    assert engine.in_flight == 0
    flood(engine, a, 5)
    engine.advance(600_000)
    assert engine.traffic(1)["unheard_packets"] == 5
    fresh = Toy()
    engine.boot(1, fresh)
    send(engine, a, 0, 1)
    engine.advance(700_000)
    assert (len(fresh.heard), b.heard) == (1, [])


def test_rebind_makes_the_old_address_deaf() -> None:
    """Only the new port is heard, also by packets that were on their way."""
    engine, a, b = pair()
    send(engine, a, 0, 1)
    engine.rebind(1)
    engine.advance(10_000)
    assert b.heard == []
    send(engine, a, 0, 1)
    engine.advance(20_000)
    assert len(b.heard) == 1


def request(engine: Engine, toy: Toy, data: bytes = b"hello") -> None:
    """Let toy 0 ask host 1."""
    toy.requests.append((7, engine.address(1), data))
    engine.touch(0)


def test_stream_answers_with_the_servers_bytes() -> None:
    """One exchange, a few round trips."""
    engine, a, _ = pair()
    request(engine, a)
    engine.advance(100_000)
    assert [(r, d) for r, d, _ in a.answers] == [(7, b"HELLO")]
    assert a.answers[0][2] < 5_000


@pytest.mark.parametrize(
    ("fault", "low", "high"),
    [
        ("refused", 0, 5_000),
        ("process", 0, 5_000),
        ("host", 5_000_000, 5_000_000),
        ("partition", 5_000_000, 5_000_000),
        ("pause", 5_000_000, 5_000_000),
        ("loss", 5_000_000, 5_000_000),
    ],
)
def test_stream_fails_at_once_or_at_its_deadline(fault: str, low: int, high: int) -> None:
    """A refusal takes a round trip; silence takes the five seconds of the deadline."""
    engine, a, _ = pair(Network(loss=1.0) if fault == "loss" else None)
    if fault in ("process", "host"):
        engine.halt(1, host_up=fault == "process")
    elif fault == "partition":
        engine.set_group(1, 1)
    elif fault == "pause":
        engine.pause(1, 60_000_000)
    request(engine, a, b"refuse" if fault == "refused" else b"hello")
    engine.advance(10_000_000)
    assert [(r, d) for r, d, _ in a.answers] == [(7, None)]
    assert low <= a.answers[0][2] <= high


def test_stream_to_a_short_pause_is_served_when_it_ends() -> None:
    """The kernel accepts; the process answers late, within the deadline."""
    engine, a, _ = pair()
    engine.pause(1, 2_000_000)
    request(engine, a)
    engine.advance(10_000_000)
    assert a.answers[0][1] == b"HELLO"
    assert a.answers[0][2] >= 2_000_000


def test_stream_answer_to_a_restarted_client_is_dropped() -> None:
    """Request ids belong to one life of a process."""
    engine, a, _ = pair()
    request(engine, a)
    fresh = Toy()
    engine.boot(0, fresh)
    engine.advance(10_000_000)
    assert (a.answers, fresh.answers) == ([], [])


def chatter(seed: int) -> Engine:
    """Run ten beating toys over a bad network for two seconds."""
    engine = Engine(seed, Network(loss=0.1, duplicate=0.1, corrupt=0.1, checksum=False))
    toys = [Toy(beat_us=50_000) for _ in range(10)]
    for toy in toys:
        engine.place(toy)
    for toy in toys:
        toy.peers = tuple(engine.address(i) for i in range(10))
    engine.advance(2_000_000)
    return engine


def test_trace_same_seed_is_equal_and_another_differs() -> None:
    """The hash is a function of the seed."""
    assert chatter(1).trace == chatter(1).trace
    assert chatter(1).trace != chatter(2).trace


def test_trace_changes_with_one_bit_of_one_packet() -> None:
    """Content counts, not only times."""
    traces = []
    for data in (b"ping!", b"ping "):
        engine, a, _ = pair()
        send(engine, a, 0, 1, data)
        engine.advance(10_000)
        traces.append(engine.trace)
    assert traces[0] != traces[1]


def test_engine_refuses_a_node_that_spins_or_oversends() -> None:
    """A protocol loop ends loudly, not in a hang."""
    engine = Engine(1, Network())
    spinner = Toy(beat_us=1)
    spinner.handle_timeout = lambda now: None  # type: ignore[method-assign]
    engine.place(spinner)
    with pytest.raises(RuntimeError, match="wants its timer"):
        engine.advance(10)
    engine, a, _ = pair()
    with pytest.raises(RuntimeError, match="1401 bytes"):
        send(engine, a, 0, 1, b"x" * 1401)


@pytest.mark.parametrize(
    "arguments",
    [{"loss": 1.1}, {"loss": -0.1}, {"latency_us": 0}, {"tail_us": 1}, {"duplicate": 2.0}],
)
def test_network_out_of_range_names_value_and_bound(arguments: dict[str, float]) -> None:
    """A wrong number is an error at once."""
    with pytest.raises(ValueError, match=r"is -?[0-9.]+, "):
        Network(**arguments)  # type: ignore[arg-type]


def test_dice_sample_and_choice_are_functions_of_the_seed() -> None:
    """Scripts draw from the same kind of generator."""
    assert Dice(5).sample(list(range(20)), 6) == Dice(5).sample(list(range(20)), 6)
    assert len(set(Dice(5).sample(list(range(20)), 30))) == 20
    with pytest.raises(IndexError):
        Dice(1).choice([])
