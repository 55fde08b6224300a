"""Whole rings in one process: real sockets, real files, both event loops."""

import asyncio
import contextlib
import dataclasses
import os
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

import sup.ring
from sup.edge.addresses import pack_address
from sup.errors import ConflictError, ExitCode, OperatorError
from sup.ring import RING_HASH_OFFSET, Resync, Ring, RingOptions, ring_magic
from sup_core.config import Config
from sup_core.events import MemberChange, MemberEvent, MemberState, RumorEvent
from sup_core.kinds import CONFIG, SERVICE

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


WAIT_S = 20.0


async def until(condition: Callable[[], bool], what: str = "condition") -> None:
    """Poll until it holds; fails after a generous bound, never because of speed."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not hold in {WAIT_S} s"
        await asyncio.sleep(0.01)


class Town:
    """The rings of one test."""

    def __init__(self, path: Path, host: str = "127.0.0.1") -> None:
        self.path = path
        self.host = host
        self.rings: list[Ring] = []

    def options(self, name: str, peers: tuple[str, ...] = (), port: int = 0) -> RingOptions:
        listen = f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"
        return RingOptions(
            state_dir=self.path / name,
            name=name,
            listen=listen,
            peers=peers,
            config=Config(probe_interval_us=200_000, gossip_interval_us=50_000),
        )

    async def start(self, name: str, peers: tuple[str, ...] = (), port: int = 0) -> Ring:
        ring = await Ring.open(self.options(name, peers, port))
        self.rings.append(ring)
        return ring

    async def start_joined(self, count: int) -> list[Ring]:
        """``count`` members, the first is the seed of all others, and all know all."""
        first = await self.start("m0")
        rings = [first]
        for number in range(1, count):
            rings.append(await self.start(f"m{number}", (place(first),)))
        await until(lambda: all(alive(ring) == count for ring in rings), "convergence")
        return rings

    async def close(self) -> None:
        for ring in self.rings:
            await ring.close()


def place(ring: Ring) -> str:
    """Where a ring can be reached, as a peer is written."""
    host, port = ring.advertised
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def alive(ring: Ring) -> int:
    """How many members this one holds alive, itself included."""
    return sum(member.state is MemberState.ALIVE for member in ring.members())


@contextlib.asynccontextmanager
async def town(path: Path, host: str = "127.0.0.1") -> AsyncIterator[Town]:
    made = Town(path, host)
    try:
        yield made
    finally:
        await made.close()


def run(loop_factory: LoopFactory, body: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(asyncio.wait_for(body(), 90))


def value_of(ring: Ring, kind: int, key: bytes) -> bytes | None:
    rumor = ring.node.rumor(kind, key)
    return None if rumor is None else rumor.value


def test_ring_three_members_converge_and_exchange_rumors(
    loop_factory: LoopFactory, tmp_path: Path
) -> None:
    """Membership, a small rumor by datagram and one of 40 KiB by stream, to everybody."""

    async def body() -> None:
        async with town(tmp_path) as made:
            rings = await made.start_joined(3)
            large = random.Random(1).randbytes(40 * 1024)
            rings[1].publish(SERVICE, b"redis.default", b"small")
            rings[2].publish(CONFIG, b"redis.default", large)
            await until(lambda: all(len(ring.rumors(SERVICE)) == 1 for ring in rings), "small")
            key = b"redis.default"
            await until(
                lambda: all(value_of(ring, CONFIG, key) == large for ring in rings), "large"
            )
            rings[2].retract(CONFIG, b"redis.default")
            await until(lambda: not any(ring.rumors(CONFIG) for ring in rings), "retraction")

    run(loop_factory, body)


class Relay:
    """A socket between two members that notes the size of every datagram it passes on."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.behind: tuple[str, int] = ("127.0.0.1", 0)
        self.sizes: list[int] = []
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.setblocking(False)

    def pass_on(self) -> None:
        """Everything from the member behind goes to the target, all else to the member behind."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, source = self.socket.recvfrom(4096)
                self.sizes.append(len(data))
                to = self.target if source == self.behind else self.behind
                self.socket.sendto(data, to)


def test_ring_datagrams_on_the_wire_are_at_most_1400_bytes(
    loop_factory: LoopFactory, tmp_path: Path
) -> None:
    """The tag of the edge is inside the 1400 bytes: a burst of news fills packets, none is over."""

    async def body() -> None:
        async with town(tmp_path) as made:
            first = await made.start("m0")
            relay = Relay(first.advertised)
            loop = asyncio.get_running_loop()
            loop.add_reader(relay.socket, relay.pass_on)
            try:
                port = relay.socket.getsockname()[1]
                options = made.options("m1", (place(first),))
                options = dataclasses.replace(options, advertise=f"127.0.0.1:{port}")
                second = await Ring.open(options)
                made.rings.append(second)
                relay.behind = ("127.0.0.1", second._where.port)
                await until(lambda: alive(first) == alive(second) == 2, "join")
                # The snapshot of the join, a stream, may still be under way and bring a burst.
                for burst in range(1, 4):
                    for number in range(200):
                        first.publish(SERVICE, b"%d-%d" % (burst, number), b"x" * (number % 60))
                    wanted = 200 * burst
                    await until(lambda n=wanted: len(second.rumors(SERVICE)) == n, "rumors")
                    if max(relay.sizes) > 1380:
                        break
            finally:
                loop.remove_reader(relay.socket)
                relay.socket.close()
            assert 1380 < max(relay.sizes) <= 1400

    run(loop_factory, body)


def test_ring_over_ipv6_converges(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """The same over ::1."""
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError as error:
            pytest.skip(f"no ::1 on this host: {error.strerror}")

    async def body() -> None:
        async with town(tmp_path, "::1") as made:
            rings = await made.start_joined(2)
            rings[0].publish(CONFIG, b"k", b"x" * 40_000)
            await until(lambda: value_of(rings[1], CONFIG, b"k") == b"x" * 40_000, "large rumor")

    run(loop_factory, body)


def test_ring_events_tell_joins_and_rumors_in_order(
    loop_factory: LoopFactory, tmp_path: Path
) -> None:
    """A reader hears of a member before it hears of that member's death or of nothing twice."""

    async def body() -> None:
        async with town(tmp_path) as made:
            first, second = await made.start_joined(2)
            second.publish(CONFIG, b"k", b"v")
            seen: list[object] = []
            while not any(isinstance(one, RumorEvent) for one in seen):
                seen += await asyncio.wait_for(first.next_events(), 20)
            joined = [
                one
                for one in seen
                if isinstance(one, MemberEvent) and one.change is MemberChange.JOINED
            ]
            others = [one for one in joined if one.member.name == "m1"]
            assert len(others) == 1

    run(loop_factory, body)


def test_ring_crash_is_detected_and_return_is_seen(
    loop_factory: LoopFactory, tmp_path: Path
) -> None:
    """A member that falls silent is declared dead by the others; restarted, it is back."""

    async def body() -> None:
        async with town(tmp_path) as made:
            rings = await made.start_joined(3)
            port = rings[2].advertised[1]
            victim = bytes.fromhex(rings[2].member_id)
            rings[2]._hub.close()
            await rings[2].close()

            def state(ring: Ring) -> MemberState | None:
                member = ring.node.member(victim)
                return None if member is None else member.state

            await until(lambda: state(rings[0]) is MemberState.DEAD, "death seen by m0")
            await until(lambda: state(rings[1]) is MemberState.DEAD, "death seen by m1")
            again = await made.start("m2", (place(rings[0]),), port)
            assert again.member_id == victim.hex()
            await until(lambda: all(alive(ring) == 3 for ring in (*rings[:2], again)), "return")
            local = rings[0].node.member(victim)
            assert local is not None
            assert local.epoch == 2

    run(loop_factory, body)


def test_ring_leave_is_told_at_once(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """A member that leaves is `left`, not `dead`, on the others."""

    async def body() -> None:
        async with town(tmp_path) as made:
            rings = await made.start_joined(3)
            await rings[2].leave()
            await rings[2].close()
            gone = bytes.fromhex(rings[2].member_id)

            def has_left(ring: Ring) -> bool:
                member = ring.node.member(gone)
                return member is not None and member.state is MemberState.LEFT

            await until(lambda: all(has_left(ring) for ring in rings[:2]), "left")

    run(loop_factory, body)


def test_ring_restarted_keeps_rumors_and_counts_the_start(
    loop_factory: LoopFactory, tmp_path: Path
) -> None:
    """A close persists; the next start has the same id, a larger epoch and the configuration."""

    async def body() -> None:
        async with town(tmp_path) as made:
            ring = await made.start("solo")
            ring.publish(CONFIG, b"redis.default", b"maxmemory = 1")
            epoch = ring.node.local().epoch
            await ring.close()
            again = await made.start("solo")
            assert again.member_id == ring.member_id
            assert again.node.local().epoch == epoch + 1
            assert value_of(again, CONFIG, b"redis.default") == b"maxmemory = 1"

    run(loop_factory, body)


def test_ring_flushed_rumor_survives_a_kill_of_all(
    loop_factory: LoopFactory, tmp_path: Path
) -> None:
    """After flush the value is in the files of this member, and soon in the receiver's too."""

    async def body() -> None:
        async with town(tmp_path) as made:
            rings = await made.start_joined(2)
            rings[0].publish(CONFIG, b"k", b"accepted")
            await rings[0].flush()
            at_flush = (tmp_path / "m0" / "rumors").read_bytes()
            assert b"accepted" in at_flush

            def received_is_durable() -> bool:
                path = tmp_path / "m1" / "rumors"
                return path.exists() and b"accepted" in path.read_bytes()

            await until(received_is_durable, "receiver's snapshot")

    run(loop_factory, body)


async def test_ring_killed_after_flush_has_the_value_at_its_next_start(tmp_path: Path) -> None:
    """SIGKILL between "accepted" and anything else loses nothing, and frees the directory."""
    program = (
        "import asyncio, sys; from pathlib import Path; from sup.ring import Ring, RingOptions\n"
        "async def main():\n"
        "    options = RingOptions(state_dir=Path(sys.argv[1]), name='n', listen='127.0.0.1:0')\n"
        "    ring = await Ring.open(options)\n"
        "    ring.publish(64, b'k', b'accepted')\n"
        "    await ring.flush()\n"
        "    print(ring.member_id, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert child.stdout is not None
    member_id = (await asyncio.wait_for(child.stdout.readline(), 60)).decode().strip()
    child.kill()
    await child.wait()
    options = RingOptions(state_dir=tmp_path, name="n", listen="127.0.0.1:0")
    ring = await Ring.open(options)
    assert ring.member_id == member_id
    assert ring.node.local().epoch == 2
    assert value_of(ring, CONFIG, b"k") == b"accepted"
    await ring.close()


async def test_ring_disk_full_flush_fails_and_ring_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that refuses is told to whoever asked for durability, and to nobody else."""
    async with town(tmp_path) as made:
        ring = await made.start("solo")

        def full(_: bytes) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(ring._state, "save_rumors", full)
        ring.publish(CONFIG, b"k", b"v")
        with pytest.raises(OSError, match="No space left"):
            await ring.flush()
        assert ring._urgent.is_set(), "a configuration is tried again soon"
        assert "No space left" in ring.status()["warnings"][-1]
        monkeypatch.undo()
        await ring.flush()
        assert ring.status()["warnings"] == []
        assert b"k" in (tmp_path / "solo" / "rumors").read_bytes()


async def test_ring_damaged_snapshot_starts_from_the_one_before(tmp_path: Path) -> None:
    """A start never fails because of a damaged file, and says what it did."""
    async with town(tmp_path) as made:
        ring = await made.start("solo")
        ring.publish(CONFIG, b"k", b"v")
        await ring.flush()
        ring.publish(CONFIG, b"k2", b"v2")
        await ring.close()
        path = tmp_path / "solo" / "rumors"
        path.write_bytes(path.read_bytes()[:-3])
        again = await made.start("solo")
        assert value_of(again, CONFIG, b"k") == b"v"
        assert any("rumors.corrupt-1" in line for line in again.status()["warnings"])


async def test_ring_port_in_use_is_a_conflict_that_costs_no_start(tmp_path: Path) -> None:
    """Exit 4, one line; the directory is free again and its epoch not counted."""
    async with town(tmp_path) as made:
        first = await made.start("first")
        with pytest.raises(ConflictError, match=str(first.advertised[1])):
            await made.start("second", port=first.advertised[1])
        second = await made.start("second")
        assert second.node.local().epoch == 1


async def test_ring_state_directory_in_use_is_a_conflict(tmp_path: Path) -> None:
    """Two supervisors on one state directory: exit 4 and the pid that holds it."""
    async with town(tmp_path) as made:
        await made.start("same")
        with pytest.raises(ConflictError, match=f"pid {os.getpid()}"):
            await made.start("same")


@pytest.mark.parametrize(
    "bad",
    [
        {"listen": "host.example:1"},
        {"listen": "127.0.0.1:99999"},
        {"listen": "192.0.2.77:0"},
        {"peers": ("a:b:c",)},
        {"advertise": "x:0"},
        {"advertise": "0.0.0.0:1"},
        {"advertise": "[ff02::1]:1"},
        {"name": "n" * 200},
        {"name": "a\x1b[31mb"},
        {"ring": "a\nb"},
    ],
)
async def test_ring_bad_option_is_bad_input(bad: dict[str, object], tmp_path: Path) -> None:
    """A typo ends with exit 2 and one line, and holds nothing."""
    options: dict[str, object] = {"state_dir": tmp_path, "name": "n", "listen": "127.0.0.1:0"}
    with pytest.raises(OperatorError) as caught:
        await Ring.open(RingOptions(**{**options, **bad}))  # type: ignore[arg-type]
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert "\n" not in caught.value.message
    ring = await Ring.open(RingOptions(**options))  # type: ignore[arg-type]
    await ring.close()


async def test_ring_whose_owner_is_not_ready_says_nothing_and_counts_no_start(
    tmp_path: Path,
) -> None:
    """What must be taken beside the port is taken before anybody hears of this member."""

    async def not_ready() -> None:
        raise OperatorError("not ready")

    options = RingOptions(state_dir=tmp_path, name="n", listen="127.0.0.1:0")
    with pytest.raises(OperatorError, match="not ready"):
        await Ring.open(options, ready=not_ready)
    assert not (tmp_path / "epoch").exists()
    ring = await Ring.open(options)
    await ring.close()


async def test_ring_bound_to_all_advertises_an_address_of_this_host(tmp_path: Path) -> None:
    """0.0.0.0 is never advertised; an explicit address without a port takes the bound one."""
    for listen in ("0.0.0.0:0", "[::]:0"):
        ring = await Ring.open(RingOptions(state_dir=tmp_path, name="n", listen=listen))
        host, port = ring.advertised
        assert host not in ("0.0.0.0", "::")
        assert port > 0
        assert host != "127.0.0.1" or ring.status()["warnings"]
        await ring.close()
    options = RingOptions(state_dir=tmp_path, name="n", listen="0.0.0.0:0", advertise="127.0.0.9")
    ring = await Ring.open(options)
    assert ring.advertised[0] == "127.0.0.9"
    assert ring.status()["listen"].endswith(f":{ring.advertised[1]}")
    await ring.close()


async def test_ring_unknown_peer_name_does_not_stop_it(tmp_path: Path) -> None:
    """An unresolvable seed is shown in status; the ring runs."""
    async with town(tmp_path) as made:
        ring = await made.start("solo", ("no-such-host.invalid",))
        await until(lambda: "not resolved" not in ring.status()["peers"][0]["error"], "a look-up")
        assert ring.status()["peers"][0]["error"]
        assert alive(ring) == 1


async def test_ring_reader_that_falls_behind_gets_one_resync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue is bounded; what was dropped is counted and asks for reading again."""
    monkeypatch.setattr("sup.ring.EVENTS_MAX", 4)
    async with town(tmp_path) as made:
        rings = await made.start_joined(2)
        await rings[0].next_events()
        for number in range(20):
            rings[1].publish(CONFIG, b"k%d" % number, b"v")
        await until(lambda: len(rings[0].rumors(CONFIG)) == 20, "rumors")
        events = await rings[0].next_events()
        assert len(events) <= 5
        markers = [one for one in events if isinstance(one, Resync)]
        assert len(markers) == 1
        assert events[0] is markers[0]
        assert markers[0].lost > 0


async def test_ring_closed_wakes_its_reader(tmp_path: Path) -> None:
    """A reader that waits is not left waiting; a second close does nothing."""
    async with town(tmp_path) as made:
        ring = await made.start("solo")
        while await asyncio.wait_for(asyncio.shield(_quiet(ring)), 20):
            pass
        waiting = asyncio.create_task(ring.next_events())
        await asyncio.sleep(0)
        await ring.close()
        assert await asyncio.wait_for(waiting, 20) == []
        await ring.close()


async def _quiet(ring: Ring) -> bool:
    """True while there are events to take."""
    if not ring._events:
        return False
    await ring.next_events()
    return True


async def test_ring_of_another_name_stays_apart(tmp_path: Path) -> None:
    """Two rings on one network never merge, whatever their peers say."""
    async with town(tmp_path) as made:
        ours = await made.start("ours")
        options = made.options("theirs", (place(ours),))
        theirs = await Ring.open(
            RingOptions(
                state_dir=options.state_dir,
                name="theirs",
                ring="other",
                listen="127.0.0.1:0",
                peers=options.peers,
                config=options.config,
            )
        )
        made.rings.append(theirs)
        await until(
            lambda: ours.status()["counters"]["datagrams"]["foreign"] > 0, "a foreign packet"
        )
        assert alive(ours) == alive(theirs) == 1


async def test_ring_magic_is_where_packets_carry_it(tmp_path: Path) -> None:
    """The kernel's filter looks at the bytes that the codec writes; a moved header shows here."""
    async with town(tmp_path) as made:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.bind(("127.0.0.1", 0))
            peer.setblocking(False)
            ring = await made.start("solo", (f"127.0.0.1:{peer.getsockname()[1]}",))
            loop = asyncio.get_running_loop()
            packet = await asyncio.wait_for(loop.sock_recv(peer, 2048), 20)
        magic = ring_magic("default")
        assert packet[RING_HASH_OFFSET : RING_HASH_OFFSET + len(magic)] == magic
        assert pack_address(*ring.advertised)[16:] in packet


def test_ring_flooded_with_garbage_stays_whole(loop_factory: LoopFactory, tmp_path: Path) -> None:
    """Random bytes and real packets with one bit flipped: nobody dies, nobody is renamed."""

    async def body() -> None:
        loop = asyncio.get_running_loop()
        errors: list[object] = []
        loop.set_exception_handler(lambda _, what: errors.append(what))
        async with town(tmp_path) as made:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flooder:
                flooder.bind(("127.0.0.1", 0))
                flooder.setblocking(False)
                bait = f"127.0.0.1:{flooder.getsockname()[1]}"
                first = await made.start("m0", (bait,))
                rings = [first, *[await made.start(f"m{n}", (place(first),)) for n in (1, 2)]]
                await until(lambda: all(alive(ring) == 3 for ring in rings), "convergence")
                real = await asyncio.wait_for(loop.sock_recv(flooder, 2048), 20)
                before = [known(ring) for ring in rings]
                rng = random.Random(5)
                for _ in range(300):
                    for ring in rings:
                        for _ in range(10):
                            mutated = bytearray(real)
                            mutated[rng.randrange(len(real))] ^= 1 << rng.randrange(8)
                            noise = rng.randbytes(rng.randrange(200))
                            flooder.sendto(rng.choice([noise, bytes(mutated)]), ring.advertised)
                    await asyncio.sleep(0)
            rings[0].publish(CONFIG, b"k", b"after")
            await until(
                lambda: all(value_of(ring, CONFIG, b"k") == b"after" for ring in rings), "rumor"
            )
            assert [known(ring) for ring in rings] == before
            counters = [ring.status()["counters"]["datagrams"] for ring in rings]
            assert all(one["damaged"] > 0 and one["foreign"] > 0 for one in counters)
        assert errors == []

    run(loop_factory, body)


def known(ring: Ring) -> list[tuple[bytes, str, bytes, MemberState, int]]:
    """What a member holds of all others, without the times."""
    return sorted((m.id, m.name, m.address, m.state, m.epoch) for m in ring.members())


async def test_ring_unchanged_is_saved_again_only_after_an_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A snapshot's time alone is no change, but an old one would not be believed."""
    async with town(tmp_path) as made:
        ring = await made.start("solo")
        ring.publish(CONFIG, b"k", b"v")
        await ring.flush()
        path = tmp_path / "solo" / "rumors"
        first = path.read_bytes()
        await ring.flush()
        assert path.read_bytes() == first
        monkeypatch.setattr(sup.ring, "SAVE_AT_LEAST_S", 0.0)
        await ring.flush()
        assert path.read_bytes() != first
