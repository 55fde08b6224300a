"""Several nodes exchange arbitrary subsets of what they say in arbitrary order, and agree.

A state machine of hypothesis: nodes publish, retract, hear evidence, and pass datagrams that they
made to each other late, twice or never. After every step nobody ranks below what it held, and no
node holds itself for anything but alive; in the end one full exchange in any order makes all equal.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule
from rings import address, member_id
from tests.reference.members import Admission, Evidence, State, merge, weigh
from tests.reference.rumors import KEY, Held, Rumor, Rumors, key_of
from wire import STATUS, card, packet, rumor, short

from sup_core.config import Config
from sup_core.events import MemberState
from sup_core.member_table import outranks
from sup_core.node import Node

NODES = 3
SUBJECTS = (7, 8)
EVIDENCE = st.builds(Evidence, st.integers(1, 3), st.integers(0, 4), st.sampled_from(State))
NUMBERS = (st.integers(0, 3), st.integers(0, 2))
VALUE = st.sampled_from([None, b"", b"\1" * 8, bytes(7) + b"\x80", b"\2" * 16])


class Exchange(RuleBasedStateMachine):
    """Nodes 0, 1, 2, members 7 and 8 who only are spoken of, and a heap of datagrams."""

    said: Bundle[tuple[int, list]] = Bundle("said")  # type: ignore[type-arg]

    @initialize()
    def start(self) -> None:
        """Everybody knows everybody."""
        self.now = 0
        self.nodes = [
            Node(
                Config(),
                member_id=member_id(i),
                name=f"m{i}",
                ring="test",
                address=address(i),
                epoch=1,
                seed=i,
                now=0,
            )
            for i in range(NODES)
        ]
        self.everything: list[list] = []  # type: ignore[type-arg]
        self.held: dict[tuple[int, int], Evidence] = {}
        self.own = [(1, 0)] * NODES
        for node in self.nodes:
            for index in (*range(NODES), *SUBJECTS):
                if node.local().id != member_id(index):
                    self.hear(node, card(member_id(index), f"m{index}", address(index)))

    def hear(self, node: Node, message: list) -> None:  # type: ignore[type-arg]
        """One message of a stranger, so that only the message counts."""
        self.now += 1
        node.handle_datagram(packet(member_id(99), message), address(99), self.now)
        while node.poll_transmit() is not None:
            pass

    @rule(target=said, subject=st.sampled_from([*SUBJECTS, *range(NODES)]), evidence=EVIDENCE)
    def accuse(self, subject: int, evidence: Evidence) -> tuple[int, list]:  # type: ignore[type-arg]
        """Somebody says something of a member."""
        epoch, incarnation, state = evidence
        message = [STATUS, short(member_id(subject)), int(state), epoch, incarnation, 5]
        self.everything.append(message)
        return subject, message

    @rule(
        target=said,
        kind=st.sampled_from([1, 64, 65, 128, 160]),
        key=st.sampled_from([b"a", b"b"]),
        origin=st.sampled_from(SUBJECTS),
        a=NUMBERS[0],
        b=NUMBERS[1],
        value=VALUE,
    )
    def write(self, kind, key, origin, a, b, value):  # type: ignore[no-untyped-def]
        """Somebody writes a version of a rumor."""
        message = rumor(kind, key, member_id(origin), a, b, value)
        self.everything.append(message)
        return -1, message

    @rule(node=st.integers(0, NODES - 1), one=said, again=st.booleans())
    def deliver(self, node: int, one: tuple[int, list], again: bool) -> None:  # type: ignore[type-arg]
        """A message arrives, or does so once more: the second time nothing happens."""
        subject, message = one
        before = self.evidence_at(node, subject) if subject in SUBJECTS else None
        self.hear(self.nodes[node], message)
        if before is not None:
            said = Evidence(message[3], message[4], State(message[2]))
            refused = weigh(before, said) == Admission.REFUSED
            assert self.evidence_at(node, subject) == (before if refused else merge(before, said))
        if again:
            held = self.nodes[node].members(), self.nodes[node].rumors()
            local = self.nodes[node].local()
            self.hear(self.nodes[node], message)
            if self.nodes[node].local() == local:
                assert (self.nodes[node].members(), self.nodes[node].rumors()) == held

    @rule(source=st.integers(0, NODES - 1), sink=st.integers(0, NODES - 1))
    def copy_all(self, source: int, sink: int) -> None:
        """One node's rumors reach another, as its snapshot would bring them."""
        for one in self.nodes[source].rumors():
            numbers = one.version.a, one.version.b
            self.hear(self.nodes[sink], rumor(one.kind, one.key, one.origin, *numbers, one.value))

    def evidence_at(self, node: int, subject: int) -> Evidence:
        """What a node holds of a member."""
        found = self.nodes[node].member(member_id(subject))
        assert found is not None
        return Evidence(found.epoch, found.incarnation, State(found.state))

    @invariant()
    def nobody_ranks_below_what_it_held(self) -> None:
        """Evidence only grows: never a state that precedence forbids."""
        for node in range(NODES):
            for subject in SUBJECTS:
                now = self.evidence_at(node, subject)
                before = self.held.get((node, subject), now)
                assert now == before or outranks(tuple(now), tuple(before))
                self.held[node, subject] = now

    @invariant()
    def self_is_never_dead(self) -> None:
        """A node answers for itself: alive, in its epoch, incarnation only up."""
        for index, node in enumerate(self.nodes):
            local = node.local()
            assert (local.state, local.epoch) == (MemberState.ALIVE, 1)
            assert (local.epoch, local.incarnation) >= self.own[index]
            self.own[index] = (local.epoch, local.incarnation)

    def teardown(self) -> None:
        """Everything that was said reaches everybody, in another order each: all are equal."""
        if not hasattr(self, "nodes"):
            return
        total = len(self.everything)
        for turn, node in enumerate(self.nodes):
            order = self.everything[turn:] + self.everything[:turn]
            for message in order if turn % 2 else reversed(order):
                self.hear(node, message)
        first = self.nodes[0]
        for index, node in enumerate(self.nodes):
            assert node.rumors() == first.rumors(), f"{total} messages"
            for subject in SUBJECTS:
                assert self.evidence_at(index, subject) == self.evidence_at(0, subject)
        told = [m for m in self.everything if m[0] == STATUS]
        for subject in SUBJECTS:
            best = Evidence(1, 0, State.ALIVE)
            for message in told:
                if message[1] == short(member_id(subject)):
                    best = merge(best, Evidence(message[3], message[4], State(message[2])))
            assert self.evidence_at(0, subject) == best


Exchange.TestCase.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, derandomize=True
)
TestExchange = Exchange.TestCase
TestExchange.__doc__ = "Any exchange of any subset in any order ends in the same state."


@settings(max_examples=300, deadline=None, derandomize=True)
@given(EVIDENCE, EVIDENCE, EVIDENCE)
def test_merge_of_evidence_is_associative_commutative_idempotent(
    a: Evidence, b: Evidence, c: Evidence
) -> None:
    """The three laws for the model, which the nodes are held to above."""
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, b) == merge(b, a)
    assert merge(a, a) == a


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from([1, 64, 128, 160]), *NUMBERS, VALUE), max_size=5))
def test_rumors_merge_alike_whatever_is_merged_first(
    written: list[tuple[int, int, int, bytes | None]],
) -> None:
    """Merging in halves and then the halves gives what merging one by one gives."""
    rumors = [Rumor(kind, b"k", member_id(7), a, b, value) for kind, a, b, value in written]

    def merged(parts: list[Rumor]) -> dict[KEY, Rumor]:
        store = Rumors(1)
        for one in parts:
            taken = store.merge(one)
            if taken is not None:
                store.held[key_of(taken)] = Held(taken, 0, counted=True)
        return {key: held.rumor for key, held in store.held.items()}

    middle = len(rumors) // 2
    halves = [*merged(rumors[:middle]).values(), *merged(rumors[middle:]).values()]
    assert merged(halves) == merged(rumors) == merged(rumors[::-1]) == merged(rumors * 2)
