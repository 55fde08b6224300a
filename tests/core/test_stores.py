"""The stores against plain Python: tables, pools, indices and timers, their bounds and memory."""

from __future__ import annotations

import gc
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sup_core import limits
from sup_core.card_pool import CardPool
from sup_core.memory import memory_of
from sup_core.node import Node
from sup_core.simulator import Simulator
from sup_core.simulator_bounds import form
from sup_core.store_drill import IndexDrill, PoolDrill, TableDrill, TimersDrill, spread

ALIVE, SUSPECT, DEAD, LEFT, UNSEEN, FREE = range(6)
DAY = 86_400_000_000
TICK = 1 << 14
FARTHEST = (1 << 31) * TICK


def short(member_id: bytes) -> int:
    """The number that an id is known by on the wire."""
    return int.from_bytes(member_id[:8], "big")


# Few short ids, so that clashes and reuse are frequent; the tails make different members of them.
IDS = st.builds(
    lambda head, tail: head.to_bytes(8, "big") + bytes(7) + bytes([tail]),
    st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)),
    st.integers(0, 1),
)


class TableLaws(RuleBasedStateMachine):
    """A member table does what a dict from short id to (id, row, state) does."""

    @initialize(salt=st.integers(0, 2**64 - 1))
    def begin(self, salt: int) -> None:
        self.pool = CardPool(salt)
        self.table = TableDrill(salt, self.pool)
        me = b"\xff" * 16
        self.known: dict[int, tuple[bytes, int]] = {short(me): (me, self.table.add(me))}
        self.states = {0: UNSEEN}
        self.table.enter(0, ALIVE)
        self.states[0] = ALIVE

    @rule(member_id=IDS)
    def add(self, member_id: bytes) -> None:
        row = self.table.add(member_id)
        held = self.known.get(short(member_id))
        if held is None:
            assert row >= 0
            assert row not in self.states
            self.known[short(member_id)] = (member_id, row)
            self.states[row] = UNSEEN
        else:
            assert row == (held[1] if held[0] == member_id else -2)

    @rule(pick=st.integers(0, 10**6))
    def forget(self, pick: int) -> None:
        rows = sorted(row for row in self.states if row != 0)
        if not rows:
            return
        row = rows[pick % len(rows)]
        self.table.forget(row)
        del self.states[row]
        self.known = {key: held for key, held in self.known.items() if held[1] != row}

    @rule(pick=st.integers(0, 10**6), state=st.integers(ALIVE, LEFT))
    def enter(self, pick: int, state: int) -> None:
        row = sorted(self.states)[pick % len(self.states)]
        self.table.enter(row, state)
        self.states[row] = state

    @rule(unknown=st.integers(0, 2**64 - 1))
    def miss(self, unknown: int) -> None:
        if unknown not in self.known:
            assert self.table.find(unknown) == -1

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "table"):
            return
        for key, (_, row) in self.known.items():
            assert self.table.find(key) == row
            assert self.table.state(row) == self.states[row]
        live = {row for row, state in self.states.items() if state <= SUSPECT and row != 0}
        assert sorted(self.table.live()) == sorted(live)
        assert len(self.pool) == len(self.known)


TestTableLaws = TableLaws.TestCase
TestTableLaws.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


def test_table_at_its_bound_finds_everybody_and_refuses_one_more() -> None:
    """MEMBERS_MAX rows fit 16 bits; a freed one is used again."""
    table = TableDrill(7)
    ids = [random.Random(i).randbytes(16) for i in range(limits.MEMBERS_MAX)]
    rows = [table.add(one) for one in ids]
    assert rows == list(range(limits.MEMBERS_MAX))
    assert table.add(b"\xee" * 16) == -1
    assert [table.find(short(one)) for one in ids] == rows
    table.forget(40_000)
    assert table.find(short(ids[40_000])) == -1
    assert table.add(b"\xee" * 16) == 40_000
    assert table.find(short(b"\xee" * 16)) == 40_000


def test_table_with_another_salt_spreads_ids_that_were_chosen_to_collide() -> None:
    """Who knows one node's index cannot aim at another's."""
    aimed, other = TableDrill(1), TableDrill(2)
    for number in range(1_000):
        for table in (aimed, other):
            table.add(random.Random(number).randbytes(16))
    draw = random.Random(5)
    chosen: list[int] = []
    while len(chosen) < 500:
        one = draw.getrandbits(64)
        if aimed.place(one) < 1 / 64:
            chosen.append(one)
    assert spread(aimed, chosen, 64)[0] == 500
    assert max(spread(other, chosen, 64)) < 40
    # And ids that follow each other, as a generator of test ids might make them.
    assert max(spread(other, range(1 << 20, (1 << 20) + 500), 64)) < 40


@given(now=st.integers(0, 3000 * DAY), ago=st.integers(-DAY, 3000 * DAY))
def test_table_times_are_at_most_a_tick_early_and_never_wrap(now: int, ago: int) -> None:
    """Ticks of 2^14 µs: exact to 16.4 ms up to 407 days, as old as that beyond, never after now."""
    table = TableDrill(1)
    table.at(now)
    row = table.add(bytes(16))
    for put, get in ((table.set_since, table.since), (table.hear, table.heard)):
        put(row, now - ago)
        told = min(max(ago, 0), FARTHEST)
        assert 0 <= now - get(row) - told < TICK or get(row) == (now - told) // TICK * TICK


def test_table_times_grow_old_and_stay_old() -> None:
    """Four years of a quiet member: looked at once a month, its times never come back young."""
    table = TableDrill(1)
    table.at(0)
    row = table.add(bytes(16))
    table.hear(row, 0)
    for month in range(1, 49):
        now = month * 30 * DAY
        table.at(now)
        for when in (table.since(row), table.heard(row)):
            assert now - when >= min(now, 365 * DAY)
            assert when <= now


def test_table_of_ten_thousand_takes_less_than_48_bytes_a_row() -> None:
    """33 bytes, 5.3 of the index, and at most a quarter of growth."""
    table = TableDrill(1)
    for number in range(10_000):
        table.add(random.Random(number).randbytes(16))
    assert table.memory_bytes() / 10_000 < 48


CONTENTS = st.tuples(
    st.sampled_from([b"a" * 16, b"a" * 8 + b"b" * 8]),
    st.sampled_from([bytes(18), b"\1" * 18, bytes(17) + b"\1"]),
    st.sampled_from([0, 1, 1 << 40]),
    st.sampled_from([b"", b"x", b"y" * 700]),
)


@given(held=st.lists(CONTENTS, max_size=40), data=st.data())
def test_pool_holds_each_content_once_until_its_last_reference_goes(
    held: list[tuple[bytes, bytes, int, bytes]], data: Any
) -> None:
    """Equal content is one card, any difference another; counted down to nothing."""
    pool = CardPool(3)
    empty = pool.memory_bytes()
    drill = PoolDrill(pool)
    cards = [(content, drill.intern(*content)) for content in held]
    for content, card in cards:
        assert drill.content(card) == content
    assert len(pool) == len(set(held)) == len({card for _, card in cards})
    for place in data.draw(st.permutations(range(len(cards)))):
        drill.drop(cards[place][1])
        held[place] = (b"", b"", 0, b"")
        assert len(pool) == len(set(held) - {held[place]})
    assert pool.memory_bytes() <= empty + 64 * 8


def test_pool_of_thousands_grows_and_empties() -> None:
    """Chains stay short by doubling; what is dropped is gone."""
    pool = CardPool(3)
    drill = PoolDrill(pool)
    cards = [drill.intern(n.to_bytes(16, "big"), bytes(18), 1, b"card") for n in range(5_000)]
    assert len(pool) == 5_000
    again = [drill.intern(n.to_bytes(16, "big"), bytes(18), 1, b"card") for n in range(5_000)]
    assert again == cards
    for card in cards + again:
        drill.drop(card)
    assert len(pool) == 0


def test_card_outlives_its_pool() -> None:
    """Who still holds a card keeps the pool's memory, not the pool."""
    pool = CardPool(3)
    drill = PoolDrill(pool)
    card = drill.intern(b"i" * 16, bytes(18), 7, b"card")
    keeper = PoolDrill(CardPool(4))
    del drill, pool
    gc.collect()
    assert keeper.content(card) == (b"i" * 16, bytes(18), 7, b"card")
    keeper.drop(card)


def churn(**options: Any) -> Simulator:
    """A small ring with restarts, new tags, a crash and a leaver."""
    sim = Simulator(seed=11, **options)
    form(sim, 12)
    sim.restart(3)
    sim.run(5.0)
    sim.node_of(4).set_tags({"a": "b"}, sim.clock(4))
    sim.touch(4)
    sim.crash(5)
    sim.run(15.0)
    return sim


def test_pool_is_empty_after_all_nodes_are_gone() -> None:
    """No reference is leaked by tables, events, updates or restarts."""
    sim = churn(checks=[])
    pool = sim.cards
    assert len(pool) >= 12
    del sim
    gc.collect()
    assert len(pool) == 0


def test_shared_and_own_pools_give_the_same_run() -> None:
    """Where a card lies decides nothing: same trace hash, byte for byte."""
    shared = churn(checks=[])
    own = churn(checks=[], node_type=lambda *a, **k: Node(*a, **k))
    assert shared.trace == own.trace
    assert len(shared.cards) > 0
    assert len(own.cards) == 0


@given(st.lists(st.tuples(st.sampled_from("paprf"), st.integers(0, 60), st.integers(0, 1000))))
def test_index_does_what_a_dict_does(steps: list[tuple[str, int, int]]) -> None:
    """Put, change, remove and find, through growth and giving back."""
    index = IndexDrill(9)
    model: dict[int, int] = {}
    for what, key, value in steps:
        if key in model:
            if what == "r":
                index.remove(key)
                del model[key]
            else:
                index.change(key, value)
                model[key] = value
        elif what in "pa":
            assert index.put(key, value)
            model[key] = value
        else:
            index.remove(key)
        for one in range(61):
            assert index.find(one) == model.get(one, -1)


def test_index_gives_its_memory_back_when_it_is_empty() -> None:
    """A thousand suspicions that are over leave nothing behind."""
    index = IndexDrill(9)
    assert index.places() == 0
    for key in range(1_000):
        index.put(key, key)
    assert index.places() >= 2_000
    for key in range(1_000):
        index.remove(key)
    assert index.places() == 0
    assert index.find(5) == -1
    assert index.put(5, 1)
    assert index.find(5) == 1


@given(
    deadlines=st.lists(st.integers(0, 30), max_size=80),
    armed_before=st.sampled_from([0, 2**31 - 20, 2**32 - 20]),
)
def test_timers_fire_in_order_of_deadline_and_arming(
    deadlines: list[int], armed_before: int
) -> None:
    """Equal deadlines in the order they were armed, also where the count of armings wraps."""
    timers = TimersDrill(armed_before)
    for number, when in enumerate(deadlines):
        assert timers.arm(when, number)
    wanted = sorted((when, number) for number, when in enumerate(deadlines))
    fired = []
    for now in (10, 30):
        while (timer := timers.pop(now)) is not None:
            assert timer[0] <= now
            fired.append(timer)
    assert fired == wanted
    assert timers.next_due() == 2**63 - 1


def test_timers_give_memory_back_after_a_burst() -> None:
    """Ten thousand deadlines, then none."""
    timers = TimersDrill()
    for number in range(10_000):
        timers.arm(number, number)
    assert timers.capacity() >= 10_000
    while timers.pop(10_000):
        pass
    assert timers.capacity() <= 16


@pytest.fixture(scope="module")
def rings() -> dict[int, Simulator]:
    """Quiet rings of two sizes."""
    made = {}
    for size in (100, 300):
        made[size] = Simulator(seed=1, light=True)
        form(made[size], size)
        made[size].run(60.0)
    return made


def account(sim: Simulator) -> float:
    """Bytes per member by the nodes' own account, cards included."""
    own = sum(sum(memory_of(sim.node_of(index)).values()) for index in range(sim.size))
    return (own + sim.cards.memory_bytes()) / sim.size


def test_member_of_a_hundred_takes_less_than_16_kilobytes(rings: dict[int, Simulator]) -> None:
    """By its own account; the target is 20 KB with the allocator's and the simulator's part."""
    assert account(rings[100]) < 16_000


def test_pair_of_members_takes_less_than_64_bytes(rings: dict[int, Simulator]) -> None:
    """The slope between two sizes: what each node holds of each other."""
    assert (account(rings[300]) - account(rings[100])) / 200 < 64


def test_bursts_leave_no_memory_behind(rings: dict[int, Simulator]) -> None:
    """After a join of 300 and the crash of 30 nothing that is queued takes more than a little."""
    sim = rings[300]
    for index in range(0, 300, 10):
        sim.crash(index)
    sim.run(60.0)
    for index in sim.running():
        parts = memory_of(sim.node_of(index))
        assert parts["news"] == 0
        assert parts["suspicions"] <= 1_024
        assert parts["events"] <= 2_048
        assert parts["effects"] <= 2_560
        assert parts["datagrams"] == parts["requests"] == parts["pulls"] == 0
        # A heap keeps at most four times the room that its deadlines need.
        assert parts["timers"] <= 4 * 24 * max(16, sim.node_of(index).counters()["timers"] + 1)
