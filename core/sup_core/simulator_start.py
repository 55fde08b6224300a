"""How a simulated ring comes to be: by joining, or acquainted from the start.

Joining is what members do, and what a scenario about joining must simulate. A ring of ten thousand
that is only needed as the place of something else starts *acquainted*: every member takes the steps
of a join through the same inputs as ever (its greeting reaches the seed, the seed's welcome reaches
it, it asks for a snapshot and is answered with one), but no time passes, and the seed writes the
snapshot once, after everybody has greeted it. The rings differ from joined ones in that nobody has
gossiped anything yet: what the seed has to tell is all old news by then.
"""

from __future__ import annotations

from sup_core.node import Node
from sup_core.simulator import Simulator


def acquaint(sim: Simulator, members: int, *, ring: str = "sim") -> list[int]:
    """Start `members` that hold each other alive at once; return their indices.

    The first one is the seed. Raises: RuntimeError when a member does not ask for a snapshot.
    """
    indices = sim.add(members, ring=ring, seeds=[])
    seed = indices[0]
    asked: list[tuple[int, int]] = []
    for index in indices[1:]:
        _greet(sim, seed, sim.node_of(index), index)
        request = sim.node_of(index).poll_request()
        if request is None:
            raise RuntimeError(f"{sim.name(index)} was welcomed and asks for no snapshot")
        asked.append((index, request[0]))
    if asked:
        body = _snapshot(sim, seed, asked[-1][0])
        for index, number in asked:
            sim.node_of(index).handle_response(number, body, sim.clock(index))
            while sim.node_of(index).poll_transmit() is not None:
                pass  # it greets the whole ring with what the whole ring was just given
            sim.touch(index)
    sim.touch(seed)
    return indices


def _greet(sim: Simulator, seed: int, node: Node, index: int) -> None:
    """Let a node greet the seed from a host, and the seed welcome it."""
    host, door, address = sim.node_of(seed), sim.address(seed), sim.address(index)
    node.join([door], sim.clock(index))
    while (parcel := node.poll_transmit()) is not None:
        if parcel[0] == door:
            host.handle_datagram(parcel[1], address, sim.clock(seed))
    while (parcel := host.poll_transmit()) is not None:
        # What the seed tells earlier ones of this one, the snapshot will.
        if parcel[0] == address:
            node.handle_datagram(parcel[1], door, sim.clock(index))


def _snapshot(sim: Simulator, seed: int, index: int) -> bytes:
    """Return a snapshot with everybody in it.

    A member is not told what it says that it has: itself. So an earlier start of one asks, whose
    own card is out of date.
    """
    life = sim.life(index)
    earlier = Node(
        sim.config,
        member_id=life.id,
        name=life.name,
        ring=life.ring,
        address=sim.address(index),
        epoch=0,
        seed=0,
        now=sim.clock(index),
    )
    _greet(sim, seed, earlier, index)
    request = earlier.poll_request()
    if request is None:
        raise RuntimeError(f"{life.name} was welcomed and asks for no snapshot")
    address, clock = sim.address(index), sim.clock(seed)
    return sim.node_of(seed).handle_request(request[2], address, clock)
