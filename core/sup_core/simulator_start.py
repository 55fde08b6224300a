"""How a simulated ring comes to be: by joining, or acquainted from the start.

Joining is what members do, and what a scenario about joining must simulate. A ring of ten thousand
that is only needed as the place of something else starts *acquainted*: every member takes the steps
of a join through the same inputs as ever (its greeting reaches the seed, the seed's welcome reaches
it, it asks for a snapshot and is answered with one), but no time passes, and the seed writes the
snapshot once, after everybody has greeted it. The rings differ from joined ones in that nobody has
gossiped anything yet: what the seed has to tell is all old news by then.
"""

from __future__ import annotations

from sup_core.simulator import Simulator


def acquaint(sim: Simulator, members: int, *, ring: str = "sim") -> list[int]:
    """Start `members` that hold each other alive at once; return their indices.

    The first one is the seed. Raises: RuntimeError when a member does not ask for a snapshot.
    """
    indices = sim.add(members, ring=ring, seeds=[])
    seed = indices[0]
    host, door = sim.node_of(seed), sim.address(seed)
    asked: list[tuple[int, int, bytes]] = []
    for index in indices[1:]:
        node, clock = sim.node_of(index), sim.clock(index)
        node.join([door], clock)
        while (parcel := node.poll_transmit()) is not None:
            if parcel[0] == door:
                host.handle_datagram(parcel[1], sim.address(index), sim.clock(seed))
        address = sim.address(index)
        while (parcel := host.poll_transmit()) is not None:
            # What the seed tells earlier ones of this one, the snapshot will.
            if parcel[0] == address:
                node.handle_datagram(parcel[1], door, clock)
        while (request := node.poll_request()) is not None:
            asked.append((index, request[0], request[2]))
            break
        else:
            raise RuntimeError(f"{sim.name(index)} was welcomed and asks for no snapshot")
    if asked:
        index, _, wanted = asked[-1]
        body = host.handle_request(wanted, sim.address(index), sim.clock(seed))
        for index, number, _ in asked:
            sim.node_of(index).handle_response(number, body, sim.clock(index))
            while sim.node_of(index).poll_transmit() is not None:
                pass  # it greets the whole ring with what the whole ring was just given
            sim.touch(index)
    sim.touch(seed)
    return indices
