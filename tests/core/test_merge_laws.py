"""Merging is associative, commutative, idempotent: the order of news never matters in the end."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st
from rings import address, member_id
from wire import JOIN, STATUS, card, packet, rumor, short

from sup_core.config import Config
from sup_core.kinds import rule
from sup_core.member_table import outranks
from sup_core.node import Node

ME, YOU, SUBJECT = member_id(0), member_id(1), member_id(2)
EVIDENCE = st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(0, 3))


def make() -> Node:
    """A node that knows a teller and a subject, both in epoch 0."""
    node = Node(
        Config(), member_id=ME, name="me", ring="test", address=address(0), epoch=1, seed=1, now=0
    )
    for index, who in ((1, YOU), (2, SUBJECT)):
        joined = packet(who, [JOIN], card(who, f"m{index}", address(index), epoch=0), epoch=0)
        node.handle_datagram(joined, address(index), 0)
    return node


@given(a=EVIDENCE, b=EVIDENCE, c=EVIDENCE)
def test_outranks_is_a_strict_order_on_distinct_evidence(
    a: tuple[int, int, int], b: tuple[int, int, int], c: tuple[int, int, int]
) -> None:
    """SWIM 4.2's precedence with epochs: total, antisymmetric, transitive."""
    assert outranks(a, b) + outranks(b, a) == (a != b)
    if outranks(a, b) and outranks(b, c):
        assert outranks(a, c)


def test_outranks_follows_the_papers_rules() -> None:
    """SWIM 4.2: suspect overrides alive of the same incarnation, alive only a lower suspect."""
    alive, suspect, dead, left = range(4)
    assert outranks((1, 2, suspect), (1, 2, alive))
    assert outranks((1, 3, alive), (1, 2, suspect))
    assert not outranks((1, 2, alive), (1, 2, suspect))
    assert outranks((1, 2, dead), (1, 2, suspect))
    assert outranks((1, 3, alive), (1, 2, dead))
    assert outranks((1, 0, left), (1, 9, dead))
    assert outranks((2, 0, alive), (1, 9, left))


@settings(max_examples=150, deadline=None)
@given(told=st.lists(EVIDENCE, min_size=1, max_size=4))
def test_member_evidence_in_any_order_ends_in_the_same_state(
    told: list[tuple[int, int, int]],
) -> None:
    """Every permutation, with a repetition, gives the maximum of the evidence."""
    outcomes = set()
    for order in permutations(told):
        node = make()
        for epoch, incarnation, state in (*order, order[0]):
            message = [STATUS, short(SUBJECT), state, epoch, incarnation, short(YOU)]
            node.handle_datagram(packet(YOU, message, epoch=0), address(1), 1)
        subject = node.member(SUBJECT)
        assert subject is not None
        outcomes.add((subject.epoch, subject.incarnation, subject.state, node.digest()))
    assert len(outcomes) == 1


RUMORS = st.lists(
    st.tuples(
        st.sampled_from([2, 3, 64, 65, 128, 130, 160]),
        st.sampled_from([b"a", b"b"]),
        st.sampled_from([YOU, SUBJECT]),
        st.integers(0, 3),
        st.integers(0, 3),
        st.one_of(
            st.none(), st.sampled_from([bytes(8), b"\1" * 8, b"\2" * 16, b"\x80" + bytes(7)])
        ),
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(told=RUMORS, data=st.data())
def test_rumors_in_any_order_and_number_end_in_the_same_store(told: list, data) -> None:  # type: ignore[type-arg,no-untyped-def]
    """Owner, last writer, union and maxima: two orders, one with repetitions, one result and
    digest."""
    other = data.draw(st.permutations(told)) + told[:2]
    results = []
    for order in (told, other):
        node = make()
        for message in order:
            node.handle_datagram(packet(YOU, rumor(*message), epoch=0), address(1), 1)
        results.append((node.rumors(), node.digest()))
    assert results[0] == results[1]


def test_union_and_maxima_merge_by_their_definitions() -> None:
    """Bits are united; 64-bit counters keep the larger one each."""
    node = make()
    node.publish(128, b"bits", b"\x01\x10", 1)
    node.publish(128, b"bits", b"\x02", 2)
    assert node.rumor(128, b"bits").value == b"\x03\x10"  # type: ignore[union-attr]
    node.publish(160, b"max", (5).to_bytes(8, "big") + (1).to_bytes(8, "big"), 3)
    node.publish(160, b"max", (3).to_bytes(8, "big") + (9).to_bytes(8, "big"), 4)
    assert node.rumor(160, b"max").value == (5).to_bytes(8, "big") + (9).to_bytes(8, "big")  # type: ignore[union-attr]


def test_kind_numbers_name_their_rule() -> None:
    """The ranges are part of the protocol: a member relays kinds it does not know."""
    names = [rule(kind) for kind in (0, 1, 63, 64, 127, 128, 159, 160, 191, 192, 255)]
    assert names == [
        "none",
        "owner",
        "owner",
        "last_writer",
        "last_writer",
        "union",
        "union",
        "maxima",
        "maxima",
        "none",
        "none",
    ]
